"""Reads the records of a batch, whatever the names of their headers, and not too many headers.

A broker numbers the records of a batch, and keeps the numbers that a producer has written into it
as they are, unless the batch is compressed. The library believes these, so a wrong one would have
it pass over records of others. Here a record has the number of its place.

aiokafka parses each header in Python, and a record of 4 KB, compressed, can have two million. Of a
record with too many only the first are read, one more than may be, so that whoever takes it finds
them too many.

Used by `private_apis/kafka_client/limits.py`.
"""

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from rillflow.private_apis.assumption import Assumption, missing, not_in_source
from rillflow.triggers.kafka_records import MOST_HEADERS

CODES: Final = "aiokafka.record.util"
_HEAD_NUMBERS: Final = 3
"""The attributes, the time and the offset of a record, before its key."""


class _Headers(NamedTuple):
    """Where the headers of a record are in its batch, and how many it says there are."""

    begin: int
    count_at: int
    first_at: int
    number: int
    end: int


def bounded(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Have a record be read in its place, with so many headers at most, whatever their names."""
    read = _in_place(_of_any_names(read))

    @functools.wraps(read)
    def wrapped(batch: Any) -> Any:
        content = batch._buffer  # noqa: SLF001 - as the method replaced
        headers = _headers(content, batch._pos)  # noqa: SLF001 - the same
        if headers.number <= MOST_HEADERS:
            return read(batch)
        batch._buffer, batch._pos = _shortened(content, headers), 0  # noqa: SLF001 - the same
        try:
            return read(batch)
        finally:
            batch._buffer, batch._pos = content, headers.end  # noqa: SLF001 - the same

    return wrapped


def _in_place(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Have a record have the offset that the broker knows it by, whatever its producer wrote.

    Batches that were compacted have gaps, and in these it is at least one of the batch.
    """

    @functools.wraps(read)
    def wrapped(batch: Any) -> Any:
        record = read(batch)
        first, last = batch.base_offset, batch.base_offset + batch.last_offset_delta
        if batch._num_records == batch.last_offset_delta + 1:  # noqa: SLF001 - as the method replaced
            offset = first + batch._next_record_index  # noqa: SLF001 - the same
        else:
            offset = min(max(record.offset, first), last)
        return record if offset == record.offset else replace(record, offset=offset)

    return wrapped


def _headers(content: Any, at: int) -> _Headers:
    """Find the headers of a record.

    Raises:
        ValueError: The record is damaged.
        IndexError: It is cut off.
    """
    decode = importlib.import_module(CODES).decode_varint
    length, begin = decode(content, at)
    at = begin
    for _ in range(_HEAD_NUMBERS):
        _, at = decode(content, at)
    for _ in ("key", "value"):
        size, at = decode(content, at)
        at += max(size, 0)
    count, first_at = decode(content, at)
    if not first_at <= begin + length <= len(content):
        raise ValueError("the length of a record is wrong")
    return _Headers(begin, at, first_at, count, begin + length)


def _shortened(content: Any, headers: _Headers) -> bytearray:
    """Return a record with the first of its headers."""
    codes = importlib.import_module(CODES)
    end = headers.first_at
    for _ in range(MOST_HEADERS + 1):
        for _ in ("name", "value"):
            size, end = codes.decode_varint(content, end)
            end += max(size, 0)
    number, length = bytearray(), bytearray()
    codes.encode_varint(MOST_HEADERS + 1, number.append)
    body = (
        bytes(content[headers.begin : headers.count_at])
        + number
        + bytes(content[headers.first_at : end])
    )
    codes.encode_varint(len(body), length.append)
    return length + body


class _Name(bytes):
    """A part of a batch; what is no UTF-8 in it becomes the replacement character."""

    __slots__ = ()

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        del errors
        return super().decode(encoding, "replace")


class _Parts:
    """A batch whose parts are decoded whatever they are."""

    __slots__ = ("_content",)

    def __init__(self, content: Any) -> None:
        self._content = content

    def __getitem__(self, at: Any) -> Any:
        found = self._content[at]
        return _Name(found) if isinstance(at, slice) else found


def _of_any_names(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Have a record be read also if names of its headers are no UTF-8."""

    @functools.wraps(read)
    def wrapped(batch: Any) -> Any:
        at = batch._pos  # noqa: SLF001 - as the method replaced
        try:
            return read(batch)
        except UnicodeDecodeError:
            content = batch._buffer  # noqa: SLF001 - the same
            batch._pos, batch._buffer = at, _Parts(content)  # noqa: SLF001 - the same
            try:
                return read(batch)
            finally:
                batch._buffer = content  # noqa: SLF001 - the same

    return wrapped


def _differences() -> Iterator[str]:
    parsed = importlib.import_module("aiokafka.record.default_records")._DefaultRecordBatchPy  # noqa: SLF001 - a method of it is replaced
    yield from not_in_source(
        parsed._read_msg,  # noqa: SLF001 - it is replaced
        "buffer = self._buffer",
        "pos = self._pos",
        "length, pos = decode_varint(buffer, pos)",
        "header_count, pos = decode_varint(buffer, pos)",
        '.decode("utf-8")',
        "offset = self.base_offset + offset_delta",
    )
    yield from missing(parsed, "base_offset", "last_offset_delta")
    yield from missing(importlib.import_module(CODES), "decode_varint", "encode_varint")


RELIES_ON: Final = (
    Assumption(
        library="aiokafka",
        relies_on="one method reads a record, from where the one before ended",
        seen_with="0.14.0",
        if_it_changes="silent: one record of many headers holds up all Kafka triggers"
        " (tests/unit/test_kafka_limits.py notices)",
        differences=_differences,
    ),
)
