"""Removing ended executions that are old, or too many, after they were archived."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from rillflow.errors import DamagedError
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.store import ExecutionSummary, Journal
from rillflow.runtime.clock import wall_offset_s
from rillflow.stores.archive import archive_line

log = logging.getLogger("rillflow.retention")

EVERY_S: Final = 30.0
LEAST_AGE_S: Final = 60.0
"""Longer than any caller repeats a submission, which would begin a purged one anew."""
MOST_AT_ONCE: Final = 100
MOST_RECORDS: Final = 2_000
"""How much one transaction removes: a few milliseconds, for which appends wait."""
PAUSE_S: Final = 0.02


class Lines(Protocol):
    """Where ended executions are kept after the store has forgotten them."""

    async def append(self, lines: Sequence[bytes], *, at_ms: int) -> None:
        """Keep lines; when this returns, they are on disk.

        Raises:
            OSError: They could not be written.
        """
        ...


class Retention:
    """Keeps ended executions for a time, and so many of them; None is no limit.

    One that cannot be archived stays in the store. After a crash in between, a line may
    be in the archive twice. A clock that jumps ahead makes nothing older.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        *,
        keep_s: float | None,
        keep_count: int | None,
        archive: Lines | None = None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._keep_s = keep_s
        self._keep_count = keep_count
        self._archive = archive
        self._offset_s = wall_offset_s(self._clock)

    async def run(self, *, every_s: float = EVERY_S) -> None:
        """Sweep from time to time, for as long as the process lives."""
        while self._keep_s is not None or self._keep_count is not None:
            try:
                await self.sweep()
            except Exception:
                log.exception("retention_failed")
            await asyncio.sleep(every_s)

    async def sweep(self) -> int:
        """Remove, step by step, what need not be kept any longer; return how many went.

        Raises:
            StoreError: The store failed; what is left is for the next time.
            OSError: The archive failed; what it did not take is still in the store.
        """
        removed = 0
        for age_s, keep in self._limits():
            ended_before_ms = self._steady_ms() - int(max(age_s, LEAST_AGE_S) * 1000)
            while found := await self._journal.purgeable(
                ended_before_ms=ended_before_ms, keep=keep, limit=MOST_AT_ONCE
            ):
                went = await self._remove(found, ended_before_ms)
                removed += went
                if not went:
                    break
        if removed:
            log.info("purged", extra={"executions": removed})
        return removed

    def _steady_ms(self) -> int:
        """Tell the time, no later than it can be since the first look at the clock."""
        self._offset_s = min(self._offset_s, wall_offset_s(self._clock))
        return int((self._clock.monotonic_s() + self._offset_s) * 1000)

    def _limits(self) -> Iterator[tuple[float, int]]:
        """Yield an age, and how many stay although they are older."""
        if self._keep_s is not None:
            yield self._keep_s, 0
        if self._keep_count is not None:
            yield 0.0, self._keep_count

    async def _remove(self, found: Sequence[ExecutionSummary], ended_before_ms: int) -> int:
        """Remove those that need not be archived, or could be; return how many."""
        left = [summary.execution_id for summary in found]
        if self._archive is not None:
            left = await self._keep_lines(self._archive, found)
        count = len(left)
        while left:
            left = await self._journal.purge(
                left, ended_before_ms=ended_before_ms, most_records=MOST_RECORDS
            )
            await asyncio.sleep(PAUSE_S)
        return count

    async def _keep_lines(
        self, archive: Lines, found: Sequence[ExecutionSummary]
    ) -> list[ExecutionId]:
        """Archive executions; return all but those that are damaged, which stay as they are."""
        lines: list[bytes] = []
        kept: list[ExecutionId] = []
        for summary in found:
            try:
                stored = await self._journal.load(summary.execution_id)
            except DamagedError as error:
                log.error("not_archived", extra={"reason": str(error)})  # noqa: TRY400 - no crash
                continue
            kept.append(summary.execution_id)
            if stored is not None:
                lines.append(archive_line(summary, stored))
        if lines:
            await archive.append(lines, at_ms=self._clock.now_ms())
        return kept
