"""Large values apart from the records and snapshots that contain them, each stored once.

Pure, and the same for every adapter. What is longer than the limit is cut at the bytes of
its large JSON values: a value is taken out when it is longer than the limit and no value
within it is. So a function's output is cut at the same places in the event that brings it,
in the context, in the next task's input and in the snapshot, and all of these share one
payload. What is left are pieces of the original bytes with references between them; joined
again they are the same bytes, whatever the values say.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from rillflow.errors import DamagedError
from rillflow.ports.store import Append, StoredExecution

LARGE_VALUE_BYTES: Final = 64 * 1024
"""Length above which a value is stored apart, unless a setting says otherwise."""

_MARK: Final = b"\xfe"
"""First byte of pieces. The format numbers of the journal begin at the other end."""
_DEEPEST: Final = 32
_MOST_CHILDREN: Final = 1_000_000

Payloads: TypeAlias = dict[bytes, bytes]
"""Values by their SHA-256."""


class _Reference(msgspec.Struct, frozen=True, array_like=True):
    """Where a value belongs; ``spelling`` says how its bytes are made from the payload's."""

    sha256: bytes
    spelling: int = 0


_Piece: TypeAlias = bytes | _Reference


class SlimAppend(Append, frozen=True, kw_only=True):
    """An append without its large values, which stand beside it by where they were."""

    of_records: Payloads
    of_snapshot: Payloads


_BAD_JSON: Final = (ValueError, RecursionError)
_SPELLINGS: Final[Sequence[Callable[[object], bytes]]] = (
    msgspec.json.encode,
    # What functions in Python answer: a blank after each comma, and text often as \uXXXX.
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, ensure_ascii=False).encode(),
)

_pieces_encoder = msgspec.msgpack.Encoder()
_pieces_decoder = msgspec.msgpack.Decoder(list[_Piece])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def slimmed(appends: Sequence[Append], limit: int) -> list[Append]:
    """Take the values out of appends that are longer than a limit, in bytes."""
    return [each if _is_small(each, limit) else _slim(each, limit) for each in appends]


def references(stored: StoredExecution) -> set[bytes]:
    """Return the hashes of the values that an execution has apart."""
    texts = (*stored.records, stored.snapshot or b"")
    return {
        piece.sha256
        for text in texts
        if text.startswith(_MARK)
        for piece in _pieces_decoder.decode(text[1:])
        if isinstance(piece, _Reference)
    }


def joined(stored: StoredExecution, payloads: Mapping[bytes, bytes]) -> StoredExecution:
    """Put the values of an execution back where they belong.

    Raises:
        DamagedError: A value is missing.
    """
    try:
        return msgspec.structs.replace(
            stored,
            records=tuple(_joined(record, payloads) for record in stored.records),
            snapshot=None if stored.snapshot is None else _joined(stored.snapshot, payloads),
        )
    except KeyError as error:
        raise DamagedError(
            f"{stored.execution_id}: the large value with SHA-256 {error.args[0].hex()} is missing "
            "in the table payloads; restore that row from a backup"
        ) from error


def _is_small(append: Append, limit: int) -> bool:
    for record in append.records:
        if len(record) > limit or record.startswith(_MARK):
            return False
    snapshot = append.snapshot
    return snapshot is None or (len(snapshot) <= limit and not snapshot.startswith(_MARK))


def _slim(append: Append, limit: int) -> SlimAppend:
    of_records: Payloads = {}
    of_snapshot: Payloads = {}
    records = (_cut(each, _in_record, limit, of_records) for each in append.records)
    snapshot = append.snapshot
    facts = {name: getattr(append, name) for name in Append.__struct_fields__}
    facts["records"] = tuple(records)
    if snapshot is not None:
        facts["snapshot"] = _cut(snapshot, _in_snapshot, limit, of_snapshot)
    return SlimAppend(**facts, of_records=of_records, of_snapshot=of_snapshot)


def _cut(
    data: bytes,
    values_in: Callable[[bytes, int], Iterator[bytes]],
    limit: int,
    payloads: Payloads,
) -> bytes:
    """Return data, or its pieces when something was taken out of it."""
    if len(data) <= limit and not data.startswith(_MARK):
        return data
    pieces: list[_Piece] = []
    end = 0
    for value in values_in(data, limit) if len(data) > limit else ():
        start = data.find(value, end)
        if start >= 0:
            spelling, payload = _spelled(value)
            sha256 = hashlib.sha256(payload).digest()
            payloads[sha256] = payload
            pieces += (data[end:start], _Reference(sha256, spelling))
            end = start + len(value)
    if not pieces and not data.startswith(_MARK):
        return data
    return _MARK + _pieces_encoder.encode([*pieces, data[end:]])


def _joined(data: bytes, payloads: Mapping[bytes, bytes]) -> bytes:
    if not data.startswith(_MARK):
        return data
    return b"".join(
        piece if isinstance(piece, bytes) else _respelled(payloads[piece.sha256], piece.spelling)
        for piece in _pieces_decoder.decode(data[1:])
    )


def _in_record(record: bytes, limit: int) -> Iterator[bytes]:
    """Yield the large values of an event in their order: its JSON texts, or parts of them."""
    try:
        fields = msgspec.msgpack.decode(record[1:])
    except _BAD_JSON:
        return iter((record,))
    return _in_fields(fields, limit)


def _in_fields(field: object, limit: int) -> Iterator[bytes]:
    if isinstance(field, list):
        for each in field:
            yield from _in_fields(each, limit)
    elif isinstance(field, str) and len(text := field.encode()) > limit:
        yield text
    elif isinstance(field, bytes) and len(field) > limit:
        yield from _in_json(field, limit)


def _in_snapshot(snapshot: bytes, limit: int) -> Iterator[bytes]:
    return _in_json(snapshot[1:], limit)


def _in_json(text: bytes | msgspec.Raw, limit: int, depth: int = 0) -> Iterator[bytes]:
    """Yield the smallest large values of a large JSON text, itself when it has no other."""
    large = [each for each in _children(bytes(text)) if len(memoryview(each)) > limit]
    if not large or depth == _DEEPEST:
        whole = bytes(text)
        yield whole.strip() or whole
    else:
        for each in large:
            yield from _in_json(each, limit, depth + 1)


def _children(text: bytes) -> Sequence[msgspec.Raw]:
    """Return the values in an array or object; none of what is not JSON, or too much of it."""
    first = text.lstrip()[:1]
    try:
        if first == b"{" and text.count(b'":') <= _MOST_CHILDREN:
            return list(_object_decoder.decode(text).values())
        if first == b"[" and text.count(b",") <= _MOST_CHILDREN:
            return _array_decoder.decode(text)
    except _BAD_JSON:
        pass
    return ()


def _spelled(value: bytes) -> tuple[int, bytes]:
    """Return the text that stands for all spellings of a value, and which one this is.

    A spelling that is not known stands for itself.
    """
    try:
        found = msgspec.json.decode(value)
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
    return payload if spelling == 0 else _SPELLINGS[spelling](msgspec.json.decode(payload))
