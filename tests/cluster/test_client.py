"""The client does over HTTP and on Ray, sync and async, what a caller wants of an execution."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

import rillflow
from rillflow.errors import (
    DefinitionError,
    ExecutionFailedError,
    ExecutionTimeoutError,
    RequestError,
    UnknownDescriptorError,
    UnknownExecutionError,
    UnreachableError,
)
from tests.cluster.api import WAIT_S
from tests.cluster.processes import ROOT, OwnStack
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

HERE: Final = Path(__file__).parent
UNKNOWN: Final = "client:unknown_c_01890a5d-ac96-774b-bcce-b302099a8057"
CALLS: Final = """
workspace: client
dagName: calls
type: flow
tasks:
  - name: sync
    category: function
    pattern: task_sync
    resourceName: GATEWAY/function/say
    inputMappings: [{ source: $.context.say, target: $.input.say }]
    outputMappings: [{ source: $.output, target: $.context.first }]
    next: async
  - name: async
    category: function
    pattern: task_async
    resourceName: GATEWAY/async-function/say
    inputMappings: [{ source: $.context.say, target: $.input.say }]
    outputMappings: [{ source: $.output, target: $.context.second }]
"""
SIGNALS: Final = """
workspace: client
dagName: signals
type: flow
tasks:
  - name: approval
    category: suspense
    inputMappings: [{ source: $.context.approved, target: $.input.approved }]
    outputMappings: [{ source: $.output.approved, target: $.context.approved }]
    conditions: ["$.input.[?(@.approved == true)]"]
    next: work
  - name: work
    category: function
    pattern: task_async
    resourceName: GATEWAY/function/say
    outputMappings: [{ source: $.output.answer, target: $.context.answer }]
"""
GROUP: Final = """
workspace: client
dagName: group
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{ source: $.context.list, target: $.input.list }]
    iterationMapping: { collection: $.input.list, item: one }
    tasks:
      - name: inner
        category: function
        pattern: task_sync
        resourceName: GATEWAY/function/slow
