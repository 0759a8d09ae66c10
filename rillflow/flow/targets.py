"""What a task calls: the address of a function, and its arguments by name.

Used by `flow/calls.py`.
"""

import inspect
from collections.abc import Callable
from typing import Any, Final

from rillflow.flow.places import refusal

_LOCAL: Final = "<locals>"


def last_word(address: str) -> str:
    """Return what an address calls, to name its task by."""
    path = address.partition("?")[0].rstrip("/")
    return path.replace(":", "/").replace("@", "/").rpartition("/")[2]


def address_of(function: Callable[..., Any]) -> str:
    """Return the address of a function.

    Raises:
        FlowError: Ray's workers cannot import it by its name.
    """
    if not inspect.isfunction(function):
        raise refusal(f"{function!r:.60} is no function; of others, a task calls an address")
    name, module = function.__qualname__, function.__module__
    if _LOCAL in name or "." in name or name.startswith(("_", "<")):
        raise refusal(
            f"{name} cannot be called by ray://, since a worker imports functions by name: define"
            " it at the top of a module, with a name that does not begin with an underscore"
        )
    if module == "__main__":
        raise refusal(
            f"{name} is defined in the program itself, which workers cannot import: move it into a"
            " module, and import it"
        )
    return f"ray://{module}:{name}"


def bound_to(
    function: Callable[..., Any], arguments: tuple[Any, ...], given: dict[str, Any]
) -> dict[str, Any]:
    """Return all arguments by name.

    Raises:
        FlowError: They do not fit the parameters of the function.
    """
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*arguments, **given)
    except TypeError as error:
        raise refusal(f"{function.__name__}{signature}: {error}") from None
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        elif kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            raise refusal(f"{function.__name__}{signature}: give {name} by its name, if it has one")
        else:
            named[name] = value
    return named
