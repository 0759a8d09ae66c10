"""Removal of ended executions that are too old or too many, after they were archived.

Large ones are removed some megabytes at a time, and appends have the store in between. Old entries
of the audit are removed, too.

Execution actors run it for their partitions.

Used by `actors/stack_retention.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Protocol

from rillflow.artifacts.store import execution_key
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.storage.access import Audit
from rillflow.ports.storage.store import ExecutionSummary, Journal
from rillflow.runtime.archived import MOST_BYTES, Archived, Lines
from rillflow.runtime.process.clock import wall_offset_s
from rillflow.telemetry.meters import Meters

log = logging.getLogger("rillflow.retention")

EVERY_S: Final = 30.0
LEAST_AGE_S: Final = 60.0
"""Longer than any caller repeats a submission, which would start a removed execution again."""
MOST_LISTED: Final = 2_000
"""So many are listed at once, since a list after which some are kept counts all that have ended."""
MOST_AT_ONCE: Final = 100
MOST_REMAINS_BYTES: Final = 2 << 20
"""Limit of what one transaction deletes of a large execution; one value may have more."""
MOST_RECORDS: Final = 2_000
"""Limit of what one transaction removes: a few milliseconds, for which appends wait."""
PAUSE_S: Final = 0.02
ARTIFACTS_EVERY_S: Final = 600.0


class Artifacts(Protocol):
    """The artifacts of executions; its methods block."""

    def executions(self) -> set[str]:
        """Return the names of the executions that have any."""
        ...

    def release(self, execution: str, heir: str | None = None) -> int:
        """Remove those that no other execution uses, or leave them to an heir."""
        ...

    def sweep(self) -> int:
        """Delete what was removed a while ago."""
        ...


class Retention:
    """Keeps ended executions for a time, and a number of them; None is no limit.

    An execution that cannot be archived stays in the store. After a crash between archiving and
    removal, a line may be in the archive twice. A clock that jumps ahead makes no execution older.
    """

    def __init__(  # noqa: PLR0913 - what it keeps, for how long, and where it goes
        self,
        journal: Journal,
        clock: Clock,
        *,
        keep_s: float | None,
        keep_count: int | None,
        archive: Lines | None = None,
        artifacts: Artifacts | None = None,
        audit: Audit | None = None,
        keep_audit_s: float | None = None,
        meters: Meters | None = None,
        most_bytes: int = MOST_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._archived = Archived(journal, clock, archive, meters=meters, most_bytes=most_bytes)
        self._journal = journal
        self._sleep = sleep
        self._audit = audit
        self._keep_audit_s = None if audit is None else keep_audit_s
        self._clock = clock
        self._keep_s = keep_s
        self._keep_count = keep_count
        self._artifacts = artifacts
        self._offset_s = wall_offset_s(self._clock)
        self._artifacts_due_s = 0.0

    @property
    def archive_error(self) -> str:
        """Why the archive could not be written last time, empty if it could.

        Until it can, nothing is removed; the store stays as large as it is, since what is new is
        refused where the disk has too little space.
        """
        return self._archived.error

    async def run(self, *, every_s: float = EVERY_S) -> None:
        """Sweep repeatedly, until cancelled."""
        limits = (self._keep_s, self._keep_count, self._keep_audit_s)
        while any(limit is not None for limit in limits):
            try:
                await self.sweep()
                await self._sweep_artifacts()
                await self.trim_audit()
            except Exception:
                log.exception("retention_failed")
            await asyncio.sleep(every_s)

    async def sweep(self) -> int:
        """Remove, step by step, what need not be kept any longer; return how many were removed.

        Raises:
            StoreError: The store failed; the rest is left to the next sweep.
        """
        removed, stuck = 0, set[ExecutionId]()
        error = ""
        await self._remove_remains()  # of a removal that was interrupted
        for age_s, keep in self._limits():
            ended_before_ms = self._steady_ms() - int(max(age_s, LEAST_AGE_S) * 1000)
            while not error and (listed := await self._purgeable(ended_before_ms, keep, stuck)):
                for first in range(0, len(listed), MOST_AT_ONCE):
                    found = listed[first : first + MOST_AT_ONCE]
                    gone, error = await self._purge(found, ended_before_ms, stuck)
                    removed += gone
                    if error:
                        break
        self._archived.tell(error, stuck)
        if removed:
            log.info("purged", extra={"executions": removed})
        return removed

    async def _purge(
        self, found: Sequence[ExecutionSummary], ended_before_ms: int, stuck: set[ExecutionId]
    ) -> tuple[int, str]:
        """Archive and remove some executions, and add to ``stuck`` those that cannot be archived.

        Returns:
            How many were removed, and why the archive has not accepted the rest.
        """
        kept, error = await self._archived.of(found, stuck)
        heirs = await self._heirs(kept)
        await self._remove(kept, ended_before_ms)
        await self._release(heirs)
        return len(kept), error

    async def trim_audit(self) -> int:
        """Remove old entries of the audit, some at a time; return how many were removed.

        Raises:
            StoreError: The store failed; the rest is left to the next time.
        """
        removed = 0
        if self._audit is None or self._keep_audit_s is None:
            return removed
        before_ms = self._steady_ms() - int(self._keep_audit_s * 1000)
        while found := await self._audit.trim_audit(before_ms=before_ms, limit=MOST_RECORDS):
            removed += found
            await asyncio.sleep(PAUSE_S)
        return removed

    def _steady_ms(self) -> int:
        """Return the time, no later than it can be since the first reading of the clock."""
        self._offset_s = min(self._offset_s, wall_offset_s(self._clock))
        return int((self._clock.monotonic_s() + self._offset_s) * 1000)

    def _limits(self) -> Iterator[tuple[float, int]]:
        """Yield pairs of an age and the number of executions that are kept whatever their age."""
        if self._keep_s is not None:
            yield self._keep_s, 0
        if self._keep_count is not None:
            yield 0.0, self._keep_count

    async def _purgeable(
        self, ended_before_ms: int, keep: int, stuck: set[ExecutionId]
    ) -> list[ExecutionSummary]:
        """List the next executions to remove, without those that could not be archived."""
        found = await self._journal.purgeable(
            ended_before_ms=ended_before_ms, keep=keep, limit=MOST_LISTED + len(stuck)
        )
        return [each for each in found if each.execution_id not in stuck][:MOST_LISTED]

    async def _remove(self, found: Sequence[ExecutionSummary], ended_before_ms: int) -> None:
        left: list[ExecutionId] = [summary.execution_id for summary in found]
        while left:
            begun_s = self._clock.monotonic_s()
            left = await self._journal.purge(
                left, ended_before_ms=ended_before_ms, most_records=MOST_RECORDS
            )
            await self._rest(begun_s)
            await self._remove_remains()

    async def _remove_remains(self) -> None:
        """Delete what remains of large executions that are removed."""
        begun_s = self._clock.monotonic_s()
        while await self._journal.purge_remains(most_bytes=MOST_REMAINS_BYTES):
            await self._rest(begun_s)
            begun_s = self._clock.monotonic_s()

    async def _rest(self, begun_s: float) -> None:
        """Leave the store to others for as long as what began at a time has taken."""
        await self._sleep(max(self._clock.monotonic_s() - begun_s, PAUSE_S))

    async def _heirs(self, found: Sequence[ExecutionSummary]) -> dict[ExecutionId, str | None]:
        """Return the parent of each that has artifacts; a sub-flow leaves them to it.

        The parent may have them in its context. If it is gone itself, nobody needs them.
        """
        if self._artifacts is None or not found:
            return {}
        have_some = await asyncio.to_thread(self._artifacts.executions)
        owners = [
            each.execution_id for each in found if execution_key(each.execution_id) in have_some
        ]
        parents = await self._journal.stored_parents(owners) if owners else {}
        return {each: execution_key(parents[each]) if each in parents else None for each in owners}

    async def _release(self, heirs: dict[ExecutionId, str | None]) -> None:
        """Give up the artifacts of executions that were removed."""
        for execution_id, heir in heirs.items():
            if self._artifacts is not None:
                key = execution_key(execution_id)
                await asyncio.to_thread(self._artifacts.release, key, heir)

    async def _sweep_artifacts(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._artifacts is not None and now_s >= self._artifacts_due_s:
            self._artifacts_due_s = now_s + ARTIFACTS_EVERY_S
            await asyncio.to_thread(self._artifacts.sweep)
