"""A rule is explained by what it did: each mapping with its value, each condition with its parts.

The explanation agrees with the evaluation itself, is bounded, and shows no secret.
"""

from typing import Any

import pytest

from rillflow.core.inspection.rules import (
    MOST_RULES,
    apply_again,
    conditions_of,
    data_of,
    evaluate,
)
from rillflow.definition import parse_rules
from rillflow.errors import RequestError, WorkLimitError
from rillflow.jsontypes import JsonObject, JsonValue, encode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.mapping.condition_parts import MOST_ITEMS, explain
from rillflow.language.mapping.conditions import holds
from rillflow.testing import Scenario
from tests.spec.notation import fn, on_input, on_output, pass_, ret, scenario, susp, sw

ITEMS: JsonValue = {"input": {"items": [{"n": 1, "ok": True}, {"n": 3, "ok": True}], "a": None}}


def explained(condition: str, document: JsonValue = ITEMS) -> Any:
    return explain(condition, document, TotalBudget())


@pytest.mark.parametrize(
    "condition",
    [
        "$.input",
        "$.input.a",
        "$.input.b",
        "$.input.items[?(@.n > 2 && @.ok == true)]",
        "$.input.items[?(@.n > 2 || !(@.ok == true))]",
        "$.input.items[?(@.n == 9)]",
        "$.input.items[?(!@.missing)]",
        "$.input.items[*].n",
        "$..n",
        "$.input.[?(@.b == 1)]",
        "$.input.nothing[?(@.n == 1)]",
        "$.input.items[?(@.n in [1, 2])]",
        "$.input.items[?(@.n =~ /x/i)]",
        "$.input.items[?($.input.items[0].n < @.n)]",
    ],
)
def test_an_explanation_says_what_the_condition_itself_says(condition: str) -> None:
    found = explained(condition)
    assert found.is_true is holds(condition, ITEMS)
    assert found.is_true or found.reason or found.parts


def test_each_part_of_a_filter_is_told_for_each_value_that_it_looks_at() -> None:
    found = explained("$.input.items[?(@.n > 2 && @.ok == true)]")
    assert [(part.item, part.text, part.value, part.is_true) for part in found.parts] == [
        (0, "@.n > 2", 1, False),
        (0, "@.ok == true", True, True),
        (1, "@.n > 2", 3, True),
        (1, "@.ok == true", True, True),
    ]


def test_a_path_that_leads_nowhere_says_what_does_not_exist() -> None:
    assert explained("$.input.b").reason == "`$.input.b` does not exist"
    assert "`$.input.b` does not exist" in explained("$.input.b[?(@.n == 1)]").reason


def test_a_condition_that_cannot_be_evaluated_is_neither_true_nor_false() -> None:
    found = explained("$.input[?(")
    assert (found.is_true, bool(found.reason)) == (None, True)


def test_an_explanation_is_bounded() -> None:
    many: JsonValue = {"input": [{"n": number} for number in range(1_000)]}
    found = explained("$.input[?(@.n > 2)]", many)
    assert (len(found.parts), found.more_items) == (MOST_ITEMS, 1_000 - MOST_ITEMS)
    with pytest.raises(WorkLimitError):
        explain("$.input[?(@.n > 2)]", many, TotalBudget(100))


def rules_of(run: Scenario, name: str) -> Any:
    data = data_of(run.state, name)._replace(input={}, output={})
    mappings = run.plan.by_name[name].inputs
    applied = apply_again(run.plan, run.state, name, mappings, data)
    encode_json(applied.rules)
    return applied


def test_each_mapping_is_told_with_its_value_or_why_it_was_passed_over() -> None:
    run = scenario(
        fn(
            "A",
            ins=[
                {"source": "$.context.name", "target": "$.input.name"},
                {"source": "$.context.nmae", "target": "$.input.other"},
                {"source": "$.context.n", "transform": "source + 1", "target": "$.input.n"},
                {"source": "$.context.n", "transform": "source +", "target": "$.input.m"},
                {"source": "$.context.key", "target": "$.input.password"},
            ],
        )
    )
    run.submit({"name": "Bob", "n": 4, "key": "hunter2"})
    applied = rules_of(run, "A")
    assert applied.input == run.task("A").invoke.input
    kinds = [(rule["value"], rule["kind"]) for rule in applied.rules]
    assert kinds == [
        ("Bob", None),
        (None, "missing"),
        (5, None),
        (None, "transform_failed"),
        ("***", None),
    ]
    assert "did you mean `name`" in applied.rules[1]["reason"]
    assert "hunter2" not in str(applied.rules)


def test_a_mapping_that_must_not_fail_ends_its_list_with_its_failure() -> None:
    rule = {"source": "x", "transform": "source +", "target": "$.input.n", "tolerance": False}
    run = scenario(pass_("A", ins=[rule, {"source": "y", "target": "$.input.y"}]))
    run.submit()
    [shown] = rules_of(run, "A").rules
    assert (shown["kind"], bool(shown["reason"])) == ("failed", True)


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        (sw("A", (on_input("n > 1"), "B"), ("default", "C")), ["switches[0].condition"]),
        (ret("A", on_input("n > 1")), ["conditions[0]"]),
        (
            susp("A", on_input("n > 1"), interruptions=[on_input("n < 0")]),
            ["conditions[0]", "interruptions[0]"],
        ),
        (
            fn(
                "A",
                success_conditions=[on_output("n > 1")],
                retry={"maxRetryTimes": 1, "conditions": [on_output("n < 0")]},
            ),
            ["successConditions[0]", "retry.conditions[0]"],
        ),
    ],
)
def test_every_kind_of_condition_is_explained(task: Any, fields: list[str]) -> None:
    run = scenario(task, pass_("B"), pass_("C"))
    run.submit()
    shown: Any = conditions_of(run.plan.by_name["A"], run.state, data_of(run.state, "A"))
    assert [each["field"] for each in shown] == fields


