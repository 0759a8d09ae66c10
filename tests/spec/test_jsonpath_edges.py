"""The corners of the JSONPath dialect: odd operands, odd arguments, short stacks."""

from typing import Any, Final

import pytest

from rillflow.errors import (
    LanguageError,
    PathEvaluationError,
    PathFunctionError,
    PathSyntaxError,
)
from rillflow.jsontypes import JsonValue
from rillflow.language.jsonpath.filter_syntax import read_filter
from rillflow.language.jsonpath.paths import compile_path

DOCUMENT: Final[dict[str, Any]] = {
    "n": 1,
    "zero": -0.0,
    "text": "0.0",
    "list": [1, 2],
    "map": {"x": 1},
    "other": {"y": 1},
    "huge": 10**5_000,
    "digits": "9" * 5_000,
    "yes": True,
}


def passes(condition: str) -> bool:
    """Tell whether the whole document passes a filter."""
    return compile_path(f"$[?({condition})]").find(DOCUMENT) == [DOCUMENT]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("@.text == @.zero", True),
        ("@.text != '0.0'", False),
        ("@.text != '0'", True),
        ("@.map != {'x': 1}", False),
        ("@.list != @.list", False),
        ("@.yes != true", False),
        ("@.n === 1.0", True),
        ("@.n === '1'", False),
        ("@.n !== '1'", True),
        ("@.n !== 1", False),
        ("@.text === '0.0'", True),
        ("@.yes === true", True),
        ("@.map === {'x': 1}", True),
        ("@.map !== {'x': 1}", False),
        ("@.list === [1, 2]", True),
        ("@.list === [1, 3]", False),
        ("@.n == @.text", False),
        ("@.n == 'one'", False),
        ("@.n == @.digits", False),
        ("@.n < @.huge", True),
        ("@.map == @.other", False),
        ("@.map == {'x': 1, 'y': 2}", False),
        ("@.list == [1]", False),
        ("@.list == [1, 3]", False),
        ("@.list == ['1', 2]", False),
        ("@.list == @.list", True),
        ("@.list == [,1,2,]", True),
        ("@.yes in [no, true, 'b']", True),
        ("@.text in [0.0 , x]", True),
        ("@.n in {'a': 1}", False),
        ("@.n nin {'a': 1}", True),
        ("@.map contains 'x'", False),
        ("@.map subsetof [1]", False),
        ("@.list subsetof {'a': 1}", False),
        ("@.list anyof @.map", False),
        ("@.map anyof [1]", False),
        ("@.map noneof [1]", False),
        ("@.n subsetof [1]", False),
        ("@.map size -1", True),
        ("@.list size '2'", False),
        ("@.n size 1", False),
        ("@.list size 1e99", False),
        ("@.n empty false", False),
        ("@.list empty 1", False),
        ("@.n exists true", False),
        ("@.n =~ 'x'", False),
        ("/a/ =~ /b/", False),
        ("/1/ =~ @.n", True),
        ("@.list =~ /2/", True),
        ("@.map =~ /.*/", True),
        ("@.text =~ /0\\.0/mdu", True),
        ("['a'] == ['a']", False),
        ("[1] size 1", True),
        ("[] empty true", True),
        ("!@.nope == @.nope", True),
        ("@['n'] == 1", True),
        ("@['map']['x'] == 1", True),
        ("@.list[9].length() == null", False),
        ("@.list[9].length() != 1", True),
        ("$..x contains 1", True),
        ("$..x contains 1 && $..x contains 1", True),
    ],
)
def test_odd_operands_compare_as_the_library_does(condition: str, *, expected: bool) -> None:
    assert passes(condition) is expected


def test_in_a_condition_a_function_of_something_missing_is_null() -> None:
    assert compile_path("$[?(@.list[9].length() == null)]").matches(DOCUMENT)
    assert compile_path("$[?(@.map..q == null)]").matches(DOCUMENT) is False


@pytest.mark.parametrize("condition", ["@.n exists 1", "@.text == @.huge", "[[1]] contains 1"])
def test_some_comparisons_fail_instead_of_being_false(condition: str) -> None:
    with pytest.raises(PathFunctionError):
        passes(condition)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.list.concat('not read', word)", ""),
        ('$.concat("a", $.map, $.list, true, $.yes, -1.5)', "a12true-1.5"),
        ("$.list.append([1, [2]], {a: 'x'})", [1, 2, [1, [2]], {"a": "x"}]),
        ('$.concat("(a,)", "b\\"")', '(a,)b"'),
        ("$.n.sum(1, 2)", 3.0),
        ("$.n.append(1)", 1),
        ("$.length($)", 9),
        ("$.length($.n)", 0),
        ("$.length($.list.append(1))", 3),
        ("$.size($.list.append(1))", 3),
        ("$.size($)", 9),
        ("$..x.append(1).length()", 9),
        ("$..length().x", []),
        ("$.nope.*", None),
    ],
)
def test_odd_arguments_are_read_as_the_library_does(path: str, value: JsonValue) -> None:
    assert compile_path(path).find(DOCUMENT) == value


