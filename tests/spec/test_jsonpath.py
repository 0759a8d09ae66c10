"""The JSONPath dialect beyond the recorded results (spec 2.8).

What the recording does not show was read from the documentation and the source of Jayway
JsonPath 2.8.0; where it looks odd, it is the library's habit.
"""

import json
from typing import Any, Final

import pytest

from rillflow.errors import (
    BudgetExceededError,
    PathEvaluationError,
    PathFunctionError,
    PathNotFoundError,
    PathSyntaxError,
)
from rillflow.jsontypes import JsonValue
from rillflow.language.jsonpath.paths import compile_path

DOCUMENT: Final[dict[str, Any]] = {
    "list": [3, 1, 2],
    "one": [5],
    "empty": [],
    "map": {"x": 1, "y": {"z": 2}},
    "text": "it's",
    "nothing": None,
    "odd": {"it's": 1, 'a"b': 2, "a\\b": 3, "键": 4, "with space": 5, "": 6, "key-dash": 7},
    "rows": [
        {"n": 1, "tags": ["a", "b"], "sub": {"k": 1}},
        {"n": "1", "tags": [], "sub": None},
        {"n": 2.5, "ok": True},
        {"name": "four"},
    ],
    "ten": 1e10,
}


def _same(left: JsonValue, right: JsonValue) -> bool:
    return json.dumps(left) == json.dumps(right)


def _rows(condition: str) -> list[int]:
    """Return which of the rows pass a filter, as places from 0."""
    passing = compile_path(f"$.rows[?({condition})]").read_strict(DOCUMENT)
    assert isinstance(passing, list)
    return [DOCUMENT["rows"].index(row) for row in passing]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (r"$.odd['it\'s']", 1),
        ("""$.odd["it's"]""", 1),
        ("""$.odd['a"b']""", 2),
        (r"$.odd['a\\b']", 3),
        (r"$.odd['\u952e']", 4),
        ("$.odd.键", 4),
        ("$.odd['with space']", 5),
        ("$.odd['']", 6),
        ("$.odd.key-dash", 7),
        ("$.odd[ 'key-dash' ]", 7),
        ("$['odd']key-dash", 7),
    ],
)
def test_any_name_can_be_addressed(path: str, value: int) -> None:
    assert compile_path(path).read_strict(DOCUMENT) == value


@pytest.mark.parametrize(
    ("selection", "value"),
    [
        ("[-1]", 2),
        ("[0,2]", [3, 2]),
        ("[ 0 , 2 ]", [3, 2]),
        ("[0,9,-1]", [3, 2]),
        ("[1:]", [1, 2]),
        ("[0:]", [3, 1, 2]),
        ("[:0]", []),
        ("[-2:]", [1, 2]),
        ("[-9:]", [3, 1, 2]),
        ("[:2]", [3, 1]),
        ("[:-1]", [3, 1]),
        ("[:-9]", []),
        ("[0:9]", [3, 1, 2]),
        ("[1:-1]", []),
        ("[-3:-1]", [3, 1]),
        ("[-2:2]", [1, 2, 3, 1]),  # with both ends given, counting goes through zero
        ("[0:2:2]", [3, 1]),  # a third number is not looked at
        ("[*]", [3, 1, 2]),
        (".*", [3, 1, 2]),
    ],
)
def test_lists_are_selected_from_by_place(selection: str, value: JsonValue) -> None:
    assert compile_path(f"$.list{selection}").read_strict(DOCUMENT) == value


