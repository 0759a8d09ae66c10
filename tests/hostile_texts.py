"""Texts of a given length that are made to be slow to read, or to be much once they are read."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from rillflow.jsontypes import LONG_NUMBER, MAX_DEPTH, MAX_LONG_DIGITS, MAX_VALUES

LONGEST_NUMBER: Final = 4_299
"""Most digits that Python reads as an integer, by default."""
BRACKETS: Final = b"[" * (MAX_DEPTH + 1)


class HostileText(NamedTuple):
    """A text; ``encoding`` is how it is packed, ``media`` what it is said to be."""

    name: str
    body: bytes
    encoding: str = ""
    media: str = "application/json"

    @property
    def headers(self) -> dict[str, str]:
        packed = {"Content-Encoding": self.encoding} if self.encoding else {}
        return {"Content-Type": self.media, **packed}


def json_texts(size: int) -> Iterator[HostileText]:
    """Yield JSON, and what begins like it, of up to so many bytes."""

    def filled(head: bytes, item: bytes, tail: bytes = b"") -> bytes:
        return head + item * ((size - len(head) - len(tail)) // len(item)) + tail

    yield HostileText("unterminated string behind brackets", filled(BRACKETS + b'"', b"a"))
    yield HostileText("escaped quotes", filled(BRACKETS + b'"', b'\\"'))
    yield HostileText("strings that end in escapes", filled(BRACKETS, b'"\\'))
    yield HostileText("backslashes", filled(b'["', b"\\"))
    yield HostileText("quotes", filled(b"", b'"'))
    yield HostileText("opening brackets", filled(b"", b"["))
    yield HostileText("opening braces", filled(b"", b'{"a":'))
    yield HostileText("brackets in strings", filled(b"[", b'"[[",', b"1]"))
    yield HostileText("empty lists", filled(b"[", b"[],", b"1]"))
    yield HostileText("nested lists", filled(b"[", b"[" * 150 + b"]" * 150 + b",", b"1]"))
    yield HostileText("empty objects", filled(b'{"a":[', b"{},", b"1]}"))
    yield HostileText("small numbers", filled(b"[", b"1,", b"1]"))
    yield HostileText("large numbers", filled(b"[", b"1e308,", b"1]"))
    yield HostileText("subnormal numbers", filled(b"[", b"2.2250738585072011e-308,", b"1]"))
    halfway = b"9007199254740993.00000000000000000001,"
    yield HostileText("numbers between two floats", filled(b"[", halfway, b"1]"))
    yield HostileText("one long number", filled(b"[", b"1", b"]"))
    yield HostileText("one long fraction", filled(b"[0.", b"1", b"]"))
    yield HostileText("one long string", filled(b'{"a":"', b"x", b'"}'))
    yield HostileText("escaped characters", filled(b'{"a":"', b"\\u4e2d", b'"}'))
    yield HostileText("blanks", filled(b"[", b" ", b"]"))
    yield HostileText("commas in a string", filled(b'{"a":"', b", [", b'"}'))
    yield from _most_values(size)


def _most_values(size: int) -> Iterator[HostileText]:
    """Yield JSON of as many values as may be read, if they fit."""
    count = MAX_VALUES - 10
    numbers = [f"1e{300 + n % 8}" for n in range(min(count, size // 6))]
    yield HostileText("as many large numbers as may be", f'{{"a":[{",".join(numbers)}]}}'.encode())
    longest = ["9" * LONGEST_NUMBER] * (min(MAX_LONG_DIGITS, size // 2) // LONGEST_NUMBER)
    room = size - len(longest) * (LONGEST_NUMBER + 1) - 10
    long = ["9" * LONG_NUMBER] * min(room // (LONG_NUMBER + 1), count)
    digits = ",".join([*longest, *long])
    yield HostileText("as many digits as may be", f'{{"a":[{digits}]}}'.encode())
    keys = {f"{n:x}": n for n in range(min(count // 3, size // 15))}
    yield HostileText("as many keys as may be", json.dumps(keys).encode())
    lists = b"[" + b",".join([b"[]"] * min(count // 4, size // 3 - 1)) + b"]"
    yield HostileText("as many lists as may be", b'{"a":' + lists + b"}")
    objects = b"[" + b",".join([b'{"a":{"b":1}}'] * min(count // 11, size // 15)) + b"]"
    yield HostileText("as many objects as may be", b'{"a":' + objects + b"}")


def packed_texts(size: int) -> Iterator[HostileText]:
    """Yield texts that are packed, and unpack to so many bytes and more."""
    for text in json_texts(size):
        yield text._replace(body=gzip.compress(text.body), encoding="gzip")
    zeros = b"\0" * size
    yield HostileText("zeros", zlib.compress(zeros), "deflate")
    yield HostileText("too many zeros", gzip.compress(zeros * 100), "gzip")
    twice = gzip.compress(gzip.compress(b"[" + b"1e308," * (size // 6)))
    yield HostileText("packed twice", twice, "gzip, gzip")
    yield HostileText("cut short", gzip.compress(zeros)[:-4], "gzip")
    streams = gzip.compress(b"") * (size // 20)
    yield HostileText("empty streams", streams, "gzip")
    yield HostileText("no packing at all", b"\x1f\x8b" * (size // 2), "gzip")


def other_texts(size: int) -> Iterator[HostileText]:
    """Yield bodies that are no JSON."""
    event = "application/cloudevents+json"
    inner = base64.b64encode(b"[" + b"1e308," * (size // 10)).decode()
    held = {"specversion": "1.0", "data_base64": inner, "datacontenttype": "application/json"}
    yield HostileText("an event around text", json.dumps(held).encode(), "", event)
    yield HostileText("binary", b"\xff\x00\xfe" * (size // 3), "", "image/png")
    for charset in ("gbk", "utf-16", "big5", "iso-2022-jp", "shift_jis", "punycode"):
        media = f"text/plain; charset={charset}"
        yield HostileText(f"text in {charset}", b"\x81\x40\xfe" * (size // 3), "", media)
    seals = b'"seal' + b"expires=1&amp;" * (size // 14) + b'"'
    yield HostileText("beginnings of seals", seals, "", "application/json")
    long = "text/plain; " + "charset" * 1_000
    yield HostileText("a long media type", b"\xff" * size, "", long)
