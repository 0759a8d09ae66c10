"""Encoding of journal records (events) and snapshots (states).

Owners, stores' archives and the replay tests call it. A record is msgpack with the event's fields
in order, so a new field may only be added at the end. A snapshot is JSON, because contexts may hold
integers of any size. Both begin with a format number. A large snapshot of a state that has the same
values in several places has them apart (`shared_values.py`), in a format of its own.

Used by `core`, `runtime`, `stores`, `testing` and `transfer`.
"""

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, Final, TypeVar

import msgspec

from rillflow.core.encoding.shared_values import ApartState, Path, values_apart, values_restored
from rillflow.core.events import Event
from rillflow.core.state import ExecutionState, GroupState, TaskState
from rillflow.errors import StoreError
from rillflow.jsontypes import encoded_parts

MOST_CHECKED_BYTES: Final = 1 << 20
"""The values of what is longer are not decoded to check it."""
FORMAT: Final = 1
_MARK: Final = bytes([FORMAT])
APART_FORMAT: Final = 2
"""The format of a snapshot with its shared values apart."""
_APART_MARK: Final = bytes([APART_FORMAT])
_PACKED_APART_MARK: Final = b"\xc1"
"""No value of MessagePack begins with it."""

_event_encoder = msgspec.msgpack.Encoder()
_event_decoder = msgspec.msgpack.Decoder(Event)
_state_packer = msgspec.msgpack.Encoder()
_state_unpacker = msgspec.msgpack.Decoder(ExecutionState)
_state_encoder = msgspec.json.Encoder()
_state_decoder = msgspec.json.Decoder(ExecutionState)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_value_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_task_decoder = msgspec.json.Decoder(TaskState)
_group_decoder = msgspec.json.Decoder(GroupState)
_apart_packer = msgspec.msgpack.Encoder()
_apart_unpacker = msgspec.msgpack.Decoder(ApartState)
_form_of_event = msgspec.msgpack.Decoder(list[msgspec.Raw])
_NO_FIELDS: Final = msgspec.Raw(b"{}")
_UNREADABLE: Final = (msgspec.MsgspecError, LookupError, AttributeError, TypeError)
Entry = TypeVar("Entry")


class _ApartText(msgspec.Struct):
    """A snapshot in the format with shared values apart, its parts undecoded."""

    shared: list[msgspec.Raw]
    places: list[tuple[int, Path]]
    state: msgspec.Raw


_apart_decoder = msgspec.json.Decoder(_ApartText)


def encode_event(event: Event) -> bytes:
    """Encode an event as a journal record."""
    return _MARK + _event_encoder.encode(event)


def decode_event(record: bytes) -> Event:
    """Decode a journal record.

    Raises:
        StoreError: The record is damaged or of a newer format.
    """
    _check_format(record)
    try:
        event: Event = _event_decoder.decode(record[1:])
    except msgspec.MsgspecError as error:
        raise StoreError(f"a journal record cannot be read: {error}") from error
    return event


def check_event(record: bytes) -> None:
    """Check that a journal record from elsewhere can be read, within little memory.

    A value may take a byte of a record, and 80 of memory, so of a long record only the form is
    checked.

    Raises:
        StoreError: It is damaged or of a newer format.
    """
    if len(record) <= MOST_CHECKED_BYTES:
        decode_event(record)
        return
    _check_format(record)
    try:
        _form_of_event.decode(record[1:])
    except msgspec.MsgspecError as error:
        raise StoreError(f"a journal record cannot be read: {error}") from error


def encode_state(state: ExecutionState) -> bytes:
    """Encode the whole state of an execution as a snapshot."""
    return _MARK + _state_encoder.encode(state)


