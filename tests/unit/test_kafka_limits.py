"""Neither a batch of records nor a broker has a Kafka client take much memory or time."""

import asyncio
import gzip
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import ScramAuthenticator
from aiokafka.consumer.fetcher import Fetcher, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record import default_records
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from cramjam import snappy

from rillflow.private_apis.kafka_client.batches import (
    MOST_BATCH_BYTES,
    MOST_BLOCKS,
    MOST_MEMBERS,
    TooLargeBatchError,
)
from rillflow.private_apis.kafka_client.limits import (
    FETCH_S,
    FIRST_PAUSE_S,
    HELD_S,
    LONGEST_PAUSE_S,
    MOST_ITERATIONS,
    MOST_NAMED,
    ReadPace,
    UnreadPartitionError,
    bound_kafka,
    paced,
)
from rillflow.triggers.kafka_records import MOST_HEADERS

HEAD_BYTES: Final = 61
CODECS: Final = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.fixture(autouse=True)
def _bounded() -> None:
    bound_kafka()


def batch(codec: int, *values: bytes, headers: Sequence[tuple[str, bytes | None]] = ()) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=1, key=None, value=value, headers=[*headers])
    return bytes(builder.build())


def values_of(content: bytes) -> list[Any]:
    read = MemoryRecords(content).next_batch()
    assert read is not None
    return [record.value for record in read]


