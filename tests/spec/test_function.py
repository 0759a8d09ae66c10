"""A function task is called with its mapped input and ends by its answer or by a callback."""

import pytest

from rillflow.core.commands import DispatchTask
from rillflow.core.events import CallbackReceived, DispatchAnswered
from rillflow.core.machine import outstanding
from rillflow.errors import ExecutionError
from rillflow.jsontypes import decode_json
from rillflow.language.mapping.conditions import holds
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import Json, fn, on_output, scenario, within

TRUE_SIGNAL = [on_output("signal == true")]


def chain() -> Scenario:
    return scenario(
        fn("A", ins="mediaUrl", outs="segments", to="B"),
        fn("B", ins="segments", outs="path", to="C"),
        fn("C", ins="path", outs="url"),
    )


def status_of_sync_answer(body: Json, **rest: Json) -> str:
    run = scenario(fn("A", "sync", outs="segments", **rest))
    run.submit()
    run.answer("A", body)
    assert run.events == {f"TASK_{_outcome(run)}": 1, _dag_event(run): 1}
    return run.statuses["A"]


def _outcome(run: Scenario) -> str:
    return {"SUCCEED": "FINISH", "FAILED": "FAILED"}[run.statuses["A"]]


def _dag_event(run: Scenario) -> str:
    return f"DAG_{run.status}"


# -- happy paths ------------------------------------------------------------------------


@pytest.mark.case("FN-01")
def test_a_callback_ends_an_async_task_and_its_output_is_mapped() -> None:
    run = scenario(fn("A", ins="key1,key2", outs="segments", progress={"weight": 10}))

    called = run.submit({"key1": "value1", "key2": "value2"})
    assert called == [dispatch("A", key1="value1", key2="value2")]
    assert run.finish("A", {"segments": ["gopUrl1", "gopUrl2"]}) == []

    assert run.status == "SUCCEED"
    assert run.context == {
        "key1": "value1",
        "key2": "value2",
        "segments": ["gopUrl1", "gopUrl2"],
    }
    progress = run.plan.by_name["A"].spec.progress
    assert progress is not None
    assert progress.weight == 10


@pytest.mark.case("FN-02")
def test_a_chain_runs_in_order() -> None:
    run = chain()

    assert run.submit({"mediaUrl": "u"}) == [dispatch("A", mediaUrl="u")]
    assert run.finish("A", {"segments": [1, 2]}) == [dispatch("B", segments=[1, 2])]
    assert run.finish("B", {"path": "p"}) == [dispatch("C", path="p")]
    assert run.finish("C", {"url": "r"}) == []

    assert run.status == "SUCCEED"
    assert run.context == {"mediaUrl": "u", "segments": [1, 2], "path": "p", "url": "r"}


@pytest.mark.case("FN-27")
def test_execution_and_task_record_when_they_ran() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.advance(3)
    run.finish("A", {"segments": []})

    for infos in (run.state.invoke.time_infos, run.task("A").invoke.time_infos):
        assert [(info.start_ms, info.end_ms) for info in infos] == [(0, 3000)]


def test_an_async_task_runs_on_whatever_its_dispatch_answers() -> None:
    bodies: list[Json] = [None, "not json", {"result_type": "FAILED"}, [], 7]
    for body in bodies:
        run = scenario(fn("A"))
        run.submit()
        run.answer("A", body)
        assert run.statuses == {"A": "RUNNING"}


def test_what_the_dispatch_answer_says_of_itself_is_kept() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.answer(
        "A",
        {
            "code": 1,
            "msg": "outer",
            "invoke_id": 7,
            "data": {"error_code": "inner", "code": "less", "error_msg": "closer"},
        },
    )

    invoke = run.task("A").invoke
    assert (invoke.code, invoke.msg, invoke.invoke_id) == ("inner", "closer", "7")
    assert invoke.output == {"error_code": "inner", "code": "less", "error_msg": "closer"}