def test_values_of_conditions_are_masked_by_their_names() -> None:
    run = scenario(ret("A", "$.input.password", "$.input.token[?(@.value == 'x')]"))
    run.submit()
    data = data_of(run.state, "A")._replace(
        input={"password": "hunter2", "token": [{"value": "hunter3"}]}
    )
    shown = conditions_of(run.plan.by_name["A"], run.state, data)
    assert "hunter" not in encode_json(shown).decode()


def asked(run: Scenario, kind: str, text: str, **more: Any) -> Any:
    found = evaluate(run.plan, run.state, name=more.pop("name", ""), kind=kind, text=text, **more)
    encode_json(found)
    return found


def test_texts_are_evaluated_with_the_data_of_an_execution() -> None:
    run = scenario(fn("A", ins="name,password"))
    run.submit({"name": "Bob", "password": "hunter2"})
    assert asked(run, "path", "$.context.name")["value"] == "Bob"
    assert asked(run, "path", "$.context.b")["reason"] == "`$.context.b` does not exist"
    assert asked(run, "path", "$.input", name="A")["value"] == {"name": "Bob", "password": "***"}
    assert asked(run, "expression", "context.name + '!'")["value"] == "Bob!"
    assert asked(run, "expression", "context.")["error"]
    assert asked(run, "path", "$[")["error"]
    assert asked(run, "condition", "$.context.[?(@.name == 'Bob')]")["condition"]["is_true"]
    rules = parse_rules("- {source: $.context.name, target: $.input.x}")
    assert asked(run, "mappings", "", rules=rules)["input"] == {"x": "Bob"}


def test_a_text_that_is_tried_has_no_more_than_its_own_budget() -> None:
    run = scenario(pass_("A"))
    run.submit({"list": list(range(5_000))})
    rules = parse_rules("- {source: '$.context.list[?(@ > 9000)]', target: $.input.x}\n" * 200)
    assert asked(run, "mappings", "", rules=rules[:2])["input"] == {"x": []}
    with pytest.raises(RequestError):
        asked(run, "mappings", "", rules=rules)


def test_no_more_rules_are_tried_than_are_shown() -> None:
    run = scenario(pass_("A"))
    run.submit()
    rules = parse_rules("- {source: $.context.b, target: $.input.x}\n" * (MOST_RULES + 1))
    assert len(asked(run, "mappings", "", rules=rules[:MOST_RULES])["rules"]) == MOST_RULES
    with pytest.raises(RequestError, match="201 rules; up to 200"):
        asked(run, "mappings", "", rules=rules)


def test_of_a_long_list_the_first_rules_are_shown_and_all_are_applied() -> None:
    many = [{"source": f"v{at}", "target": f"$.input.k{at}"} for at in range(MOST_RULES + 20)]
    failing = {"source": "x", "transform": "source +", "target": "$.input.n", "tolerance": False}
    run = scenario(fn("A", ins=[*many, failing, {"source": "y", "target": "$.input.y"}]))
    run.submit()
    applied = rules_of(run, "A")
    assert len(applied.rules) == MOST_RULES
    assert applied.input == {f"k{at}": f"v{at}" for at in range(MOST_RULES + 20)}


def test_rules_that_make_a_value_of_endless_text_are_answered_at_once() -> None:
    run = scenario(pass_("A"))
    run.submit()
    texts = (f"- {{source: $.input, target: $.input.{'ab'[at % 2]}}}\n" for at in range(80))
    shown = asked(run, "mappings", "", rules=parse_rules("".join(texts)))
    assert len(shown["rules"]) == 80
    assert len(encode_json(shown)) < 200_000


def test_sizes_of_all_values_of_an_answer_are_counted_on_one_budget() -> None:
    run = scenario(pass_("A"))
    data: JsonObject = {"list": list(range(50_000))}
    run.submit(data)
    rules = parse_rules("- {source: $.context.list, target: $.input.x}\n" * 20)
    shown = asked(run, "mappings", "", rules=rules)["rules"]
    sizes = [each["value"]["$cut"] for each in shown]
    assert (sizes[0]["bytes"], sizes[0].get("at_least")) == (len(encode_json(data["list"])), None)
    assert all(size["at_least"] and size["length"] == 50_000 for size in sizes[10:])


def test_rules_are_tried_until_their_time_is_over() -> None:
    run = scenario(pass_("A"))
    run.submit({"b": 1})
    rules = parse_rules("- {source: $.context.b, target: $.input.x}\n" * 9)
    times = iter([False] * 3 + [True] * 9)
    with pytest.raises(RequestError, match="take too long"):
        asked(run, "mappings", "", rules=rules, is_over=lambda: next(times))
    assert next(times)


def test_an_evaluation_has_the_budget_of_one_turn() -> None:
    run = Scenario(
        {"workspace": "a", "dagName": "b", "type": "flow", "tasks": [pass_("A")]},
        turn_max_steps=2_000,
    )
    data: JsonObject = {"list": list(range(5_000))}
    run.submit(data)
    with pytest.raises(RequestError):
        asked(run, "condition", "$.context.list[?(@ > 4)]")
    with pytest.raises(RequestError):
        asked(run, "mappings", "", rules=parse_rules("- {source: '$..*', target: $.input.x}"))
