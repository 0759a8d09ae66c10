"""A wrong request is answered with a stable status, code and message, and changes nothing."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.cluster.api import Api, Functions

pytestmark = pytest.mark.cluster

HEADER: Final = "workspace: badinput\ndagName: refused\ntype: flow\n"
PASS: Final = "tasks:\n  - { name: a, category: pass }\n"
SUBMISSIONS: Final = {
    "no descriptor": ({}, "{}", 422, 30109, "descriptor_id"),
    "unknown descriptor": (
        {"descriptor_id": "a:b"},
        "{}",
        400,
        30106,
        "cannot find descriptor: a:b:release",
    ),
    "unknown version": (
        {"descriptor_id": f"a:b:md5_{'0' * 32}"},
        "{}",
        400,
        30106,
        f"descriptor:a:b:md5_{'0' * 32} value empty",
    ),
    "malformed id": ({"descriptor_id": "a"}, "{}", 400, 30109, "dagDescriptorId:a format error"),
    "no object": ({"descriptor_id": "badinput:fine"}, "[1]", 422, 30109, "object"),
    "no json": ({"descriptor_id": "badinput:fine"}, "{", 422, 30109, ""),
    "no text": ({"descriptor_id": "badinput:fine"}, b"\xff\xff", 422, 30109, ""),
    "too large": (
        {"descriptor_id": "badinput:fine"},
        '{"a": "' + "x" * 1_100_000 + '"}',
        400,
        30109,
        "context size nonsupport",
    ),
    "bad callback": ({"descriptor_id": "badinput:fine", "callback": "{"}, "{}", 500, 30603, ""),
    "bad check": (
        {"descriptor_id": "badinput:fine", "resource_check": "{"},
        "{}",
        400,
        30109,
        "resource_check content nonsupport",
    ),
    "bad isolation": (
        {"descriptor_id": "badinput:fine", "isolation": "total"},
        "{}",
        400,
        30109,
        "isolation must be shared or dedicated, not total",
    ),
}


@pytest.mark.parametrize(
    ("query", "body", "status", "code", "message"), SUBMISSIONS.values(), ids=SUBMISSIONS
)
@pytest.mark.case("E2E-16", "E2E-18")
def test_a_submission_that_is_wrong_is_refused_and_starts_nothing(
    api: Api, *, query: dict[str, str], body: str, status: int, code: int, message: str
) -> None:
    api.add(HEADER.replace("refused", "fine") + PASS)
    before = _executions(api)
    answer = api.ask("POST", "/flow/submit.json", body=body, **query)
    assert (answer.status, answer.body["error_code"]) == (status, code)
    assert message in answer.body["error"]
    assert _executions(api) == before


def _executions(api: Api) -> int:
    query = {"business": "badinput", "feature": "fine"}
    total: int = api.ask("GET", "/flow/bg/get_execution_ids.json", **query).body["total"]
    return total


@pytest.mark.case("E2E-17")
def test_a_wrong_method_and_an_unknown_path_are_told_apart(api: Api) -> None:
    wrong = api.ask("GET", "/flow/submit.json", descriptor_id="badinput:fine")
    assert (wrong.status, wrong.body["error_code"]) == (422, 30105)
    assert api.ask("GET", "/flow/nothing.json").status == 404


@pytest.fixture(name="waiting")
def _waiting(api: Api, functions: Functions) -> Iterator[str]:
    """An execution whose task ``order`` waits for its callback, and whose ``later`` for order."""
    execution_id = api.submit(
        HEADER.replace("refused", "waiting")
        + f"""
tasks:
  - name: order
    category: function
    pattern: task_async
    resourceName: {functions.url}/answer
    next: later
  - name: later
    category: function
    pattern: task_sync
    resourceName: {functions.url}/answer
