"""Constructs that AviatorScript 5.2.7 refuses, or fails on, and Rillflow takes.

Only what the text itself shows is found: what a variable holds is not known before an
expression is evaluated.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from rillflow.language.expressions.tree import (
    Arguments,
    Function,
    Literal,
    Name,
    Node,
    Operator,
    Suffix,
    Suffixed,
    Template,
)

_ONLY_OURS: Final = {"seq.add_all": "into(list, others)"}
_LIST_ONLY: Final = frozenset({"sort", "reverse", "seq.get", "seq.contains_key"})
_ORDERS: Final = frozenset({"cmp"})
_AS_LIST: Final = "into(seq.list(), range(...))"


def extension_of_call(
    name: str, arguments: Sequence[Node], functions: AbstractSet[str]
) -> tuple[str, str] | None:
    """Tell what of a call only Rillflow takes, and what to write instead.

    Args:
        name: The function's name.
        arguments: What it is called with.
        functions: Names that the script gives functions to.
    """
    if name in functions:
        return None
    if name in _ONLY_OURS:
        return name, _ONLY_OURS[name]
    if name in _LIST_ONLY and arguments and _is_range(arguments[0]):
        return f"{name} of a range", f"{name}({_AS_LIST})"
    if name == "sort" and len(arguments) == 2 and _is_plain_function(arguments[1], functions):
        return "sort with a function that is no comparator", "sort(list, comparator(before))"
    return None


def extension_of_suffix(target: Node, before: Sequence[Suffix]) -> tuple[str, str] | None:
    """Tell what of an index only Rillflow takes, and what to write instead."""
    if not before:
        is_text = isinstance(target, Template) or (
            isinstance(target, Literal) and isinstance(target.value, str)
        )
        return ("an index of a text", "string.substring(text, 0, 1)") if is_text else None
    if _is_range(Suffixed(target, tuple(before))):
        return "an index of a range", _AS_LIST
    return None


def _is_range(node: Node) -> bool:
    if not isinstance(node, Suffixed) or not isinstance(node.target, Name):
        return False
    is_one_call = len(node.suffixes) == 1 and isinstance(node.suffixes[0], Arguments)
    return is_one_call and node.target.text == "range"


def _is_plain_function(node: Node, functions: AbstractSet[str]) -> bool:
    if isinstance(node, Function | Operator):
        return True
    return isinstance(node, Name) and (node.text in functions or node.text in _ORDERS)
