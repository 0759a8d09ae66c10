"""Figures come from the store: what was submitted when, and how it ended."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from rillflow.ports.storage.store import ExecutionFilter
from rillflow.stores.memory.store import MemoryStore
from serve.routes.statistics import COUNTED_AT_ONCE
from serve.schemas.parameters import MOST_SERVICES
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import LONG_S, Api, served

SERVICE = {"service_id": "shop:order"}
MINUTE_S = 60
HEAP = "/flow/business_heap_monitor.json"
DEPENDENT = "/flow/runtime_dependent_resources.json"


async def three_kinds(api: Api) -> dict[str, str]:
    """Run one execution of each kind under one service; return their ids by status."""
    failing = calling("work")
    succeeded = await api.run(PASS)
    failed = await api.run(failing)
    running = await api.submit(await api.add(SUSPENDED))
    return {
        "succeed": succeeded["execution_id"],
        "failed": failed["execution_id"],
        "running": running,
    }


def failing(_: object) -> dict[str, Any]:
    return {"result_type": "FAILED", "error_code": 7}


@pytest.mark.case("AP-11")
async def test_executions_are_counted_by_status_and_code() -> None:
    async with served({"work": failing}) as api:
        await three_kinds(api)

        async def counts(**params: Any) -> dict[str, Any]:
            found = await api.get("/flow/get_execution_count.json", **SERVICE, **params)
            assert found.pop("collect_time") > 0
            return dict(found)

        by_status = {"running": 1, "succeed": 1, "failed": 1}
        assert await counts() == {"dag": by_status, "code": {"7": 1}}
        assert await counts(type="failed") == {"dag": {"failed": 1}}
        assert await counts(code="7") == {"code": {"7": 1}}
        assert await counts(code="8") == {"code": {"8": 0}}
        assert await counts(type="failed", code="7") == {"dag": {"failed": 1}, "code": {"7": 1}}
        none = {"running": 0, "succeed": 0, "failed": 0}
        assert await counts(start_time_offset=9, end_time_offset=1) == {"dag": none, "code": {}}
        api.clock.advance(11 * MINUTE_S)
        assert await counts() == {"dag": none, "code": {}}
        assert await counts(start_time_offset=12) == {"dag": by_status, "code": {"7": 1}}


async def test_executions_are_listed_by_status_up_to_a_time() -> None:
    async with served({"work": failing}) as api:
        ids = await three_kinds(api)
        path = "/flow/get_execution_ids.json"
        for kind in ("running", "succeed", "failed"):
            shown = await api.get(path, type=kind, **SERVICE)
            assert [row["execution_id"] for row in shown["execution_ids"]] == [ids[kind]]
            assert (shown["type"], shown["current_page"]) == (kind, 1)
            assert shown["next_page_available"] is False
        shown = await api.get(path, type="failed", code="8", **SERVICE)
        assert shown["execution_ids"] == []
        shown = await api.get(path, time=1000, **SERVICE)
        assert (shown["execution_ids"], shown["cursor_time"]) == ([], 1000)


async def test_the_list_has_pages(api: Api) -> None:
    descriptor_id = await api.add(PASS)
    ids = [(await api.ended(await api.submit(descriptor_id)))["execution_id"] for _ in range(3)]
    path = "/flow/get_execution_ids.json"
    first = await api.get(path, count=2, **SERVICE)
    second = await api.get(path, count=2, page=2, **SERVICE)
    listed = [row["execution_id"] for row in first["execution_ids"] + second["execution_ids"]]
    assert listed == ids[::-1]
    assert (first["next_page_available"], second["next_page_available"]) == (True, False)
    assert all(row["submit_time"] > 0 for row in first["execution_ids"])
    refusal = await api.get_refusal(path, count=101, **SERVICE)
    assert refusal == (400, 30109, "count too big")


async def test_the_heap_of_services_is_shown() -> None:
    async with served({"work": failing}) as api:
        await three_kinds(api)
        path = "/flow/business_heap_monitor.json"
        shown = await api.get(path, service_ids="shop:order,shop:other")
        heap = shown["shop:order"]
        window = heap["statistic_time_period_end_time"] - heap["statistic_time_period_start_time"]
        assert (heap["service_id"], heap["statistic_duration"], window) == (
            "shop:order",
            10,
            10 * MINUTE_S * 1000,
        )
        counted = (heap["running_count"], heap["success_count"], heap["failed_count"])
        assert counted == (1, 1, 1)
        assert shown["shop:other"]["running_count"] == 0
        assert set(await api.get(path)) == {"shop:order"}
        shown = await api.get(
            path, service_ids="shop:order", start_time_offset=10, end_time_offset=5
        )
        assert shown["shop:order"]["running_count"] == 0


@pytest.mark.parametrize(
    "offsets",
    [
        {"start_time_offset": 5},
        {"end_time_offset": 5},
        {"start_time_offset": 5, "end_time_offset": 5},
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_window_needs_both_ends_in_order(shared_api: Api, offsets: dict[str, int]) -> None:
    refusal = await shared_api.get_refusal("/flow/business_heap_monitor.json", **offsets)
    assert refusal[:2] == (400, 30109)


async def test_the_executions_of_a_day_are_summed_up() -> None:
    async with served({"work": failing}) as api:
        await three_kinds(api)
        day = datetime.fromtimestamp(api.clock.now_ms() / 1000, UTC).strftime("%Y%m%d")
        path = "/flow/business_invoke_summary.json"
        shown = await api.get(path, business_key=f"shop_{day}")
        assert shown == {"ret": {"submit": "3", "running": "1", "succeed": "1", "failed": "1"}}
        for nothing in ("shop_20200101", "shop_20201399", "nonsense"):
            assert await api.get(path, business_key=nothing) == {"ret": {}}


@pytest.mark.parametrize("service_id", ["shop", "", "a_b:c", "a:"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_service_has_two_names(shared_api: Api, service_id: str) -> None:
    refusal = await shared_api.get_refusal("/flow/get_execution_count.json", service_id=service_id)
    assert refusal == (400, 30109, f"serviceId:{service_id} format error")


class CountingStore(MemoryStore):
    """A store that notes what is counted, and does it when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str | None] = []
        self.begun, self.goes_on, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.goes_on.set()

    async def count_executions(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count, later."""
        self.counted.append(wanted.feature)
        self.begun.set()
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        return await super().count_executions(wanted)


async def test_a_service_that_is_named_again_is_counted_once() -> None:
    store = CountingStore()
    async with served(store=store) as api:
        shown = await api.get(HEAP, service_ids="shop:order," * 50 + "shop:other")
        assert set(shown) == {"shop:order", "shop:other"}
        assert store.counted == ["order", "other"]


@pytest.mark.parametrize("path", [HEAP, DEPENDENT])
async def test_so_many_services_are_looked_at_and_no_more(path: str) -> None:
    async with served() as api:
        names = [f"shop:f{number}" for number in range(MOST_SERVICES + 1)]
        refusal = await api.get_refusal(path, service_ids=",".join(names))
        assert refusal[:2] == (400, 30109)
        shown = await api.get(path, service_ids=",".join(names[1:]))
        assert set(shown) - {"current_time"} == set(names[1:])


async def test_services_are_counted_in_turns_which_end_when_their_client_has_left() -> None:
    store = CountingStore()
    async with served(store=store) as api:
        turns = [0]
        count_each = api.stack.searches.count_each

        async def in_turn(wanted: Any) -> Any:
            turns.append(len(wanted))
            return await count_each(wanted)

        api.stack.searches.count_each = in_turn  # type: ignore[method-assign]
        names = ",".join(f"shop:f{number}" for number in range(2 * COUNTED_AT_ONCE + 1))
        await api.get(HEAP, service_ids=names)
        assert turns == [0, COUNTED_AT_ONCE, COUNTED_AT_ONCE, 1]

        store.goes_on.clear()
        store.begun.clear()
        store.counted.clear()
        url = api.client.base_url
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            f"GET {HEAP}?service_ids={names} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode()
        )
        await asyncio.wait_for(store.begun.wait(), LONG_S)
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(store.left.wait(), LONG_S)
        assert store.counted == ["f0"]
