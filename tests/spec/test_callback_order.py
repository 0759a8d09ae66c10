"""A callback counts once: an early one is held, a late or repeated one changes nothing."""

import pytest

from rillflow.core.events import DispatchAnswered
from rillflow.errors import ExecutionError, RequestError
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import Definition, fn, refused, scenario, susp

# -- early -----------------------------------------------------------------------------------


def test_an_early_callback_is_held_until_the_dispatch_has_answered() -> None:
    run = scenario(fn("A", outs="x", to="B"), fn("B"))
    run.submit()

    assert run.finish("A", {"x": 1}, early=True) == []
    assert run.statuses["A"] == "RUNNING"
    assert run.answer("A", {"invoke_id": "i"}) == [dispatch("B")]
    assert run.context == {"x": 1}
    assert run.task("A").invoke.invoke_id == "i"


def test_an_early_callback_counts_though_its_dispatch_fails() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.finish("A", {"x": 1}, early=True)
    run.answer("A", error="connection lost")
    assert run.statuses == {"A": "SUCCEED"}


def test_of_two_early_callbacks_the_first_counts() -> None:
    run = scenario(fn("A", outs="x"))
    run.submit()
    run.finish("A", {"x": 1}, early=True)
    run.finish("A", {"x": 2}, early=True)
    assert not run.changed
    run.answer("A")
    assert run.context == {"x": 1}


def test_an_early_callback_whose_output_cannot_be_mapped_fails_the_task() -> None:
    broken = [{"transform": "1 + ", "target": "$.context.x", "tolerance": False}]
    run = scenario(fn("A", outs=broken))
    run.submit()
    run.finish("A", {"x": 1}, early=True)
    run.answer("A")
    assert run.statuses == {"A": "FAILED"}
    assert (run.task("A").invoke.msg or "").startswith("line 1")


def test_an_early_callback_of_a_sync_task_does_not_count() -> None:
    run = scenario(fn("A", "sync"))
    run.submit()
    run.finish("A", early=True, succeeded=False)
    run.answer("A", {})
    assert run.statuses == {"A": "SUCCEED"}


# -- at once ---------------------------------------------------------------------------------


def test_an_answer_that_is_the_outcome_ends_the_task_like_a_callback() -> None:
    run = scenario(fn("A", outs="result", to="B"), fn("B"))
    run.submit()
    body: Definition = {"result_type": "SUCCESS", "result": 1, "invoke_id": "i"}
    assert run.answer("A", body, is_outcome=True) == [dispatch("B")]
    assert run.context == {"result": 1}
    assert run.task("A").invoke.output == body
    assert run.finish("A", {"result": 2}) == []
    assert not run.changed


def test_an_outcome_may_be_a_failure_and_is_tried_again() -> None:
    run = scenario(fn("A", retry={"maxRetryTimes": 1}))
    run.submit()
    failure: Definition = {"result_type": "FAILED", "error_msg": "no", "error_code": 7}
    assert run.answer("A", failure, is_outcome=True) == [dispatch("A")]
    assert run.task("A").attempt == 2
    run.answer("A", failure, is_outcome=True)
    assert run.statuses == {"A": "FAILED"}
    assert (run.task("A").invoke.msg, run.task("A").invoke.code) == ("no", "7")


def test_a_callback_that_was_earlier_than_the_outcome_counts() -> None:
    run = scenario(fn("A", outs="x"))
    run.submit()
    run.finish("A", {"x": 1}, early=True)
    run.answer("A", {"x": 2}, is_outcome=True)
    assert run.context == {"x": 1}


def test_an_outcome_of_an_attempt_that_ran_out_of_time_changes_nothing() -> None:
    run = scenario(fn("A", timeline={"timeoutInSeconds": 1}))
    run.submit()
    run.advance(1)
    assert run.statuses == {"A": "FAILED"}
    run.answer("A", {"x": 2}, is_outcome=True)
    assert run.statuses == {"A": "FAILED"}


# -- repeated or late ------------------------------------------------------------------------


def test_a_repeated_callback_changes_nothing() -> None:
    run = scenario(fn("A", to="B"), fn("B"))
    run.submit()
    run.finish("A")

    assert run.finish("A", {"other": 1}, succeeded=False) == []
    assert not run.changed
    assert run.statuses["A"] == "SUCCEED"


def test_a_repeated_callback_after_the_end_changes_nothing() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.finish("A")
    run.trigger("A", {"x": 1})
    assert not run.changed


