"""What records take is known before they are decoded, and no more are fetched than have room."""

import asyncio
import threading
from typing import Any, Final

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from rillflow.errors import CronError
from rillflow.gateways.kafka.client import (
    AGAIN_S,
    FOR_RECORDS,
    MOST_CONTEXT_BYTES,
    MOST_DEAD_LETTERS,
    MOST_RECORDS,
    KafkaClient,
)
from rillflow.gateways.kafka.record_room import MOST_OF_ONE_BYTES, OwnRoom, RecordRoom
from rillflow.jsontypes import JsonObject
from rillflow.private_apis.kafka_client.limits import UnreadPartitionError
from rillflow.triggers.kafka import checked_kafka
from rillflow.triggers.kafka_records import WORKSPACE_HEADER, Record, RecordError, context_of

LARGE: Final = b'"' + b"x" * (4 << 20) + b'"'
HALF: Final = b"[" + b"[]," * 340_000 + b"[]]"
"""Takes more memory than a half of the room for all."""
LONG: Final = 100_000


def record(partition: int, offset: int, **changes: Any) -> ConsumerRecord[Any, Any]:
    fields: dict[str, Any] = {
        "topic": "t",
        "partition": partition,
        "offset": offset,
        "timestamp": 1,
        "timestamp_type": 0,
        "key": None,
        "value": b"{}",
        "checksum": None,
        "serialized_key_size": -1,
        "serialized_value_size": -1,
        "headers": (),
    }
    return ConsumerRecord(**(fields | changes))


class Consumer:
    """Partitions without an end; it makes a record when that is asked for."""

    def __init__(self, partitions: int, **changes: Any) -> None:
        self._at = {TopicPartition("t", number): 0 for number in range(partitions)}
        self._changes = changes
        self._fetcher = self
        self._records: dict[TopicPartition, Any] = {}
        self.unreadable: set[TopicPartition] = set()
        self.paused: set[TopicPartition] = set()

    @property
    def made(self) -> int:
        """How many records were fetched."""
        return sum(self._at.values())

    def assignment(self) -> set[TopicPartition]:
        return {*self._at}

    def pause(self, *places: TopicPartition) -> None:
        self.paused.update(places)

    def resume(self, *places: TopicPartition) -> None:
        self.paused.difference_update(places)

    async def end_offsets(self, places: set[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, LONG)

    async def position(self, place: TopicPartition) -> int:
        return self._at[place]

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._at[place] = offset

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        del offsets

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[ConsumerRecord[Any, Any]]]:
        del timeout_ms
        found: dict[TopicPartition, list[ConsumerRecord[Any, Any]]] = {}
        for _ in range(max_records):
            place = min(places, key=lambda each: self._at[each])
            if place in self.unreadable:
                raise UnreadPartitionError(place, "its batch is damaged")
            made = record(place.partition, self._at[place], **self._changes)
            found.setdefault(place, []).append(made)
            self._at[place] += 1
        return found


class Client(KafkaClient):
    """A client of that consumer."""

    def __init__(
        self,
        consumer: Consumer,
        *,
        again_s: float = AGAIN_S,
        room: OwnRoom | None = None,
        **settings: Any,
    ) -> None:
        given = checked_kafka({"brokers": "k:9092", "topic": "t", **settings})
        super().__init__("trigger", given, None, None, room or OwnRoom(RecordRoom()))
        self.again_s = again_s
        self.consumer = consumer

    async def _started(self) -> Any:
        self._consumer = self.consumer
        return self.consumer


@pytest.mark.parametrize(
    "large",
    [{"value": LARGE}, {"value": None, "headers": (("h", LARGE),)}, {"key": LARGE}],
    ids=["value", "headers", "key"],
)
async def test_no_more_records_are_fetched_than_have_room(large: dict[str, Any]) -> None:
    consumer = Consumer(12, **large)
    client, busy = Client(consumer), set[int]()
    for _ in range(20):
        events = await client.take(busy)
        busy |= {int(event.ordering_key) for event in events}
    assert len(busy) == 1
    assert consumer.made <= 2


async def test_a_partition_that_cannot_be_read_is_left_and_the_others_go_on() -> None:
    consumer = Consumer(3)
    client = Client(consumer)
    bad = TopicPartition("t", 1)
    consumer.unreadable.add(bad)
    partitions = [event.ordering_key for _ in range(3) for event in await client.take(())]
    assert len(partitions) >= MOST_RECORDS
    assert set(partitions) == {"0", "2"}
    assert consumer.paused == {bad}
    assert client.unread == "partition 1: its batch is damaged"


async def test_a_partition_that_could_not_be_read_is_tried_again() -> None:
    consumer = Consumer(2)
    client = Client(consumer, again_s=0.0)
    consumer.unreadable.add(TopicPartition("t", 0))
    await client.take(())
    assert client.unread
    consumer.unreadable.clear()
    partitions = {event.ordering_key for _ in range(2) for event in await client.take(())}
    assert (partitions, client.unread, consumer.paused) == ({"0", "1"}, "", set())


