"""Closures that evaluate operands: functions of a scope, combined by the compiler.

Reading a variable, adding two small integers and the like take the fastest path, because most
transforms are one such expression and run once per task.

Used by `language/expressions/compiler.py`.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from rillflow.errors import ExpressionError
from rillflow.language.expressions import operators
from rillflow.language.expressions.functions import FUNCTIONS
from rillflow.language.expressions.functions.library import LibraryFunction
from rillflow.language.expressions.functions.sequences import element
from rillflow.language.expressions.operators import BINARY, UNARY, Binary, as_boolean
from rillflow.language.expressions.scopes import (
    Code,
    Scope,
    ScriptFunction,
    Signal,
    variable_to_change,
)
from rillflow.language.expressions.texts import text_of
from rillflow.language.expressions.tree import Key
from rillflow.language.expressions.values import Callee, Value, member_of, property_of, type_of

#: Applies one suffix to a value: an index, or a call.
Step = Callable[[Scope, Value], Value]

_SMALL: Final = 1 << 62
_KEYS_PER_STEP: Final = 8
_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def constant(value: Value) -> Code:
    """Answer the value."""
    return lambda _: value


def template(parts: list[str | Code]) -> Code:
    """Concatenate texts and the texts of values."""

    def run(scope: Scope) -> str:
        meter = scope.meter
        texts = []
        for part in parts:
            if not isinstance(part, str):
                value = part(scope)
                value = value.value if value.__class__ is Signal else value
                texts.append(text_of(meter, value))
            else:
                texts.append(part)
            meter.make_text(len(texts[-1]))
        meter.make_text(sum(map(len, texts)), wide=not all(map(str.isascii, texts)))
        return "".join(texts)

    return run


def outer_variable(name: str) -> Code:
    """Read a variable that can only come from outside; else a function of the name, else nil."""
    default = FUNCTIONS.get(name)
    return lambda scope: scope.meter.environment.get(name, default)


def copied_variable(name: str) -> Code:
    """Read such a variable in a script that may change it in place."""
    default = FUNCTIONS.get(name)

    def run(scope: Scope) -> Value:
        value = scope.meter.environment.get(name, default)
        return variable_to_change(scope.meter, name) if isinstance(value, list | dict) else value

    return run


def scoped_variable(name: str, outside: Code) -> Code:
    """Read the variable of the innermost block that has it, or else one from outside."""

    def run(scope: Scope) -> Value:
        place: Scope | None = scope
        while place is not None:
            names = place.names
            if name in names:
                return names[name]
            place = place.parent
        return outside(scope)

    return run


def path(variable: Code, keys: tuple[Key, ...], text: str) -> Code:
    """Read ``a.b.c``, or ``#a.b[1].c``; each so many keys cost a step."""
    code, steps = _path_of(variable, keys, text), len(keys) // _KEYS_PER_STEP
    if not steps:
        return code

    def run(scope: Scope) -> Value:
        scope.meter.cost(steps)
        return code(scope)

    return run


def _path_of(variable: Code, keys: tuple[Key, ...], text: str) -> Code:
    names = tuple(key for key in keys if isinstance(key, str))
    if len(names) < len(keys):
        return _path_of_members(variable, keys, text)

    def run(scope: Scope) -> Value:
        value = variable(scope)
        for key in names:
            value = value.get(key) if value.__class__ is dict else property_of(value, key, text)
        return value

    return run


def _path_of_members(variable: Code, keys: tuple[Key, ...], text: str) -> Code:
    def run(scope: Scope) -> Value:
        value = variable(scope)
        for key in keys:
            value = member_of(value, key, text)
        return value

    return run


def copied_path(name: str, keys: tuple[Key, ...], text: str) -> Code:
    """Read ``a.b.c`` from outside in a script that may change it in place.

    The variable is copied only if what is read is a list or map.
    """
    look = path(outer_variable(name), keys, text)
    read = path(copied_variable(name), keys, text)

    def run(scope: Scope) -> Value:
        if name not in scope.meter.copies:
            value = look(scope)
            if not isinstance(value, list | dict):
                return value
        return read(scope)

    return run


def is_defined(name: str, keys: tuple[Key, ...]) -> Code:
    """Answer ``is_def(name)``: whether it has a value, even nil."""
    steps = len(keys) // _KEYS_PER_STEP

    def run(scope: Scope) -> bool:
        scope.meter.cost(steps)
        owner: Value = scope.owner_of(name)
        owner = scope.meter.environment if owner is None else owner
        for key in (name, *keys):
            if isinstance(key, int):
                is_there = isinstance(owner, list) and key < len(owner)
            else:
                is_there = isinstance(owner, Mapping) and key in owner
            if not is_there:
                return False
            owner = owner[key]
        return True

    return run


def chain(first: Code, rest: list[tuple[str, Code]]) -> Code:
    """Apply operators of one rank from left to right."""
    if len(rest) == 1:
        return _pair(first, *rest[0])
    parts = [(BINARY[symbol], code) for symbol, code in rest]

    def run(scope: Scope) -> Value:
        value = first(scope)
        meter = scope.meter
        for apply, code in parts:
            value = apply(meter, value, code(scope))
        return value

    return run


