"""Data are held against ``inputSchema``: everything wrong is listed, and nothing is fetched."""

import functools
import json
from typing import Any, Final

import pytest

from rillflow.errors import RequestError
from rillflow.runtime.definitions.input_schema import InputSchema
from rillflow.runtime.definitions.json_schema import MOST_ERRORS
from tests.machine_speed import processor_time

DRAFT_3: Final = "http://json-schema.org/draft-03/schema#"
DRAFT_2019: Final = "https://json-schema.org/draft/2019-09/schema"
DRAFT_2020: Final = "https://json-schema.org/draft/2020-12/schema"
DRAFT_7: Final = "http://json-schema.org/draft-07/schema#"


def errors(schema: Any, data: dict[str, Any]) -> list[str]:
    return InputSchema(json.dumps(schema)).errors(data)


def test_the_list_form_checks_presence_and_type() -> None:
    schema = [
        {"required": True, "name": "user", "type": "String", "desc": "who"},
        {"required": "true", "name": "n", "type": "Number"},
        {"name": "flag", "type": "Boolean"},
        {"name": "list", "type": "array"},
        {"name": "any", "type": "JSON"},
        {"name": "odd", "type": "Thing"},
    ]
    good = {"user": "Bob", "n": 1.5, "flag": False, "list": [], "any": "x", "odd": 5}
    assert errors(schema, good) == []
    assert errors(schema, {"user": 5, "n": True, "flag": 1, "list": {}}) == [
        "$['user']: must be of type String, not number",
        "$['n']: must be of type Number, not boolean",
        "$['flag']: must be of type Boolean, not number",
        "$['list']: must be of type array, not object",
    ]
    assert errors(schema, {"user": None}) == ["$['user']: is required", "$['n']: is required"]


def test_json_schema_lists_all_errors_with_their_places() -> None:
    schema = {
        "required": ["user"],
        "properties": {
            "tags": {"items": {"type": "string"}, "uniqueItems": True},
            "name": {"pattern": "^[a-z]+$"},
        },
    }
    assert errors(schema, {"user": 1, "tags": ["a", "b"], "name": "bob"}) == []
    assert errors(schema, {"tags": ["a", 1, "a"], "name": "B"}) == [
        "$: 'user' is a required property",
        "$['name']: 'B' does not match '^[a-z]+$'",
        "$['tags']: has non-unique elements",
        "$['tags'][1]: 1 is not of type 'string'",
    ]


def test_the_draft_is_the_one_that_the_schema_names() -> None:
    draft4 = "http://json-schema.org/draft-04/schema#"
    schema = {"$schema": draft4, "properties": {"n": {"minimum": 1, "exclusiveMinimum": True}}}
    assert errors(schema, {"n": 1})
    assert errors(schema, {"n": 2}) == []


def test_nothing_outside_the_schema_is_read() -> None:
    for reference in ("http://127.0.0.1:1/x", "file:///etc/hostname", "#/no/where"):
        [error] = errors({"$ref": reference}, {})
        assert error.startswith("the schema cannot be applied: ")


@pytest.mark.parametrize(
    "text", ["", "5", "{", '{"type": 5}', '[{"type": "String"}]', "[1]", '{"pattern": 5}']
)
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"^inputSchema cannot be enforced: ") as refusal:
        InputSchema(text)
    assert refusal.value.wire_code == 30110


def test_at_most_a_hundred_errors_are_listed() -> None:
    schema = {"properties": {"list": {"items": {"type": "string"}}}}
    assert len(errors(schema, {"list": list(range(500))})) == MOST_ERRORS


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^(a+)+$": False}},
        {"patternProperties": {"^(a+)+$": True}, "additionalProperties": False},
        {"patternProperties": {"^(a+)+$": True}, "additionalProperties": {"type": "string"}},
        {"propertyNames": {"pattern": "^(a+)+!$"}, "minProperties": 5},
        # A part that names a draft of its own is checked as the rest is.
        {"properties": {"a": {"$schema": DRAFT_7, "pattern": "^(a+)+$"}}},
        {"$schema": DRAFT_7, "properties": {"b": {"$ref": "#"}}, "minProperties": 5},
    ],
)
def test_patterns_are_matched_in_linear_time_wherever_they_stand(schema: Any) -> None:
    text = "a" * 20_000 + "!"
    with processor_time(1):
        errors(schema, {"a": text, text: 1, "b": {text: 1}})


