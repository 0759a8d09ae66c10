"""The measurements of a stack's event loops, for operators.

Used by `actors`, `runtime` and `serve`.
"""

from typing import Final, Protocol

import msgspec

LEAVES: Final = 2.0
"""How busy a process says that it is which is about to end, and takes no work of others."""


class LoopState(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one event loop; times are milliseconds.

    ``longest_ms`` is the longest turn since the start and ``longest_of_minute_ms`` that of the last
    minute, each too short by up to 20 ms. ``slow_turns`` counts those over the limit.
    ``is_reached`` is False for a process that did not answer in time. ``busy`` is the part of one
    processor that the thread of the loop has used lately, from 0 to 1.
    """

    process: str
    pid: int = 0
    longest_ms: float = 0.0
    longest_of_minute_ms: float = 0.0
    slow_turns: int = 0
    is_reached: bool = True
    busy: float = 0.0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LoopState)


def encode_loop(state: LoopState) -> bytes:
    """Encode a state for another process."""
    return _encoder.encode(state)


def decode_loop(data: bytes) -> LoopState:
    """Decode the state of another process."""
    return _decoder.decode(data)


class EventLoops(Protocol):
    """The event loops of the actors of a stack."""

    async def states(self) -> list[LoopState]:
        """Return the state of each."""
        ...
