"""Whatever the text and the values, only the three errors of expressions come out.

And what comes out is plain JSON, the variables are as they were, and a second
evaluation gives the same. No evaluation takes much more memory than its budget says.
"""

import copy
import json
import tracemalloc
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from rillflow.errors import BudgetExceededError, ExpressionError, ExpressionSyntaxError
from rillflow.jsontypes import encode_json
from rillflow.language.expressions import Budget, compile_expression
from rillflow.language.expressions.functions import FUNCTIONS
from tests.fuzzing import examples

SMALL: Final = Budget(
    steps=20_000, string_length=10_000, collection_size=1000, memory_bytes=500_000
)
#: What an evaluation may take besides what its budget counts: frames, scopes, errors.
BESIDES: Final = 2_000_000
OPERATORS: Final = (
    *("+", "-", "*", "/", "%", "**", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "&", "|", "^"),
    *("<<", ">>", ">>>", "=~"),
)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
NAMES: Final = ("source", "context", "context.a", "x", "y", "source.a.b", "$1")
WORDS: Final = (
    *("if", "else", "elsif", "for", "in", "while", "let", "return", "break;", "continue;", "fn"),
    *("lambda(x) ->", "end", "true", "false", "nil", "(", ")", "[", "]", "{", "}", ";", ",", "."),
    *("+", "-", "*", "/", "%", "**", "=", "==", "!=", "<", ">=", "&&", "||", "!", "?", ":", "=~"),
    *("&", "|", "^", "~", "<<", ">>", ">>>", "'a'", '"#{x}"', "'#{", "/a+/", "1", "2.5", "0x1f"),
    *("##", "\n", "\\", "#", "range(0, 3)", "seq.list(1, 2)", "seq.map('a', 1)", "new", "throw"),
    *NAMES,
    *FUNCTIONS,
)


def outcome_of(text: str, env: dict[str, Any]) -> Any:
    """Evaluate; return the result as JSON text, or the error's type and message."""
    try:
        result = compile_expression(text).evaluate(env, seed=1, budget=SMALL)
    except (BudgetExceededError, ExpressionError, ExpressionSyntaxError) as error:
        return type(error), str(error)
    return json.dumps(result, allow_nan=False)


def check(text: str, source: Any, context: Any) -> None:
    env = {"source": source, "context": context}
    before = copy.deepcopy(env)
    outcome = outcome_of(text, env)

    assert env == before
    tracemalloc.start()
    try:
        assert outcome_of(text, env) == outcome
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * SMALL.memory_bytes + BESIDES
    if isinstance(outcome, str):
        json.loads(outcome)


@given(st.text(max_size=60), VALUES)
def test_any_text_is_evaluated_or_refused(text: str, source: Any) -> None:
    check(text, source, {})


@given(st.lists(st.sampled_from(WORDS), max_size=25), VALUES)
@settings(max_examples=examples(300))
def test_any_row_of_words_is_evaluated_or_refused(words: list[str], source: Any) -> None:
    check(" ".join(words), source, {"a": source})


def _call(parts: tuple[str, list[str]]) -> str:
    return f"{parts[0]}({', '.join(parts[1])})"


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(inner, inner)
    operators = st.sampled_from(OPERATORS)
    return (
        st.tuples(inner, operators, inner).map(" ".join)
        | st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, max_size=3)).map(_call)
        | st.tuples(st.sampled_from("-!~"), inner).map("".join)
        | pairs.map(lambda two: f"({two[0]} ? {two[1]} : {two[0]})")
        | pairs.map(lambda two: f"({two[0]})[{two[1]}]")
        | inner.map(lambda one: f"lambda(x) -> {one} end")
        | inner.map(lambda one: f"'<#{{{one.replace(chr(39), chr(34))}}}>'")
    )


def _statements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(inner, inner)
    return (
        inner.map(lambda one: f"let x = {one};")
        | inner.map(lambda one: f"y = {one};")
        | inner.map(lambda one: f"source.a = {one};")
        | pairs.map(lambda two: f"if {two[0]} {{ {two[1]} }} else {{ x = {two[0]}; }}")
        | pairs.map(lambda two: f"for x in {two[0]} {{ y = {two[1]}; }}")
        | pairs.map(lambda two: f"while {two[0]} {{ x = {two[1]}; break; }}")
        | pairs.map(lambda two: f"fn x(y) {{ {two[0]}; return {two[1]}; }}")
        | pairs.map(lambda two: f"seq.add({two[0]}, {two[1]});")
    )


CONSTANTS: Final = ("1", "0", "-3", "2.5", "'a'", "'a1'", "true", "nil", "/a./", "9 ** 99")
COLLECTIONS: Final = ("seq.list(1, 2)", "seq.map('a', 1)", "seq.set(1)", "range(0, 4)", "+")
EXPRESSIONS: Final = st.recursive(
    st.sampled_from((*NAMES, *CONSTANTS, *COLLECTIONS)), _larger, max_leaves=8
)
SCRIPTS: Final = st.tuples(
    st.lists(_statements(EXPRESSIONS), max_size=4).map("\n".join), EXPRESSIONS
).map("\n".join)


@given(SCRIPTS, VALUES)
@settings(max_examples=examples(400))
def test_any_script_is_evaluated_or_fails_with_an_expression_error(
    script: str, source: Any
) -> None:
    check(script, source, {"a": source})


@given(VALUES)
def test_values_pass_through_unchanged(source: Any) -> None:
    result = compile_expression("source").evaluate({"source": source})

    assert json.dumps(result) == json.dumps(source)


@given(st.text(max_size=20))
def test_texts_are_their_own_text(text: str) -> None:
    assert compile_expression("'' + source").evaluate({"source": text}) == text


@given(st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.text(max_size=3), max_size=3))
def test_the_text_of_a_map_is_its_json(source: dict[str, Any]) -> None:
    text = compile_expression("'' + source").evaluate({"source": source})

    assert text == encode_json(source).decode()
    assert isinstance(text, str)
    assert json.loads(text) == source


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_quotient_and_remainder_fit_together(dividend: int, divisor: int) -> None:
    env = {"a": dividend, "b": divisor or 1}
    text = (
        "let q = a / b; let r = a % b; seq.list(q * b + r, r * a >= 0, math.abs(r) < math.abs(b))"
    )

    assert compile_expression(text).evaluate(env) == [dividend, True, True]