def test_below_a_wildcard_a_filter_passes_over_scalars() -> None:
    assert compile_path("$.*[?(@.x == 1)]").find(DOCUMENT) == [{"x": 1}]


def test_a_missing_argument_is_null_in_a_condition_and_nowhere_else() -> None:
    path = compile_path("$.list.append($.nope)[2]")

    assert path.matches(DOCUMENT)
    assert path.find(DOCUMENT) is None


@pytest.mark.parametrize(
    "path",
    ["$..sum()", "$.list.index()", "$.sum($.huge)", "$.max(1e308, $.huge)", "$.length($.nope)"],
)
def test_arguments_that_make_no_sense_fail(path: str) -> None:
    with pytest.raises(PathEvaluationError):
        compile_path(path).read(DOCUMENT)


def test_a_function_makes_texts_of_bounded_length() -> None:
    with pytest.raises(PathFunctionError, match="characters"):
        compile_path("$.concat($.a, $.a, $.a)").find({"a": "x" * 400_000})


@pytest.mark.parametrize(
    "text",
    [
        "$[?(@.a'b)c' == 1)]",
        "$[?(@.a'b == 'c)]",
        "$[?(@.a == !1)]",
        "$[?(@.a == tru)]",
        "$[?(@.a[ == 1)]",
        "$[?(@.a == {a})]",
        "$[?(@.a == {a:})]",
        "$[?(@.a == [1] 2)]",
        "$[?(@.a == 1.2.3)]",
        "$[?(@.a == 1e99999)]",
        "$[?(@.a == 1e400)]",
        "$['a',,'b']",
        "$[1;2]",
        '$.f("a" b)',
        '$.f("a)',
        "$.f({a)",
        "$.f([1)",
        "$[?(@.a =~ /x/) || ]",
    ],
)
def test_more_texts_that_are_no_paths(text: str) -> None:
    with pytest.raises(PathSyntaxError):
        compile_path(text)


def test_a_filter_without_its_end_is_refused() -> None:
    with pytest.raises(PathSyntaxError, match="too early"):
        read_filter("(", 0)


def test_errors_quote_long_texts_shortened() -> None:
    with pytest.raises(LanguageError) as caught:
        compile_path("$[" + "x" * 5_000)
    assert len(str(caught.value)) < 400


SHOP: Final[dict[str, Any]] = {
    "open": True,
    "wanted": 1,
    "kinds": [1],
    "sizes": [2],
    "list": [{"kind": 1, "size": 2, "parts": [{"of": 1, "n": 5}]}],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.list[?($.open)].kind", [1]),
        ("$.list[?($.closed)].kind", []),
        ("$.list[?($.open && @.size == 2)].kind", [1]),
        ("$.list[?(@.kind in $.kinds[*] && @.size in $.sizes[*])].kind", [1]),
        ("$.list[?(@.kind in $.sizes[*] || @.size in $.kinds[*])].kind", []),
        ("$.list[?(@.parts[?(@.of == $.wanted)].n contains 5)].kind", [1]),
        ("$.list[?(@.parts[?(@.of == $.list)].n contains 5)].kind", []),
        ("$.sum($.list[?(@.kind == $.wanted)].size)", 2.0),
    ],
)
def test_the_root_means_the_whole_document_however_deep_it_is_asked_for(
    path: str, value: JsonValue
) -> None:
    assert compile_path(path).find(SHOP) == value


def test_texts_compare_with_numbers_as_these_are_written() -> None:
    document: JsonValue = {"price": "1.50"}
    for condition, holds in (("== 1.50", True), ("!= 1.50", False), ("!= 1.5", True)):
        assert bool(compile_path(f"$[?(@.price {condition})]").find(document)) is holds


@pytest.mark.parametrize(
    ("text", "pattern", "matches"),
    [
        ("abc", "/ABC/", False),
        ("abc", "/ABC/i", True),
        ("a\nc", "/a.c/", False),
        ("a\nc", "/a.c/s", True),
        ("a\nc", "/a$\\nc/", False),
        ("a\nc", "/a$\\nc/m", True),
        ("A\nc", "/a.C/is", True),
        ("abc", "/b/", False),
    ],
)
def test_a_pattern_is_for_the_whole_text_and_its_flags_count(
    text: str, pattern: str, *, matches: bool
) -> None:
    assert compile_path(f"$[?(@.t =~ {pattern})]").matches({"t": text}) is matches


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.001, "0.001"),
        (0.00025, "0.00025"),
        (0.0001, "0.00010"),
        (1234567.5, "1234567.5"),
        (9999999.0, "9999999.0"),
        (10000000.0, "1.0E+7"),
        (12500000.0, "1.25E+7"),
        (-12500000.0, "-1.25E+7"),
        (-0.5, "-0.5"),
        (200.0, "200.0"),
        (12, "12"),
    ],
)
def test_a_number_is_compared_as_the_text_that_java_gives_it(number: float, text: str) -> None:
    path = compile_path("$[?(@.text == @.number)]")
    assert path.matches({"text": text, "number": number})
    assert not path.matches({"text": text + "0", "number": number})
