"""The input of a task becomes the keyword arguments of a function, checked by its type hints.

Used by `ray_tasks/worker.py` and `functions/application.py`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, get_type_hints

from pydantic import ValidationError, validate_call
from pydantic.fields import FieldInfo

from rillflow.function_calls.failures import FunctionInputError, input_error


class TypedFunction:
    """A function with the rules for its input.

    Attributes:
        function: The function itself.
        signature: Its parameters.
    """

    __slots__ = ("_takes_any", "_validate", "function", "signature")

    def __init__(self, function: Callable[..., Any]) -> None:
        @wraps(function)
        def arguments(*given: Any, **named: Any) -> tuple[Sequence[Any], dict[str, Any]]:
            return given, named

        self.function = function
        self.signature = inspect.signature(function)
        self._validate = validate_call(arguments)
        self._takes_any = _takes_any(self.signature, function)

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

    def takes(self, name: str) -> bool:
        """Tell whether a parameter may take the field of this name."""
        return self._takes_any or name in self.signature.parameters

    def _refuse_positional_only(self) -> None:
        """Make sure that each parameter has a name by which it can be told."""
        for parameter in self.signature.parameters.values():
            if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
                raise FunctionInputError(
                    f"the parameter {parameter.name} is positional-only, and inputs are given by"
                    " name"
                )


def _takes_any(signature: inspect.Signature, function: Callable[..., Any]) -> bool:
    """Tell whether fields may have names that are not those of the parameters."""
    parameters = signature.parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return True
    try:
        hints = get_type_hints(function, include_extras=True).values()
    except NameError:  # of a type that only Pydantic finds
        return True
    described = [part for hint in hints for part in getattr(hint, "__metadata__", ())]
    described += [each.default for each in parameters]
    return any(isinstance(each, FieldInfo) and each.validation_alias for each in described)
