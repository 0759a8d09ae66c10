"""Payloads: large values, stored once per execution by their SHA-256, apart from its records.

Pure, and the same for every adapter. A record or snapshot longer than the limit (64 KB by default)
is cut at the bytes of its large JSON values: a value is taken out if it is longer than the limit
and no value within it is. So a function's output is cut at the same places in the event that brings
it, in the context, in the next task's input and in the snapshot, and all of these share one
payload. What remains are pieces of the original bytes with references between them; joining
restores the same bytes, whatever the values are.

Used by `stores/memory`, `stores/sqlite` and `stores/postgres`.
"""

import asyncio
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

import msgspec

from rillflow.errors import DamagedError, LargeExecutionError
from rillflow.ids import ExecutionId
from rillflow.jsontypes import count_of_values, decode_json
from rillflow.ports.storage.store import Append, StoredExecution
from rillflow.stores.append_plan import PIECES_MARK, Payloads, SlimAppend, are_small

LARGE_VALUE_BYTES: Final = 64 * 1024
"""Length in bytes above which a value is stored apart, by default."""

_AT_ONCE_BYTES: Final = 1 << 20
_DEEPEST: Final = 32
_MOST_VALUES: Final = 2_000_000
_MOST_RESPELLED: Final = 20_000
"""A value that contains more values is stored in its own spelling, not decoded and re-encoded."""
_MOST_RESPELLED_BYTES: Final = 1 << 20
"""What follows so many bytes of an append is stored as it is, too: the owner's loop waits."""
_END: Final = 64
_TRIES: Final = 8


class _Reference(msgspec.Struct, frozen=True, array_like=True):
    """The position of a value; ``spelling`` says how its bytes are made from the payload's."""

    sha256: bytes
    spelling: int = 0


_Piece: TypeAlias = bytes | _Reference
_Known: TypeAlias = dict[tuple[int, bytes, bytes], tuple[bytes, _Reference, bytes]]
"""Values by length and ends, with the references to their payloads."""


_BAD_JSON: Final = (ValueError, RecursionError)
_SPELLINGS: Final[Sequence[Callable[[object], bytes]]] = (
    msgspec.json.encode,
    # The spelling of functions in Python: a blank after each comma, and often text as \uXXXX.
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, ensure_ascii=False).encode(),
)

_EMPTY: Final = {b'"': b'""', b"{": b"{}", b"[": b"[]"}
"""The empty value of a kind, by the first byte of one."""

_OTHERWISE_SPELLED: Final = (b", ", b": ", b"\\u")
"""What occurs in each spelling but the first, except in texts that are the same in all."""

_pieces_encoder = msgspec.msgpack.Encoder()
_pieces_decoder = msgspec.msgpack.Decoder(list[_Piece])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def slimmed(appends: Sequence[Append], limit: int) -> Sequence[Append]:
    """Take the values above a limit, in bytes, out of appends."""
    if are_small(appends, limit):
        return appends
    return [each if are_small((each,), limit) else _slim(each, limit) for each in appends]


async def slimmed_beside(appends: Sequence[Append], limit: int) -> Sequence[Append]:
    """Do the same; for a large snapshot without records in a thread.

    Appends with records keep their order, so they do not wait.
    """
    if any(each.records or len(each.snapshot or b"") <= _AT_ONCE_BYTES for each in appends):
        return slimmed(appends, limit)
    return await asyncio.to_thread(slimmed, appends, limit)


def references(stored: StoredExecution) -> Counter[bytes]:
    """Return the hashes of the values that an execution has stored apart, and how often each."""
    return Counter(_references_in((*stored.records, stored.snapshot or b"")))


def references_in(texts: Iterable[bytes]) -> set[bytes]:
    """Return the hashes of the values that records, or a snapshot, refer to."""
    return set(_references_in(texts))


