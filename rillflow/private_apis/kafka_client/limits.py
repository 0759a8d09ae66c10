"""Limits of what brokers, and producers that write to a topic, can have aiokafka do.

A batch of 24 KB can unpack to gigabytes, a record of 4 KB can have millions of headers, and a
broker chooses how often a password is hashed and how many topics it names. The library has no
limits for these. This module puts limits into the modules of the library.

Where the library cannot read a partition, its error does not name the partition, and it returns no
records of the others. Here the error names the partition, and the others are read.

The compiled parser of the library reads past the end of damaged batches, which ends the process.
So the library is told to use its parser in Python, which raises an error.

Used by `gateways/kafka/clients.py`.
"""

import asyncio
import functools
import hashlib
import importlib
import os
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from rillflow.backoff import Backoff
from rillflow.errors import GatewayError
from rillflow.private_apis.assumption import Assumption, missing, not_in_source, other_parameters
from rillflow.private_apis.kafka_client.batches import DECODERS
from rillflow.private_apis.kafka_client.fetched import FULL_S, held_bytes, share_bytes
from rillflow.private_apis.kafka_client.records import bounded
from rillflow.private_apis.kafka_client.unpacked import bound_unpacking

MOST_ITERATIONS: Final = 100_000
"""How often a broker may have a password hashed; Kafka's own default is 4,096."""
MOST_NAMED: Final = 20_000
"""How many brokers, topics and partitions a broker may name together."""
FETCH_S: Final = 0.01
"""Fetches of one broker begin so far from each other at least; it sends what has come meanwhile."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
"""Limits of the pause before a fetch that asks for the same as the last, which brought nothing."""
HELD_S: Final = 0.25
"""A broker that has nothing holds a fetch longer than this; one that does so needs no pause."""
_BATCHES: Final = "aiokafka.record.default_records"
_FETCHER: Final = "aiokafka.consumer.fetcher"
_OLD: Final = "LegacyRecordBatch"
_CHECK: Final = "calc_crc32c"
_NOT_COMPILED: Final = "AIOKAFKA_NO_EXTENSIONS"


class UnreadPartitionError(RuntimeError):
    """The next records of a partition cannot be read.

    Attributes:
        place: The ``TopicPartition``.
    """

    def __init__(self, place: Any, reason: str) -> None:
        super().__init__(f"partition {place.partition}: {reason}")
        self.place = place


def parse_in_python() -> None:
    """Keep aiokafka from using what it has compiled; to be called before it is imported."""
    os.environ[_NOT_COMPILED] = "1"


def bound_kafka() -> None:
    """Replace what unpacks batches and hashes passwords, for all clients of this process.

    Raises:
        GatewayError: aiokafka uses what it has compiled, since it was imported too early.
    """
    if not importlib.import_module("aiokafka.util").NO_EXTENSIONS:
        raise GatewayError(f"aiokafka was imported before {_NOT_COMPILED} was set")
    batches = importlib.import_module(_BATCHES)
    for decoder, unpack in DECODERS.items():
        setattr(batches, decoder, unpack)
    importlib.import_module("aiokafka.conn").ScramAuthenticator.create_salted_password = _salted
    # Their parser follows lengths that a message names, for ever where they are negative.
    setattr(importlib.import_module("aiokafka.record.memory_records"), _OLD, _refuse_old)
    # The check sums alone are compiled: in Python they take 84 ms for each megabyte.
    checks = importlib.import_module("aiokafka.record._crecords.cutil").crc32c_cython
    setattr(batches, _CHECK, checks)
    metadata = importlib.import_module("aiokafka.cluster").ClusterMetadata
    if not hasattr(metadata.update_metadata, "__wrapped__"):
        metadata.update_metadata = _of_bounded_size(metadata.update_metadata)
    fetcher = importlib.import_module(_FETCHER).Fetcher
    records = importlib.import_module(_FETCHER).PartitionRecords
    if not hasattr(records._unpack_records, "__wrapped__"):  # noqa: SLF001 - it is replaced
        records._unpack_records = _of_named_partition(records._unpack_records)  # noqa: SLF001 - the same
    parsed = batches._DefaultRecordBatchPy  # noqa: SLF001 - a method of it is replaced
    if not hasattr(parsed._read_msg, "__wrapped__"):  # noqa: SLF001 - it is replaced
        parsed._read_msg = bounded(parsed._read_msg)  # noqa: SLF001 - the same
    if not hasattr(fetcher._proc_fetch_request, "__wrapped__"):  # noqa: SLF001 - it is replaced
        fetcher._proc_fetch_request = paced(fetcher._proc_fetch_request)  # noqa: SLF001 - the same
    bound_unpacking(batches, importlib.import_module(_FETCHER))


class ReadPace:
    """When the next fetch of one broker begins.

    A broker that has no new record holds a fetch for a while. One that answers it at once would be
    asked again at once.
    """

    def __init__(self) -> None:
        self._asked: Sequence[object] = ()
        self._began_s = -LONGEST_PAUSE_S
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)

    def pause_s(self, asked: Sequence[object], now_s: float) -> float:
        """Return how long to wait before a fetch from these positions."""
        took_s = now_s - self._began_s
        pause_s = max(FETCH_S - took_s, 0.0)
        if asked != self._asked or took_s > HELD_S:
            self._backoff.reset()
        else:
            pause_s = self._backoff.next_s()
        self._asked = asked
        self._began_s = now_s + pause_s
        return pause_s


_Fetch: TypeAlias = Callable[[Any, Any, int, Any], Awaitable[bool]]
_paces: weakref.WeakKeyDictionary[Any, dict[int, ReadPace]] = weakref.WeakKeyDictionary()


def is_full(fetcher: Any) -> bool:
    """Tell whether a consumer holds as much of what was fetched as is its share."""
    return held_bytes(fetcher) >= share_bytes(len(_paces))


def paced(fetch: _Fetch) -> _Fetch:
    """Have fetches of a broker begin in their pace, and none while the consumer holds its share."""

    @functools.wraps(fetch)
    async def wrapped(fetcher: Any, assignment: Any, node_id: int, request: Any) -> bool:
        pace = _paces.setdefault(fetcher, {}).setdefault(node_id, ReadPace())
        asked = [
            (topic, partition, offset)
            for topic, partitions in request.topics
            for partition, offset, _ in partitions
        ]
        try:
            if is_full(fetcher):
                await asyncio.sleep(FULL_S)
                return False
            await asyncio.sleep(pace.pause_s(asked, asyncio.get_running_loop().time()))
        except asyncio.CancelledError:
            return False  # as the method does, whose caller waits for it
        return await fetch(fetcher, assignment, node_id, request)

    return wrapped


def _of_named_partition(unpack: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    """Have an error in the records of a partition name the partition."""

    @functools.wraps(unpack)
    def wrapped(records: Any) -> Iterator[Any]:
        try:
            yield from unpack(records)
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise UnreadPartitionError(records._tp, reason) from error  # noqa: SLF001 - as the method replaced

    return wrapped


def _of_bounded_size(update: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    @functools.wraps(update)
    def bounded(cluster: Any, metadata: Any) -> None:
        # The partitions of a topic are the last of its fields.
        named = len(metadata.brokers) + sum(1 + len(topic[-1]) for topic in metadata.topics)
        if named > MOST_NAMED:
            raise RuntimeError(
                f"a broker names {named:,} brokers, topics and partitions, and up to {MOST_NAMED:,}"
                " are taken"
            )
        update(cluster, metadata)

    return bounded


def _refuse_old(_content: Any, magic: int) -> None:
    raise RuntimeError(f"messages of the format {magic}, before Kafka 0.11, are not read")


def _salted(authenticator: Any, salt: bytes, iterations: int) -> None:
    if iterations > MOST_ITERATIONS:
        raise RuntimeError(
            f"the broker asks for {iterations:,} iterations of SCRAM, and up to"
            f" {MOST_ITERATIONS:,} are made"
        )
    authenticator._salted_password = hashlib.pbkdf2_hmac(  # noqa: SLF001 - as the method replaced
        authenticator._hashname,  # noqa: SLF001 - the same
        authenticator._sasl_plain_password,  # noqa: SLF001 - the same
        salt,
        iterations,
    )


def _differences() -> Iterator[str]:
    yield from missing(importlib.import_module("aiokafka.util"), "NO_EXTENSIONS")
    yield from missing(importlib.import_module(_BATCHES), _CHECK)
    authenticator = importlib.import_module("aiokafka.conn").ScramAuthenticator
    yield from other_parameters(authenticator.create_salted_password, "salt", "iterations")
    records = importlib.import_module("aiokafka.record.memory_records")
    yield from not_in_source(records, "return LegacyRecordBatch(next_slice, magic)")
    yield from missing(importlib.import_module("aiokafka.record._crecords.cutil"), "crc32c_cython")
    metadata = importlib.import_module("aiokafka.cluster").ClusterMetadata
    yield from not_in_source(
        metadata.update_metadata, "metadata.brokers", "is_internal, partitions"
    )
    fetch = importlib.import_module(_FETCHER).Fetcher._proc_fetch_request  # noqa: SLF001 - replaced
    yield from other_parameters(fetch, "assignment", "node_id", "request")
    yield from not_in_source(fetch, "for partition, offset, _ in partitions")
    unpacked = importlib.import_module(_FETCHER).PartitionRecords
    yield from not_in_source(unpacked.__init__, "self._tp = tp", "self._unpack_records()")


RELIES_ON: Final = (
    Assumption(
        library="aiokafka",
        relies_on="SCRAM hashes the password in a method of its own, what a broker names is taken"
        " by one, each fetch is made by one, and the records of a partition are unpacked by one",
        seen_with="0.14.0",
        if_it_changes="silent: brokers and fetches are not bounded, and one record stops all"
        " partitions (tests/unit/test_kafka_limits.py notices)",
        differences=_differences,
    ),
)
