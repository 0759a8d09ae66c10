"""What an execution keeps of its mapping warnings is bounded, and names every rule."""

from typing import Any, Final

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import RedoRequested, WakeUpReceived
from rillflow.core.mapping_warnings import (
    MOST_CHARACTERS,
    MOST_OF_EXECUTION,
    MOST_OF_RULE,
    MOST_OF_TASK,
    MOST_RULES,
)
from rillflow.jsontypes import encode_json
from tests.spec.notation import each, fn, pass_, scenario, susp
from tests.spec.test_mapping_warnings import LOST_INPUT, MISSPELT, counted, shown, told

PAID: Final = {"source": "$.context.amuont", "target": "$.input.amount"}


def test_what_is_kept_is_bounded_and_all_is_counted() -> None:
    many = [{"source": f"$.context.{'k' * 400}{n}", "target": "$.input.x"} for n in range(30)]
    run = scenario(each("A", "items", pass_("B", ins=many), ins="items"))
    run.submit({"items": list(range(60))})
    assert counted(run) == 30 * 60
    first, second = shown(run, "A_0-B"), shown(run, "A_1-B")
    assert (first["mapping_warnings"], len(first["warnings"])) == (30, 30)
    assert (second["mapping_warnings"], len(second["warnings"])) == (30, MOST_OF_TASK)
    assert all(len(text) <= MOST_CHARACTERS for text in _texts(first["warnings"]))
    kept = [len(shown(run, f"A_{n}-B")["warnings"]) for n in range(60)]
    assert sum(kept) == MOST_OF_EXECUTION
    assert shown(run, "A_59-B") | {"mapping_warnings": 30, "warnings": []} == shown(run, "A_59-B")


def _texts(warnings: list[dict[str, Any]]) -> list[str]:
    return [text for warning in warnings for text in (warning["rule"], warning["reason"])]


def test_of_every_rule_some_are_kept_however_many_instances_another_one_has() -> None:
    rules = [{"source": f"$.context.k{n}", "target": "$.input.x"} for n in range(12)]
    crowd = each("A", "items", pass_("B", ins=rules), ins="items", next="C")
    run = scenario(crowd, pass_("C", ins=[PAID]))
    run.submit({"items": list(range(MOST_OF_RULE + 10))})
    assert told(run, "C") == [("missing", "`$.context.amuont` does not exist")]
    kept = [len(shown(run, f"A_{n}-B")["warnings"]) for n in range(MOST_OF_RULE + 10)]
    assert (kept[0], sum(kept)) == (12, MOST_OF_EXECUTION)
    assert counted(run) == 12 * (MOST_OF_RULE + 10) + 1


def test_of_one_rule_the_first_instances_are_kept_and_the_others_counted() -> None:
    run = scenario(each("A", "items", pass_("B", ins=[MISSPELT]), ins="items"))
    run.submit({"items": list(range(MOST_OF_RULE + 1))})
    assert counted(run) == MOST_OF_RULE + 1
    assert len(told(run, f"A_{MOST_OF_RULE - 1}-B")) == 1
    assert told(run, f"A_{MOST_OF_RULE}-B") == []
    run.redo("A", data={"items": list(range(MOST_OF_RULE + 1))})
    assert run.state.warnings_kept == MOST_OF_RULE
    assert run.state.warnings_by_list == {"B inputMappings": {1: MOST_OF_RULE}}


def test_rules_themselves_are_bounded() -> None:
    rules = [{"source": f"$.context.k{n}", "target": "$.input.x"} for n in range(MOST_RULES + 5)]
    run = scenario(pass_("A", ins=rules))
    run.submit()
    assert (counted(run), len(told(run))) == (MOST_RULES + 5, MOST_RULES)


def test_a_snapshot_of_an_earlier_release_goes_on_with_its_counts() -> None:
    crowd = each("A", "items", pass_("B", ins=[MISSPELT]), ins="items", next="C")
    run = scenario(crowd, fn("C"), pass_("D", ins=[PAID]))
    run.submit({"items": list(range(MOST_OF_RULE + 1))})
    old = codec.decode_state(codec.encode_state(run.state))
    assert old == run.state
    # as one that had used up its bound had it, which knew no rules
    old.warnings_by_list, old.warnings_kept = {}, MOST_OF_EXECUTION
    redo = RedoRequested(at_ms=run.now_ms, tasks=("D",), data=encode_json({}))
    machine.handle(run.plan, old, redo)
    assert old.warnings_kept == MOST_OF_RULE + 1
    assert old.warnings_by_list == {"B inputMappings": {1: MOST_OF_RULE}, "D inputMappings": {1: 1}}


def test_what_a_snapshot_of_an_earlier_release_kept_makes_room_when_it_is_replaced() -> None:
    found = {"source": "$.context.go", "target": "$.input.go"}
    run = scenario(susp("A", "$.input.go", ins=[found, LOST_INPUT]))
    run.submit()
    assert run.state.warnings_kept == 1
    old = codec.decode_state(codec.encode_state(run.state))
    old.warnings_by_list = {}
    wake = WakeUpReceived(at_ms=run.now_ms, task="A", data=encode_json({"go": 1}))
    machine.handle(run.plan, old, wake)
    assert old.seq == run.state.seq + 1
    assert (old.warnings_kept, old.warnings_by_list) == (1, {"A inputMappings": {2: 1}})
