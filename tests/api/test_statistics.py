"""Figures come from the store: what was submitted when, and how it ended."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, served

SERVICE = {"service_id": "shop:order"}
MINUTE_S = 60


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
