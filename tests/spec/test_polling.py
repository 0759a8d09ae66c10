"""With ``completion: poll`` the gateway is asked for the result of a call it has accepted."""

import pytest

from rillflow.core import machine, timing
from rillflow.core.commands import DispatchTask
from rillflow.core.events import CallbackReceived, DispatchAnswered, TimerFired
from rillflow.testing.scenario import Scenario

FLOW = """
workspace: demo
dagName: polled
type: flow
tasks:
- name: A
  category: function
  pattern: task_async
  completion: poll
  resourceName: http://functions.test/a
  outputMappings:
  - source: $.output.n
    target: $.context.n
"""
ASK = "http://functions.test/status/1"


def started(
    text: str = FLOW, retry_after_s: float | None = None, *, polls_public: bool = False
) -> Scenario:
    flow = Scenario(text, check=True)
    flow.submit({})
    flow.take(
        DispatchAnswered(
            at_ms=flow.now_ms,
            task="A",
            attempt=1,
            http_status=202,
            poll_url=ASK,
            retry_after_s=retry_after_s,
            polls_public=polls_public,
        )
    )
    return flow


def reply(
    flow: Scenario,
    body: bytes | None = None,
    *,
    status: int = 200,
    error: str = "",
    poll: int | None = None,
) -> None:
    flow.take(
        DispatchAnswered(
            at_ms=flow.now_ms,
            task="A",
            attempt=1,
            http_status=status or None,
            body=body,
            error=error or None,
            poll=poll,
        )
    )


def asked(flow: Scenario) -> list[DispatchTask]:
    return [
        command
        for command in machine.outstanding(flow.plan, flow.state)
        if isinstance(command, DispatchTask) and command.pattern == "poll"
    ]


@pytest.mark.parametrize("is_public", [True, False])
def test_whether_a_public_address_gave_the_poll_address_is_in_every_poll(
    *, is_public: bool
) -> None:
    flow = started(polls_public=is_public)
    for wait_s in (1, 2):
        flow.advance(wait_s)
        assert [command.is_public for command in asked(flow)] == [is_public]
        reply(flow, status=202)


def test_the_first_question_comes_after_a_second_and_the_next_ones_ever_later() -> None:
    flow = started()
    for wait_s in (1, 2, 4, 8, 16, 30, 30):
        assert asked(flow) == []
        flow.advance(wait_s - 0.001)
        assert asked(flow) == []
        flow.advance(0.001)
        [question] = asked(flow)
        assert (question.resource_name, question.request_type) == (ASK, "GET")
        reply(flow, status=202)
    assert flow.statuses == {"A": "RUNNING"}


def test_each_question_has_a_number_and_only_its_own_answer_counts() -> None:
    flow = started()
    flow.advance(1)
    reply(flow, status=202)
    flow.advance(2)
    [question] = asked(flow)
    assert question.call == (flow.state.execution_id, "A", 1, 2)
    for number in (0, 1, 3):
        reply(flow, b'{"n": 5}', poll=number)
        assert not flow.changed
    assert asked(flow) == [question]
    reply(flow, b'{"n": 5}', poll=2)
    assert flow.context["n"] == 5


def test_the_answer_of_a_question_does_not_stand_for_the_calls_own() -> None:
    flow = Scenario(FLOW, check=True)
    flow.submit({})
    reply(flow, b'{"n": 5}', poll=1)
    assert not flow.changed
    reply(flow, b'{"n": 6}', poll=0)
    assert flow.context["n"] == 6


def test_a_question_is_dated_by_the_start_of_its_attempt() -> None:
    retry = "completion: poll\n  retry: {maxRetryTimes: 1, intervalInSeconds: 4}"
    flow = Scenario(FLOW.replace("completion: poll", retry), check=True)
    flow.submit({})
    flow.answer("A", error="no")
    flow.advance(4)
    flow.answer("A", http_status=202, poll_url=ASK)
    flow.advance(1)
    assert [(question.attempt, question.at_ms) for question in asked(flow)] == [(2, 4000)]


def test_the_answer_that_is_not_accepted_any_more_is_the_result() -> None:
    flow = started()
    flow.advance(1)
    reply(flow, b'{"n": 5}')
    assert flow.status == "SUCCEED"
    assert flow.context["n"] == 5


def test_a_result_type_other_than_success_fails_the_task() -> None:
    flow = started()
    flow.advance(1)
    reply(flow, b'{"result_type": "FAILED", "error_msg": "no", "error_code": 7}')
    assert flow.status == "FAILED"
    assert (flow.task("A").invoke.msg, flow.task("A").invoke.code) == ("no", "7")


