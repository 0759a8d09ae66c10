"""A definition is refused with Rill Flow's codes and words, and the first check wins."""

import re
from typing import Final

import pytest

from rillflow.definition.checks.validation import find_circle, findings
from rillflow.definition.model import WorkflowDefinition
from rillflow.definition.parse import parse_definition
from rillflow.errors import DefinitionError
from tests.spec.definition_texts import HEADER, PASS, flow, nested, only_task, refusal_of


@pytest.mark.case("DD-01")
@pytest.mark.parametrize("text", [None, "", b""])
def test_no_text_is_refused(text: str | bytes | None) -> None:
    assert refusal_of(text) == (30401, "dag descriptor empty.")


@pytest.mark.parametrize("text", [" \n", "# only a comment", "null", "just text", "[1]", "a: ["])
def test_text_that_is_no_object_is_refused(text: str) -> None:
    assert refusal_of(text)[0] == 30402


@pytest.mark.case("DD-03")
@pytest.mark.parametrize("kind", ["type: ttt", "type: Flow", "type:", "kind: flow"])
def test_an_unknown_type_is_refused(kind: str) -> None:
    text = f"workspace: demo\ndagName: example\n{kind}\n{PASS}"
    assert refusal_of(text) == (30403, "dag type is invalid.")


@pytest.mark.case("DD-04")
@pytest.mark.parametrize("tasks", ["", "tasks:", "tasks: []"])
def test_no_tasks_is_refused(tasks: str) -> None:
    assert refusal_of(HEADER + tasks) == (30405, "dag task empty.")


@pytest.mark.case("DD-05")
def test_an_unknown_successor_is_refused() -> None:
    text = f"{HEADER}tasks:\n- {{name: A, category: pass, next: segment}}\n"
    assert refusal_of(text) == (30413, "next task segment not exist.")


def test_a_successor_must_be_a_sibling() -> None:
    inner = "{name: B, category: pass, next: A}"
    each = f"category: foreach, iterationMapping: {{collection: $.input.c}}, tasks: [{inner}]"
    text = f"{HEADER}tasks:\n- {{name: A, category: pass}}\n- {{name: E, {each}}}\n"
    assert refusal_of(text) == (30413, "next task A not exist.")


@pytest.mark.case("DD-10")
def test_a_choice_with_a_branch_is_valid() -> None:
    assert parse_definition(nested("choice", 1)).tasks


@pytest.mark.parametrize("choices", ["", ", choices: []", ", choices: "])
def test_a_choice_without_branches_is_refused(choices: str) -> None:
    text = f"{HEADER}tasks:\n- {{name: A, category: choice{choices}}}\n"
    assert refusal_of(text) == (30412, "choice task A is invalid. Because choices is empty.")


@pytest.mark.case("DD-12")
@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("tasks: [{name: B, category: pass}]", "iterationMapping is null."),
        (
            "iterationMappings: {collection: $.input.c}, tasks: [{name: B, category: pass}]",
            "iterationMapping is null.",
        ),
        (
            "iterationMapping: {item: i}, tasks: [{name: B, category: pass}]",
            "iterationMapping collection is empty.",
        ),
        ("iterationMapping: {collection: $.input.c}", "tasks is empty."),
    ],
)
def test_a_foreach_needs_its_mapping_and_tasks(rest: str, reason: str) -> None:
    text = f"{HEADER}tasks:\n- {{name: A, category: foreach, {rest}}}\n"
    assert refusal_of(text) == (30411, f"foreach task A is invalid. Because {reason}")


@pytest.mark.case("DD-14", "DD-15")
@pytest.mark.parametrize("pattern", ["", ", pattern: http", ", pattern: "])
def test_a_function_without_a_known_pattern_is_refused(pattern: str) -> None:
    task = f"{{name: normalise, category: function, resourceName: x{pattern}}}"
    assert refusal_of(f"{HEADER}tasks:\n- {task}\n") == (
        30410,
        "function task normalise is invalid. Because pattern can not be null.",
    )


@pytest.mark.case("DD-16")
@pytest.mark.parametrize("name", ["", ", resourceName: ''", ", resourceName: 'resource://mock'"])
def test_a_function_without_a_resource_is_refused(name: str) -> None:
    task = f"{{name: A, category: function, pattern: task_sync{name}}}"
    assert refusal_of(f"{HEADER}tasks:\n- {task}\n") == (
        30410,
        "function task A is invalid. Because resourceName or resource can not be empty.",
    )


@pytest.mark.case("DD-17")
@pytest.mark.parametrize(
    "resource",
    ["resourceName: mock", "resourceProtocol: http", "resource: {name: r, category: c}"],
)
def test_any_kind_of_resource_is_enough(resource: str) -> None:
    assert only_task(f"category: function, pattern: task_sync, {resource}").name == "A"


