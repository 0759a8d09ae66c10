"""Each record of a topic starts one execution although the actors that read it are killed."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaProducer

import rillflow
from tests.cluster.kafka_broker import KafkaBroker
from tests.cluster.processes import LOOK_S, OwnStack, kill, workers
from tests.loopback import closed_port

pytestmark = [pytest.mark.cluster, pytest.mark.long]

WAIT_S: Final = 300
BATCH: Final = 60
TOPIC: Final = "orders"
DEFINITION: Final = """
workspace: read
dagName: order
type: flow
tasks: [{name: A, category: pass, inputMappings: [{source: $.context.a, target: $.input.a}]}]
"""


@pytest.fixture(name="broker")
def _broker() -> Iterator[KafkaBroker]:
    broker = KafkaBroker()
    yield broker
    broker.forget()


@pytest.fixture(name="stack")
def _stack(broker: KafkaBroker, tmp_path: Path) -> Iterator[OwnStack]:
    own = OwnStack(
        tmp_path / "data",
        closed_port(),
        RILLFLOW_KAFKA_BROKERS=broker.address,
        RILLFLOW_EXECUTION_ACTORS="2",
    )
    try:
        own.start()
        yield own
    finally:
        own.stop()


async def send(broker: KafkaBroker, first: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.address)
    await producer.start()
    try:
        for number in range(first, first + BATCH):
            await producer.send_and_wait(TOPIC, b'{"a":%d}' % number, partition=number % 2)
    finally:
        await producer.stop()


def started(client: rillflow.Client) -> list[str]:
    return [each.id for each in client.executions(business="read", limit=10_000)]


def wait_for(client: rillflow.Client, count: int) -> None:
    """Wait until so many executions were started."""
    give_up_s = time.monotonic() + WAIT_S
    while len(started(client)) < count:
        assert time.monotonic() < give_up_s, client.triggers.show(TOPIC)
        time.sleep(LOOK_S)


def test_each_record_starts_one_execution_when_the_actors_that_read_it_are_killed(
    broker: KafkaBroker, stack: OwnStack
) -> None:
    asyncio.run(broker.make_topic(TOPIC, 2))
    with rillflow.Client(stack.base_url) as client:
        client.add(DEFINITION)
        kafka = {"brokers": broker.address, "topic": TOPIC}
        client.triggers.add("read:order", kafka=kafka, trigger_id=TOPIC)
        for number in range(3):
            asyncio.run(send(broker, number * BATCH))
            wait_for(client, number * BATCH + 1)
            killed = workers(stack.pid, "ExecutionActor")
            assert killed
            kill(*killed)
            wait_for(client, (number + 1) * BATCH)
        results = [client.execution(each).result(timeout_s=WAIT_S) for each in started(client)]
    assert sorted(str(each["a"]) for each in results) == sorted(map(str, range(3 * BATCH)))
