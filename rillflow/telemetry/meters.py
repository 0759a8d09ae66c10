"""The meters of one process: what it counts and measures, at less than a microsecond each.

A meter is a dictionary by the values of labels. It belongs to one event loop, so nothing is locked.
Names that come from outside (workflows, hosts, codes) are bounded by ``BoundedNames``: the first so
many are counted apart, all others together. So a series never changes its meaning. A workspace has
a half of the names that others leave, so that those of one that comes later are counted apart too.

Used by `actors`, `runtime` and `serve`.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from rillflow.telemetry.metrics import OTHER, Kind, Metric
from rillflow.telemetry.profile import Profile
from rillflow.telemetry.states import Labels, MetricState, ProcessState

MOST_WORKFLOWS: Final = 400
MOST_HOSTS: Final = 200
MOST_CODES: Final = 100
MOST_TASKS: Final = 400
"""How many names of a label a process counts apart; the first workspace has a half of them."""
LONGEST_NAME: Final = 200
WINDOW_S: Final = 60.0
"""The largest observation is that of a window, and of the one before."""
LARGEST: Final = "_max"
"""Ends the name under which a process tells the largest observations of a metric."""


class BoundedNames:
    """The names of one label that are counted apart: ``most``, by who had them first.

    A workspace has a half of those that the others have left, and one at least while there are
    any.
    """

    __slots__ = ("_most", "_of_workspaces", "_shown")

    def __init__(self, most: int) -> None:
        self._most = most
        self._shown: dict[str, str] = {}
        self._of_workspaces: dict[str, int] = {}

    def shown(self, name: str, workspace: str) -> str:
        """Return the value of the label for a name, which is kept from now on."""
        found = self._shown.get(name)
        if found is not None:
            return found
        own = self._of_workspaces.get(workspace, 0)
        left = self._most - len(self._shown) + own
        if own >= (left + 1) // 2 or len(name) > LONGEST_NAME:
            return OTHER
        self._of_workspaces[workspace] = own + 1
        # Whatever a function has sent must not keep the text of all metrics from being encoded.
        shown = self._shown[name] = name.encode(errors="replace").decode()
        return shown

    def known(self, name: str) -> str:
        """Return the value of the label for a name that may be made up: it is not kept."""
        return self._shown.get(name, OTHER)


class Counter:
    """A number for each combination of labels that only grows."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Count."""
        self.values[labels] = self.values.get(labels, 0) + amount

    def state(self) -> list[tuple[Labels, list[float]]]:
        """Return what was counted."""
        return [(labels, [value]) for labels, value in self.values.items()]


class Observations:
    """The number of observations with some labels, their sum, and the largest of two windows."""

    __slots__ = ("_before", "_count", "_largest", "_sum")

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._largest = self._before = 0.0

    def add(self, value: float) -> None:
        """Note a value."""
        self._count += 1
        self._sum += value
        if value > self._largest:  # noqa: PLR1730 - in half the time of max
            self._largest = value

    def add_all(self, value: float, times: int) -> None:
        """Note a value several times."""
        self._count += times
        self._sum += value * times
        if value > self._largest:  # noqa: PLR1730 - in half the time of max
            self._largest = value

    def total(self) -> list[float]:
        """Return the number of all observations, and their sum."""
        return [self._count, self._sum]

    def largest(self) -> float:
        """Return the largest observation of the present window and of the one before."""
        return max(self._largest, self._before)

    def turn(self) -> None:
        """Begin a window."""
        self._largest, self._before = 0.0, self._largest


