"""Data are held against ``inputSchema``: everything wrong is listed, and nothing is fetched."""

import json
import time
from typing import Any

import pytest

from rillflow.errors import RequestError
from rillflow.runtime.input_schema import MOST_ERRORS, InputSchema


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


def test_hostile_schemas_and_data_end_soon() -> None:
    started = time.perf_counter()
    assert errors({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 50_000 + "!"})
    many = [{"n": number} for number in range(20_000)]
    assert errors({"properties": {"list": {"uniqueItems": True}}}, {"list": many}) == []
    assert errors({"$ref": "#"}, {})
    assert errors({"properties": {"a": {"pattern": "(?=x)"}}}, {"a": "x"})
    assert time.perf_counter() - started < 2
