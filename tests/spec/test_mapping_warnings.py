"""A mapping rule that comes to nothing is kept with its task, and changes no status."""

from typing import Any, Final

import pytest

from rillflow.core import machine, view
from rillflow.core.encoding import codec
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.definition.model import MappingRule, WorkflowDefinition
from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonObject
from rillflow.language.mapping.dropped_targets import dropped_targets
from rillflow.testing import Scenario
from tests.machine_speed import processor_time
from tests.spec.notation import Definition, each, flow, fn, pass_, scenario, susp
from tests.submissions import submission_event

MISSPELT: Final = {"source": "$.context.nmae", "target": "$.input.name"}
SUGGESTION: Final = "`$.context.nmae` does not exist; did you mean `name`?"


def told(run: Scenario, name: str = "A") -> list[tuple[str, str]]:
    """Return kind and reason of each rule that is kept with a task."""
    return [(each["kind"], each["reason"]) for each in shown(run, name)["warnings"]]


def shown(run: Scenario, name: str = "A") -> Any:
    """Return a task as get.json shows it."""
    return view.task_view(run.plan, run.state, run.state.tasks[name])


def counted(run: Scenario) -> Any:
    """Return the count of the execution as get.json shows it."""
    return view.execution_view(run.plan, run.state, at_ms=0, brief=True).get("mapping_warnings", 0)


LOST_INPUT: Final = {"source": "$.context.found", "target": "$.context.lost", "transform": "1"}
LOST_REASON: Final = "`$.context.lost` does not last: inputMappings write to $.input"
DOCUMENT: Final[JsonObject] = {"name": "Bob", "text": "t", "list": [1], "deep": {"x": 1}}


@pytest.mark.parametrize(
    ("rule", "kind", "reason"),
    [
        (MISSPELT, "missing", SUGGESTION),
        ({"source": "$.contxt.name"}, "missing", "did you mean `context`?"),
        ({"source": "$.context.far"}, "missing", "`$.context.far` does not exist"),
        ({"source": "$.context.deep.x.y"}, "missing", "`$.context.deep.x` is a number"),
        ({"source": "$.context.text.y"}, "missing", "`$.context.text` is a text"),
        ({"source": "$.context.list[3]"}, "missing", "the list has 1 element"),
        ({"source": "$.context.list.y"}, "missing", "`$.context.list` is a list"),
        ({"source": "$.tasks.B"}, "missing", "`$.tasks` does not exist"),
        ({"source": "$.tasks.B.url.x"}, "missing", "only $.tasks.<name>.trigger_url"),
        ({"source": "$.context.[x]"}, "bad_path", "path"),
        ({"source": "$.context.name", "transform": "nope("}, "transform_failed", "line 1"),
        ({"source": "$.context.name", "transform": "nope(1)"}, "transform_failed", "nope"),
        ({"source": "$.context.name", "transform": "nil"}, "transform_nil", "gave nil"),
        ({"source": "$.context.nmae", "transform": "source"}, "transform_nil", SUGGESTION),
        ({"source": "$.context.nmae", "transform": "long(source)"}, "transform_failed", SUGGESTION),
        ({"source": "1", "target": "$.input[*].x"}, "not_written", "only the end of a target"),
        ({"source": "1", "target": "$.context.text.x"}, "not_written", "a scalar is on the way"),
        ({"source": "1", "target": "$.context.list[-1]"}, "not_written", "leads to no place"),
        ({"source": "1", "target": "input.x"}, "not_written", "leads to no place"),
        ({"source": "1", "target": "$.input"}, "root", "$.input as a whole"),
        ({"source": "1", "target": "$.input[0]"}, "root", "$.input as a whole"),
        ({"target": "$.input.x"}, "no_source", "neither source nor transform"),
        ({"source": "1", "target": " "}, "no_target", "no target"),
    ],
)
def test_each_way_to_come_to_nothing_has_its_reason(
    rule: Definition, kind: str, reason: str
) -> None:
    good = {"source": "$.context.name", "target": "$.input.good"}
    run = scenario(pass_("A", ins=[good, {"target": "$.input.x", **rule}]))
    run.submit(DOCUMENT)
    assert run.statuses == {"A": "SUCCEED"}
    assert run.status == "SUCCEED"
    ((found_kind, found_reason),) = told(run)
    assert found_kind == kind
    assert reason in found_reason
    assert shown(run)["mapping_warnings"] == counted(run) == 1
    (warning,) = shown(run)["warnings"]
    assert (warning["mappings"], warning["number"]) == ("inputMappings", 2)


