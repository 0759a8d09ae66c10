"""The snapshot of an execution that has ended is written with its last event, unless it is large.

One that is written apart is a commit of its own, and a thread encodes it.
"""

from collections.abc import Iterator

import pytest

from rillflow.core import machine
from rillflow.core.commands import DispatchTask
from rillflow.core.events import DispatchAnswered
from rillflow.core.machine import Handled
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.ids import PARTITIONS
from rillflow.jsontypes import encode_json
from rillflow.ports.storage.store import Append
from rillflow.runtime.activation.active_execution import (
    MOST_TASKS,
    SMALL_BYTES,
    SMALL_MADE_BYTES,
    ActiveExecution,
)
from rillflow.runtime.activation.journal import GOING_ON, JournalRows, OwnerEpoch
from rillflow.stores.memory.store import MemoryStore
from tests.bench.submitting import submitted_event
from tests.bench.workloads import fanout

HOST = "http://127.0.0.1:1"


def ended(items: int, characters: int = 0) -> tuple[ActiveExecution, Append]:
    """Return a foreach of so many items that has ended, and what is written with its end."""
    text = fanout("wide", None, HOST)
    submitted = submitted_event(
        "wide", text, encode_json({"items": list(range(items)), "text": "x" * characters})
    )
    plan = Plan(parse_definition(text), submitted.definition_id)
    state, handled = machine.submit(plan, submitted)
    execution = ActiveExecution(plan, state)
    rows = JournalRows(OwnerEpoch(MemoryStore(), range(PARTITIONS), None))
    append = rows.append_of(execution, submitted, handled, GOING_ON)
    for event in answers_to(handled):
        assert append.snapshot is None
        handled = machine.handle(plan, state, event)
        append = rows.append_of(execution, event, handled, GOING_ON)
    assert append.closing is not None
    return execution, append


def answers_to(handled: Handled) -> Iterator[DispatchAnswered]:
    for call in handled.commands:
        assert isinstance(call, DispatchTask)
        yield DispatchAnswered(at_ms=2, task=call.task, attempt=1, body=b'{"n":1}', http_status=200)


def test_that_of_a_foreach_of_a_hundred_items_is_written_with_the_last_event() -> None:
    execution, append = ended(100)
    assert execution.may_be_large, "for who reads it"
    assert append.records
    assert append.snapshot
    assert not execution.lacks_snapshot
    assert len(append.snapshot) < SMALL_BYTES


@pytest.mark.parametrize(("items", "characters"), [(MOST_TASKS, 0), (1, SMALL_BYTES)])
def test_a_large_one_is_written_apart(items: int, characters: int) -> None:
    execution, append = ended(items, characters)
    assert append.snapshot is None
    assert execution.lacks_snapshot


def test_one_that_turns_out_to_be_long_is_written_apart() -> None:
    execution, append = ended(120, SMALL_BYTES // 2)
    assert execution.state.made_bytes < SMALL_MADE_BYTES
    assert not execution.may_have_large_snapshot
    assert append.snapshot is None
    assert execution.lacks_snapshot
