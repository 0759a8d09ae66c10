"""The times at which a trigger fires: start and end, jitter, and catch-up after an outage.

Used by `runtime/triggers` and `triggers`.
"""

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from rillflow.ids import PARTITIONS
from rillflow.triggers.cron import Cron

LATE_MS: Final = 10_000
"""A time that could not be fired for longer is missed, and the catch-up policy decides about it."""
MOST_CAUGHT_UP: Final = 1_000
LONGEST_JITTER_S: Final = 3_600.0
NEVER_MS: Final = 253_402_300_800_000
"""The end of the year 9999."""
_FIRST_WINDOW_MS: Final = 60_000


class Schedule(NamedTuple):
    """When a trigger fires.

    Attributes:
        cron: The expression, in its time zone.
        start_ms: It does not fire before.
        end_ms: It does not fire from then on.
        jitter_s: Each firing is delayed by a part of this, which only its trigger and time decide.
        catch_up: How many of the times that were missed in an outage are fired, the latest ones.
    """

    cron: Cron
    start_ms: int = 0
    end_ms: int = NEVER_MS
    jitter_s: float = 0.0
    catch_up: int = 1

    def next_after(self, at_ms: int) -> int | None:
        """Return the first scheduled time after one; None if there is none."""
        found = self.cron.next_after(max(at_ms, self.start_ms - 1))
        return found if found is not None and found < self.end_ms else None

    def times(self, after_ms: int, until_ms: int) -> Iterator[int]:
        """Yield the scheduled times after one time, and not after another."""
        found = self.next_after(after_ms)
        while found is not None and found <= until_ms:
            yield found
            found = self.next_after(found)

    def due_ms(self, trigger_id: str, scheduled_ms: int) -> int:
        """Return when a scheduled time is fired: then, or later by its jitter."""
        if not self.jitter_s:
            return scheduled_ms
        named = f"{trigger_id}@{scheduled_ms}".encode("utf-8", "surrogatepass")
        part = int.from_bytes(hashlib.blake2b(named, digest_size=4).digest()) / 2**32
        return scheduled_ms + int(part * self.jitter_s * 1000)


class Plan(NamedTuple):
    """What is to be done now.

    Attributes:
        fire_ms: The scheduled times to fire, the earliest first.
        position_ms: All scheduled times up to here are dealt with once these are fired.
        next_ms: The next scheduled time after it; None if there is none.
    """

    fire_ms: tuple[int, ...]
    position_ms: int
    next_ms: int | None


def plan(schedule: Schedule, trigger_id: str, position_ms: int, now_ms: int) -> Plan:
    """Return the times that are due now, and have not been dealt with.

    A time that was missed counts for the catch-up policy; a time that is late by less is fired.
    """
    missed_until_ms = now_ms - LATE_MS - int(schedule.jitter_s * 1000)
    fire = list(_last_missed(schedule, position_ms, missed_until_ms))
    position_ms = max(position_ms, missed_until_ms)
    for scheduled_ms in schedule.times(position_ms, now_ms):
        if schedule.due_ms(trigger_id, scheduled_ms) > now_ms:
            break
        fire.append(scheduled_ms)
    position_ms = max([position_ms, *fire])
    return Plan(tuple(fire), position_ms, schedule.next_after(position_ms))


def _last_missed(schedule: Schedule, after_ms: int, until_ms: int) -> list[int]:
    """Return the last times of a span that the catch-up policy wants.

    The span may be of years, so it is read from its end, in windows that grow until they hold
    enough.
    """
    first = schedule.next_after(after_ms) if schedule.catch_up and after_ms < until_ms else None
    if first is None or first > until_ms:
        return []
    window_ms = _FIRST_WINDOW_MS
    while True:
        from_ms = max(after_ms, until_ms - window_ms)
        found = list(schedule.times(from_ms, until_ms))
        if len(found) >= schedule.catch_up or from_ms == after_ms:
            return found[-schedule.catch_up :]
        window_ms *= 4


def partition_of_trigger(trigger_id: str) -> int:
    """Return the partition of a trigger, whose owner fires it."""
    return zlib.crc32(trigger_id.encode()) % PARTITIONS


def key_of_firing(trigger_id: str, scheduled_ms: int) -> str:
    """Return the idempotency key of a firing: the same for whoever fires it, and how often."""
    return f"trigger/{trigger_id}/{scheduled_ms}"
