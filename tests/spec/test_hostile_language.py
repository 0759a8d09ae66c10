"""No text and no document makes the language raise an error that is not its own, or run on."""

import contextlib
import json
import tracemalloc
from copy import deepcopy
from typing import Final, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rillflow.errors import (
    BudgetExceededError,
    LanguageError,
    MappingError,
    PathEvaluationError,
    PathNotFoundError,
    PathSyntaxError,
    WorkLimitError,
)
from rillflow.jsontypes import JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.jsonpath.syntax import MAX_PATH_CHARS
from rillflow.language.mapping.mappings import compile_mappings
from rillflow.language.mapping.targets import Draft, compile_target
from rillflow.language.text.literals import parse_literal
from tests.fuzzing import examples
from tests.machine_speed import processor_time

SECOND: Final = 1.0
MEGABYTE: Final = 1 << 20
LITTLE: Final = 4 * MEGABYTE
NAMES: Final = ("context", "input", "a", "b", "键", "x-y", "0")
PIECES: Final = (
    *("$", "@", ".", "..", "[", "]", "*", "?(", ")", "(", "'", '"', "\\", ",", ":", "-", "/", " "),
    *(
        "==",
        "!=",
        "<",
        ">=",
        "=~",
        "&&",
        "||",
        "!",
        "{",
        "}",
        "\\u",
        "\ud800",
        "\x00",
        "1e9",
        "007",
    ),
    *(" in ", " contains ", " size ", " empty true", "length()", "sum(", "concat(", "null", "true"),
    *NAMES,
)


class Rule(NamedTuple):
    """A mapping rule."""

    source: str | None
    target: str | None
    transform: str | None = None
    tolerance: bool | None = None


def _joined(pieces: tuple[str, ...], size: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=size).map("".join)


leaves: Final = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
documents: Final[st.SearchStrategy[JsonValue]] = st.recursive(
    leaves.filter(lambda leaf: leaf not in (float("inf"), float("-inf"))),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inside, max_size=4)
    ),
    max_leaves=20,
)
names: Final = st.sampled_from(NAMES)
literals: Final = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(("1.5", "'a'", '"b"', "null", "true", "['a', 1]", "{'a': 1}", "/a.*/i")),
)
selections: Final = st.one_of(
    names.map(lambda name: f".{name}"),
    names.map(lambda name: f"['{name}']"),
    st.lists(names, min_size=2, max_size=3).map(lambda some: f"[{','.join(map(repr, some))}]"),
    st.integers(-3, 3).map(lambda index: f"[{index}]"),
    st.tuples(st.integers(-3, 3), st.integers(-3, 3)).map(lambda ends: f"[{ends[0]}:{ends[1]}]"),
    st.sampled_from(("[*]", ".*", "..a", "..*", "..[0]", "[0,1]", "[1:]", "[:-1]")),
)
operators: Final = st.sampled_from(
    ("==", "!=", "===", "<", ">=", "=~", "in", "nin", "contains", "size", "empty", "anyof")
)
paths: Final = st.deferred(lambda: st.lists(selections | filters, max_size=4).map("".join))
comparisons: Final = st.builds(
    lambda path, operator, literal: f"@{path} {operator} {literal}",
    paths,
    operators,
    literals | paths.map(lambda path: f"$.context{path}"),
)
filters: Final[st.SearchStrategy[str]] = st.deferred(
    lambda: st.one_of(
        comparisons.map(lambda comparison: f"[?({comparison})]"),
        st.tuples(comparisons, comparisons).map(lambda two: f"[?({two[0]} && !({two[1]}))]"),
        paths.map(lambda path: f"[?(!@{path})]"),
    )
)


def _read_all_ways(text: str, document: JsonValue) -> None:
    path = compile_path(text)
    for read in (path.find, path.read, path.read_strict, path.matches, path.places):
        with contextlib.suppress(PathEvaluationError, BudgetExceededError):
            read(document)


@settings(max_examples=examples(300))
@given(_joined(PIECES, 30) | st.text(max_size=30), documents)
@example("$[?(@.a == '\\ud800')]", {})
@example("$.a[", {"a": 1})
def test_any_text_is_a_path_or_a_path_error(text: str, document: JsonValue) -> None:
    before = deepcopy(document)
    with contextlib.suppress(PathSyntaxError, BudgetExceededError):
        _read_all_ways(text, document)
    assert document == before


