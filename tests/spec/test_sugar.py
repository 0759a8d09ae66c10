"""``input`` and ``output`` become mappings when a definition is added, and come back when read."""

import pytest

from rillflow.definition.canonical import canonical_text
from rillflow.definition.model import MappingRule, Task, WorkflowDefinition
from rillflow.definition.parse import parse_definition
from rillflow.definition.sugar import collapse_sugar, expand_sugar
from rillflow.errors import DefinitionError
from tests.spec.definition_texts import FUNCTION, HEADER, PASS, flow


def task_of(definition: WorkflowDefinition, name: str) -> Task:
    return next(task for task in definition.tasks or () if task.name == name)


def inputs_of(definition: WorkflowDefinition, name: str) -> dict[str | None, str | None]:
    rules = task_of(definition, name).input_mappings or ()
    return {rule.target: rule.source for rule in rules}


def outputs_of(definition: WorkflowDefinition, name: str) -> list[tuple[str | None, str | None]]:
    rules = task_of(definition, name).output_mappings or ()
    return [(rule.source, rule.target) for rule in rules]


def two_tasks(first: str, second: str, rest: str = "") -> WorkflowDefinition:
    return flow(f"""{rest}
tasks:
- {{name: A, {FUNCTION}, next: B{first}}}
- {{name: B, {FUNCTION}{second}}}
""")


@pytest.mark.case("CV-01")
def test_input_entries_become_mappings_and_their_sources_get_outputs() -> None:
    definition = expand_sugar(
        two_tasks(
            ", input: {body.world: hello}",
            """, input: {body.datax.y: $.A.datax.y, body.datax.y.z: $.A.datax.y.z,
  body.dataz: '$.A.dataz["a.b"]', body.datax.a: $.A.datax.a, body.datay.hello: $.A.datay.hello,
  body.id: '$.A.objs[0].id', body.x: '$.A.objs[1].x', body.hello.id: '$.context.hello.objs[0].id',
  body.world: {transform: return 1;}}""",
        )
    )

    assert inputs_of(definition, "A") == {"$.input.body.world": "hello"}
    assert inputs_of(definition, "B") == {
        "$.input.body.datax.y": "$.context.A.datax.y",
        "$.input.body.datax.y.z": "$.context.A.datax.y.z",
        "$.input.body.dataz": '$.context.A.dataz["a.b"]',
        "$.input.body.datax.a": "$.context.A.datax.a",
        "$.input.body.datay.hello": "$.context.A.datay.hello",
        "$.input.body.id": "$.context.A.objs[0].id",
        "$.input.body.x": "$.context.A.objs[1].x",
        "$.input.body.hello.id": "$.context.hello.objs[0].id",
        "$.input.body.world": None,
    }
    assert (task_of(definition, "B").input_mappings or ())[-1].transform == "return 1;"
    assert outputs_of(definition, "A") == [
        (f"$.output.{path}", f"$.context.A.{path}")
        for path in (
            "datax.y",
            "datax.y.z",
            "dataz['a.b']",
            "datax.a",
            "datay.hello",
            "objs[0].id",
            "objs[1].x",
        )
    ]


@pytest.mark.case("CV-02")
def test_a_wildcard_makes_the_task_keep_the_whole_collection() -> None:
    definition = expand_sugar(
        two_tasks(
            "",
            ", input: {body.elements: $.A.elements.*.name, body.first_id: '$.A.elements[0].id'}",
        )
    )

    # Rill Flow writes to `elements[*].name`, which fails at run time (spec Q48).
    assert outputs_of(definition, "A") == [
        ("$.output.elements", "$.context.A.elements"),
        ("$.output.elements[0].id", "$.context.A.elements[0].id"),
    ]
    assert inputs_of(definition, "B") == {
        "$.input.body.elements": "$.context.A.elements.*.name",
        "$.input.body.first_id": "$.context.A.elements[0].id",
    }


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("$.A", ""),
        ("$.A.*", ""),
        ("$.A..id", ""),
        ("$.A.list[*].id", ".list"),
        ("$.A.list[-1]", ".list"),
        ("$.A.list[?(@.x == 1)].id", ".list"),
        ("$.A.list.length()", ".list"),
        ("$.A.list[0:2]", ".list"),
        ("$.A.objs.0.id", ".objs.0.id"),
        ("$.A.objs[0].id", ".objs[0].id"),
        ("$.A.['b']['c d']", ".b['c d']"),
        (r"$.A['it\'s']", r"['it\'s']"),
        (r"$.A['a\\b']", r"['a\\b']"),
    ],
)
def test_a_reference_is_cut_where_it_is_no_plain_path(source: str, kept: str) -> None:
    definition = flow(f"tasks:\n- {{name: A, {FUNCTION}}}\n- {{name: B, category: pass}}\n")
    first, second = definition.tasks or ()
    tasks = (first, second.model_copy(update={"input": {"x": source}}))
    expanded = expand_sugar(definition.model_copy(update={"tasks": tasks}))

    assert outputs_of(expanded, "A") == [(f"$.output{kept}", f"$.context.A{kept}")]
    assert inputs_of(expanded, "B") == {"$.input.x": f"$.context.{source[2:]}"}


