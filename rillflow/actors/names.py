"""Names of the actors; every process derives the owner of an execution from its id alone."""

from typing import Final

from rillflow.ids import PARTITIONS, ExecutionId, partition_of

DIRECTORY_ACTOR: Final = "rillflow:execution:0"
"""The actor that every client asks how many there are."""

BALANCER_ACTOR: Final = "rillflow:balancer"
"""The actor that moves the others between nodes, where there may be several."""


def execution_actor_name(index: int) -> str:
    """Return the name of the actor that owns every partition with this remainder."""
    return f"rillflow:execution:{index}"


def dispatcher_actor_name(index: int) -> str:
    """Return the name of a dispatcher."""
    return f"rillflow:dispatcher:{index}"


def owner_index(execution_id: ExecutionId, actors: int) -> int:
    """Return the index of the actor that owns an execution."""
    return partition_of(execution_id) % actors


def partitions_of(index: int, actors: int) -> list[int]:
    """Return the partitions that an actor owns."""
    return list(range(index, PARTITIONS, actors))
