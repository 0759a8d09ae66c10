"""JSON values of any size, cut so that an answer stays small: what is left out is marked.

A marker is an object with the one key ``$cut``. It has the JSON Pointer (RFC 6901) of what was left
out, so that a reader can ask for it by itself. A value may hold another one in many places, and be
far longer as text than in memory, so no value is encoded before it is known to be short enough.

Used by `core/inspection`.
"""

import re
import string
from types import MappingProxyType
from typing import Final, NamedTuple

from rillflow.jsontypes import JsonObject, JsonValue, ReadonlyJsonObject, encode_json

ANSWER_BYTES: Final = 128 * 1024
"""What a whole value may take."""
VALUE_BYTES: Final = 16 * 1024
"""What a value may take that is shown beside others."""
PAGE_CHARACTERS: Final = 65_536
PAGE_ITEMS: Final = 200
_LONGEST_TEXT: Final = 4_096
_HEAD: Final = 200
_SMALLEST: Final = 256
_DEEPEST: Final = 32
_LONGEST_NUMBER: Final = 10**100
CUT: Final = "$cut"
_UNIQUE: Final = re.compile(r"_c_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_NAMES: Final = string.ascii_letters + string.digits + ":%"
_LONGEST_ID: Final = 300
"""Characters of an id whose names are as long as they may be, and more."""
MOST_WORK: Final = 4 << 20
"""How much the sizes of an answer may take to count: a value is 16, and a character one."""
_VALUE_WORK: Final = 16
_BITS_OF_DIGIT: Final = 4
_LONG_NUMBER_BITS: Final = 1_024
_NUMBER_WORK_BITS: Final = 9
"""A long number takes the square of its bits to write, and this much less than a character."""


class Page(NamedTuple):
    """A part of a value, and where to go on; ``found`` is False if the pointer leads nowhere.

    ``size`` has its ``bytes``, as ``Sizes`` counts them. ``offset`` is where it begins: no text
    begins or ends within an id.
    """

    found: bool
    value: JsonValue = None
    size: ReadonlyJsonObject = MappingProxyType({})
    next_offset: int | None = None
    offset: int = 0


class Sizes:
    """Counts how long the values of one answer are as text, until that takes too much."""

    def __init__(self, work: int = MOST_WORK) -> None:
        """Begin with what all values together may take to count."""
        self._left = work

    def of(self, value: JsonValue) -> JsonObject:
        """Return the ``bytes`` of a value; with ``at_least`` where not all of it was counted."""
        least_bytes, work = _counted(value, self._left)
        if work > self._left:
            self._left = 0
            return {"bytes": least_bytes, "at_least": True}
        self._left -= work
        return {"bytes": len(encode_json(value))}


def cut(
    value: JsonValue,
    room: int = VALUE_BYTES,
    path: str = "",
    depth: int = 0,
    sizes: Sizes | None = None,
) -> JsonValue:
    """Return a value in which large parts are replaced by markers, about ``room`` bytes long."""
    sizes = sizes or Sizes()
    if isinstance(value, str):
        return value if len(value) <= min(_LONGEST_TEXT, room) else _marker(value, path, sizes)
    if isinstance(value, dict | list):
        return _container(value, room, path, depth, sizes)
    if isinstance(value, int) and abs(value) >= _LONGEST_NUMBER:
        return _marker(value, path, sizes)
    return value


def _counted(value: JsonValue, most_work: int) -> tuple[int, int]:
    """Count how long a value is as text at least, and the work for that; stop beyond the most.

    What a container holds is counted together, since most have thousands of values of one kind.
    """
    pending: list[JsonObject | list[JsonValue]] = []
    if isinstance(value, dict | list):
        pending.append(value)
        least_bytes = work = 0
    else:
        least_bytes, work = _counted_together([value], pending)
    while pending and work <= most_work:
        item = pending.pop()
        if len(item) * _VALUE_WORK > most_work - work:
            return least_bytes + 2 * len(item), most_work + 1
        keys_bytes = sum(map(len, item)) + 3 * len(item) if isinstance(item, dict) else 0
        if len(item) * _VALUE_WORK + keys_bytes > most_work - work:
            return least_bytes + 1 + len(item) + keys_bytes, most_work + 1
        size, more = _counted_together(
            list(item.values()) if isinstance(item, dict) else item, pending
        )
        least_bytes += size + keys_bytes
        work += more + keys_bytes
    return least_bytes, work


def _counted_together(
    values: list[JsonValue], pending: list[JsonObject | list[JsonValue]]
) -> tuple[int, int]:
    kinds = set(map(type, values))
    size, work = 2 * len(values), 0
    if kinds == {str}:
        size += sum(map(len, values))  # type: ignore[arg-type] # all are texts
    elif kinds & {str, int, dict, list}:
        for item in values:
            if isinstance(item, str):
                size += len(item)
            elif isinstance(item, dict | list):
                pending.append(item)
            elif isinstance(item, int):
                size += item.bit_length() // _BITS_OF_DIGIT
                work += _work_of(item)
    return size, work + size + _VALUE_WORK * len(values)


def _work_of(number: int) -> int:
    """Return what it takes to write a number; nothing for one that is not long."""
    bits = number.bit_length()
    return 0 if bits < _LONG_NUMBER_BITS else bits * bits >> _NUMBER_WORK_BITS


def _is_within(value: JsonValue, room: int) -> bool:
    """Tell whether a value has no more than ``room`` bytes as text."""
    most_work = (1 + _VALUE_WORK) * room  # each value has a byte at least
    if _counted(value, most_work)[1] > most_work:
        return False
    return len(encode_json(value)) <= room


def page_of(value: JsonValue, pointer: str, offset: int) -> Page:
    """Return a part of a value by its JSON Pointer, from an offset if it is a text or a container.

    Of a text the offset counts characters, of a container its items. A text begins or ends
    before the id of an execution, and not within it: ids of other workspaces are hidden in answers,
    which a part of one would escape.
    """
    found, part = _find(value, pointer)
    if not found:
        return Page(found=False)
    start = max(offset, 0)
    size = Sizes().of(part)
    if isinstance(part, str):
        start = _outside_of_ids(part, start)
        end = _outside_of_ids(part, start + PAGE_CHARACTERS)
        following = end if end < len(part) else None
        return Page(True, part[start:end], size, following, start)  # noqa: FBT003 - a row
    if isinstance(part, list):
        return _page_of_list(part, pointer, start, size)
    if isinstance(part, dict):
        return _page_of_object(part, pointer, start, size)
    return Page(True, part, size)  # noqa: FBT003 - a row


def _outside_of_ids(text: str, at: int) -> int:
    """Return a place in a text, or the begin of the id in which it is."""
    around = max(at - _LONGEST_ID, 0)
    for found in _UNIQUE.finditer(text, around, at + _LONGEST_ID):
        head = text[around : found.start()]
        begin = around + len(head.rstrip(_OF_NAMES))
        if begin < at < found.end():
            return begin
    return at


def _page_of_list(part: list[JsonValue], pointer: str, start: int, size: JsonObject) -> Page:
    end = min(start + PAGE_ITEMS, len(part))
    room = max(ANSWER_BYTES // max(end - start, 1), _SMALLEST)
    sizes = Sizes()
    items = [cut(part[at], room, f"{pointer}/{at}", 1, sizes) for at in range(start, end)]
    return Page(True, items, size, end if end < len(part) else None, start)  # noqa: FBT003 - a row


def _page_of_object(part: JsonObject, pointer: str, start: int, size: JsonObject) -> Page:
    keys = list(part)
    end = min(start + PAGE_ITEMS, len(keys))
    room = max(ANSWER_BYTES // max(end - start, 1), _SMALLEST)
    shown: JsonObject = {}
    spent, sizes = 0, Sizes()
    for number, key in enumerate(keys[start:end]):
        spent += min(len(key), _LONGEST_TEXT)
        if spent > ANSWER_BYTES:
            end = start + number
            break
        place = f"{pointer}/{escaped(key)}"
        shown[key[:_LONGEST_TEXT]] = cut(part[key], room, place, 1, sizes)
    return Page(True, shown, size, end if end < len(keys) else None, start)  # noqa: FBT003 - a row


def escaped(key: str) -> str:
    """Return a key as a step of a JSON Pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _container(
    value: JsonObject | list[JsonValue], room: int, path: str, depth: int, sizes: Sizes
) -> JsonValue:
    if not value:
        return value
    if len(value) > PAGE_ITEMS or depth > _DEEPEST or len(value) * 2 > room:
        return _marker(value, path, sizes)
    if _is_within(value, room) and not _has_long(value):
        return value
    share = room // len(value)
    is_narrow = share < _SMALLEST and depth > 0
    if is_narrow or (isinstance(value, dict) and sum(map(len, value)) > room):
        return _marker(value, path, sizes)
    share = max(share, _SMALLEST)
    if isinstance(value, list):
        return [cut(item, share, f"{path}/{at}", depth + 1, sizes) for at, item in enumerate(value)]
    return {
        key: cut(item, share, f"{path}/{escaped(key)}", depth + 1, sizes)
        for key, item in value.items()
    }


def _has_long(value: JsonObject | list[JsonValue]) -> bool:
    """Tell whether a text directly in a container is to be cut."""
    items = value.values() if isinstance(value, dict) else value
    return any(isinstance(item, str) and len(item) > _LONGEST_TEXT for item in items)


def _marker(value: JsonValue, path: str, sizes: Sizes) -> JsonValue:
    facts: JsonObject = {"path": path, **sizes.of(value)}
    if isinstance(value, str):
        facts |= {"kind": "string", "length": len(value), "head": value[:_HEAD]}
    elif isinstance(value, list):
        facts |= {"kind": "array", "length": len(value)}
    elif isinstance(value, dict):
        facts |= {"kind": "object", "length": len(value)}
    elif "at_least" in facts:
        facts |= {"kind": "number", "length": facts["bytes"]}
    else:
        text = encode_json(value)
        facts |= {"kind": "number", "length": len(text), "head": text[:_HEAD].decode()}
    return {CUT: facts}


def _find(value: JsonValue, pointer: str) -> tuple[bool, JsonValue]:
    if not pointer:
        return True, value
    if not pointer.startswith("/"):
        return False, None
    for step in pointer[1:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and _is_index(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return False, None
    return True, value


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < 10
