"""The input of a task becomes the keyword arguments of a function, checked by its type hints.

Used by `ray_tasks/worker.py` and `functions/application.py`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from pydantic import ValidationError, validate_call

from rillflow.function_calls.failures import FunctionInputError, input_error


class TypedFunction:
    """A function with the rules for its input.

    Attributes:
        function: The function itself.
        signature: Its parameters.
    """

    __slots__ = ("_validate", "function", "signature")

    def __init__(self, function: Callable[..., Any]) -> None:
        @wraps(function)
        def arguments(*given: Any, **named: Any) -> tuple[Sequence[Any], dict[str, Any]]:
            return given, named

        self.function = function
        self.signature = inspect.signature(function)
        self._validate = validate_call(arguments)

    def arguments(self, fields: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return the arguments for an input.

        Raises:
            FunctionInputError: It does not fit the parameters.
        """
        self._refuse_positional_only()
        try:
            return self._validate(**fields)
        except ValidationError as error:
            raise input_error(error, self.signature, self.function.__module__, fields) from None

    def _refuse_positional_only(self) -> None:
        """Make sure that each parameter has a name by which it can be told."""
        for parameter in self.signature.parameters.values():
            if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
                raise FunctionInputError(
                    f"the parameter {parameter.name} is positional-only, and inputs are given by"
                    " name"
                )