def test_pattern_properties_are_found_anywhere_in_the_key() -> None:
    schema = {
        "properties": {"named": {}},
        "patternProperties": {"b+": {"type": "string"}, "^c": {"type": "null"}},
        "additionalProperties": {"type": "integer"},
    }
    assert errors(schema, {"abc": "x", "bb": 1, "cb": "y", "named": None, "other": "z"}) == [
        "$['bb']: 1 is not of type 'string'",
        "$['cb']: 'y' is not of type 'null'",
        "$['other']: 'z' is not of type 'integer'",
    ]
    assert errors({**schema, "additionalProperties": False}, {"x": 1, "named": 1, "y": 2}) == [
        "$: Additional properties are not allowed ('x', 'y' were unexpected)"
    ]


def doubling(levels: int, then: Any) -> dict[str, Any]:
    """Return a schema whose references multiply: each leads twice to the next."""
    parts = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**parts, f"a{levels}": then}}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "#"}, "a reference leads to itself"),
        (doubling(40, {}), "an empty object takes more than 20000 steps"),
        ({"enum": [{"a": n} for n in range(5_000)]}, "it holds more than 15000 values"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, r"regular expression /\(\?=x\)/ is refused"),
        ({"patternProperties": {"(": {}}}, r"regular expression /\(/ is refused"),
        ({"pattern": "a" * 2_000}, "longer than 1000 characters"),
        (
            {"properties": {"a": {"$schema": DRAFT_3, "extends": 5}}},
            "a part names another draft, and is no schema of it",
        ),
        ({"items": {"$ref": "#/$defs/" + "%61" * 400}}, r"a \$ref of it has more than 1000"),
        ({"$id": "http://h/" + "a" * 1_000}, r"a \$id of it has more than 1000"),
        (
            {"$id": "a" * 900, "$defs": {f"{n}": {"$id": f"{n}"} for n in range(1_200)}},
            "its ids, with those around them, are too long together",
        ),
        (
            {"$id": "a" * 900, "not": [{"$id": "a" * 900, "not": [{"$id": "b"}] * 1_000}]},
            "its ids, with those around them, are too long together",
        ),
    ],
)
def test_what_cannot_be_bounded_is_refused_when_it_is_added(schema: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=f"^inputSchema cannot be enforced: .*{reason}"):
        InputSchema(json.dumps(schema))