def test_retry_after_and_the_settings_bound_the_wait() -> None:
    flow = started(retry_after_s=7.0)
    flow.advance(6.9)
    assert asked(flow) == []
    flow.advance(0.1)
    assert len(asked(flow)) == 1
    polling = "completion: poll\n  polling: {intervalInSeconds: 3, maxIntervalInSeconds: 4}"
    slower = started(FLOW.replace("completion: poll", polling))
    slower.advance(3)
    reply(slower, status=202)
    slower.advance(4)
    assert len(asked(slower)) == 1


@pytest.mark.parametrize("status", [0, 404, 408, 429, 500, 503])
def test_trouble_on_the_way_is_not_yet_a_result(status: int) -> None:
    flow = started()
    flow.advance(1)
    reply(flow, status=status, error="dispatchTask http fails due to trouble")
    assert flow.statuses == {"A": "RUNNING"}
    assert flow.task("A").invoke.msg == "dispatchTask http fails due to trouble"
    flow.advance(2)
    assert len(asked(flow)) == 1


def test_a_refusal_fails_the_attempt() -> None:
    flow = started()
    flow.advance(1)
    reply(flow, status=403, error="dispatchTask http fails due to 403")
    assert flow.status == "FAILED"
    assert flow.task("A").invoke.msg == "dispatchTask http fails due to 403"


@pytest.mark.parametrize(
    ("body", "status", "n"),
    [
        (b'{"runtimeStatus": "Running"}', "RUNNING", None),
        (b'{"runtimeStatus": "Completed", "output": {"n": 1}}', "SUCCEED", 1),
        (b'{"runtimeStatus": "Failed", "output": "broken"}', "FAILED", None),
        (b'{"activationId": "x", "response": {"success": true, "result": {"n": 2}}}', "SUCCEED", 2),
        (b'{"activationId": "x", "response": {"success": false}}', "FAILED", None),
        (b'{"response": {"success": false}, "n": 3}', "SUCCEED", 3),
        (b'{"activationId": "x", "n": 4}', "SUCCEED", 4),
    ],
)
def test_the_words_of_known_gateways_are_understood(body: bytes, status: str, n: int) -> None:
    flow = started()
    flow.advance(1)
    reply(flow, body)
    assert flow.status == status
    assert flow.context.get("n") == n


def test_a_result_that_is_no_object_is_seen_under_data() -> None:
    flow = started()
    flow.advance(1)
    reply(flow, b'{"runtimeStatus": "Completed", "output": [7]}')
    assert flow.task("A").invoke.output == {"data": [7]}


def test_a_gateway_that_answers_at_once_needs_no_question() -> None:
    flow = Scenario(FLOW)
    flow.submit({})
    flow.answer("A", {"n": 3})
    assert flow.status == "SUCCEED"
    assert flow.context["n"] == 3


def test_an_accepted_call_without_an_address_fails() -> None:
    flow = Scenario(FLOW)
    flow.submit({})
    reply(flow, status=202)
    assert flow.status == "FAILED"
    assert "no address" in (flow.task("A").invoke.msg or "")


def test_a_callback_that_comes_while_the_gateway_is_asked_counts() -> None:
    flow = started()
    flow.advance(1)
    flow.take(CallbackReceived(at_ms=flow.now_ms, task="A", succeeded=True, output=b'{"n": 9}'))
    reply(flow, status=202)
    assert flow.status == "SUCCEED"
    assert flow.context["n"] == 9


def test_the_time_limit_of_the_task_ends_the_asking() -> None:
    limit = "completion: poll\n  timeline: {timeoutInSeconds: 5}"
    flow = started(FLOW.replace("completion: poll", limit))
    flow.advance(1)
    reply(flow, status=202)
    flow.advance(4)
    assert flow.status == "FAILED"
    assert flow.task("A").invoke.msg == "timeout"


def test_a_question_that_has_become_idle_is_not_asked() -> None:
    flow = started()
    flow.take(CallbackReceived(at_ms=flow.now_ms, task="A", succeeded=False))
    idle = TimerFired(at_ms=1000, kind="poll", task="A", due_ms=1000)
    flow.redo("A")
    flow.take(idle)
    assert not flow.changed


def test_the_next_question_is_as_far_away_as_it_was_set_whatever_the_clock_did() -> None:
    flow = started()
    flow.advance(1)
    flow.now_ms += 3_600_000
    reply(flow, status=202)
    [timer] = flow.timers

    assert timing.longest_wait_ms(flow.state, timer) == 2000


def test_a_poll_that_waits_when_the_execution_ends_goes_on_after_a_redo_of_what_failed() -> None:
    limited = FLOW.replace("type: flow\n", "type: flow\ntimeline: { timeoutInSeconds: 9 }\n")
    flow = started(limited, retry_after_s=60.0)
    flow.timeout()
    assert (flow.status, flow.task("A").in_flight) == ("FAILED", False)
    flow.redo(failed_only=True)
    task = flow.task("A")
    assert (task.attempt, task.poll_url, flow.status) == (1, ASK, "RUNNING")