async def test_a_record_is_not_a_dead_letter_for_ever() -> None:
    """Two triggers may have each other's topic for dead letters."""
    client = Client(Consumer(1), dead_letter_topic="u")
    sent = record(0, 1, headers=(("rillflow-record", b"u/0/1"),) * MOST_DEAD_LETTERS)
    assert not await client.send_dead(sent, "it is no JSON")


async def test_a_dead_letter_of_one_workspace_starts_nothing_in_another() -> None:
    """Any author may name any topic for dead letters, also one that another workspace reads."""
    found = []
    for workspaces in ([], [b""], [b"others"], [b"", b"others"]):
        headers = tuple((WORKSPACE_HEADER, each) for each in workspaces)
        events = await Client(Consumer(1, headers=headers)).take(())
        found.append({(event.context is None, event.problem) for event in events})
    assert found == [{(False, "")}, {(False, "")}, {(True, "")}, {(True, "")}]


async def test_small_records_are_taken_together() -> None:
    client = Client(Consumer(3))
    events = await client.take(())
    assert len(events) == MOST_RECORDS
    assert {event.ordering_key for event in events} == {"0", "1", "2"}


async def test_a_context_with_one_value_many_times_is_no_execution() -> None:
    mapping = {f"f{number}": "$.value" for number in range(40)}
    consumer = Consumer(1, value=b"[" + b"1.1," * 50_000 + b"1.1]")
    client = Client(consumer, mapping=mapping)
    [event] = (await client.take(()))[:1]
    assert event.context is None
    assert event.problem.startswith("what the mapping makes of the record is too large")


async def test_the_room_counts_what_the_mapping_makes() -> None:
    mapping = {f"f{number}": "$.value" for number in range(40)}
    text = b'"' + b"x" * (MOST_CONTEXT_BYTES // 45) + b'"'
    assert 5 * len(text) < MOST_OF_ONE_BYTES
    events = await Client(Consumer(9, value=text), mapping=mapping).take(())
    assert [event.problem for event in events] == [""]


@pytest.mark.parametrize("name", ["mapping", "filters"])
def test_a_trigger_has_few_regular_expressions_in_its_paths(name: str) -> None:
    paths = [f"$.value[?(@.a =~ /{number}/)]" for number in range(11)]
    fields: JsonObject = {path: path for path in paths}
    with pytest.raises(CronError, match="11 regular expressions"):
        checked_kafka({"brokers": "k:9092", "topic": "t", name: fields})
    del fields[paths[0]]
    assert checked_kafka({"brokers": "k:9092", "topic": "t", name: fields})[name] == fields


async def test_compiling_the_paths_of_a_stored_trigger_is_charged_for_each_record() -> None:
    settings = checked_kafka({"brokers": "k:9092", "topic": "t"})
    path = " || ".join(f"@.a =~ /{number}/" for number in range(18))
    settings["mapping"] = {f"f{number}": f"$.value[?({path})][{number}]" for number in range(40)}
    with pytest.raises(RecordError):
        context_of(settings, Record("t", 0, 0, 1, None, b'{"a":"x"}', ()))


async def test_records_that_have_to_wait_are_put_back_and_give_their_room_to_others() -> None:
    shared = RecordRoom()
    clients = [Client(Consumer(1, value=HALF), room=OwnRoom(shared, each)) for each in "abc"]
    first, second = [(await client.take(()))[0] for client in clients[:2]]
    assert await clients[2].take(()) == []
    await clients[0].put_back(first.position)
    assert [event.key for event in await clients[2].take(())] == [first.key]
    assert clients[0].consumer.made == 0
    await clients[1].put_back(second.position)
    again = await clients[0].take(())
    assert [event.position.offset for event in again] == [first.position.offset]
    for client in clients:
        await client.put_back(record(0, 0))
    assert not shared.taken_bytes


async def test_the_dear_records_of_one_workspace_hold_up_those_of_another_for_one_record() -> None:
    """Five triggers of ``a`` have a record that takes long to read, and one of ``b`` has one."""
    gate, shared, order = threading.Event(), RecordRoom(), list[str]()
    consumers = [Consumer(1, value=LARGE[: MOST_OF_ONE_BYTES + 1]) for _ in range(6)]

    async def taken(workspace: str, consumer: Consumer) -> None:
        await Client(consumer, room=OwnRoom(shared, workspace)).take(())
        order.append(workspace)

    running = asyncio.create_task(FOR_RECORDS.run("other", gate.wait))
    await asyncio.sleep(0)
    names = ["a"] * 5 + ["b"]
    tasks = [asyncio.create_task(taken(*each)) for each in zip(names, consumers, strict=True)]
    while not consumers[-1].made:  # noqa: ASYNC110 - it is counted, and nobody is told
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(running, *tasks)
    assert order.index("b") == 1
    assert order.count("a") == 5