def test_a_null_that_is_there_is_told_as_one() -> None:
    outs = [{"source": "$.output.error", "target": "$.context.error"}]
    run = scenario(fn("A", outs=outs))
    run.submit()
    run.finish("A", {"error": None, "ok": True})
    assert told(run) == [("null", "`$.output.error` is null")]
    assert run.status == "SUCCEED"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_rules_that_are_not_applied_for_want_of_an_output_are_told(kind: str) -> None:
    run = scenario(fn("A", kind, outs="wanted"))
    ended_empty(run, kind)
    assert told(run) == [("no_output", "the output is empty, so no rule is applied")]
    assert counted(run) == 1

    none = scenario(fn("A", kind))
    ended_empty(none, kind)
    assert counted(none) == 0


def ended_empty(run: Scenario, kind: str) -> None:
    """Have the function succeed without a result."""
    run.submit()
    run.answer("A", {})
    if kind == "async":
        run.finish("A", {})
    assert run.status == "SUCCEED"


def test_strict_wants_an_output_where_a_rule_is_not_optional() -> None:
    run = scenario(fn("A", "sync", outs="wanted"), strict=True)
    run.submit()
    run.answer("A", {})
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").invoke.msg == "outputMappings: the output is empty, so no rule is applied"
    rule = {"source": "$.output.x", "target": "$.context.x", "tolerance": True}
    ended_empty(scenario(fn("A", "sync", outs=[rule]), strict=True), "sync")


def test_rules_that_work_are_not_told() -> None:
    run = scenario(fn("A", ins="name", outs="b"))
    run.submit({"name": "Bob"})
    run.finish("A", {"b": 1})
    assert "warnings" not in shown(run)
    assert "mapping_warnings" not in shown(run)
    assert "mapping_warnings" not in view.execution_view(run.plan, run.state, at_ms=0)
    assert b"warning" not in codec.encode_state(run.state)


def test_a_literal_is_never_shown() -> None:
    rule = {"source": "hunter2", "target": "input.password"}
    run = scenario(pass_("A", ins=[rule]))
    run.submit()
    assert shown(run)["warnings"][0]["rule"] == "(literal) -> input.password"
    assert "hunter2" not in str(shown(run)["warnings"])


def test_a_task_tells_of_the_last_time_that_each_list_was_applied() -> None:
    ins = [{"source": "$.context.found", "target": "$.input.found"}, LOST_INPUT]
    outs = [{"source": "$.output.found", "target": "$.context.found"}]
    run = scenario(susp("A", "$.input.found", ins=ins, outs=outs))
    run.submit()
    assert told(run) == [("not_kept", LOST_REASON)]
    run.wake("A", {"other": 1})
    assert [kind for kind, _ in told(run)] == ["missing", "not_kept"]
    assert counted(run) == 2
    run.wake("A", {"found": 1})
    assert told(run) == [("not_kept", LOST_REASON)]
    assert counted(run) == 1


def test_a_value_that_a_suspense_waits_for_is_told_of_when_it_has_ended() -> None:
    missing = {"source": "$.context.never", "target": "$.input.never"}
    failing = {"transform": "long(context.never)", "target": "$.input.number"}
    outs = [{"source": "$.output.found", "target": "$.context.found"}]
    ins = [{"source": "$.context.found", "target": "$.input.found"}, missing, failing]
    run = scenario(susp("A", "$.input.found", ins=ins, outs=outs))
    run.submit()
    assert "warnings" not in shown(run)
    run.wake("A", {"found": 1})
    assert [kind for kind, _ in told(run)] == ["missing", "transform_failed"]


