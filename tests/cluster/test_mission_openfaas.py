"""OpenFaaS functions are called synchronously, or asynchronously with a callback, and whatever
they answer arrives: JSON, text, an image, nothing, a failure (spec 10.2, 10.3)."""

import base64
from types import SimpleNamespace
from typing import Final

import pytest

from tests.cluster.api import Api, Ended, Json

pytestmark = pytest.mark.cluster

CALL: Final = """
workspace: mission
dagName: faas
type: flow
tasks:
  - name: call
    category: function
    pattern: PATTERN
    resourceName: ADDRESS
    inputMappings: [{ source: $.context.say, target: $.input.say }]
    outputMappings: [{ source: $.output, target: $.context.output }]
"""
SYNC: Final = "task_sync"
ASYNC: Final = "task_async"
ROUTES: Final = {SYNC: "function", ASYNC: "async-function"}
BOTH: Final = pytest.mark.parametrize("pattern", [SYNC, ASYNC])
PICTURE: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\xff").decode()


def _flow(gateway: SimpleNamespace, pattern: str, name: str = "say/path") -> str:
    address = f"{gateway.url}/{ROUTES[pattern]}/{name}"
    return CALL.replace("PATTERN", pattern).replace("ADDRESS", address)


def _said(api: Api, gateway: SimpleNamespace, pattern: str, **say: Json) -> Ended:
    return api.run(_flow(gateway, pattern), {"say": say})


@BOTH
def test_a_functions_object_is_the_tasks_output(
    api: Api, gateway: SimpleNamespace, pattern: str
) -> None:
    ended = _said(api, gateway, pattern, json={"a": [1, 2]})
    assert (ended.status, ended.context["output"]) == ("SUCCEED", {"a": [1, 2]})


@BOTH
def test_a_functions_array_is_the_output_under_data(
    api: Api, gateway: SimpleNamespace, pattern: str
) -> None:
    ended = _said(api, gateway, pattern, json=[1, "two"])
    assert (ended.status, ended.context["output"]) == ("SUCCEED", {"data": [1, "two"]})


@BOTH
def test_the_path_behind_a_functions_name_reaches_it(
    api: Api, gateway: SimpleNamespace, pattern: str
) -> None:
    ended = _said(api, gateway, pattern, request=True)
    seen = ended.context["output"]
    assert (seen["path"], seen["method"]) == ("/path", "POST")
    assert seen["query"] == {"execution_id": ended.execution_id, "name": "call"}
    assert "x-callback-url" in seen["headers"]


def test_the_asynchronous_route_is_not_asked_for_asynchrony_twice(
    api: Api, gateway: SimpleNamespace
) -> None:
    assert "x-mode" not in _said(api, gateway, ASYNC, request=True).context["output"]["headers"]


TEXTS: Final = {
    "text": ({"text": "well done"}, {"body": "well done"}),
    "labelled json": ({"text": "not json", "type": "application/json"}, {"body": "not json"}),
    "unlabelled json": ({"text": '{"a": 1}', "type": "text/plain"}, {"a": 1}),
    "picture": (
        {"base64": PICTURE, "type": "image/png"},
        {"body_base64": PICTURE, "content_type": "image/png"},
    ),
    "number": ({"text": "5"}, {"data": 5}),
}


@pytest.mark.parametrize(("say", "output"), TEXTS.values(), ids=TEXTS)
def test_whatever_an_asynchronous_function_answers_arrives(
    api: Api, gateway: SimpleNamespace, say: Json, output: Json
) -> None:
    ended = _said(api, gateway, ASYNC, **say)
    assert (ended.status, ended.context["output"]) == ("SUCCEED", output)


def test_a_packed_result_is_unpacked(api: Api, gateway: SimpleNamespace) -> None:
    ended = api.run(_flow(gateway, ASYNC, "packed"), {"say": {"json": {"a": 1}}})
    assert (ended.status, ended.context["output"]) == ("SUCCEED", {"a": 1})


def test_an_asynchronous_function_may_answer_nothing(api: Api, gateway: SimpleNamespace) -> None:
    ended = _said(api, gateway, ASYNC, text="")
    assert ended.status == "SUCCEED"


@BOTH
def test_a_function_that_fails_fails_its_task(
    api: Api, gateway: SimpleNamespace, pattern: str
) -> None:
    ended = _said(api, gateway, pattern, status=500, text="out of ink")
    assert ended.status == "FAILED"
    assert "out of ink" in ended.task("call")["invoke_msg"]["msg"]


def test_the_gateways_facts_about_a_call_are_kept(api: Api, gateway: SimpleNamespace) -> None:
    ended = _said(api, gateway, ASYNC, status=504, text="the function timed out")
    facts = ended.task("call")["invoke_msg"]["ext"]
    assert (facts["function"], facts["status"]) == ("say", 504)
    assert float(facts["duration_s"]) >= 0
    assert facts["call_id"]


def test_an_asynchronous_function_that_is_not_there_fails_its_task(
    api: Api, gateway: SimpleNamespace
) -> None:
    ended = api.run(_flow(gateway, ASYNC, "nowhere"), {"say": {}})
    assert ended.status == "FAILED"
    assert ended.task("call")["invoke_msg"]["ext"]["status"] == 503


def test_a_synchronous_function_that_is_not_there_fails_its_task(
    api: Api, gateway: SimpleNamespace
) -> None:
    ended = api.run(_flow(gateway, SYNC, "nowhere"), {"say": {}})
    assert ended.status == "FAILED"
    assert "503" in ended.task("call")["invoke_msg"]["msg"]


def test_a_function_that_runs_and_calls_back_twice_is_heard_once(
    api: Api, gateway: SimpleNamespace
) -> None:
    ended = api.run(_flow(gateway, ASYNC, "twice"), {"say": {}})
    assert (ended.status, ended.context["output"]) == ("SUCCEED", {"twice": True})


def test_the_gateways_own_retries_keep_the_task_running_until_the_last(
    api: Api, gateway: SimpleNamespace
) -> None:
    ended = api.run(_flow(gateway, ASYNC, "third"), {"say": {}})
    assert (ended.status, ended.context["output"]) == ("SUCCEED", {"call": 3})
    assert len(ended.task("call")["invoke_msg"]["invoke_time_infos"]) == 1


def test_a_lost_callback_ends_in_the_tasks_timeout(api: Api, gateway: SimpleNamespace) -> None:
    text = _flow(gateway, ASYNC, "lost") + '    timeline: { timeoutInSeconds: "1" }\n'
    ended = api.run(text, {"say": {}})
    assert ended.status == "FAILED"
    assert ended.task("call")["invoke_msg"]["msg"] == "timeout"
