"""``validate`` looks at every place where a rule stands, as a run tells of each.

The places are the lists of tasks, the shared lists they refer to, ``output``, and the completion
callback. A rule with ``tolerance: true`` may do without a value.
"""

from typing import Any, Final

import pytest

from rillflow.definition.problems import find_problems
from rillflow.jsontypes import encode_json
from tests.spec.notation import Definition, Json, each, flow, pass_

SCHEMA: Final = '[{"name": "name"}, {"name": "items"}]'
LOST: Final = "no task, default or inputSchema gives `$.context.nmae` a value"
READS: Final = {"source": "$.context.nmae", "target": "$.input.x"}


def told(*tasks: Definition, schema: str | None = SCHEMA, **rest: Json) -> list[str]:
    """Return the messages of warnings, each with its place."""
    text = encode_json(flow(*tasks, input_schema=schema, **rest))
    return [problem.message for problem in find_problems(text, strict=True)]


PLACES: Final[dict[str, dict[str, Any]]] = {
    "output": {"output": {"a": "$.context.nmae"}},
    "output, with itself as its name": {"output": {"nmae": "$.context.nmae"}},
    "output, written out": {"output": {"a": {"source": "$.context.nmae"}}},
    "callback": {"callback": {"resourceName": "http://told", "inputMappings": [READS]}},
    "callback, by reference": {
        "callback": {"resourceName": "http://told", "inputMappings": [{"reference": "who"}]},
        "commonMapping": {"who": [READS]},
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_a_key_that_nothing_writes_is_told_wherever_it_is_read(place: str) -> None:
    assert told(pass_("A"), **PLACES[place]) == [LOST]


def test_a_key_that_a_shared_list_reads_is_told_once_of_a_task() -> None:
    by_reference = {"ins": [{"reference": "who"}]}
    tasks = [pass_("A", **by_reference), pass_("B", **by_reference)]
    assert told(*tasks, common_mapping={"who": [READS]}) == [LOST]
    assert told(pass_("A"), common_mapping={"who": [READS]}) == []


def test_a_key_that_a_shared_list_reads_inside_a_group_is_told() -> None:
    group = each("A", "items", pass_("B", ins=[{"reference": "who"}]), ins="items")
    (message,) = told(group, common_mapping={"who": [READS]})
    assert message == "`$.context.nmae` is always empty: a group has a context of its own"


def test_what_output_makes_is_there_for_the_callback() -> None:
    reads = {"source": "$.context.made", "target": "$.input.x"}
    callback = {"resourceName": "http://told", "inputMappings": [reads]}
    for schema in (SCHEMA, None):
        output = {"made": "$.context.name"}
        assert told(pass_("A", outs="name"), schema=schema, output=output, callback=callback) == []


def test_without_a_schema_a_slip_is_told_there_too() -> None:
    written = pass_("A", outs=[{"source": "1", "target": "$.context.name"}])
    for place in PLACES.values():
        found = told(written, schema=None, **place)
        assert found == ["nothing in the definition gives `$.context.nmae` a value"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("context.name", "`context.name` is taken as a text, since a path begins with `$.`"),
        ({"transform": "nosuch(1)"}, "nosuch"),
        ({"transform": "1 +"}, "unexpected"),
    ],
)
def test_literals_and_expressions_of_output_are_looked_at(value: Json, said: str) -> None:
    (message,) = told(pass_("A"), output={"a": value})
    assert said in message


def test_a_rule_that_may_do_without_a_value_is_not_told() -> None:
    optional = {**READS, "tolerance": True}
    callback = {"resourceName": "http://told", "inputMappings": [optional]}
    assert told(pass_("A", ins=[optional]), callback=callback, output={"a": optional}) == []
    assert told(each("A", "items", pass_("B", ins=[optional]), ins="items")) == []
