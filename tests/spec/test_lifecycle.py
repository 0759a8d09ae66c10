"""An execution can be cancelled, paused and resumed, or ended by hand; refusals change nothing."""

import pytest

from rillflow.core import machine
from rillflow.core.events import ExecutionSubmitted, NoticeDelivered, RedoRequested
from rillflow.core.plan import Plan
from rillflow.definition.model import WorkflowDefinition
from rillflow.errors import ExecutionError
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import each, flow, fn, pass_, refused, scenario, susp, within
from tests.submissions import submission_event


def pair() -> Scenario:
    run = scenario(fn("A", to="B"), fn("B"), timeline=within(60))
    run.submit()
    return run


# -- cancel --------------------------------------------------------------------------------


def test_a_cancelled_execution_has_failed_and_starts_nothing_more() -> None:
    run = pair()
    assert run.cancel() == []
    assert run.status == "FAILED"
    assert run.state.invoke.msg == "cancelled"
    assert run.announced == ["DAG_FAILED"]
    assert run.timers == []
    assert run.statuses == {"A": "RUNNING", "B": "NOT_STARTED"}


def test_an_answer_after_the_end_is_kept_and_starts_nothing() -> None:
    run = scenario(fn("A", "sync", outs="x", to="B"), fn("B"))
    run.submit()
    run.cancel()
    assert run.answer("A", {"x": 1}) == []
    assert run.statuses == {"A": "SUCCEED", "B": "NOT_STARTED"}
    assert run.status == "FAILED"


def test_an_answer_after_the_end_is_not_retried() -> None:
    run = scenario(fn("A", "sync", retry={"maxRetryTimes": 1}))
    run.submit()
    run.cancel()
    assert run.answer("A", error="refused") == []
    assert run.status == "FAILED"


def test_a_callback_after_the_cancellation_is_kept_and_starts_nothing() -> None:
    run = scenario(fn("A", outs="x", to="B"), fn("B"))
    run.submit()
    run.answer("A")
    run.cancel()
    assert run.finish("A", {"x": 1}) == []
    assert run.statuses == {"A": "SUCCEED", "B": "NOT_STARTED"}
    assert (run.status, run.state.invoke.msg) == ("FAILED", "cancelled")


def test_a_signal_after_the_cancellation_is_refused() -> None:
    run = scenario(susp("A", "$.input.x"))
    run.submit()
    run.cancel()
    with pytest.raises(ExecutionError, match="is finished"):
        run.trigger("A", {"x": 1})


# -- pause and resume ----------------------------------------------------------------------


def test_a_paused_execution_takes_results_and_starts_nothing_until_resumed() -> None:
    run = pair()
    run.pause()
    assert run.finish("A") == []
    assert run.statuses == {"A": "SUCCEED", "B": "READY"}
    assert run.resume() == [dispatch("B")]
    run.finish("B")
    assert run.status == "SUCCEED"


def test_delays_and_retries_that_come_due_while_paused_start_on_resumption() -> None:
    run = scenario(
        fn("A", retry={"maxRetryTimes": 1, "intervalInSeconds": 1}),
        pass_("B", timeline={"suspenseIntervalSeconds": "1"}),
    )
    run.submit()
    run.finish("A", succeeded=False)
    run.pause()
    assert run.advance(5) == []
    assert run.statuses == {"A": "READY", "B": "READY"}
    assert run.resume() == [dispatch("A")]
    assert run.statuses == {"A": "RUNNING", "B": "SUCCEED"}


def test_a_delay_after_the_clock_came_back_is_as_long_as_it_was_meant_to_be() -> None:
    run = scenario(pass_("A", timeline={"suspenseIntervalSeconds": "2"}))
    run.now_ms = 3_600_000
    run.submit()
    run.pause()
    run.advance(2)
    run.now_ms = 10_000
    run.resume()
    run.advance(2)
    assert run.status == "SUCCEED"


def test_time_outs_go_on_while_paused() -> None:
    run = pair()
    run.pause()
    run.timeout()
    assert run.status == "FAILED"


def test_pausing_twice_and_resuming_twice_is_pausing_and_resuming() -> None:
    run = pair()
    run.pause()
    run.pause()
    run.finish("A")
    assert run.resume() == [dispatch("B")]
    assert run.resume() == []


def test_groups_wait_for_resumption_too() -> None:
    run = scenario(fn("A", outs="list", to="B"), each("B", "list", fn("B1"), ins="list"))
    run.submit()
    run.pause()
    run.finish("A", {"list": [1, 2]})
    assert run.resume() == [dispatch("B_0-B1"), dispatch("B_1-B1")]


