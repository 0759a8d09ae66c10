"""A condition is a path that is true when it leads anywhere (spec 2.9)."""

from typing import Final

import pytest

from rillflow.errors import BudgetExceededError, PathEvaluationError, PathSyntaxError
from rillflow.jsontypes import JsonValue
from rillflow.language.mapping.conditions import all_hold, any_holds, holds

DOCUMENT: Final[JsonValue] = {"input": {"a": 1, "b": 2, "c": 3}}
ALL_TRUE: Final = ["$.input.[?(@.a == 1)]", "$.input.[?(@.b == 2)]", "$.input.[?(@.c == 3)]"]
ONE_FALSE: Final = ["$.input.[?(@.a == 1)]", "$.input.[?(@.b == 1)]", "$.input.[?(@.c == 3)]"]
NONE_TRUE: Final = ["$.input.[?(@.a == 0)]", "$.input.[?(@.b == 0)]", "$.input.[?(@.c == 0)]"]


@pytest.mark.case("CU-01")
def test_all_conditions_must_hold() -> None:
    assert all_hold(ALL_TRUE, DOCUMENT)
    assert not all_hold(ONE_FALSE, DOCUMENT)
    assert not all_hold(NONE_TRUE, DOCUMENT)
    assert all_hold([], DOCUMENT)


@pytest.mark.case("CU-02")
def test_one_condition_is_enough_for_any() -> None:
    assert any_holds(ALL_TRUE, DOCUMENT)
    assert any_holds(ONE_FALSE, DOCUMENT)
    assert not any_holds(NONE_TRUE, DOCUMENT)
    assert not any_holds([], DOCUMENT)


@pytest.mark.case("JP-15")
@pytest.mark.parametrize("condition", ['[?(@.color == "red1")]', "[?(@.price > 100)]"])
def test_filters_that_match_nothing_are_false(condition: str) -> None:
    bicycle: JsonValue = {"store": {"bicycle": {"color": "red", "price": 19.95}}}

    assert not holds(f"$.store.bicycle.{condition}", bicycle)


@pytest.mark.case("JP-17")
def test_a_plain_path_asks_whether_the_key_is_there() -> None:
    assert holds("$.input.x", {"input": {"x": None}})
    assert holds("$.input.x", {"input": {"x": False}})
    assert holds("$.input.x", {"input": {"x": 0}})
    assert not holds("$.input.x", {"input": {}})


@pytest.mark.case("JP-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"x": 0}, True),
        ({"x": "0"}, True),
        ({"x": "00"}, False),
        ({"x": False}, False),
        ({}, False),
    ],
)
def test_text_equals_a_number_by_its_text(fields: JsonValue, *, expected: bool) -> None:
    assert holds("$.input.[?(@.x == 0)]", {"input": fields}) is expected


@pytest.mark.case("JP-19")
def test_a_missing_key_is_unequal_to_every_value() -> None:
    assert holds("$.input.[?(@.x != 0)]", {"input": {}})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("$.input.[?(@.no == null)]", True),
        ("$.input.[?(@.no.way == null)]", True),
        ("$.input.[?(@.no != null)]", False),
        ("$.input.[?(@.no == @.nix)]", True),
        ("$.input.[?(@.no < 5)]", False),
        ("$.input.[?(@.no)]", False),
        ("$.input.[?(!@.no)]", True),
        ("$.input.[?(@.a == $.input.list[0])]", True),
        ("$.input.list[?(@ == 9)]", False),
        ("$.input.list.length()", False),
        ("$.input.list[?(@ > 1)].length()", False),
        ("$.context.a", False),
        ("$.output.[?(@.a == 1)]", False),
        ("$.input.no.way[?(@.x == 1)]", False),
        ("$.input.no[0].x", False),
        ("$.input.a.b", False),
        ("$.input.list[*]", True),
        ("$.input..b", True),
        ("$", True),
        ("input.a", True),
    ],
)
def test_missing_parts_are_no_match_and_no_error(condition: str, *, expected: bool) -> None:
    assert holds(condition, {"input": {"a": 1, "b": 2, "list": [1, 2]}}) is expected


@pytest.mark.parametrize(
    "condition",
    ["$.input.name[?(@.x == 1)]", "$.input.nothing[?(@.x == 1)]", "$.input[?(@.l in @.l)]"],
)
def test_a_filter_that_meets_a_scalar_is_an_error(condition: str) -> None:
    document: JsonValue = {"input": {"name": "text", "nothing": None, "l": [[1]]}}
    with pytest.raises(PathEvaluationError):
        holds(condition, document)


@pytest.mark.parametrize("condition", ["", "default", "$.input[?(@.x = 1)]"])
def test_a_text_that_is_no_path_is_an_error(condition: str) -> None:
    if condition == "default":  # a path without "$", which only a switch reads otherwise
        assert not holds(condition, DOCUMENT)
    else:
        with pytest.raises(PathSyntaxError):
            holds(condition, DOCUMENT)


def test_a_condition_visits_a_bounded_number_of_values() -> None:
    with pytest.raises(BudgetExceededError):
        holds("$..*..*..*", {"input": [[[number]] * 20 for number in range(20_000)]})


def test_conditions_behind_a_decided_one_are_not_looked_at() -> None:
    assert not all_hold(["$.nope", "$["], DOCUMENT)
    assert any_holds(["$.input", "$["], DOCUMENT)
    with pytest.raises(PathSyntaxError):
        all_hold(["$.input", "$[x]"], DOCUMENT)