def _references_in(texts: Iterable[bytes]) -> Iterator[bytes]:
    return (
        piece.sha256
        for text in texts
        if text.startswith(PIECES_MARK)
        for piece in _pieces_decoder.decode(text[1:])
        if isinstance(piece, _Reference)
    )


class CutAhead:
    """The large values of texts, found before the texts are appended: in a thread, perhaps.

    It takes as long as decoding a text does, several times for one that is deeply nested. The
    appends that are made within this context find it done.
    """

    def __init__(self, texts: Iterable[bytes], limit: int) -> None:
        """Find the values of more bytes than the ``limit``."""
        self._found = {_ends(text): _Found(text, limit) for each in texts if (text := each.strip())}

    def __enter__(self) -> None:
        _found_ahead.update(self._found)

    def __exit__(self, *_: object) -> None:
        for key in self._found:
            _found_ahead.pop(key, None)


class _Found:
    """The large values of one text, and their references."""

    __slots__ = ("known", "limit", "text", "values")

    def __init__(self, text: bytes, limit: int) -> None:
        cutter = _Cutter(limit)
        self.text, self.limit = text, limit
        self.values = tuple(cutter.in_json(text))
        self.known = cutter.known(self.values)


_found_ahead: dict[tuple[int, bytes, bytes], _Found] = {}


class ReadLimit:
    """Counts the bytes of an execution while it is read."""

    def __init__(self, execution_id: ExecutionId, most_bytes: int | None) -> None:
        self.most_bytes = sys.maxsize if most_bytes is None else most_bytes
        self.left_bytes = self.most_bytes
        self._execution_id = execution_id

    def count(self, size_bytes: int) -> None:
        """Count bytes that are read, or that will be.

        Raises:
            LargeExecutionError: They are too many.
        """
        self.left_bytes -= size_bytes
        if self.left_bytes < 0:
            raise LargeExecutionError(f"{self._execution_id} has more than {self.most_bytes} bytes")

    def counted(self, text: bytes) -> bytes:
        """Count a text, and return it."""
        self.count(len(text))
        return text


def joined(stored: StoredExecution, payloads: Mapping[bytes, bytes]) -> StoredExecution:
    """Put the values of an execution back into their positions.

    Raises:
        DamagedError: A value is missing.
    """
    records = joined_records(stored.execution_id, stored.records, payloads)
    snapshot = stored.snapshot
    if snapshot is not None:
        [snapshot] = joined_records(stored.execution_id, (snapshot,), payloads)
    return msgspec.structs.replace(stored, records=tuple(records), snapshot=snapshot)


def joined_one_by_one(
    stored: StoredExecution, payloads: Mapping[bytes, bytes], most_record_bytes: int
) -> Iterator[bytes]:
    """Yield the snapshot, if there is one, and then each record, for checks that keep none of them.

    A few bytes may refer to a large value many times. In the snapshot, which is JSON, each value is
    in one of its positions, and an empty one of its kind in the others.

    Raises:
        DamagedError: A value is missing, or a record would have more than ``most_record_bytes``.
    """
    with _missing_told(stored.execution_id):
        if stored.snapshot is not None:
            yield _with_each_value_once(stored.snapshot, payloads)
        for record in stored.records:
            if _joined_bytes(record, payloads) > most_record_bytes:
                raise DamagedError(
                    f"{stored.execution_id}: a record has more than {most_record_bytes:,} bytes"
                )
            yield _joined(record, payloads)


def _with_each_value_once(data: bytes, payloads: Mapping[bytes, bytes]) -> bytes:
    seen: dict[_Reference, bytes] = {}

    def once(reference: _Reference) -> bytes:
        if reference in seen:
            return seen[reference]
        value = _respelled(payloads[reference.sha256], reference.spelling)
        seen[reference] = _EMPTY.get(value.lstrip()[:1], b"0")
        return value

    return _put_together(data, once)


