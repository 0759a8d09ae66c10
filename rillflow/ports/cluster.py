"""What the actors of a stack report about themselves, and what their controller reports about them.

Used by `actors`, `runtime` and `runtime/supervision`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from rillflow.ids import ExecutionId
from rillflow.ports.deployment import PROTOCOL, UNSAID, Deployment, protocol_of
from rillflow.ports.readiness import Reason


class ActorReport(msgspec.Struct, frozen=True, kw_only=True):
    """One actor. ``life`` tells its process from those before it.

    ``deployment`` is what it was started with, None while that is not known, and ``code_version``
    the code that it runs, which is another one where a node has other files. ``epoch`` is the
    newest under which an owner owns its ``partitions``. ``hot`` are executions in memory that have
    not ended, and ``calls`` those under way at functions.
    """

    name: str
    node: str
    pid: int
    life: str
    is_ready: bool
    deployment: Deployment | None = None
    code_version: str = ""
    execution_id: ExecutionId | None = None
    partitions: int = 0
    epoch: int = 0
    hot: int = 0
    calls: int = 0


def protocol_of_report(report: ActorReport) -> int:
    """Return the protocol of an actor; one that does not know its code yet speaks the earliest."""
    deployed = report.deployment.code_version if report.deployment is not None else ""
    return protocol_of(report.code_version or deployed)


class ActorDescription(msgspec.Struct, frozen=True, kw_only=True):
    """An actor with what it does, as one release tells it another: what one does not know is lost.

    ``protocol`` is that of its process. ``queue`` counts the messages that it is at, or that wait,
    and ``append_ms`` is how long an append to the store takes, on average of the latest ones.
    ``unreachable`` is the address for callbacks while it does not answer, and ``is_reached`` is
    whether it has answered; until then nobody knows.
    """

    report: ActorReport
    protocol: int = UNSAID
    queue: int = 0
    append_ms: float = 0.0
    unreachable: str = ""
    is_reached: bool = False


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(ActorDescription)


def encode_description(
    report: ActorReport,
    *,
    queue: int = 0,
    append_ms: float = 0.0,
    unreachable: str = "",
    is_reached: bool = False,
) -> bytes:
    """Encode the description of an actor of this release."""
    described = ActorDescription(
        report=report,
        protocol=PROTOCOL,
        queue=queue,
        append_ms=round(append_ms, 3),
        unreachable=unreachable,
        is_reached=is_reached,
    )
    return _encoder.encode(described)


def decode_description(data: bytes) -> ActorDescription:
    """Decode the description of an actor.

    Raises:
        msgspec.ValidationError: It is none.
    """
    return _decoder.decode(data)


class ControllerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the controller wants, and what keeps the actors from being that.

    ``reasons`` is empty once they are; anybody may read them. ``causes`` are the texts of errors
    behind them, for operators, and ``warnings`` what Ray was started without. ``restarts`` counts,
    by the name of an actor, the processes that ended without the controller having ended them,
    since the controller began; ``fencings`` those that ended because another owner had taken their
    partitions.
    """

    node: str
    pid: int
    wanted: Deployment
    reasons: list[Reason]
    steps: int
    restarts: dict[str, int]
    fencings: dict[str, int] = {}
    causes: list[str] = []
    warnings: list[str] = []


class ClusterState(msgspec.Struct, frozen=True, kw_only=True):
    """A whole deployment; ``controller`` is None where there is none, or it does not answer.

    ``is_controlled`` is whether a controller should look after it.
    ``silent`` are the names of actors that there are, or should be, and that do not answer.
    ``descriptions`` has what actors tell besides, by name, and ``addresses`` the address of each
    node. ``holders`` names the actor that holds each execution that was asked for. ``unfinished``
    counts the executions in the store that have not ended, and ``stored`` those of the partitions
    of each execution actor, by its name; it is empty where there are too many to be counted so.
    """

    wanted: Deployment | None
    controller: ControllerReport | None
    actors: list[ActorReport]
    silent: list[str]
    is_controlled: bool = False
    descriptions: dict[str, ActorDescription] = {}
    addresses: dict[str, str] = {}
    holders: dict[ExecutionId, str] = {}
    unfinished: int | None = None
    stored: dict[str, int] = {}


class Cluster(Protocol):
    """The actors of a stack, as operators look at them."""

    async def state(self, executions: Sequence[ExecutionId] = ()) -> ClusterState:
        """Return what runs; an actor that does not answer in time is told as silent.

        Of each of the ``executions`` it is told which actor holds it.
        """
        ...
