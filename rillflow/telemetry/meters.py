"""The meters of one process: what it counts and measures, at less than a microsecond each.

A meter is a dictionary by the values of labels. It belongs to one event loop, so nothing is locked.
Names that come from outside (workflows, hosts, codes) are bounded by ``BoundedNames``: the first so
many are counted apart, all others together. So a series never changes its meaning.

Used by `actors`, `runtime` and `serve`.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from rillflow.telemetry.metrics import OTHER, Kind, Metric
from rillflow.telemetry.profile import Profile
from rillflow.telemetry.states import Labels, MetricState, ProcessState

MOST_WORKFLOWS: Final = 200
MOST_HOSTS: Final = 100
MOST_CODES: Final = 50
MOST_TASKS: Final = 200
"""How many names of a label a process counts apart."""
LONGEST_NAME: Final = 200
WINDOW_S: Final = 60.0
"""The largest observation is that of a window, and of the one before."""
LARGEST: Final = "_max"
"""Ends the name under which a process tells the largest observations of a metric."""


class BoundedNames:
    """The names of one label that are counted apart: the first ``most``."""

    __slots__ = ("_most", "_shown")

    def __init__(self, most: int) -> None:
        self._most = most
        self._shown: dict[str, str] = {}

    def shown(self, name: str) -> str:
        """Return the value of the label for a name, which is kept from now on."""
        found = self._shown.get(name)
        if found is not None:
            return found
        if len(self._shown) >= self._most or len(name) > LONGEST_NAME:
            return OTHER
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


class Timer:
    """Observations by labels; the last two numbers of each are the largest of two windows of time.

    They are the largest of the present window and of the one before, which ``turn`` ends.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[Labels, list[float]] = {}

    def state(self) -> list[tuple[Labels, list[float]]]:
        """Return what was observed."""
        return [(labels, found[:-2]) for labels, found in self.values.items()]

    def largest(self) -> list[tuple[Labels, list[float]]]:
        """Return the largest observation of the last two windows."""
        return [(labels, [max(found[-2:])]) for labels, found in self.values.items()]

    def turn(self) -> None:
        """Begin a window."""
        for found in self.values.values():
            found[-2:] = 0.0, found[-2]


class Summary(Timer):
    """The number of observations and their sum, for each combination of labels."""

    __slots__ = ()

    def observe(self, labels: Labels, value: float) -> None:
        """Note a value."""
        found = self.values.get(labels)
        if found is None:
            self.values[labels] = [1, value, value, 0.0]
            return
        found[0] += 1
        found[1] += value
        if value > found[2]:  # noqa: PLR1730 - in half the time of max
            found[2] = value


class Histogram(Timer):
    """The observations in each bucket, for each combination of labels."""

    __slots__ = ("_bounds",)

    def __init__(self, bounds: tuple[float, ...]) -> None:
        super().__init__()
        self._bounds = bounds

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Note a value."""
        found = self.values.get(labels)
        if found is None:
            found = self.values[labels] = [0] * (len(self._bounds) + 4)
        found[bisect_left(self._bounds, value)] += 1
        found[-3] += value
        if value > found[-2]:  # noqa: PLR1730 - in half the time of max
            found[-2] = value


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
        timers = [(name, kept) for name, kept in self._kept.items() if isinstance(kept, Timer)]
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