"""
    )
    # It is RUNNING before the answer to its call is in, which the task shows too.
    api.until(execution_id, lambda shown: "output" in shown["tasks"]["order"]["invoke_msg"])
    yield execution_id
    assert api.trigger(execution_id, "order").status == 200
    assert api.end(execution_id).status == "SUCCEED"


UNKNOWN: Final = "badinput:waiting_c_01900000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("route", "task", "status", "code", "message"),
    [
        ("trigger", "none", 400, 30109, "task not exists EXECUTION:none"),
        ("finish", "none", 500, 30503, "storage can not get taskInfo:none"),
        ("wakeup", "none", 500, 30503, "storage can not get taskInfo:none"),
        ("trigger", "", 422, 30109, "task_name"),
        ("wakeup", " ", 400, 30109, "task_name is empty"),
        ("finish", "later", 500, 30601, "attempt finish wrong task later"),
        ("trigger", "later", 500, 30601, "attempt finish wrong task later"),
        ("wakeup", "order", 500, 30601, "task order category is not suspense type"),
    ],
)
def test_what_is_sent_to_the_wrong_task_is_refused_and_changes_nothing(
    api: Api, waiting: str, *, route: str, task: str, status: int, code: int, message: str
) -> None:
    before = api.get(waiting)
    query = {"execution_id": waiting, **({"task_name": task} if task else {})}
    answer = api.ask("POST", f"/flow/{route}.json", body={"a": 1}, **query)
    assert (answer.status, answer.body["error_code"]) == (status, code)
    assert message.replace("EXECUTION", waiting) in answer.body["error"]
    assert api.get(waiting) == before


@pytest.mark.parametrize(
    ("route", "status", "code", "message"),
    [
        ("trigger", 400, 30109, "task not exists EXECUTION:order"),
        ("finish", 500, 30605, "validateDAGInfo dag executionId:EXECUTION not found"),
        ("wakeup", 500, 30605, "validateDAGInfo dag executionId:EXECUTION not found"),
        ("redo", 500, 30602, "can not find dag info before redo."),
        ("cancel", 500, 30605, "EXECUTION"),
    ],
)
@pytest.mark.case("E2E-20")
def test_what_is_sent_to_no_execution_is_refused(
    api: Api, route: str, status: int, code: int, message: str
) -> None:
    query = {"execution_id": UNKNOWN, "task_name": "order"}
    answer = api.ask("POST", f"/flow/{route}.json", body={}, **query)
    assert (answer.status, answer.body["error_code"]) == (status, code)
    assert message.replace("EXECUTION", UNKNOWN) in answer.body["error"]
    nothing = {"tasks": "{}", "context": {}, "invoke_summary": {}}
    assert api.get(UNKNOWN) == nothing


LARGE: Final = '{"a": "' + "x" * 1_100_000 + '"}'


def test_a_callback_that_is_too_large_is_refused_and_may_come_again_smaller(
    api: Api, waiting: str
) -> None:
    before = api.get(waiting)
    answer = api.trigger(waiting, "order", body=LARGE)
    assert (answer.status, answer.body["error_code"]) == (413, 30109)
    query = {"execution_id": waiting, "task_name": "order"}
    for route in ("finish", "wakeup", "redo"):
        other = api.ask("POST", f"/flow/{route}.json", body=LARGE, **query)
        assert (other.status, other.body["error"]) == (400, "context size nonsupport")
    assert api.get(waiting) == before


def test_a_finish_that_is_no_json_object_is_refused(api: Api, waiting: str) -> None:
    before = api.get(waiting)
    for body in ("[1]", "{", "", b"\x80"):
        query = {"execution_id": waiting, "task_name": "order"}
        answer = api.ask("POST", "/flow/finish.json", body=body, **query)
        assert (answer.status, answer.body["error_code"]) == (422, 30109)
    assert api.get(waiting) == before


def test_a_callback_for_an_execution_that_was_ended_by_hand_is_refused(
    api: Api, functions: Functions
) -> None:
    text = HEADER.replace("refused", "ended") + (
        "tasks:\n  - { name: order, category: function, pattern: task_async,"
        f" resourceName: {functions.url}/answer }}\n"
    )
    execution_id = api.submit(text)
    answered = "output"  # the call's own answer comes before, and does not come between
    api.until(execution_id, lambda shown: answered in shown["tasks"]["order"]["invoke_msg"])
    done = api.ask("POST", "/flow/complete.json", execution_id=execution_id, success="false")
    assert done.body == {"code": "0", "message": "success"}
    before = api.get(execution_id)
    answer = api.trigger(execution_id, "order", body={"a": 1})
    assert (answer.status, answer.body["error_code"]) == (500, 30601)
    assert answer.body["error"] == f"validateDAGInfo dag executionId:{execution_id} is finished"
    assert api.get(execution_id) == before
