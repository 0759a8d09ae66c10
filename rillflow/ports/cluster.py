"""What the actors of a stack report about themselves, and what their controller reports about them.

Used by `actors`, `runtime` and `runtime/supervision`.
"""

from typing import Protocol

import msgspec

from rillflow.ids import ExecutionId
from rillflow.ports.deployment import Deployment
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
    """

    wanted: Deployment | None
    controller: ControllerReport | None
    actors: list[ActorReport]
    silent: list[str]
    is_controlled: bool = False


class Cluster(Protocol):
    """The actors of a stack, as operators look at them."""

    async def state(self) -> ClusterState:
        """Return what runs; an actor that does not answer in time is told as silent."""
        ...