@pytest.mark.parametrize(
    ("path", "plain", "leaf_to_null"),
    [
        ("$.map['x','no']", {"x": 1}, {"x": 1, "no": None}),
        ("$['map','odd'].x", [1], [1, None]),
        ("$.rows[*].n", [1, "1", 2.5], [1, "1", 2.5, None]),
        ("$.rows[*].sub.k", [1], [1]),
        ("$.map..z", [2], [None, 2]),
        ("$.map..y.z", [2], [2]),
        ("$..sub..k", [1], [1]),
        ("$.map.*", [1, {"z": 2}], [1, {"z": 2}]),
        ("$.text.*", [], []),
        ("$..[0].k", [], [None]),
        ("$.rows..[1]", ["b", {"n": "1", "tags": [], "sub": None}], None),
    ],
)
def test_a_missing_last_name_reads_as_null_in_mappings(
    path: str, plain: JsonValue, leaf_to_null: JsonValue
) -> None:
    compiled = compile_path(path)
    strict = compiled.read_strict(DOCUMENT)
    if leaf_to_null is None:  # the order of what a scan finds is the document's own
        assert isinstance(strict, list)
        assert isinstance(plain, list)
        assert sorted(map(str, strict)) == sorted(map(str, plain))
    else:
        assert strict == plain
        assert compiled.read(DOCUMENT) == leaf_to_null


@pytest.mark.parametrize(
    ("condition", "passing"),
    [
        ("@.n == 1", [0, 1]),
        ("1 == @.n", [0, 1]),
        ("@.n == 1.0", [0]),
        ("@.n == '1'", [0, 1]),
        ("@.n === 1", [0]),
        ("@.n !== 1", [1, 2, 3]),
        ("@.n != 1", [2, 3]),
        ("@.n > 1", [2]),
        ("@.n>=1", [0, 2]),
        ("@.n < '2'", [1]),
        ("@.n <= $.list[1]", [0]),
        ("@.n > 1 && @.n < 3", [2]),
        ("@.n == 2.5 || @.name && @.n == 1", [2]),
        ("!(@.n == 1)", [2, 3]),
        ("!@.n", [3]),
        ("! @.n", [3]),
        ("!@.n == 1", [0, 1]),  # before a comparison "!" means nothing
        ("(@.n == 1) && (@.sub.k == 1)", [0]),
        ("@.sub", [0, 1]),
        ("@.sub.k", [0]),
        ("@['n','sub']", [0, 1]),
        ("@.sub == {'k': 1}", [0]),
        ('@.sub == {"k": 1.0}', []),
        ("@.sub == null", [1]),
        ("@.sub != null", [0, 2, 3]),
        ("@.tags == ['a','b']", [0]),
        ("['a','b'] == @.tags", []),  # a literal on the left equals nothing
        ("@.n in [1, 2.5]", [0, 1, 2]),
        ("@.n IN ['1']", [0, 1]),
        ("@.n nin [1]", [2, 3]),
        ("'a' in @.tags", [0]),
        ("@.tags contains 'a'", [0]),
        ("@.name contains 'ou'", [3]),
        ("@.tags size 2", [0]),
        ("@.name size 4", [3]),
        ("@.tags empty true", [1]),
        ("@.tags empty false", [0]),
        ("@.sub empty false", [0]),
        ("@.tags subsetof ['a','b','c']", [0, 1]),
        ("@.tags anyof ['b','c']", [0]),
        ("@.tags noneof ['b','c']", [1]),
        ("@.ok exists true", [2]),
        ("@.tags all ['a']", []),
        ("@.n type 'x'", []),
        ("@.n =~ /\\d/", [0, 1]),
        ("@.name =~ /FOUR/i", [3]),
        ("@.name =~ /fo/", []),
        ("@.ok =~ /true/", [2]),
        ("@.name =~ /(?:f|x)our/s", [3]),
        ("@.nope =~ /.*/", [0, 1, 2, 3]),  # what is missing matches as an empty text
        ("@.tags =~ /b/", [0]),
        ("@.tags.length() > 1", [0]),
        ("@.tags[0] == 'a'", [0]),
        ("@.tags[?(@ == 'b')] size 1", [0]),
        ("@.tags[?(@ == 'zzz')]", [0, 1]),  # an inner filter always exists, if its list does
        ("@..k == [1]", [0]),
        ("@.n == $.nope", []),
        ("$.map.x == 1", [0, 1, 2, 3]),
        ("@.n.x[?(@.y == 1)]", []),
        ("@.n in 'text'", []),
        ("@.n nin 'text'", []),
        ("@.n == -1", []),
        ("true == @.ok", [2]),
    ],
)
def test_filters_compare_as_the_library_does(condition: str, passing: list[int]) -> None:
    assert _rows(condition) == passing


