"""A callback or signal that cannot be applied is refused, and its task says why it waits on."""

import pytest

from rillflow.core import view
from rillflow.core.events import SubFlowNotice
from rillflow.errors import ExecutionError
from rillflow.testing import Scenario
from tests.spec.notation import Definition, fn, scenario, susp

WANTED: Definition = {"source": "$.output.age", "target": "$.context.age"}
MISSING = "outputMappings rule 1, $.output.age -> $.context.age: `$.output.age` does not exist"
RAISING: Definition = {"transform": "1 + nil", "target": "$.context.x", "tolerance": False}


def waiting(*rules: Definition, strict: bool = False) -> Scenario:
    run = scenario(fn("A", outs=list(rules)), strict=strict)
    run.submit()
    run.answer("A", {})
    return run


def test_what_a_strict_execution_cannot_take_is_kept_with_the_task() -> None:
    run = waiting(WANTED, strict=True)
    with pytest.raises(ExecutionError, match="does not exist") as refused:
        run.finish("A", {"ag": 3}, msg="done", code="7")
    assert refused.value.wire_code == 30603
    invoke = run.task("A").invoke
    assert run.statuses == {"A": "RUNNING"}
    assert (invoke.msg, invoke.code, invoke.output) == (None, None, {})
    assert invoke.hint is not None
    assert invoke.hint.startswith(f"a callback was refused: {MISSING}")
    shown = view.task_view(run.plan, run.state, run.task("A"))
    assert shown["mapping_warnings"] == 1


def test_the_same_refusal_is_kept_once() -> None:
    run = waiting(WANTED, strict=True)
    for _ in range(2):
        with pytest.raises(ExecutionError):
            run.finish("A", {"ag": 3})
    assert len(run.journal) == 3


def test_an_outcome_that_can_be_taken_later_ends_the_task_without_it() -> None:
    run = waiting(WANTED, strict=True)
    with pytest.raises(ExecutionError):
        run.finish("A", {"ag": 3})
    run.finish("A", {"age": 3})
    assert (run.status, run.context, run.task("A").invoke.hint) == ("SUCCEED", {"age": 3}, None)
    assert view.execution_view(run.plan, run.state, at_ms=0).get("mapping_warnings") is None


@pytest.mark.parametrize("tells", [None, "out of paper"])
def test_a_rule_that_may_not_fail_is_kept_too_and_nothing_of_the_outcome(tells: str | None) -> None:
    run = waiting(RAISING)
    with pytest.raises(ExecutionError):
        run.finish("A", {"b": 1}, msg=tells)  # type: ignore[arg-type]
    invoke = run.task("A").invoke
    assert (invoke.hint or "").startswith("a callback was refused: ")
    assert [info.error for info in invoke.time_infos] == [None]


def test_a_suspense_says_which_signal_it_could_not_take() -> None:
    run = scenario(susp("A", "$.input.x", ins="x", outs=[RAISING]))
    run.submit()
    with pytest.raises(ExecutionError):
        run.wake("A", {"b": 1})
    assert run.context == {}
    assert (run.task("A").invoke.hint or "").startswith("a signal was refused: ")
    run.wake("A", {})
    assert run.task("A").invoke.hint is None


AT_ITS_END: Definition = {
    "transform": "if output.execution_id == nil { 1 + nil } else { 1 }",
    "target": "$.context.x",
    "tolerance": False,
}


@pytest.mark.parametrize("strict", [False, True])
def test_an_outcome_of_a_sub_flow_that_cannot_be_taken_fails_its_attempt(*, strict: bool) -> None:
    run = scenario(fn("A", "flow_sync", outs=[WANTED if strict else AT_ITS_END]), strict=strict)
    run.submit()
    run.answer("A", {"execution_id": "demo:child_c_1"})
    assert run.status == "RUNNING"
    run.finish("A", {"ag": 1}, attempt=1, sub_flow=SubFlowNotice(number=1))
    assert (run.status, run.task("A").status.name) == ("FAILED", "FAILED")
    assert run.task("A").invoke.msg
