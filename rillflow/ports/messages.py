"""The messages between actors: one closed set for each kind of receiver.

Senders encode a message with ``encode_message``. Receivers decode it, and handle it with ``match``
and ``assert_never``, so that mypy finds a kind without a handler. A message of an unknown kind is a
``msgspec.ValidationError`` at its receiver, and so a ``DefectError`` at its sender.
`rillflow/actors` transports messages, by sockets or Ray.

Each message documents its answer; an answer is bytes, empty if there is nothing to report.
"""

from typing import TypeAlias

import msgspec

from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, ViewPart
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest


class Calls(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Make calls to executions; answered with their replies once everything is durable."""

    calls: list[Call]


class Answers(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Deliver the answers of dispatches; answered with nothing once they are durable."""

    answers: list[DispatchAnswer]


class EndsQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query what has ended for a watcher, besides what it has heard. Answered with ``News``.

    The answer comes after ``timeout_s`` at the latest. ``life`` is the token of the owner process
    that has registered the watches; another process knows nothing of them and does not wait. None
    gives no token.
    """

    watcher: str
    timeout_s: float
    heard: list[ExecutionId] = []
    life: str | None = None


class HealthQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query what keeps the owner from being ready. Answered with a list of ``Reason``."""


class MapQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Which partition map does the owner have? Answered with its version and number of owners."""


class Order(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Requests for one process of a dispatcher; answered with the token of its process.

    ``epoch`` identifies the process of the sender, and ``number`` its order. Both grow, so an order
    with smaller ones than the last is outdated.
    """

    sender: str
    epoch: int
    number: int
    life: bytes
    requests: list[DispatchRequest]


class CancelOrder(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Calls of a sender whose answers would not be accepted, for one process of a dispatcher.

    Answered with the token of its process.
    """

    sender: str
    life: bytes
    calls: list[tuple[str, str, int, int]]


class LifeQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query the token of the dispatcher's process."""


class HostsQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query the state of the gateway hosts. Answered with ``HostState``s."""


class LoopQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query the measurements of the process's event loop. Answered with a ``LoopState``."""


OwnerMessage: TypeAlias = Calls | Answers | ViewPart | EndsQuestion | HealthQuestion | MapQuestion
DispatcherMessage: TypeAlias = Order | CancelOrder | LifeQuestion | HostsQuestion

_encoder = msgspec.msgpack.Encoder()
_owner_decoder = msgspec.msgpack.Decoder(OwnerMessage | LoopQuestion)
_map_decoder = msgspec.msgpack.Decoder(tuple[int, int])
_dispatcher_decoder = msgspec.msgpack.Decoder(DispatcherMessage | LoopQuestion)


def encode_message(message: OwnerMessage | DispatcherMessage | LoopQuestion) -> bytes:
    """Encode a message."""
    return _encoder.encode(message)


def decode_owner_message(data: bytes) -> OwnerMessage | LoopQuestion:
    """Decode a message to an owner of executions.

    Raises:
        msgspec.ValidationError: It is not one.
    """
    message: OwnerMessage | LoopQuestion = _owner_decoder.decode(data)
    return message


def decode_dispatcher_message(data: bytes) -> DispatcherMessage | LoopQuestion:
    """Decode a message to a dispatcher.

    Raises:
        msgspec.ValidationError: It is not one.
    """
    message: DispatcherMessage | LoopQuestion = _dispatcher_decoder.decode(data)
    return message


def encode_map(version: int, owners: int) -> bytes:
    """Encode the answer to a ``MapQuestion``."""
    return _encoder.encode((version, owners))


def decode_map(data: bytes) -> tuple[int, int]:
    """Decode the answer to a ``MapQuestion``."""
    return _map_decoder.decode(data)
