"""Declaration of built-in functions, and checks of their arguments.

Used by `language/expressions/closures` and `language/expressions/functions`.
"""

import inspect
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from rillflow.errors import ExpressionError
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.values import Callee, Value, is_integer, is_number, type_of

Body: TypeAlias = Callable[..., Value]
_Declared = TypeVar("_Declared", bound=Body)

_MANY: Final = 1 << 30


class LibraryFunction(Callee):
    """A built-in function and how many arguments it takes.

    Attributes:
        title: Its name in scripts.
        body: The Python function: the meter, then the arguments.
        least: The fewest arguments it takes.
        most: The most arguments it takes.
    """

    __slots__ = ("body", "least", "most", "title")

    def __init__(self, title: str, body: Body) -> None:
        self.title = title
        self.body = body
        _, *parameters = inspect.signature(body).parameters.values()
        variadic = any(one.kind is one.VAR_POSITIONAL for one in parameters)
        fixed = [one for one in parameters if one.kind is not one.VAR_POSITIONAL]
        self.least = sum(one.default is one.empty for one in fixed)
        self.most = _MANY if variadic else len(fixed)

    def takes(self, number: int) -> bool:
        """Tell whether it takes this number of arguments."""
        return self.least <= number <= self.most

    def call(self, meter: Meter, arguments: list[Value]) -> Value:
        """Call it."""
        if not self.takes(len(arguments)):
            raise self.wrong_number(len(arguments))
        return self.body(meter, *arguments)

    def wrong_number(self, number: int) -> ExpressionError:
        """Return the error of a call with this number of arguments."""
        bounds = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        bounds = f"{self.least} or more" if self.most == _MANY else bounds
        return ExpressionError(f"{self.title} takes {bounds} arguments and not {number}")


class Library:
    """Collects the functions of a module under their names in scripts."""

    def __init__(self) -> None:
        self.functions: list[LibraryFunction] = []

    def function(self, title: str) -> Callable[[_Declared], _Declared]:
        """Declare the decorated function under this name."""

        def declare(body: _Declared) -> _Declared:
            self.functions.append(LibraryFunction(title, body))
            return body

        return declare


def string_argument(value: Value, what: str) -> str:
    """Return the string.

    Raises:
        ExpressionError: It is none; other values are not turned into text.
    """
    if isinstance(value, str):
        return value
    raise ExpressionError(f"{what} needs a string and not a {type_of(value)}")


def integer_argument(value: Value, what: str) -> int:
    """Return the integer.

    Raises:
        ExpressionError: It is none.
    """
    if is_integer(value):
        return int(value)
    raise ExpressionError(f"{what} needs an integer and not a {type_of(value)}")


def number_argument(value: Value, what: str) -> int | float:
    """Return the number.

    Raises:
        ExpressionError: It is none.
    """
    if is_number(value):
        number: int | float = value
        return number
    raise ExpressionError(f"{what} needs a number and not a {type_of(value)}")


def function_argument(value: Value, what: str) -> Callee:
    """Return the function.

    Raises:
        ExpressionError: It is none.
    """
    if isinstance(value, Callee):
        return value
    raise ExpressionError(f"{what} needs a function and not a {type_of(value)}")


def truth(value: Value, what: str) -> bool:
    """Return the boolean that a predicate has answered.

    Raises:
        ExpressionError: It is none.
    """
    if value is True or value is False:
        return bool(value)
    raise ExpressionError(f"the predicate of {what} answers a {type_of(value)} and not a boolean")
