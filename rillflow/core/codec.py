"""Bytes of the journal: records of events, and snapshots of the state.

A record is msgpack with the event's fields in order, so fields may be added at the
end only. A snapshot is JSON, because contexts may hold integers of any size. Both
begin with a format number.
"""

from typing import Final

import msgspec

from rillflow.core.events import Event
from rillflow.core.state import ExecutionState
from rillflow.errors import StoreError

FORMAT: Final = 1
_MARK: Final = bytes([FORMAT])

_event_encoder = msgspec.msgpack.Encoder()
_event_decoder = msgspec.msgpack.Decoder(Event)
_state_encoder = msgspec.json.Encoder()
_state_decoder = msgspec.json.Decoder(ExecutionState)


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
