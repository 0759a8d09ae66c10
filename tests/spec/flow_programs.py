"""Random flows, each of which can be traced as well as run as plain Python."""

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

from rillflow.jsontypes import JsonObject, encode_json
from tests.spec.flow_runs import FailedError, opened

Program: TypeAlias = Any
Words: TypeAlias = Any
Scope: TypeAlias = dict[str, list[Any]]

FUNCTIONS: Final = ("cut", "film", "dub")
FAILS: Final = "fails"
_TEXTS: Final = st.one_of(
    st.sampled_from(
        ["sea", "", "123", "true", "$.context.x", "{a: 1}", "it's #{1}", "context.topic", "a\\b\n"]
    ),
    st.text(max_size=6).filter(lambda it: it.isprintable()),
)


def function_of(name: str, given: JsonObject) -> Any:
    """Answer a call, always the same for the same input; some inputs of ``fails`` fail."""
    number = zlib.crc32(name.encode() + encode_json(sorted(given.items())))
    if name == FAILS and number % 2:
        raise FailedError(f"no film {number % 7}")
    return {
        "n": number % 100,
        "t": f"{name}{number % 10}",
        "l": [number % 5, 3, number % 3][: number % 4],
        "o": {"n": number % 11, "a b": "x"},
    }


# -- expressions: a kind, and what it is made of ------------------------------------------------

_VARIABLE: Final = st.integers(0, 5)


def _numbers(depth: int) -> st.SearchStrategy[Program]:
    leaves = st.one_of(
        st.tuples(st.just("constant"), st.integers(-3, 9)),
        st.tuples(st.just("number"), _VARIABLE),
    )
    if depth == 0:
        return leaves
    inner = _numbers(depth - 1)
    return st.one_of(
        leaves,
        st.tuples(st.sampled_from(["+", "-", "*"]), inner, inner),
        st.tuples(st.sampled_from(["//", "%"]), inner, st.sampled_from([2, 3, -3])),
        st.tuples(st.just("length"), _lists()),
    )


def _texts() -> st.SearchStrategy[Program]:
    return st.one_of(
        st.tuples(st.just("constant"), _TEXTS),
        st.tuples(st.just("text"), _VARIABLE),
        st.tuples(st.just("join"), _TEXTS, _VARIABLE),
    )


def _lists() -> st.SearchStrategy[Program]:
    return st.one_of(
        st.tuples(st.just("constant"), st.lists(st.integers(0, 9), max_size=3)),
        st.tuples(st.just("list"), _VARIABLE),
    )


def _conditions(depth: int = 1) -> st.SearchStrategy[Program]:
    compared = st.tuples(
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _numbers(1), _numbers(1)
    )
    if depth == 0:
        return compared
    inner = _conditions(depth - 1)
    return st.one_of(
        compared,
        st.tuples(st.just("=="), _texts(), _texts()),
        st.tuples(st.just("contains"), _lists(), _numbers(0)),
        st.tuples(st.sampled_from(["all_of", "any_of"]), inner, inner),
        st.tuples(st.just("not_"), inner),
    )


_RESULT: Final = st.fixed_dictionaries({"n": _numbers(1), "t": _texts()})


@cache
def bodies(depth: int, *, in_order: bool = False) -> st.SearchStrategy[Program]:
    """Return random bodies: statements, and what is returned; made when they are first drawn.

    Args:
        depth: How deeply statements are nested.
        in_order: Without what runs at the same time.
    """
    return st.deferred(lambda: _bodies(depth, in_order=in_order))


def _bodies(depth: int, *, in_order: bool) -> st.SearchStrategy[Program]:
    statements = st.lists(_statements(depth, in_order=in_order), min_size=1, max_size=3)
    return st.tuples(statements, _RESULT)


