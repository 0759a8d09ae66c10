"""Kafka triggers on a real broker: each record starts one execution, whatever fails meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from rillflow.runtime.triggers.sources.known_types import trigger_types
from rillflow.runtime.triggers.sources.runner import SourceRunner
from tests.api.definition_texts import PASS
from tests.api.serving import Api, served
from tests.cluster.kafka_broker import PASSWORD, USER, KafkaBroker

pytestmark = [pytest.mark.asyncio, pytest.mark.long]

OURS: Final = "/flow/triggers"
LOOK_S: Final = 0.1
WAIT_S: Final = 100.0
PAGE: Final = 50
STRICT: Final = """
workspace: shop
dagName: order
type: flow
enforceInputSchema: true
inputSchema: '{"type": "object", "required": ["a"]}'
tasks: [{name: A, category: pass, inputMappings: [{source: $.context.a, target: $.input.a}]}]
"""


@pytest.fixture(name="broker", scope="module")
def _broker() -> Iterator[KafkaBroker]:
    broker = KafkaBroker()
    yield broker
    broker.forget()


def places_of(broker: KafkaBroker) -> tuple[str, ...]:
    """Return what the operator names so that triggers may read from the broker."""
    hosts = (each.rpartition(":")[0] for each in (broker.address, broker.secret_address))
    return (*hosts, "kafka.test")


async def send(broker: KafkaBroker, topic: str, *records: dict[str, Any]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.address)
    await producer.start()
    try:
        for record in records:
            await producer.send_and_wait(topic, **record)
    finally:
        await producer.stop()


def numbered(first: int, last: int, partition: int = 0) -> list[dict[str, Any]]:
    """Return records with numbers as their contexts."""
    return [
        {"value": b'{"a":%d}' % number, "partition": partition} for number in range(first, last)
    ]


async def add(api: Api, broker: KafkaBroker, topic: str, **kafka: Any) -> dict[str, Any]:
    """Add the trigger of a topic, of the same name."""
    settings = {"brokers": broker.address, "topic": topic} | kafka
    new = {"id": topic, "descriptor_id": "shop:order", "kafka": settings}
    return dict(await api.post(f"{OURS}/add.json", new))


async def shown_once(api: Api, trigger_id: str, **wanted: Any) -> dict[str, Any]:
    """Return a trigger once its fields are so."""
    shown: dict[str, Any] = {}
    try:
        async with asyncio.timeout(WAIT_S):
            while any(shown.get(name) != value for name, value in wanted.items()):
                await asyncio.sleep(LOOK_S)
                shown = await api.get(f"{OURS}/show.json", trigger_id=trigger_id)
    except TimeoutError:
        pytest.fail(f"{wanted} did not come: {shown}")
    return shown


async def numbers(api: Api) -> list[Any]:
    """Return the numbers of all executions, sorted."""
    ended = [await api.ended(each) for each in await listed(api)]
    return sorted(each["context"]["a"] for each in ended)


async def listed(api: Api) -> list[str]:
    """Return the ids of all executions."""
    found: list[str] = []
    while True:
        page = len(found) // PAGE + 1
        params = {"business": "shop", "feature": "order", "page": page, "pageSize": PAGE}
        items = (await api.get("/flow/bg/get_execution_ids.json", **params))["items"]
        found += [each["execution_id"] for each in items]
        if len(items) < PAGE:
            return found


async def committed(broker: KafkaBroker, group: str) -> dict[int, int]:
    """Return the offsets of a group by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return {place.partition: offset.offset for place, offset in offsets.items()}


async def test_a_record_starts_an_execution_with_what_is_mapped(broker: KafkaBroker) -> None:
    await broker.make_topic("mapped", 2)
    async with served(kafka_brokers=places_of(broker)) as api:
        await api.add(PASS)
        mapping = {"a": "$.value.n", "user": "$.key", "kind": "$.headers.kind", "at": "$.offset"}
        filters = {"$.headers.kind": ["new", "old"]}
        await add(api, broker, "mapped", mapping=mapping, filters=filters)
        await send(
            broker,
            "mapped",
            {"value": b'{"n":1}', "key": b"Bob", "headers": [("kind", b"new")], "partition": 0},
            {"value": b'{"n":2}', "key": b"Eve", "headers": [("kind", b"spam")], "partition": 0},
            {"value": b'{"n":3}', "key": b"Ann", "headers": [("kind", b"old")], "partition": 1},
        )
        shown = await shown_once(api, "mapped", fired=2, skipped=1, state="connected")
        metrics = (await api.client.get("/metrics")).text
        assert (
            'rillflow_trigger_lag_events{process="rillflow:execution:0",type="kafka"} ' in metrics
        )
        assert await numbers(api) == [1, 3]
        last = (await api.ended(shown["last_execution"]))["context"]
        assert (last["user"], last["kind"], last["at"]) in {("Bob", "new", 0), ("Ann", "old", 0)}
    # The group was left in good order, so everything is committed.
    assert await committed(broker, "rillflow-mapped") == {0: 2, 1: 1}


