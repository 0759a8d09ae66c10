"""The form in which a module states what it relies on in a private API, with a check.

Used by `private_apis`.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Assumption(NamedTuple):
    """A property of a library that the library does not promise.

    ``relies_on`` names it, ``seen_with`` the version it was seen with, ``if_it_changes`` what then
    happens, beginning with "loud" (nothing starts, or an error says so) or "silent".
    ``differences`` yields what is different in the installed version: nothing, if it holds.
    """

    library: str
    relies_on: str
    seen_with: str
    if_it_changes: str
    differences: Callable[[], Iterable[str]]


def missing(owner: object, *names: str) -> Iterator[str]:
    """Yield what an object does not have."""
    for name in names:
        if not hasattr(owner, name):
            yield f"{_name(owner)} has no {name}"


def other_parameters(function: Callable[..., object], *names: str) -> Iterator[str]:
    """Yield which parameters a function does not take."""
    parameters = inspect.signature(function).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for name in names:
        if name not in parameters and not takes_all:
            yield f"{_name(function)} takes no {name}"


def not_in_source(thing: object, *texts: str) -> Iterator[str]:
    """Yield what the source of a module, class or function does not contain."""
    source = inspect.getsource(thing)  # type: ignore[arg-type] # modules, classes, functions
    for text in texts:
        if text not in source:
            yield f"the source of {_name(thing)} does not contain {text!r}"


def _name(thing: object) -> str:
    module = getattr(thing, "__module__", "") or ""
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", repr(thing))
    return f"{module}.{name}".lstrip(".")
