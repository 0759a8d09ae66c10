"""All views of one state of a large execution share one copy of it.

The state of one that has ended is not even copied, until an event comes nevertheless.
"""

import asyncio
import gc
import threading
import weakref
from functools import partial
from typing import Final

import pytest

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import CancelRequested, RedoRequested
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.errors import UnreadAnswersError
from rillflow.jsontypes import encode_json
from rillflow.ports.executions import Query, ViewPart
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.owner.views import _FOR_VIEWS, Views
from tests.loopback import ManualClock
from tests.submissions import submission_event
from tests.unit.test_linear_readers import lines_of

LONG_RULE: Final = f"{{source: '{'x' * 40_000}', target: $.input.a}}"
WIDE: Final = """
workspace: memory
dagName: wide
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{source: $.context.items, target: $.input.items}]
    iterationMapping: {collection: $.input.items, item: item}
    tasks: [{name: call, category: function, resourceName: "http://a.test/f", pattern: task_async}]
"""


def wide(items: int, workspace: str = "memory") -> ActiveExecution:
    plan = Plan(parse_definition(WIDE), "wide")
    event = submission_event(f"{workspace}:wide", "wide", data=encode_json({"items": [0] * items}))
    state, _ = machine.submit(plan, event)
    execution = ActiveExecution(plan, state)
    execution.go_on_from((1, 1_000_000, 0, 0))
    assert execution.may_be_large
    return execution


async def test_the_second_view_of_a_state_copies_nothing() -> None:
    execution, views = wide(1_000), Views(ManualClock())
    queries = [
        Query(
            execution_id=execution.state.execution_id,
            kind="execution",
            inspected=(("offset", str(offset)),),
        )
        for offset in range(3)
    ]
    counts = [lines_of(partial(views.answer, query, execution, None)) for query in queries]
    assert counts[0] > 1_000
    assert counts[1] < 300
    execution.state.seq += 1
    assert lines_of(lambda: views.answer(queries[0], execution, None)) > 1_000
    await views.stop()


async def test_the_state_of_an_ended_execution_is_read_without_a_copy() -> None:
    execution, views = wide(1_000), Views(ManualClock())
    cancelled = CancelRequested(at_ms=1)
    assert machine.handle(execution.plan, execution.state, cancelled).changed
    assert execution.over
    query = Query(execution_id=execution.state.execution_id, kind="execution")
    assert lines_of(lambda: views.answer(query, execution, None)) < 300
    read = execution.state_to_read()
    assert read is execution.state
    as_read = codec.encode_large_state(read)
    assert execution.is_shared
    execution.have_own_state()
    redone = RedoRequested(at_ms=2)
    assert machine.handle(execution.plan, execution.state, redone).changed
    assert not execution.over
    assert codec.encode_large_state(read) == as_read
    assert execution.state_to_read() is not execution.state
    await views.stop()


def asked(views: Views, execution: ActiveExecution, number: int) -> str:
    """Ask for a view of its own, and return its name."""
    query = Query(execution_id=execution.state.execution_id, kind="execution")
    name = views.answer(query, execution, f"reason {number}").view
    assert name is not None
    return name


def _note(order: list[int], number: int, _: object) -> None:
    order.append(number)


async def test_a_workspace_whose_views_wait_to_be_encoded_holds_up_no_other() -> None:
    views, order = Views(ManualClock()), list[int]()
    many, other, gate = wide(100), wide(100, "other"), threading.Event()
    held = _FOR_VIEWS.begin("held", gate.wait)
    names = [asked(views, many, number) for number in range(12)]
    names.append(asked(views, other, 0))
    encodings = [views._views[name].encoding for name in names]
    for number, encoding in enumerate(encodings):
        encoding.add_done_callback(partial(_note, order, number))
    gate.set()
    await asyncio.gather(held, *encodings)
    assert order[:3] == [0, 12, 1], order
    await views.stop()


async def test_a_workspace_with_half_of_the_views_gets_no_more_and_others_do() -> None:
    many, other = wide(1_000), wide(1_000, "other")
    views = Views(ManualClock())
    size_bytes = (await views.part(ViewPart(asked(views, many, 0)))).size_bytes
    await views.stop()
    views = Views(ManualClock(), most_bytes=4 * size_bytes)
    for number in range(2):
        await views.encoded(asked(views, many, number))
    with pytest.raises(UnreadAnswersError):
        asked(views, many, 2)
    assert asked(views, other, 0)
    await views.stop()


async def test_one_more_view_costs_the_same_however_many_are_kept() -> None:
    execution, views = wide(100), Views(ManualClock())
    names: list[str] = []

    def ask() -> None:
        names.append(asked(views, execution, len(names)))

    costs = []
    for _ in range(300):
        costs.append(lines_of(ask))
        await views.encoded(names[-1])
        await views.part(ViewPart(names[-1]))
    assert costs[-1] <= costs[1], "the first one copies the state"
    first, last = (lines_of(partial(views._forget, name)) for name in (names[0], names[-1]))
    assert first == last < 50
    await views.stop()


async def test_an_encoded_view_keeps_nothing_of_its_execution() -> None:
    execution, views = wide(1_000), Views(ManualClock())
    query = Query(execution_id=execution.state.execution_id, kind="brief")
    name = views.answer(query, execution, None).view
    assert views.answer(query, execution, None).view == name
    await views.encoded(name)
    await asyncio.sleep(0)
    left = [weakref.ref(each) for each in (execution, *views._copies.values())]
    assert len(left) == 2
    del execution
    gc.collect()
    assert [each() for each in left] == [None, None]
    assert (await views.part(ViewPart(name))).size_bytes > 1_000, "what is encoded is still read"
    again = wide(1_000)
    assert views.answer(query, again, None).view != name
    await views.stop()


async def test_a_view_is_encoded_apart_if_its_definition_writes_out_much() -> None:
    text = WIDE.replace("tasks:", f"commonMapping: {{c: [{LONG_RULE}]}}\ntasks:", 1).replace(
        "inputMappings: [", "inputMappings: [{reference: c}, {reference: c}, ", 1
    )
    plan = Plan(parse_definition(text), "wide")
    event = submission_event("memory:wide", "wide", data=encode_json({"items": [0]}))
    execution, views = ActiveExecution(plan, machine.submit(plan, event)[0]), Views(ManualClock())
    assert not execution.may_be_large
    query = Query(execution_id=execution.state.execution_id, kind="execution")
    name = views.answer(query, execution, None).view
    assert name is not None
    size_bytes = (await views.part(ViewPart(view=name))).size_bytes
    assert size_bytes > 2 * 40_000
    await views.stop()
