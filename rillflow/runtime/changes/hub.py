"""The hub of a replica: one question at each owner, for all streams that people have open.

Changes are collected for a tenth of a second and told to all streams at once, encoded once for each
selection. A stream that does not read is closed. Nothing runs while there is no stream.

Where an owner always has changes, a question would be answered at once and asked again without end.
So an owner is not asked for half of the time for which the hub collects, after each answer.

Used by `runtime/stack.py` and `serve/routes`.
"""

import asyncio
import logging
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from rillflow.errors import OverloadedError, RillflowError
from rillflow.ids import ExecutionId, workflow_of
from rillflow.ports.changes import AwaitChanges, Change, ChangeSource
from rillflow.runtime.aio.reused_timer import ReusedTimer

log = logging.getLogger("rillflow.changes")

ASK_S: Final = 20.0
COLLECT_S: Final = 0.1
REST_S: Final = COLLECT_S / 2
"""How long an owner that had changes is not asked at least."""
LINGER_S: Final = 30.0
"""How long changes are collected after the last stream was closed, so that it can go on."""
READY_S: Final = 2.0
PAUSE_S: Final = 0.5
MOST_STREAMS: Final = 1_000
MOST_OF_EXECUTION: Final = 200
"""How many streams may show one execution."""
MOST_OF_ADDRESS: Final = 300
"""How many streams one address may have open, so that it cannot take the places of all."""
MOST_WAITING: Final = 100
"""How many batches may wait for a stream to read them."""
MOST_KEPT: Final = 600
"""How many batches are kept for streams that come back: those of a minute at least."""
MOST_TOLD_AT_ONCE: Final = 50
"""How many streams are told a batch before others get their turn."""
MOST_KEPT_CHANGES: Final = 1_000
"""A batch of more is not kept: who has missed it reads its list anew."""
MOST_NAMED: Final = 100
"""How many executions a batch names to a list, the last that changed; the others are counted."""
LEAST_NAMED: Final = 20
NAMED_AT_ONCE: Final = 20_000
"""How many executions a batch names in all lists together; with more of them, each names fewer."""
TOLD_PER_S: Final = 3_400
"""How many events all lists together are told in a second; with more of them, they wait longer.

As many as there may be hear of a list that never rests every 0.3 s. Each event takes a replica and
its front some 24 us, so that 1,000 lists take 5 % of what a stack uses of two cores, and not more.
"""


class Selection(NamedTuple):
    """Which executions a stream tells of: all, those of a flow, or one."""

    business: str = ""
    feature: str = ""
    execution_id: ExecutionId = ""


class Batch(msgspec.Struct):
    """Changes of a tenth of a second; None says that some were lost.

    All streams of a selection get the same one, and keep in ``text`` what they send for it.
    ``more`` counts the changes that are left out, which are earlier.
    """

    number: int
    changes: tuple[Change, ...] | None
    text: bytes = b""
    more: int = 0


