"""What ``docs/language.md`` shows is what happens: every example, every row, every field."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from pydantic import BaseModel

from rillflow.core.tasks.retry_waits import retry_wait_s
from rillflow.definition import MAX_DEPTH, MAX_TEXT_BYTES, find_problems, model, parse_definition
from rillflow.definition.references import MOST_EXPANDED_BYTES, MOST_EXPANDED_RULES
from rillflow.definition.yaml_tree.loader import (
    BYTES_PER_NODE,
    MAX_EXPANSION,
    MAX_NESTING,
    MAX_TAG_DIRECTIVES,
)
from rillflow.definition.yaml_tree.loader import MAX_PATTERNS as MOST_DEFINITION_PATTERNS
from rillflow.definition.yaml_tree.scalars import resolve_plain
from rillflow.errors import DefinitionError, LanguageError
from rillflow.gateways.outbound.hints import LONGEST_HINT_S
from rillflow.jsontypes import MAX_DEPTH as MAX_JSON_DEPTH
from rillflow.jsontypes import MAX_LONG_DIGITS, MAX_VALUES, encode_json
from rillflow.language.budget import LONGEST_NUMBER, MAX_BYTES, MAX_STEPS
from rillflow.language.expressions import (
    DEFAULT_BUDGET,
    MAX_SOURCE_CHARACTERS,
    compile_expression,
)
from rillflow.language.expressions.functions import FUNCTIONS
from rillflow.language.expressions.operands import MAX_NESTING as MAX_EXPRESSION_NESTING
from rillflow.language.jsonpath.paths import MAX_PATTERNS, compile_path, reads_as_null
from rillflow.language.jsonpath.syntax import MAX_DEPTH as MAX_PATH_DEPTH
from rillflow.language.jsonpath.syntax import MAX_PATH_CHARS
from rillflow.language.mapping.conditions import holds
from rillflow.language.mapping.mappings import compile_mappings
from rillflow.language.mapping.targets import MAX_PADDING
from rillflow.language.text.literals import parse_literal
from rillflow.language.text.regular_expressions import MAX_PROGRAM
from rillflow.runtime.commands.subflows import MOST_LEVELS
from rillflow.runtime.definitions.alias_rules import MOST_RULES, RULE_BUDGET, RULES_MAX_STEPS
from rillflow.runtime.definitions.input_schema import MOST_SCHEMA_VALUES, MOST_STEPS
from rillflow.runtime.definitions.json_schema import LONGEST_NAME as LONGEST_SCHEMA_NAME
from rillflow.runtime.definitions.json_schema import MOST_PATTERNS
from rillflow.runtime.submission.intake import MOST_CALLBACK_PATTERNS, MOST_CALLBACK_RULES
from rillflow.settings import Settings
from tests.spec.documented import (
    DOCUMENT,
    RESULT,
    WORKFLOW,
    Example,
    Row,
    Table,
    blocks_of,
    examples_of,
    headings_of,
    tables_of,
)
from tests.spec.played import play

Json: TypeAlias = Any

DOCS: Final = Path(__file__).parents[2] / "docs"
TEXT: Final = (DOCS / "language.md").read_text(encoding="utf-8")
EXAMPLES: Final = examples_of(TEXT)
TABLES: Final = tables_of(TEXT)
HEADER: Final = {"workspace": "demo", "dagName": "bad", "type": "flow"}
FAILS: Final = "fails"


def _name_of(workflow: str) -> str:
    definition = parse_definition(workflow)
    return f"{definition.workspace}:{definition.dag_name}"


LIBRARY: Final = {_name_of(example.workflow): example.workflow for example in EXAMPLES}


# -- examples -------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line {example.line}")
def test_an_example_ends_as_it_says(example: Example) -> None:
    said = example.result
    unknown = said.keys() - {"input", "functions", "then"} - _CHECKED
    assert not unknown
    seen = play(example.workflow, said, LIBRARY)
    seen["warnings"] = [problem.message for problem in find_problems(example.workflow)]
    shown = {key: seen.get(key) for key in said if key in _CHECKED}
    assert _exact(shown) == _exact({key: said[key] for key in shown})


_CHECKED: Final = {
    "status",
    "message",
    "context",
    "tasks",
    "messages",
    "groups",
    "identities",
    "progress",
    "calls",
    "requests",
    "notice",
    "refused",
    "warnings",
    "passed_over",
}


def test_an_example_says_how_it_ends() -> None:
    assert len(EXAMPLES) >= 55
    assert not [it.line for it in EXAMPLES if not {"status", "refused"} & it.result.keys()]


def test_no_block_is_left_out() -> None:
    infos = [block.info for block in blocks_of(TEXT)]
    assert set(infos) == {WORKFLOW, RESULT, DOCUMENT}
    assert infos.count(WORKFLOW) == infos.count(RESULT) == len(EXAMPLES)


def test_a_workflow_of_the_document_has_a_name_of_its_own() -> None:
    assert len(LIBRARY) == len(EXAMPLES)


def test_a_workflow_of_the_document_has_only_the_warnings_it_tells() -> None:
    assert not [
        (example.line, problem)
        for example in EXAMPLES
        for problem in find_problems(example.workflow)
        if "warnings" not in example.result
    ]


# -- rows -----------------------------------------------------------------------------------


def _expression(row: Row) -> Json:
    env: Json = row.document
    return compile_expression(row.cells[0]).evaluate(env)


def _path(row: Row) -> Json:
    try:
        return compile_path(row.cells[0]).find(row.document)
    except LanguageError as error:
        if not reads_as_null(error):
            raise
        return None


def _condition(row: Row) -> Json:
    return holds(row.cells[0], row.document)


def _target(row: Row) -> Json:
    before, target = json.loads(row.cells[0]), row.cells[1]
    rule = model.MappingRule(source="1", target=target, tolerance=False)
    return compile_mappings([rule]).apply(context=before, input={}, output={}).context


def _waits(row: Row) -> Json:
    interval, multiplier, cap, attempts = map(json.loads, row.cells[:4])
    retry = model.Retry(interval_s=interval, multiplier=multiplier, max_interval_s=cap)
    return [retry_wait_s(retry, attempt) for attempt in range(1, attempts)]


def _rejection(row: Row) -> Json:
    written = row.cells[0]
    given = {line.partition(":")[0] for line in written.splitlines()}
    header = "".join(f"{key}: {text}\n" for key, text in HEADER.items() if key not in given)
    try:
        parse_definition(header + written)
    except DefinitionError as error:
        return f"{error.wire_code} {error}"
    return "accepted"


RUN: Final[Mapping[tuple[str, ...], Callable[[Row], Json]]] = {
    ("expression", "value"): _expression,
    ("path", "value"): _path,
    ("condition", "holds"): _condition,
    ("literal", "value"): lambda row: parse_literal(row.cells[0]),
    ("plain scalar", "value"): lambda row: resolve_plain(row.cells[0]),
    ("context before", "target", "context after"): _target,
    ("interval", "multiplier", "cap", "attempts", "waits"): _waits,
    ("definition", "refusal"): _rejection,
}
"""How the rows of a table are run, by the titles of its first columns."""

ROWS: Final = [
    pytest.param(titles, row, id=f"line {row.line}")
    for table in TABLES
    for titles in RUN
    if table.titles[: len(titles)] == titles
    for row in table.rows
]


@pytest.mark.parametrize(("titles", "row"), ROWS)
def test_a_row_has_the_value_it_says(titles: tuple[str, ...], row: Row) -> None:
    said = row.cells[len(titles) - 1]
    try:
        found = RUN[titles](row)
    except LanguageError:
        found = None
        assert said == FAILS
        return
    assert said != FAILS
    text = titles == ("definition", "refusal")
    assert _exact(found) == _exact(said if text else json.loads(said))


def test_only_tables_without_texts_to_run_are_not_run() -> None:
    run = {table.titles for table in TABLES if any(table.titles[: len(it)] == it for it in RUN)}
    others = {table.titles for table in TABLES} - run
    assert others <= {
        ("field", "type", "default", "meaning"),
        ("limit", "value"),
        ("step", "meaning"),
        ("key", "meaning"),
        ("status", "meaning"),
        ("category", "does"),
        ("message", "of", "meaning"),
        ("subject", "Rill Flow", "Rillflow"),
        ("mappings", "$.context", "$.input", "$.output"),
        ("form", "value"),
        ("field", "list empty", "list absent", "an error in a condition"),
        ("pattern", "after the call", "after the callback"),
        ("input key", "map", "anything else"),
        ("input", "of", "default", "meaning"),
        ("operators", "meaning"),
        ("part", "what it knows"),
    }
    assert len(ROWS) >= 300


def test_what_only_rillflow_takes_is_marked_and_nothing_else_is() -> None:
    rows = [row for table in TABLES if table.titles[0] == "expression" for row in table.rows]
    marked = {row.cells[0] for row in rows if row.cells[2].startswith("only Rillflow")}
    assert marked == {row.cells[0] for row in rows if _is_extension(row)}
    assert len(marked) >= 8


def _is_extension(row: Row) -> bool:
    try:
        return bool(compile_expression(row.cells[0]).extensions)
    except LanguageError:
        return False


def test_every_function_of_expressions_is_shown_at_work() -> None:
    shown = " ".join(row.cells[0] for table in TABLES for row in table.rows)
    assert not [name for name in FUNCTIONS if f"{name}(" not in shown]


# -- fields ---------------------------------------------------------------------------------

FIELDS: Final[Mapping[str, type[BaseModel]]] = {
    "The fields of a definition": model.WorkflowDefinition,
    "The fields of every task": model._Task,
    "Rules": model.MappingRule,
    "The fields of a function": model.FunctionTask,
    "Retry": model.Retry,
    "Polling": model.Polling,
    "Ray options": model.RayOptions,
    "Triggers": model.DeclaredTrigger,
    "Webhooks": model.WebhookRequests,
    "Kafka": model.KafkaTopic,
    "The fields of a choice": model.ChoiceTask,
    "A branch": model.Choice,
    "The fields of a foreach": model.ForeachTask,
    "Iteration": model.IterationMapping,
    "Concurrency": model.Synchronization,
    "The fields of a switch": model.SwitchTask,
    "An entry": model.SwitchEntry,
    "The fields of a return": model.ReturnTask,
    "The fields of a suspense": model.SuspenseTask,
    "Time": model.Timeline,
    "Progress": model.Progress,
    "Degrade": model.Degrade,
    "Completion callback": model.CallbackConfig,
    "Resources": model.Resource,
}
"""The model whose fields the table under a heading lists."""


@pytest.mark.parametrize("heading", FIELDS)
def test_a_table_of_fields_lists_them_all(heading: str) -> None:
    [table] = [it for it in _field_tables() if it.heading == heading]
    kind = FIELDS[heading]
    is_category = issubclass(kind, model._Task) and kind is not model._Task
    common = model._Task.model_fields if is_category else {}
    fields = {
        info.alias or name: info.default
        for name, info in kind.model_fields.items()
        if name not in common and not (is_category and name == "category")
    }
    assert {row.cells[0]: row.cells[2] for row in table.rows} == {
        key: "" if default is None else json.dumps(default) for key, default in fields.items()
    }


def test_every_table_of_fields_is_compared() -> None:
    assert {table.heading for table in _field_tables()} == FIELDS.keys()


def _field_tables() -> Sequence[Table]:
    return [table for table in TABLES if table.titles[0] == "field" and "default" in table.titles]


# -- limits ---------------------------------------------------------------------------------

SETTINGS: Final = Settings.model_construct()

LIMITS: Final = {
    "size of a definition, in bytes": MAX_TEXT_BYTES,
    "nesting of lists and maps in it": MAX_NESTING,
    "what its aliases may add, in nodes and characters": MAX_EXPANSION,
    "its keys and values together, aliases counted once": MAX_TEXT_BYTES // BYTES_PER_NODE,
    "levels of tasks (a setting)": MAX_DEPTH,
    "executions in a chain of sub-flows": MOST_LEVELS,
    "sub-flows of one execution, at all levels (a setting)": SETTINGS.max_descendants,
    "seconds of a synchronous call, whatever its `timeoutInSeconds` (a setting)": (
        SETTINGS.longest_call_s
    ),
    "body of a submission, in bytes (a setting)": SETTINGS.submit_max_bytes,
    "body of a callback, wake-up or redo, in bytes (a setting)": SETTINGS.callback_max_bytes,
    "outputs that the tasks of one execution keep, in bytes of JSON together (a setting)": (
        SETTINGS.outputs_max_bytes
    ),
    "values in an enforced `inputSchema`, counted likewise": MOST_SCHEMA_VALUES,
    "steps of one check against `inputSchema`": MOST_STEPS,
    "characters of an id, an anchor or a reference in it": LONGEST_SCHEMA_NAME,
    "mapping rules of a definition, those of `commonMapping` once for each reference": (
        MOST_EXPANDED_RULES
    ),
    "bytes of JSON that references to `commonMapping`, `resources` and `rayOptions` write out": (
        MOST_EXPANDED_BYTES
    ),
    "regular expressions (`=~`) of a definition": MOST_DEFINITION_PATTERNS,
    "`%TAG` directives of a definition": MAX_TAG_DIRECTIVES,
    "mapping rules of a submission's own callback, counted likewise": MOST_CALLBACK_RULES,
    "regular expressions (`=~`) of a submission's own callback": MOST_CALLBACK_PATTERNS,
    "nesting of JSON, and of a context or an input": MAX_JSON_DEPTH,
    "values in JSON from outside; a list or object counts as four, a key as two": MAX_VALUES,
    "digits of the numbers of more than 40 digits in JSON from outside, together": MAX_LONG_DIGITS,
    "length of a path, in characters": MAX_PATH_CHARS,
    "steps and brackets of a path, nested": MAX_PATH_DEPTH,
    "regular expressions of a path, or of an expression": MAX_PATTERNS,
    "instructions of a regular expression in a path, as RE2 counts them": MAX_PROGRAM,
    "different regular expressions of an enforced `inputSchema`": MOST_PATTERNS,
    "values that one reading of a path may visit": MAX_STEPS,
    "bytes of memory for what one reading of a path finds": MAX_BYTES,
    "elements by which a target may lengthen a list": MAX_PADDING,
    "length of an expression, in characters": MAX_SOURCE_CHARACTERS,
    "nesting of an expression": MAX_EXPRESSION_NESTING,
    "steps of one evaluation": DEFAULT_BUDGET.steps,
    "bytes of memory for all that one evaluation makes": DEFAULT_BUDGET.memory_bytes,
    "characters of a string in an expression": DEFAULT_BUDGET.string_length,
    "elements of a collection in an expression": DEFAULT_BUDGET.collection_size,
    "bits of an integer in an expression": DEFAULT_BUDGET.integer_bits,
    "characters of a text that a filter, `double` or `decimal` reads as a number": LONGEST_NUMBER,
    "steps of all that one event of an execution evaluates (a setting)": SETTINGS.turn_max_steps,
    "bytes of all that it makes (a setting)": SETTINGS.turn_max_bytes,
    "tasks and groups that one event makes, starts and ends (a setting)": (
        SETTINGS.turn_max_task_steps
    ),
    "items of one foreach (a setting)": SETTINGS.foreach_max_items,
    "tasks of one execution, and groups of it (a setting)": SETTINGS.execution_max_tasks,
    "steps of one gray or A/B rule": RULE_BUDGET.steps,
    "steps of all rules of a choice, 200 and their characters included": RULES_MAX_STEPS,
    "gray or A/B rules of one choice": MOST_RULES,
    "seconds of a synchronous call (a setting, or `timeoutInSeconds`)": SETTINGS.call_timeout_s,
    "seconds to open a connection (a setting)": SETTINGS.connect_timeout_s,
    "seconds of the longest pause that a busy function may ask for": LONGEST_HINT_S,
}


def test_the_limits_are_those_of_the_code() -> None:
    [table] = [it for it in TABLES if it.titles == ("limit", "value")]
    assert {row.cells[0]: row.cells[1].replace(",", "") for row in table.rows} == {
        limit: f"{value:.0f}" for limit, value in LIMITS.items()
    }


# -- the index ------------------------------------------------------------------------------


def test_the_index_lists_every_document_and_nothing_else() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    listed = {part.partition(")")[0] for part in index.split("](")[1:]}
    here = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert {it for it in listed if "/" not in it} == here
    assert not [it for it in listed if not (DOCS / it).exists()]


def test_a_link_within_the_document_leads_to_a_heading() -> None:
    anchors = {re.sub(r"[^\w -]", "", it.lower()).replace(" ", "-") for it in headings_of(TEXT)}
    assert not {it for it in re.findall(r"\]\(#([^)]*)\)", TEXT) if it not in anchors}


def _exact(value: Json) -> str:
    """Write a value so that 1, 1.0 and true differ."""
    return json.dumps(json.loads(encode_json(value)), sort_keys=True, ensure_ascii=False)