def test_members_of_groups_count_and_a_redo_starts_afresh() -> None:
    members = pass_("B", ins=[MISSPELT])
    run = scenario(each("A", "items", members, ins="items"), pass_("C", ins=[MISSPELT]))
    run.submit({"items": [1, 2]})
    assert counted(run) == 3
    assert told(run, "A_0-B") == [("missing", "`$.context.nmae` does not exist")]
    run.redo("A")
    assert counted(run) == 3
    run.redo("A", data={"items": []})
    assert counted(run) == 1


def test_a_snapshot_keeps_them_and_an_old_one_has_none() -> None:
    run = scenario(pass_("A", ins=[MISSPELT]))
    run.submit({"name": "Bob"})
    kept = codec.decode_state(codec.encode_state(run.state))
    assert kept == run.state
    assert view.task_view(run.plan, kept, kept.tasks["A"]) == shown(run)


def test_a_refused_event_leaves_them_as_they_were() -> None:
    outs = [
        {"source": "$.output.x", "target": "$.context.x"},
        {"source": "$.output.y", "transform": "nope(1)", "target": "$.context.y"},
    ]
    outs[1]["tolerance"] = False  # type: ignore[assignment]
    run = scenario(fn("A", outs=outs))
    run.submit()
    run.answer("A", {})
    with pytest.raises(ExecutionError):
        run.finish("A", {"z": 1})
    assert counted(run) == 0


def test_the_completion_callback_has_its_own() -> None:
    callback = {"resourceName": "http://told", "inputMappings": [MISSPELT]}
    run = scenario(pass_("A"), callback=callback)
    run.submit({"name": "Bob"})
    found: Any = view.execution_view(run.plan, run.state, at_ms=0)
    assert found["mapping_warnings"] == 1
    assert found["warnings"] == [
        {
            "mappings": "callback.inputMappings",
            "number": 1,
            "rule": "$.context.nmae -> $.input.name",
            "kind": "missing",
            "reason": SUGGESTION,
        }
    ]


@pytest.mark.parametrize("by_setting", [True, False])
def test_strict_makes_a_failure_of_a_rule_that_comes_to_nothing(*, by_setting: bool) -> None:
    state = submitted(pass_("A", ins=[MISSPELT]), by_setting=by_setting)
    assert state.status.name == "FAILED"
    assert state.tasks["A"].invoke.msg == (
        f"inputMappings rule 1, $.context.nmae -> $.input.name: {SUGGESTION}"
    )
    assert len(state.tasks["A"].warnings) == 1


def test_strict_leaves_a_rule_alone_whose_tolerance_is_true() -> None:
    rules = [MISSPELT | {"tolerance": True}, {"source": "$.context.name", "target": "$.input.n"}]
    state = submitted(pass_("A", ins=rules))
    assert state.status.name == "SUCCEED"
    assert state.tasks["A"].invoke.input == {"n": "Bob"}
    assert state.mapping_warnings == 0


def test_strict_leaves_the_completion_callback_alone() -> None:
    callback = {"resourceName": "http://told", "inputMappings": [MISSPELT]}
    state = submitted(pass_("A"), callback=callback)
    assert (state.status.name, state.mapping_warnings) == ("SUCCEED", 1)
    assert state.completion is not None


def test_strict_refuses_a_callback_as_tolerance_false_does() -> None:
    run = scenario(fn("A", outs="wanted"), strict=True)
    run.submit()
    run.answer("A", {})
    with pytest.raises(ExecutionError, match=r"`\$\.output\.wanted` does not exist"):
        run.finish("A", {"wnted": 1})
    assert run.statuses == {"A": "RUNNING"}
    run.finish("A", {"wanted": 1})
    assert run.status == "SUCCEED"


TEXT: Final = "a text that looks like a path is copied as it is written; did you mean `{}`?"
INSIDE: Final = (
    "a path inside a text is not replaced by its value; a transform can put values together"
)


