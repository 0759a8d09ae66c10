"""Keeps few compressed batches unpacked, and finds the record that is wanted next in one step.

A batch of 250 bytes can unpack to megabytes, and a consumer has one of each partition under way. So
those that were read last are unpacked, of all clients of a process. Any other is packed again, and
goes on where it was.

A broker sends a batch whole, also if its first records were read before. The library parses these
again, and a batch of 250 KB can have 400,000 of them. Here they are passed over by their lengths.

Used by `private_apis/kafka_client/limits.py`.
"""

import functools
import importlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

from rillflow.private_apis.assumption import Assumption, missing, not_in_source
from rillflow.private_apis.kafka_client.records import CODES

MOST_UNPACKED_BYTES: Final = 16 << 20
"""What compressed batches take that are unpacked, of all clients of a process."""
_MORE: Final = 0x80
"""The bit of a byte of a number that is set if another byte follows."""


class UnpackedBatches:
    """The compressed batches that are read, some of them unpacked; in one thread."""

    def __init__(self, most_bytes: int = MOST_UNPACKED_BYTES) -> None:
        self._most_bytes = most_bytes
        self._packed: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        """What batches were before they were unpacked."""
        self._unpacked: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        """The sizes of those that are unpacked; the first is the one that was read longest ago."""
        self._latest: weakref.ref[Any] | None = None

    @property
    def taken_bytes(self) -> int:
        """What they take."""
        return sum(self._unpacked.values())

    def unpack(self, batch: Any, unpack: Callable[[Any], None]) -> None:
        """Unpack a batch for the first time, unless it is not compressed."""
        if batch._decompressed:  # noqa: SLF001 - as the method replaced
            return
        packed = batch._buffer  # noqa: SLF001 - the same
        unpack(batch)
        if batch.compression_type:
            self._packed[batch] = packed, unpack
            self._take(batch)

    def use(self, batch: Any) -> None:
        """Have a batch be unpacked whose next record is wanted."""
        if self._latest is not None and self._latest() is batch:
            return
        if batch not in self._packed:
            return
        if self._unpacked.pop(batch, None) is None:
            packed, unpack = self._packed[batch]
            at = batch._pos  # noqa: SLF001 - as the method replaced
            batch._pos, batch._decompressed = batch.HEADER_STRUCT.size, False  # noqa: SLF001 - the same
            batch._buffer = packed  # noqa: SLF001 - the same
            unpack(batch)
            batch._pos = at  # noqa: SLF001 - the same
        self._take(batch)

    def _take(self, batch: Any) -> None:
        """Note that a batch is unpacked, and pack those again for which there is no room."""
        self._unpacked[batch] = len(batch._buffer)  # noqa: SLF001 - as the method replaced
        self._latest = weakref.ref(batch)
        taken_bytes = self.taken_bytes
        for other, size_bytes in list(self._unpacked.items()):
            if taken_bytes <= self._most_bytes or other is batch:
                return
            taken_bytes -= size_bytes
            del self._unpacked[other]
            other._buffer, _ = self._packed[other]  # noqa: SLF001 - the same


UNPACKED: Final = UnpackedBatches()


class _WantedBatches:
    """The batches of a partition; each is told which record is wanted next.

    Attributes:
        latest_bytes: The size of the latest record, which the library keeps until the next.
    """

    __slots__ = ("_batches", "_records", "latest_bytes")

    def __init__(self, records: Any) -> None:
        self._batches = records._records  # noqa: SLF001 - as the method replaced
        self._records = weakref.ref(records)  # which has this
        self.latest_bytes = 0

    def has_next(self) -> bool:
        found: bool = self._batches.has_next()
        return found

    def size_in_bytes(self) -> int:
        return int(self._batches.size_in_bytes()) + self.latest_bytes

    def next_batch(self) -> Any:
        batch, records = self._batches.next_batch(), self._records()
        if records is not None:
            batch.wanted_offset = records.next_fetch_offset
        return batch


def bound_unpacking(batches: Any, fetcher: Any) -> None:
    """Replace what unpacks and reads batches in modules of the library; again does no harm."""
    batch = batches._DefaultRecordBatchPy  # noqa: SLF001 - methods of it are replaced
    if hasattr(batch._maybe_uncompress, "__wrapped__"):  # noqa: SLF001 - it is replaced
        return
    batch._maybe_uncompress = _bounded(batch._maybe_uncompress)  # noqa: SLF001 - the same
    batch.__iter__ = _from_wanted(batch.__iter__)
    batch.__next__ = _unpacked(batch.__next__)
    records = fetcher.PartitionRecords
    records._unpack_records = _told(records._unpack_records)  # noqa: SLF001 - the same