def test_a_code_may_be_called_just_code() -> None:
    run = scenario(fn("A", "sync"))
    run.submit()
    run.answer("A", {"code": 9, "result_type": "FAILED"})
    assert run.task("A").invoke.code == "9"


def test_what_a_callback_leaves_open_stays_as_the_dispatch_answer_said_it() -> None:
    said: Json = {"code": "7", "msg": "queued", "invoke_id": "i-1"}
    run = scenario(fn("A"), fn("B"))
    run.submit()
    run.answer("A", said)
    run.finish("A")
    invoke = run.task("A").invoke
    assert (invoke.code, invoke.msg, invoke.invoke_id) == ("7", "queued", "i-1")
    run.answer("B", said)
    run.finish("B", code="8", msg="done", ext={"invoke_id": "i-2"})
    invoke = run.task("B").invoke
    assert (invoke.code, invoke.msg, invoke.invoke_id) == ("8", "done", "i-2")
    assert not invoke.ext


def test_the_function_that_rules_chose_is_noted() -> None:
    run = scenario(fn("A", "sync"))
    run.submit()
    run.take(DispatchAnswered(at_ms=0, task="A", attempt=1, body=b"{}", resource_name="http://b/f"))
    assert run.task("A").invoke.ext == {"calculated_resource_name": "http://b/f"}


def test_parameters_fill_what_the_mappings_leave_open() -> None:
    run = scenario(fn("A", ins="a:=9", parameters={"a": 1, "b": 2}))
    assert run.submit() == [dispatch("A", a=9, b=2)]
    assert run.task("A").invoke.input == {"a": 9, "b": 2}


def test_an_expected_cost_is_noted_with_the_attempt() -> None:
    run = scenario(fn("A", ins="expected_cost", to="B"), fn("B", ins="expected_cost<=flag"))
    run.submit({"expected_cost": 250, "flag": True})
    run.finish("A")

    assert [info.expected_cost for info in run.task("A").invoke.time_infos] == [250]
    assert [info.expected_cost for info in run.task("B").invoke.time_infos] == [None]


def test_a_call_carries_what_the_gateway_needs() -> None:
    run = scenario(
        fn(
            "A",
            "sync",
            request_type="put",
            resource_protocol="https",
            resource={"name": "inline"},
            timeline={"timeoutInSeconds": "7"},
        )
    )
    run.submit()
    [call] = [command for command in run.commands if isinstance(command, DispatchTask)]
    assert call.key == (run.state.execution_id, "A", 1)
    assert (call.pattern, call.resource_name) == ("task_sync", "http://gateway/A")
    assert (call.request_type, call.resource_protocol) == ("put", "https")
    assert call.timeout_s == 7
    assert call.resource is not None
    assert decode_json(call.resource) == {"name": "inline"}


def test_the_rules_of_an_inline_resource_keep_rill_flows_spelling() -> None:
    rules = [{"source": "$.context.x", "target": "$.input.x"}]
    run = scenario(fn("A", resource={"name": "inline", "inputMappings": rules}))
    run.submit()
    [call] = [command for command in run.commands if isinstance(command, DispatchTask)]
    assert decode_json(call.resource or b"") == {"name": "inline", "inputMappings": rules}


def test_a_call_is_dated_by_the_start_of_its_attempt_also_after_a_restart() -> None:
    run = scenario(fn("A", retry={"maxRetryTimes": 1, "intervalInSeconds": 5}))
    run.submit()
    run.finish("A", succeeded=False)
    run.advance(9)
    calls = [command for command in run.commands if isinstance(command, DispatchTask)]
    assert [call.at_ms for call in calls] == [0, 5000]
    assert list(outstanding(run.plan, run.state)) == [calls[1]]


def test_the_time_limit_of_a_call_may_come_from_its_input() -> None:
    run = scenario(fn("A", "sync", ins="wait", timeline=within("$.input.wait")))
    run.submit({"wait": 8})
    [call] = [command for command in run.commands if isinstance(command, DispatchTask)]
    assert call.timeout_s == 8


