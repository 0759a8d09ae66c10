"""Executions are continued, repeated and ended from outside."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.core.events import RedoRequested
from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId
from rillflow.runtime.batch_redo import Batch
from rillflow.runtime.stack import Stack
from rillflow.stores import open_store
from rillflow.testing import FunctionRequest
from serve.routes.batch_redo import MOST_BATCHES, MOST_OF_ONE, BatchRedo
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, refusal_of, served

NOBODY = "shop:order_c_00000000-0000-7000-8000-000000000000"
OK = {"result": "ok"}


class Waiting:
    """An asynchronous function that has been called and has not called back."""

    def __init__(self) -> None:
        self.called = asyncio.Event()

    def __call__(self, _: FunctionRequest) -> dict[str, Any]:
        self.called.set()
        return {}


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


async def started(api: Api, waiting: Waiting, **params: Any) -> str:
    """Start an execution that waits for a callback."""
    await api.add(calling("work", pattern="task_async"))
    execution_id = await api.submit("shop:order", **params)
    await asyncio.wait_for(waiting.called.wait(), 60)
    return execution_id


@pytest.mark.case("E2E-10")
async def test_the_brief_view_has_no_tasks(api: Api) -> None:
    execution_id = await api.submit(await api.add(PASS))
    await api.ended(execution_id)
    shown = await api.shown(execution_id, brief=True)
    assert "tasks" not in shown
    assert shown["execution_id"] == execution_id
    assert (shown["dag_status"], shown["process"]) == ("SUCCEED", 100)


@pytest.mark.case("E2E-11")
async def test_a_callback_may_be_a_get(waiting: Waiting) -> None:
    async with served({"work": waiting}) as api:
        execution_id = await started(api, waiting)
        [call] = api.gateway.calls
        url = f"{call.request.headers['X-Callback-Url']}&status=success&context=%7B%22a%22%3A1%7D"
        assert (await api.client.get(url)).json() == OK
        shown = await api.ended(execution_id)
        assert (shown["dag_status"], shown["context"]["a"]) == ("SUCCEED", 1)


@pytest.mark.case("E2E-12")
async def test_the_query_of_a_callback_wins_over_its_body(waiting: Waiting) -> None:
    async with served({"work": waiting}) as api:
        execution_id = await started(api, waiting)
        await api.post(
            "/flow/trigger.json",
            {"a": 1, "b": 2},
            execution_id=execution_id,
            task_name="A",
            context='{"a":9}',
        )
        shown = await api.ended(execution_id)
        assert shown["tasks"]["A"]["invoke_msg"]["output"] == {"a": 9, "b": 2}


@pytest.mark.case("E2E-13")
async def test_a_callback_may_say_failed(waiting: Waiting) -> None:
    async with served({"work": waiting}) as api:
        execution_id = await started(api, waiting)
        call = {"execution_id": execution_id, "task_name": "A"}
        await api.post("/flow/trigger.json", status="failed", **call)
        shown = await api.ended(execution_id)
        assert (shown["dag_status"], shown["tasks"]["A"]["status"]) == ("FAILED", "FAILED")


@pytest.mark.case("E2E-14")
async def test_a_second_callback_changes_nothing(waiting: Waiting) -> None:
    async with served({"work": waiting}) as api:
        execution_id = await started(api, waiting)
        call = {"execution_id": execution_id, "task_name": "A"}
        assert await api.post("/flow/trigger.json", {"a": 1}, **call) == OK
        await api.ended(execution_id)
        for path in ("trigger", "finish"):
            again = await api.post(f"/flow/{path}.json", {"a": 2}, **call)
            assert again == {"result": "ok", "duplicate": True}
        assert (await api.shown(execution_id))["context"]["a"] == 1


@pytest.mark.case("E2E-15")
async def test_finish_fails_a_task_whose_result_type_is_fail(waiting: Waiting) -> None:
    async with served({"work": waiting}) as api:
        execution_id = await started(api, waiting)
        body = {"result_type": "FAIL", "error_msg": "no luck", "error_code": 7, "invoke_id": 8}
        await api.post("/flow/finish.json", body, execution_id=execution_id, task_name="A")
        shown = await api.ended(execution_id)
        invoke = shown["tasks"]["A"]["invoke_msg"]
        assert (shown["dag_status"], invoke["msg"], invoke["code"]) == ("FAILED", "no luck", "7")
        assert (invoke["invoke_id"], "ext" in invoke) == ("8", False)


async def test_a_suspense_wakes_up_when_its_conditions_hold(api: Api) -> None:
    execution_id = await api.submit(await api.add(SUSPENDED))
    wake = {"execution_id": execution_id, "task_name": "wait"}
    assert await api.post("/flow/wakeup.json", {"go": False}, **wake) == OK
    assert (await api.shown(execution_id))["dag_status"] == "RUNNING"
    assert await api.post("/flow/wakeup.json", {"go": True}, **wake) == OK
    assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"

    refusal = await api.refusal("/flow/wakeup.json", execution_id=execution_id, task_name=" ")
    assert refusal == (400, 30109, "task_name is empty")
    assert (await api.refusal("/flow/wakeup.json", **wake))[:2] == (500, 30601)


@pytest.mark.case("AP-01", "AP-05")
async def test_completing_by_hand_answers_a_code(api: Api) -> None:
    async def complete(execution_id: str, **params: Any) -> tuple[str, str]:
        said = await api.post("/flow/complete.json", execution_id=execution_id, **params)
        return said["code"], said["message"]

    assert await complete(" ") == ("-1", "executionId or status is blank")
    assert await complete(NOBODY) == ("-1", f"executionId not found {NOBODY}")
    execution_id = await api.submit(await api.add(SUSPENDED))
    assert await complete(execution_id) == ("0", "success")
    said = "status is SUCCEED now, and cannot be set to SUCCEED"
    assert await complete(execution_id) == ("-1", said)
    assert await complete(execution_id, success=False) == ("0", "success")


@pytest.mark.case("AP-03")
async def test_completing_by_hand_closes_the_time_and_adds_none(api: Api) -> None:
    execution_id = await api.submit(await api.add(SUSPENDED))
    [open_info] = (await api.shown(execution_id))["dag_invoke_msg"]["invoke_time_infos"]
    assert "end_time" not in open_info
    await api.post("/flow/complete.json", execution_id=execution_id, success=True)
    [closed] = (await api.shown(execution_id))["dag_invoke_msg"]["invoke_time_infos"]
    assert closed["end_time"] >= closed["start_time"] == open_info["start_time"]


@pytest.mark.case("AP-08")
async def test_redo_brings_an_execution_back_from_the_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/rillflow.db"
    failing = calling("work")
    async with served({"work": lambda _: {"result_type": "FAILED"}}, store=open_store(url)) as api:
        execution_id = (await api.run(failing))["execution_id"]
    async with served(store=open_store(url)) as api:
        assert await api.post("/flow/redo.json", execution_id=execution_id) == OK
        shown = await api.ended(execution_id)
        assert len(shown["dag_invoke_msg"]["invoke_time_infos"]) == 2
        refusal = await api.refusal("/flow/redo.json", execution_id=NOBODY)
        assert refusal == (500, 30602, "can not find dag info before redo.")


@pytest.mark.case("AP-09")
@pytest.mark.parametrize("execution_id", ["", " "])
@pytest.mark.asyncio(loop_scope="module")
async def test_redo_needs_an_id(shared_api: Api, execution_id: str) -> None:
    refusal = await shared_api.refusal("/flow/redo.json", execution_id=execution_id)
    assert refusal == (500, 30606, "redo executionId can not be empty")


@pytest.mark.case("AP-12")
async def test_degrading_needs_a_task_of_the_definition(api: Api) -> None:
    execution_id = await api.submit(await api.add(SUSPENDED))
    switches = {"degrade_current_task": "true", "degrade_following_tasks": "false"}
    params = {"execution_id": execution_id, **switches}
    assert await api.post("/flow/task_degrade.json", task_name="wait", **params) == OK
    shown = (await api.shown(execution_id))["tasks"]["wait"]["task"]
    assert shown["degrade"] == {"current": True, "followings": False}
    refusal = await api.refusal("/flow/task_degrade.json", task_name="other", **params)
    text = f"can not find base task:other, executionId:{execution_id}"
    assert refusal == (400, 30106, text)


async def test_a_cancelled_execution_ends_and_a_paused_one_waits(api: Api) -> None:
    descriptor_id = await api.add(SUSPENDED)
    first, second = await api.submit(descriptor_id), await api.submit(descriptor_id)
    assert await api.post("/flow/cancel.json", execution_id=first) == OK
    shown = await api.ended(first)
    assert (shown["dag_status"], shown["dag_invoke_msg"]["msg"]) == ("FAILED", "cancelled")
    assert await api.post("/flow/pause.json", execution_id=second) == OK
    assert (await api.shown(second))["paused"] is True
    assert await api.post("/flow/resume.json", execution_id=second) == OK
    assert "paused" not in await api.shown(second)
    assert (await api.refusal("/flow/cancel.json", execution_id=first))[:2] == (500, 30601)


class Mending:
    """A function that fails until it is mended."""

    def __init__(self) -> None:
        self.mended = False

    def __call__(self, _: FunctionRequest) -> dict[str, Any]:
        return {"result_type": "SUCCESS" if self.mended else "FAILED"}


async def test_a_batch_of_redos_does_all_again() -> None:
    work = Mending()
    async with served({"work": work}) as api:
        descriptor_id = await api.add(calling("work"))
        failed = [await api.submit(descriptor_id) for _ in range(6)]
        for execution_id in failed:
            assert (await api.ended(execution_id))["dag_status"] == "FAILED"
        work.mended = True
        batch = {"service_id": "shop:order", "rate_limit": 50}
        assert await api.post("/flow/multi_redo.json", count=5, task_names="A", **batch) == OK
        shown = [await succeeded(api, execution_id) for execution_id in failed[1:]]
        assert len(shown) == 5
        oldest = await api.shown(failed[0])
        assert oldest["dag_status"] == "FAILED"
        assert await api.post("/flow/multi_redo.json", offset_in_minute=5, **batch) == OK
        assert (await api.shown(failed[0]))["dag_status"] == "FAILED"


class EndlessBatch(Batch):
    """A batch that goes on until it is stopped."""

    async def find(self, stack: Stack) -> list[ExecutionId]:
        del stack
        return []

    async def redo(self, stack: Stack, execution_ids: Sequence[ExecutionId]) -> None:
        del stack, execution_ids
        await asyncio.Event().wait()


async def test_only_so_many_batches_of_redos_are_in_progress_at_once() -> None:
    async with served({"work": Mending()}) as api:
        descriptor_id = await api.add(calling("work"))
        for _ in range(60):  # so that a batch takes a minute
            await api.ended(await api.submit(descriptor_id))
        batch: dict[str, Any] = {"service_id": "shop:order", "rate_limit": 1}
        for _ in range(MOST_OF_ONE):
            assert await api.post("/flow/multi_redo.json", **batch) == OK
        answer = await api.client.post("/flow/multi_redo.json", params=batch)
        status, code, text = refusal_of(answer)
        assert (status, code) == (429, 30201)
        end = "are in progress at this server; try again later"
        assert text == f"16 batches of redos of this workspace {end}"


@pytest.mark.parametrize("same", ["workspace", "sender"])
async def test_a_workspace_and_a_sender_have_a_half_of_the_batches_of_redos(same: str) -> None:
    """An operator of one workspace had those of all others refused for hours."""
    async with served() as api:
        batches = BatchRedo(api.stack)
        for number in range(MOST_OF_ONE):
            own, other = f"own{number}", "one"
            business, sender = (other, own) if same == "workspace" else (own, other)
            await batches.begin(EndlessBatch(business=business, feature="order"), sender)
        with pytest.raises(OverloadedError, match=f"16 batches of redos of this {same}"):
            await batches.begin(EndlessBatch(business="one", feature="order"), "one")
        for number in range(MOST_BATCHES - MOST_OF_ONE):
            business, sender = f"next{number}", f"next{number}"
            await batches.begin(EndlessBatch(business=business, feature="order"), sender)
        with pytest.raises(OverloadedError, match="32 batches of redos are in progress"):
            await batches.begin(EndlessBatch(business="last", feature="order"), "last")
        await batches.stop()


async def test_a_batch_that_has_ended_leaves_room_for_another() -> None:
    async with served() as api:
        batches = BatchRedo(api.stack)
        for _ in range(2 * MOST_OF_ONE):
            await batches.begin(Batch(business="shop", feature="order"), "one")
            await asyncio.sleep(0)
        await batches.stop()


LOOP: Final = """
workspace: shop
dagName: loop
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{ source: $.context.list, target: $.input.list }]
    outputMappings: [{ source: "$.output.sub_context[*].done", target: $.context.all }]
    iterationMapping: { collection: $.input.list, item: item }
    tasks:
      - name: one
        category: function
        pattern: task_sync
        resourceName: ${GW}/function/work
        inputMappings: [{ source: $.context.item, target: $.input.item }]
        outputMappings: [{ source: $.output.item, target: $.context.done }]
