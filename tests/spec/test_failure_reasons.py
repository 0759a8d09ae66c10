"""A task that fails says why: in its message, or in a hint where Rill Flow has no message."""

import pytest

from rillflow.core.tasks.function_tasks import ID_CHARACTERS, MESSAGE_CHARACTERS
from rillflow.testing import Scenario
from tests.spec.notation import Definition, each, fn, scenario


def attempts(run: Scenario, name: str = "A") -> list[str | None]:
    """Return what each attempt said of its failure."""
    return [info.error for info in run.task(name).invoke.time_infos]


ROWS: list[tuple[Definition, dict[str, object], str]] = [
    (
        {"success_conditions": ["$.output[?(@.z == 1)]"]},
        {"y": 1},
        "its successConditions do not hold",
    ),
    ({"fail_conditions": ["$.output[?(@.y == 1)]"]}, {"y": 1}, "its failConditions hold"),
    ({}, {"result_type": "FAILED"}, "its result_type is FAILED"),
]


@pytest.mark.parametrize(("conditions", "output", "why"), ROWS)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_outcome_that_conditions_call_a_failure_says_so(
    kind: str, conditions: Definition, output: dict[str, object], why: str
) -> None:
    run = scenario(fn("A", kind, **conditions))
    run.submit()
    if kind == "sync":
        run.answer("A", output)  # type: ignore[arg-type]
    else:
        run.finish("A", output, succeeded=None)  # type: ignore[arg-type]
    invoke = run.task("A").invoke
    assert run.status == "FAILED"
    assert (invoke.msg, invoke.hint, attempts(run)) == (None, why, [why])
    assert (run.state.invoke.msg, run.state.invoke.hint) == (None, why)


def test_its_own_message_stays_beside_the_hint() -> None:
    run = scenario(fn("A", "sync", success_conditions=["$.output[?(@.z == 1)]"]))
    run.submit()
    run.answer("A", {"msg": "out of paper"})
    invoke = run.task("A").invoke
    assert (invoke.msg, attempts(run)) == ("out of paper", ["out of paper"])
    assert invoke.hint == "its successConditions do not hold"


def test_a_later_attempt_that_succeeds_has_no_hint() -> None:
    conditions = ["$.output[?(@.z == 1)]"]
    run = scenario(fn("A", "sync", success_conditions=conditions, retry={"maxRetryTimes": 1}))
    run.submit()
    run.answer("A", {"y": 1})
    run.answer("A", {"z": 1})
    assert (run.status, run.task("A").invoke.hint) == ("SUCCEED", None)
    assert attempts(run) == ["its successConditions do not hold", None]


def test_an_address_that_is_no_sub_flow_is_told() -> None:
    run = scenario(fn("A", "flow_sync"))
    run.submit()
    run.answer("A", {"y": 1})
    assert run.task("A").invoke.hint == "the answer has no execution_id, so no sub-flow was started"
    assert attempts(run) == [run.task("A").invoke.hint]


def test_an_attempt_whose_mapping_failed_has_its_error() -> None:
    outs = [{"source": "$.output.age", "target": "$.context.age"}]
    run = scenario(fn("A", "sync", outs=outs, retry={"maxRetryTimes": 1}), strict=True)
    run.submit()
    run.answer("A", {"ag": 1})
    run.answer("A", {"age": 1})
    why = "outputMappings rule 1, $.output.age -> $.context.age: `$.output.age` does not exist"
    assert run.status == "SUCCEED"
    assert [error and error.startswith(why) for error in attempts(run)] == [True, None]


@pytest.mark.parametrize("redone", ["A_0-B", "A_1-B"])
def test_a_foreach_says_why_it_failed_also_after_a_redo_of_another_iteration(redone: str) -> None:
    run = scenario(each("A", "items", fn("B"), ins="items"))
    run.submit({"items": [1, 2]})
    for name in ("A_0-B", "A_1-B"):
        run.finish(name, {}, succeeded=False, msg=f"no {name}")
    assert run.task("A").invoke.msg == "no A_1-B"
    run.redo(redone, failed_only=True)
    run.finish(redone, {"ok": 1})
    (left,) = {"A_0-B", "A_1-B"} - {redone}
    assert run.status == "FAILED"
    assert run.task("A").invoke.msg == run.state.invoke.msg == f"no {left}"
    assert attempts(run, "A")[-1] == f"no {left}"


@pytest.mark.parametrize("tasks", [{"kind": "sync"}, {"kind": "async"}, {"kind": "flow_sync"}])
def test_what_an_answer_says_of_itself_is_kept_up_to_a_length(tasks: dict[str, str]) -> None:
    run = scenario(fn("A", tasks["kind"]))
    run.submit()
    long = "x" * 100_000
    said: dict[str, object] = {"result_type": "FAILED", "error_msg": long, "error_code": long}
    run.answer("A", {**said, "invoke_id": long, "execution_id": long})  # type: ignore[dict-item]
    invoke = run.task("A").invoke
    assert invoke.msg == long[:MESSAGE_CHARACTERS]
    assert invoke.invoke_id == invoke.referenced_execution_id == long[:ID_CHARACTERS]
    assert invoke.code == long[:256]
    assert len(run.state.invoke.msg or "") <= MESSAGE_CHARACTERS
    assert all(len(error or "") <= MESSAGE_CHARACTERS for error in attempts(run))