# -- failures ---------------------------------------------------------------------------


@pytest.mark.case("FN-05")
def test_a_failed_callback_fails_task_and_execution_once() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.finish("A", {"segments": ["gopUrl"]}, succeeded=False)
    assert run.events == {"TASK_FAILED": 1, "DAG_FAILED": 1}


@pytest.mark.case("FN-25")
def test_a_failure_leaves_the_context_as_it_was() -> None:
    run = scenario(fn("A", ins="key1,key2", outs="segments"))
    run.submit({"key1": 1, "key2": 2})
    run.finish("A", {"segments": ["gopUrl"]}, succeeded=False)

    assert len(run.dispatched) == 1
    assert run.status == "FAILED"
    assert run.context == {"key1": 1, "key2": 2}


@pytest.mark.case("FN-26")
def test_what_follows_a_failed_task_never_starts() -> None:
    run = chain()
    run.submit({"mediaUrl": "u"})
    run.finish("A", {"segments": [1]})
    run.finish("B", {"path": "p"}, succeeded=False)

    assert [call.task for call in run.dispatched] == ["A", "B"]
    assert run.statuses == {"A": "SUCCEED", "B": "FAILED", "C": "NOT_STARTED"}
    assert run.status == "FAILED"
    assert run.context == {"mediaUrl": "u", "segments": [1]}


def test_a_failure_does_not_stop_independent_branches() -> None:
    run = scenario(fn("A", to="B"), fn("B"), fn("C", to="D"), fn("D"))
    run.submit()
    run.finish("A", succeeded=False)
    assert run.status == "RUNNING"

    assert run.finish("C") == [dispatch("D")]
    run.finish("D")
    assert run.statuses == {"A": "FAILED", "B": "NOT_STARTED", "C": "SUCCEED", "D": "SUCCEED"}
    assert run.status == "FAILED"


def test_a_finished_execution_reports_its_first_failed_task_in_definition_order() -> None:
    run = scenario(fn("A"), fn("B"))
    run.submit()
    run.finish("B", succeeded=False, msg="second", code="2")
    run.finish("A", succeeded=False, msg="first", code="1", ext={"who": "A"})

    invoke = run.state.invoke
    assert (invoke.msg, invoke.code, invoke.ext) == ("first", "1", {"who": "A"})


def test_a_failed_dispatch_fails_the_task_with_its_message() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.answer("A", error="dispatchTask http fails due to 504")
    assert run.task("A").invoke.msg == "dispatchTask http fails due to 504"
    assert run.status == "FAILED"


def test_the_body_of_a_failed_dispatch_still_gives_code_and_message() -> None:
    run = scenario(fn("A", "sync"))
    run.submit()
    run.answer("A", {"error_code": "E7", "error_msg": "no seat"}, error="status 503")
    invoke = run.task("A").invoke
    assert (invoke.code, invoke.msg) == ("E7", "no seat")
    assert invoke.output == {"error_code": "E7", "error_msg": "no seat"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "the answer of the function is empty, and a result is JSON"),
        (" \n", "the answer of the function is empty, and a result is JSON"),
        ("null", "the answer of the function is empty, and a result is JSON"),
        ("so long", "the answer of the function is not JSON: so long"),
        ("x" * 600, f"the answer of the function is not JSON: {'x' * 512}"),
    ],
)
def test_an_answer_that_is_no_result_says_why(body: str | None, message: str) -> None:
    run = scenario(fn("A", "sync"))
    run.submit()
    run.answer("A", body)
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").invoke.msg == message


def test_bytes_that_are_no_text_are_an_answer_that_is_not_json() -> None:
    run = scenario(fn("A", "sync"))
    run.submit()
    run.take(DispatchAnswered(at_ms=0, task="A", attempt=1, body=b"\xff"))
    assert run.task("A").invoke.msg == "the answer of the function is not JSON: \ufffd"


