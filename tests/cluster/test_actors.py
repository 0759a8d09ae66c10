"""An execution that wants an actor of its own gets one: named by its id, and gone after its end."""

import gzip
import os
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Final

import pytest

from rillflow.actors.execution_actor import DEDICATED_NICENESS
from rillflow.ids import is_dedicated
from rillflow.jsontypes import encode_json
from tests.cluster.api import LOOK_S, Api, Functions
from tests.cluster.processes import END_S, RayDriver, kill

pytestmark = pytest.mark.cluster

TWO_CALLS: Final = """
workspace: actors
dagName: NAME
type: flow
tasks:
  - name: first
    category: function
    pattern: task_async
    resourceName: FUNCTIONS/answer
    outputMappings: [{ source: $.output.n, target: $.context.first }]
    next: second
  - name: second
    category: function
    pattern: task_async
    resourceName: FUNCTIONS/answer
    inputMappings: [{ source: $.context.first, target: $.input.first }]
    outputMappings: [{ source: $.output.n, target: $.context.second }]
"""
LARGE: Final = 4 << 20
DEDICATED: Final = "isolation: dedicated\n"


@pytest.fixture(name="leaving", scope="module")
def _leaving(driver: RayDriver) -> Iterator[list[str]]:
    """Executions whose own actors must be gone when all tests are through; each lingers."""
    leaving: list[str] = []
    yield leaving
    for execution_id in leaving:
        driver.wait_until_gone(execution_id)


def _flow(functions: Functions, name: str) -> str:
    return TWO_CALLS.replace("NAME", name).replace("FUNCTIONS", functions.url)


def _finish(api: Api, execution_id: str, **outputs: int) -> None:
    for task, n in outputs.items():
        api.until_task(execution_id, task, "RUNNING")
        assert api.trigger(execution_id, task, body={"n": n}).body == {"result": "ok"}


def _halfway(api: Api, functions: Functions, name: str, **query: str) -> str:
    """Submit an execution whose first call has called back, and whose second has been made."""
    execution_id = api.submit(_flow(functions, name), **query)
    _finish(api, execution_id, first=1)
    functions.calls(execution_id, 2)
    return execution_id


def _check_ended(api: Api, execution_id: str) -> None:
    ended = api.end(execution_id)
    assert (ended.status, ended.context["first"], ended.context["second"]) == ("SUCCEED", 1, 2)


def _check_calls(functions: Functions, execution_id: str) -> None:
    """Check that each of the two calls has one key, however often it was made."""
    calls = functions.calls(execution_id)
    assert len({(call["task"], call["headers"]["idempotency-key"]) for call in calls}) == 2


def test_a_shared_execution_has_no_actor_of_its_own(
    api: Api, functions: Functions, driver: RayDriver
) -> None:
    execution_id = api.submit(_flow(functions, "shared"))
    assert not is_dedicated(execution_id)
    assert not driver.has(execution_id)
    assert "rillflow:execution:0" in driver.actors()
    assert "rillflow:dispatcher:0" in driver.actors()
    _finish(api, execution_id, first=1, second=2)
    assert api.end(execution_id).status == "SUCCEED"


@pytest.mark.parametrize("by", ["submission", "definition"])
def test_a_dedicated_execution_is_an_actor_of_its_own_until_it_ends(
    api: Api, functions: Functions, driver: RayDriver, by: str
) -> None:
    text = _flow(functions, f"dedicated{by}")
    execution_id = (
        api.submit(text, isolation="dedicated")
        if by == "submission"
        else api.submit(DEDICATED + text)
    )
    assert is_dedicated(execution_id)
    own, shared = driver.facts(execution_id), driver.facts("rillflow:execution:0")
    assert own is not None
    assert shared is not None
    assert own["pid"] != shared["pid"]
    niceness = [os.getpriority(os.PRIO_PROCESS, each["pid"]) for each in (own, shared)]
    assert niceness == [os.nice(0) + DEDICATED_NICENESS, os.nice(0)]
    _finish(api, execution_id, first=1, second=2)
    ended = api.end(execution_id)
    assert (ended.status, ended.context["first"], ended.context["second"]) == ("SUCCEED", 1, 2)
    driver.wait_until_gone(execution_id)
    assert api.get(execution_id) == ended.shown
    assert api.trigger(execution_id, "second", body={"n": 3}).body == {
        "result": "ok",
        "duplicate": True,
    }
    assert api.get(execution_id) == ended.shown
    assert not driver.has(execution_id)


def test_a_large_dedicated_execution_leaves_memory_while_it_waits(
    api: Api, functions: Functions, driver: RayDriver
) -> None:
    mapped = "inputMappings: [{ source: $.context.replies, target: $.input.replies }]"
    text = _flow(functions, "large").replace("task_async", f"task_sync\n    {mapped}", 1)
    packed = gzip.compress(encode_json({"n": 1, "text": "x" * LARGE}))
    reply = {"base64": b64encode(packed).decode(), "headers": {"Content-Encoding": "gzip"}}
    execution_id = api.submit(text, {"replies": [reply]}, isolation="dedicated")
    api.until_task(execution_id, "second", "RUNNING")
    give_up = time.monotonic() + END_S
    while driver.hot(execution_id):
        assert time.monotonic() < give_up, "it is in memory still"
        time.sleep(LOOK_S)
    _finish(api, execution_id, second=2)
    _check_ended(api, execution_id)
    driver.wait_until_gone(execution_id)


