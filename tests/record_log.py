"""A type of triggers for tests: a log of records in memory, each read at least once."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from rillflow.errors import CronError, UnavailableError
from rillflow.jsontypes import JsonObject
from rillflow.ports.triggers import TriggerEvent


class RecordLog:
    """Lanes of records, and how far each was acknowledged.

    Attributes:
        partitions: The records of each partition; one is its context, or the text of its problem.
        acknowledged: How many records of each partition were acknowledged.
        kept: The keys of refused records, with the reasons, where the log keeps these.
        opened: How often it was opened.
        broken: Why it cannot be read now; empty if it can.
    """

    name = "log"

    def __init__(self, *, keeps: bool = False) -> None:
        self.partitions: dict[str, list[JsonObject | str | None]] = defaultdict(list)
        self.acknowledged: dict[str, int] = defaultdict(int)
        self.kept: list[tuple[str, str]] = []
        self.keeps = keeps
        self.opened = 0
        self.closed = 0
        self.broken = ""

    def check(self, settings: JsonObject) -> JsonObject:
        """Take any settings but those that name nothing."""
        if not settings.get("log"):
            error = CronError("log is missing")
            error.field = "log"
            raise error
        return settings

    def open(self, trigger_id: str, settings: JsonObject) -> "RecordReader":
        """Read from what was acknowledged on."""
        del trigger_id, settings
        if self.broken:
            raise UnavailableError(self.broken)
        self.opened += 1
        return RecordReader(self)


class RecordReader:
    """One reader of the log."""

    def __init__(self, log: RecordLog) -> None:
        self._log = log
        self._next = dict(log.acknowledged)
        self.behind: int | None = None

    async def take(self, busy: Collection[str]) -> Sequence[TriggerEvent]:
        """Return up to two records of each partition."""
        await asyncio.sleep(0)
        if self._log.broken:
            raise UnavailableError(self._log.broken)
        found = []
        for partition, records in self._log.partitions.items():
            if partition not in busy:
                first = self._next.get(partition, 0)
                taken = records[first : first + 2]
                found += [event(partition, first + at, each) for at, each in enumerate(taken)]
                self._next[partition] = first + len(taken)
        self.behind = sum(map(len, self._log.partitions.values())) - sum(self._next.values())
        return found

    async def acknowledge(self, event: TriggerEvent) -> None:
        """Note that a record, and those before it, are dealt with."""
        partition, offset = event.position
        self._log.acknowledged[partition] = max(self._log.acknowledged[partition], offset + 1)

    async def refuse(self, event: TriggerEvent, reason: str) -> bool:
        """Keep a refused record, if the log does."""
        if self._log.keeps:
            self._log.kept.append((event.key, reason))
        return self._log.keeps

    async def close(self) -> None:
        """Count that this reader is gone."""
        self._log.closed += 1


def event(partition: str, offset: int, record: Any) -> TriggerEvent:
    """Return a record as an event."""
    is_problem = isinstance(record, str)
    return TriggerEvent(
        key=f"log/{partition}/{offset}",
        context=None if is_problem else record,
        ordering_key=partition,
        problem=record if is_problem else "",
        position=(partition, offset),
    )
