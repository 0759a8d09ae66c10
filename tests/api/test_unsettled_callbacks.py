"""Callbacks that end no task fill no disk: what they write is bounded for each task."""

from rillflow.runtime.owner.callback_limits import NOTE_PAUSE_S, SIGNALS_BYTES
from rillflow.stores.memory.store import MemoryStore
from tests.api.serving import served

ASYNC = """
workspace: shop
dagName: order
type: flow
tasks: [{ name: A, category: function, pattern: task_async, resourceName: "GATEWAY/function/f" }]
"""
WAITS = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: A
    category: suspense
    inputMappings: [{ source: $.context.go, target: $.input.go }]
    outputMappings: [{ source: $.output.go, target: $.context.go }]
    conditions: ["$.input[?(@.go == 1)]"]
"""
AGAIN = {"X-Function-Status": "500", "X-Retry": "0", "X-Retry-Max": "3"}
LARGE = b"x" * 500_000


async def test_a_failure_that_a_gateway_repairs_is_kept_without_its_body_and_now_and_then() -> None:
    store = MemoryStore()
    async with served({"f": lambda _: {}}, store=store) as api:
        descriptor = await api.add(ASYNC.replace("GATEWAY", api.gateway.url))
        execution_id = await api.submit(descriptor)
        query = {"execution_id": execution_id, "task_name": "A"}
        before = await stored_bytes(store, execution_id)
        for _ in range(20):
            answer = await api.client.post(
                "/flow/trigger.json", params=query, content=LARGE, headers=AGAIN
            )
            assert answer.status_code == 200
        noted = await stored_bytes(store, execution_id) - before
        assert 0 < noted < 20_000
        api.clock.advance(NOTE_PAUSE_S)
        await api.client.post("/flow/trigger.json", params=query, content=LARGE, headers=AGAIN)
        assert await stored_bytes(store, execution_id) - before > noted


async def test_signals_of_a_suspense_carry_so_much_and_are_refused_then() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(WAITS))
        query = {"execution_id": execution_id, "task_name": "A"}
        codes = []
        for _ in range(2 * SIGNALS_BYTES // len(LARGE)):
            answer = await api.client.post("/flow/trigger.json", params=query, content=LARGE)
            codes.append(answer.status_code)
        assert codes.count(200) == SIGNALS_BYTES // len(LARGE) + 1
        assert set(codes) == {200, 429}


async def test_to_a_suspense_each_callback_is_a_signal_whatever_its_headers_say() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(WAITS))
        query = {"execution_id": execution_id, "task_name": "A"}
        for go in (0, 1):
            answer = await api.client.post(
                "/flow/trigger.json", params=query, json={"go": go}, headers=AGAIN
            )
            assert answer.status_code == 200
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"


async def test_who_has_the_address_of_a_suspense_keeps_nobody_with_a_key_from_waking_it_up() -> (
    None
):
    async with served() as api:
        execution_id = await api.submit(await api.add(WAITS))
        query = {"execution_id": execution_id, "task_name": "A"}
        codes = set()
        for _ in range(SIGNALS_BYTES // len(LARGE) + 2):
            answer = await api.client.post("/flow/trigger.json", params=query, content=LARGE)
            codes.add(answer.status_code)
        assert codes == {200, 429}
        woken = await api.client.post("/flow/wakeup.json", params=query, json={"go": 1})
        assert woken.status_code == 200
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"


async def test_a_wall_clock_that_is_set_back_refuses_no_signal() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(WAITS))
        query = {"execution_id": execution_id, "task_name": "A"}
        for go in (0, 0, 1):
            answer = await api.client.post("/flow/trigger.json", params=query, json={"go": go})
            assert answer.status_code == 200
            api.clock.set(-3_600)
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"


async def test_a_wall_clock_that_is_set_back_hides_no_failure() -> None:
    store = MemoryStore()
    async with served({"f": lambda _: {}}, store=store) as api:
        descriptor = await api.add(ASYNC.replace("GATEWAY", api.gateway.url))
        execution_id = await api.submit(descriptor)
        query = {"execution_id": execution_id, "task_name": "A"}
        for kept in (1, 2):
            await api.client.post("/flow/trigger.json", params=query, content=b"{}", headers=AGAIN)
            stored = await store.load(execution_id)
            assert stored is not None
            assert sum(b"CallbackReceived" in record for record in stored.records) == kept
            api.clock.set(-3_600)
            api.clock.advance(2 * NOTE_PAUSE_S)


async def stored_bytes(store: MemoryStore, execution_id: str) -> int:
    """Return the bytes of all records of an execution."""
    stored = await store.load(execution_id)
    assert stored is not None
    return sum(map(len, stored.records)) + len(stored.snapshot or b"")
