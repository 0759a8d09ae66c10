"""What a client asks of a stack comes to the same over HTTP and where no HTTP is between."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

import rillflow
from rillflow.client.http_transport.transport import AsyncHttpTransport
from rillflow.client.operations import Read
from rillflow.client.ray_transport.driver import StackTransport
from rillflow.errors import (
    ExecutionFailedError,
    RequestError,
    RillflowError,
    UnreachableError,
)
from rillflow.testing import FunctionRequest
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import Api, served

UNKNOWN: Final = "shop:order_c_01890a5d-ac96-774b-bcce-b302099a8057"


async def clients(api: Api) -> AsyncIterator[rillflow.AsyncClient]:
    """Give a client of each way, one after the other; the stack stays open."""
    async with rillflow.AsyncClient(str(api.client.base_url)) as over_http:
        yield over_http
    yield rillflow.AsyncClient(transport=StackTransport(api.stack))


async def test_both_ways_list_the_same_executions(api: Api) -> None:
    descriptor_id = await api.add(SUSPENDED)
    first, second = [await api.submit(descriptor_id) for _ in range(2)]
    await api.post("/flow/cancel.json", execution_id=first)
    await api.ended(first)
    async for client in clients(api):
        listed = await client.executions(business="shop", status="FAILED")
        assert [(one.id, one.status, one.feature) for one in listed] == [(first, "FAILED", "order")]
        assert [one.id for one in await client.executions(limit=1)] == [second]
        assert await client.executions(business="nobody") == []
        at_ms = listed[0].submitted_at_ms
        assert await client.executions(to_ms=at_ms - 1) == []
        assert len(await client.executions(from_ms=at_ms, feature="order")) == 2
        assert await client.executions(code="nothing") == []


async def test_both_ways_take_what_is_blank_for_any_and_refuse_the_same(api: Api) -> None:
    await api.submit(await api.add(SUSPENDED))
    async for client in clients(api):
        assert len(await client.executions(business="", code=" ", status="")) == 1
        assert len(await client.executions(feature=" order")) == 1
        for wrong_ms in (-1, 10**30):
            with pytest.raises(RequestError):
                await client.executions(from_ms=wrong_ms)
            with pytest.raises(RequestError):
                await client.executions(to_ms=wrong_ms)


async def test_both_ways_wait_for_an_answer_no_longer_than_a_read_says(api: Api) -> None:
    execution_id = await api.submit(await api.add(SUSPENDED))
    late = Read(execution_id=execution_id, wait_s=60, within_s=0.05)
    over_http = AsyncHttpTransport(str(api.client.base_url), timeout_s=30)
    for way in (over_http, StackTransport(api.stack)):
        async with asyncio.timeout(60):
            with pytest.raises(UnreachableError):
                await way.perform(late)
    await over_http.close()


async def test_both_ways_do_many_again() -> None:
    broken = True

    def work(_: FunctionRequest) -> dict[str, str]:
        return {"result_type": "FAILED" if broken else "SUCCESS"}

    async with served({"work": work}) as api:
        descriptor_id = await api.add(calling("work"))
        async for client in clients(api):
            broken = True
            execution = await client.submit(descriptor_id)
            with pytest.raises(ExecutionFailedError):
                await execution.result()
            broken = False
            await client.redo_many("shop:order", tasks=["A"], limit=1, per_second=50)
            while not await succeeded(execution):
                pass
            with pytest.raises(RequestError, match="count 30001 nonsupport"):
                await client.redo_many("shop:order", limit=30_001)


async def test_both_ways_refuse_to_do_again_what_there_is_not() -> None:
    def work(_: FunctionRequest) -> dict[str, str]:
        return {"result_type": "FAILED"}

    async with served({"work": work}) as api:
        descriptor_id = await api.add(calling("work"))
        async for client in clients(api):
            execution = await client.submit(descriptor_id)
            with pytest.raises(ExecutionFailedError):
                await execution.result()
            with pytest.raises(RequestError, match="there is no task B; there are A") as refusal:
                await execution.redo(["A", "B"])
            assert refusal.value.wire_code == 30109
            assert await execution.status() == "FAILED"
            await execution.redo(["B"], whole=True)
        query = {"execution_id": execution.id, "task_names": "B"}
        refusal_of = await api.refusal("/flow/redo.json", scope="failed", **query)
        assert refusal_of == (400, 30109, "there is no task B; there are A")


async def succeeded(execution: rillflow.AsyncExecution) -> bool:
    """Wait for an end, which may still be the one before the redo."""
    try:
        await execution.result()
    except ExecutionFailedError:
        return False
    return True


async def test_both_ways_take_a_submission_with_a_key_once(api: Api) -> None:
    descriptor_id = await api.add(SUSPENDED)
    ids = {
        (await client.submit(descriptor_id, {"n": 1}, idempotency_key="k")).id
        async for client in clients(api)
        for _ in range(2)
    }
    assert len(ids) == 1
    async for client in clients(api):
        with pytest.raises(RequestError):
            await client.submit(descriptor_id, {"n": 2}, idempotency_key="k")
        with pytest.raises(RequestError, match="up to 255 characters"):
            await client.submit(descriptor_id, {"n": 1}, idempotency_key="k" * 256)


async def test_both_ways_show_the_same_cluster(api: Api) -> None:
    async for client in clients(api):
        found = await client.cluster()
        assert found["converged"] is True
        assert found == await api.get("/flow/cluster.json")


async def test_both_ways_tell_why_an_execution_waits(api: Api) -> None:
    execution_id = await api.submit(await api.add(SUSPENDED))
    async for client in clients(api):
        execution = client.execution(execution_id)
        [wait] = await execution.waits()
        assert str(wait["sentence"]).startswith("Waiting for a wake-up of wait since ")
        assert await execution.waits("wait") == [wait]
        with pytest.raises(RillflowError):
            await execution.waits("nosuch")
        with pytest.raises(RillflowError):
            await client.execution(UNKNOWN).waits()
