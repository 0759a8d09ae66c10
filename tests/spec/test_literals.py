"""A text that is no path is a number, a boolean, an object, a list, or itself (spec 2.4)."""

import json
from typing import Final

import pytest

from rillflow.errors import BudgetExceededError
from rillflow.jsontypes import JsonValue
from rillflow.language.text.literals import parse_literal
from rillflow.language.text.loose_json import MAX_NESTING

MEGABYTE: Final = 1 << 20


def _same(left: JsonValue, right: JsonValue) -> bool:
    return json.dumps(left) == json.dumps(right)


@pytest.mark.case("JP-05")
@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false ", False), ("TRUE", True), ("\tFalse\n", False)]
)
def test_booleans_are_read_in_any_case_and_trimmed(text: str, *, value: bool) -> None:
    assert parse_literal(text) is value


@pytest.mark.case("JP-07")
@pytest.mark.parametrize(
    "text",
    [
        "1.1.1",
        "string",
        " string\t",
        "",
        "  ",
        "null",
        '"abc"',
        "'a'",
        "1e",
        "e3",
        ".",
        "+",
        "-.",
        "1 2",
        "0x1f",
        "1_000",
        "\uff11\uff12",
        "NaN",
        "Infinity",
        "trueish",
        "1e400",
        "1.5e400",
        "-1e999999999",
        "9e308",
        "-9e308",
        "9.5e308",
        "\u00a05",
        "\u2003true",
        "9" * 5000,
    ],
)
def test_every_other_text_stays_as_it_is(text: str) -> None:
    assert parse_literal(text) == text


@pytest.mark.case("JP-16")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("123", 123),
        (" 123 ", 123),
        ("\x01123\x1f", 123),
        ("+5", 5),
        ("-7", -7),
        ("1.", 1.0),
        ("1.0", 1.0),
        ("00.1", 0.1),
        (".1", 0.1),
        ("-.5", -0.5),
        ("-0.0", 0.0),
        ("1e3", 1000),
        ("1E+3", 1000),
        ("15e-1", 1),
        ("1.5e3", 1500.0),
        ("0123", 123),
        ("9223372036854775808", 2**63),
        ("1" + "0" * 400, 10**400),
        ("1e308", 10**308),
        ("0e999999999", "0e999999999"),
    ],
)
def test_numbers_are_doubles_with_a_point_and_exact_integers_without(
    text: str, value: JsonValue
) -> None:
    assert _same(parse_literal(text), value)


@pytest.mark.case("JP-16")
def test_null_and_quoted_text_stay_text() -> None:
    assert parse_literal("null") == "null"
    assert parse_literal('"abc"') == '"abc"'


@pytest.mark.case("JP-08")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":1}', {"a": 1}),
        ('{"a":{"b":1}}', {"a": {"b": 1}}),
        ('{"a":{"b":[1,2,3]}}', {"a": {"b": [1, 2, 3]}}),
        ("[]", []),
        (" {} ", {}),
        ('[1, 2.0, "x", true, null]', [1, 2.0, "x", True, None]),
        (
            '{a: 1, b_2: {c-d: "x"}, 3: [], "q": -1.5e3}',
            {"a": 1, "b_2": {"c-d": "x"}, "3": [], "q": -1500.0},
        ),
        ("{键: 1}", {"键": 1}),
        ("{a: true, b: null, c: [false]}", {"a": True, "b": None, "c": [False]}),
        ('{"a": 1} and more', {"a": 1}),
        ("{a: 1}}", {"a": 1}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("{a: 1, a: 2}", {"a": 2}),
        ("[12345678901234567890123]", [12345678901234567890123]),
        (r'{a: "\u4e2d\n"}', {"a": "中\n"}),
        (r'["\ud83d\ude00"]', ["😀"]),
    ],
)
def test_objects_and_lists_are_parsed_leniently(text: str, value: JsonValue) -> None:
    assert _same(parse_literal(text), value)


@pytest.mark.parametrize(
    "text",
    [
        "{a}",
        "{a:}",
        "{a:b}",
        "{a:1,}",
        "{,}",
        "[1,]",
        "[1 2]",
        "[,1]",
        "{'a':1}",
        "['a']",
        "[01]",
        "[+1]",
        "[.5]",
        "[1.]",
        "[NaN]",
        "[nulll]",
        "[1e400]",
        "{a 1}",
        "{a:1",
        "[",
        "{",
        '{"a',
        "{:1}",
        '["\t"]',
        r'["\ud800"]',
        r'["\x"]',
        "[" + "9" * 5000 + "]",
        '{a: "x',
    ],
)
def test_objects_and_lists_that_are_not_json_stay_text(text: str) -> None:
    assert parse_literal(text) == text


def test_nesting_is_bounded() -> None:
    deepest = "[" * MAX_NESTING + "]" * MAX_NESTING

    assert parse_literal(deepest) != deepest
    assert parse_literal("[" + "[1]," * 300 + "1]") == [*[[1]] * 300, 1]
    with pytest.raises(BudgetExceededError):
        parse_literal(f"[{deepest}]")
    with pytest.raises(BudgetExceededError):
        parse_literal("{a:" * 1_000 + "1" + "}" * 1_000)


@pytest.mark.parametrize(
    "piece", ["[", "{", "{a:", '{"a":', "[1,", "[1],", "{a:1},", '"', "9", " ", "e"]
)
def test_a_megabyte_is_read_or_refused_at_once(piece: str) -> None:
    text = (piece * MEGABYTE)[:MEGABYTE]
    try:
        value = parse_literal(text)
    except BudgetExceededError:
        return
    assert value == text or isinstance(value, list | dict)
