"""What calls need of the nodes of the cluster, and which nodes have it.

Used by `ray_tasks/limits`, `ray_tasks/limits/waiting.py` and
`serve/routes/console_api/held_calls.py`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

Node: TypeAlias = Mapping[str, Any]
"""A node as ``ray.nodes()`` tells it, with all its resources, in use or not."""

MOST_SHOWN: Final = 512
"""Characters of what a call needs."""
_CONDITION: Final = re.compile(r"(!?)(?:in\((.*)\)|(.*))")
"""``value``, ``!value``, ``in(one, two)`` and ``!in(one, two)``."""
_ROUNDING: Final = 1e-6


class Demand(NamedTuple):
    """What a call needs of one node: amounts of resources above zero, and labels."""

    amounts: tuple[tuple[str, float], ...]
    labels: tuple[tuple[str, str], ...]


def demand_of(options: Mapping[str, Any]) -> Demand:
    """Return what a call with these options needs, which have Ray's names."""
    named = {"CPU": options.get("num_cpus", 1), "GPU": options.get("num_gpus", 0)}
    named["memory"] = options.get("memory", 0)
    named |= options.get("resources") or {}
    named |= accelerator_share(options)
    labels = options.get("label_selector") or {}
    amounts = ((name, float(amount)) for name, amount in named.items() if amount)
    return Demand(tuple(amounts), tuple(labels.items()))


def accelerator_share(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the little that a call needs of the accelerator it names, as Ray counts it."""
    if "accelerator_type" not in options:
        return {}
    return {f"accelerator_type:{options['accelerator_type']}": 0.001}


def lacking(options: Mapping[str, Any], nodes: Iterable[Node]) -> str:
    """Say what a call needs that no node has; empty if a node has all of it.

    Ray lets a call that no node can run wait.
    """
    demand = demand_of(options)
    return "" if any(fitting(demand, node) for node in nodes) else needs_of(demand)


def beyond(options: Mapping[str, Any], nodes: Iterable[Node], share: float) -> str:
    """Say what a call needs beyond the share of a workspace; empty if the share is enough."""
    if share >= 1:
        return ""
    demand, has = demand_of(options), totals(nodes)
    is_enough = all(
        amount <= share * has.get(name, 0.0) + _ROUNDING for name, amount in demand.amounts
    )
    return "" if is_enough else needs_of(demand)


def needs_of(demand: Demand) -> str:
    """Return in words what a call needs of a node."""
    texts = [f"{name} {amount:g}" for name, amount in demand.amounts]
    labels = (f"label {key}={value}" for key, value in demand.labels)
    return ", ".join([*texts, *labels])[:MOST_SHOWN]


def vain_wait(resource: str, needs: str) -> str:
    """Say that calls of a function wait for a node that there is not."""
    return f"{resource} waits for a node with {needs}: none has it"


def share_wait(resource: str, needs: str) -> str:
    """Say that calls of a function ask for more than their workspace may have."""
    return f"{resource} asks for {needs}: the ray_share of its workspace is less"


def fitting(demand: Demand, node: Node) -> float:
    """Return how many such calls a node can run at once; infinite if they need nothing of it."""
    own = node.get("Labels") or {}
    if not node["Alive"] or not all(_holds(text, own.get(key)) for key, text in demand.labels):
        return 0
    has = node["Resources"]
    rooms = (has.get(name, 0.0) / amount + _ROUNDING for name, amount in demand.amounts)
    room = min(rooms, default=math.inf)
    return room if room == math.inf else math.floor(room)


def _holds(condition: str, label: str | None) -> bool:
    """Tell whether a label, None where a node has none of this name, is what a call asks for."""
    match = _CONDITION.fullmatch(condition)
    negated, several, one = match.groups() if match is not None else ("", None, condition)
    named = {one} if several is None else {each.strip() for each in several.split(",")}
    return (label in named) != bool(negated)


def totals(nodes: Iterable[Node]) -> dict[str, float]:
    """Return how much of each resource the nodes that live have together."""
    found: dict[str, float] = {}
    for node in nodes:
        if node["Alive"]:
            for name, amount in node["Resources"].items():
                found[name] = found.get(name, 0.0) + amount
    return found
