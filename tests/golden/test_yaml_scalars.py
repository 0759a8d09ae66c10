"""A YAML scalar without a declared type means what it means to Rill Flow.

The rows were recorded from Rill Flow 5cded0b (data/yaml-scalars.json): the text of a
value under ``parameters``, and the JSON value that the function received. Null there
means that the function did not receive the key.

One row is kept apart on purpose: Rill Flow reads ``1e400`` as an infinity and sends it
as the text ``Infinity``. JSON has no infinities, so here the author's text stays.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.definition.model import FunctionTask
from rillflow.definition.parse import parse_definition
from rillflow.errors import DefinitionError

_FILE: Final = Path(__file__).parent / "data" / "yaml-scalars.json"
_ROWS: Final = json.loads(_FILE.read_text(encoding="utf-8"))["rows"]
_REFUSED: Final = {"error": "descriptor refused"}
_DEVIATIONS: Final = {"1e400": "1e400"}


def _value_of(scalar: str) -> Any:
    definition = parse_definition(f"""
workspace: demo
dagName: scalars
type: flow
tasks:
- name: A
  category: function
  pattern: task_sync
  resourceName: http://gateway/a
  parameters:
    value: {scalar}
""")
    (task,) = definition.tasks or ()
    assert isinstance(task, FunctionTask)
    return (task.parameters or {}).get("value")


@pytest.mark.parametrize(
    ("scalar", "expected"), [row for row in _ROWS if row[1] != _REFUSED], ids=repr
)
def test_the_recorded_value_comes_out(scalar: str, expected: Any) -> None:
    value = _value_of(scalar)

    assert _DEVIATIONS.get(scalar, expected) == value
    assert type(_DEVIATIONS.get(scalar, expected)) is type(value)


@pytest.mark.parametrize("scalar", [row[0] for row in _ROWS if row[1] == _REFUSED])
def test_what_rill_flow_refuses_is_refused(scalar: str) -> None:
    with pytest.raises(DefinitionError) as refusal:
        _value_of(scalar)

    assert refusal.value.wire_code == 30402


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        ("0b101", 5),
        ("0x1F", 31),
        ("-017", -15),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("0o17", "0o17"),
        ("1e3", 1000.0),
        ("!!float 1", 1.0),
        ("!!float x", "x"),
        ("!!null x", None),
        ("!!bool 5", "5"),
        ("!!int ''", ""),
        ("! 12", "12"),
        ("!<function> 12", "12"),
        ("'null'", "null"),
    ],
)
def test_the_specification_adds_these(scalar: str, expected: Any) -> None:
    value = _value_of(scalar)

    assert expected == value
    assert type(expected) is type(value)


@pytest.mark.parametrize("scalar", [".nan", "+.INF", "9" * 3501, "0x" + "f" * 3500])
def test_what_json_cannot_hold_is_refused(scalar: str) -> None:
    with pytest.raises(DefinitionError, match="value has no value that JSON knows") as refusal:
        _value_of(scalar)

    assert refusal.value.problems[0].line == 11


def test_an_integer_of_thousands_of_digits_is_exact() -> None:
    assert int("9" * 3500) == _value_of("9" * 3500)