@pytest.mark.parametrize(
    ("field", "rule", "kind", "reason"),
    [
        ("ins", {"target": "$.inptu.s"}, "not_kept", "to $.input; did you mean `input`?"),
        ("ins", {"target": "$.context.lost"}, "not_kept", LOST_REASON),
        ("ins", {"target": "$.output.lost"}, "not_kept", "`$.output.lost` does not last"),
        ("ins", {"target": "$['output'].x[0]"}, "not_kept", "inputMappings write to $.input"),
        ("outs", {"target": "$.contxt.p"}, "not_kept", "to $.context; did you mean `context`?"),
        ("outs", {"target": "$.output.lost"}, "not_kept", "outputMappings write to $.context"),
        ("outs", {"target": "$.input.lost"}, "not_kept", "`$.input.lost` does not last"),
        ("outs", {"target": "context.x"}, "not_written", "since it lacks `$.`"),
        ("ins", {"source": "context.name"}, "literal_path", TEXT.format("$.context.name")),
        ("ins", {"source": "input.x"}, "literal_path", TEXT.format("$.input.x")),
        ("ins", {"source": " $.context.name"}, "literal_path", TEXT.format("$.context.name")),
        ("ins", {"source": "{{context.name}}"}, "literal_path", TEXT.format("$.context.name")),
        ("outs", {"source": "hello $.context.name"}, "literal_path", INSIDE),
    ],
)
def test_a_value_that_nobody_sees_and_a_text_meant_as_a_path_are_told_and_fail_if_strict(
    field: str, rule: Definition, kind: str, reason: str
) -> None:
    place = "$.input.t" if field == "ins" else "$.context.t"
    whole = {"source": "$.context.name", "target": place, **rule}
    task = pass_("A", **{field: [whole]})
    run = scenario(task)
    run.submit({"name": "Bob"})
    assert (run.status, counted(run)) == ("SUCCEED", 1)
    ((found_kind, found_reason),) = told(run)
    assert found_kind == kind
    assert reason in found_reason

    state = submitted(task)
    assert state.status.name == "FAILED"
    assert reason in (state.tasks["A"].invoke.msg or "")


@pytest.mark.parametrize(
    "reader",
    [
        {"source": "$.tmp.list"},
        {"source": "$.tmp.list[0].x"},
        {"source": "$.tmp"},
        {"source": "$..list"},
        {"source": "$.*"},
        {"source": "$.context.deep[?(@.x == $.tmp.list[0])]"},
    ],
)
def test_what_a_later_rule_of_the_list_reads_is_not_told(reader: Definition) -> None:
    writer = {"source": "[1]", "target": "$.tmp.list"}
    reader = {"target": "$.input.x", **reader}
    run = scenario(pass_("A", ins=[writer, reader]))
    run.submit(DOCUMENT)
    assert [told_of for told_of in view_of(run) if told_of["number"] == 1] == []

    run = scenario(pass_("A", ins=[reader, writer]))
    run.submit(DOCUMENT)
    assert [each["kind"] for each in view_of(run) if each["number"] == 2] == ["not_kept"]


def view_of(run: Scenario) -> list[dict[str, Any]]:
    """Return the rules that the one task lists."""
    listed: list[dict[str, Any]] = shown(run).get("warnings", [])
    return listed


def test_what_a_later_transform_reads_is_not_told() -> None:
    rules = [
        {"source": "$.context.name", "target": "$.output.tmp"},
        {"transform": "output.tmp + '!'", "target": "$.input.text"},
    ]
    run = scenario(pass_("A", ins=rules))
    run.submit({"name": "Bob"})
    assert run.task("A").invoke.input == {"text": "Bob!"}
    assert counted(run) == 0


@pytest.mark.parametrize("source", ["input.csv", "output.json", "context", "a.b", "see context.x"])
def test_a_text_that_is_one_is_not_told(source: str) -> None:
    state = submitted(pass_("A", ins=[{"source": source, "target": "$.input.x"}]))
    assert (state.status.name, state.mapping_warnings) == ("SUCCEED", 0)


@pytest.mark.parametrize(
    "rule",
    [
        {"source": "context.name"},
        {"source": "hello $.context.name"},
        {"source": "$.context.absent"},
        {"source": "$.context.nothing"},
        {"source": "$.context.absent", "transform": "source"},
    ],
)
def test_a_rule_whose_own_tolerance_is_true_may_do_without_a_value(rule: Definition) -> None:
    task = pass_("A", ins=[{"target": "$.input.x", "tolerance": True, **rule}])
    state = submitted(task, defaultContext={"nothing": "{}"})
    assert (state.status.name, state.mapping_warnings) == ("SUCCEED", 0)
    failing = {"transform": "nope(1)", "target": "$.input.x", "tolerance": True}
    assert submitted(pass_("A", ins=[failing])).mapping_warnings == 1


