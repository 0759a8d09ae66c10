"""Extensions that the settings name by ``module:attribute``."""

import importlib
from typing import Any

from rillflow.errors import RequestError
from rillflow.runtime.submissions import ContextHook


def load_hook(name: str | None) -> ContextHook | None:
    """Load the function that may replace the data of submissions; None without a name.

    Raises:
        RequestError: There is no such function.
    """
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"context_hook {name} could not be loaded: {error}") from error
    if not callable(found):
        raise RequestError(f"context_hook {name} cannot be called")
    hook: ContextHook = found
    return hook
