"""Replays an execution from its journal, and checks that the result is the same."""

from collections.abc import Iterable, Sequence

from rillflow.core import codec, machine
from rillflow.core.commands import Command, DispatchTask, SetTimer
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
        event = codec.decode_event(record)
        if state is not None:
            machine.handle(plan, state, event)
        elif isinstance(event, ExecutionSubmitted):
            state, _ = machine.submit(plan, event)
    if state is None:
        raise ValueError("a journal begins with a submission")
    return state


def check_replay(plan: Plan, state: ExecutionState, journal: Sequence[Event]) -> None:
    """Check that the journal, written and read again, gives this very state.

    Raises:
        AssertionError: It gives another one, or other outstanding commands.
    """
    rebuilt = replay(plan, map(codec.encode_event, journal))
    _check_same(plan, state, rebuilt, "its journal")
    _check_same(plan, state, codec.decode_state(codec.encode_state(state)), "its snapshot")


def _check_same(plan: Plan, state: ExecutionState, other: ExecutionState, source: str) -> None:
    if codec.encode_state(other) != codec.encode_state(state):
        raise AssertionError(f"{state.execution_id} is another execution when read from {source}")
    if list(machine.outstanding(plan, other)) != list(machine.outstanding(plan, state)):
        raise AssertionError(f"{state.execution_id} wants other things when read from {source}")


def check_outstanding(plan: Plan, state: ExecutionState, given: Sequence[Command]) -> None:
    """Check that every outstanding dispatch and timer is a command that was given before.

    Raises:
        AssertionError: One of them was never given, or differently.
    """
    for command in machine.outstanding(plan, state):
        if isinstance(command, DispatchTask | SetTimer) and command not in given:
            raise AssertionError(f"outstanding, but never given: {command}")
