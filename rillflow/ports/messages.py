"""The messages between actors: one closed set for each kind of receiver.

Senders encode a message with ``encode_message``. Receivers decode it, and handle it with ``match``
and ``assert_never``, so that mypy finds a kind without a handler. A message of an unknown kind is a
``msgspec.ValidationError`` at its receiver, and so a ``DefectError`` at its sender.
`rillflow/actors` transports messages, by sockets or Ray.

Each message documents its answer; an answer is bytes, empty if there is nothing to report. A tag
stays when a class is renamed, so that actors of other releases understand the message.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from rillflow.ids import ExecutionId
from rillflow.ports.changes import AwaitChanges
from rillflow.ports.executions import Call, ViewPart
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.telemetry.minutes import Minute
from rillflow.telemetry.states import ProcessState


class Calls(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Make calls to executions; answered with their replies once everything is durable.

    A call for which much must be read first is answered with a ``NotReadyError`` at once, unless
    it ``waits``.
    """

    calls: list[Call]
    waits: bool = True


class Answers(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Deliver the answers of dispatches; answered with nothing once they are durable."""

    answers: list[DispatchAnswer]


class AwaitEnds(msgspec.Struct, frozen=True, tag="EndsQuestion", array_like=True):
    """Query what has ended for a watcher, besides what it has heard. Answered with ``News``.

    The answer comes after ``timeout_s`` at the latest. ``life`` is the token of the owner process
    that has registered the watches; another process knows nothing of them and does not wait. None
    gives no token.
    """

    watcher: str
    timeout_s: float
    heard: list[ExecutionId] = []
    life: str | None = None


class GetHealth(msgspec.Struct, frozen=True, tag="HealthQuestion", array_like=True):
    """Query what keeps the owner from being ready. Answered with a list of ``Reason``."""


class GetPartitionMap(msgspec.Struct, frozen=True, tag="MapQuestion", array_like=True):
    """Which partition map does the owner have? Answered with its version and number of owners."""


class Dispatches(msgspec.Struct, frozen=True, tag="Order", array_like=True):
    """Dispatches for one process of a dispatcher; answered with the token of its process.

    ``epoch`` identifies the process of the sender, and ``number`` counts its messages. Both grow,
    so a message with smaller ones than the last is outdated. ``suspects`` are those of its calls
    that were under way when a process of the dispatcher died, with how many have died so.
    """

    sender: str
    epoch: int
    number: int
    life: bytes
    requests: list[DispatchRequest]
    suspects: list[tuple[tuple[str, str, int, int], int]] = []


class CancelDispatches(msgspec.Struct, frozen=True, tag="CancelOrder", array_like=True):
    """Calls of a sender whose answers would not be accepted, for one process of a dispatcher.

    ``lost`` are those that an earlier process of the dispatcher has made, and that may go on
    without it. Answered with the token of its process.
    """

    sender: str
    life: bytes
    calls: list[tuple[str, str, int, int]]
    lost: list[tuple[str, str, int, int]] = []


class GetInheritedCalls(msgspec.Struct, frozen=True, tag="InheritedCalls", array_like=True):
    """Which calls that earlier processes of a sender have ordered are under way?

    Calls that this process of the sender has ordered again, or has checked, are left out.
    ``epoch`` identifies the process of the sender that asks, ``life`` the process of the dispatcher
    that it means. ``judged`` are those that the sender has checked since it last asked. Answered
    with a list of calls, which is empty when none is left.
    """

    sender: str
    epoch: int
    life: bytes
    judged: list[tuple[str, str, int, int]]


class BeginDelegation(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Calls will come that another dispatcher has delegated, by a sender of this name.

    The name has the process of that dispatcher behind a ``#``. What its earlier processes have
    ordered is ended and not answered. Answered with the token of the receiver's process.
    """

    sender: str


class GetProcessToken(msgspec.Struct, frozen=True, tag="LifeQuestion", array_like=True):
    """Query the token of the dispatcher's process."""


class GetGatewayHosts(msgspec.Struct, frozen=True, tag="HostsQuestion", array_like=True):
    """Query the state of the gateway hosts. Answered with ``HostState``s."""


class GetLoopState(msgspec.Struct, frozen=True, tag="LoopQuestion", array_like=True):
    """Query the measurements of the process's event loop. Answered with a ``LoopState``."""


class GetMeters(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query what a process has counted and measured. Answered with a list of ``ProcessState``s.

    A ``replica`` tells its own with it, which the first owner keeps for the other replicas. One
    that only tells does not ``ask``, and the list is empty. With the ``minutes`` that a replica
    keeps, it is answered with those that any replica has told, and with no ``ProcessState``s.
    """

    replica: ProcessState | None = None
    asks: bool = True
    minutes: list[Minute] | None = None


class GetNetworkAddress(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query where other nodes reach this process. Answered with a ``NetworkAddress`` or None.

    It is answered over Ray only, which asks for the token of the cluster: the answer has a key.
    """


class NetworkAddress(msgspec.Struct, frozen=True, array_like=True):
    """Where a process is reached over TCP, and the key by which it lets others in."""

    host: str
    port: int
    key: bytes

    def __repr__(self) -> str:
        """Leave the key out of logs."""
        return f"NetworkAddress({self.host}:{self.port})"


OwnerMessage: TypeAlias = (
    Calls | Answers | ViewPart | AwaitEnds | AwaitChanges | GetHealth | GetPartitionMap
)
DispatcherMessage: TypeAlias = (
    Dispatches
    | CancelDispatches
    | GetInheritedCalls
    | BeginDelegation
    | GetProcessToken
    | GetGatewayHosts
)
ToDispatcher: TypeAlias = DispatcherMessage | Answers | GetLoopState | GetMeters
"""What a dispatcher receives; ``Answers`` are those of calls that it has delegated."""

_encoder = msgspec.msgpack.Encoder()
_owner_decoder = msgspec.msgpack.Decoder(OwnerMessage | GetLoopState | GetMeters)
_calls_decoder = msgspec.msgpack.Decoder(list[tuple[str, str, int, int]])
_map_decoder = msgspec.msgpack.Decoder(tuple[int, int])
_address_decoder = msgspec.msgpack.Decoder(NetworkAddress | None)
_dispatcher_decoder = msgspec.msgpack.Decoder(ToDispatcher)


# Methods of the codecs, since every message passes them.
encode_message: Final[
    Callable[
        [OwnerMessage | DispatcherMessage | GetLoopState | GetMeters | GetNetworkAddress], bytes
    ]
] = _encoder.encode
"""Encode a message."""
decode_owner_message: Final[Callable[[bytes], OwnerMessage | GetLoopState | GetMeters]] = (
    _owner_decoder.decode
)
"""Decode a message to an owner of executions; what is none is a ``msgspec.ValidationError``."""
decode_dispatcher_message: Final[Callable[[bytes], ToDispatcher]] = _dispatcher_decoder.decode
"""Decode a message to a dispatcher; what is none is a ``msgspec.ValidationError``."""


def encode_calls(calls: list[tuple[str, str, int, int]]) -> bytes:
    """Encode the answer to a ``GetInheritedCalls``."""
    return _encoder.encode(calls)


def decode_calls(data: bytes) -> list[tuple[str, str, int, int]]:
    """Decode the answer to a ``GetInheritedCalls``."""
    return _calls_decoder.decode(data)


def encode_map(version: int, owners: int) -> bytes:
    """Encode the answer to a ``GetPartitionMap``."""
    return _encoder.encode((version, owners))


def decode_map(data: bytes) -> tuple[int, int]:
    """Decode the answer to a ``GetPartitionMap``."""
    return _map_decoder.decode(data)


def encode_network_address(address: NetworkAddress | None) -> bytes:
    """Encode the answer to a ``GetNetworkAddress``."""
    return _encoder.encode(address)


def decode_network_address(data: bytes) -> NetworkAddress | None:
    """Decode the answer to a ``GetNetworkAddress``."""
    address: NetworkAddress | None = _address_decoder.decode(data)
    return address