def _joined_bytes(data: bytes, payloads: Mapping[bytes, bytes]) -> int:
    if not data.startswith(PIECES_MARK):
        return len(data)
    return sum(
        len(piece if isinstance(piece, bytes) else payloads[piece.sha256])
        for piece in _pieces_decoder.decode(data[1:])
    )


def joined_records(
    execution_id: ExecutionId, records: Iterable[bytes], payloads: Mapping[bytes, bytes]
) -> list[bytes]:
    """Put the values of records of an execution back into their positions.

    Raises:
        DamagedError: A value is missing.
    """
    with _missing_told(execution_id):
        return [_joined(record, payloads) for record in records]


@contextmanager
def _missing_told(execution_id: ExecutionId) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise DamagedError(
            f"{execution_id}: the large value with SHA-256 {error.args[0].hex()} is missing "
            "in the table payloads; restore that row from a backup"
        ) from error


def _slim(append: Append, limit: int) -> SlimAppend:
    of_records: Payloads = {}
    of_snapshot: Payloads = {}
    cutter = _Cutter(limit)
    facts = {name: getattr(append, name) for name in Append.__struct_fields__}
    facts["records"] = tuple(cutter.cut_record(each, of_records) for each in append.records)
    if append.snapshot is not None:
        facts["snapshot"] = cutter.cut_snapshot(append.snapshot, of_snapshot)
    return SlimAppend(**facts, of_records=of_records, of_snapshot=of_snapshot)


class _Cutter:
    """Cuts the parts of one execution, and remembers the values that it has seen."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # By length and ends: comparing bytes is cheaper than hashing or parsing them.
        self._known: _Known = {}
        self._left_bytes = _MOST_RESPELLED_BYTES

    def known(self, values: Iterable[bytes]) -> _Known:
        """Return the references of values, and what is remembered besides."""
        for value in values:
            self._reference(value, is_ours=False)
        return self._known

    def cut_record(self, record: bytes, payloads: Payloads) -> bytes:
        """Return a record without the values that are moved to ``payloads``."""
        if len(record) <= self._limit:
            return _wrapped(record)
        try:
            fields = msgspec.msgpack.decode(record[1:])
        except _BAD_JSON:
            return self._cut(record, (record,), payloads)
        return self._cut(record, self._in_fields(fields), payloads)

    def cut_snapshot(self, snapshot: bytes, payloads: Payloads) -> bytes:
        """Return a snapshot without the values that are moved to ``payloads``."""
        if len(snapshot) <= self._limit:
            return _wrapped(snapshot)
        return self._cut(snapshot, self._in_text(snapshot[1:]), payloads, is_ours=True)

    def _cut(
        self, data: bytes, values: Iterable[bytes], payloads: Payloads, *, is_ours: bool = False
    ) -> bytes:
        """Cut values out of data; ``is_ours`` says that their text is in our encoder's spelling."""
        pieces: list[_Piece] = []
        end = 0
        for value in values:
            start = _find(data, value, end)
            if start >= 0:
                reference, payload = self._reference(value, is_ours=is_ours)
                payloads[reference.sha256] = payload
                pieces += (data[end:start], reference)
                end = start + len(value)
        return (
            PIECES_MARK + _pieces_encoder.encode([*pieces, data[end:]])
            if pieces
            else _wrapped(data)
        )

    def _reference(self, value: bytes, *, is_ours: bool) -> tuple[_Reference, bytes]:
        key = _ends(value)
        known = self._known.get(key)
        if known is None or known[0] != value:
            spelling, payload = (0, value) if is_ours else self._spelled(value)
            reference = _Reference(hashlib.sha256(payload).digest(), spelling)
            known = self._known[key] = (value, reference, payload)
        return known[1], known[2]

    def _spelled(self, value: bytes) -> tuple[int, bytes]:
        if len(value) > self._left_bytes:
            return 0, value
        self._left_bytes -= len(value)
        return _spelled(value)

    def _in_fields(self, field: object) -> Iterator[bytes]:
        """Yield the large values of an event in order: its JSON texts, or parts of them."""
        if isinstance(field, list):
            for each in field:
                yield from self._in_fields(each)
        elif isinstance(field, str) and len(text := field.encode()) > self._limit:
            yield text
        elif isinstance(field, bytes) and len(field) > self._limit:
            yield from self._in_text(field.strip() or field)

    def _in_text(self, text: bytes) -> Iterator[bytes]:
        """Yield the large values of a JSON text, which may be known already."""
        found = _found_ahead.get(_ends(text)) if _found_ahead else None
        if found is None or found.limit != self._limit or found.text != text:
            yield from self.in_json(text)
        else:
            self._known.update(found.known)
            yield from found.values

    def in_json(self, text: bytes | msgspec.Raw, depth: int = 0) -> Iterator[bytes]:
        """Yield the smallest large values of a large JSON text, itself if it contains no other."""
        known = self._known.get(_ends(text))
        if known is not None and known[0] == bytes(text):
            yield known[0]
            return
        children = _children(text) if depth < _DEEPEST else ()
        large = [each for each in children if len(each) > self._limit]
        if not large:
            yield bytes(text)
        for each in large:
            yield from self.in_json(each, depth + 1)


