"""Replay: rebuilding an execution from its snapshot and the events after it.

Used by `runtime/activation/cache.py`.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import Event, ExecutionSubmitted
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.status import UNFINISHED
from rillflow.core.turn import Turn
from rillflow.errors import StoreError
from rillflow.gateways.outbound.threads import LARGE_BYTES
from rillflow.jsontypes import DecodedEarly, ahead_of, most_weight_of
from rillflow.language.versions import CURRENT, unknown_rules
from rillflow.ports.executions import text_in
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.divided_turns import DividedTurns
from rillflow.runtime.aio.resumable import Interrupted

LONG_BYTES: Final = 64 * 1024
LONG_RECORDS: Final = 500
"""Replaying so many bytes or records takes some ten milliseconds."""


class DecodedSnapshot(NamedTuple):
    """The state of a snapshot, and what its text weighs; see ``jsontypes.most_weight_of``."""

    state: ExecutionState
    weight: int


def decoded_snapshot(snapshot: bytes) -> DecodedSnapshot:
    """Decode a large snapshot, part by part; runs in a thread.

    Raises:
        StoreError: The snapshot is damaged or of a newer format.
    """
    return DecodedSnapshot(codec.decode_large_state(snapshot), most_weight_of(snapshot))


class DecodedEvent(NamedTuple):
    """The event of a large record, and its text, decoded and weighed."""

    event: Event
    text: DecodedEarly


def decoded_event(record: bytes) -> DecodedEvent:
    """Decode a large record and its text; runs in a thread.

    Raises:
        StoreError: The record is damaged or of a newer format.
    """
    event = codec.decode_event(record)
    return DecodedEvent(event, ahead_of(text_in(event), weighed=True))


def _portions_of(records: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start = 0
    for end, record in enumerate(records, start=1):
        if len(record) > LARGE_BYTES:
            yield records[start:end]
            start = end
    yield records[start:]


def is_long(stored: StoredExecution) -> bool:
    """Tell whether replaying an execution takes longer than others should wait for it."""
    size_bytes = len(stored.snapshot or b"") + sum(map(len, stored.records))
    return size_bytes > LONG_BYTES or len(stored.records) > LONG_RECORDS


class Replay:
    """An execution that is being rebuilt, one event at a time.

    Any error of a step, except a StoreError, is the execution's own.
    """

    def __init__(
        self,
        plan: Plan,
        stored: StoredExecution,
        decoded: DecodedSnapshot | None = None,
        divided: DividedTurns | None = None,
    ) -> None:
        """Start from what is stored; the snapshot may have been decoded already.

        Turns are interrupted where they are ``divided``.
        """
        self._divided = divided
        self._turns = Turn if divided is None else divided.turns
        self.interrupted: Interrupted[None] | None = None
        """The event that was interrupted, after ``steps`` has ended early."""
        self._decoded = decoded
        self._plan = plan
        self._stored = stored
        self._execution: ActiveExecution | None = None
        self.taken = 0
        """How many records ``steps`` has handled, with the one that was interrupted."""
        self.portions: list[Sequence[bytes]] = []
        """The records in portions, after ``begin``: only the last of a portion may be large."""

    def begin(self) -> Iterator[None]:
        """Begin with the snapshot, if there is one, and divide the records.

        Raises:
            StoreError: It is damaged, of a newer format, or of a later language and unfinished.
        """
        snapshot = self._stored.snapshot
        if snapshot:
            state, weight = self._decoded or DecodedSnapshot(
                codec.decode_state(snapshot), most_weight_of(snapshot)
            )
            self._refuse_unknown_rules(state.language)
            self._execution = ActiveExecution(self._plan, state)
            self._execution.go_on_from((self._stored.snapshot_seq, weight, 0, len(snapshot)))
            yield
        self.portions = list(_portions_of(self._stored.records))
        yield

    def steps(self, records: Sequence[bytes], last: Event | None = None) -> Iterator[None]:
        """Handle one record after the other; the event of the ``last`` may be decoded already.

        Ends after an event that was ``interrupted``. Whoever has finished that goes on with the
        records after it.

        Raises:
            StoreError: The journal does not begin with a submission, cannot be read, or is of a
                later language and unfinished.
        """
        for number, record in enumerate(records, start=1):
            is_known = last is not None and number == len(records)
            take = partial(self._take, record, last if is_known else None)
            outcome = take() if self._divided is None else self._divided.work.run(take)
            self.taken += 1
            if isinstance(outcome, Interrupted):
                self.interrupted = outcome
                return
            yield

    def execution(self) -> ActiveExecution:
        """Return the execution after all steps.

        Raises:
            StoreError: The journal is empty, or that of another execution, or of one of a later
                language, which has come to another end by rules that this release does not know.
        """
        if self._execution is None:
            raise StoreError(f"{self._stored.execution_id}: the journal is empty")
        state = self._execution.state
        if state.execution_id != self._stored.execution_id:
            # It would take the place of that one, and write into its journal.
            raise StoreError(f"{self._stored.execution_id}: the journal is of another execution")
        if state.language > CURRENT and state.status.name.lower() != self._stored.status:
            raise StoreError(unknown_rules(state.language))  # They have led to another end.
        self._execution.note_rest(rests=self._stored.rests or None)
        return self._execution

    def _refuse_unknown_rules(self, language: int) -> None:
        """Refuse an execution of a later language; one that has ended may be looked at."""
        if language > CURRENT and self._stored.status in UNFINISHED:
            raise StoreError(unknown_rules(language))

    def _take(self, record: bytes, event: Event | None) -> None:
        event = codec.decode_event(record) if event is None else event
        if self._execution is not None:
            handled = machine.handle(self._plan, self._execution.state, event, self._turns)
        elif isinstance(event, ExecutionSubmitted):
            self._refuse_unknown_rules(event.language)
            state, handled = machine.submit(self._plan, event, self._turns)
            self._execution = ActiveExecution(self._plan, state)
        else:
            raise StoreError(f"{self._stored.execution_id}: the journal begins with no submission")
        self._execution.note_event(record, handled, event)


def replay(plan: Plan, stored: StoredExecution) -> ActiveExecution:
    """Rebuild an execution at once, however long it takes.

    Raises:
        StoreError: The journal does not begin with a submission, or cannot be read.
    """
    replay = Replay(plan, stored)
    for _ in chain(replay.begin(), replay.steps(stored.records)):
        pass
    return replay.execution()