class Summary:
    """The number of observations and their sum, for each combination of labels."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[Labels, Observations] = {}

    def of(self, labels: Labels) -> Observations:
        """Return the observations with some labels; who notes many keeps them."""
        found = self._found.get(labels)
        if found is None:
            found = self._found[labels] = Observations()
        return found

    def observe(self, labels: Labels, value: float) -> None:
        """Note a value."""
        self.of(labels).add(value)

    def state(self) -> list[tuple[Labels, list[float]]]:
        """Return what was observed."""
        return [(labels, found.total()) for labels, found in self._found.items()]

    def largest(self) -> list[tuple[Labels, list[float]]]:
        """Return the largest observation of the last two windows."""
        return [(labels, [found.largest()]) for labels, found in self._found.items()]

    def turn(self) -> None:
        """Begin a window."""
        for found in self._found.values():
            found.turn()


class Histogram:
    """The observations in each bucket, for each combination of labels.

    The last two numbers of each are the largest observations of the present window of time and of
    the one before.
    """

    __slots__ = ("_bounds", "_found")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._found: dict[Labels, list[float]] = {}
        self._bounds = bounds

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Note a value."""
        found = self._found.get(labels)
        if found is None:
            found = self._found[labels] = [0] * (len(self._bounds) + 4)
        found[bisect_left(self._bounds, value)] += 1
        found[-3] += value
        if value > found[-2]:  # noqa: PLR1730 - in half the time of max
            found[-2] = value

    def state(self) -> list[tuple[Labels, list[float]]]:
        """Return what was observed."""
        return [(labels, found[:-2]) for labels, found in self._found.items()]

    def largest(self) -> list[tuple[Labels, list[float]]]:
        """Return the largest observation of the last two windows."""
        return [(labels, [max(found[-2:])]) for labels, found in self._found.items()]

    def turn(self) -> None:
        """Begin a window."""
        for found in self._found.values():
            found[-2:] = 0.0, found[-2]


Read = Callable[[], Mapping[Labels, float]]


class MeasuredTasks(NamedTuple):
    """What is measured of single tasks; by default nothing.

    Attributes:
        compliance: Whether tasks with ``expected_cost`` have taken that at most.
        by_name: How long each task has taken.
    """

    compliance: bool = False
    by_name: bool = False


NO_SINGLE_TASKS: Final = MeasuredTasks()


class Meters:
    """All meters of one process."""

    def __init__(
        self,
        process: str,
        now_s: Callable[[], float] = time.monotonic,
        profile: Profile | None = None,
        tasks: MeasuredTasks = NO_SINGLE_TASKS,
    ) -> None:
        """Measure for ``process``, a name that operators know and that each start may change.

        Some of it is noted in a ``profile`` as well, if the process tells one.
        """
        self.tasks = tasks
        self.process = process
        self._now_s = now_s
        self._turned_s = now_s()
        self.workflows = BoundedNames(MOST_WORKFLOWS)
        self.profile = profile
        self._kept: dict[str, Counter | Summary | Histogram] = {}
        self._read: dict[str, Read] = {}

    def counter(self, metric: Metric) -> Counter:
        """Return the meter of a counter, which is the same each time."""
        kept = self._kept.setdefault(_of(metric, Kind.COUNTER), Counter())
        assert isinstance(kept, Counter)  # noqa: S101 - the table has one kind for a name
        if not metric.labels:
            kept.values.setdefault((), 0)  # else a rate would not see the first one
        return kept

    def summary(self, metric: Metric) -> Summary:
        """Return the meter of a summary."""
        kept = self._kept.setdefault(_of(metric, Kind.SUMMARY), Summary())
        assert isinstance(kept, Summary)  # noqa: S101 - the table has one kind for a name
        return kept

    def histogram(self, metric: Metric) -> Histogram:
        """Return the meter of a histogram."""
        kept = self._kept.setdefault(_of(metric, Kind.HISTOGRAM), Histogram(metric.bounds))
        assert isinstance(kept, Histogram)  # noqa: S101 - the table has one kind for a name
        return kept

    def read(self, metric: Metric, read: Read) -> None:
        """Have a number read when it is asked for; one without labels is under ``()``."""
        self._read[metric.name] = read

    def state(self) -> ProcessState:
        """Return what was counted and measured until now."""
        metrics = [MetricState(name, kept.state()) for name, kept in self._kept.items()]
        metrics += self._largest()
        for name, read in self._read.items():
            values = [(labels, [float(value)]) for labels, value in read().items()]
            metrics.append(MetricState(name, values))
        return ProcessState(self.process, metrics)

    def _largest(self) -> list[MetricState]:
        """Return the largest observations of the last minute or two, and begin a new window."""
        timers = [
            (name, kept) for name, kept in self._kept.items() if not isinstance(kept, Counter)
        ]
        found = [MetricState(name + LARGEST, kept.largest()) for name, kept in timers]
        if self._now_s() - self._turned_s >= WINDOW_S:
            self._turned_s = self._now_s()
            for _, kept in timers:
                kept.turn()
        return found


def _of(metric: Metric, kind: Kind) -> str:
    if metric.kind is not kind:
        raise TypeError(f"{metric.name} is a {metric.kind.value}, not a {kind.value}")
    return metric.name
