"""What the language says of rules and conditions is found again as codes with values."""

from typing import Any, Final

import pytest

from rillflow.core.inspection.reasons import OTHER, SENTENCES, reasons_in
from rillflow.jsontypes import JsonObject
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.condition_parts import explain
from rillflow.language.mapping.ineffective_rules import why_no_value
from tests.spec.notation import fn, pass_, scenario

DATA: Final[JsonObject] = {"name": "Bob", "text": "t", "list": [1], "deep": {"x": 1, "no": None}}


def said_of(rule: dict[str, Any], context: JsonObject = DATA) -> list[str]:
    """Return the reasons that a task keeps of an input mapping."""
    run = scenario(pass_("A", ins=[{"target": "$.input.x"} | rule]))
    run.submit(context)
    return [warning.reason for warning in run.state.tasks["A"].warnings]


def codes(reason: str) -> list[tuple[str, dict[str, str]]]:
    found: Any = reasons_in(reason)
    return [(each["code"], each["values"]) for each in found]


MISSING: Final = ("missing", {"place": "$.context.nmae"})
MEANT: Final = ("did_you_mean", {"meant": "name"})


RULES: Final[tuple[tuple[dict[str, Any], list[tuple[str, dict[str, str]]]], ...]] = (
    ({"source": "$.context.nmae"}, [MISSING, MEANT]),
    ({"source": "$.context.far"}, [("missing", {"place": "$.context.far"})]),
    (
        {"source": "$.context.list[3]"},
        [("missing_element", {"place": "$.context.list[3]", "count": "1"})],
    ),
    (
        {"source": "$.context.text.y"},
        [
            (
                "missing_below",
                {"place": "$.context.text.y", "way": "$.context.text", "kind": "a text"},
            )
        ],
    ),
    ({"source": "$.tasks.B.url.x"}, [("task_places", {})]),
    ({"source": "$.context.name", "transform": "nil"}, [("transform_nil", {})]),
    ({"source": "$.context.nmae", "transform": "source"}, [("transform_nil", {}), MISSING, MEANT]),
    ({"source": "1", "target": "$.context.list[-1]"}, [("no_place", {})]),
    (
        {"source": "1", "target": "input.x"},
        [("no_dollar", {"place": "input.x", "names": "inputMappings", "kept": "$.input"})],
    ),
    (
        {"source": "1", "target": "$.context.lost"},
        [("not_kept", {"place": "$.context.lost", "names": "inputMappings", "kept": "$.input"})],
    ),
    ({"source": "1", "target": "$.input"}, [("root", {"root": "input"})]),
    ({}, [("no_source", {})]),
    ({"source": "1", "target": " "}, [("no_target", {})]),
    (
        {"source": "context.name"},
        [("literal_path", {}), ("did_you_mean", {"meant": "$.context.name"})],
    ),
    ({"source": "Hello $.context.name"}, [("path_inside", {})]),
)
PATHS: Final = (
    (why_no_value(compile_path("$.deep.no"), DATA).reason, "is_null"),
    (why_no_value(compile_path("$.list[?(@.a == 1)]"), DATA).reason, "gives_null"),
    (
        explain(
            "$.input.none.[?(@.a == 1)]", {"input": {"none": []}}, TotalBudget(None, None, 4)
        ).reason,
        "nothing_to_filter",
    ),
)


@pytest.mark.parametrize(("rule", "expected"), RULES)
def test_the_reasons_of_rules_have_codes(
    rule: dict[str, Any], expected: list[tuple[str, dict[str, str]]]
) -> None:
    [reason] = said_of(rule)
    assert codes(reason) == expected


@pytest.mark.parametrize(("reason", "code"), PATHS)
def test_the_reasons_of_paths_and_conditions_have_codes(reason: str, code: str) -> None:
    assert [each for each, _ in codes(reason)] == [code]


def test_the_reason_of_a_task_without_an_output_has_a_code() -> None:
    run = scenario(fn("A", "sync", outs="wanted"))
    run.submit()
    run.answer("A", {})
    [warning] = run.state.tasks["A"].warnings
    assert codes(warning.reason) == [("no_output", {})]


@pytest.mark.parametrize("text", ["", "`a`", "line 1: unknown function", "`" * 1_000, "x" * 1_000])
def test_any_other_reason_stays_as_it_is(text: str) -> None:
    assert codes(text) == [(OTHER, {"text": text})]


def test_every_sentence_is_one_that_the_language_has_said_here() -> None:
    said = {code for _, expected in RULES for code, _ in expected}
    said |= {code for _, code in PATHS} | {"no_output"}
    assert said == {*SENTENCES, "did_you_mean"}
