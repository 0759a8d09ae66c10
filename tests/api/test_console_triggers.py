"""The console tells which trigger has started an execution, and what a trigger has started."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from rillflow.telemetry.meters import Meters
from rillflow.telemetry.metrics import TIMER_LATENESS
from rillflow.telemetry.minutes import MINUTE_MS, Minutes
from serve.routes.console_api.minutes import columns, look
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, served
from tests.api.test_access import FIRST, VIDEO, made, shown

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1: Final = "/flow/console/v1"
OURS: Final = "/flow/triggers"
YEARLY: Final = "0 0 0 1 1 *"
SPAN: Final = {"from": "2020-06-01", "to": "2023-06-01"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def api() -> AsyncIterator[Api]:
    async with served() as opened:
        yield opened


async def put(api: Api, name: str, feature: str = "order") -> None:
    new = {"id": name, "descriptor_id": f"shop:{feature}", "cron": YEARLY, "replace": True}
    await api.post(f"{OURS}/add.json", new)


async def header(api: Api, execution_id: str) -> dict[str, Any]:
    return dict(await api.get(f"{V1}/execution.json", execution_id=execution_id))


async def test_the_header_of_an_execution_names_its_trigger(api: Api) -> None:
    await api.add(PASS)
    await put(api, "new/year")
    fired = (await api.post(f"{OURS}/fire.json", trigger_id="new/year"))["execution_id"]
    past = await api.post(f"{OURS}/backfill.json", trigger_id="new/year", **SPAN)
    by_hand = await header(api, fired)
    assert by_hand["trigger"] == "trigger"
    assert by_hand["triggered_by"] == {
        "trigger_id": "new/year",
        "how": "by_hand",
        "scheduled_ms": None,
        "exists": True,
    }
    first = await header(api, past["execution_ids"][0])
    assert first["triggered_by"]["scheduled_ms"] == 1_609_459_200_000
    await api.ended(fired)
    then = await api.get(f"{V1}/execution.json", execution_id=fired, event=1)
    assert then["triggered_by"] == by_hand["triggered_by"]
    rows = (await api.get(f"{V1}/executions.json", id=fired))["rows"]
    assert [row["trigger"] for row in rows] == ["trigger"]


async def test_a_request_is_no_trigger_whatever_its_key_says(api: Api) -> None:
    """A key that names a trigger of another workflow names none."""
    await api.add(PASS)
    await api.add(SUSPENDED.replace("order", "other"))
    await put(api, "of-order")
    plain = await api.submit("shop:order", {}, idempotency_key="order-17")
    assert (await header(api, plain))["trigger"] == "request"
    assert "triggered_by" not in await header(api, plain)
    # As what was stored before such keys were refused from outside.
    forged = await api.stack.submit("shop:other", idempotency_key="trigger/of-order/x")
    assert (await header(api, forged))["triggered_by"]["exists"] is False


async def test_the_executions_of_a_trigger_are_listed_newest_first(api: Api) -> None:
    await api.add(PASS.replace("order", "many"))
    await put(api, "many", "many")
    await put(api, "many/2", "many")
    for name in ("many", "many/2", "many"):
        await api.post(f"{OURS}/fire.json", trigger_id=name)
        await api.submit("shop:many")
    found = await api.get(f"{V1}/firings.json", trigger_id="many")
    assert [(row["how"], row["trigger"]) for row in found["rows"]] == [("by_hand", "trigger")] * 2
    assert found["is_whole"] is True
    times = [row["submitted_at_ms"] for row in found["rows"]]
    assert times == sorted(times, reverse=True)
    page = await api.get(f"{V1}/firings.json", trigger_id="many", limit=1)
    assert [row["execution_id"] for row in page["rows"]] == [found["rows"][0]["execution_id"]]
    assert page["is_whole"] is False
    unknown = await api.get_refusal(f"{V1}/firings.json", trigger_id="nothing")
    assert unknown == (400, 30106, "there is no trigger nothing")


async def test_a_key_of_a_workspace_sees_no_firings_of_others() -> None:
    async with served(api_key=FIRST) as api:
        api.client.headers.update(shown(FIRST))
        for text in (PASS, VIDEO):
            await api.add(text)
        await put(api, "theirs")
        await api.post(f"{OURS}/fire.json", trigger_id="theirs")
        key = await made(api, "limited", "viewer", workspaces="video")
        api.client.headers.update(shown(key))
        refusal = await api.get_refusal(f"{V1}/firings.json", trigger_id="theirs")
        assert refusal == (400, 30106, "there is no trigger theirs")


async def test_minutes_tell_what_happened_since_the_look_before(api: Api) -> None:
    minutes, meters = Minutes(), Meters("replica:test")
    await look(api.stack, meters, minutes)
    await api.run(PASS.replace("order", "counted"))
    meters.histogram(TIMER_LATENESS).observe(0.04)
    await look(api.stack, meters, minutes)
    shown_as = columns(minutes.kept)
    assert shown_as["step_ms"] == MINUTE_MS
    assert shown_as["submitted"] == shown_as["succeeded"] == [1]
    assert {"replica:test", "rillflow:execution:0"} <= minutes.processes
    assert shown_as["times"]["lateness"]["p50"][0] > 0
    assert shown_as["times"]["callback"] == {"p50": [None], "p99": [None]}
    answer = await api.get(f"{V1}/minutes.json", last=1)
    lists = [answer["minutes_ms"], answer["submitted"], answer["failed"]]
    assert {len(each) for each in lists} == {len(answer["minutes_ms"])}
    assert len(answer["minutes_ms"]) <= 1
    assert "rillflow:execution:0" in answer["processes"]
