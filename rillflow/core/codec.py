"""Encoding of journal records (events) and snapshots (states).

Owners, stores' archives and the replay tests call it. A record is msgpack with the event's fields
in order, so a new field may only be added at the end. A snapshot is JSON, because contexts may hold
integers of any size. Both begin with a format number.
"""

from collections.abc import Iterator
from copy import copy
from typing import Any, Final, TypeVar

import msgspec

from rillflow.core.events import Event
from rillflow.core.state import ExecutionState, GroupState, TaskState
from rillflow.errors import StoreError
from rillflow.jsontypes import encoded_parts

FORMAT: Final = 1
_MARK: Final = bytes([FORMAT])

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
_NO_FIELDS: Final = msgspec.Raw(b"{}")
Entry = TypeVar("Entry")


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


def encode_state(state: ExecutionState) -> bytes:
    """Encode the whole state of an execution as a snapshot."""
    return _MARK + _state_encoder.encode(state)


def pack_state(state: ExecutionState) -> bytes | None:
    """Serialise a small state for this process alone, where it is to be small and made quickly.

    None is a state that this form cannot hold: with integers of more than 64 bits, for example.
    """
    try:
        return _state_packer.encode(state)
    except (OverflowError, RecursionError, ValueError):
        return None


def unpack_state(packed: bytes) -> ExecutionState:
    """Make a state again of what ``pack_state`` has returned."""
    state: ExecutionState = _state_unpacker.decode(packed)
    return state


def encode_large_state(state: ExecutionState) -> bytes:
    """Encode a state as ``encode_state`` does, part by part.

    The encoder holds the interpreter lock until it returns. Called in a thread, this function
    encodes one task or one key of the context at a time, so that the event loop runs in between.
    """
    return b"".join(_parts_of(state))


def _parts_of(state: ExecutionState) -> Iterator[bytes]:
    rest = copy(state)
    rest.context, rest.tasks, rest.groups = {}, {}, {}
    yield _MARK + _state_encoder.encode(rest)[:-1] + b',"context":'
    yield from encoded_parts(state.context, 1)
    for name, entries in ((b"tasks", state.tasks), (b"groups", state.groups)):
        yield b',"%b":{' % name
        separator = b""
        for key, entry in entries.items():
            yield separator + _state_encoder.encode(key) + b":"
            yield _state_encoder.encode(entry)
            separator = b","
        yield b"}"
    yield b"}"


def decode_large_state(snapshot: bytes) -> ExecutionState:
    """Decode a snapshot as ``decode_state`` does, part by part, in a thread.

    Raises:
        StoreError: The snapshot is damaged or of a newer format.
    """
    _check_format(snapshot)
    try:
        fields = _fields_decoder.decode(memoryview(snapshot)[1:])
        large = {name: fields.pop(name, _NO_FIELDS) for name in ("context", "tasks", "groups")}
        state = _state_decoder.decode(_state_encoder.encode(fields))
        state.context = _entries(large["context"], _value_decoder)
        state.tasks = _entries(large["tasks"], _task_decoder)
        state.groups = _entries(large["groups"], _group_decoder)
    except msgspec.MsgspecError as error:
        raise StoreError(f"a snapshot cannot be read: {error}") from error
    return state


def _entries(text: msgspec.Raw, decoder: msgspec.json.Decoder[Entry]) -> dict[str, Entry]:
    return {key: decoder.decode(entry) for key, entry in _fields_decoder.decode(text).items()}


def decode_state(snapshot: bytes) -> ExecutionState:
    """Decode a snapshot.

    Raises:
        StoreError: The snapshot is damaged or of a newer format.
    """
    _check_format(snapshot)
    try:
        return _state_decoder.decode(snapshot[1:])
    except msgspec.MsgspecError as error:
        raise StoreError(f"a snapshot cannot be read: {error}") from error


def snapshot_text(snapshot: bytes) -> bytes:
    """Return the JSON text of a snapshot.

    Raises:
        StoreError: The snapshot is of a newer format.
    """
    _check_format(snapshot)
    return snapshot[1:]


def _check_format(data: bytes) -> None:
    if not data or data[0] != FORMAT:
        found = data[0] if data else "nothing"
        raise StoreError(f"journal format {found} is not {FORMAT}; this release cannot read it")