def test_a_submission_may_decline_the_actor_that_its_definition_wants(
    api: Api, functions: Functions, driver: RayDriver
) -> None:
    execution_id = api.submit(DEDICATED + _flow(functions, "declined"), isolation="shared")
    assert not is_dedicated(execution_id)
    assert not driver.has(execution_id)
    _finish(api, execution_id, first=1, second=2)


def test_a_redo_brings_the_actor_of_an_ended_execution_back(
    api: Api, functions: Functions, driver: RayDriver
) -> None:
    text = _flow(functions, "redone").replace("task_async", "task_sync")
    execution_id = api.run(text, isolation="dedicated").execution_id
    driver.wait_until_gone(execution_id)
    query = {"execution_id": execution_id, "task_names": "second"}
    assert api.ask("POST", "/flow/redo.json", body={"extra": 5}, **query).status == 200
    assert driver.has(execution_id)
    ended = api.end(execution_id)
    assert (ended.status, ended.context["extra"]) == ("SUCCEED", 5)
    called = [call["task"] for call in functions.calls(execution_id)]
    assert called == ["first", "second", "second"]
    driver.wait_until_gone(execution_id)
    assert api.get(execution_id) == ended.shown


def test_an_actor_that_is_about_to_leave_stays_for_a_redo(
    api: Api, functions: Functions, driver: RayDriver, leaving: list[str]
) -> None:
    execution_id = api.submit(_flow(functions, "stays"), isolation="dedicated")
    _finish(api, execution_id, first=1, second=2)
    assert api.end(execution_id).status == "SUCCEED"
    before = driver.facts(execution_id)
    query = {"execution_id": execution_id, "task_names": "second"}
    assert api.ask("POST", "/flow/redo.json", body={"extra": 5}, **query).status == 200
    api.until_task(execution_id, "second", "RUNNING")
    assert driver.facts(execution_id) == before
    _finish(api, execution_id, second=4)
    ended = api.end(execution_id)
    assert (ended.status, ended.context["second"], ended.context["extra"]) == ("SUCCEED", 4, 5)
    leaving.append(execution_id)


def test_a_dedicated_actor_that_is_killed_comes_back_and_goes_on(
    api: Api, functions: Functions, driver: RayDriver, leaving: list[str]
) -> None:
    execution_id = _halfway(api, functions, "killed", isolation="dedicated")
    before = driver.facts(execution_id)
    assert before is not None
    kill(before["pid"])
    assert api.trigger(execution_id, "second", body={"n": 2}).body == {"result": "ok"}
    _check_ended(api, execution_id)
    assert len(functions.calls(execution_id)) == 2
    leaving.append(execution_id)


def test_a_dedicated_actor_that_is_removed_for_good_is_started_again_by_itself(
    api: Api, functions: Functions, driver: RayDriver, leaving: list[str]
) -> None:
    execution_id = _halfway(api, functions, "removed", isolation="dedicated")
    before = driver.facts(execution_id)
    driver.remove(execution_id)
    driver.wait_until_there(execution_id)
    after = driver.facts(execution_id)
    assert before is not None
    assert after is not None
    assert after["pid"] != before["pid"]
    _finish(api, execution_id, second=2)
    _check_ended(api, execution_id)
    _check_calls(functions, execution_id)
    leaving.append(execution_id)


@pytest.mark.parametrize("name", ["rillflow:execution:0", "rillflow:dispatcher:0"])
def test_an_actor_of_the_stack_that_is_removed_for_good_is_started_again(
    api: Api, functions: Functions, driver: RayDriver, name: str
) -> None:
    execution_id = _halfway(api, functions, "kept")
    driver.remove(name)
    driver.wait_until_there(name)
    _finish(api, execution_id, second=2)
    _check_ended(api, execution_id)
    _check_calls(functions, execution_id)


def test_a_child_of_a_dedicated_execution_is_an_execution_like_any_other(
    api: Api, functions: Functions, driver: RayDriver, leaving: list[str]
) -> None:
    api.add(_flow(functions, "son"))
    execution_id = api.submit(
        """
workspace: actors
dagName: father
type: flow
isolation: dedicated
tasks:
  - name: ask
    category: function
    pattern: flow_sync
    resourceName: rillflow://actors:son
    outputMappings: [{ source: $.output.second, target: $.context.second }]
"""
    )
    known = "referenced_dag_execution_id"
    shown = api.until(execution_id, lambda shown: known in shown["tasks"]["ask"]["invoke_msg"])
    child = shown["tasks"]["ask"]["invoke_msg"][known]
    assert driver.has(execution_id)
    assert not driver.has(child)
    _finish(api, child, first=1, second=2)
    ended = api.end(execution_id)
    assert (ended.status, ended.context["second"]) == ("SUCCEED", 2)
    leaving.append(execution_id)
