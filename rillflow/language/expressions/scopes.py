"""Scopes, functions of the script, and the signals that leave a block.

Used by `language/expressions` and `language/expressions/closures`.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from rillflow.errors import ExpressionError
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.lexer import excerpt
from rillflow.language.expressions.texts import private_copy
from rillflow.language.expressions.values import Callee, Value

#: Frames of a call besides those of the function's body: its own, and those of a built-in
#: function such as ``map`` around it.
CALL_FRAMES: Final = 4


class Scope:
    """The names of a block, and its enclosing scope."""

    __slots__ = ("meter", "names", "parent")

    def __init__(self, meter: Meter, names: dict[str, Value], parent: "Scope | None") -> None:
        self.meter = meter
        self.names = names
        self.parent = parent

    def owner_of(self, name: str) -> dict[str, Value] | None:
        """Return the names of the innermost block that has this one, if any has."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names
            scope = scope.parent
        return None

    def assign(self, name: str, value: Value) -> None:
        """Set the name where it is; a new one becomes a name of this block.

        A variable given from outside is hidden by one of the outermost block.
        """
        owner = self.owner_of(name)
        if owner is None:
            owner = self.meter.root if name in self.meter.environment else self.names
        owner[name] = value


Code: TypeAlias = Callable[[Scope], Value]


class Signal:
    """What a statement returns instead of a value when it leaves its block."""

    __slots__ = ("value", "word")

    def __init__(self, word: str, value: Value = None) -> None:
        self.word = word
        self.value = value


BREAK: Final = Signal("break")
CONTINUE: Final = Signal("continue")


class ScriptFunction(Callee):
    """A lambda or ``fn`` together with the scope in which it was defined."""

    __slots__ = ("_body", "_frames", "_parameters", "_scope", "_variadic")

    def __init__(
        self, parameters: tuple[str, ...], body: Code, *, frames: int, scope: Scope, variadic: bool
    ) -> None:
        self._parameters = parameters
        self._body = body
        self._frames = frames
        self._scope = scope
        self._variadic = variadic

    def call(self, meter: Meter, arguments: list[Value]) -> Value:
        """Call it; every call has names of its own."""
        scope = Scope(meter, self._bound(arguments), self._scope)
        meter.enter(self._frames)
        result = self._body(scope)
        meter.leave(self._frames)
        return result.value if result.__class__ is Signal else result

    @property
    def parameter_count(self) -> int:
        """How many parameters it has, a rest among them."""
        return len(self._parameters)

    @property
    def is_variadic(self) -> bool:
        """Whether the last parameter takes the remaining arguments."""
        return self._variadic

    def _bound(self, arguments: list[Value]) -> dict[str, Value]:
        expected = len(self._parameters)
        if self._variadic:
            fixed = expected - 1
            if len(arguments) < fixed:
                raise self._wrong_number(f"{fixed} arguments or more", len(arguments))
            return dict(zip(self._parameters, (*arguments[:fixed], arguments[fixed:]), strict=True))
        if len(arguments) != expected:
            raise self._wrong_number(f"{expected} arguments", len(arguments))
        return dict(zip(self._parameters, arguments, strict=True))

    def _wrong_number(self, expected: str, number: int) -> ExpressionError:
        names = excerpt(", ".join(self._parameters))
        return ExpressionError(f"function ({names}) takes {expected} and not {number}")


class OverloadedFunction(Callee):
    """Functions of the script under one name, selected by the number of arguments.

    A later function replaces one with as many parameters. If no function has exactly as many
    parameters as there are arguments, one with a rest parameter is called: preferably one whose
    rest is empty, else the one with the most parameters.
    """

    __slots__ = ("_fixed", "_variadic")

    def __init__(self, functions: Iterable[ScriptFunction]) -> None:
        self._fixed: dict[int, ScriptFunction] = {}
        self._variadic: dict[int, ScriptFunction] = {}
        for function in functions:
            kind = self._variadic if function.is_variadic else self._fixed
            kind[function.parameter_count] = function

    @property
    def functions(self) -> list[ScriptFunction]:
        """The functions, one for each number of parameters."""
        return [*self._fixed.values(), *self._variadic.values()]

    def call(self, meter: Meter, arguments: list[Value]) -> Value:
        """Call the function that takes this number of arguments."""
        function = self._taking(len(arguments))
        if function is None:
            raise ExpressionError(f"no function of this name takes {len(arguments)} arguments")
        meter.enter(1)
        result = function.call(meter, arguments)
        meter.leave(1)
        return result

    def _taking(self, number: int) -> ScriptFunction | None:
        exact = self._fixed.get(number) or self._variadic.get(number + 1)
        if exact is not None:
            return exact
        fitting = [count for count in self._variadic if count <= number]
        return self._variadic[max(fitting)] if fitting else None


def overloaded(scope: Scope, name: str, function: ScriptFunction) -> Callee:
    """Return the value of a name when one more function is defined under it."""
    owner = scope.owner_of(name)
    before = None if owner is None else owner[name]
    if isinstance(before, ScriptFunction):
        known = [before, function]
    elif isinstance(before, OverloadedFunction):
        known = [*before.functions, function]
    else:
        return function
    scope.meter.work(len(known))
    made = OverloadedFunction(known)
    return made if len(made.functions) > 1 else function


def variable_to_change(meter: Meter, name: str) -> Value:
    """Return a variable given from outside as the script's own copy."""
    if name not in meter.copies:
        meter.copies[name] = private_copy(meter, meter.environment.get(name))
    return meter.copies[name]
