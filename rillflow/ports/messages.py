"""What actors send each other, one closed set for each kind of receiver.

Senders encode a message with ``encode_message``. Receivers decode it, and take it apart with
``match`` and ``assert_never``, so that mypy finds a kind that nobody handles. A message of no
known kind is a ``msgspec.ValidationError`` at its receiver, and so a ``DefectError`` at its
sender. How messages travel is the business of ``rillflow/actors``.

A message says how it is answered; each answer is bytes, empty where there is nothing to tell.
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
    """Take the answers of dispatches; answered with nothing once they are durable."""

    answers: list[DispatchAnswer]


class EndsQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What has ended for a watcher, besides what it has heard of? Answered with ``News``.

    The answer comes after ``timeout_s`` at the latest. ``life`` is the life of the owner that was
    told what is waited for; an owner in another one knows nothing of it and does not wait. None
    is who does not say.
    """

    watcher: str
    timeout_s: float
    heard: list[ExecutionId] = []
    life: str | None = None


class HealthQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What keeps the owner from taking requests? Answered with a list of ``Reason``."""


class Order(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Requests for one life of a dispatcher to make; answered with the life it is in.

    ``epoch`` tells the lives of a sender apart, and ``number`` the orders of one life.
    Both grow, so an order with smaller ones than the last is out of date.
    """

    sender: str
    epoch: int
    number: int
    life: bytes
    requests: list[DispatchRequest]


class CancelOrder(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Calls of a sender whose answers nobody would take, told to one life of a dispatcher.

    Answered with the life it is in.
    """

    sender: str
    life: bytes
    calls: list[tuple[str, str, int, int]]


class LifeQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Which life is the dispatcher in?"""


class HostsQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What goes on between the dispatcher and gateway hosts? Answered with ``HostState``s."""


class LoopQuestion(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """How long is the event loop of the process held? Answered with a ``LoopState``."""


OwnerMessage: TypeAlias = Calls | Answers | ViewPart | EndsQuestion | HealthQuestion
DispatcherMessage: TypeAlias = Order | CancelOrder | LifeQuestion | HostsQuestion

_encoder = msgspec.msgpack.Encoder()
_owner_decoder = msgspec.msgpack.Decoder(OwnerMessage | LoopQuestion)
_dispatcher_decoder = msgspec.msgpack.Decoder(DispatcherMessage | LoopQuestion)


def encode_message(message: OwnerMessage | DispatcherMessage | LoopQuestion) -> bytes:
    """Encode a message."""
    return _encoder.encode(message)


def decode_owner_message(data: bytes) -> OwnerMessage | LoopQuestion:
    """Decode a message to an owner of executions.

    Raises:
        msgspec.ValidationError: It is none.
    """
    message: OwnerMessage | LoopQuestion = _owner_decoder.decode(data)
    return message


def decode_dispatcher_message(data: bytes) -> DispatcherMessage | LoopQuestion:
    """Decode a message to a dispatcher.

    Raises:
        msgspec.ValidationError: It is none.
    """
    message: DispatcherMessage | LoopQuestion = _dispatcher_decoder.decode(data)
    return message