@pytest.mark.parametrize(
    ("reference", "most"),
    [("#/$defs/b", 130), ("#/$defs/a" + "/not" * 50, 10), ("#/$defs/" + "x" * 900, 60)],
)
def test_a_reference_costs_by_what_its_look_up_reads(reference: str, most: int) -> None:
    named: Any = {}
    for _ in range(50):
        named = {"not": named}
    schema = {
        "properties": {"a": {"items": {"$ref": reference}}},
        "$defs": {"a": named, "b": {}, "x" * 900: {}},
    }
    check = InputSchema(json.dumps(schema))
    assert check.errors_if_few_steps({"a": [{}] * (most // 10)}) is not None
    assert check.errors_if_few_steps({"a": [{}] * most}) is None


NAMED: Final = {"a": [f"p{n}" for n in range(1_000)]}
ALL_NAMED: Final = dict.fromkeys(["a", *NAMED["a"]], 1)
NESTED: Final[dict[str, Any]] = functools.reduce(lambda inner, _: {"a": inner}, range(60), {})


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}, NESTED),
        (
            {"properties": {"a": {"$ref": "#/$defs/a0"}}, "$defs": doubling(40, {})["$defs"]},
            {"a": 1},
        ),
        ({"anyOf": [{"type": "string"}] * 1_000}, {"text": "x" * 1_000_000}),
        (
            {"properties": {"l": {"items": {"anyOf": [*[{"enum": list(range(900))}] * 4, {}]}}}},
            {"l": [{}] * 40_000},
        ),
        (
            {"$ref": "https://json-schema.org/draft/2020-12/schema"},
            {"properties": {f"p{n}": {"type": "string"} for n in range(20_000)}},
        ),
        # Each element counts, also where the schema for it is true; and each name of a list.
        *(
            ({"properties": {"l": {"allOf": [part] * 100}}}, {"l": [1] * 95_000})
            for part in (
                {"items": True},
                {"contains": True},
                {"prefixItems": [True], "items": {}},
                {"unevaluatedItems": True},
                {"$schema": DRAFT_2019, "unevaluatedItems": True},
            )
        ),
        *(
            ({"allOf": [part] * 100}, {f"p{n}": 1 for n in range(30_000)})
            for part in (
                {"propertyNames": True},
                {"additionalProperties": True},
                {"unevaluatedProperties": True},
            )
        ),
        (
            {"items": {}, "additionalProperties": {"items": {"dependentRequired": NAMED}}},
            {"l": [ALL_NAMED] * 1_000},
        ),
        # What others have evaluated: as many places as 40 parts have, and each is looked up.
        (
            {
                "$defs": {"p": {"prefixItems": [True] * 1_500}},
                "additionalProperties": {
                    "unevaluatedItems": False,
                    "allOf": [{"$ref": "#/$defs/p"}] * 400,
                },
            },
            {"l": [1] * 45_000},
        ),
        # A constant of many small values, which are compared one by one.
        (
            {
                "$defs": {"a": {"enum": [[[]] * 3_000]}},
                "allOf": [{"properties": {"l": {"items": {"$ref": "#/$defs/a"}}}}] * 4,
            },
            {"l": [[[]] * 3_000] * 20},
        ),
        # References that multiply where nothing is checked, as the keyword comes first.
        (
            {
                "unevaluatedProperties": False,
                "properties": {"x": True},
                "$ref": "#/$defs/a0",
                "$defs": {
                    f"a{n}": {
                        "dependentSchemas": {k: {"$ref": f"#/$defs/a{n + 1}"} for k in ("x", "y")}
                    }
                    for n in range(40)
                }
                | {"a40": {}},
            },
            {"x": 1, "y": 1},
        ),
    ],
)
def test_a_check_that_takes_too_many_steps_says_so(schema: Any, data: dict[str, Any]) -> None:
    with processor_time(5):
        try:
            [error] = errors(schema, data)
        except RequestError as refusal:
            error = str(refusal)
    assert "steps" in error


def test_many_items_are_compared_without_comparing_each_with_each() -> None:
    many = [{"n": number} for number in range(20_000)]
    assert errors({"properties": {"list": {"uniqueItems": True}}}, {"list": many}) == []
    assert errors({"properties": {"list": {"uniqueItems": True}}}, {"list": [*many, many[0]]})


def test_what_takes_few_steps_is_told_at_once_and_else_left_open() -> None:
    schema = InputSchema(json.dumps({"properties": {"l": {"items": {"type": "string"}}}}))
    assert schema.errors_if_few_steps({"l": ["a"]}) == []
    assert schema.errors_if_few_steps({"l": [1]}) == ["$['l'][0]: 1 is not of type 'string'"]
    assert schema.errors_if_few_steps({"l": ["a"] * 5_000}) is None
    assert schema.errors({"l": ["a"] * 5_000}) == []


ANY: Final[list[Any]] = [True, {}]