def test_a_rule_that_may_not_fail_fails_the_task() -> None:
    broken = [{"transform": "1 + ", "target": "$.input.x", "tolerance": False}]
    for tolerance, status in ((False, "FAILED"), (True, "SKIPPED")):
        run = scenario(fn("A", ins=broken, tolerance=tolerance))
        assert run.submit() == []
        assert run.statuses == {"A": status}
        assert run.task("A").invoke.msg


def test_an_output_rule_that_may_not_fail_fails_a_sync_task() -> None:
    broken = [{"transform": "1 + ", "target": "$.context.x", "tolerance": False}]
    run = scenario(fn("A", "sync", outs=broken))
    run.submit()
    run.answer("A", {"a": 1})
    assert run.statuses == {"A": "FAILED"}


def test_an_output_rule_that_may_not_fail_refuses_a_callback() -> None:
    broken = [{"transform": "1 + ", "target": "$.context.x", "tolerance": False}]
    run = scenario(fn("A", outs=broken))
    run.submit()
    run.answer("A")
    with pytest.raises(ExecutionError):
        run.finish("A", {"a": 1})
    assert run.statuses == {"A": "RUNNING"}


# -- what a synchronous answer means -----------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(None, "FAILED", id="FN-06"),
        pytest.param("not json format", "FAILED", id="FN-07"),
        pytest.param({}, "SUCCEED", id="FN-08"),
        pytest.param({"result_type": "aaa"}, "FAILED", id="FN-10"),
        pytest.param("  ", "FAILED", id="blank"),
        pytest.param("null", "FAILED", id="null"),
        pytest.param("[1, 2]", "SUCCEED", id="array"),
        pytest.param("7", "SUCCEED", id="scalar"),
        pytest.param({"result_type": "success"}, "SUCCEED", id="success in any case"),
        pytest.param({"result_type": None}, "SUCCEED", id="null result_type"),
        pytest.param({"result_type": 1}, "FAILED", id="result_type that is no text"),
    ],
)
def test_a_sync_answer_decides_the_task(body: Json, status: str) -> None:
    assert status_of_sync_answer(body) == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(None, "FAILED", id="FN-12"),
        pytest.param("not json format", "FAILED", id="FN-13"),
        pytest.param({}, "FAILED", id="FN-14"),
        pytest.param([], "FAILED", id="FN-15"),
        pytest.param({"signal": False}, "FAILED", id="FN-16"),
        pytest.param({"signal": True}, "SUCCEED", id="FN-17"),
        pytest.param({"signal": True, "result_type": "FAILED"}, "SUCCEED", id="over result_type"),
    ],
)
def test_success_conditions_decide_over_a_sync_answer(body: Json, status: str) -> None:
    assert status_of_sync_answer(body, success_conditions=TRUE_SIGNAL) == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"signal": True}, "FAILED", id="hold"),
        pytest.param({"signal": False}, "SUCCEED", id="do not hold"),
        pytest.param({"result_type": "FAILED"}, "SUCCEED", id="over result_type"),
        pytest.param(None, "FAILED", id="nothing"),
    ],
)
def test_fail_conditions_decide_over_a_sync_answer(body: Json, status: str) -> None:
    assert status_of_sync_answer(body, fail_conditions=TRUE_SIGNAL) == status


def test_with_success_conditions_the_fail_conditions_do_not_count() -> None:
    both = {"success_conditions": TRUE_SIGNAL, "fail_conditions": TRUE_SIGNAL}
    assert status_of_sync_answer({"signal": True}, **both) == "SUCCEED"


def test_empty_conditions_count_as_none() -> None:
    answer = {"result_type": "FAILED"}
    assert status_of_sync_answer(answer, success_conditions=[], fail_conditions=[]) == "FAILED"


def test_a_condition_that_cannot_be_evaluated_fails_a_sync_task() -> None:
    assert status_of_sync_answer({"a": 1}, success_conditions=["$$$"]) == "FAILED"


def test_an_array_answer_is_seen_under_data() -> None:
    run = scenario(fn("A", "sync", outs="x<=data"))
    run.submit()
    run.answer("A", [1, 2])
    assert run.context == {"x": [1, 2]}
    assert run.task("A").invoke.output == {"data": [1, 2]}


