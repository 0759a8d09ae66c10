"""Whether a stack can take requests, and what keeps it from that."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec


class Reason(msgspec.Struct, frozen=True, array_like=True):
    """What keeps a stack from taking requests: a code for programs, a sentence for people.

    Anybody is told it, so it says nothing of places, names or causes, which are for the log.
    """

    code: str
    message: str


STORE_REFUSES_WRITES: Final = Reason(
    "store_refuses_writes", "the store takes no writes; the log of the server says why"
)
STORE_UNREADABLE: Final = Reason(
    "store_unreadable", "the store cannot be read; the log of the server says why"
)


class Readiness(Protocol):
    """What a stack knows of itself; asking costs nothing, as others find it out meanwhile."""

    def start(self) -> None:
        """Begin to find out."""
        ...

    async def stop(self) -> None:
        """Find out nothing more."""
        ...

    def reasons(self) -> list[Reason]:
        """Return what keeps the stack from taking requests; empty when it is ready."""
        ...


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Reason])


def encode_reasons(reasons: Sequence[Reason]) -> bytes:
    """Encode reasons for another process."""
    return _encoder.encode(reasons)


def decode_reasons(data: bytes) -> list[Reason]:
    """Decode the reasons of another process."""
    return _decoder.decode(data)