class BadName(str):
    """The name of a header that is no UTF-8."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        del encoding, errors
        return b"\xff\xfe"


def test_a_record_is_read_whatever_the_names_of_its_headers_are() -> None:
    named = [("first", b"1"), (BadName("x"), b"2"), ("last", None)]
    content = batch(0, b"a", b"b", headers=named)
    read = MemoryRecords(content).next_batch()
    assert read is not None
    headers = [("first", b"1"), ("\ufffd\ufffd", b"2"), ("last", None)]
    found = [(record.value, record.headers) for record in read]
    assert found == [(b"a", headers), (b"b", headers)]
    [value] = {type(record.value) for record in MemoryRecords(content).next_batch() or ()}
    assert value is bytes


def test_an_error_in_records_names_their_partition() -> None:
    place = TopicPartition("t", 3)
    content = batch(CODECS["zstd"], b"0" * (2 * MOST_BATCH_BYTES))
    records = PartitionRecords(
        place, MemoryRecords(content), [], 0, None, None, check_crcs=True, isolation_level=0
    )
    with pytest.raises(UnreadPartitionError, match="partition 3: a compressed batch") as raised:
        next(records)
    assert raised.value.place == place


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_what_producers_send_is_read(codec: int) -> None:
    values = [b"a" * 1_000_000, b"", bytes(range(256)) * 1_000]
    assert values_of(batch(codec, *values)) == values


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_small_batch_does_not_fill_the_memory(codec: int) -> None:
    content = batch(codec, b"0" * (8 * MOST_BATCH_BYTES))
    tracemalloc.start()
    with pytest.raises(TooLargeBatchError, match="set the offset of the group behind it"):
        values_of(content)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 3 * MOST_BATCH_BYTES + 2 * len(content)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("rest", [b"\0", b"\xff", struct.pack("<I", 0xFFFFFFF0)], ids=repr)
def test_what_is_no_compressed_data_is_said_so(codec: int, rest: bytes) -> None:
    content = batch(codec, b"x" * 5_000)
    size = len(content) - HEAD_BYTES
    with pytest.raises((TooLargeBatchError, CorruptRecordException)):
        values_of(content[:HEAD_BYTES] + (rest * size)[:size])


@pytest.mark.parametrize("name", ["a", BadName("x")], ids=["a name", "no UTF-8"])
@pytest.mark.parametrize("number", [MOST_HEADERS + 1, 300_000])
def test_of_too_many_headers_only_the_first_are_read(name: str, number: int) -> None:
    several = batch(CODECS["gzip"], b"v", b"w", headers=[(name, None)] * number)
    read = MemoryRecords(several).next_batch()
    assert read is not None
    steps = _Steps()
    sys.settrace(steps.count)
    try:
        found = [(record.value, len(record.headers)) for record in read]
    finally:
        sys.settrace(None)
    assert found == [(b"v", MOST_HEADERS + 1), (b"w", MOST_HEADERS + 1)]
    assert steps.calls < 20 * MOST_HEADERS


class _Steps:
    """Counts calls of Python functions."""

    def __init__(self) -> None:
        self.calls = 0

    def count(self, *_: object) -> None:
        self.calls += 1


def test_a_record_of_a_wrong_length_is_damaged_however_many_headers_it_tells_of() -> None:
    content = bytearray(batch(0, b"v", headers=[("a", None)] * (MOST_HEADERS + 1)))
    content[HEAD_BYTES : HEAD_BYTES + 2] = b"\xfe\x7f"
    with pytest.raises(CorruptRecordException, match="length"):
        values_of(bytes(content))


def test_as_many_headers_as_may_be_are_read() -> None:
    headers = [(f"h{number}", b"1") for number in range(MOST_HEADERS)]
    read = MemoryRecords(batch(0, b"v", headers=headers)).next_batch()
    assert read is not None
    assert [record.headers for record in read] == [headers]


def test_a_batch_has_so_many_parts_at_most() -> None:
    members = gzip.compress(b"a")
    assert default_records.gzip_decode(members * MOST_MEMBERS) == b"a" * MOST_MEMBERS
    with pytest.raises(TooLargeBatchError, match=f"has more than {MOST_MEMBERS} parts"):
        default_records.gzip_decode(members * (MOST_MEMBERS + 1))
    head = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
    block = snappy.compress_raw(b"a")
    blocks = len(bytes(block)).to_bytes(4) + bytes(block)
    unpacked = default_records.snappy_decode(head + blocks * MOST_BLOCKS)
    assert unpacked == b"a" * MOST_BLOCKS
    with pytest.raises(TooLargeBatchError, match=f"has more than {MOST_BLOCKS} parts"):
        default_records.snappy_decode(head + blocks * (MOST_BLOCKS + 1))


def test_a_broker_has_no_password_hashed_for_minutes() -> None:
    authenticator = ScramAuthenticator(
        loop=None,
        sasl_plain_password="secret",
        sasl_plain_username="me",
        sasl_mechanism="SCRAM-SHA-256",
    )
    authenticator.create_salted_password(b"salt", 4_096)
    with pytest.raises(RuntimeError, match="up to 100,000 are made"):
        authenticator.create_salted_password(b"salt", MOST_ITERATIONS + 1)


class Named(NamedTuple):
    """What a broker answers to the question for metadata."""

    brokers: list[tuple[int, str, int, None]]
    topics: list[tuple[int, str, bool, list[tuple[int, int, int, list[int], list[int]]]]]
    controller_id: int = 1
    API_VERSION: int = 1


def test_a_broker_names_so_many_topics_and_partitions() -> None:
    brokers = [(1, "localhost", 9_092, None)]
    partitions = [(0, number, 1, [1], [1]) for number in range(1_000)]
    cluster = ClusterMetadata()
    cluster.update_metadata(Named(brokers, [(0, "a", False, partitions)]))
    assert cluster.partitions_for_topic("a") == set(range(1_000))
    many: list[list[Any]] = [
        [(0, f"t{number}", False, []) for number in range(MOST_NAMED)],
        [(0, f"t{number}", False, partitions) for number in range(20)],
    ]
    for topics in many:
        with pytest.raises(RuntimeError, match="up to 20,000 are taken"):
            cluster.update_metadata(Named(brokers, topics))
    assert cluster.topics() == {"a"}


def legacy(inner: bytes) -> bytes:
    """A message of the format before batches, which holds compressed messages."""
    value = gzip.compress(inner)
    body = struct.pack(">bbqii", 1, CODECS["gzip"], 1_000, -1, len(value)) + value
    return struct.pack(">qiI", 0, len(body) + 4, zlib.crc32(body)) + body


def test_messages_of_old_formats_are_not_read() -> None:
    for inner in (b"\0" * 5, struct.pack(">qi", 0, -12) + b"\0" * 40):
        with pytest.raises(RuntimeError, match="messages of the format 1, before Kafka"):
            values_of(legacy(inner))


def test_what_is_compiled_is_not_used() -> None:
    assert MemoryRecords.__module__ == "aiokafka.record.memory_records"


def fetches(pace: ReadPace, seconds: float, answer_s: float, step: int) -> int:
    """Return how many fetches a broker gets that answers each after a time, with new records."""
    now_s, offset, count = 0.0, 0, 0
    while now_s < seconds:
        now_s += pace.pause_s([("topic", 0, offset)], now_s) + answer_s
        offset += step
        count += 1
    return count


def test_a_broker_that_answers_the_same_fetch_at_once_is_asked_less_and_less() -> None:
    assert fetches(ReadPace(), 60.0, 0.0001, 0) <= 60 / LONGEST_PAUSE_S + 8


def test_a_broker_that_pretends_to_go_on_is_asked_a_hundred_times_a_second_at_most() -> None:
    assert fetches(ReadPace(), 60.0, 0.0001, 1) <= 60 / FETCH_S + 1


def test_a_broker_that_holds_a_fetch_while_it_has_nothing_is_asked_without_a_pause() -> None:
    answer_s = 2 * HELD_S
    assert fetches(ReadPace(), 60.0, answer_s, 0) == pytest.approx(60 / answer_s, abs=1)


def test_after_new_records_the_pause_begins_anew() -> None:
    pace, asked = ReadPace(), [("topic", 0, 1)]
    now_s = 100.0
    for _ in range(10):
        now_s += pace.pause_s(asked, now_s)
    assert pace.pause_s(asked, now_s) == LONGEST_PAUSE_S
    now_s += LONGEST_PAUSE_S
    assert pace.pause_s([("topic", 0, 2)], now_s) <= FETCH_S


class Asked(NamedTuple):
    """A request, and what is fetched."""

    topics: list[tuple[str, list[tuple[int, int, int]]]]


class Consumer:
    """What fetches, and holds nothing."""

    def __init__(self) -> None:
        self._records: dict[object, object] = {}


async def test_each_fetch_of_the_library_has_its_pace() -> None:
    request, consumer = Asked([("topic", [(0, 5, 1)])]), Consumer()
    began_s: list[float] = []

    async def fetch(*_: Any) -> bool:
        began_s.append(asyncio.get_running_loop().time())
        return True

    in_pace = paced(fetch)
    for _ in range(3):
        assert await in_pace(consumer, None, 1, request)
    assert began_s[1] - began_s[0] >= FIRST_PAUSE_S * 0.9
    assert began_s[2] - began_s[1] >= 2 * FIRST_PAUSE_S * 0.9
    assert hasattr(Fetcher._proc_fetch_request, "__wrapped__")
