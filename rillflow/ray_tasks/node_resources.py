"""Whether any node of the cluster has what a call needs; Ray lets a call without one wait."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

_ACCELERATOR: Final = "accelerator_type:"
_OPERATORS: Final = ("!", "in(")


def lacking(options: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> str:
    """Say what a call needs that no node has; empty if a node has all of it.

    Args:
        options: Those of the call, by Ray's names.
        nodes: As ``ray.nodes()`` tells them, with all their resources, in use or not.
    """
    wanted = _wanted(options)
    labels = {
        key: value
        for key, value in (options.get("label_selector") or {}).items()
        if not value.startswith(_OPERATORS)
    }
    for node in nodes:
        if node["Alive"] and _has_all(node, wanted, labels):
            return ""
    texts = [f"{name} {number:g}" for name, number in wanted.items() if number]
    return ", ".join([*texts, *(f"label {key}={value}" for key, value in labels.items())])


def _wanted(options: Mapping[str, Any]) -> dict[str, float]:
    named = {"CPU": options.get("num_cpus", 1), "GPU": options.get("num_gpus", 0)}
    named["memory"] = options.get("memory", 0)
    named |= options.get("resources") or {}
    if "accelerator_type" in options:
        named[f"{_ACCELERATOR}{options['accelerator_type']}"] = 0.001
    return named


def _has_all(
    node: Mapping[str, Any], wanted: Mapping[str, float], labels: Mapping[str, str]
) -> bool:
    resources, own = node["Resources"], node.get("Labels") or {}
    return all(resources.get(name, 0.0) >= number for name, number in wanted.items()) and all(
        own.get(key) == value for key, value in labels.items()
    )
