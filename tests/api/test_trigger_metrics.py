"""/metrics tells what triggers do: what starts, what is refused, how late, and what waits."""

import asyncio
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rillflow.ports.triggers import TriggerRow
from tests.api.definition_texts import PASS
from tests.api.serving import LONG_S, Api, served
from tests.record_log import RecordLog

pytestmark = pytest.mark.asyncio

OURS: Final = "/flow/triggers"


async def value(api: Api, name: str, **labels: str) -> float:
    """Return the sum of the series of a metric that have these labels."""
    text = (await api.client.get("/metrics")).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def until_value(api: Api, wanted: float, name: str, **labels: str) -> None:
    async with asyncio.timeout(LONG_S):
        while await value(api, name, **labels) < wanted:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0)


async def test_what_a_source_gives_is_counted_by_its_outcome() -> None:
    log = RecordLog()
    log.partitions["0"] += [{"a": 1}, None, "bad", {"a": 2}]
    async with served(types={"log": log}) as api:
        await api.add(PASS)
        spec = '{"config":{"log":"a"}}'
        row = TriggerRow(id="l", type="log", descriptor_id="shop:order", spec=spec)
        await api.stack.store.put_trigger(row, "", replace=False)
        await until_value(api, 2, "rillflow_trigger_events_total", type="log", outcome="started")
        for outcome in ("skipped", "refused"):
            labels = {"type": "log", "outcome": outcome}
            assert await value(api, "rillflow_trigger_events_total", **labels) == 1
        assert await value(api, "rillflow_trigger_sources", type="log", state="connected") == 1
        assert await value(api, "rillflow_trigger_lag_events", type="log") == 0
        log.broken = "away"
        await until_value(api, 1, "rillflow_trigger_sources", type="log", state="failed")


async def test_the_times_of_a_cron_trigger_are_counted_with_their_lateness() -> None:
    async with served() as api:
        await api.add(PASS)
        new = {"id": "c", "descriptor_id": "shop:order", "cron": "* * * * * *"}
        await api.post(f"{OURS}/add.json", new)
        await api.post(f"{OURS}/add.json", new | {"id": "n", "descriptor_id": "shop:none"})
        for outcome in ("started", "refused"):
            labels = {"type": "cron", "outcome": outcome}
            await until_value(api, 1, "rillflow_trigger_events_total", **labels)
        assert await value(api, "rillflow_trigger_lateness_seconds_count") >= 1
