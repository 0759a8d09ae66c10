"""A large execution is shown in parts, once there is room for it, and holds no event loop.

Its size is known before it is fetched, whichever route shows it, and who reads it again and again
has it encoded once.
"""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest

from rillflow.core.status import DagStatus
from rillflow.ids import ExecutionId
from rillflow.jsontypes import decode_json
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.owner.views import KEPT_S, PART_BYTES
from rillflow.stores.memory.store import MemoryStore
from tests.api.serving import Api, served
from tests.api.turns_of_loop import Loop

MEBIBYTE: Final = 1 << 20
TASKS: Final = 40
TEXT: Final = "x" * MEBIBYTE
TASK: Final = """
- name: t{number}
  category: pass
  inputMappings: [{{source: $.context.text, target: $.input.text}}]
"""
FLOW: Final = f"""
workspace: shop
dagName: large
type: flow
tasks:
- name: each
  category: foreach
  iterationMapping: {{collection: $.input.items, item: item}}
  inputMappings:
  - {{source: "[1, 2]", target: $.input.items}}
  - {{source: $.context.text, target: $.input.text}}
  tasks:
  - name: one
    category: pass
    inputMappings: [{{source: $.context.text, target: $.input.text}}]
{"".join(TASK.format(number=number) for number in range(TASKS))}"""
SIZE: Final = (TASKS + 2) * MEBIBYTE
WHOLE: Final = {
    "/flow/get.json": "execution_id",
    "/flow/bg/get_execution.json": "id",
    "/flow/dag/details.json": "id",
}


@asynccontextmanager
async def large(**limits: Any) -> AsyncIterator[tuple[Api, str]]:
    """Serve the API with an execution of 42 MiB."""
    async with served(submit_max_bytes=2 * MEBIBYTE, **limits) as api:
        await api.add(FLOW)
        yield api, await ended(api)


async def ended(api: Api) -> str:
    """Run an execution, which takes several turns, to its end."""
    execution = await api.submit("shop:large", {"text": TEXT, "traceId": "t-1"})
    assert await api.stack.executions.wait(ExecutionId(execution), 30)
    return execution


async def body_of(api: Api, path: str, **params: Any) -> bytes:
    response = await api.client.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.content


def params_of(path: str, execution: str) -> dict[str, str]:
    more = {"status": "x"} if "details" in path else {}
    return {WHOLE[path]: execution, **more}


async def test_every_route_shows_a_large_execution_as_it_is() -> None:
    async with large(trace_query_host="http://traces.test") as (api, execution):
        for path in WHOLE:
            body: Any = decode_json(await body_of(api, path, **params_of(path, execution)))
            shown = body.get("ret") or body["data"]
            assert shown["dag_status"] == "SUCCEED"
            assert len(shown["tasks"]) == TASKS + 1
            assert all(
                shown["tasks"][f"t{n}"]["invoke_msg"]["input"]["text"] == TEXT for n in range(TASKS)
            )
            if "bg" in path:
                assert shown["trace_url"] == "http://traces.test/trace/t-1"
        brief = await api.shown(execution, brief="true")
        assert "tasks" not in brief
        assert brief["context"]["text"] == TEXT
        group = {"execution_id": execution, "parent": "each", "group_index": 1}
        members = await api.get("/flow/get_by_parent.json", **group)
        assert members["ret"]["tasks"]["each_1-one"]["invoke_msg"]["input"] == {"text": TEXT}
        inside = await api.get("/flow/get_sub_context.json", **group)
        assert inside["ret"]["text"] == TEXT
        context = await api.get("/flow/get_context.json", execution_id=execution)
        assert context["ret"]["text"] == TEXT
        unknown = {**group, "parent": "nobody"}
        assert await api.get("/flow/get_by_parent.json", **unknown) == {"ret": {"tasks": "{}"}}
        assert await api.get("/flow/get_sub_context.json", **unknown) == {"ret": {}}