@settings(max_examples=examples(300))
@given(paths, documents, documents)
def test_generated_paths_compile_and_evaluate_within_their_budget(
    path: str, context: JsonValue, given_input: JsonValue
) -> None:
    document: JsonValue = {"context": context, "input": given_input}
    compiled = compile_path(f"$.context{path}")
    before = deepcopy(document)
    _read_all_ways(f"$.context{path}", document)

    assert document == before
    with contextlib.suppress(PathEvaluationError, BudgetExceededError):
        found = compiled.find(document)
        assert compiled.definite or found is None or isinstance(found, list)


@settings(max_examples=examples(200))
@given(st.lists(selections, max_size=4).map("".join), documents)
def test_without_filters_a_condition_holds_when_something_is_read(
    path: str, document: JsonValue
) -> None:
    compiled = compile_path(f"${path}")
    try:
        value = compiled.read_strict(document)
    except PathNotFoundError:
        found = False
    else:
        found = compiled.definite or bool(value)
    if compiled.definite and "," not in path:
        assert compiled.matches(document) is found
    elif found:
        assert compiled.matches(document)


@settings(max_examples=examples(300))
@given(
    _joined(('"', "{", "}", "[", "]", ":", ",", "a", "1", ".5", "e9", "\\u", "-", "true", " "), 30)
)
@example('{a:1,"a":[1e400]}')
def test_any_text_is_a_literal(text: str) -> None:
    with contextlib.suppress(BudgetExceededError):
        value = parse_literal(text)
        assert isinstance(json.dumps(value, allow_nan=False), str)
        assert not isinstance(value, str) or value == text


@settings(max_examples=examples(200))
@given(
    st.lists(selections, max_size=4).map(lambda steps: "$.input" + "".join(steps)),
    documents,
    documents,
)
def test_writes_fail_with_an_error_of_the_language_or_change_only_the_draft(
    text: str, document: JsonValue, value: JsonValue
) -> None:
    before, written = deepcopy(document), deepcopy(value)
    draft = Draft({"input": document, "context": {}})
    with contextlib.suppress(LanguageError):
        compile_target(text).write(draft, value)
        compile_target(f"{text}.more").write(draft, value)
    assert document == before
    assert value == written


@settings(max_examples=examples(150))
@given(
    st.lists(
        st.builds(
            Rule,
            st.none() | _joined(PIECES, 6) | paths.map(lambda path: f"$.context{path}"),
            st.none() | _joined(PIECES, 6) | paths.map(lambda path: f"$.input{path}"),
            st.none() | st.sampled_from(("source", "context.a + 1", "nope(", "seq.list(input)")),
            st.sampled_from((None, True, False)),
        ),
        max_size=6,
    ),
    documents,
)
def test_mapping_lists_change_nothing_that_they_were_given(
    rules: list[Rule], context: JsonValue
) -> None:
    before = deepcopy(context)
    mappings = compile_mappings(rules)
    budget = TotalBudget(steps=50_000, memory_bytes=500_000)
    tracemalloc.start()
    try:
        with contextlib.suppress(MappingError, WorkLimitError):
            mapped = mappings.apply(context=context, input={}, output=context, budget=budget)
            assert len(mapped.passed_over) <= len(rules)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LITTLE
    assert context == before


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "{",
        "(",
        "$",
        ".",
        "..a",
        "'",
        '"',
        "\\",
        "[?(",
        "[?(@.a",
        "&&",
        "!",
        "/",
        "[0]",
        ",",
        "a",
        "['a']",
        ".f(",
        "1",
        "-",
        "e",
        " ",
    ],
)
def test_a_megabyte_of_anything_is_handled_at_once(piece: str) -> None:
    filtered = f"$[?({piece * MAX_PATH_CHARS}"[: MAX_PATH_CHARS - 2] + ")]"
    with processor_time(SECOND):
        for text in ("$" + piece * MEGABYTE, ("$." + piece * MAX_PATH_CHARS)[:MAX_PATH_CHARS]):
            for compiling in (compile_path, compile_target, parse_literal):
                with contextlib.suppress(LanguageError):
                    compiling(text)
        with contextlib.suppress(LanguageError):
            compile_path(filtered).find({"a": [1]})
