"""An asynchronous task waits for a callback, which may come by any road that callers take."""

import json
from typing import Any, Final

import pytest

from tests.cluster.api import Api, Functions, Json

pytestmark = pytest.mark.cluster

LATE: Final = """
workspace: mission
dagName: late
type: flow
tasks:
  - name: order
    category: function
    pattern: task_async
    resourceName: FUNCTIONS/ROUTE
    inputMappings:
      - { source: $.context.callbacks, target: $.input.callbacks }
      - { source: $.context.replies, target: $.input.replies }
    outputMappings: [{ source: $.output, target: $.context.output }]
    next: after
  - { name: after, category: pass, outputMappings: [{ source: "yes", target: $.context.after }] }
"""


def _flow(functions: Functions, route: str) -> str:
    return LATE.replace("FUNCTIONS", functions.url).replace("ROUTE", route)


@pytest.fixture(name="ordered")
def _ordered(api: Api, functions: Functions) -> tuple[str, str]:
    """Start an execution whose task waits; return its id and the callback address."""
    execution_id = api.submit(_flow(functions, "answer"))
    [call] = functions.calls(execution_id, 1)
    api.until_task(execution_id, "order", "RUNNING")
    return execution_id, call["headers"]["x-callback-url"]


def test_an_asynchronous_task_waits_whatever_its_call_answers(
    api: Api, functions: Functions
) -> None:
    replies = [{"json": {"result_type": "FAILED"}}]
    execution_id = api.submit(_flow(functions, "answer"), {"replies": replies})
    [call] = functions.calls(execution_id, 1)
    assert call["headers"]["x-mode"] == "async"
    api.until_task(execution_id, "order", "RUNNING")
    assert "output" not in api.get(execution_id)["context"]
    assert api.follow(call["headers"]["x-callback-url"], body={"a": 1}).body == {"result": "ok"}
    ended = api.end(execution_id)
    assert (ended.context["output"], ended.context["after"]) == ({"a": 1}, "yes")


@pytest.mark.parametrize("route", ["late", "early"])
@pytest.mark.case("E2E-30")
def test_a_callback_may_come_after_the_calls_own_answer_or_before_it(
    api: Api, functions: Functions, route: str
) -> None:
    ended = api.run(_flow(functions, route), {"callbacks": [{"json": {"by": route}}]})
    assert (ended.status, ended.context["output"]) == ("SUCCEED", {"by": route})


@pytest.mark.case("E2E-11")
def test_a_get_with_the_result_in_its_query_is_a_callback(
    api: Api, ordered: tuple[str, str]
) -> None:
    execution_id, address = ordered
    answer = api.follow(address, method="GET", status="success", context='{"a": 1}')
    assert answer == (200, {"result": "ok"})
    assert api.end(execution_id).context["output"] == {"a": 1}


@pytest.mark.case("E2E-12")
def test_the_query_wins_over_the_body_key_by_key(api: Api, ordered: tuple[str, str]) -> None:
    execution_id, address = ordered
    api.follow(address, body={"a": 1, "b": 2}, context='{"a": 9}')
    assert api.end(execution_id).context["output"] == {"a": 9, "b": 2}


OUTCOMES: Final = {
    "nothing said": ({}, None, "SUCCEED"),
    "success": ({"status": "SucCess"}, None, "SUCCEED"),
    "failed": ({"status": "failed"}, None, "FAILED"),
    "nonsense": ({"status": "nonsense"}, None, "FAILED"),
    "body says failed": ({}, {"result_type": "FAILED"}, "FAILED"),
    "query over body": ({"status": "success"}, {"result_type": "FAILED"}, "SUCCEED"),
    "broken context": ({"context": "{"}, {"a": 1}, "SUCCEED"),
}


@pytest.mark.parametrize(("query", "body", "status"), OUTCOMES.values(), ids=OUTCOMES)
@pytest.mark.case("E2E-13")
def test_the_status_of_a_callback_decides_over_its_body(
    api: Api, ordered: tuple[str, str], query: dict[str, str], body: Json, status: str
) -> None:
    execution_id, address = ordered
    assert api.follow(address, body=body, **query).status == 200
    ended = api.end(execution_id)
    assert (ended.status, ended.context.get("after")) == (
        status,
        "yes" if status == "SUCCEED" else None,
    )


