"""A callback that is overdue by ``expected_callback_s`` is asked for, or its task fails."""

import pytest

from rillflow.core import machine, timing
from rillflow.core.commands import DispatchTask
from rillflow.testing import Scenario
from tests.spec.notation import Definition, Json, flow, fn, susp, within

ASK = "http://functions.test/status/1"


def begun(expected_callback_s: float | None = 60, /, **task: Json) -> Scenario:
    definition = flow(fn("A", outs="n", **task))
    run = Scenario(definition, expected_callback_s=expected_callback_s, check=True)
    run.submit()
    return run


def asked(run: Scenario) -> list[DispatchTask]:
    return [
        command
        for command in machine.outstanding(run.plan, run.state)
        if isinstance(command, DispatchTask) and command.pattern == "poll"
    ]


def message(run: Scenario) -> str | None:
    return run.task("A").invoke.msg


def test_without_the_setting_a_callback_is_waited_for_as_long_as_it_takes() -> None:
    run = begun(None)
    run.answer("A", http_status=202, poll_url=ASK)
    assert run.timers == []
    run.advance(10**7)
    assert run.statuses == {"A": "RUNNING"}
    assert run.task("A").poll_url is None


def test_a_function_that_gave_an_address_is_asked_once_its_callback_is_overdue() -> None:
    run = begun()
    run.answer("A", http_status=202, poll_url=ASK)
    run.advance(59.999)
    assert asked(run) == []
    run.advance(0.001)
    [question] = asked(run)
    assert (question.resource_name, question.request_type, question.attempt) == (ASK, "GET", 1)
    run.answer("A", {"n": 5})
    assert (run.status, run.context) == ("SUCCEED", {"n": 5})


def test_it_is_asked_again_ever_later_as_with_completion_poll() -> None:
    run = begun()
    run.answer("A", http_status=202, poll_url=ASK)
    for wait_s in (60, 2, 4, 8, 16, 30, 30):
        run.advance(wait_s - 0.001)
        assert asked(run) == []
        run.advance(0.001)
        assert len(asked(run)) == 1
        run.answer("A", http_status=202)
    assert run.statuses == {"A": "RUNNING"}


def test_retry_after_puts_the_first_question_off() -> None:
    run = begun(5)
    run.answer("A", http_status=202, poll_url=ASK, retry_after_s=7.0)
    run.advance(6.9)
    assert asked(run) == []
    run.advance(0.1)
    assert len(asked(run)) == 1


def test_a_callback_in_time_leaves_nothing_to_ask() -> None:
    run = begun()
    run.answer("A", http_status=202, poll_url=ASK)
    run.advance(59)
    run.finish("A", {"n": 1})
    assert (run.status, run.context, run.timers) == ("SUCCEED", {"n": 1}, [])


def test_a_callback_between_two_questions_counts() -> None:
    run = begun()
    run.answer("A", http_status=202, poll_url=ASK)
    run.advance(60)
    run.answer("A", http_status=202)
    run.finish("A", {"n": 2})
    assert (run.status, run.context) == ("SUCCEED", {"n": 2})


def test_a_callback_while_the_question_is_under_way_counts_before_its_answer() -> None:
    run = begun()
    run.answer("A", http_status=202, poll_url=ASK)
    run.advance(60)
    run.finish("A", {"n": 2}, early=True)
    run.answer("A", {"n": 3})
    assert (run.status, run.context) == ("SUCCEED", {"n": 2})


def test_a_callback_after_the_answer_to_a_question_changes_nothing() -> None:
    run = begun()
    run.answer("A", http_status=202, poll_url=ASK)
    run.advance(60)
    run.answer("A", {"n": 3})
    run.finish("A", {"n": 2})
    assert not run.changed
    assert run.context == {"n": 3}


def test_without_an_address_an_overdue_callback_fails_the_task() -> None:
    run = begun()
    run.answer("A", http_status=202)
    run.advance(59.999)
    assert run.statuses == {"A": "RUNNING"}
    run.advance(0.001)
    assert (run.status, run.statuses) == ("FAILED", {"A": "FAILED"})
    assert message(run) == "no callback within 60 s"


