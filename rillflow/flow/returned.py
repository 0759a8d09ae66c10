"""Where the value of a Python function is in the output of its task, by its return type.

An object is the output itself, and so is an artifact, which bytes and arrays become; anything else
is its ``data`` (``function_calls/results.py``).

Used by `flow/calls.py`.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Generator
from typing import Any, Final

from rillflow.flow.placeholders.values import Steps

_DATA: Final = ("data",)
_SCALARS: Final = (str, int, float, bool, list, tuple, set, frozenset)


def root_of(function: Callable[..., Any]) -> Steps:
    """Return the steps from the output to the value; none where the type does not say."""
    try:
        hint = typing.get_type_hints(function).get("return", Any)
    except Exception:  # noqa: BLE001 - hints are the user's code, and may name what is not there
        return ()
    return _DATA if _is_data(hint) else ()


def _is_data(hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Annotated, Generator):
        return _is_data(arguments[0 if origin is typing.Annotated else 2])
    if origin in (typing.Union, types.UnionType):
        members = [it for it in arguments if it is not type(None)]
        return bool(members) and all(map(_is_data, members))
    if origin is typing.Literal:
        return True
    kind = origin or hint
    if not isinstance(kind, type) or dataclasses.is_dataclass(kind):
        return False
    return issubclass(kind, _SCALARS)
