"""Archives ended executions before they are removed: small ones together, a large one alone.

Used by `runtime/retention.py`.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from rillflow.errors import DamagedError, StoreError
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.storage.store import ExecutionSummary, Journal, StoredExecution
from rillflow.stores.archive import Line, archive_line
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters

log = logging.getLogger("rillflow.retention")

MOST_BYTES: Final = 1 << 20
"""Limit of the executions whose lines are collected before a write; one may have more."""
LARGE_BYTES: Final = 64 << 10
"""The line of an execution with more is made while it is written, in a thread."""


class Lines(Protocol):
    """The archive of ended executions."""

    async def append(self, lines: Iterable[Line], *, at_ms: int) -> None:
        """Append lines, whose parts it makes in a thread; when this returns, they are on disk.

        Raises:
            OSError: They could not be written.
            Exception: A part could not be made.
        """
        ...


class Archived:
    """Writes ended executions into an archive, if there is one.

    Attributes:
        error: Why the archive could not be written last time, empty if it could.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        archive: Lines | None,
        *,
        meters: Meters | None,
        most_bytes: int,
    ) -> None:
        self.error = ""
        self._journal = journal
        self._clock = clock
        self._archive = archive
        self._most_bytes = most_bytes
        self._failures = (meters or Meters("")).counter(metrics.ARCHIVE_FAILURES)
        self._told: set[ExecutionId] = set()

    async def of(
        self, found: Sequence[ExecutionSummary], stuck: set[ExecutionId]
    ) -> tuple[list[ExecutionSummary], str]:
        """Archive executions.

        Returns:
            Those that may be removed, and why the archive has not accepted the others. Those that
            cannot be read are added to ``stuck``.
        """
        if self._archive is None:
            return list(found), ""
        kept: list[ExecutionSummary] = []
        try:
            async for written in self._in_writes(self._archive, found, stuck):
                kept += written
        except OSError as error:
            return kept, str(error)
        return kept, ""

    async def _in_writes(
        self, archive: Lines, found: Sequence[ExecutionSummary], stuck: set[ExecutionId]
    ) -> AsyncIterator[list[ExecutionSummary]]:
        """Archive executions, and yield those that each write has brought there, or that are gone.

        Raises:
            OSError: The archive has not accepted the next ones.
        """
        waiting, lines = list[ExecutionSummary](), list[bytes]()
        for summary in found:
            stored = await self._loaded(summary, stuck)
            if stored is not None and size_of(stored) > LARGE_BYTES:
                if await self._append_alone(archive, summary, stored, stuck):
                    yield [summary]
                continue
            line = self._line(summary, stored, stuck)
            if summary.execution_id in stuck:
                continue
            if sum(map(len, lines)) > self._most_bytes:
                await self._append(archive, lines)
                yield waiting
                waiting, lines = [], []
            waiting.append(summary)
            lines += [line] if line else []
        await self._append(archive, lines)
        yield waiting

    async def _append(self, archive: Lines, lines: Sequence[bytes]) -> None:
        if lines:
            await archive.append([[line] for line in lines], at_ms=self._clock.now_ms())

    async def _append_alone(
        self,
        archive: Lines,
        summary: ExecutionSummary,
        stored: StoredExecution,
        stuck: set[ExecutionId],
    ) -> bool:
        """Archive a large execution; tell whether it is there, and not ``stuck``."""
        with self._telling(summary.execution_id, stuck, OSError):
            line = archive_line(summary, stored)
            await archive.append([line], at_ms=self._clock.now_ms())
        return summary.execution_id not in stuck

    async def _loaded(
        self, summary: ExecutionSummary, stuck: set[ExecutionId]
    ) -> StoredExecution | None:
        with self._telling(summary.execution_id, stuck, StoreError):
            return await self._journal.load(summary.execution_id)
        return None

    def _line(
        self, summary: ExecutionSummary, stored: StoredExecution | None, stuck: set[ExecutionId]
    ) -> bytes:
        """Return the line of a small execution, empty if it is gone."""
        with self._telling(summary.execution_id, stuck, OSError):
            return b"" if stored is None else b"".join(archive_line(summary, stored))
        return b""

    @contextmanager
    def _telling(
        self, execution_id: ExecutionId, stuck: set[ExecutionId], failures: type[Exception]
    ) -> Iterator[None]:
        """Add an execution to ``stuck`` that cannot be read, and log it the first time.

        ``failures``, of the store or the archive, are raised: they concern all executions, and the
        next sweep.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, failures) and not isinstance(error, DamagedError):
                raise
            stuck.add(execution_id)
            if execution_id not in self._told:
                reason = f"{type(error).__name__}: {error}"
                told = {"execution_id": execution_id, "reason": reason}
                log.error("not_archived", extra=told)  # noqa: TRY400 - of its data, not of the code

    def tell(self, error: str, stuck: set[ExecutionId]) -> None:
        """Note at the end of a sweep why the archive was not written, and log if that changes."""
        if error:
            self._failures.add()
        if error and not self.error:
            log.error("archive_not_written", extra={"reason": error})
        elif self.error and not error:
            log.warning("archive_written_again")
        self.error = error
        self._told = stuck


def size_of(stored: StoredExecution) -> int:
    """Return the bytes of what is stored of an execution."""
    return sum(map(len, stored.records)) + len(stored.snapshot or b"")