@pytest.mark.parametrize("field", ["inputMappings", "callback.inputMappings"])
def test_many_rules_are_looked_through_once(field: str) -> None:
    count = 20_000
    rules = [MappingRule(source=f"$.tmp.k{n}", target=f"$.tmp.k{n + 1}") for n in range(count)]
    with processor_time(5):
        assert list(dropped_targets(rules, field)) == [count - 1]


def submitted(task: Definition, *, by_setting: bool = False, **rest: Any) -> ExecutionState:
    """Return a strict execution as it is after its submission."""
    text = flow(task, **rest) if by_setting else flow(task, strict=True, **rest)
    event = submission_event("e", "d", at_ms=0, data=b'{"name": "Bob"}', strict_mappings=by_setting)
    assert codec.decode_event(codec.encode_event(event)) == event
    return machine.submit(Plan(WorkflowDefinition.model_validate(text), "d"), event)[0]


ROWS: Final[JsonObject] = {
    "rows": [{"line": 1, "cells": [{"x": 1}]}, {"line": 2, "cells": []}],
    "map": {"a": {"x": 1}},
    "empty": [],
}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("$.context.rows[*].lnie", "`$.context.rows[*].lnie` does not exist; did you mean `line`?"),
        ("$.context.rows[*].line.x", "`$.context.rows[*].line.x` does not exist: "),
        ("$.context.rows[*].far.x", "`$.context.rows[*].far` does not exist"),
        ("$.context.rows[*].cells[*].y", "`$.context.rows[*].cells[*].y` does not exist"),
        ("$.context.map[*].y", "`$.context.map[*].y` does not exist"),
        ("$.context.rwos[*].line", "`$.context.rwos` does not exist; did you mean `rows`?"),
    ],
)
def test_a_key_that_no_element_has_is_told_and_fails_if_strict(source: str, reason: str) -> None:
    task = pass_("A", ins=[{"source": source, "target": "$.input.x"}])
    run = scenario(task)
    run.submit(ROWS)
    assert run.status == "SUCCEED"
    ((kind, found),) = told(run)
    assert kind == "missing"
    assert found.startswith(reason)
    run = scenario(task, strict=True)
    run.submit(ROWS)
    assert run.status == "FAILED"
    optional = pass_("A", ins=[{"source": source, "target": "$.input.x", "tolerance": True}])
    run = scenario(optional, strict=True)
    run.submit(ROWS)
    assert (run.status, counted(run)) == ("SUCCEED", 0)


@pytest.mark.parametrize(
    "source",
    [
        "$.context.rows[*].line",
        "$.context.rows[*].cells[*].x",
        "$.context.empty[*].x",
        "$.context.rows[?(@.line == 7)].lnie",
    ],
)
def test_a_key_that_one_element_has_or_a_list_without_elements_is_not_told(source: str) -> None:
    run = scenario(pass_("A", ins=[{"source": source, "target": "$.input.x"}]), strict=True)
    run.submit(ROWS)
    assert (run.status, counted(run)) == ("SUCCEED", 0)


def test_a_null_that_an_element_has_is_not_told() -> None:
    rule = {"source": "$.output.rows[*].error", "target": "$.context.errors"}
    run = scenario(fn("A", "sync", outs=[rule]), strict=True)
    run.submit()
    run.answer("A", {"rows": [{"error": None}, {}]})
    assert (run.status, counted(run)) == ("SUCCEED", 0)


def test_a_misspelling_in_output_is_told_once() -> None:
    run = scenario(pass_("A"), output={"a": "$.context.nmae", "b": "$.context.name"})
    run.submit({"name": "Bob"})
    assert counted(run) == 1
    assert [warning["mappings"] for warning in shown(run, "endTask")["warnings"]] == [
        "inputMappings"
    ]