@pytest.mark.parametrize("step", [Scenario.cancel, Scenario.pause, Scenario.resume])
def test_an_ended_execution_can_be_neither_cancelled_nor_paused(step: object) -> None:
    run = pair()
    run.cancel()
    with pytest.raises(ExecutionError, match="is finished"):
        step(run)  # type: ignore[operator]


# -- completion by hand --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "success", "message"),
    [
        ("RUNNING", True, None),
        ("RUNNING", False, None),
        ("KEY_SUCCEED", True, None),
        ("KEY_SUCCEED", False, None),
        ("SUCCEED", True, "status is SUCCEED now, and cannot be set to SUCCEED"),
        ("SUCCEED", False, None),
        ("FAILED", True, "status is FAILED now, and cannot be set to SUCCEED"),
        ("FAILED", False, "status is FAILED now, and cannot be set to FAILED"),
    ],
)
def test_completion_by_hand_goes_only_forward(
    *, status: str, success: bool, message: str | None
) -> None:
    run = at_status(status)
    announced = run.announced
    if message is None:
        assert run.complete(success=success) == []
        assert run.status == ("SUCCEED" if success else "FAILED")
        assert run.announced == announced
        return
    with pytest.raises(ExecutionError) as error:
        run.complete(success=success)
    assert refused(error)[1] == message


def at_status(status: str) -> Scenario:
    run = scenario(fn("A", "flow_sync"), callback={"resourceName": "http://listener"})
    run.submit()
    run.answer("A", {"execution_id": "c"})
    if status != "RUNNING":
        run.finish("A", succeeded=status != "FAILED", key_succeeded=status == "KEY_SUCCEED")
    assert run.status == status
    return run


@pytest.mark.case("AP-03")
def test_completion_by_hand_closes_the_executions_time_and_leaves_the_tasks() -> None:
    run = pair()
    run.advance(5)
    run.complete(success=True)
    assert [(info.start_ms, info.end_ms) for info in run.state.invoke.time_infos] == [(0, 5000)]
    assert run.statuses == {"A": "RUNNING", "B": "NOT_STARTED"}
    assert run.timers == []


def test_completion_again_leaves_the_end_time() -> None:
    run = scenario(pass_("A"))
    run.submit()
    run.advance(5)
    run.complete(success=False)
    assert [info.end_ms for info in run.state.invoke.time_infos] == [0]


# -- events that mean nothing --------------------------------------------------------------


def test_a_second_submission_changes_nothing() -> None:
    run = pair()
    run.take(submission_event("other", at_ms=9))
    assert not run.changed


@pytest.mark.parametrize("kind", ["parent", "completion"])
def test_a_delivery_that_was_not_due_changes_nothing(kind: str) -> None:
    run = pair()
    run.take(NoticeDelivered(at_ms=0, kind=kind))
    assert not run.changed


def test_submitted_data_that_are_no_object_count_as_none() -> None:
    run = scenario(susp("A", "$.input.x"))
    run.submit([1])  # type: ignore[arg-type]
    assert run.context == {}
    run = scenario(pass_("A"))
    run.submit(callback=[1])  # type: ignore[arg-type]
    assert run.state.callback is None


def test_what_a_submission_says_of_the_execution_is_kept() -> None:
    plan = Plan(WorkflowDefinition.model_validate(flow(fn("A"))), "scenario")
    state, _ = machine.submit(plan, submission(dedicated=True, uid=7))
    assert (state.execution_id, state.definition_id) == ("e", "d")
    assert (state.host, state.dedicated, state.uid) == ("http://here", True, 7)
    assert (state.context_max_bytes, state.foreach_max_items) == (4096, 5)


def test_rules_that_are_passed_over_are_told_with_the_event_and_the_task() -> None:
    broken = [{"source": "$.context.x", "target": "$.input..y"}]
    plan = Plan(WorkflowDefinition.model_validate(flow(fn("A", ins=broken))), "scenario")
    first = submission(data=b'{"x": 1}')
    state, submitted = machine.submit(plan, first)
    redone = machine.handle(plan, state, RedoRequested(at_ms=1, tasks=("A",)))
    told = [(each.task, rule.rule) for each in submitted.mapped for rule in each.rules]
    assert told == [("A", "$.context.x -> $.input..y")]
    assert redone.mapped == submitted.mapped
    assert list(machine.handle(plan, state, first).mapped) == []


def submission(*, data: bytes = b"{}", dedicated: bool = False, uid: int = 0) -> ExecutionSubmitted:
    return submission_event(
        "e",
        "d",
        at_ms=0,
        host="http://here",
        data=data,
        dedicated=dedicated,
        uid=uid,
        context_max_bytes=4096,
        foreach_max_items=5,
    )