@pytest.mark.case("CV-03")
def test_an_existing_output_mapping_is_not_doubled() -> None:
    definition = two_tasks(
        ", outputMappings: [{source: $.output.id, target: $.context.A.id}]", ", input: {x: $.A.id}"
    )

    assert outputs_of(expand_sugar(definition), "A") == [("$.output.id", "$.context.A.id")]


def test_hand_written_mappings_may_refer_to_tasks_too() -> None:
    definition = two_tasks(
        "", ", input: {x: '1'}, inputMappings: [{source: $.A.id, target: $.input.id}]"
    )
    expanded = expand_sugar(definition)

    assert inputs_of(expanded, "B") == {"$.input.id": "$.context.A.id", "$.input.x": "1"}
    assert outputs_of(expanded, "A") == [("$.output.id", "$.context.A.id")]


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("5", "5"),
        ("true", "true"),
        ("1.5", "1.5"),
        ("1e30", "1.0e30"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("[1, {a: b}]", '[1,{"a":"b"}]'),
        ("text", "text"),
        ("{source: 5}", "5"),
    ],
)
def test_any_value_becomes_the_text_of_a_source(written: str, source: str) -> None:
    expanded = expand_sugar(two_tasks("", f", input: {{x: {written}}}"))

    assert inputs_of(expanded, "B") == {"$.input.x": source}


@pytest.mark.parametrize(
    ("written", "tolerance"), [("false", False), ("'True'", True), ("no", False)]
)
def test_a_map_is_a_mapping_without_its_target(written: str, tolerance: bool) -> None:  # noqa: FBT001 - a row of the table
    sugar = f", input: {{x: {{source: $.A.y, target: $.input.z, tolerance: {written}}}}}"
    rules = task_of(expand_sugar(two_tasks("", sugar)), "B").input_mappings

    assert rules == (MappingRule(source="$.context.A.y", target="$.input.x", tolerance=tolerance),)


def test_tasks_without_mappings_are_no_trouble() -> None:
    expanded = expand_sugar(two_tasks("", ", input: {x: '1'}"))

    assert task_of(expanded, "A").input_mappings is None


def test_entries_without_a_value_stand_for_nothing() -> None:
    definition = two_tasks("", ", input: {x: '1'}")
    first, second = definition.tasks or ()
    empty = second.model_copy(update={"input": {"x": None}})

    assert (
        inputs_of(expand_sugar(definition.model_copy(update={"tasks": (first, empty)})), "B") == {}
    )


def test_a_task_named_context_does_not_take_the_reads_of_the_context() -> None:
    definition = flow(
        "tasks:\n- {name: context, category: pass}\n"
        "- {name: B, category: pass, input: {x: $.context.y}}\n"
    )

    assert inputs_of(expand_sugar(definition), "B") == {"$.input.x": "$.context.y"}


NESTED_END = """output: {x: 1}
tasks: [{name: A, category: choice, choices: [{tasks: [{name: endTask, category: pass}]}]}]
"""
OUTPUT = "output: {end.x: $.B.output.x, end.y: $.B.output.y, end.as: $.A.objs.*}"