def test_output_of_a_tolerated_sync_failure_is_mapped() -> None:
    run = scenario(fn("A", "sync", outs="x", tolerance=True))
    run.submit()
    run.answer("A", {"result_type": "FAILED", "x": 1})
    assert run.statuses == {"A": "SKIPPED"}
    assert run.context == {"x": 1}


# -- what a callback means ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("succeeded", "output", "status"),
    [
        pytest.param(False, {"signal": "maybe"}, "FAILED", id="FN-19"),
        pytest.param(None, {"signal": None}, "FAILED", id="FN-20"),
        pytest.param(None, {"signal": "true"}, "FAILED", id="FN-21"),
        pytest.param(None, {"signal": True}, "SUCCEED", id="FN-22"),
        pytest.param(None, {"signal": False}, "FAILED", id="FN-23"),
        pytest.param(False, {"signal": True}, "SUCCEED", id="over the callback's status"),
    ],
)
def test_success_conditions_decide_over_a_callback(
    *, succeeded: bool | None, output: Json, status: str
) -> None:
    run = scenario(fn("A", outs="segments", success_conditions=TRUE_SIGNAL))
    run.submit()
    run.finish("A", output, succeeded=succeeded)
    assert run.statuses == {"A": status}


def test_a_failure_that_the_conditions_call_a_success_leaves_no_message() -> None:
    for status, kept in (("SUCCEED", (None, None)), ("FAILED", ("7", "failed"))):
        run = scenario(fn("A", success_conditions=TRUE_SIGNAL))
        run.submit()
        run.finish("A", {"signal": status == "SUCCEED"}, succeeded=False, code="7", msg="failed")
        assert run.statuses == {"A": status}
        assert (run.task("A").invoke.code, run.task("A").invoke.msg) == kept


@pytest.mark.case("FN-24")
def test_a_filter_for_a_boolean_does_not_match_text() -> None:
    assert not holds("$.output[?(@.signal == true)]", {"output": {"signal": "true"}})


def test_without_status_or_conditions_a_callback_follows_result_type() -> None:
    cases: list[tuple[Json, str]] = [({}, "SUCCEED"), ({"result_type": "FAIL"}, "FAILED")]
    for output, status in cases:
        run = scenario(fn("A"))
        run.submit()
        run.finish("A", output, succeeded=None)
        assert run.statuses == {"A": status}


def test_the_status_of_a_callback_decides_over_result_type() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.finish("A", {"result_type": "FAILED"}, succeeded=True)
    assert run.statuses == {"A": "SUCCEED"}


def test_with_conditions_the_output_of_a_failed_callback_is_mapped() -> None:
    run = scenario(fn("A", outs="signal", success_conditions=TRUE_SIGNAL))
    run.submit()
    run.finish("A", {"signal": False}, succeeded=None)
    assert run.statuses == {"A": "FAILED"}
    assert run.context == {"signal": False}


def test_what_a_callback_says_of_itself_is_kept() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.answer("A", {"msg": "accepted"})
    run.finish("A", {"a": 1}, code="7", ext={"info": 1})

    invoke = run.task("A").invoke
    assert (invoke.code, invoke.msg, invoke.ext) == ("7", "accepted", {"info": 1})
    assert invoke.output == {"a": 1}


def test_output_that_is_no_object_is_seen_under_data() -> None:
    run = scenario(fn("A", outs="x<=data"))
    run.submit()
    run.finish("A", [1])
    assert run.context == {"x": [1]}


def test_an_ext_that_is_no_object_is_dropped() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.answer("A")
    run.finish("A", ext={"kept": 1}, will_retry=True)
    run.take(CallbackReceived(at_ms=0, task="A", ext=b"[1]", will_retry=True))
    run.take(CallbackReceived(at_ms=0, task="A", ext=b"[1]"))
    assert run.task("A").invoke.ext == {"kept": 1}