"""


@pytest.fixture(name="calls", scope="module")
def _calls(client: rillflow.Client, gateway: SimpleNamespace) -> str:
    return client.add(CALLS.replace("GATEWAY", gateway.url))


@pytest.fixture(name="signals", scope="module")
def _signals(client: rillflow.Client, gateway: SimpleNamespace) -> str:
    return client.add(SIGNALS.replace("GATEWAY", gateway.url))


def test_a_definition_is_added_under_the_names_in_it(calls: str) -> None:
    assert calls.startswith("client:calls:md5_")


def test_a_definition_may_be_a_file(client: rillflow.Client, tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    file.write_text(CALLS.replace("GATEWAY", "http://127.0.0.1:1"), encoding="utf-8")
    assert client.add(str(file), alias="other") == client.add(file, alias="other")


def test_the_result_is_the_context_at_the_end(client: rillflow.Client, calls: str) -> None:
    execution = client.submit(calls, {"say": {"json": {"n": 7}}})
    result = execution.result(timeout_s=WAIT_S)
    assert (result["first"], result["second"]) == ({"n": 7}, {"n": 7})
    assert execution.status() == "SUCCEED"
    assert execution.context() == result
    assert execution.get()["context"] == result
    assert "tasks" not in execution.get(brief=True)
    assert list(execution.tasks()) == ["sync", "async"]


def test_two_executions_do_not_see_each_other(client: rillflow.Client, calls: str) -> None:
    both = [client.submit(calls, {"say": {"json": {"n": n}}}) for n in range(2)]
    assert [one.result(timeout_s=WAIT_S)["second"] for one in both] == [{"n": 0}, {"n": 1}]


def test_a_failed_execution_has_no_result_but_names_and_reasons(
    client: rillflow.Client, calls: str
) -> None:
    execution = client.submit(calls, {"say": {"status": 500, "text": "out of ink"}})
    with pytest.raises(ExecutionFailedError, match="out of ink") as caught:
        execution.result(timeout_s=WAIT_S)
    assert caught.value.tasks == ("sync",)
    assert caught.value.execution_id == execution.id


def test_waiting_has_an_end(client: rillflow.Client, signals: str) -> None:
    execution = client.submit(signals)
    with pytest.raises(ExecutionTimeoutError, match=r"0\.2 s"):
        execution.result(timeout_s=0.2)
    execution.cancel()


def test_signals_and_outcomes_drive_an_execution(client: rillflow.Client, signals: str) -> None:
    execution = client.submit(signals)
    execution.wake_up("approval", {"approved": False})
    assert execution.tasks()["approval"]["status"] == "RUNNING"  # type: ignore[index,call-overload]
    execution.wake_up("approval", {"approved": True})
    assert execution.finish("work", {"answer": 42}) is True
    assert execution.result(timeout_s=WAIT_S)["answer"] == 42
    assert execution.finish("work", {"answer": 43}) is False
    assert execution.context()["answer"] == 42


def test_an_outcome_may_be_a_failure(client: rillflow.Client, signals: str) -> None:
    execution = client.submit(signals)
    execution.wake_up("approval", {"approved": True})
    execution.finish("work", {"error_msg": "broken"}, failed=True)
    with pytest.raises(ExecutionFailedError, match="work: broken"):
        execution.result(timeout_s=WAIT_S)


def test_an_ended_task_is_done_again(client: rillflow.Client, signals: str) -> None:
    execution = client.submit(signals)
    execution.wake_up("approval", {"approved": True})
    execution.finish("work", failed=True)
    with pytest.raises(ExecutionFailedError):
        execution.result(timeout_s=WAIT_S)
    execution.redo(["work"])
    execution.finish("work", {"answer": 1})
    assert execution.result(timeout_s=WAIT_S)["answer"] == 1


def test_a_pause_starts_nothing_more(client: rillflow.Client, signals: str) -> None:
    execution = client.submit(signals)
    execution.pause()
    execution.wake_up("approval", {"approved": True})
    assert execution.tasks()["work"]["status"] == "READY"  # type: ignore[index,call-overload]
    execution.resume()
    execution.finish("work", {"answer": 5})
    assert execution.result(timeout_s=WAIT_S)["answer"] == 5


def test_a_cancelled_execution_ends(client: rillflow.Client, signals: str) -> None:
    execution = client.submit(signals)
    execution.cancel()
    with pytest.raises(ExecutionFailedError):
        execution.result(timeout_s=WAIT_S)


def test_watching_tells_every_change_members_of_groups_included(
    client: rillflow.Client, gateway: SimpleNamespace
) -> None:
    descriptor = client.add(GROUP.replace("GATEWAY", gateway.url))
    execution = client.submit(descriptor, {"list": [1, 2]})
    changes = list(execution.watch(every_s=0.02))
    last = {change.task: change.status for change in changes}
    assert last == {
        "each": "SUCCEEDED",
        "each_0-inner": "SUCCEEDED",
        "each_1-inner": "SUCCEEDED",
    }
    seen = [change.status for change in changes if change.task == "each_1-inner"]
    assert seen[-2:] == ["RUNNING", "SUCCEEDED"]
    assert list(execution.tasks()) == ["each", "each_0-inner", "each_1-inner"]


def test_a_dedicated_execution_is_one_like_any_other(client: rillflow.Client, calls: str) -> None:
    execution = client.submit(calls, {"say": {"json": {"n": 1}}}, isolation="dedicated")
    assert execution.result(timeout_s=WAIT_S)["second"] == {"n": 1}


def test_each_refusal_is_the_error_that_says_who_must_act(
    client: rillflow.Client, calls: str, signals: str
) -> None:
    with pytest.raises(UnknownDescriptorError, match="nothing:here"):
        client.submit("nothing:here")
    with pytest.raises(RequestError, match="format error"):
        client.submit("malformed")
    with pytest.raises(DefinitionError, match="circle"):
        client.add(CALLS.replace("    next: async", "    next: sync"))
    with pytest.raises(DefinitionError, match="name not match"):
        client.add(SIGNALS, business="other")
    unknown = client.execution(UNKNOWN)
    for ask in (unknown.get, unknown.status, unknown.context, unknown.tasks, unknown.result):
        with pytest.raises(UnknownExecutionError, match=UNKNOWN):
            ask()
    with pytest.raises(UnknownExecutionError, match=UNKNOWN):
        unknown.cancel()
    with pytest.raises(UnknownExecutionError, match=UNKNOWN):
        unknown.finish("a")
    with pytest.raises(RequestError, match="JSON"):
        client.submit(calls, {"n": object()})  # type: ignore[dict-item]
    with pytest.raises(RequestError, match="task not exists"):
        client.submit(signals).finish("nobody")


def test_no_server_is_said_so() -> None:
    with (
        rillflow.Client(f"http://127.0.0.1:{closed_port()}") as nobody,
        pytest.raises(UnreachableError, match="no answer"),
    ):
        nobody.submit("a:b")


async def test_the_asynchronous_client_does_the_same(
    stack: OwnStack, gateway: SimpleNamespace
) -> None:
    async with rillflow.AsyncClient(stack.base_url) as client:
        await scenario(client, gateway.url)


def test_a_driver_script_on_the_ray_cluster_does_the_same(
    stack: OwnStack, gateway: SimpleNamespace
) -> None:
    told = _driver("sync", stack, gateway)
    assert told == {
        "ray": True,
        "result": {"n": 7},
        "failed": ["sync"],
        "timeout": 0.2,
        "finished": [True, False],
        "unknown": UNKNOWN,
        "refused": "UnknownDescriptorError",
        "statuses": {"sync": "SUCCEEDED", "async": "SUCCEEDED"},
    }


def test_an_asynchronous_driver_script_does_the_same(
    stack: OwnStack, gateway: SimpleNamespace
) -> None:
    assert _driver("async", stack, gateway) == "done"


def test_a_driver_script_where_no_stack_runs_is_told_so(stack: OwnStack) -> None:
    script = f"import rillflow; rillflow.connect('elsewhere', address={stack.ray_address!r})"
    ended = _python("-c", script)
    assert "no Rillflow stack runs in the Ray namespace 'elsewhere'" in ended.stderr


def _driver(way: str, stack: OwnStack, gateway: SimpleNamespace) -> Any:
    ended = _python(str(HERE / "client_driver.py"), way, stack.ray_address, gateway.url)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


async def scenario(client: rillflow.AsyncClient, gateway_url: str) -> None:
    """Use every method of the asynchronous client once."""
    calls = await client.add(CALLS.replace("GATEWAY", gateway_url))
    execution = await client.submit(calls, {"say": {"json": {"n": 7}}})
    changes = [change async for change in execution.watch(every_s=0.02)]
    assert {change.task: change.status for change in changes} == {
        "sync": "SUCCEEDED",
        "async": "SUCCEEDED",
    }
    assert (await execution.result(timeout_s=WAIT_S))["second"] == {"n": 7}
    assert await execution.context() == (await execution.get(brief=True))["context"]
    assert await execution.status() == "SUCCEED"
    assert list(await execution.tasks()) == ["sync", "async"]
    listed = await client.executions(business="client", feature="calls", status="succeed")
    assert execution.id in [one.id for one in listed]
    signals = await client.add(SIGNALS.replace("GATEWAY", gateway_url))
    key = f"after {execution.id}"
    steered = await client.submit(signals, idempotency_key=key)
    await _steer(steered)
    assert (await client.submit(signals, idempotency_key=key)).id == steered.id
    await client.redo_many("client:nothing", limit=1)
    with pytest.raises(UnknownExecutionError):
        await client.execution(UNKNOWN).get()


async def _steer(execution: rillflow.AsyncExecution) -> None:
    with pytest.raises(ExecutionTimeoutError):
        await execution.result(timeout_s=0.1)
    await execution.pause()
    await execution.resume()
    await execution.wake_up("approval", {"approved": True})
    assert await execution.finish("work", {}, failed=True) is True
    with pytest.raises(ExecutionFailedError, match="work"):
        await execution.result(timeout_s=WAIT_S)
    await execution.redo(["work"])
    await execution.cancel()
    with pytest.raises(ExecutionFailedError):
        await execution.result(timeout_s=WAIT_S)
