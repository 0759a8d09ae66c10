"""All views of one state of a large execution share one copy of it."""

from functools import partial
from typing import Final

from rillflow.core import machine
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.jsontypes import encode_json
from rillflow.ports.executions import Query
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.owner.views import Views
from tests.loopback import ManualClock
from tests.submissions import submission_event
from tests.unit.test_linear_readers import lines_of

WIDE: Final = """
workspace: memory
dagName: wide
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{source: $.context.items, target: $.input.items}]
    iterationMapping: {collection: $.input.items, item: item}
    tasks: [{name: wait, category: suspense}]
"""


def wide(items: int) -> ActiveExecution:
    plan = Plan(parse_definition(WIDE), "wide")
    event = submission_event("memory:wide", "wide", data=encode_json({"items": [0] * items}))
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
