"""The output mappings of a sub-flow that is waited for are judged at its end, not at its start.

They are applied twice: to its id when it was started, and to its context when it has ended. A
rule that had effect the first time may come to nothing the second time.
"""

from typing import Any, Final

import pytest

from rillflow.core import machine, view
from rillflow.core.events import DispatchAnswered
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.jsontypes import encode_json
from rillflow.language.versions import CURRENT, MEMORY_CHARGED
from rillflow.testing import Scenario
from tests.spec.notation import Definition, Json, flow, fn, scenario
from tests.submissions import submission_event

CHILD: Final = "demo:child_c_1"
VALUE: Final = {"source": "$.output.v", "target": "$.context.v"}
ITS_ID: Final = {"source": "$.output.execution_id", "target": "$.context.child"}


def started(
    *rules: Definition, kind: str = "flow_sync", retry: Json = None, strict: bool = False
) -> Scenario:
    run = scenario(fn("A", kind, outs=list(rules), retry=retry), strict=strict)
    run.submit()
    run.answer("A", {"execution_id": CHILD})
    return run


def told(run: Scenario) -> list[tuple[int, str]]:
    shown: Any = view.task_view(run.plan, run.state, run.state.tasks["A"])
    return [(one["number"], one["kind"]) for one in shown.get("warnings", [])]


@pytest.mark.parametrize("strict", [False, True])
def test_what_the_start_does_not_give_is_neither_told_nor_a_failure(*, strict: bool) -> None:
    run = started(VALUE, strict=strict)
    assert (run.statuses, told(run)) == ({"A": "RUNNING"}, [])
    run.finish("A", {"v": 1})
    assert (run.status, run.context, told(run)) == ("SUCCEED", {"v": 1}, [])


@pytest.mark.parametrize("strict", [False, True])
def test_a_rule_that_had_effect_at_the_start_need_have_none_at_the_end(*, strict: bool) -> None:
    run = started(VALUE, ITS_ID, strict=strict)
    assert run.context == {"child": CHILD}
    run.finish("A", {"v": 1})
    assert (run.status, told(run)) == ("SUCCEED", [])
    assert run.context == {"child": CHILD, "v": 1}


def test_what_the_end_does_not_give_is_told_and_fails_if_strict() -> None:
    run = started(VALUE, ITS_ID)
    run.finish("A", {"w": 1})
    assert (run.status, told(run)) == ("SUCCEED", [(1, "missing")])


def test_nothing_is_told_of_a_sub_flow_that_has_failed() -> None:
    run = started(VALUE)
    run.finish("A", {}, succeeded=False)
    assert (run.status, told(run)) == ("FAILED", [])


def test_what_had_effect_at_the_start_of_an_earlier_attempt_does_not_count() -> None:
    retry = {"maxRetryTimes": 1, "intervalInSeconds": 0}
    run = started(VALUE, ITS_ID, retry=retry)
    run.finish("A", {}, succeeded=False)
    run.answer("A", {"execution_id": CHILD, "v": 2})
    run.finish("A", {"v": 1})
    assert told(run) == []
    assert run.context == {"child": CHILD, "v": 1}


def test_a_sub_flow_that_is_not_waited_for_is_judged_at_its_start() -> None:
    run = started(VALUE, ITS_ID, kind="flow_async")
    assert (run.status, told(run)) == ("SUCCEED", [(1, "missing")])
    assert started(VALUE, kind="flow_async", strict=True).status == "FAILED"


def test_an_older_execution_is_judged_as_it_was() -> None:
    text = flow(fn("A", "flow_sync", outs=[VALUE]), strict=True)
    plan = Plan(parse_definition(encode_json(text)), "")
    for language, status in ((MEMORY_CHARGED, "FAILED"), (CURRENT, "RUNNING")):
        submission = submission_event("demo:scenario_c_1", at_ms=0, language=language)
        state, _ = machine.submit(plan, submission)
        body = encode_json({"execution_id": CHILD})
        machine.handle(plan, state, DispatchAnswered(at_ms=0, task="A", attempt=1, body=body))
        assert state.status.name == status
