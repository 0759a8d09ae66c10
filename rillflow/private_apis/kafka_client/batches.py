"""Unpacks compressed batches of records, with limits of their size and of the number of parts.

Each part costs time whatever it holds, and whoever writes to a topic chooses how many there are.

Used by `private_apis/kafka_client/limits.py`.
"""

import importlib
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final

from rillflow.private_apis.assumption import Assumption, missing

MOST_BATCH_BYTES: Final = 4 << 20
"""What a compressed batch of records may unpack to; producers make batches of up to some 1 MB."""
MOST_MEMBERS: Final = 16
"""How many parts a batch in gzip may have; producers make one."""
MOST_BLOCKS: Final = 1_000
"""How many blocks a batch in snappy may have; producers make blocks of 32 KB."""
_DAMAGED: Final = f"is damaged, or unpacks to over {MOST_BATCH_BYTES:,} bytes"
_GZIP_BITS: Final = zlib.MAX_WBITS | 16
_SNAPPY_STREAM: Final = b"\x82SNAPPY\0"
_SNAPPY_STREAM_HEAD: Final = 16
_SIZE_BYTES: Final = 4


class TooLargeBatchError(RuntimeError):
    """A compressed batch is damaged, or unpacks to more than may be held."""

    def __init__(self, why: str = "") -> None:
        super().__init__(
            f"a compressed batch of records {why or f'unpacks to over {MOST_BATCH_BYTES:,} bytes'};"
            " remove it from the topic, or set the offset of the group behind it"
        )


def _gzip(payload: Any) -> bytes:
    content, unpacked = bytes(payload), bytearray()
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(_GZIP_BITS)
        room = MOST_BATCH_BYTES + 1 - len(unpacked)
        unpacked += _made(partial(member.decompress, content, room))
        if len(unpacked) > MOST_BATCH_BYTES:
            raise TooLargeBatchError
        if not member.eof:
            raise TooLargeBatchError(_DAMAGED)
        content = member.unused_data
        if not content:
            return bytes(unpacked)
    raise TooLargeBatchError(f"has more than {MOST_MEMBERS} parts")


def _snappy(payload: Any) -> bytes:
    snappy = importlib.import_module("cramjam").snappy
    content, unpacked = memoryview(bytes(payload)), bytearray()
    parts = [content]
    if bytes(content[: len(_SNAPPY_STREAM)]) == _SNAPPY_STREAM:
        parts = list(islice(_blocks(content[_SNAPPY_STREAM_HEAD:]), MOST_BLOCKS + 1))
        if len(parts) > MOST_BLOCKS:
            raise TooLargeBatchError(f"has more than {MOST_BLOCKS} parts")
    for part in parts:
        # The length is told first, and that much memory would be taken at once.
        if len(unpacked) + _made(partial(snappy.decompress_raw_len, part)) > MOST_BATCH_BYTES:
            raise TooLargeBatchError
        unpacked += _made(partial(snappy.decompress_raw, part))
    return bytes(unpacked)


def _blocks(content: memoryview) -> Iterator[memoryview]:
    while content:
        size = int.from_bytes(content[:_SIZE_BYTES])
        yield content[_SIZE_BYTES : _SIZE_BYTES + size]
        content = content[_SIZE_BYTES + size :]


def _lz4(payload: Any) -> bytes:
    return _into(importlib.import_module("cramjam").lz4.decompress_into, payload)


def _zstd(payload: Any) -> bytes:
    return _into(importlib.import_module("cramjam").zstd.decompress_into, payload)


def _into(decompress_into: Callable[[bytes, bytearray], int], payload: Any) -> bytes:
    """Unpack into memory of the largest size, of which only what is written is really taken."""
    room = bytearray(MOST_BATCH_BYTES + 1)
    size: int = _made(lambda: decompress_into(bytes(payload), room))
    if size > MOST_BATCH_BYTES:
        raise TooLargeBatchError
    return bytes(memoryview(room)[:size])


def _made(unpack: Callable[[], Any]) -> Any:
    try:
        return unpack()
    except Exception as error:
        # Errors of cramjam have no common class, and tell a lack of room in many ways.
        raise TooLargeBatchError(_DAMAGED) from error


DECODERS: Final = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _lz4,
    "zstd_decode": _zstd,
}
"""What unpacks a batch, by the name of the function of aiokafka that it replaces."""


def _differences() -> Iterator[str]:
    yield from missing(importlib.import_module("aiokafka.record.default_records"), *DECODERS)
    cramjam = importlib.import_module("cramjam")
    yield from missing(cramjam.snappy, "decompress_raw", "decompress_raw_len")
    yield from missing(cramjam.lz4, "decompress_into")
    yield from missing(cramjam.zstd, "decompress_into")


RELIES_ON: Final = (
    Assumption(
        library="aiokafka",
        relies_on="its module for batches finds the functions that unpack them by their names in"
        " this module",
        seen_with="0.14.0",
        if_it_changes="silent: what a batch unpacks to is not bounded"
        " (tests/unit/test_kafka_limits.py notices)",
        differences=_differences,
    ),
)