def test_every_attempt_has_its_time_from_its_own_answer() -> None:
    run = begun(2.5, retry={"maxRetryTimes": 1, "intervalInSeconds": 10})
    run.answer("A")
    run.advance(2.5)
    assert run.statuses == {"A": "READY"}
    assert message(run) == "no callback within 2.5 s"
    run.advance(10)
    run.advance(5)
    assert run.statuses == {"A": "RUNNING"}, "the call has not been answered yet"
    run.answer("A")
    run.advance(2.4)
    run.finish("A", {"n": 1})
    assert (run.status, len(run.dispatched)) == ("SUCCEED", 2)


def test_a_tolerated_failure_lets_the_workflow_go_on() -> None:
    run = begun(tolerance=True)
    run.answer("A")
    run.advance(60)
    assert (run.status, run.statuses) == ("SUCCEED", {"A": "SKIPPED"})


def test_the_tasks_own_time_out_is_its_end_where_there_is_nobody_to_ask() -> None:
    run = begun(timeline=within(600))
    run.answer("A")
    run.advance(599)
    assert run.statuses == {"A": "RUNNING"}
    run.advance(1)
    assert (run.status, message(run)) == ("FAILED", "timeout")


def test_a_timeline_without_a_time_out_is_no_end() -> None:
    run = begun(timeline={"suspenseIntervalSeconds": 5})
    run.advance(5)
    run.answer("A")
    run.advance(60)
    assert message(run) == "no callback within 60 s"


def test_the_tasks_own_time_out_ends_the_asking() -> None:
    run = begun(timeline=within(61))
    run.answer("A", http_status=202, poll_url=ASK)
    run.advance(60)
    assert len(asked(run)) == 1
    run.answer("A", http_status=202)
    run.advance(1)
    assert (run.status, message(run)) == ("FAILED", "timeout")


def test_a_call_that_is_not_answered_is_not_overdue() -> None:
    run = begun()
    run.advance(1000)
    assert run.statuses == {"A": "RUNNING"}
    assert run.task("A").in_flight


def test_a_callback_that_overtook_the_answer_leaves_nothing_to_expect() -> None:
    run = begun()
    run.finish("A", {"n": 1}, early=True)
    run.answer("A", http_status=202, poll_url=ASK)
    assert (run.status, run.timers) == ("SUCCEED", [])


def test_a_first_success_is_a_callback() -> None:
    run = begun(keyCallback=True)
    run.answer("A")
    run.finish("A", {"n": 1}, key_succeeded=True)
    run.advance(1000)
    assert run.statuses == {"A": "KEY_SUCCEED"}
    run.finish("A", {"n": 2})
    assert (run.status, run.context) == ("SUCCEED", {"n": 2})


@pytest.mark.parametrize(
    "task",
    [fn("A", "flow_sync"), susp("A", "$.input.go")],
)
def test_only_functions_that_call_back_are_looked_after(task: Definition) -> None:
    run = Scenario(flow(task), expected_callback_s=1, check=True)
    run.submit()
    if run.task("A").in_flight:
        run.answer("A", {"execution_id": "demo:child_c_1"})
    run.advance(1000)
    assert run.statuses == {"A": "RUNNING"}


def test_a_task_that_polls_goes_by_its_own_waits() -> None:
    run = begun(completion="poll")
    run.answer("A", http_status=202, poll_url=ASK)
    run.advance(1)
    assert len(asked(run)) == 1


def test_after_the_end_nothing_is_asked_and_a_redo_of_another_task_asks_again() -> None:
    definition = flow(fn("A"), fn("B"))
    run = Scenario(definition, expected_callback_s=60, check=True)
    run.submit()
    run.answer("A", http_status=202, poll_url=ASK)
    run.answer("B", error="broken")
    run.complete(success=False)
    assert run.timers == []
    run.advance(100)
    assert asked(run) == []
    run.redo("B")
    run.advance(0)
    assert [question.task for question in asked(run)] == ["A"]


def test_the_wait_is_as_long_as_it_was_set_whatever_the_clock_does() -> None:
    run = begun()
    run.answer("A")
    [timer] = run.timers
    assert timing.longest_wait_ms(run.state, timer) == 60_000
