"""Reads the sources of the triggers of some partitions, such as the topics of Kafka triggers.

Like the runner of cron triggers it learns of changes from the revision in the store. While two
processes own a partition for a moment, both read: an event starts one execution, by its key.

Used by `runtime/triggers/start.py`.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from functools import partial
from typing import Final

import msgspec

from rillflow.errors import RillflowError
from rillflow.ports.clock import Clock
from rillflow.ports.storage.store import Store
from rillflow.ports.triggers import TriggerRow, TriggerType
from rillflow.runtime.triggers.changes import LOOK_S, TriggerChanges
from rillflow.runtime.triggers.firing_rates import workspace_of_row
from rillflow.runtime.triggers.log_room import LogRoom
from rillflow.runtime.triggers.measuring import TriggerMeters
from rillflow.runtime.triggers.progress import FAILED, encode_progress
from rillflow.runtime.triggers.sources.reading import SourceReader
from rillflow.runtime.triggers.sources.waiting import WaitingTriggers
from rillflow.runtime.triggers.submission_options import Submitter
from rillflow.runtime.triggers.tracing import TriggerSpans
from rillflow.task_set import TaskSet
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters
from rillflow.triggers.schedule import partition_of_trigger

log = logging.getLogger("rillflow.triggers")

MOST_SOURCES: Final = 100
"""Sources that one process reads; further triggers wait until others are removed, or fail."""
MOST_OF_ONE: Final = MOST_SOURCES // 2
"""Those of one workspace, so that it leaves room for the others."""
SUBMISSIONS_AT_ONCE: Final = 16
"""Submissions under way for the sources of one workspace, so that those of others are not late."""
GIVES_WAY_MS: Final = 60_000
"""A source that has failed for so long makes room for triggers that wait."""
STORE_S: Final = 1.0
"""How often progress is stored."""


class SourceRunner:
    """Reads the sources of the triggers of its partitions, until stopped."""

    def __init__(  # noqa: PLR0913 - the parts that it joins
        self,
        *,
        store: Store,
        submissions: Submitter,
        clock: Clock,
        partitions: Collection[int],
        types: Mapping[str, TriggerType],
        meters: Meters | None = None,
        spans: TriggerSpans | None = None,
    ) -> None:
        meters = meters or Meters("")
        meters.read(metrics.TRIGGER_SOURCES, self._states)
        meters.read(metrics.TRIGGER_LAG, self._lags)
        self._meters = TriggerMeters(meters, spans)
        self._store = store
        self._submissions = submissions
        self._clock = clock
        self._partitions = frozenset(partitions)
        self._types = types
        self._changes = TriggerChanges(store, self._learn)
        self._readers: dict[str, SourceReader] = {}
        self._waiting = WaitingTriggers()
        self._places: dict[str, asyncio.Semaphore] = defaultdict(
            partial(asyncio.Semaphore, SUBMISSIONS_AT_ONCE)
        )
        self._log_room = LogRoom(clock)
        self._dirty: dict[str, SourceReader] = {}
        self._stopping = TaskSet[None]()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read."""
        self._loops = [
            asyncio.create_task(self._run(), name="trigger sources"),
            asyncio.create_task(self._store_progress(), name="progress of trigger sources"),
        ]

    async def stop(self) -> None:
        """Read nothing more, and store what was done."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*(reader.stop() for reader in self._readers.values()))
        await self._stopping.stop()
        if self._dirty:
            await self._write_progress()

    async def _run(self) -> None:
        while True:
            await self._changes.look()
            self._open_waiting()
            if self._waiting:
                self._have_failed_give_way()
                self._have_most_give_way()
            await asyncio.sleep(LOOK_S)

    def _open_waiting(self) -> None:
        """Open sources while there is room, of the workspace first that has the fewest."""
        number = Counter(workspace_of_row(reader.row) for reader in self._readers.values())
        while len(self._readers) < MOST_SOURCES:
            row = self._waiting.next(number)
            if row is None or number[workspace_of_row(row)] >= MOST_OF_ONE:
                return
            number[workspace_of_row(row)] += 1
            self._waiting.discard(row.id)
            self._open(row)

    def _have_failed_give_way(self) -> None:
        """Have sources wait, the last of all, that have failed for long."""
        latest_ms = self._clock.now_ms() - GIVES_WAY_MS
        for reader in list(self._readers.values()):
            progress = reader.progress
            if progress.state == FAILED and progress.state_ms <= latest_ms:
                self._have_wait(reader)

    def _have_most_give_way(self) -> None:
        """Share the sources among workspaces: what has the most leaves some to what has fewer.

        The last ones that were opened wait, until no workspace that waits has two fewer.
        """
        number = Counter(workspace_of_row(reader.row) for reader in self._readers.values())
        while len(self._readers) >= MOST_SOURCES and (row := self._waiting.next(number)):
            (most, sources), workspace = number.most_common(1)[0], workspace_of_row(row)
            if number[workspace] + 2 > sources:
                return
            reader = next(
                each
                for each in reversed(self._readers.values())
                if workspace_of_row(each.row) == most
            )
            reader.give_way(f"{MOST_SOURCES} sources are read, and other workspaces have fewer")
            self._have_wait(reader)
            self._waiting.discard(row.id)
            self._open(row)
            number.update({most: -1, workspace: 1})

    def _have_wait(self, reader: SourceReader) -> None:
        """Close a source, and read it again when its turn comes."""
        del self._readers[reader.row.id]
        self._stopping.start(reader.stop())
        kept = encode_progress(reader.progress)
        self._waiting.add(msgspec.structs.replace(reader.row, progress=kept))

    def _learn(self, row: TriggerRow) -> None:
        """Take a trigger as it is in the store now."""
        if row.type not in self._types or partition_of_trigger(row.id) not in self._partitions:
            return
        self._waiting.discard(row.id)
        known = self._readers.pop(row.id, None)
        if known is not None:
            self._stopping.start(known.stop())
        if not (row.is_removed or row.is_paused):
            self._waiting.add(row)

    def _open(self, row: TriggerRow) -> None:
        try:
            reader = SourceReader(
                row,
                self._types[row.type],
                store=self._store,
                submissions=self._submissions,
                clock=self._clock,
                places=self._places[workspace_of_row(row)],
                on_progress=self._note,
                meters=self._meters,
                log_room=self._log_room,
            )
        except msgspec.MsgspecError as error:
            log.error("trigger_not_read", extra={"trigger": row.id, "reason": str(error)})  # noqa: TRY400 - the reason says all
            return
        self._readers[row.id] = reader
        reader.start()

    def _note(self, reader: SourceReader) -> None:
        if self._readers.get(reader.row.id) is reader:
            self._dirty[reader.row.id] = reader

    def _states(self) -> dict[tuple[str, ...], float]:
        """Return how many sources there are, by type and state."""
        found = Counter((each.row.type, each.progress.state) for each in self._readers.values())
        return {labels: float(number) for labels, number in found.items() if labels[1]}

    def _lags(self) -> dict[tuple[str, ...], float]:
        """Return how many events wait, by type."""
        found: Counter[tuple[str, ...]] = Counter()
        for each in self._readers.values():
            if each.behind is not None:
                found[each.row.type,] += each.behind
        return {labels: float(number) for labels, number in found.items()}

    async def _store_progress(self) -> None:
        while True:
            await asyncio.sleep(STORE_S)
            if self._dirty:
                await self._write_progress()

    async def _write_progress(self) -> None:
        dirty, self._dirty = self._dirty, {}
        try:
            rows = [each.row_of_progress() for each in dirty.values()]
            await self._store.note_trigger_progress(rows)
        except RillflowError as error:
            log.warning("trigger_progress_not_stored", extra={"reason": str(error)})
            self._dirty = dirty | self._dirty
