"""Each execution is owned by the actor that its id alone names, and by no other."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

from rillflow.actors.names import owner_index
from tests.cluster.api import WAIT_S, Api
from tests.cluster.processes import OwnStack, RayDriver, wait_until_gone, workers

pytestmark = pytest.mark.cluster

WAITS: Final = """
workspace: owners
dagName: waits
type: flow
tasks:
  - name: door
    category: suspense
    inputMappings: [{ source: $.context.open, target: $.input.open }]
    conditions: [$.input.open]
    outputMappings: [{ source: $.output.open, target: $.context.open }]
"""


@pytest.fixture(name="other_driver")
def _other_driver(other_stack: OwnStack) -> Iterator[RayDriver]:
    driver = RayDriver(other_stack.ray_address)
    yield driver
    driver.close()


def test_an_actor_that_was_stopped_loses_its_executions_to_another_process(
    other_api: Api, other_driver: RayDriver
) -> None:
    other_api.add(WAITS)
    ids = [other_api.submit("owners:waits", {"n": n}) for n in range(24)]
    owned: dict[int, list[str]] = {0: [], 1: []}
    for execution_id in ids:
        owned[owner_index(execution_id, 2)].append(execution_id)
    assert owned[0]
    assert owned[1]
    for index, own in owned.items():
        assert other_api.get(own[0])["holder"]["actor"] == f"rillflow:execution:{index}"
    stopped = other_driver.facts("rillflow:execution:1")
    assert stopped is not None
    os.kill(stopped["pid"], signal.SIGSTOP)
    # It holds up nobody else, and its own executions no longer than until others have taken over.
    for execution_id in (*owned[0], *owned[1]):
        assert other_api.wake_up(execution_id, "door", {"open": 1}).status == 200
        assert other_api.end(execution_id).status == "SUCCEED"
    wait_until_gone(stopped["pid"])
    next_one = other_driver.facts("rillflow:execution:1")
    assert next_one is not None
    assert next_one["pid"] != stopped["pid"]
    assert [other_api.get(each)["context"]["n"] for each in ids] == list(range(24))


def test_the_stack_is_not_ready_while_an_actor_does_not_answer(
    other_api: Api, other_stack: OwnStack
) -> None:
    actors = ("ExecutionActor", "execution_actor_missing"), ("DispatcherAct", "dispatcher_missing")
    for title, code in actors:
        _until_told(other_api, [])
        give_up = time.monotonic() + 2 * WAIT_S
        while not _is_told_while_it_stands(other_api, workers(other_stack.pid, title)[0], code):
            assert time.monotonic() < give_up, "others take over from it, and nothing is told"
            _until_told(other_api, [])
        _until_told(other_api, [])


def _is_told_while_it_stands(api: Api, pid: int, code: str) -> bool:
    """Stop an actor until the stack says so; false if others take over from it before."""
    give_up = time.monotonic() + WAIT_S
    os.kill(pid, signal.SIGSTOP)
    try:
        while Path(f"/proc/{pid}").exists():
            if [code] == _reasons(answer := api.http.get("/readyz")):
                return True
            assert time.monotonic() < give_up, answer.text
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return False


def _until_told(api: Api, codes: list[str]) -> None:
    """Wait until the stack gives these reasons for not being ready."""
    give_up = time.monotonic() + WAIT_S
    while True:
        answer = api.http.get("/readyz")
        if _reasons(answer) == codes:
            break
        assert time.monotonic() < give_up, answer.text
    assert answer.status_code == (503 if codes else 200)


def _reasons(answer: httpx.Response) -> list[str]:
    return [each["code"] for each in answer.json()["reasons"]]