@pytest.mark.parametrize("path", WHOLE)
async def test_what_there_is_no_room_for_is_refused_before_it_is_fetched(path: str) -> None:
    async with large(answers_max_bytes=SIZE + MEBIBYTE) as (api, execution):
        asked = [api.client.get(path, params=params_of(path, execution)) for _ in range(8)]
        tracemalloc.start()
        try:
            statuses = sorted(response.status_code for response in await asyncio.gather(*asked))
            _, most_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert statuses == [200] + [503] * 7
        # One copy at the owner, parts and whole here, and what the client of this test has of it.
        assert most_bytes < 6 * SIZE


async def test_reading_a_large_execution_holds_no_event_loop() -> None:
    async with large() as (api, execution), Loop.measured() as loop:
        for path in WHOLE:
            await loop.of(path, partial(_read_through, api, path, execution))
        loop.assert_free()


async def _read_through(api: Api, path: str, execution: str) -> None:
    size = 0
    async with api.client.stream("GET", path, params=params_of(path, execution)) as response:
        async for piece in response.aiter_raw():
            size += len(piece)
    assert size > SIZE


async def test_readers_of_the_same_state_share_one_encoding() -> None:
    async with large() as (api, execution):
        executions = api.stack.executions
        assert isinstance(executions, LocalExecutions)
        views = executions.host.views
        await asyncio.gather(*(_read_through(api, "/flow/get.json", execution) for _ in range(5)))
        assert SIZE < views.bytes < SIZE + MEBIBYTE
        await views.stop()
        assert views.bytes == 0
        await _read_through(api, "/flow/get.json", execution)


async def test_a_redo_leaves_what_is_being_read_as_it_was() -> None:
    async with large() as (api, execution):
        executions = api.stack.executions
        assert isinstance(executions, LocalExecutions)
        await _read_through(api, "/flow/get.json", execution)
        active = executions.host._activations.find(ExecutionId(execution))
        assert active is not None
        read = active.state
        await api.post("/flow/redo.json", execution_id=execution)
        assert active.state is not read
        assert read.status is DagStatus.SUCCEED
        assert await executions.wait(ExecutionId(execution), 30)


async def test_what_is_larger_than_all_answers_may_be_is_refused_with_the_reason() -> None:
    async with large(answers_max_bytes=SIZE // 2) as (api, execution):
        status, code, text = await api.get_refusal("/flow/get.json", execution_id=execution)
        assert (status, code) == (400, 30109)
        assert f"larger than {SIZE // 2} bytes, as answers_max_bytes" in text
        assert (await api.shown(execution, brief="true"))["context"]["text"] == TEXT


def test_a_part_leaves_time_for_others() -> None:
    assert PART_BYTES <= MEBIBYTE
    assert KEPT_S >= 1


async def test_the_snapshot_of_a_large_execution_is_written_beside_the_event_loop() -> None:
    store = MemoryStore()
    async with served(submit_max_bytes=2 * MEBIBYTE, store=store) as api:
        await api.add(FLOW)
        async with Loop.measured() as loop:
            await loop.of("the end", lambda: api.submit("shop:large", {"text": TEXT}))
            loop.assert_free()
        execution = await ended(api)
        stored = await _with_snapshot(store, execution)
        # The end may come while a snapshot is written; then its record follows the snapshot.
        assert stored.records or len(stored.snapshot or b"") > len(TEXT)
    async with served(submit_max_bytes=2 * MEBIBYTE, store=store) as api:
        async with Loop.measured() as loop:
            await loop.of("the reading", lambda: api.shown(execution, brief="true"))
            loop.assert_free()
        assert (await api.shown(execution))["tasks"]["t7"]["invoke_msg"]["input"]["text"] == TEXT


async def _with_snapshot(store: MemoryStore, execution: str) -> StoredExecution:
    async with asyncio.timeout(60):
        while True:
            stored = await store.load(execution)
            assert stored is not None
            if stored.snapshot is not None:
                return stored
            await asyncio.sleep(0)
