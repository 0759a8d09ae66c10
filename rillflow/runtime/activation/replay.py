"""Replay: rebuilding an execution from its snapshot and the events after it.

Used by `runtime/activation/cache.py`.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import ExecutionSubmitted
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.errors import StoreError
from rillflow.jsontypes import most_weight_of
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.active_execution import ActiveExecution

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


def is_long(stored: StoredExecution) -> bool:
    """Tell whether replaying an execution takes longer than others should wait for it."""
    size_bytes = len(stored.snapshot or b"") + sum(map(len, stored.records))
    return size_bytes > LONG_BYTES or len(stored.records) > LONG_RECORDS


class Replay:
    """An execution that is being rebuilt, one event at a time.

    Any error of a step, except a StoreError, is the execution's own.
    """

    def __init__(
        self, plan: Plan, stored: StoredExecution, decoded: DecodedSnapshot | None = None
    ) -> None:
        """Start from what is stored; the snapshot may have been decoded already."""
        self._decoded = decoded
        self._plan = plan
        self._stored = stored
        self._execution: ActiveExecution | None = None

    def steps(self) -> Iterator[None]:
        """Decode the snapshot, then handle one record after the other.

        Raises:
            StoreError: The journal does not begin with a submission, or cannot be read.
        """
        snapshot = self._stored.snapshot
        if snapshot:
            state, weight = self._decoded or DecodedSnapshot(
                codec.decode_state(snapshot), most_weight_of(snapshot)
            )
            self._execution = ActiveExecution(self._plan, state)
            self._execution.go_on_from((self._stored.snapshot_seq, weight, 0, len(snapshot)))
            yield
        for record in self._stored.records:
            self._take(record)
            yield

    def execution(self) -> ActiveExecution:
        """Return the execution after all steps.

        Raises:
            StoreError: The journal is empty.
        """
        if self._execution is None:
            raise StoreError(f"{self._stored.execution_id}: the journal is empty")
        self._execution.note_rest(rests=self._stored.rests or None)
        return self._execution

    def _take(self, record: bytes) -> None:
        event = codec.decode_event(record)
        if self._execution is not None:
            handled = machine.handle(self._plan, self._execution.state, event)
        elif isinstance(event, ExecutionSubmitted):
            state, handled = machine.submit(self._plan, event)
            self._execution = ActiveExecution(self._plan, state)
        else:
            raise StoreError(f"{self._stored.execution_id}: the journal begins with no submission")
        self._execution.note_event(record, handled)


def replay(plan: Plan, stored: StoredExecution) -> ActiveExecution:
    """Rebuild an execution at once, however long it takes.

    Raises:
        StoreError: The journal does not begin with a submission, or cannot be read.
    """
    replay = Replay(plan, stored)
    for _ in replay.steps():
        pass
    return replay.execution()