@pytest.mark.case("DD-20")
def test_an_unknown_pattern_is_read_as_none() -> None:
    definition = WorkflowDefinition.model_validate(
        {"type": "flow", "tasks": [{"name": "A", "category": "function", "pattern": None}]}
    )
    messages = [found.message for found in findings(definition)]

    assert "function task A is invalid. Because pattern can not be null." in messages


@pytest.mark.case("DD-23")
@pytest.mark.parametrize("category", ["category: functionXX", "category:", "title: x"])
def test_an_unknown_or_missing_category_is_refused(category: str) -> None:
    code, message = refusal_of(f"{HEADER}tasks:\n- name: A\n  {category}\n")

    assert code == 30402
    assert re.search(r"category.*\(line [56], column", message)


@pytest.mark.case("DD-26")
@pytest.mark.parametrize("name", ["a_b", "x" * 101, "a b", "é", "''", "A\\n"])
def test_names_are_letters_and_digits(name: str) -> None:
    text = f'{HEADER}tasks:\n- {{name: "{name}", category: pass}}\n'
    shown = name.replace("\\n", "\n")
    assert refusal_of(text) == (30408, f"name invalid:{shown}")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"dagName: a\ntype: flow\n{PASS}", "null"),
        (f"workspace: b\ntype: flow\n{PASS}", "null"),
        (f"{HEADER}tasks:\n- category: pass\n", "null"),
        (f"{HEADER}tasks:\n- {{name: '', category: pass}}\n", ""),
        (f"workspace: a-b\ndagName: a\ntype: flow\n{PASS}", "a-b"),
    ],
)
def test_a_missing_name_is_an_invalid_one(text: str, name: str) -> None:
    assert refusal_of(text) == (30408, f"name invalid:{name}")


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        ("tasks: [{name: A, category: pass}, {name: A, category: pass}]", "A"),
        ("tasks: [{name: demo, category: pass}]", "demo"),
        ("tasks: [{name: example, category: pass}]", "example"),
        (
            "tasks: [{name: A, category: choice, choices: [{tasks: [{name: A, category: pass}]}]}]",
            "A",
        ),
    ],
)
def test_a_name_stands_for_one_thing(rest: str, name: str) -> None:
    assert refusal_of(HEADER + rest) == (30407, f"task name duplicated: {name}")


@pytest.mark.case("DD-27")
@pytest.mark.parametrize("category", ["foreach", "choice"])
def test_ten_levels_are_accepted_and_eleven_are_not(category: str) -> None:
    names = "->".join(f"N{level}" for level in range(1, 11))

    assert parse_definition(nested(category, 9)).tasks
    assert refusal_of(nested(category, 10)) == (30406, f"exceed max depth: {names}")


def test_the_depth_is_a_setting() -> None:
    assert refusal_of(nested("foreach", 3), max_depth=3) == (
        30406,
        "exceed max depth: N1->N2->N3",
    )
    assert parse_definition(nested("choice", 39), max_depth=40).tasks


@pytest.mark.parametrize(
    ("arrows", "circle"),
    [
        ({"A": "A"}, "A->A"),
        ({"A": "B", "B": "A"}, "A->B->A"),
        ({"A": "B", "B": "C", "C": "D", "D": "B"}, "B->C->D->B"),
        ({"A": "C,B", "C": "", "B": "C,D", "D": "A"}, "A->B->D->A"),
    ],
)
def test_a_circle_is_refused(arrows: dict[str, str], circle: str) -> None:
    tasks = "".join(
        f"- {{name: {name}, category: pass, next: '{names}'}}\n" for name, names in arrows.items()
    )
    assert refusal_of(f"{HEADER}tasks:\n{tasks}") == (30406, f"circle found: {circle}")


def test_paths_that_join_again_are_no_circle() -> None:
    assert find_circle({"A": ("B", "C"), "B": ("D",), "C": ("D",), "D": ()}) == []


def test_a_circle_inside_a_group_is_refused() -> None:
    inner = "{name: B, category: pass, next: C}, {name: C, category: pass, next: B}"
    each = f"category: foreach, iterationMapping: {{collection: $.input.c}}, tasks: [{inner}]"
    text = f"{HEADER}tasks:\n- {{name: A, {each}}}\n"
    assert refusal_of(text) == (30406, "circle found: B->C->B")


@pytest.mark.parametrize("common", ["", "commonMapping: {other: []}", "commonMapping: {nope: []}"])
@pytest.mark.parametrize("key", ["inputMappings", "outputMappings"])
def test_a_reference_needs_its_common_mapping(key: str, common: str) -> None:
    text = (
        f"{HEADER}{common}\ntasks:\n- {{name: A, category: pass, {key}: [{{reference: nope}}]}}\n"
    )
    assert refusal_of(text) == (30406, "taskName: A mappingReference: nope invalid")


