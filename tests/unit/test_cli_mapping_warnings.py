"""`submit --wait` and `watch` tell of mapping rules without effect, in a line for each rule."""

from typing import Final

import pytest

from rillflow.jsontypes import JsonObject, JsonValue
from tests.unit.commands import path, run, stand_in

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
ENDED: Final[JsonObject] = {"execution_id": ID, "dag_status": "SUCCEED", "context": {"n": 1}}


@pytest.mark.parametrize("command", [("submit", "b:f", "--wait"), ("watch", ID)])
@pytest.mark.parametrize("status", ["SUCCEED", "FAILED"])
def test_rules_that_came_to_nothing_are_told_at_the_end(
    command: tuple[str, ...], status: str
) -> None:
    rules = [warned(number) for number in range(1, 13)]
    view = warned_of({"one": rules}, status)
    with stand_in(**{path("submit"): {"execution_id": ID}, path("get"): {"ret": view}}) as (url, _):
        code, _, told = run(*command, "--url", url)
    assert code == (status == "FAILED")
    line = (
        "warning: one: inputMappings rule 10, $.context.userNmae -> $.input.name:"
        " `$.context.userNmae` does not exist\n"
    )
    assert line in told
    assert told.count("warning: one: inputMappings rule") == 10
    assert "and 2 more rules without effect; get shows them\n" in told


def test_warnings_that_are_only_counted_are_told_apart() -> None:
    view = warned_of({"one": [warned(number) for number in range(1, 13)]}) | {
        "mapping_warnings": 70
    }
    with stand_in(**{path("get"): {"ret": view}}) as (url, _):
        told = run("watch", ID, "--url", url)[2]
    assert "and 2 more rules without effect; get shows them\n" in told
    assert "58 further warnings are only counted, not kept\n" in told


def test_of_a_rule_whose_instances_are_not_all_kept_the_least_number_is_told() -> None:
    rules = {f"each_{n}-inner": [warned(1)] for n in range(100)} | {"pay": [warned(2)]}
    view = warned_of(rules) | {"mapping_warnings": 400}
    with stand_in(**{path("get"): {"ret": view}}) as (url, _):
        told = run("watch", ID, "--url", url)[2]
    assert "warning: each_0-inner and at least 99 more: inputMappings rule 1," in told
    assert "warning: pay: inputMappings rule 2," in told


def test_a_rule_that_many_instances_applied_is_told_in_one_line() -> None:
    inner = {f"each_{n}-inner": [warned(1), warned(2)] for n in range(60)}
    view = warned_of(inner | {"sw": [warned(1)]})
    with stand_in(**{path("get"): {"ret": view}}) as (url, _):
        _, _, told = run("watch", ID, "--url", url)
    lines = [line.partition(",")[0] for line in told.splitlines() if line.startswith("warning: ")]
    assert lines == [
        "warning: each_0-inner and 59 more: inputMappings rule 1",
        "warning: each_0-inner and 59 more: inputMappings rule 2",
        "warning: sw: inputMappings rule 1",
    ]
    assert "without effect" not in told


def warned(number: int) -> JsonObject:
    """Return a rule that came to nothing as get.json lists it."""
    return {
        "mappings": "inputMappings",
        "number": number,
        "rule": "$.context.userNmae -> $.input.name",
        "kind": "missing",
        "reason": "`$.context.userNmae` does not exist",
    }


def warned_of(rules: dict[str, list[JsonObject]], status: str = "SUCCEED") -> JsonObject:
    """Return an ended execution whose tasks have rules that came to nothing."""
    tasks: JsonObject = {
        name: {
            "status": "SUCCEEDED",
            "invoke_msg": {},
            "mapping_warnings": len(listed),
            "warnings": list[JsonValue](listed),
        }
        for name, listed in rules.items()
    }
    count = sum(map(len, rules.values()))
    return ENDED | {"dag_status": status, "mapping_warnings": count, "tasks": tasks}
