"""The changes of executions as an owner tells them, and the question for them.

`runtime/changes` asks and answers; `messages.py` has the question among the messages to owners.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from rillflow.ids import ExecutionId


class AwaitChanges(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query what has changed after a position. Answered with ``Changes``, within ``timeout_s``.

    ``life`` is the token of the process that told the position. Without one, or with that of
    another process, the answer comes at once and has the present position only.
    """

    after: int
    life: str
    timeout_s: float


class Change(msgspec.Struct, frozen=True, array_like=True):
    """An execution that has changed: the number of its last event, and its status in listings."""

    execution_id: ExecutionId
    seq: int
    status: str
    is_new: bool = False


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """Changes after a position, each execution once. With ``lost`` some are missing."""

    life: str
    position: int
    changes: Sequence[Change] = ()
    lost: bool = False


class ChangeSource(Protocol):
    """The owners of a stack, as sources of changes; they are numbered from 0."""

    @property
    def owner_count(self) -> int:
        """The number of owners of partitions."""
        ...

    async def changes(self, owner: int, asked: AwaitChanges) -> Changes:
        """Ask one owner for changes.

        Raises:
            RillflowError: It could not be reached.
        """
        ...


_decoder = msgspec.msgpack.Decoder(Changes)


def encode_changes(changes: Changes) -> bytes:
    """Encode the answer to an ``AwaitChanges``."""
    return msgspec.msgpack.encode(changes)


def decode_changes(data: bytes) -> Changes:
    """Decode the answer to an ``AwaitChanges``."""
    return _decoder.decode(data)