def _wrapped(data: bytes) -> bytes:
    """Return bytes without references, so that they are not taken for pieces."""
    return PIECES_MARK + _pieces_encoder.encode([data]) if data.startswith(PIECES_MARK) else data


def _ends(text: bytes | msgspec.Raw) -> tuple[int, bytes, bytes]:
    view = memoryview(text)
    return len(view), bytes(view[:_END]), bytes(view[-_END:])


def _find(data: bytes, value: bytes, start: int) -> int:
    """Find a long value; ``bytes.find`` would preprocess all of it first."""
    head = value[:_END]
    at = start - 1
    for _ in range(_TRIES):
        at = data.find(head, at + 1)
        if at < 0 or data.startswith(value, at):
            return at
    return data.find(value, at + 1)


def _children(text: bytes | msgspec.Raw) -> Sequence[msgspec.Raw]:
    """Return the values in an array or object; none if it is not JSON, or has too many values."""
    view = memoryview(text)
    first = bytes(view[:1])
    if len(view) > 2 * _MOST_VALUES and bytes(view).count(b",") > _MOST_VALUES:
        return ()
    try:
        if first == b"{":
            return list(_object_decoder.decode(text).values())
        if first == b"[":
            return _array_decoder.decode(text)
    except _BAD_JSON:
        pass
    return ()


def _spelled(value: bytes) -> tuple[int, bytes]:
    """Return the spelling of a value, and the text that represents it in all spellings.

    A value in an unknown spelling represents itself.
    """
    if value[:1] == b'"' and b"\\" not in value:
        return 0, value
    if not any(mark in value for mark in _OTHERWISE_SPELLED):
        return 0, value
    if count_of_values(value, _MOST_RESPELLED) > _MOST_RESPELLED:
        return 0, value
    try:
        found = decode_json(value)
        payload = msgspec.json.encode(found)
        if payload == value:
            return 0, payload
        for number, spell in enumerate(_SPELLINGS[1:], start=1):
            if spell(found) == value:
                return number, payload
    except _BAD_JSON:
        pass
    return 0, value


def _respelled(payload: bytes, spelling: int) -> bytes:
    return payload if spelling == 0 else _SPELLINGS[spelling](decode_json(payload))


def _joined(data: bytes, payloads: Mapping[bytes, bytes]) -> bytes:
    return _put_together(data, lambda piece: _respelled(payloads[piece.sha256], piece.spelling))


def _put_together(data: bytes, value_of: Callable[[_Reference], bytes]) -> bytes:
    if not data.startswith(PIECES_MARK):
        return data
    return b"".join(
        piece if isinstance(piece, bytes) else value_of(piece)
        for piece in _pieces_decoder.decode(data[1:])
    )