@pytest.mark.case("CV-05")
def test_output_becomes_a_final_pass() -> None:
    expanded = expand_sugar(two_tasks("", "", OUTPUT))

    assert expanded.end_task_name == "endTask"
    assert [task.name for task in expanded.tasks or ()] == ["A", "B", "endTask"]
    assert task_of(expanded, "endTask").category == "pass"
    assert inputs_of(expanded, "endTask") == {
        "$.input.end.x": "$.context.B.output.x",
        "$.input.end.y": "$.context.B.output.y",
        "$.input.end.as": "$.context.A.objs.*",
    }
    assert outputs_of(expanded, "endTask") == [
        (f"$.output.end.{key}", f"$.context.end.{key}") for key in ("x", "y", "as")
    ]
    assert task_of(expanded, "A").next_names == ("B", "endTask")
    assert task_of(expanded, "B").next_names == ("endTask",)
    assert outputs_of(expanded, "B")[0] == ("$.output.output.x", "$.context.B.output.x")


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}output: {{x: 1}}\ntasks: [{{name: endTask, category: pass}}]",
        HEADER + NESTED_END,
        f"workspace: endTask\ndagName: d\ntype: flow\noutput: {{x: 1}}\n{PASS}",
    ],
)
def test_the_name_of_the_final_pass_must_be_free(text: str) -> None:
    definition = parse_definition(text)

    with pytest.raises(DefinitionError, match="endTask exists, please rename the task") as refusal:
        expand_sugar(definition)
    assert refusal.value.wire_code == 30110


@pytest.mark.case("CV-06")
def test_the_final_pass_is_hidden_when_read_back() -> None:
    stored = parse_definition(canonical_text(expand_sugar(two_tasks("", "", OUTPUT))))
    shown = collapse_sugar(stored)

    assert len(stored.tasks or ()) == 3
    assert shown == two_tasks("", "", OUTPUT)
    assert shown.end_task_name is None


@pytest.mark.case("CV-07")
def test_definitions_without_sugar_stay_as_they_are() -> None:
    plain = two_tasks(
        ", inputMappings: [{source: $.B.x, target: $.input.x}]",
        ", outputMappings: [{transform: return 1;, target: $.context.B.x}]",
    )

    assert expand_sugar(plain) is plain
    assert collapse_sugar(plain) is plain
    rule = (task_of(plain, "B").output_mappings or ())[0]
    assert (rule.transform, rule.source) == ("return 1;", None)


@pytest.mark.case("CV-08")
def test_each_task_gets_back_the_form_it_was_written_in() -> None:
    written = two_tasks(
        ", inputMappings: [{source: $.context.x, target: $.input.x}]",
        ", input: {x: $.A.x, y: '1'}",
    )
    read_back = collapse_sugar(expand_sugar(written))

    assert read_back == written
    assert len(task_of(read_back, "A").input_mappings or ()) == 1
    assert task_of(read_back, "B").input_mappings is None


@pytest.mark.case("CV-09")
def test_a_definition_can_be_written_as_text() -> None:
    text = canonical_text(two_tasks("", ", input: {x: $.A.x}"))

    for part in ("dagName: example", "type: flow", "name: A", "next: B", "x: $.A.x"):
        assert part in text


def test_hand_written_mappings_to_the_tasks_own_key_survive() -> None:
    written = two_tasks(
        ", outputMappings: [{source: $.output.b, target: $.context.A.b}]", ", input: {x: $.A.x}"
    )

    assert collapse_sugar(expand_sugar(written)) == written


def test_a_hand_written_mapping_to_the_same_input_survives() -> None:
    written = two_tasks("", ", input: {x: $.A.x}, inputMappings: [{source: a, target: $.input.x}]")

    assert collapse_sugar(expand_sugar(written)) == written


def test_adding_what_was_read_back_makes_the_same_mappings() -> None:
    written = two_tasks(
        "", ", input: {x: $.A.x}, inputMappings: [{source: $.A.y, target: $.input.y}]", OUTPUT
    )
    stored = expand_sugar(written)
    again = expand_sugar(collapse_sugar(stored))

    assert expand_sugar(collapse_sugar(again)) == again
    assert sorted(outputs_of(again, "A"), key=str) == sorted(outputs_of(stored, "A"), key=str)