def _statements(depth: int, *, in_order: bool) -> st.SearchStrategy[Program]:
    given = st.fixed_dictionaries({"n": _numbers(2), "t": _texts()}, optional={"l": _lists()})
    called = st.tuples(st.just("call"), st.sampled_from(FUNCTIONS), given, st.booleans())
    if depth == 0:
        return called
    inner = bodies(depth - 1, in_order=in_order)
    kinds = [
        called,
        called,
        st.tuples(st.just("when"), _conditions(), inner, inner),
        st.tuples(st.just("catch"), inner, given, inner),
    ]
    if not in_order:
        several = st.lists(_statements(depth - 1, in_order=False), min_size=1, max_size=3)
        kinds += [
            st.tuples(st.just("foreach"), _lists(), inner),
            st.tuples(st.sampled_from(["parallel", "sequence"]), several),
        ]
    return st.one_of(kinds)


# -- how they are run ---------------------------------------------------------------------------


class Execution:
    """Runs a program with the words of ``rillflow.flow``, or with those of plain Python."""

    def __init__(
        self, words: Words, call: Callable[..., Any], callback: Callable[..., Any]
    ) -> None:
        self._words = words
        self._calls = {False: call, True: callback}

    def body(self, program: Program, scope: Scope) -> Any:
        """Run statements in a scope of their own, and return what is returned."""
        scope = {kind: list(values) for kind, values in scope.items()}
        statements, result = program
        for statement in statements:
            self._statement(statement, scope)
        return {"n": self._value(result["n"], scope), "t": self._value(result["t"], scope)}

    def _statement(self, statement: Program, scope: Scope) -> None:
        kind, *parts = statement
        if kind in ("parallel", "sequence"):
            with getattr(self._words, kind)():
                for inner in parts[0]:
                    self._statement(inner, scope)
            return
        made = getattr(self, f"_{kind}")(scope, *parts)
        scope["number"].append(made.n)
        scope["text"].append(made.t)

    def _call(self, scope: Scope, name: str, given: Program, later: bool) -> Any:  # noqa: FBT001
        made = self._calls[later](f"http://gateway/{name}", **self._given(given, scope))
        scope["number"].append(made.o.n)
        scope["list"].append(made.l)
        return made

    def _foreach(self, scope: Scope, items: Program, body: Program) -> Any:
        def each(item: Any, place: Any) -> Any:
            return self.body(body, {**scope, "number": [*scope["number"], item, place]})

        made = self._words.foreach(self._value(items, scope), each)
        scope["list"].append(made[:].n)
        words = self._words
        return words.when(words.length(made) > 0, lambda: made[0]).otherwise(
            lambda: {"n": -1, "t": "none"}
        )

    def _when(self, scope: Scope, condition: Program, one: Program, other: Program) -> Any:
        holds = self._value(condition, scope)
        if isinstance(holds, bool):
            return opened(self.body(one if holds else other, scope))
        decision = self._words.when(holds, lambda: self.body(one, scope))
        return decision.otherwise(lambda: self.body(other, scope))

    def _catch(self, scope: Scope, body: Program, given: Program, handler: Program) -> Any:
        def attempt() -> Any:
            self._calls[False](f"http://gateway/{FAILS}", **self._given(given, scope))
            return self.body(body, scope)

        def handle(error: Any) -> Any:
            return self.body(handler, {**scope, "text": [*scope["text"], error.msg]})

        return self._words.catch(attempt, handle)

    def _given(self, given: Program, scope: Scope) -> dict[str, Any]:
        return {key: self._value(value, scope) for key, value in given.items()}

    def _value(self, expression: Program, scope: Scope) -> Any:
        if not isinstance(expression, tuple):
            return expression
        kind, *parts = expression
        if kind == "constant":
            return parts[0]
        if kind in ("number", "text", "list"):
            return scope[kind][parts[0] % len(scope[kind])]
        if kind == "join":
            return parts[0] + scope["text"][parts[1] % len(scope["text"])]
        operands = [self._value(part, scope) for part in parts]
        return (_OPERATIONS[kind] if kind in _OPERATIONS else getattr(self._words, kind))(*operands)


_OPERATIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