@pytest.mark.case("FN-24")
def test_a_filter_for_a_boolean_does_not_match_text() -> None:
    path = compile_path("$[?(@.signal == true)]")

    assert path.find({"signal": "true"}) == []
    assert path.find({"signal": True}) == [{"signal": True}]


def test_numbers_become_text_as_in_java() -> None:
    assert compile_path("$[?(@.ten =~ /1\\.0E\\+10/)]").find(DOCUMENT) == [DOCUMENT]
    assert compile_path("$[?(@.t == @.n)]").find({"t": "0.00010", "n": 0.0001}) != []
    assert compile_path("$[?(@.t == 1.50)]").find({"t": "1.50"}) != []
    assert compile_path("$[?(@.t == 01)]").find({"t": "1"}) != []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.list.length()", 3),
        ("$.list.size()", 3),
        ("$.map.length()", 2),
        ("$.text.length()", None),
        ("$.list.sum()", 6.0),
        ("$.list.min()", 1.0),
        ("$.list.max()", 3.0),
        ("$.list.avg()", 2.0),
        ("$.list.stddev()", 0.816496580927726),
        ("$.list.first()", 3),
        ("$.list.last()", 2),
        ("$.list.index(1)", 1),
        ("$.list.index(-1)", 2),
        ("$.list.append(4)", [3, 1, 2, 4]),
        ("$.list.append(4, 5).sum()", 15.0),
        ("$.list.append($.one)", [3, 1, 2, [5]]),
        ('$.concat("a", "b,c", $.text, $.list)', "ab,cit's312"),
        ("$.rows[0].tags.concat()", "ab"),
        ("$.sum($.list, 4)", 10.0),
        ("$..list.length()", 3),
        ("$..n.sum()", 3.5),
        ("$.length($.map)", 2),
        ("$.map.keys()", ["x", "y"]),
        ("$.text.keys()", None),
        ("$.rows[*].tags.length()", [2, 0]),
    ],
)
def test_functions_end_paths(path: str, value: JsonValue) -> None:
    found = compile_path(path).find(DOCUMENT)

    assert found == pytest.approx(value) if isinstance(value, float) else _same(found, value)


@pytest.mark.parametrize(
    "path",
    [
        "$.empty.sum()",
        "$.text.max()",
        "$.one.last()",  # a negative place never reaches the first element
        "$.empty.first()",
        "$.list.index(7)",
        "$.map.first()",
        "$[?(@.rows contains 1)]",  # lists of lists or maps cannot be searched
    ],
)
def test_functions_without_anything_to_work_on_fail(path: str) -> None:
    with pytest.raises(PathFunctionError):
        compile_path(path).find(DOCUMENT)


@pytest.mark.parametrize("path", ["$.list.nope()", "$.text[?(@.x)]", "$.nothing[?(@.x)]"])
def test_what_cannot_be_evaluated_is_an_error_and_not_nothing(path: str) -> None:
    with pytest.raises(PathEvaluationError) as caught:
        compile_path(path).find(DOCUMENT)
    assert not isinstance(caught.value, PathNotFoundError)