"""


class Moody:
    """A function that fails for odd items until it is mended, and counts its calls."""

    def __init__(self) -> None:
        self.mended = False
        self.items: list[int] = []

    def __call__(self, request: FunctionRequest) -> dict[str, Any]:
        item = int(request.json()["item"])
        self.items.append(item)
        fails = item % 2 == 1 and not self.mended
        return {"result_type": "FAILED" if fails else "SUCCESS", "item": 10 * item}


async def test_a_redo_of_what_failed_calls_no_function_again_that_succeeded() -> None:
    work = Moody()
    async with served({"work": work}) as api:
        descriptor_id = await api.add(LOOP)
        execution_id = await api.submit(descriptor_id, {"list": [1, 2, 3, 4]})
        assert (await api.ended(execution_id))["dag_status"] == "FAILED"
        work.mended = True
        query = {"execution_id": execution_id, "scope": "failed"}
        assert await api.post("/flow/redo.json", task_names="each_2-one", **query) == OK
        await api.ended(execution_id)
        assert sorted(work.items[4:]) == [3]
        assert await api.post("/flow/redo.json", **query) == OK
        shown = await succeeded(api, execution_id)
        assert sorted(work.items[5:]) == [1]
        assert shown["context"]["all"] == [10, 20, 30, 40]


PARENT: Final = """
workspace: shop
dagName: parent
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{ source: $.context.list, target: $.input.list }]
    outputMappings: [{ source: "$.output.sub_context[*].a", target: $.context.all }]
    iterationMapping: { collection: $.input.list, item: a }
    tasks:
      - name: flow
        category: function
        pattern: flow_sync
        resourceName: rillflow://shop:order
        inputMappings: [{ source: $.context.a, target: $.input.a }]
        outputMappings: [{ source: $.output.a, target: $.context.a }]