async def test_what_starts_no_execution_goes_to_the_topic_of_dead_letters(
    broker: KafkaBroker,
) -> None:
    await broker.make_topic("strict")
    await broker.make_topic("dead")
    async with served(kafka_brokers=places_of(broker)) as api:
        await api.add(STRICT)
        await add(api, broker, "strict", dead_letter_topic="dead")
        large = b'{"a":"%s"}' % (b"x" * 2_000_000)
        await send(
            broker,
            "strict",
            {"value": b"{no json", "key": b"k", "headers": [("h", b"v")]},
            {"value": b"[1]"},
            {"value": b'{"b":1}'},
            {"value": None, "key": b"gone"},
            *numbered(1, 2),
        )
        producer = AIOKafkaProducer(bootstrap_servers=broker.address, max_request_size=4_000_000)
        await producer.start()
        await producer.send_and_wait("strict", large)
        await producer.stop()
        shown = await shown_once(api, "strict", fired=1, refused=5)
        assert shown["refusals"] == []
        assert await numbers(api) == [1]
    consumer = AIOKafkaConsumer(
        "dead", bootstrap_servers=broker.address, auto_offset_reset="earliest"
    )
    await consumer.start()
    dead = [await consumer.getone() for _ in range(5)]
    await consumer.stop()
    assert [each.value for each in dead] == [b"{no json", b"[1]", b'{"b":1}', None, large]
    headers = dict(dead[0].headers)
    assert (dead[0].key, headers["h"]) == (b"k", b"v")
    assert headers["rillflow-record"] == b"strict/0/0"
    reasons = [dict(each.headers)["rillflow-reason"].decode() for each in dead]
    assert "the value is no json" in reasons[0]
    assert "the value is no JSON object" in reasons[1]
    assert "'a' is a required property" in reasons[2]
    assert "no JSON object" in reasons[3]
    assert "up to 1048576 are taken" in reasons[4]


async def test_a_broker_that_goes_away_and_comes_back_costs_no_record_and_repeats_none(
    broker: KafkaBroker,
) -> None:
    await broker.make_topic("away")
    async with served(kafka_brokers=places_of(broker)) as api:
        await api.add(PASS)
        await add(api, broker, "away")
        await send(broker, "away", *numbered(0, 20))
        await shown_once(api, "away", fired=20)
        await asyncio.to_thread(broker.stop)
        failed = await shown_once(api, "away", state="failed")
        assert failed["state_reason"].startswith("Kafka: ")
        await asyncio.to_thread(broker.start)
        await send(broker, "away", *numbered(20, 40))
        await shown_once(api, "away", fired=40, state="connected")
        assert await numbers(api) == [*range(40)]


@asynccontextmanager
async def another_owner(api: Api) -> AsyncIterator[None]:
    """Have a second process, as it were, own all partitions for a while."""
    runner = SourceRunner(
        store=api.stack.store,
        submissions=api.stack.submissions,
        clock=api.stack.clock,
        partitions=range(256),
        types=trigger_types(api.stack.settings),
    )
    runner.start()
    yield
    await runner.stop()


async def test_a_rebalance_between_two_owners_starts_each_record_once(broker: KafkaBroker) -> None:
    await broker.make_topic("shared", 4)
    async with served(kafka_brokers=places_of(broker)) as api:
        await api.add(PASS)
        await add(api, broker, "shared")
        sent = 0
        for _ in range(3):
            batch = [numbered(sent + at, sent + at + 1, at % 4)[0] for at in range(40)]
            sending = asyncio.create_task(send(broker, "shared", *batch))
            async with another_owner(api):
                await sending
                sent += 40
                async with asyncio.timeout(WAIT_S):
                    while len(await listed(api)) < sent:  # noqa: ASYNC110 - over HTTP
                        await asyncio.sleep(LOOK_S)
        assert await numbers(api) == [*range(sent)]


async def test_a_password_is_a_secret_that_is_never_shown(
    broker: KafkaBroker, tmp_path: Any
) -> None:
    await broker.make_topic("closed")
    (tmp_path / "GOOD").write_text(PASSWORD)
    (tmp_path / "WRONG").write_text("battery staple")
    async with served(kafka_brokers=places_of(broker), secrets_dir=tmp_path) as api:
        await api.add(PASS)
        user = {"brokers": broker.secret_address, "user": USER}
        await add(api, broker, "closed", **user, password="${secret:WRONG}")
        failed = await shown_once(api, "closed", state="failed")
        assert "staple" not in str(failed)
        await api.post(f"{OURS}/remove.json", trigger_id="closed")
        added = await add(api, broker, "closed", **user, password="${secret:GOOD}")
        await send(broker, "closed", *numbered(0, 1))
        shown = await shown_once(api, "closed", fired=1, state="connected")
        assert PASSWORD not in str(added) + str(shown)
    async with served(
        kafka_brokers=places_of(broker),
        secrets_dir=tmp_path,
        secret_hosts={"GOOD": ("kafka.test",)},
    ) as api:
        await add(api, broker, "closed", **user, password="${secret:GOOD}")
        bounded = await shown_once(api, "closed", state="failed")
        assert "the secret GOOD may not be sent to" in bounded["state_reason"]


async def test_a_topic_that_is_not_there_is_told(broker: KafkaBroker) -> None:
    async with served(kafka_brokers=places_of(broker)) as api:
        await add(api, broker, "nowhere")
        failed = await shown_once(api, "nowhere", state="failed")
        assert "nowhere" in failed["state_reason"] or "Topic" in failed["state_reason"]
        place = TopicPartition("nowhere", 0)
        assert place not in await committed(broker, "rillflow-nowhere")