def test_a_callback_of_an_earlier_attempt_changes_nothing() -> None:
    run = scenario(fn("A", retry={"maxRetryTimes": 1}))
    run.submit()
    run.finish("A", succeeded=False, attempt=1)
    run.answer("A")
    run.finish("A", succeeded=True, attempt=1)
    assert not run.changed
    run.finish("A", succeeded=True, attempt=2)
    assert run.status == "SUCCEED"


def test_a_late_answer_of_an_earlier_attempt_changes_nothing() -> None:
    run = scenario(fn("A", "sync", timeline={"timeoutInSeconds": 1}, retry={"maxRetryTimes": 1}))
    run.submit()
    assert run.timeout("A")[0] == dispatch("A")
    run.take(DispatchAnswered(at_ms=1000, task="A", attempt=1, body=b"{}"))
    assert not run.changed
    run.answer("A", {})
    assert run.statuses == {"A": "SUCCEED"}


def test_the_answer_of_a_sync_call_decides_whatever_was_called_back_before() -> None:
    run = scenario(fn("A", "sync", outs="x"))
    run.submit()
    run.finish("A", {"x": 1}, early=True)
    run.answer("A", error="refused")
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").invoke.msg == "refused"


def test_an_answer_to_nothing_changes_nothing() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.answer("A")
    for task in ("A", "Z"):
        run.answer(task, {})
        assert not run.changed


def test_a_callback_that_announces_a_repetition_leaves_the_task_running() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.finish("A", succeeded=False, will_retry=True, msg="once more", ext={"try": 1})
    assert run.statuses == {"A": "RUNNING"}
    assert run.task("A").invoke.msg == "once more"
    assert run.task("A").invoke.ext == {"try": 1}
    run.finish("A", succeeded=False, will_retry=True, msg="and again")
    assert run.task("A").invoke.msg == "and again"
    assert run.task("A").invoke.ext == {"try": 1}


def test_what_a_function_notes_of_itself_and_the_hint_of_its_call_are_kept_apart() -> None:
    run = scenario(fn("A", retry={"maxRetryTimes": 2}))
    run.submit()
    run.finish("A", succeeded=False, ext={"hint": "GPU 7 is hot"})
    run.answer("A", error="refused", hint="did you mean `http`?")
    invoke = run.task("A").invoke
    assert (invoke.ext, invoke.hint) == ({"hint": "GPU 7 is hot"}, None)
    run.answer("A", error="refused", hint="did you mean `http`?")
    invoke = run.task("A").invoke
    assert (invoke.ext, invoke.hint) == ({"hint": "GPU 7 is hot"}, "did you mean `http`?")


@pytest.mark.parametrize(
    ("task", "refusal"),
    [
        (" ", (30606, "finish taskName can not be null")),
        ("Z", (30503, "storage can not get taskInfo:Z")),
        ("B", (30601, "attempt finish wrong task B")),
        ("P", (30601, "attempt finish wrong task P")),
    ],
)
def test_a_callback_for_what_cannot_be_finished_is_refused(
    task: str, refusal: tuple[int, str]
) -> None:
    run = scenario(fn("A", to="B"), fn("B"), susp("P", "$.input.x"))
    run.submit()
    with pytest.raises(ExecutionError) as error:
        run.finish(task)
    assert refused(error) == refusal


def test_a_trigger_for_an_unknown_task_is_the_callers_mistake() -> None:
    run = scenario(fn("A"))
    run.submit()
    with pytest.raises(RequestError) as error:
        run.trigger("Z")
    assert refused(error) == (30109, f"task not exists {run.state.execution_id}:Z")


def test_a_callback_for_a_finished_execution_is_refused() -> None:
    run = scenario(fn("A"), fn("B"))
    run.submit()
    run.complete(success=False)
    finished = f"validateDAGInfo dag executionId:{run.state.execution_id} is finished"
    for task in ("A", "Z"):
        with pytest.raises(ExecutionError) as error:
            run.finish(task, early=True)
        assert refused(error) == (30601, finished)


def test_a_callback_that_is_refused_leaves_what_the_attempt_has_said() -> None:
    text = """
workspace: demo
dagName: refused
type: flow
tasks:
- name: A
  category: function
  pattern: task_async
  resourceName: http://f/
  successConditions: ["$.output[?(@.good == 1)]"]
  outputMappings: [{transform: "1 +", target: $.context.x, tolerance: false}]
"""
    flow = Scenario(text, check=True)
    flow.submit({})
    flow.answer("A")
    with pytest.raises(ExecutionError):
        flow.finish("A", {"x": 1}, succeeded=None, early=True)
    assert flow.task("A").invoke.time_infos[-1].error is None
