"""Constructs that AviatorScript 5.2.7 refuses, or fails on, and that Rillflow supports.

`rillflow/definition/lint` warns of them. Only constructs that are visible in the text are found;
the values of variables are not known before evaluation.

Used by `language/expressions/operands.py`.
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
_NO_RANGE: Final = frozenset({"sort", "reverse", "seq.get", "seq.contains_key", "string.join"})
_NO_SET: Final = frozenset({"sort", "reverse"})
_OPERATORS: Final = frozenset("+-*/%!&|")
_ORDERS: Final = frozenset({"cmp"})
_AS_LIST: Final = "into(seq.list(), range(...))"


def extension_of_call(
    name: str, arguments: Sequence[Node], functions: AbstractSet[str]
) -> tuple[str, str] | None:
    """Return what in a call only Rillflow supports, and what to write instead.

    Args:
        name: The function's name.
        arguments: The arguments of the call.
        functions: Names that the script assigns functions to.
    """
    if name in functions:
        return None
    if name in _ONLY_OURS:
        return name, _ONLY_OURS[name]
    if name == "sort" and len(arguments) == 2 and _is_plain_function(arguments[1], functions):
        return "sort with a function that is no comparator", "sort(list, comparator(before))"
    return _extension_of_argument(name, arguments[0]) if arguments else None


def _extension_of_argument(name: str, first: Node) -> tuple[str, str] | None:
    if name in _NO_RANGE and _is_call(first, "range"):
        return f"{name} of a range", f"{name} of {_AS_LIST}"
    if name in _NO_SET and _is_call(first, "seq.set"):
        return f"{name} of a set", f"{name} of a list"
    if name in _NO_SET and _is_text(first):
        return f"{name} of a text", f"{name} of a list"
    if name == "is_def" and isinstance(first, Name) and first.keys:
        return "is_def of a member, which is false there", "context.a != nil"
    return None


def extension_of_suffix(target: Node, before: Sequence[Suffix]) -> tuple[str, str] | None:
    """Return what in an index only Rillflow supports, and what to write instead."""
    if not before:
        is_text = _is_text(target)
        return ("an index of a text", "string.substring(text, 0, 1)") if is_text else None
    if _is_call(Suffixed(target, tuple(before)), "range"):
        return "an index of a range", _AS_LIST
    return None


def extension_of_operator(operator: str) -> tuple[str, str] | None:
    """Tell whether only Rillflow supports this operator as an argument."""
    if operator in _OPERATORS:
        return None
    return f"{operator} as an argument", f"lambda(a, b) -> a {operator} b end"


def _is_text(node: Node) -> bool:
    is_literal = isinstance(node, Literal) and isinstance(node.value, str)
    return is_literal or isinstance(node, Template)


def _is_call(node: Node, name: str) -> bool:
    if not isinstance(node, Suffixed) or not isinstance(node.target, Name):
        return False
    is_one_call = len(node.suffixes) == 1 and isinstance(node.suffixes[0], Arguments)
    return is_one_call and node.target.text == name


def _is_plain_function(node: Node, functions: AbstractSet[str]) -> bool:
    if isinstance(node, Function | Operator):
        return True
    return isinstance(node, Name) and (node.text in functions or node.text in _ORDERS)
