"""The names of the actors; every process computes the owner of an execution from its id alone.

Used by `actors`.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from rillflow.ids import PARTITIONS, ExecutionId, partition_of
from rillflow.runtime.supervision.convergence import DEDICATED, DISPATCHER, EXECUTION, Kind

Method = TypeVar("Method", bound=Callable[..., Any])

DIRECTORY_ACTOR: Final = "rillflow:execution:0"
"""The actor from which clients read the number of the others."""

CONTROLLER_ACTOR: Final = "rillflow:controller"
"""The actor that starts, replaces and moves the others, on a cluster."""
EARLIER_CONTROLLER: Final = "rillflow:balancer"
"""Its name in release 0.1, whose actor must not go on beside it."""

_DEDICATED: Final = "rillflow:dedicated:"


def sent_by_value(method: Method) -> Method:
    """Have Ray send the code of a new method of an actor with its class.

    Ray sends the names of all other methods. A process of the release before, which has no such
    method, could not load the class, and could call nothing with an argument. So a new method has
    this for a release, and its code uses nothing but ``self``.
    """
    method.__module__ = "__main__"
    return method


def execution_actor_name(index: int) -> str:
    """Return the name of the actor that owns every partition with this remainder."""
    return f"rillflow:execution:{index}"


def dispatcher_actor_name(index: int) -> str:
    """Return the name of a dispatcher."""
    return f"rillflow:dispatcher:{index}"


def dedicated_actor_name(execution_id: ExecutionId) -> str:
    """Return the name of the actor of one dedicated execution, which does not reveal the id.

    Ray shows names of actors in its metrics, lists and logs, and the id of an execution allows a
    callback to it. A hash needs no key here, because an id has more than 70 random bits.
    """
    digest = hashlib.blake2b(execution_id.encode(), digest_size=16, person=b"dedicated actor")
    return f"{_DEDICATED}{digest.hexdigest()}"


def is_dedicated_actor(name: str) -> bool:
    """Tell whether this is the name of an actor that leaves for good when its execution ends."""
    return name.startswith(_DEDICATED)


def kind_of(name: str) -> Kind | None:
    """Return what kind of actor of a stack has a name; None for any other actor."""
    for kind in (EXECUTION, DISPATCHER, DEDICATED):
        if name.startswith(f"rillflow:{kind}:"):
            return kind
    return None


def owner_index(execution_id: ExecutionId, actors: int) -> int:
    """Return the index of the actor that owns an execution."""
    return partition_of(execution_id) % actors


def partitions_of(index: int, actors: int) -> list[int]:
    """Return the partitions that an actor owns."""
    return list(range(index, PARTITIONS, actors))
