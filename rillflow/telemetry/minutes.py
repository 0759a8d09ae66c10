"""How many executions ended, and how long things took, in each of the last minutes.

Metrics only grow. The difference between two looks at all processes is what happened meanwhile; it
is kept for some hours, so that a person sees how the last minutes compare with those before. It
lies in memory and takes less than 1 MB. Replicas tell each other what they keep, so all show the
same, and one that has just started knows the minutes before.

Used by `actors/monitoring/process_meters.py`, `ports/messages.py`,
`runtime/process/replica_metrics.py` and `serve/routes/console_api/minutes.py`.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec

from rillflow.telemetry.metrics import (
    ATTEMPTS,
    CALLBACK_TO_CALL,
    EXECUTION_DURATION,
    EXECUTIONS_ENDED,
    SUBMISSIONS,
    SUBMIT_TO_DURABLE,
    TIMER_LATENESS,
    Metric,
)
from rillflow.telemetry.states import MetricState, ProcessState

MINUTE_MS: Final = 60_000
MOST_MINUTES: Final = 360
MOST_HOSTS: Final = 10
"""Hosts with failed calls that a minute tells apart, those with the most."""
TIMES: Final[dict[str, Metric]] = {
    "duration": EXECUTION_DURATION,
    "submit": SUBMIT_TO_DURABLE,
    "callback": CALLBACK_TO_CALL,
    "lateness": TIMER_LATENESS,
}
"""What is told as quantiles, by the name in the answer."""
_SUCCEEDED: Final = "succeed"
_FAILURE: Final = "failure"

_Key = tuple[str, str, str]
"""A process, a metric, and the values of labels that are told apart."""


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """What happened between two looks.

    Attributes:
        at_ms: The beginning of the minute.
        submitted: Executions that were accepted.
        succeeded: Executions that ended well.
        failed: Executions that ended otherwise.
        times: The observations in each bucket of a histogram of ``TIMES``, by name.
        failures: Calls that have failed, by host.
    """

    at_ms: int
    submitted: float = 0
    succeeded: float = 0
    failed: float = 0
    times: dict[str, list[float]] = {}
    failures: dict[str, float] = {}

    @property
    def weight(self) -> float:
        """How much was counted; of two accounts of a minute, the larger one missed less."""
        seen = sum(sum(counts) for counts in self.times.values())
        return self.submitted + self.succeeded + self.failed + seen + sum(self.failures.values())


class Minutes:
    """The last minutes of a stack, the oldest first."""

    def __init__(self, most: int = MOST_MINUTES) -> None:
        self._kept = deque[Minute](maxlen=most)
        self._before: dict[_Key, list[float]] | None = None
        self._reached: frozenset[str] = frozenset()
        self._were_all_reached = False

    @property
    def kept(self) -> Sequence[Minute]:
        """The minutes that are kept."""
        return tuple(self._kept)

    @property
    def processes(self) -> frozenset[str]:
        """The processes that answered at the last look."""
        return self._reached

    def add(self, at_ms: int, states: Sequence[ProcessState]) -> None:
        """Keep what has happened since the last look; the first look is the one to compare with.

        Args:
            at_ms: A time within the minute that is told.
            states: What all processes have counted until now.
        """
        reached = frozenset(state.process for state in states if state.is_reached)
        now = dict(chain.from_iterable(_summed(state) for state in states if state.is_reached))
        if self._before is not None:
            since = {key: self._since(key, numbers) for key, numbers in now.items()}
            self._kept.append(_minute(at_ms // MINUTE_MS * MINUTE_MS, since))
        # A process that does not answer now is compared with what it has told before, later.
        silent = {state.process for state in states} - reached
        told = (self._before or {}).items()
        self._before = {key: numbers for key, numbers in told if key[0] in silent} | now
        self._reached = reached
        self._were_all_reached = not silent

    def merge(self, told: Iterable[Minute]) -> None:
        """Keep the minutes that others have told too; of each minute the fuller account."""
        found: dict[int, Minute] = {}
        for minute in chain(self._kept, told):
            known = found.get(minute.at_ms)
            if known is None or minute.weight > known.weight:
                found[minute.at_ms] = minute
        self._kept = deque((found[at_ms] for at_ms in sorted(found)), maxlen=self._kept.maxlen)

    def _since(self, key: _Key, numbers: list[float]) -> list[float]:
        """Return by how much numbers have grown."""
        before = (self._before or {}).get(key)
        if before is None:
            # It began after the last look, unless its process may only not have answered then.
            is_new = key[0] in self._reached or self._were_all_reached
            return numbers if is_new else [0.0] * len(numbers)
        grown = [number - was for number, was in zip(numbers, before, strict=True)]
        # Numbers that are lower are those of a process that has started anew.
        return numbers if any(each < 0 for each in grown) else grown


def _summed(state: ProcessState) -> Iterable[tuple[_Key, list[float]]]:
    """Return the numbers of a process that minutes tell, without the labels that they do not."""
    sums: dict[_Key, list[float]] = {}
    for metric in state.metrics:
        for part, numbers in _parts(metric):
            key = (state.process, metric.name, part)
            old = sums.get(key)
            sums[key] = (
                list(numbers) if old is None else [a + b for a, b in zip(old, numbers, strict=True)]
            )
    return sums.items()


def _parts(metric: MetricState) -> Iterable[tuple[str, list[float]]]:
    if metric.name == SUBMISSIONS.name or metric.name in _TIME_NAMES:
        yield from (("", numbers) for _, numbers in metric.values)
    elif metric.name == EXECUTIONS_ENDED.name:
        yield from ((labels[1], numbers) for labels, numbers in metric.values)
    elif metric.name == ATTEMPTS.name:
        yield from (
            (labels[0], numbers) for labels, numbers in metric.values if labels[1] == _FAILURE
        )


_TIME_NAMES: Final = {metric.name: name for name, metric in TIMES.items()}


def _minute(at_ms: int, since: dict[_Key, list[float]]) -> Minute:
    submitted = succeeded = failed = 0.0
    times: dict[str, list[float]] = {}
    failures: dict[str, float] = {}
    for (_, metric, part), numbers in since.items():
        if metric == SUBMISSIONS.name:
            submitted += numbers[0]
        elif metric == EXECUTIONS_ENDED.name and part == _SUCCEEDED:
            succeeded += numbers[0]
        elif metric == EXECUTIONS_ENDED.name:
            failed += numbers[0]
        elif metric == ATTEMPTS.name:
            failures[part] = failures.get(part, 0) + numbers[0]
        else:
            name, counts = _TIME_NAMES[metric], numbers[:-1]  # the last one is the sum
            old = times.get(name)
            times[name] = (
                counts if old is None else [a + b for a, b in zip(old, counts, strict=True)]
            )
    worst = sorted(
        ((host, count) for host, count in failures.items() if count), key=lambda each: -each[1]
    )
    return Minute(
        at_ms=at_ms,
        submitted=submitted,
        succeeded=succeeded,
        failed=failed,
        times={name: counts for name, counts in times.items() if any(counts)},
        failures=dict(worst[:MOST_HOSTS]),
    )


def quantile_ms(counts: Sequence[float], bounds: Sequence[float], part: float) -> int | None:
    """Return how long the given part of the observations took at most, in milliseconds.

    Within a bucket observations are taken as evenly spread. What lies beyond the last bound is told
    as that bound; None where nothing was observed.

    Args:
        counts: The observations in each bucket, the last one those beyond all bounds.
        bounds: The upper bounds of the buckets, in seconds.
        part: Such as 0.99.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, seen, lower = part * total, 0.0, 0.0
    for count, bound in zip(counts, bounds, strict=False):
        if count and seen + count >= wanted:
            return round(1000 * (lower + (bound - lower) * (wanted - seen) / count))
        seen, lower = seen + count, bound
    return round(1000 * bounds[-1])


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Minute])


def encode_minutes(minutes: Sequence[Minute]) -> bytes:
    """Encode minutes for another process."""
    return _encoder.encode(minutes)


def decode_minutes(data: bytes) -> list[Minute]:
    """Decode the minutes that another process tells."""
    return _decoder.decode(data)
