"""What a function answers decides how its task ends, and what its output is (spec 3.10)."""

import json
from typing import Any, Final

import pytest

from tests.cluster.api import Api, Ended, Functions, Json

pytestmark = pytest.mark.cluster


def _answered(api: Api, functions: Functions, *replies: Json, **task: Any) -> Ended:
    """Run one synchronous task that is answered so, attempt by attempt."""
    definition = {
        "workspace": "mission",
        "dagName": "answering",
        "type": "flow",
        "tasks": [
            {
                "name": "ask",
                "category": "function",
                "pattern": "task_sync",
                "resourceName": functions.url + "/answer",
                "inputMappings": [{"source": "$.context.replies", "target": "$.input.replies"}],
                "outputMappings": [{"source": "$.output", "target": "$.context.output"}],
                **task,
            },
        ],
    }
    return api.run(json.dumps(definition) + "\n", {"replies": list(replies)})


OUTPUTS: Final = {
    "object": ({"json": {"a": [1, {"b": None}]}}, {"a": [1, {}]}),
    "success": ({"json": {"result_type": "success"}}, {"result_type": "success"}),
    "array": ({"json": [1, "two"]}, {"data": [1, "two"]}),
    "mislabelled": ({"text": '{"a": 1}', "headers": {"Content-Type": "text/html"}}, {"a": 1}),
    "created": ({"status": 201, "json": {"a": 1}}, {"a": 1}),
}


@pytest.mark.parametrize(("reply", "output"), OUTPUTS.values(), ids=OUTPUTS)
def test_json_is_the_output_whatever_its_label(
    api: Api, functions: Functions, reply: Json, output: Json
) -> None:
    ended = _answered(api, functions, reply)
    assert ended.status == "SUCCEED"
    assert ended.context["output"] == output


def test_a_single_value_is_a_success_without_an_output(api: Api, functions: Functions) -> None:
    ended = _answered(api, functions, {"json": 5})
    assert ended.status == "SUCCEED"
    assert "output" not in ended.context


REFUSALS: Final = {
    "text": {"text": "all is well"},
    "nothing": {"text": ""},
    "broken": {"text": '{"a": '},
    "said so": {"json": {"result_type": "FAILED", "error_msg": "no ink", "error_code": 7}},
    "odd word": {"json": {"result_type": "almost"}},
}


@pytest.mark.parametrize("reply", REFUSALS.values(), ids=REFUSALS)
def test_an_answer_that_is_no_json_or_says_so_itself_is_a_failure(
    api: Api, functions: Functions, reply: Json
) -> None:
    ended = _answered(api, functions, reply)
    assert (ended.status, ended.task("ask")["status"]) == ("FAILED", "FAILED")
    assert "output" not in ended.context
    assert len(functions.calls(ended.execution_id)) == 1


def test_a_failure_keeps_its_code_and_message(api: Api, functions: Functions) -> None:
    ended = _answered(api, functions, REFUSALS["said so"])
    for shown in (ended.task("ask")["invoke_msg"], ended.shown["dag_invoke_msg"]):
        assert (shown["code"], shown["msg"]) == ("7", "no ink")


@pytest.mark.case("E2E-24")
@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_an_error_status_fails_the_attempt_after_one_call(
    api: Api, functions: Functions, status: int
) -> None:
    """The original calls twice; a status is an outcome, so ours does not (spec 9.2)."""
    ended = _answered(api, functions, {"status": status, "text": "out of order"})
    assert ended.status == "FAILED"
    message = ended.task("ask")["invoke_msg"]["msg"]
    assert message.startswith("dispatchTask http fails due to")
    assert str(status) in message
    assert len(functions.calls(ended.execution_id)) == 1


def test_the_body_of_an_error_status_may_say_why(api: Api, functions: Functions) -> None:
    reply = {"status": 500, "json": {"error_code": 42, "error_msg": "busy"}}
    message = _answered(api, functions, reply).task("ask")["invoke_msg"]
    assert (message["code"], message["msg"]) == ("42", "busy")


def test_a_failed_attempt_is_retried_as_often_as_the_task_allows(
    api: Api, functions: Functions
) -> None:
    replies = [{"status": 500}, {"json": {"result_type": "FAILED"}}, {"json": {"third": True}}]
    ended = _answered(api, functions, *replies, retry={"maxRetryTimes": 2, "intervalInSeconds": 0})
    assert ended.context["output"] == {"third": True}
    assert len(ended.task("ask")["invoke_msg"]["invoke_time_infos"]) == 3
    sent = functions.calls(ended.execution_id)
    assert [call["headers"]["x-rillflow-attempt"] for call in sent] == ["1", "2", "3"]
    assert len({call["headers"]["idempotency-key"] for call in sent}) == 3


def test_a_tolerated_failure_is_skipped(api: Api, functions: Functions) -> None:
    ended = _answered(api, functions, {"status": 500}, tolerance=True)
    assert (ended.status, ended.task("ask")["status"]) == ("SUCCEED", "SKIPPED")


OK: Final = "$.output.[?(@.ok == true)]"
BAD: Final = "$.output.[?(@.ok == false)]"


@pytest.mark.parametrize(
    ("reply", "conditions", "status"),
    [
        ({"ok": True, "result_type": "FAILED"}, {"successConditions": [OK]}, "SUCCEED"),
        ({"ok": False}, {"successConditions": [OK]}, "FAILED"),
        ({"ok": False}, {"failConditions": [BAD]}, "FAILED"),
        ({"ok": True, "result_type": "FAILED"}, {"failConditions": [BAD]}, "SUCCEED"),
        ({"ok": True, "a": 1}, {"successConditions": [OK, "$.output.b"]}, "FAILED"),
        ({"ok": True}, {"successConditions": [OK], "failConditions": [OK]}, "SUCCEED"),
        ([{"ok": True}], {"successConditions": ["$.output.data[?(@.ok == true)]"]}, "SUCCEED"),
    ],
    ids=["holds", "fails", "fail holds", "fail fails", "all of them", "success decides", "array"],
)
def test_conditions_of_the_task_decide_instead_of_the_function(
    api: Api, functions: Functions, reply: Json, conditions: Json, status: str
) -> None:
    assert _answered(api, functions, {"json": reply}, **conditions).status == status


def test_nobody_at_the_address_fails_the_task(api: Api) -> None:
    ended = api.run(
        """
workspace: mission
dagName: unheard
type: flow
tasks:
  - name: ask
    category: function
    pattern: task_sync
    resourceName: http://127.0.0.1:9/nobody
"""
    )
    assert ended.status == "FAILED"
    assert ended.task("ask")["invoke_msg"]["msg"].startswith("dispatchTask http fails due to")


def test_an_answer_that_takes_too_long_fails_the_task_with_timeout(
    api: Api, functions: Functions
) -> None:
    ended = api.run(
        """
workspace: mission
dagName: hanging
type: flow
tasks:
  - name: ask
    category: function
    pattern: task_sync
    resourceName: FUNCTIONS/gate/never
    timeline: { timeoutInSeconds: "1" }
""".replace("FUNCTIONS", functions.url)
    )
    assert ended.status == "FAILED"
    assert ended.task("ask")["invoke_msg"]["msg"] == "timeout"
