"""Closures that carry out statements. On entry, a block is charged for all its expressions.

Used by `language/expressions/compiler.py`.
"""

from rillflow.errors import ExpressionError
from rillflow.language.expressions.functions.sequences import store
from rillflow.language.expressions.operators import as_boolean
from rillflow.language.expressions.scopes import (
    BREAK,
    CONTINUE,
    Code,
    Scope,
    ScriptFunction,
    Signal,
    overloaded,
)
from rillflow.language.expressions.texts import text_of
from rillflow.language.expressions.values import Value, elements_of
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED


def sequence(codes: list[Code], *, cost: int, discards: bool, scoped: bool) -> Code:
    """Run statements until one leaves the block; the value is the last one's.

    Args:
        codes: The statements.
        cost: Steps charged on entry.
        discards: Whether the value is nil instead.
        scoped: Whether the block needs names of its own.
    """

    def run(scope: Scope) -> Value:
        meter = scope.meter
        meter.work(cost)
        if scoped:
            scope = Scope(meter, {}, scope)
        value = None
        for code in codes:
            value = code(scope)
            if value.__class__ is Signal:
                return value
        return None if discards else value

    return run


def define(name: str, value: Code) -> Code:
    """Give a name of this block a value; functions of one name share it by their parameters."""

    def run(scope: Scope) -> Value:
        result = _assigned(scope, value(scope))
        is_function = result.__class__ is ScriptFunction
        if is_function and scope.meter.language >= AVIATOR_AND_JAYWAY_MEASURED:
            result = overloaded(scope, name, result)
        if result.__class__ is not Signal:
            scope.names[name] = result
        return result

    return run


def assign(name: str, value: Code) -> Code:
    """Give a name a value where it is."""

    def run(scope: Scope) -> Value:
        result = _assigned(scope, value(scope))
        if result.__class__ is not Signal:
            scope.assign(name, result)
        return result

    return run


def store_element(target: Code, key: Code, value: Code) -> Code:
    """Set an element of a list or map."""

    def run(scope: Scope) -> Value:
        owner = target(scope)
        place = key(scope)
        result = _assigned(scope, value(scope))
        if result.__class__ is not Signal:
            store(scope.meter, owner, place, result)
        return result

    return run


def _assigned(scope: Scope, result: Value) -> Value:
    """Return what an assignment gives; a ``return`` on its right side ends that side only."""
    if result.__class__ is Signal and result is not BREAK and result is not CONTINUE:
        return result.value if scope.meter.language >= AVIATOR_AND_JAYWAY_MEASURED else result
    return result


def choose(branches: list[tuple[Code, Code]], otherwise: Code | None) -> Code:
    """Run the block after the first test that is true."""

    def run(scope: Scope) -> Value:
        for test, block in branches:
            if as_boolean(test(scope)):
                return block(scope)
        return otherwise(scope) if otherwise is not None else None

    return run


def repeat_while(test: Code, body: Code, *, cost: int) -> Code:
    """Run the body while the test is true; the value is nil, as in AviatorScript.

    There, the test that fails ends the loop like a ``break``.
    """

    def run(scope: Scope) -> Value:
        meter = scope.meter
        meter.work(cost)
        while as_boolean(test(scope)):
            result = body(scope)
            if result.__class__ is Signal:
                if result is BREAK:
                    break
                if result is not CONTINUE:
                    return result
            meter.work(cost)
        return None

    return run


def repeat_for(names: tuple[str, ...], values: Code, body: Code) -> Code:
    """Run the body for every element; the value is that of the body's last run.

    It is nil where that run was left by ``break`` or ``continue``. A list must not change its
    size meanwhile.
    """

    def run(scope: Scope) -> Value:
        meter = scope.meter
        last: Value = None
        collection = values(scope)
        size = len(collection) if isinstance(collection, list) else 0
        elements = elements_of(meter, collection, "for")
        by_key = isinstance(collection, dict)
        for place, value in enumerate(elements):
            meter.work(2)
            result = body(Scope(meter, _bound(names, place, value, by_key=by_key), scope))
            if result.__class__ is Signal:
                last = None
                if result is BREAK:
                    break
                if result is not CONTINUE:
                    return result
            else:
                last = result
            if size and len(collection) != size:
                raise ExpressionError("a list must not change its size while a loop goes over it")
        return last if meter.language >= AVIATOR_AND_JAYWAY_MEASURED else None

    return run


def _bound(names: tuple[str, ...], place: int, value: Value, *, by_key: bool) -> dict[str, Value]:
    if len(names) == 1:
        return {names[0]: value}
    if by_key:
        return {names[0]: value["key"], names[1]: value["value"]}
    return {names[0]: place, names[1]: value}


def give_back(value: Code) -> Code:
    """Return from the function, or the whole script, with a value."""
    return lambda scope: Signal("return", value(scope))


def leave_loop(word: str) -> Code:
    """Leave the loop, or continue with its next iteration."""
    signal = BREAK if word == "break" else CONTINUE
    return lambda _: signal


def fail(value: Code) -> Code:
    """Fail with the text of the value."""

    def run(scope: Scope) -> Value:
        raise ExpressionError(f"thrown: {text_of(scope.meter, value(scope))[:200]}")

    return run