@pytest.mark.parametrize(
    "path",
    [
        "$.nope",
        "$.nope.x",
        "$.map.x.y",
        "$.list[9]",
        "$.list[-9]",
        "$.list.x",
        "$.map[0]",
        "$.nothing.x",
        "$.nothing[0]",
        "$.text[0]",
        "$.nope.length()",
    ],
)
def test_a_definite_path_that_leads_nowhere_is_nothing(path: str) -> None:
    compiled = compile_path(path)

    assert compiled.find(DOCUMENT) is None
    assert not compiled.matches(DOCUMENT)
    with pytest.raises(PathNotFoundError):
        compiled.read_strict(DOCUMENT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "$x",
        "$.",
        "$..",
        "$...x",
        "$.a b",
        " $.a",
        "$.a[]",
        "$[x]",
        "$['a]",
        "$['a'",
        "$['a',]",
        "$['a' 'b']",
        "$[1,]",
        "$[1-2]",
        "$[:]",
        "$[1 : 2]",
        "$[99999999999]",
        "$[*x]",
        "$[?(@.x = 1)]",
        "$[?@.x]",
        "$[?(@.x == )]",
        "$[?(@.x == abc)]",
        "$[?(@.x && )]",
        "$[?()]",
        "$[?(true)]",
        "$[?(@.x == 'a)]",
        "$[?(@.x)",
        "$[?((@.x)]",
        "$[?]",
        "$.f(",
        "$.f(}",
        "$.f(1",
        "$[?(@.x == [1)]",
        "$[?(@.x like 'a')]",
        "$[?(@.x =~ /a/x)]",
        "$[?(@.x =~ /(/)]",
        r"$['\ud800']",
        r"$['\uzzzz']",
        "$[?(@.x == 1e999999)]",
        "$.length(1)",
        "$.sum([1)",
    ],
)
def test_other_texts_are_no_paths(text: str) -> None:
    with pytest.raises(PathSyntaxError):
        compile_path(text)


@pytest.mark.parametrize("pattern", ["(?=a)b", "(?<!a)b", r"(a)\1", "a++"])
def test_patterns_that_need_backtracking_are_refused_when_compiled(pattern: str) -> None:
    with pytest.raises(PathSyntaxError, match="unsupported regular expression"):
        compile_path(f"$[?(@.x =~ /{pattern}/)]")


def test_patterns_take_time_linear_in_the_text() -> None:
    assert compile_path("$[?(@.x =~ /(a+)+$/)]").find({"x": "a" * 100_000 + "b"}) == []


def test_values_are_shared_with_the_document() -> None:
    assert compile_path("$.map.y").find(DOCUMENT) is DOCUMENT["map"]["y"]


def test_the_depth_of_a_document_costs_no_stack() -> None:
    deep: dict[str, JsonValue] = {"x": 1}
    for _ in range(50_000):
        deep = {"d": deep}

    assert compile_path("$..x").read_strict(deep) == [1]
    assert compile_path("$[?(@.d == @.d)]").find(deep) == [deep]
    while isinstance(below := deep.pop("d", None), dict):  # take it down from the outside
        deep = below


def test_a_path_visits_a_bounded_number_of_values() -> None:
    wide: JsonValue = {"rows": [{"n": number} for number in range(2_000)]}

    assert compile_path("$.rows[?(@.n > 5)]").find(wide) != []
    with pytest.raises(BudgetExceededError):
        compile_path("$.rows[?($..[?(@.n == -1)] size 1 || @..[?($..n size 1)])]").find(wide)
    with pytest.raises(BudgetExceededError):
        compile_path("$..*..*..*").find({"x": [wide] * 600})


@pytest.mark.parametrize(
    "text",
    [
        "$" + ".a" * 5000,
        "$" + ".a" * 100,
        "$[?(" + "(" * 100 + "@.x" + ")" * 100 + ")]",
        "$" + "[?(@" * 70 + ")]" * 70,
        "$[?(" + "!(" * 90 + "@.x" + ")" * 90 + ")]",
        "$.a" * 500000,
        "$" + ".f($" * 90 + ")" * 90,
    ],
)
def test_texts_that_are_too_long_or_too_deep_are_refused(text: str) -> None:
    with pytest.raises(BudgetExceededError):
        compile_path(text)