@pytest.mark.case("E2E-15")
def test_finish_json_takes_the_outcome_from_the_body(api: Api, ordered: tuple[str, str]) -> None:
    execution_id, _ = ordered
    query = {"execution_id": execution_id, "task_name": "order"}
    body = {"result_type": "FAIL", "error_msg": "no ink"}
    assert api.ask("POST", "/flow/finish.json", body=body, **query).body == {"result": "ok"}
    ended = api.end(execution_id)
    assert ended.status == "FAILED"
    assert ended.task("order")["invoke_msg"]["msg"] == "no ink"


@pytest.mark.case("E2E-14")
def test_a_second_callback_is_answered_and_changes_nothing(
    api: Api, ordered: tuple[str, str]
) -> None:
    execution_id, address = ordered
    api.follow(address, body={"n": 1})
    before = api.end(execution_id)
    answer = api.follow(address, body={"n": 2}, status="failed")
    assert answer == (200, {"result": "ok", "duplicate": True})
    assert api.get(execution_id) == before.shown


def test_a_function_that_calls_back_twice_is_heard_once(api: Api, functions: Functions) -> None:
    callbacks = [{"json": {"n": 1}}, {"json": {"n": 2}}]
    ended = api.run(_flow(functions, "late"), {"callbacks": callbacks})
    assert (ended.status, ended.context["output"]) == ("SUCCEED", {"n": 1})


ADDRESS: Final = """
workspace: mission
dagName: addressed
type: flow
tasks:
  - name: tell
    category: function
    pattern: task_sync
    resourceName: FUNCTIONS/echo
    inputMappings:
      - { source: $.tasks.door.trigger_url, target: $.input.plain }
      - source: $.tasks.door.trigger_url?status=success&context=%7B%22k%22%3A1%7D
        target: $.input.more
    outputMappings: [{ source: $.output.body, target: $.context.sent }]
  - name: door
    category: suspense
    inputMappings: [{ source: $.context.k, target: $.input.k }]
    conditions: [$.input.k]
    outputMappings: [{ source: $.output.k, target: $.context.k }]
"""


def test_a_callback_address_can_be_a_parameter_and_carry_a_query_of_its_own(
    api: Api, functions: Functions
) -> None:
    text = ADDRESS.replace("FUNCTIONS", functions.url)
    execution_id = api.submit(text)
    [call] = functions.calls(execution_id, 1)
    api.until_task(execution_id, "door", "RUNNING")
    address = f"{api.base_url}/flow/trigger.json?execution_id={execution_id}&task_name=door"
    assert call["input"]["plain"] == address
    assert call["input"]["more"] == f"{address}&status=success&context=%7B%22k%22%3A1%7D"
    assert api.http.get(call["input"]["more"]).json() == {"result": "ok"}
    ended = api.end(execution_id)
    assert (ended.status, ended.context["k"]) == ("SUCCEED", 1)


GROUP: Final = """
workspace: mission
dagName: neighbours
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{ source: $.context.l, target: $.input.l }]
    iterationMapping: { collection: $.input.l, item: item }
    tasks:
      - name: tell
        category: function
        pattern: task_sync
        resourceName: FUNCTIONS/echo
        inputMappings: [{ source: $.tasks.door.trigger_url, target: $.input.url }]
      - name: door
        category: suspense
        conditions: [$.input.go]
        inputMappings: [{ source: $.context.go, target: $.input.go }]
        outputMappings: [{ source: $.output.go, target: $.context.go }]
"""


def test_a_callback_address_inside_a_group_is_that_of_the_neighbour(
    api: Api, functions: Functions
) -> None:
    execution_id = api.submit(GROUP.replace("FUNCTIONS", functions.url), {"l": [1, 2]})
    addresses = [call["input"]["url"] for call in functions.calls(execution_id, 2)]
    assert sorted(address.partition("task_name=")[2] for address in addresses) == [
        "each_0-door",
        "each_1-door",
    ]
    for address in addresses:
        assert api.follow(address, body={"go": True}).status == 200
    assert api.end(execution_id).status == "SUCCEED"


def test_retries_of_an_asynchronous_task_follow_failed_callbacks(
    api: Api, functions: Functions
) -> None:
    definition: dict[str, Any] = {
        "workspace": "mission",
        "dagName": "insisting",
        "type": "flow",
        "tasks": [
            {
                "name": "order",
                "category": "function",
                "pattern": "task_async",
                "resourceName": functions.url + "/late",
                "retry": {"maxRetryTimes": 1},
                "parameters": {"callbacks": [{"json": {}, "query": {"status": "failed"}}]},
            }
        ],
    }
    ended = api.run(json.dumps(definition) + "\n")
    assert ended.status == "FAILED"
    assert len(functions.calls(ended.execution_id)) == 2