def pack_state(state: ExecutionState) -> bytes | None:
    """Serialise a small state for this process alone, where it is to be small and made quickly.

    None is a state that this form cannot hold: with integers of more than 64 bits, for example.
    """
    try:
        apart = values_apart(state)
        if apart is not None:
            return _PACKED_APART_MARK + _apart_packer.encode(apart)
        return _state_packer.encode(state)
    except (OverflowError, RecursionError, ValueError):
        return None


def unpack_state(packed: bytes) -> ExecutionState:
    """Make a state again of what ``pack_state`` has returned."""
    if packed.startswith(_PACKED_APART_MARK):
        return values_restored(_apart_unpacker.decode(packed[1:]))
    state: ExecutionState = _state_unpacker.decode(packed)
    return state


def encode_large_state(state: ExecutionState) -> bytes:
    """Encode a state part by part, and each large value that it shares once.

    The encoder holds the interpreter lock until it returns. Called in a thread, this function
    encodes one task or one key of the context at a time, so that the event loop runs in between.
    """
    apart = values_apart(state)
    return b"".join((_MARK, *_parts_of(state)) if apart is None else _parts_apart(apart))


def _parts_apart(apart: ApartState) -> Iterator[bytes]:
    yield _APART_MARK + b'{"shared":['
    separator = b"\t"
    for value in apart.shared:
        yield separator + _state_encoder.encode(value)
        separator = b",\t"
    yield b'\t],"places":' + _state_encoder.encode(apart.places) + b',"state":'
    yield from _parts_of(apart.state)
    yield b"}"


def _parts_of(state: ExecutionState) -> Iterator[bytes]:
    """Encode a state with a tab before each task and each group: see ``_between_tabs``."""
    rest = copy(state)
    rest.context, rest.tasks, rest.groups = {}, {}, {}
    yield _state_encoder.encode(rest)[:-1] + b',"context":'
    yield from encoded_parts(state.context)
    for name, entries in ((b"tasks", state.tasks), (b"groups", state.groups)):
        yield b',"%b":{' % name
        separator = b"\t"
        for key, entry in entries.items():
            yield separator + _state_encoder.encode(key) + b":"
            yield _state_encoder.encode(entry)
            separator = b",\t"
        yield b"\t}"
    yield b"}"


def decode_large_state(snapshot: bytes) -> ExecutionState:
    """Decode a snapshot as ``decode_state`` does, part by part, in a thread.

    Raises:
        StoreError: The snapshot is damaged or of a newer format.
    """
    if b"\t" in snapshot:
        try:
            return _decoded_by_tabs(
                _between_tabs(snapshot), is_apart=snapshot.startswith(_APART_MARK)
            )
        except (*_UNREADABLE, ValueError):
            pass  # What is wrong is told by whoever reads it as a whole.
    return _decoded(snapshot, _decoded_in_parts)


def _between_tabs(snapshot: bytes) -> Iterator[bytes]:
    """Yield the parts of a snapshot that was written part by part, with tabs in between.

    To pass over a text in search of its parts, the decoder holds the interpreter for a tenth of a
    second in 50 MB. No value has a tab in JSON, and an archive has an execution in a line.
    """
    start = 1
    while (end := snapshot.find(b"\t", start)) >= 0:
        yield snapshot[start:end]
        start = end + 1
    yield snapshot[start:]


def _decoded_by_tabs(parts: Iterator[bytes], *, is_apart: bool) -> ExecutionState:
    if not is_apart:
        return _with_entries(_decoded_in_parts(b"%b}}" % next(parts)), parts, b"}}")
    next(parts)
    shared: list[Any] = []
    while not (part := _next(parts)).startswith(b"]"):
        shared.append(_value_decoder.decode(part.removesuffix(b",")))
    rest = _apart_decoder.decode(b'{"shared":[%b}}}' % part)
    state = _with_entries(_decoded_in_parts(rest.state), parts, b"}}}")
    return values_restored(ApartState(state, shared, rest.places))


