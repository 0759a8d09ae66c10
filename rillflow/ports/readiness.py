"""Readiness: whether a stack can take requests, and the reasons if it cannot.

Used by `actors`, `ports`, `runtime` and `serve`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec


class Reason(msgspec.Struct, frozen=True, array_like=True):
    """A reason why a stack is not ready: a code for programs, a sentence for people.

    It is public, so it contains no places, names or causes, which are logged.
    """

    code: str
    message: str


STORE_REFUSES_WRITES: Final = Reason(
    "store_refuses_writes", "the store takes no writes; the log of the server says why"
)
STORE_UNREADABLE: Final = Reason(
    "store_unreadable", "the store cannot be read; the log of the server says why"
)

CALLBACKS_UNREACHABLE: Final = Reason(
    "callbacks_unreachable",
    "the address for callbacks does not answer, so results of asynchronous functions do not arrive;"
    " the log of the execution actors names it",
)
"""An owner tells this with what keeps it from being ready, which it does not."""

STORE_FULL: Final = Reason(
    "store_full",
    "the disk of the store has less free space than store_min_free_bytes: new executions are"
    " refused, those that run go on",
)
"""It does not keep a stack from being ready: callbacks must arrive, so that executions end."""

ARCHIVE_NOT_WRITTEN: Final = Reason(
    "archive_not_written",
    "the archive of ended executions cannot be written, so they stay in the store; the log of the"
    " execution actors says why",
)
"""An owner tells this as it tells ``CALLBACKS_UNREACHABLE``."""
TOLD_BY_OWNERS: Final = (CALLBACKS_UNREACHABLE, ARCHIVE_NOT_WRITTEN)
"""Warnings that only owners know of."""


class Readiness(Protocol):
    """The readiness of a stack; reading it is free, because it is checked in the background."""

    def start(self) -> None:
        """Start the checks."""
        ...

    async def stop(self) -> None:
        """Stop the checks."""
        ...

    def reasons(self) -> list[Reason]:
        """Return the reasons why the stack is not ready; empty if it is."""
        ...

    def warnings(self) -> list[Reason]:
        """Return what is wrong with the stack, and does not keep it from taking requests."""
        ...


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Reason])


def encode_reasons(reasons: Sequence[Reason]) -> bytes:
    """Encode reasons for another process."""
    return _encoder.encode(reasons)


def decode_reasons(data: bytes) -> list[Reason]:
    """Decode the reasons of another process."""
    return _decoder.decode(data)
