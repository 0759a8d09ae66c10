"""What Kafka clients have fetched and unpacked is bounded, however many partitions there are."""

import asyncio
import inspect
import struct
import sys
import tracemalloc
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record import default_records
from aiokafka.record.memory_records import MemoryRecords

from rillflow.gateways.kafka.client import MOST_RECORDS
from rillflow.private_apis.kafka_client import unpacked
from rillflow.private_apis.kafka_client.batches import MOST_BATCH_BYTES
from rillflow.private_apis.kafka_client.fetched import (
    LEAST_OF_ONE_BYTES,
    MOST_FETCHED_BYTES,
    MOST_OF_ONE_BYTES,
    held_bytes,
    let_go,
    share_bytes,
)
from rillflow.private_apis.kafka_client.limits import bound_kafka, is_full, paced
from rillflow.private_apis.kafka_client.unpacked import MOST_UNPACKED_BYTES
from tests.unit.test_kafka_limits import CODECS, HEAD_BYTES, Asked, batch
from tests.unit.test_kafka_memory import Client, Consumer

PARTITIONS: Final = 40
PADDED: Final = (b"{}", b"0" * (MOST_BATCH_BYTES - 1_000), b"{}")


@pytest.fixture(autouse=True)
def _bounded() -> None:
    bound_kafka()


def read_from(content: bytes, offset: int = 0, partition: int = 0) -> PartitionRecords:
    place = TopicPartition("t", partition)
    return PartitionRecords(
        place, MemoryRecords(content), [], offset, None, None, check_crcs=False, isolation_level=1
    )


def compacted(content: bytes) -> bytes:
    """Return a batch without compression whose last offset is one more, as if one were gone."""
    [delta] = struct.unpack_from(">i", content, 23)
    return content[:23] + struct.pack(">i", delta + 1) + content[27:]


