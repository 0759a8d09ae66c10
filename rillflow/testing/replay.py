"""Replays an execution from its journal, and checks that the result is the same.

Used by `testing/scenario.py`.
"""

from collections.abc import Iterable, Sequence

from rillflow.core import machine
from rillflow.core.commands import Command, DispatchTask, SetTimer
from rillflow.core.encoding import codec
from rillflow.core.events import Event, ExecutionSubmitted
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState


def replay(plan: Plan, records: Iterable[bytes], snapshot: bytes | None = None) -> ExecutionState:
    """Rebuild a state from journal records, the submission first, or from a snapshot on.

    Raises:
        StoreError: A record or the snapshot cannot be read.
        ValueError: There is neither a submission nor a snapshot.
    """
    state = codec.decode_state(snapshot) if snapshot is not None else None
    for record in records:
        state = _after(plan, state, record)
    if state is None:
        raise ValueError("a journal begins with a submission")
    return state


def _after(plan: Plan, state: ExecutionState | None, record: bytes) -> ExecutionState | None:
    event = codec.decode_event(record)
    if state is not None:
        machine.handle(plan, state, event)
    elif isinstance(event, ExecutionSubmitted):
        state, _ = machine.submit(plan, event)
    return state


class JournalReplay:
    """A replay that goes on with a journal: each event is written, read and handled once.

    A replay from the submission on, at each of n events, would take n * n / 2 events.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._state: ExecutionState | None = None
        self._replayed = 0

    def check(self, state: ExecutionState, journal: Sequence[Event]) -> None:
        """Check that the journal, written and read again, gives this very state.

        The journal is that of the last time, and what was added to it.

        Raises:
            AssertionError: It gives another one, or other outstanding commands.
            ValueError: It does not begin with a submission.
        """
        for event in journal[self._replayed :]:
            self._state = _after(self._plan, self._state, codec.encode_event(event))
        self._replayed = len(journal)
        if self._state is None:
            raise ValueError("a journal begins with a submission")
        text, wanted = codec.encode_state(state), list(machine.outstanding(self._plan, state))
        for other, source in (
            (self._state, "its journal"),
            (codec.decode_state(text), "its snapshot"),
        ):
            execution_id = state.execution_id
            if codec.encode_state(other) != text:
                raise AssertionError(f"{execution_id} is another execution when read from {source}")
            if list(machine.outstanding(self._plan, other)) != wanted:
                raise AssertionError(
                    f"{execution_id} orders other commands when read from {source}"
                )


def check_outstanding(plan: Plan, state: ExecutionState, given: Sequence[Command]) -> None:
    """Check that every outstanding dispatch and timer is a command that was given before.

    Raises:
        AssertionError: One of them was never given, or differently.
    """
    for command in machine.outstanding(plan, state):
        if isinstance(command, DispatchTask | SetTimer) and command not in given:
            raise AssertionError(f"outstanding, but never given: {command}")
