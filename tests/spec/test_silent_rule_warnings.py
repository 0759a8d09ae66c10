"""A rule that will come to nothing is told by validation, where the definition says so."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillflow.core.state import TaskState
from rillflow.definition.lint.context import context_findings
from rillflow.definition.lint.misspellings import Spellings
from rillflow.definition.problems import find_problems
from rillflow.definition.tasks import all_tasks
from tests.spec.definition_texts import HEADER
from tests.spec.documented import examples_of
from tests.spec.notation import Definition
from tests.spec.random_flows import Player, flows
from tests.spec.test_laws import LAW
from tests.spec.test_problems import only_warning, warnings_in

ROOT: Final = Path(__file__).parents[2]
SCHEMA: Final = """inputSchema: '{"type": "object", "properties": {"name": {}, "age": {}}}'\n"""
OWN: Final = "a group has a context of its own"


def copying(source: str, field: str = "inputMappings", target: str = "$.input.a") -> str:
    """Write a flow of one task with one rule."""
    return (
        "tasks:\n- name: A\n  category: pass\n"
        f"  {field}:\n  - source: {source!r}\n    target: {target}\n"
    )


# -- literals that were meant as paths ---------------------------------------------------


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("context.name", "$.context.name"),
        ("input.x", "$.input.x"),
        ("output.list[0].x", "$.output.list[0].x"),
        ('context["a b"]', '$.context["a b"]'),
        (" $.context.name", "$.context.name"),
        ("{{ context.name }}", "$.context.name"),
        ("{{$.context.name}}", "$.context.name"),
        ("{context.name}", "$.context.name"),
    ],
)
def test_a_literal_that_looks_like_a_path_is_told(source: str, meant: str) -> None:
    problem = only_warning(copying(source))
    assert problem.message == (
        f"`{source.strip()}` is taken as a text, since a path begins with `$.`"
    )
    assert problem.hint == f"did you mean `{meant}`?"
    assert (problem.line, problem.severity) == (8, "warning")


@pytest.mark.parametrize("source", ["$context.name", "${context.name}", "${ context.name }"])
def test_a_malformed_path_has_a_suggestion(source: str) -> None:
    assert only_warning(copying(source)).hint == "did you mean `$.context.name`?"


@pytest.mark.parametrize(
    "source", ["Hello $.context.name!", '{"who": "$.context.name"}', "of ($.output.a)"]
)
def test_a_path_inside_a_text_is_told(source: str) -> None:
    problem = only_warning(copying(source))
    assert problem.message == f"a path inside a text is not replaced by its value: `{source}`"
    assert problem.hint == "a transform can put values together"


@pytest.mark.parametrize(
    "source",
    [
        "input.mp4",
        "output.json",
        "context",
        "the input.",
        "input. output.",
        "my.context.name",
        "context.name of a thing",
        "${secret:KEY}",
        "Bearer ${secret:KEY}",
        "costs $.50",
        "{a: 1}",
        "{{ name }}",
    ],
)
def test_other_literals_are_not_told(source: str) -> None:
    assert warnings_in(copying(source)) == []


# -- roots that are empty ------------------------------------------------------------------


def test_the_output_is_empty_before_and_the_input_after_a_task_has_run() -> None:
    before = only_warning(copying("$.output.x"))
    assert before.message == "`$.output` is always empty in inputMappings"
    after = only_warning(copying("$.input.x", "outputMappings", "$.context.a"))
    assert after.message == "`$.input` is always empty in outputMappings"
    assert after.hint.startswith("$.output is what the task gave")


def test_a_root_that_a_rule_writes_to_is_not_empty() -> None:
    rules = "[{source: 1, target: $.output.x}, {source: $.output.x, target: $.input.y}]"
    assert warnings_in(f"tasks:\n- {{name: A, category: pass, inputMappings: {rules}}}\n") == []


# -- keys of the context -----------------------------------------------------------------


def flow(*rules: str, rest: str = "") -> str:
    """Write tasks A, B and so on in a row, each with one input rule and one output rule."""
    tasks = "tasks:\n"
    for position, rule in enumerate(rules):
        name, following = "ABCD"[position], "BCD "[position]
        source, _, key = rule.partition(">")
        tasks += f"- name: {name}\n  category: pass\n"
        tasks += f"  next: {following}\n" if position + 1 < len(rules) else ""
        if source:
            tasks += f"  inputMappings: [{{source: {source}, target: $.input.a}}]\n"
        if key:
            tasks += f"  outputMappings: [{{source: $.output.a, target: '$.context.{key}'}}]\n"
    return rest + tasks


def test_with_a_schema_a_key_that_nothing_gives_is_told() -> None:
    problem = only_warning(flow("$.context.nmae>", rest=SCHEMA))
    assert problem.message == "no task, default or inputSchema gives `$.context.nmae` a value"
    assert problem.hint == "did you mean `name`?"


@pytest.mark.parametrize(
    "rest",
    [
        flow("$.context.name>made", "$.context.made>"),
        flow("$.context.flow_execution_id>"),
        flow("$.context.__reserved>"),
        flow("$.context.more>", rest="defaultContext: {more: '1'}\n"),
        flow(">made[0]", '"$.context.made[0].x">'),
        flow("", "").replace("name: B\n", "name: B\n  input: {x: $.A.y}\n"),
    ],
)
def test_with_a_schema_a_key_that_something_gives_is_not_told(rest: str) -> None:
    assert warnings_in(SCHEMA + rest) == []


def test_with_a_schema_a_key_that_is_written_only_later_is_told() -> None:
    problem = only_warning(flow("$.context.made>", "$.context.name>made", rest=SCHEMA))
    assert problem.message == "`$.context.made` is written only by tasks that run later"
    assert warnings_in(flow("$.context.made>made", rest=SCHEMA)) == []
    aside = flow("$.context.made>", "$.context.name>made", rest=SCHEMA).replace("next: B", "")
    assert warnings_in(aside) == []


@pytest.mark.parametrize(
    "schema",
    [
        '{"properties": {"name": {}}, "additionalProperties": true}',
        '{"properties": {"name": {}}, "anyOf": [{}]}',
        '{"type": "object"}',
        "[]",
        "no JSON",
    ],
)
def test_a_schema_that_does_not_tell_all_keys_is_none(schema: str) -> None:
    assert warnings_in(f"inputSchema: '{schema}'\n" + flow("$.context.other>")) == []


def test_rill_flows_list_of_fields_is_a_schema_too() -> None:
    schema = """inputSchema: '[{"required": true, "name": "city", "type": "String"}]'\n"""
    assert only_warning(flow("$.context.ctiy>", rest=schema)).hint == "did you mean `city`?"


def test_without_a_schema_only_a_slip_of_the_pen_is_told() -> None:
    slip = flow(">userName", "$.context.user_name>")
    problem = only_warning(slip)
    assert problem.message == "nothing in the definition gives `$.context.user_name` a value"
    assert problem.hint == "did you mean `userName`?"
    assert warnings_in(flow(">urls", "$.context.url>")) == []
    assert warnings_in(flow(">made", "$.context.other>")) == []


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("nmae", "name"),
        ("username", "userName"),
        ("user-name", "user_name"),
        ("reslut", "result"),
        ("segmnts", "segments"),
        ("segmeents", "segments"),
        ("segmints", "segments"),
    ],
)
def test_a_slip_is_recognised(name: str, known: str) -> None:
    assert Spellings([known, "other"]).near(name) == known


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("name", "names"),
        ("url", "urls"),
        ("clip1", "clip2"),
        ("item_1_a", "item_2_a"),
        ("test", "text"),
        ("name", "name"),
        ("ab", "ba"),
        ("ename", "name"),
        ("", "a"),
        ("x" * 100, "x" * 99),
    ],
)
def test_two_names_are_no_slip(name: str, known: str) -> None:
    assert Spellings([known]).near(name) == ""


def each(source: str, *, inputs: str = "") -> str:
    """Write a foreach whose member reads something."""
    inner = f"{{name: B, category: pass, inputMappings: [{{source: {source}, target: $.input.b}}]}}"
    items = "{source: $.context.items, target: $.input.items}"
    return (
        f"tasks:\n- name: A\n  category: foreach\n  inputMappings: [{items}{inputs}]\n"
        "  iterationMapping: {collection: $.input.items, item: item, index: i}\n"
        f"  tasks: [{inner}]\n"
    )


def test_a_group_sees_what_its_task_was_given() -> None:
    problem = only_warning(each("$.context.name"))
    assert problem.message == f"`$.context.name` is always empty: {OWN}"
    assert problem.hint == "inputMappings of A give it: target $.input.name"
    assert only_warning(each("$.context.itme")).hint == "did you mean `item`?"
    given = ", {source: $.context.name, target: $.input.name}"
    for source, inputs in (("item", ""), ("i", ""), ("items", ""), ("name", given)):
        assert warnings_in(each(f"$.context.{source}", inputs=inputs)) == []


def test_where_a_target_may_be_any_key_nothing_is_told() -> None:
    anything = ", {source: '1', target: $.input.*}"
    assert warnings_in(each("$.context.name", inputs=anything)) == []


def test_shared_rules_give_keys() -> None:
    shared = "commonMapping: {more: [{source: $.context.name, target: $.input.name}]}\n"
    assert warnings_in(shared + each("$.context.name", inputs=", {reference: more}")) == []


# -- no false alarm ------------------------------------------------------------------------

NEW: Final = ("always empty", "gives `$.context", "taken as a text", "inside a text", "run later")
DOCUMENTED: Final = examples_of((ROOT / "docs" / "language.md").read_text(encoding="utf-8"))


def test_no_example_has_such_a_warning_but_the_one_that_shows_them() -> None:
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.yaml")]
    good = [example.workflow for example in DOCUMENTED if "warnings" not in example.result]
    for text in (*files, *good):
        told = [problem.message for problem in find_problems(text)]
        assert [message for message in told if any(part in message for part in NEW)] == []


def test_many_shared_rules_and_references_take_little_time() -> None:
    rules = ", ".join(f"{{source: $.context.k{n}, target: $.context.t{n}}}" for n in range(220))
    tasks = "".join(
        f"- {{name: T{n}, category: pass, inputMappings: [{{reference: all}},"
        f" {{source: $.context.u{n}, target: $.input.x}}]}}\n"
        for n in range(220)
    )
    text = f"{HEADER}{SCHEMA}commonMapping: {{all: [{rules}]}}\ntasks:\n{tasks}"
    assert len(find_problems(text)) == 200


@LAW
@given(flows(), st.integers(0, 2**32))
def test_what_a_group_is_said_not_to_have_it_never_has(definition: Definition, seed: int) -> None:
    player = Player(definition, seed)
    read = player.run.plan.original
    bases = {path: task.name for task, path in all_tasks(read)}
    told = [
        (bases[found.path[:-3]], found.path[-3], found.path[-2])
        for found in context_findings(read)
        if OWN in found.message and isinstance(found.path[-2], int)
    ]
    for _ in range(200):
        if not player.step():
            break
    for task in player.run.state.tasks.values():
        for base, field, position in told:
            applied = task.warning_counts.get(str(field), 0)
            if task.base == base and (applied or (field == "inputMappings" and has_input(task))):
                kept = {(warning.field, warning.number) for warning in task.warnings}
                assert (field, int(position) + 1) in kept


def has_input(task: TaskState) -> bool:
    """Tell whether the input of an instance has been mapped."""
    return task.invoke.input is not None