@contextmanager
def parsed_records() -> Iterator[list[int]]:
    """Collect a number for each record that is parsed."""
    kind: Any = default_records._DefaultRecordBatchPy
    parses, found = inspect.unwrap(kind._read_msg).__code__, list[int]()

    def called(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is parses:
            found.append(1)

    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_of_many_partitions_few_batches_stay_unpacked(codec: int) -> None:
    content = batch(codec, *PADDED)
    tracemalloc.start()
    records = [read_from(content, partition=number) for number in range(PARTITIONS)]
    assert [next(each).value for each in records] == [b"{}"] * PARTITIONS
    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken_bytes < MOST_UNPACKED_BYTES + 2 * MOST_BATCH_BYTES + 2 * PARTITIONS * len(content)
    assert {len(each.value) for each in map(next, records)} == {len(PADDED[1])}
    assert [[each.offset for each in rest] for rest in records] == [[2]] * PARTITIONS


@pytest.mark.parametrize("codec", [0, *CODECS.values()], ids=["none", *CODECS])
def test_what_was_read_of_a_batch_is_not_parsed_again(codec: int) -> None:
    content = batch(codec, *(b"x" * (number % 300) for number in range(1_000)))
    for wanted in (0, 1, 500, 999, 1_000):
        with parsed_records() as parsed:
            found = [(each.offset, len(each.value)) for each in read_from(content, wanted)]
        assert found == [(number, number % 300) for number in range(wanted, 1_000)]
        assert len(parsed) == 1_000 - wanted


def test_nor_is_it_of_a_compacted_batch() -> None:
    content = compacted(batch(0, *(b"x" * (number % 300) for number in range(1_000))))
    with parsed_records() as parsed:
        assert [each.offset for each in read_from(content, 990)] == [*range(990, 1_000)]
    assert len(parsed) == 10


@pytest.mark.parametrize("rest", [b"\xff", b"\x01", b"\x80", b"\x7e"], ids=repr)
def test_a_damaged_batch_is_an_error_from_wherever_it_is_read(rest: bytes) -> None:
    content = batch(0, *(b"x" for _ in range(10)))
    damaged = content[:HEAD_BYTES] + rest * (len(content) - HEAD_BYTES)
    for wanted in (0, 5):
        for form in (damaged, compacted(damaged)):
            with pytest.raises(RuntimeError, match="partition 0"):
                list(read_from(form, wanted))


def numbered(*deltas: int, gaps: int = 0) -> bytes:
    """Return a batch without compression whose producer has numbered its records like that."""
    content = bytearray(batch(0, *(b"x" for _ in deltas)))
    size = (len(content) - HEAD_BYTES) // len(deltas)
    for place, delta in enumerate(deltas):
        content[HEAD_BYTES + place * size + 3] = delta * 2 if delta >= 0 else -2 * delta - 1
    return bytes(content[:23] + struct.pack(">i", len(deltas) - 1 + gaps) + content[27:])


@pytest.mark.parametrize("deltas", [(0, 60, 2), (0, 0, 0), (2, 1, 0), (-1, -60, 5)])
def test_no_producer_has_records_of_others_passed_over(deltas: tuple[int, ...]) -> None:
    """A broker takes a batch without compression whatever the offsets in its records are."""
    records = read_from(numbered(*deltas))
    found = [(next(records).offset, records.next_fetch_offset) for _ in deltas]
    assert found == [(0, 1), (1, 2), (2, 3)]


def test_nor_by_a_batch_with_gaps() -> None:
    records = read_from(numbered(0, 60, gaps=2))
    assert [next(records).offset for _ in range(2)] == [0, 3]
    assert records.next_fetch_offset == 4


class Fetcher:
    """What a consumer has fetched."""

    def __init__(self, *places: TopicPartition, content: bytes) -> None:
        assignment = Assignment(places)
        self._records: OrderedDict[TopicPartition, Any] = OrderedDict()
        for place in places:
            assignment.state_value(place).reset_to(0)
            self._records[place] = FetchResult(
                place,
                assignment=assignment,
                partition_records=read_from(content, partition=place.partition),
                backoff=0.1,
            )


def places(number: int) -> list[TopicPartition]:
    return [TopicPartition("t", each) for each in range(number)]


def test_consumers_share_what_may_be_fetched() -> None:
    assert share_bytes(0) == share_bytes(1) == share_bytes(16) == MOST_OF_ONE_BYTES
    assert share_bytes(100) == MOST_FETCHED_BYTES // 100
    assert share_bytes(100_000) == LEAST_OF_ONE_BYTES


async def test_what_is_held_counts_with_the_record_that_was_read_last() -> None:
    content = batch(CODECS["zstd"], PADDED[1], b"{}")
    first, second = places(2)
    fetcher = Fetcher(first, second, content=content)
    assert held_bytes(fetcher) == 2 * len(content)
    assert fetcher._records[first].getall(1)[0].offset == 0
    assert held_bytes(fetcher) == 2 * len(content) + len(PADDED[1])
    assert let_go(fetcher, [first, TopicPartition("u", 1)]) == [first]
    assert held_bytes(fetcher) == len(content)


async def test_what_is_let_go_of_is_gone_at_once() -> None:
    [place] = places(1)
    fetcher = Fetcher(place, content=batch(CODECS["zstd"], *PADDED))
    fetcher._records[place].getall(1)
    assert unpacked.UNPACKED.taken_bytes >= len(PADDED[1])
    let_go(fetcher, [place])
    assert unpacked.UNPACKED.taken_bytes == 0


async def test_a_consumer_that_holds_its_share_fetches_nothing() -> None:
    fetched: list[int] = []

    async def fetch(*_: Any) -> bool:
        fetched.append(1)
        return True

    number = MOST_OF_ONE_BYTES // 1_000_000 + 1
    fetcher = Fetcher(*places(number), content=batch(0, b"x" * 1_000_000))
    asked = Asked([("t", [(number, 5, 1)])])
    assert is_full(fetcher)
    assert not await paced(fetch)(fetcher, None, 1, asked)
    assert not fetched
    let_go(fetcher, places(2))
    async with asyncio.timeout(60):
        assert await paced(fetch)(fetcher, None, 1, asked)
    assert fetched == [1]


async def test_what_is_held_of_busy_partitions_gives_way_to_the_others() -> None:
    number = MOST_OF_ONE_BYTES // 1_000_000 + 1
    consumer = Consumer(number + 1)
    held = Fetcher(*places(number), content=batch(0, b"x" * 1_000_000))
    consumer._records = held._records
    client, busy = Client(consumer), {0, 1, number}
    events = await client.take(busy)
    assert len(events) == MOST_RECORDS
    assert set(consumer._records) == {*places(number)[2:]}
    assert consumer.paused == {*places(2)}
    await client.take({1})
    assert consumer.paused == {*places(number)[1:2]}
    await client.take(())
    assert consumer.paused == set()
