"""Rebalancing: which actor should move to which node, so that each node has its share.

Used by `actors/lifecycle/steps.py` and `actors/placing.py`.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple


class Move(NamedTuple):
    """An actor by its name, and the node to which it should move."""

    actor: str
    node: str


def next_move(
    kinds: Sequence[Mapping[str, str]], nodes: Collection[str], stays: Collection[str] = ()
) -> Move | None:
    """Return the next move, or None if every node has its share.

    Actors of one kind are spread so that no node has two more of them than another. Each move
    reduces the difference, so the moves come to an end. Actors on a node that is not among
    ``nodes`` move first, because that node is about to leave.

    Args:
        kinds: For each kind of actor, where each of them is.
        nodes: The nodes that actors may be on.
        stays: Actors that do not move now.
    """
    if not nodes:
        return None
    everywhere = Counter(node for places in kinds for node in places.values())
    for places in kinds:
        held = Counter(places.values())
        to = min(nodes, key=lambda node: (held[node], everywhere[node], node))
        movable = [
            (place not in nodes, held[place], everywhere[place], number, actor)
            for number, (actor, place) in enumerate(places.items())
            if actor not in stays and (place not in nodes or held[place] >= held[to] + 2)
        ]
        if movable:
            return Move(max(movable)[-1], to)
    return None