@pytest.mark.parametrize(
    ("schema", "data", "expected"),
    [
        ({"prefixItems": ANY}, [1, 2, 3, 4], "(3, 4 were unexpected)"),
        ({"prefixItems": ANY}, [1, 2, 3], "(3 was unexpected)"),
        ({"prefixItems": ANY, "items": True}, [1, 2, 3], ""),
        ({"contains": {"type": "string"}}, ["a", 1, "b"], "(1 was unexpected)"),
        ({"allOf": [{"prefixItems": ANY}, {"contains": {"const": 3}}]}, [1, 2, 3], ""),
        ({"anyOf": [{"prefixItems": ANY}, {"type": "object"}]}, [1, 2], ""),
        ({"anyOf": [{"type": "array"}, {"prefixItems": [False]}]}, [1], "(1 was unexpected)"),
        ({"$ref": "#/$defs/p"}, [1], ""),
        ({"$dynamicRef": "#dynamic"}, [1, 2], "(2 was unexpected)"),
        ({"if": {"prefixItems": [{"const": 1}]}, "then": {"prefixItems": ANY}}, [1, 2], ""),
        ({"if": {"prefixItems": [{"const": 1}]}, "else": {"items": True}}, [5, 6], ""),
        ({"if": {"prefixItems": [{"const": 1}]}}, [5], "(5 was unexpected)"),
        ({"allOf": [{"unevaluatedItems": True}]}, [1, 2], ""),
        ({"unevaluatedItems": {"type": "integer"}}, [1, "a"], "('a' was unexpected)"),
        ({"$schema": DRAFT_2019, "items": ANY}, [1, 2, 3], "(3 was unexpected)"),
        ({"$schema": DRAFT_2019, "items": ANY, "additionalItems": {}}, [1, 2, 3], ""),
        ({"properties": {"a": True}}, {"a": 1, "b": 2}, "('b' was unexpected)"),
        ({"properties": {"a": True}, "additionalProperties": {}}, {"a": 1, "b": 2}, ""),
        ({"patternProperties": {"^a": True}}, {"ab": 1, "b": 2}, "('b' was unexpected)"),
        ({"dependentSchemas": {"a": {"properties": {"a": True}}}}, {"a": 1}, ""),
        (
            {"dependentSchemas": {"b": {"properties": {"a": True}}}},
            {"a": 1},
            "('a' was unexpected)",
        ),
        ({"oneOf": [{"properties": {"a": {"const": 1}}}, {"required": ["b"]}]}, {"a": 1}, ""),
        ({"allOf": [{"unevaluatedProperties": True}]}, {"a": 1}, ""),
        (
            {"unevaluatedProperties": {"type": "integer"}},
            {"a": 1, "b": "x"},
            "('b' was unexpected)",
        ),
        ({"$ref": "#/$defs/p"}, {"a": 1, "b": 2}, "('b' was unexpected)"),
        ({"$schema": DRAFT_2019, "$recursiveRef": "#"}, {"x": {"x": {}}}, ""),
        ({"$schema": DRAFT_2019, "$recursiveRef": "#"}, {"a": 1}, "('a' was unexpected)"),
    ],
)
def test_what_no_other_keyword_has_evaluated_is_held_against_unevaluated(
    schema: dict[str, Any], data: Any, expected: str
) -> None:
    name = "unevaluatedItems" if isinstance(data, list) else "unevaluatedProperties"
    defs = {
        "p": {"prefixItems": ANY, "properties": {"a": True}},
        "d": {"$dynamicAnchor": "dynamic", "prefixItems": [True]},
    }
    schema = dict(schema)
    whole = {
        "$schema": schema.pop("$schema", DRAFT_2020),
        "$defs": {**defs, "checked": {name: False, **schema}},
        "properties": {"x": {"$ref": "#/$defs/checked"}},
    }
    found = errors(whole, {"x": data})
    assert all("nevaluated" in each for each in found)
    assert [each for each in found if expected and expected in each] == found
    assert bool(found) is bool(expected)


@pytest.mark.parametrize("keyword", ["$anchor", "$id", "$dynamicAnchor"])
def test_a_name_of_a_part_is_looked_up_without_a_walk_over_the_whole_schema(keyword: str) -> None:
    reference = {"$anchor": "#q", "$id": "q", "$dynamicAnchor": "#q"}[keyword]
    others = {f"d{n}": {"type": "string"} for n in range(1_500)}
    named = {keyword: "q", "type": "integer"}
    items = {"items": {"$ref": reference}}
    schema = InputSchema(
        json.dumps(
            {
                "$id": "https://example.com/s",
                "$defs": {**others, "n": named},
                "additionalProperties": items,
            }
        )
    )
    with processor_time(2):
        assert schema.errors({"l": [1] * 2_000}) == []
        assert schema.errors({"l": ["a"]}) == ["$['l'][0]: 'a' is not of type 'integer'"]


def test_numbers_larger_than_any_float_are_multiples_or_not() -> None:
    schema = {"properties": {"n": {"multipleOf": 0.5}, "m": {"multipleOf": 7}}}
    assert errors(schema, {"n": 10**400, "m": 7 * 10**400}) == []
    [error] = errors(schema, {"n": 1, "m": 10**400})
    assert error.startswith("$['m']: 1000")
    [error] = errors({"properties": {"n": {"multipleOf": 1.5}}}, {"n": 10**400})
    assert error.startswith("$['n']: 1000")
    assert errors({"properties": {"n": {"multipleOf": 1.5}}}, {"n": 4.5}) == []