def power(base: Code, exponent: Code) -> Code:
    """Raise to a power."""
    return _plain_pair(base, operators.power, exponent)


def _pair(left: Code, symbol: str, right: Code) -> Code:
    apply = BINARY[symbol]
    if symbol in _ARITHMETIC:
        return _arithmetic_pair(left, _ARITHMETIC[symbol], apply, right)
    if symbol in _COMPARISONS:
        return _compared_pair(left, _COMPARISONS[symbol], apply, right)
    return _plain_pair(left, apply, right)


def _plain_pair(left: Code, apply: Binary, right: Code) -> Code:
    return lambda scope: apply(scope.meter, left(scope), right(scope))


def _arithmetic_pair(
    left: Code, quick: Callable[[Any, Any], Any], apply: Binary, right: Code
) -> Code:
    def run(scope: Scope) -> Value:
        one = left(scope)
        other = right(scope)
        if one.__class__ is int and other.__class__ is int:
            result = quick(one, other)
            if -_SMALL < result < _SMALL:
                return result
        return apply(scope.meter, one, other)

    return run


def _compared_pair(
    left: Code, quick: Callable[[Any, Any], bool], apply: Binary, right: Code
) -> Code:
    def run(scope: Scope) -> bool:
        one = left(scope)
        other = right(scope)
        if one.__class__ is int and other.__class__ is int:
            return quick(one, other)
        return bool(apply(scope.meter, one, other))

    return run


def conjunction(codes: list[Code]) -> Code:
    """Answer ``&&``: the first false operand decides."""
    return lambda scope: all(as_boolean(code(scope)) for code in codes)


def disjunction(codes: list[Code]) -> Code:
    """Answer ``||``: the first true operand decides."""
    return lambda scope: any(as_boolean(code(scope)) for code in codes)


def prefixed(symbol: str, code: Code) -> Code:
    """Apply ``-``, ``!`` or ``~``."""
    apply = UNARY[symbol]
    return lambda scope: apply(scope.meter, code(scope))


def conditional(branches: list[tuple[Code, Code]], otherwise: Code) -> Code:
    """Answer the value after the first test that is true."""

    def run(scope: Scope) -> Value:
        for test, value in branches:
            if as_boolean(test(scope)):
                return value(scope)
        return otherwise(scope)

    return run


def function(parameters: tuple[str, ...], body: Code, *, frames: int, variadic: bool) -> Code:
    """Make a function that remembers the scope it is made in."""
    return lambda scope: ScriptFunction(
        parameters, body, frames=frames, scope=scope, variadic=variadic
    )


def library_call(called: LibraryFunction, arguments: list[Code]) -> Code:
    """Call a built-in function."""
    number = len(arguments)
    if not called.takes(number):
        return _failing(lambda: called.wrong_number(number))
    body = called.body
    if number == 1:
        (only,) = arguments
        return lambda scope: body(scope.meter, only(scope))
    if number == 2:
        first, second = arguments
        return lambda scope: body(scope.meter, first(scope), second(scope))
    return lambda scope: body(scope.meter, *[code(scope) for code in arguments])


def function_or(variable: Code, default: LibraryFunction) -> Code:
    """Read a variable to call it; a built-in function where it holds no function."""

    def run(scope: Scope) -> Value:
        value = variable(scope)
        return value if isinstance(value, Callee) else default

    return run


def unknown_call(name: str) -> Code:
    """Fail: there is no such function."""
    return _failing(lambda: ExpressionError(f"unknown function {name}"))


def suffixed(target: Code, steps: list[Step]) -> Code:
    """Apply indexes and calls from left to right."""
    if len(steps) == 1:
        (only,) = steps
        return lambda scope: only(scope, target(scope))

    def run(scope: Scope) -> Value:
        value = target(scope)
        for step in steps:
            value = step(scope, value)
        return value

    return run


def index_step(index: Code) -> Step:
    """Read ``[index]``."""
    return lambda scope, value: element(scope.meter, value, index(scope))


def call_step(arguments: list[Code], text: str) -> Step:
    """Call the value."""

    def run(scope: Scope, value: Value) -> Value:
        if not isinstance(value, Callee):
            known = "unknown function" if value is None else f"a {type_of(value)} is no function:"
            raise ExpressionError(f"{known} {text}")
        return value.call(scope.meter, [code(scope) for code in arguments])

    return run


def operator_function(symbol: str) -> LibraryFunction:
    """Return an operator as a function; ``-`` and ``~`` serve one and two arguments."""
    return _OPERATORS[symbol]


def _as_function(symbol: str) -> LibraryFunction:
    binary, unary = BINARY.get(symbol), UNARY.get(symbol)

    def apply(meter: Any, first: Value, *second: Value) -> Value:
        if unary is not None and not second:
            return unary(meter, first)
        if binary is not None and len(second) == 1:
            return binary(meter, first, second[0])
        raise ExpressionError(f"operator {symbol} cannot take {1 + len(second)} arguments")

    return LibraryFunction(symbol, apply)


_OPERATORS: Final = {symbol: _as_function(symbol) for symbol in {*BINARY, *UNARY}}


def _failing(error: Callable[[], ExpressionError]) -> Code:
    def run(_: Scope) -> Value:
        raise error()

    return run