def _bounded(unpack: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(unpack)
    def wrapped(batch: Any) -> None:
        UNPACKED.unpack(batch, unpack)

    return wrapped


def _unpacked(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(read)
    def wrapped(batch: Any) -> Any:
        UNPACKED.use(batch)
        return read(batch)

    return wrapped


def _told(unpack: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    @functools.wraps(unpack)
    def wrapped(records: Any) -> Iterator[Any]:
        batches = records._records = _WantedBatches(records)  # noqa: SLF001 - as the method replaced
        for record in unpack(records):
            batches.latest_bytes = _size_of(record)
            yield record

    return wrapped


def _size_of(record: Any) -> int:
    sizes = record.serialized_key_size, record.serialized_value_size  # -1 where there is none
    headers = sum(len(value or b"") for _, value in record.headers)
    return headers + sum(max(int(size), 0) for size in sizes)


def _from_wanted(begin: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(begin)
    def wrapped(batch: Any) -> Any:
        begun = begin(batch)
        wanted = getattr(batch, "wanted_offset", batch.base_offset)
        if wanted > batch.base_offset and not batch._next_record_index:  # noqa: SLF001 - as the method replaced
            _pass_over(batch, wanted)
        return begun

    return wrapped


def _pass_over(batch: Any, wanted: int) -> None:
    """Go to the first record that is not before an offset; a damaged batch stays as it is.

    Offsets are read only in batches that were compacted: in others they have no gaps.
    """
    content, at, index = batch._buffer, batch._pos, 0  # noqa: SLF001 - as the method replaced
    number, distance = batch._num_records, wanted - batch.base_offset  # noqa: SLF001 - the same
    has_gaps = number != batch.last_offset_delta + 1
    try:
        while index < number and (has_gaps or index < distance):
            size = content[at]
            begin = at + 1
            if size & _MORE:
                size, begin = _number(content, at)
            if size & 1:
                return  # It is negative.
            if has_gaps and _offset_delta(content, begin) >= distance:
                break
            at = begin + (size >> 1)
            index += 1
    except IndexError:
        return
    if at <= len(content):
        batch._pos, batch._next_record_index = at, index  # noqa: SLF001 - the same


def _number(content: Any, at: int) -> tuple[int, int]:
    """Read a number as it is written, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & ~_MORE) << shift
        if not byte & _MORE:
            return value, at
        shift += 7


def _offset_delta(content: Any, at: int) -> int:
    """Read the offset of a record, which follows its attributes and its time."""
    decode = importlib.import_module(CODES).decode_varint
    for _ in ("attributes", "time"):
        _, at = decode(content, at)
    delta: int = decode(content, at)[0]
    return delta


def _differences() -> Iterator[str]:
    batches = importlib.import_module("aiokafka.record.default_records")
    batch = batches._DefaultRecordBatchPy  # noqa: SLF001 - methods of it are replaced
    yield from missing(batch, "last_offset_delta", "base_offset", "compression_type")
    yield from not_in_source(
        batch._maybe_uncompress,  # noqa: SLF001 - it is replaced
        "if not self._decompressed:",
        "memoryview(self._buffer)[self._pos :]",
        "self._buffer = bytearray(uncompressed)",
    )
    yield from not_in_source(batch.__iter__, "self._maybe_uncompress()")
    yield from not_in_source(
        batch.__next__, "self._next_record_index >= self._num_records", "self._read_msg()"
    )
    records = importlib.import_module("aiokafka.consumer.fetcher").PartitionRecords
    yield from not_in_source(
        records._unpack_records,  # noqa: SLF001 - it is replaced
        "records = self._records",
        "next_batch = records.next_batch()",
        "for record in next_batch:",
        "if record.offset < self.next_fetch_offset:",
    )


RELIES_ON: Final = (
    Assumption(
        library="aiokafka",
        relies_on="a batch unpacks itself before its first record, and reads one after the other"
        " from where the one before ended",
        seen_with="0.14.0",
        if_it_changes="silent: batches of all partitions stay unpacked, and what was read is parsed"
        " again (tests/unit/test_kafka_fetches.py notices)",
        differences=_differences,
    ),
)
