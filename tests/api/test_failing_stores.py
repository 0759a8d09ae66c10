"""A store that takes nothing for a while is a 503 that asks to come back, and costs no work."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from rillflow.errors import StoreError
from rillflow.ports.storage.store import Append, ExecutionFilter
from rillflow.stores import open_store
from rillflow.stores.memory.store import MemoryStore
from rillflow.testing import FunctionRequest
from tests.api.definition_texts import calling
from tests.api.serving import Api, refusal_of, served
from tests.full_disk import full_disk

NEXT: Final = """
    next: B
  - name: B
    category: function
    resourceName: ${GW}/function/next
    pattern: task_sync
"""


class ApiKeyGate:
    """A function that is called, and answers when it is let go."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, _: FunctionRequest) -> dict[str, Any]:
        self.called.set()
        await self.may_answer.wait()
        return {"a": 1}


class LosingStore(MemoryStore):
    """A store whose answers to appends are lost for a while, and maybe the appends as well."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        self._writes = writes
        self.is_lost = False

    async def append(self, appends: Sequence[Append]) -> None:
        if self._writes or not self.is_lost:
            await super().append(appends)
        if self.is_lost:
            raise StoreError("the connection was lost")


async def test_a_full_disk_is_503_and_when_it_has_room_everything_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = ApiKeyGate()
    store = open_store(f"sqlite://{tmp_path}/full.db")
    async with served({"work": work, "next": lambda _: {}}, store=store) as api:
        definition = await api.add(calling("work", more=NEXT))
        execution_id = await api.submit(definition)
        await work.called.wait()
        await api.until_ready()
        with full_disk():
            told = await api.until_not_ready()
            assert [reason["code"] for reason in told["reasons"]] == ["store_refuses_writes"]
            assert "the store takes no writes" in told["error"]
            _check_come_again(await _submitted(api, definition))
            work.may_answer.set()
            # The answer is there, and cannot be written.
            while "answers_not_taken" not in caplog.messages:
                assert (await api.shown(execution_id))["tasks"]["A"]["status"] == "RUNNING"
            _check_come_again(await _submitted(api, definition))
        await api.until_ready()
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"
        # Nothing of the refused one is there, its key is free.
        assert await store.count_executions(ExecutionFilter()) == {"succeed": 1}
        response = await _submitted(api, definition)
        assert (await api.ended(response.json()["execution_id"]))["dag_status"] == "SUCCEED"
        assert [call.request.function for call in api.gateway.calls] == ["work", "next"] * 2
    await store.close()


@pytest.mark.parametrize("writes", [True, False])
async def test_after_a_lost_append_the_journal_says_what_is_true(*, writes: bool) -> None:
    work = ApiKeyGate()
    work.may_answer.set()
    store = LosingStore(writes=writes)
    async with served({"work": work, "next": lambda _: {}}, store=store) as api:
        definition = await api.add(calling("work", pattern="task_async", more=NEXT))
        execution_id = await api.submit(definition)
        await work.called.wait()
        call = {"execution_id": execution_id, "task_name": "A"}
        store.is_lost = True
        response = await api.client.post("/flow/trigger.json", params=call, json={"a": 1})
        _check_come_again(response)
        store.is_lost = False
        again = await api.post("/flow/trigger.json", {"a": 1}, **call)
        assert again.get("duplicate", False) is writes
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"
        assert [call.request.function for call in api.gateway.calls] == ["work", "next"]


async def _submitted(api: Api, definition: str) -> httpx.Response:
    params = {"descriptor_id": definition}
    headers = {"Idempotency-Key": "once"}
    return await api.client.post("/flow/submit.json", params=params, headers=headers, json={})


def _check_come_again(response: httpx.Response) -> None:
    assert refusal_of(response)[:2] == (503, 30501)
    assert response.headers["Retry-After"] == "1"
