"""What ``ray://module:function`` names, and whether the settings allow it."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from rillflow.errors import GatewayError

SCHEME: Final = "ray"

_FORM: Final = re.compile(r"(?P<module>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*):(?P<function>[A-Za-z]\w*)")
_FORM_HINT: Final = "the form is ray://package.module:function"


class FunctionTarget(NamedTuple):
    """A function of a module; neither has a name that begins with an underscore."""

    module: str
    function: str

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"


def function_target(resource_name: str) -> FunctionTarget:
    """Read the name of a function.

    Raises:
        GatewayError: It names no function of a module.
    """
    named = resource_name.partition("://")[2] or resource_name
    match = _FORM.fullmatch(named)
    if match is None:
        raise GatewayError(f"{named[:256]!r} names no function", hint=_FORM_HINT)
    return FunctionTarget(match["module"], match["function"])


def is_allowed(module: str, allowed: Sequence[str]) -> bool:
    """Tell whether a module is one of those allowed, or is inside one of them."""
    return any(module == each or module.startswith(f"{each}.") for each in allowed)


def refuse_module(target: FunctionTarget, allowed: Sequence[str]) -> None:
    """Make sure that the functions of a module may be called.

    Raises:
        GatewayError: ``ray_modules`` does not name the module.
    """
    if not is_allowed(target.module, allowed):
        raise GatewayError(
            f"the setting ray_modules does not allow the module {target.module}",
            hint=f"ray_modules lists the modules that tasks may call; add {target.module},"
            " or start with `rillflow up --functions FILE.py`",
        )
