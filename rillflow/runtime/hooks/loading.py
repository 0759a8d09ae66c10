"""Loading of the hooks that the settings name as ``module:attribute``.

Used by `actors/execution_actor.py`, `runtime/stack.py` and `serve/api.py`.
"""

import importlib
from collections.abc import Iterable
from typing import Any

from rillflow.errors import RequestError
from rillflow.runtime.hooks.chain import ContextHook, Hook


def load_hook(name: str | None) -> ContextHook | None:
    """Load the function that may replace the data of submissions; None without a name.

    Raises:
        RequestError: There is no such function.
    """
    if not name:
        return None
    hook: ContextHook = _load("context_hook", name)
    return hook


def load_hooks(names: Iterable[str]) -> tuple[Hook, ...]:
    """Load the hooks, in their order.

    Raises:
        RequestError: One of them does not exist.
    """
    return tuple(_load("hook", name) for name in names)


def _load(setting: str, name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(f"{setting} {name} could not be loaded: {error}") from error
    if not callable(found):
        raise RequestError(f"{setting} {name} cannot be called")
    return found
