"""A definition has one canonical text, which reads back to an equal definition."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillflow.definition.canonical import canonical_text, version_of
from rillflow.definition.model import MappingRule, WorkflowDefinition
from rillflow.definition.parse import parse_definition
from rillflow.jsontypes import JsonValue
from tests.spec.definition_texts import FUNCTION, HEADER, PASS, flow, nested

TRICKY = (
    *("", " ", "~", "null", "true", "yes", "Off", "1.10", "007", "0x1F", "1e3", ".inf", "1_000"),
    *(
        "- a",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "a ",
        " a",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "[a",
        "{a",
    ),
    *("---", "...", "? a", "| a", "> a", "a\nb", "a\tb", "\r", "\x85", "\u2028", "\ufeff", "\x7f"),
    *("'", '"', "\\", "\\n", "$.input.a[0]", "<<", "=", "é", "日本語。", "\U0001f600", "a" * 2000),
)
# What YAML and JSON can both hold: no lone surrogates.
texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(TRICKY)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner | st.none(), max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)
rules = st.builds(
    MappingRule,
    source=texts | st.none(),
    transform=texts | st.none(),
    target=texts | st.none(),
    tolerance=st.booleans() | st.none(),
)


def definition_of(*, extra: dict[str, Any] | None = None, **fields: Any) -> WorkflowDefinition:
    task = {"name": "A", "category": "function", "pattern": "task_sync", "resource_name": "x"}
    names = {"workspace": "demo", "dag_name": "example", "type": "flow"}
    return WorkflowDefinition.model_validate(
        {**names, "tasks": [{**task, **(extra or {})}], **fields}
    )


@given(text=texts)
def test_text_fields_keep_every_text(text: str) -> None:
    definition = definition_of(version=text, extra={"title": text, "success_conditions": [text]})

    assert parse_definition(canonical_text(definition)) == definition


@given(value=values)
def test_untyped_values_keep_their_type(value: JsonValue) -> None:
    definition = definition_of(output={"v": value}, extra={"parameters": {"v": value}})
    (task,) = parse_definition(canonical_text(definition)).tasks or ()

    assert task.parameters == {"v": value}
    assert repr(task.parameters) == repr({"v": value})


@given(keys=st.lists(texts, max_size=4, unique=True))
def test_any_key_survives(keys: list[str]) -> None:
    definition = definition_of(
        default_context=dict.fromkeys(keys, "v"),
        common_mapping={key: [{"source": "1", "target": "$.input.a"}] for key in keys},
        extra={"input": dict.fromkeys(keys, 1)},
    )

    assert parse_definition(canonical_text(definition)) == definition


@given(inputs=st.lists(rules, max_size=3), outputs=st.lists(rules, max_size=3))
def test_mappings_survive(inputs: list[MappingRule], outputs: list[MappingRule]) -> None:
    definition = definition_of(extra={"input_mappings": inputs, "output_mappings": outputs})

    assert parse_definition(canonical_text(definition)) == definition


@given(
    max_retries=st.integers(-(2**31), 2**31 - 1) | st.none(),
    multiplier=st.floats(allow_nan=False, allow_infinity=False) | st.none(),
    conditions=st.lists(texts, max_size=2) | st.none(),
    weight=st.integers(-(2**31), 2**31 - 1),
)
def test_numbers_survive(
    max_retries: int | None, multiplier: float | None, conditions: list[str] | None, weight: int
) -> None:
    retry = {"max_retries": max_retries, "multiplier": multiplier, "conditions": conditions}
    definition = definition_of(extra={"retry": retry, "progress": {"weight": weight}})

    assert parse_definition(canonical_text(definition)) == definition


@pytest.mark.parametrize("category", ["foreach", "choice"])
def test_nested_tasks_survive(category: str) -> None:
    definition = parse_definition(nested(category, 9))

    assert parse_definition(canonical_text(definition)) == definition


def test_every_category_survives() -> None:
    definition = flow(f"""
timer: {{timeoutInSeconds: $.context.t}}
callback: {{resourceName: 'http://x', fullContext: true, inputMappings: []}}
resources: [{{name: r, category: c}}]
inputSchema: '[{{"required": true}}]'
tasks:
- {{name: A, {FUNCTION}, next: B, timeline: {{}}, degrade: {{current: true}}, keyCallback: true}}
- {{name: B, category: switch, switches: [{{condition: default, next: C, break: true}}]}}
- {{name: C, category: return, conditions: []}}
- {{name: D, category: suspense, conditions: [$.input.x], interruptions: [$.input.y]}}
- {{name: E, category: foreach, iterationMapping: {{collection: $.input.c, item: i, index: n}},
    synchronization: {{conditions: [$.input.c], maxConcurrency: 3}}, tasks: [
      {{name: F, category: choice, choices: [
        {{condition: $.input.x}}, {{tasks: [{{name: G, category: pass, tolerance: true}}]}}]}}]}}
""")
    text = canonical_text(definition)

    assert parse_definition(text) == definition
    assert canonical_text(parse_definition(text)) == text


def test_two_formattings_share_an_id() -> None:
    plain = (
        f"{HEADER}tasks:\n- name: A\n  category: pass\n  next: 'B'\n- name: B\n  category: pass\n"
    )
    other = (
        '{"type": "flow", "dagName": "example", "namespace": "demo", "unknown": 1, "tasks": ['
        '{"category": "pass", "name": "A", "tolerance": false, "next": " B,", "title": null},'
        '{"name": "B", "category": "pass"}]}'
    )
    texts_of_both = {canonical_text(parse_definition(text)) for text in (plain, other)}

    assert len(texts_of_both) == 1
    assert {len(version_of(text)) for text in texts_of_both} == {32}


def test_different_definitions_have_different_ids() -> None:
    versions = {version_of(canonical_text(flow(f"version: {n}\n{PASS}"))) for n in range(20)}

    assert len(versions) == 20


def test_the_text_is_pleasant_to_read() -> None:
    text = canonical_text(
        flow(f"""
version: 1.10
tasks:
- {{name: A, {FUNCTION}, parameters: {{b: 1, a: [x, {{y: null}}], t: 'yes'}},
    inputMappings: [{{source: 'text: with colon', target: $.input.a}}], successConditions: [
    '$.output.[?(@.ok == true)]']}}
""")
    )

    assert (
        text
        == """workspace: demo
dagName: example
version: "1.10"
type: flow
tasks:
- name: A
  category: function
  inputMappings:
  - source: "text: with colon"
    target: $.input.a
  parameters:
    b: 1
    a: ["x", {}]
    t: "yes"
  resourceName: http://gateway/a
  pattern: task_sync
  successConditions:
  - $.output.[?(@.ok == true)]
"""
    )


def test_a_definition_without_any_field_has_a_text_too() -> None:
    assert canonical_text(WorkflowDefinition()) == "{}\n"