@pytest.mark.parametrize(
    "rest",
    [
        "tasks: [{name: A, category: pass, inputMappings: [%s]}]",
        "tasks: [{name: A, category: pass, outputMappings: [%s]}]",
        "tasks: [{name: A, category: pass}]\ncallback: {resourceName: h, inputMappings: [%s]}",
    ],
)
def test_references_that_multiply_rules_are_refused(rest: str) -> None:
    rule, reference = "{source: '1', target: $.input.a}, ", "{reference: c}, "
    text = f"{HEADER}commonMapping: {{c: [{rule * 100}]}}\n"
    assert parse_definition(text + rest % (reference * 500)).common_mapping
    code, message = refusal_of(text + rest % (reference * 501))
    assert (code, message) == (30406, "references expand to more than 50000 mapping rules")


def test_ray_options_of_a_workflow_count_for_each_function() -> None:
    labels = ", ".join(f"l{n}: '{'in(' + ', '.join(['x' * 60] * 16) + ')'}'" for n in range(16))
    text = f"{HEADER}rayOptions: {{label_selector: {{{labels}}}}}\ntasks:\n"
    call = "- {name: T%d, category: function, pattern: task_sync, resourceName: 'ray://a:b'}\n"
    assert parse_definition(text + "".join(call % n for n in range(400))).tasks
    code, message = refusal_of(text + "".join(call % n for n in range(600)))
    assert (code, message) == (30406, "references expand to more than 8388608 bytes of JSON")


CHOICE_WITH_REFERENCE: Final = (
    "category: choice, choices: [{condition: a, tasks: [{name: I%d, category: pass,"
    " outputMappings: [{reference: c}]}]}]"
)


@pytest.mark.parametrize(
    ("declared", "task"),
    [
        ("commonMapping: {c: [%s]}", "category: pass, inputMappings: [{reference: c}]"),
        ("commonMapping: {c: [%s]}", CHOICE_WITH_REFERENCE),
        (
            "resources: [{name: r, category: function, inputMappings: [%s]}]",
            'category: function, pattern: task_sync, resourceName: "resource://r"',
        ),
    ],
    ids=["shared rules", "shared rules in a branch", "a resource"],
)
def test_references_that_write_out_too_much_are_refused_where_they_do(
    declared: str, task: str
) -> None:
    declaration = declared % f"{{source: '{'x' * 400_000}', target: $.input.a}}"
    text = f"{HEADER}{declaration}\ntasks:\n"
    lines = [f"- {{name: T{n}, {task % n if '%d' in task else task}}}" for n in range(21)]
    assert parse_definition(text + "\n".join(lines[:20])).tasks
    with pytest.raises(DefinitionError) as refused:
        parse_definition(text + "\n".join(lines))
    [problem] = refused.value.problems
    assert problem.message == "references expand to more than 8388608 bytes of JSON"
    assert problem.line == text.count("\n") + 21
    assert problem.column > 1
    assert "refer to it less often" in problem.hint


@pytest.mark.parametrize(
    ("rest", "task"),
    [
        ("tasks: [{name: A, category: pass, input: {a: {reference: nope}}}]", "A"),
        ("output: {a: {reference: nope}}\ntasks: [{name: A, category: pass}]", "endTask"),
    ],
)
def test_a_reference_in_the_shorthand_needs_it_too(rest: str, task: str) -> None:
    assert refusal_of(HEADER + rest) == (30406, f"taskName: {task} mappingReference: nope invalid")


def test_the_first_check_in_rill_flows_order_wins() -> None:
    text = (
        f"{HEADER}tasks:\n- {{name: A, category: choice, next: Z}}\n- {{name: A, category: pass}}\n"
    )

    assert refusal_of(text) == (30407, "task name duplicated: A")


@pytest.mark.parametrize(
    ("rest", "code", "message"),
    [
        (
            f"resources: [{{name: r}}]\n{PASS}",
            30402,
            "resource type dag do not support tasks property",
        ),
        ("", 30402, "dag resources empty"),
        ("resources: [{name: r_1}]", 30408, "resource name invalid:r_1"),
        ("resources: [{category: c}]", 30408, "resource name invalid:null"),
        ("resources: [{name: r}, {name: r}]", 30408, "resource name duplicate:r"),
    ],
)
def test_a_resource_definition_holds_resources_only(rest: str, code: int, message: str) -> None:
    text = f"workspace: demo\ndagName: example\ntype: resource\n{rest}"
    assert refusal_of(text) == (code, message)


def test_a_resource_definition_is_read() -> None:
    text = "workspace: demo\ndagName: example\ntype: resource\nresources: [{name: r, category: c}]"
    (resource,) = parse_definition(text).resources or ()

    assert (resource.name, resource.category) == ("r", "c")


def test_a_refusal_tells_all_problems_with_their_places() -> None:
    with pytest.raises(DefinitionError) as refusal:
        flow("tasks:\n- name: A\n  category: choice\n  next: B\n- name: C\n  category: function\n")

    assert [(it.code, it.line, it.column) for it in refusal.value.problems] == [
        (30413, 7, 9),
        (30412, 5, 3),
        (30410, 8, 3),
        (30410, 8, 3),
    ]
