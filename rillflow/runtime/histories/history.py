"""The history of one execution: its journal, replayed in portions, beside the event loop.

A replay begins with the first event and goes on where it has stopped. On its way it keeps
checkpoints, serialised states, so that an earlier state is not far from one of them.

Used by `runtime/histories/cache.py`.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from rillflow.core.encoding import codec
from rillflow.core.events import Event, ExecutionSubmitted
from rillflow.core.plan import Plan
from rillflow.errors import (
    CrashedError,
    OverloadedError,
    RequestError,
    StoreError,
    TooLargeError,
)
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject
from rillflow.ports.storage.execution_search import ExecutionSearch
from rillflow.runtime.aio.thread_pool import FOR_HISTORIES
from rillflow.runtime.definitions.catalogue import Plans
from rillflow.runtime.histories.weighed_recorder import MOST_STATE_BYTES, WeighedRecorder

T = TypeVar("T")

READ_AT_ONCE: Final = 50
"""How many records are read at once; each may have a megabyte."""
LONGEST_S: Final = 2.0
"""How long one request replays; the next one goes on."""
PORTION_S: Final = 0.02
"""How long a thread replays before the event loop gets its turn."""
SPACING: Final = 100
"""The number of events between two checkpoints at first; it doubles when they are too large."""
CHECKPOINTS_BYTES: Final = 16 << 20


Note: TypeAlias = Callable[[WeighedRecorder, JsonObject], None]
"""Notes something of an event, whose row it is given, and of the state after it."""


class Checkpoint(NamedTuple):
    """The state after an event, serialised."""

    seq: int
    at_ms: int
    packed: bytes
    weight_bytes: int


class History:
    """One journal; its methods are called one after the other."""

    def __init__(  # noqa: PLR0913 - the ports it joins, and its limits
        self,
        execution_id: ExecutionId,
        journal: ExecutionSearch,
        plans: Plans,
        *,
        longest_s: float = LONGEST_S,
        spacing: int = SPACING,
        checkpoints_bytes: int = CHECKPOINTS_BYTES,
        state_bytes: int = MOST_STATE_BYTES,
    ) -> None:
        self._longest_s = longest_s
        self._most_bytes = checkpoints_bytes
        self._most_state_bytes = state_bytes
        self.used_s = 0.0
        """When it was used last, by the clock of the event loop."""
        self._execution_id = execution_id
        self._journal = journal
        self._plans = plans
        self._front: WeighedRecorder | None = None
        self._cursor: WeighedRecorder | None = None
        self._refusal: tuple[int, str] | None = None
        self._checkpoints: list[Checkpoint] = []
        self._spacing = spacing

    @property
    def size_bytes(self) -> int:
        """What the checkpoints take."""
        return sum(len(each.packed) for each in self._checkpoints)

    @property
    def weight_bytes(self) -> int:
        """What all of it takes, its states included."""
        recorders = (self._front, self._cursor)
        return self.size_bytes + sum(each.weight_bytes for each in recorders if each)

    async def whole(self, seq: int) -> WeighedRecorder:
        """Return a recording of all events up to the number of the last one, or a later one.

        Raises:
            OverloadedError: The journal is too long for one request; ask again.
            RequestError: It has no such event (404).
            TooLargeError: A state up to it takes too much memory (413).
            CrashedError: It cannot be replayed.
        """
        if self._refusal is not None and seq >= self._refusal[0]:
            raise TooLargeError(self._refusal[1])  # anew: an error holds the frames it came through
        front = self._front
        if front is None:
            front = self._front = self._begun(await self._plan())
        await self._replay(front, seq, keeps=True)
        return front

    async def at(self, seq: int) -> WeighedRecorder:
        """Return a recording that has come to an event; it changes with the next call.

        Raises:
            RillflowError: As ``whole``.
        """
        if seq < 1:
            raise self._no_event(seq)
        front = await self.whole(seq)
        if front.seq == seq:
            self._cursor = None
            return front
        cursor = self._cursor
        if cursor is None or cursor.seq > seq or self._nearest(seq).seq > cursor.seq:
            cursor = self._cursor = await self._resumed(seq)
        await self._replay(cursor, seq)
        return cursor

    async def rows(self, first: int, last: int) -> list[JsonObject]:
        """Return events as the console lists them, both ends included.

        Raises:
            RillflowError: As ``whole``.
        """
        rows: list[JsonObject] = []
        await self.noted(first, last, lambda _, row: rows.append(row))
        return rows

    async def noted(self, first: int, last: int, note: Note) -> None:
        """Replay events, both ends included; after each, a thread notes what it wants of it.

        Raises:
            RillflowError: As ``whole``.
        """
        recorder = await self.at(first - 1) if first > 1 else self._begun(await self._plan())
        await self._replay(recorder, last, keeps=recorder is self._front, note=note)

    async def event(self, seq: int) -> Event:
        """Return one event.

        Raises:
            RequestError: The journal has no such event (404).
        """
        records = await self._journal.read_journal(
            self._execution_id, after_seq=max(seq - 1, 0), limit=1
        )
        if seq < 1 or not records:
            raise self._no_event(seq)
        return await FOR_HISTORIES.run(lambda: codec.decode_event(records[0]))

    async def _plan(self) -> Plan:
        first = await self.event(1)
        if not isinstance(first, ExecutionSubmitted):
            raise StoreError(f"{self._execution_id}: the journal begins with no submission")
        return await self._plans.get(first.definition_id, refuses=True)

    async def _resumed(self, seq: int) -> WeighedRecorder:
        """Return a recorder that stands at the checkpoint before an event."""
        nearest = self._nearest(seq)
        plan = await self._plan()
        if not nearest.seq:
            return self._begun(plan)
        state = await FOR_HISTORIES.run(lambda: codec.unpack_state(nearest.packed))
        recorder = WeighedRecorder(
            plan, state, weight_bytes=nearest.weight_bytes, most_bytes=self._most_state_bytes
        )
        recorder.at_ms = nearest.at_ms
        return recorder

    def _begun(self, plan: Plan) -> WeighedRecorder:
        return WeighedRecorder(plan, most_bytes=self._most_state_bytes)

    def _nearest(self, seq: int) -> Checkpoint:
        at = bisect_right(self._checkpoints, seq, key=lambda each: each.seq)
        return self._checkpoints[at - 1] if at else Checkpoint(0, 0, b"", 0)

    async def _replay(
        self,
        recorder: WeighedRecorder,
        seq: int,
        *,
        keeps: bool = False,
        note: Note | None = None,
    ) -> None:
        deadline_s = time.monotonic() + self._longest_s
        while recorder.seq < seq:
            wanted = min(seq - recorder.seq, READ_AT_ONCE)
            records = await self._journal.read_journal(
                self._execution_id, after_seq=recorder.seq, limit=wanted
            )
            if not records:
                raise self._no_event(seq)
            taken = 0
            while taken < len(records):
                taken += await self._portion(recorder, records[taken:], note, keeps=keeps)
                if recorder.seq < seq and time.monotonic() > deadline_s:
                    raise OverloadedError(
                        f"the journal of {self._execution_id} is being read:"
                        f" {recorder.seq} of {seq} events are done; ask again",
                        http_status=503,
                    )

    async def _portion(
        self,
        recorder: WeighedRecorder,
        records: Sequence[bytes],
        note: Note | None,
        *,
        keeps: bool,
    ) -> int:
        """Replay some of the records in a thread; return how many."""

        def replay() -> int:
            end_s = time.monotonic() + PORTION_S
            for number, record in enumerate(records, start=1):
                row = recorder.take(record)
                if note is not None:
                    note(recorder, row)
                if keeps and recorder.seq % self._spacing == 0:
                    self._keep(recorder)
                if time.monotonic() > end_s:
                    return number
            return len(records)

        try:
            return await self._in_thread(replay)
        except TooLargeError as error:
            self._refusal = recorder.seq, str(error)
            self._front = self._cursor = None
            self._checkpoints.clear()
            raise

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await FOR_HISTORIES.run(work)
        except (RequestError, StoreError):
            raise
        except Exception as error:
            self._front = self._cursor = None
            raise CrashedError(
                f"the journal of {self._execution_id} cannot be replayed ({type(error).__name__})"
            ) from error

    def _keep(self, recorder: WeighedRecorder) -> None:
        packed = codec.pack_state(recorder.state)
        if packed is None:
            return
        weight_bytes = recorder.weight_bytes
        self._checkpoints.append(Checkpoint(recorder.seq, recorder.at_ms, packed, weight_bytes))
        while self.size_bytes > self._most_bytes and len(self._checkpoints) > 1:
            self._spacing *= 2
            self._checkpoints = self._checkpoints[1::2]

    def _no_event(self, seq: int) -> RequestError:
        return RequestError(f"{self._execution_id} has no event {seq}", http_status=404)
