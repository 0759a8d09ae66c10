"""Whoever reads an execution that has not ended learns which actor and node hold it."""

from typing import Final

import pytest

from rillflow.core import machine
from rillflow.core.events import CancelRequested
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.jsontypes import JsonObject, decode_json
from rillflow.ports.executions import Query
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.owner.views import Views
from tests.loopback import ManualClock
from tests.submissions import submission_event

WAITS: Final = """
workspace: holders
dagName: waits
type: flow
tasks: [{name: wait, category: suspense, conditions: [$.input.open]}]
"""
HOLDER: Final[JsonObject] = {"actor": "rillflow:execution:0", "node": "a1", "address": "10.0.0.1"}


def _execution() -> ActiveExecution:
    plan = Plan(parse_definition(WAITS), "waits")
    state, _ = machine.submit(plan, submission_event("holders:waits", "waits", data=b"{}"))
    execution = ActiveExecution(plan, state)
    execution.go_on_from((1, 100, 0, 0))
    return execution


def _shown(execution: ActiveExecution, kind: str, *, inspects: bool) -> JsonObject:
    views = Views(ManualClock(), holder=HOLDER)
    asked = (("offset", "0"), ("limit", "10")) if inspects else None
    query = Query(execution_id=execution.state.execution_id, kind=kind, inspected=asked)
    body = views.answer(query, execution, None).body
    assert body is not None
    shown = decode_json(body)
    assert isinstance(shown, dict)
    return shown


@pytest.mark.parametrize(
    ("kind", "inspects"), [("execution", False), ("header", True), ("waits", True)]
)
def test_a_view_of_what_has_not_ended_names_its_holder(kind: str, *, inspects: bool) -> None:
    assert _shown(_execution(), kind, inspects=inspects)["holder"] == HOLDER


def test_a_brief_view_does_not() -> None:
    assert "holder" not in _shown(_execution(), "brief", inspects=False)


def test_nobody_holds_what_has_ended() -> None:
    execution = _execution()
    machine.handle(execution.plan, execution.state, CancelRequested(at_ms=1))
    shown = _shown(execution, "execution", inspects=False)
    assert shown["dag_status"] == "FAILED"
    assert "holder" not in shown