class ChangeStream:
    """The batches for one stream; an empty batch is never told."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.is_slow = False
        self._batches = deque[Batch]()
        self._waiting: asyncio.Future[None] | None = None
        self._silence = ReusedTimer(self._wake)

    def tell(self, batch: Batch) -> None:
        """Add a batch; a stream that reads nothing is marked as slow."""
        if len(self._batches) >= MOST_WAITING:
            self.is_slow = True
            return
        self._batches.append(batch)
        self._wake()

    async def next(self, timeout_s: float) -> Batch | None:
        """Return the next batch, None if there was none in time.

        Many streams wait here for each batch, so it costs neither a task nor a queue, and one timer
        serves many calls.
        """
        if not self._batches:
            self._waiting = asyncio.get_running_loop().create_future()
            self._silence.begin(timeout_s)
            try:
                await self._waiting
            finally:
                self._silence.end()
                self._waiting = None
        return self._batches.popleft() if self._batches else None

    def close(self) -> None:
        """Let go of the timer."""
        self._silence.close()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class ChangeHub:
    """The streams of one replica."""

    def __init__(self, source: ChangeSource, *, linger_s: float = LINGER_S) -> None:
        self.life = uuid.uuid4().hex[:12]
        self._source = source
        self._linger_s = linger_s
        self._streams: set[ChangeStream] = set()
        self._counts = Counter[tuple[str, str]]()
        self._kept: deque[Batch] = deque(maxlen=MOST_KEPT)
        self._number = 0
        self._pending: dict[ExecutionId, Change] = {}
        self._is_lost = False
        self._news = asyncio.Event()
        self._ready: dict[int, asyncio.Event] = {}
        self._askers: dict[int, asyncio.Task[None]] = {}
        self._telling: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def number(self) -> int:
        """The number of the last batch."""
        return self._number

    @asynccontextmanager
    async def stream(
        self, selection: Selection, after: int | None, *, address: str = ""
    ) -> AsyncIterator[ChangeStream]:
        """Open a stream; ``after`` is the number of the last batch that its reader has heard.

        When it is open, no change that follows is missed. ``address`` is where its reader is; the
        streams of an empty one are not counted together.

        Raises:
            OverloadedError: There are too many.
        """
        self.require_place(selection, address)
        stream = ChangeStream(selection)
        self._streams.add(stream)
        kinds = _kinds_of(selection, address)
        self._counts.update(kinds)
        try:
            self._begin()
            await self._until_ready()
            if after is not None:
                self._catch_up(stream, after)
            yield stream
        finally:
            stream.close()
            self._streams.discard(stream)
            for kind in kinds:
                self._counts[kind] -= 1
                if not self._counts[kind]:
                    del self._counts[kind]

    def require_place(self, selection: Selection, address: str = "") -> None:
        """Refuse a stream for which there is no place.

        Raises:
            OverloadedError: Too many are open (503): of all, of this execution, or of this address.
        """
        if len(self._streams) >= MOST_STREAMS:
            raise OverloadedError(f"{MOST_STREAMS} streams are open", http_status=503)
        for what, which in _kinds_of(selection, address):
            most = MOST_OF_EXECUTION if what == "execution" else MOST_OF_ADDRESS
            if self._counts[what, which] >= most:
                raise OverloadedError(f"{most} streams of {what} {which} are open", http_status=503)

    async def stop(self) -> None:
        """End all questions."""
        tasks = [*self._askers.values(), *([self._telling] if self._telling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._askers.clear()
        self._telling = None

    def _begin(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="changes")
        self._ask_all()

    def _ask_all(self) -> None:
        for owner in range(self._source.owner_count):
            asker = self._askers.get(owner)
            if asker is None or asker.done():
                self._ready[owner] = asyncio.Event()
                self._askers[owner] = asyncio.create_task(self._ask(owner), name="changes")

    async def _until_ready(self) -> None:
        waits = [asyncio.ensure_future(ready.wait()) for ready in self._ready.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=READY_S)
            for wait in late:
                wait.cancel()

    def _catch_up(self, stream: ChangeStream, after: int) -> None:
        """Tell a stream that comes back what it has missed, or that it is no longer known."""
        oldest = self._kept[0].number if self._kept else self._number + 1
        if after > self._number or after + 1 < oldest:
            stream.tell(Batch(self._number, None))
            return
        missed: dict[ExecutionId, Change] = {}
        for batch in self._kept:
            if batch.number > after:
                if batch.changes is None:
                    stream.tell(Batch(self._number, None))
                    return
                merge(missed, batch.changes)
        chosen = _Parts(Batch(self._number, tuple(missed.values()))).of(stream.selection)
        if chosen.changes:
            stream.tell(chosen)

    async def _ask(self, owner: int) -> None:
        """Ask one owner for its changes, for as long as there are streams."""
        position, life = 0, ""
        while owner < self._source.owner_count:
            try:
                told = await self._source.changes(owner, AwaitChanges(position, life, ASK_S))
            except RillflowError as error:
                log.warning("changes_not_told", extra={"owner": owner, "reason": str(error)})
                self._lose(life)
                life = ""
                await asyncio.sleep(PAUSE_S)
                continue
            if told.lost or (life and told.life != life):
                self._lose(life)
            position, life = told.position, told.life
            self._ready[owner].set()
            if told.changes:
                merge(self._pending, told.changes)
                self._news.set()
                await asyncio.sleep(REST_S)

    def _lose(self, life: str) -> None:
        if life:
            self._is_lost = True
            self._news.set()

    async def _tell(self) -> None:
        """Tell all streams what was collected; end everything when there has been none for long."""
        loop = asyncio.get_running_loop()
        used_s = loop.time()
        while True:
            if self._streams:
                used_s = loop.time()
            elif loop.time() - used_s > self._linger_s:
                break
            try:
                async with asyncio.timeout(self._linger_s):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(COLLECT_S)
            self._news.clear()
            told = await self._tell_all()
            self._ask_all()
            pause_s = told / TOLD_PER_S - COLLECT_S
            if pause_s > 0:
                await asyncio.sleep(pause_s)
        for asker in self._askers.values():
            asker.cancel()
        self._askers.clear()
        self._kept.clear()
        self._number += 1  # a stream that comes back later has missed something

    async def _tell_all(self) -> int:
        """Tell all streams, a part of them at a time: each writes to its client once it is told.

        Returns:
            How many were told something.
        """
        pending, self._pending = self._pending, {}
        is_lost, self._is_lost = self._is_lost, False
        self._number += 1
        batch = Batch(self._number, None if is_lost else tuple(pending.values()))
        is_kept = len(pending) <= MOST_KEPT_CHANGES
        self._kept.append(batch if is_kept else Batch(self._number, None))
        most = max(min(MOST_NAMED, NAMED_AT_ONCE // max(len(self._streams), 1)), LEAST_NAMED)
        selected, told = _Parts(batch, most), 0
        # A stream that is opened meanwhile begins after this batch.
        for number, stream in enumerate(list(self._streams), start=1):
            chosen = selected.of(stream.selection)
            if chosen.changes is None or chosen.changes:
                stream.tell(chosen)
                told += 1
            if number % MOST_TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)
        return told


def _kinds_of(selection: Selection, address: str) -> list[tuple[str, str]]:
    """Return of what a stream is counted as one."""
    named = (("execution", selection.execution_id), ("address", address))
    return [(what, which) for what, which in named if which]


def merge(known: dict[ExecutionId, Change], later: Iterable[Change]) -> None:
    """Add later changes; an execution that is not told yet stays new."""
    for change in later:
        before = known.get(change.execution_id)
        is_new = change.is_new or (before is not None and before.is_new)
        known[change.execution_id] = replace(change, is_new=is_new)


class _Parts:
    """The parts of a batch, each made once for all streams of its selection.

    The batch is read once, however many selections there are: a thousand streams of a flow each
    would take a millisecond each to search a large batch.
    """

    def __init__(self, batch: Batch, most_named: int = MOST_NAMED) -> None:
        self._batch = batch
        self._most_named = most_named
        self._parts = dict[Selection, Batch]()
        self._changes: dict[Selection, list[Change]] | None = None

    def of(self, selection: Selection) -> Batch:
        """Return the changes that belong to a selection; all of them, if some were lost."""
        if self._batch.changes is None:
            return self._batch
        part = self._parts.get(selection)
        if part is None:
            if self._changes is None:
                self._changes = _by_selection(self._batch.changes)
            changes = self._changes.get(selection, [])
            named = tuple(changes[-self._most_named :])
            more = len(changes) - len(named)
            part = self._parts[selection] = Batch(self._batch.number, named, more=more)
        return part


def _by_selection(changes: Iterable[Change]) -> dict[Selection, list[Change]]:
    found: dict[Selection, list[Change]] = {}
    for change in changes:
        for selection in selections_of(change.execution_id):
            found.setdefault(selection, []).append(change)
    return found


def selections_of(execution_id: ExecutionId) -> Iterator[Selection]:
    """Return all selections to which an execution belongs."""
    business, _, feature = workflow_of(execution_id).partition(":")
    yield Selection()
    yield Selection(business)
    yield Selection(business, feature)
    yield Selection(execution_id=execution_id)