def _with_entries(state: ExecutionState, parts: Iterator[bytes], end: bytes) -> ExecutionState:
    state.tasks = dict(_entries_in(parts, _task_decoder, b'},"groups":{'))
    state.groups = dict(_entries_in(parts, _group_decoder, end))
    return state


def _entries_in(
    parts: Iterator[bytes], decoder: msgspec.json.Decoder[Entry], end: bytes
) -> Iterator[tuple[str, Entry]]:
    while (part := _next(parts)) != end:
        [(key, entry)] = _fields_decoder.decode(b"{%b}" % part.removesuffix(b",")).items()
        yield key, decoder.decode(entry)


def _next(parts: Iterator[bytes]) -> bytes:
    part = next(parts, None)
    if part is None:
        raise LookupError("the text has too few parts")
    return part


def _decoded_in_parts(text: memoryview | bytes | msgspec.Raw) -> ExecutionState:
    fields = _fields_decoder.decode(text)
    large = {name: fields.pop(name, _NO_FIELDS) for name in ("context", "tasks", "groups")}
    state = _state_decoder.decode(_state_encoder.encode(fields))
    state.context = _entries(large["context"], _value_decoder)
    state.tasks = _entries(large["tasks"], _task_decoder)
    state.groups = _entries(large["groups"], _group_decoder)
    return state


def _entries(text: msgspec.Raw, decoder: msgspec.json.Decoder[Entry]) -> dict[str, Entry]:
    return {key: decoder.decode(entry) for key, entry in _fields_decoder.decode(text).items()}


def decode_state(snapshot: bytes) -> ExecutionState:
    """Decode a snapshot.

    Raises:
        StoreError: The snapshot is damaged or of a newer format.
    """
    return _decoded(snapshot, _state_decoder.decode)


def check_state(snapshot: bytes) -> None:
    """Check a snapshot from elsewhere as ``check_event`` does a record.

    Raises:
        StoreError: It is damaged or of a newer format.
    """
    if len(snapshot) <= MOST_CHECKED_BYTES:
        decode_state(snapshot)
        return
    if not snapshot.startswith(_APART_MARK):
        _check_format(snapshot)
    try:
        _fields_decoder.decode(memoryview(snapshot)[1:])
    except msgspec.MsgspecError as error:
        raise StoreError(f"a snapshot cannot be read: {error}") from error


def _decoded(snapshot: bytes, decode: Callable[[memoryview], ExecutionState]) -> ExecutionState:
    is_apart = snapshot.startswith(_APART_MARK)
    if not is_apart:
        _check_format(snapshot)
    text = memoryview(snapshot)[1:]
    try:
        if not is_apart:
            return decode(text)
        parts = _apart_decoder.decode(text)
        shared = [_value_decoder.decode(value) for value in parts.shared]
        return values_restored(ApartState(decode(memoryview(parts.state)), shared, parts.places))
    except _UNREADABLE as error:
        raise StoreError(f"a snapshot cannot be read: {error}") from error


def snapshot_text(snapshot: bytes) -> bytes:
    """Return the JSON text of the state of a snapshot, with every value in its place.

    Raises:
        StoreError: The snapshot is damaged or of a newer format.
    """
    return b"".join(snapshot_parts(snapshot))


def snapshot_parts(snapshot: bytes) -> Iterator[bytes | memoryview]:
    """Yield the text that ``snapshot_text`` returns in parts, one in memory at a time; in a thread.

    Raises:
        StoreError: The snapshot is damaged or of a newer format.
    """
    if snapshot.startswith(_APART_MARK):
        yield from _parts_of(decode_large_state(snapshot))
        return
    _check_format(snapshot)
    yield memoryview(snapshot)[1:]


def _check_format(data: bytes) -> None:
    if not data or data[0] != FORMAT:
        found = data[0] if data else "nothing"
        raise StoreError(
            f"journal format {found} is not {FORMAT}; this release cannot read it: run the release"
            " that wrote it, or a later one"
        )