"""


@pytest.mark.parametrize("whom", ["child", "parent"])
async def test_a_failed_sub_flow_that_is_redone_lets_its_parent_go_on(whom: str) -> None:
    calls: list[int] = []
    mended = False

    def work(request: FunctionRequest) -> dict[str, Any]:
        calls.append(request.json()["a"])
        fails = calls[-1] == 2 and not mended
        return {"result_type": "FAILED" if fails else "SUCCESS", "a": 10 * calls[-1]}

    async with served({"work": work}) as api:
        await api.add(calling("work"))
        parent = await api.submit(await api.add(PARENT), {"list": [1, 2, 3]})
        assert (await api.ended(parent))["dag_status"] == "FAILED"
        query = {"execution_id": parent, "parent": "each", "group_index": 1}
        members = (await api.get("/flow/get_by_parent.json", **query))["ret"]["tasks"]
        child = members["each_1-flow"]["invoke_msg"]["referenced_dag_execution_id"]
        mended = True
        redone = child if whom == "child" else parent
        assert await api.post("/flow/redo.json", execution_id=redone, scope="failed") == OK
        shown = await succeeded(api, parent)
        assert shown["context"]["all"] == [10, 20, 30]
        assert (sorted(calls), calls.count(2)) == ([1, 2, 2, 3], 2)
        assert (await api.shown(child))["dag_status"] == "SUCCEED"


async def succeeded(api: Api, execution_id: str) -> dict[str, Any]:
    """Wait until a redo has made an execution succeed."""
    while True:
        shown = await api.ended(execution_id)
        if shown["dag_status"] == "SUCCEED":
            return shown
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"type": "succeed"}, "type succeed nonsupport"),
        ({"rate_limit": 0}, "rate_limit 0 nonsupport"),
        ({"rate_limit": 51}, "rate_limit 51 nonsupport"),
        ({"count": 0}, "count 0 nonsupport"),
        ({"count": 30001}, "count 30001 nonsupport"),
        ({"service_id": "shop"}, "serviceId:shop format error"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_batch_of_redos_has_limits(
    shared_api: Api, params: dict[str, Any], said: str
) -> None:
    batch = {"service_id": "shop:order", **params}
    assert await shared_api.refusal("/flow/multi_redo.json", **batch) == (400, 30109, said)


async def test_batches_of_redos_can_be_switched_off() -> None:
    async with served(switches={"ENABLE_FLOW_DAG_MULTI_REDO": False}) as api:
        refusal = await api.refusal("/flow/multi_redo.json", service_id="shop:order")
        assert refusal[:2] == (400, 30107)


async def test_one_execution_that_refuses_does_not_end_the_batch(api: Api) -> None:
    execution_id = await api.submit(await api.add(SUSPENDED))
    event = RedoRequested(at_ms=api.clock.now_ms())
    assert (await api.stack.deliver(execution_id, event)).changed
    await api.post("/flow/multi_redo.json", service_id="shop:order", type="running")
    assert (await api.shown(execution_id))["dag_status"] == "RUNNING"
