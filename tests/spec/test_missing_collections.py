"""A collection that leads to nothing is told with its foreach; an empty or optional one is not."""

from typing import Any, Final

import pytest

from rillflow.core import view
from rillflow.definition import find_problems
from rillflow.jsontypes import encode_json
from rillflow.testing import Scenario
from tests.spec.notation import Definition, Json, flow, pass_

ITEMS: Final = {"source": "$.context.items", "target": "$.input.items"}


def loop(collection: str, *rules: Json, **rest: Json) -> Definition:
    foreach: Definition = {
        "name": "A",
        "category": "foreach",
        "iterationMapping": {"collection": collection, "item": "x"},
        "inputMappings": list(rules),
        "tasks": [pass_("B")],
    }
    return flow(foreach, **rest)


def ended(definition: Definition, data: dict[str, Any]) -> Scenario:
    run = Scenario(definition, check=True)
    run.submit(data)
    return run


def told(run: Scenario) -> Any:
    shown: Any = view.task_view(run.plan, run.state, run.state.tasks["A"])
    return [(each["kind"], each["reason"]) for each in shown.get("warnings", [])]


@pytest.mark.parametrize(
    ("collection", "lost"), [("$.input.itms", "itms"), ("$.input.itms[*]", "itms")]
)
def test_a_misspelt_collection_is_told_with_what_is_near(collection: str, lost: str) -> None:
    run = ended(loop(collection, ITEMS), {"items": [1, 2]})
    reason = f"`$.input.{lost}` does not exist; did you mean `items`?"
    assert (run.status, told(run)) == ("SUCCEED", [("missing", reason)])


def test_it_fails_a_strict_execution() -> None:
    run = ended(loop("$.input.itms", ITEMS, strict=True), {"items": [1]})
    assert run.status == "FAILED"
    assert "iterationMapping rule 1" in str(run.task("A").invoke.msg)


@pytest.mark.parametrize("data", [{"items": []}, {"items": [1]}])
def test_a_collection_that_is_there_is_not_told(data: dict[str, Any]) -> None:
    run = ended(loop("$.input.items", ITEMS, strict=True), data)
    assert (run.status, told(run)) == ("SUCCEED", [])


def test_one_that_a_rule_may_leave_out_is_told_with_that_rule_only() -> None:
    run = ended(loop("$.input.items", ITEMS), {"other": 1})
    assert [reason for _, reason in told(run)] == ["`$.context.items` does not exist"]


def problems(definition: Definition) -> list[str]:
    found = find_problems(encode_json(definition))
    return [f"{one.message} ({one.hint})" for one in found if "iterated" in one.message]


def test_validation_tells_of_a_collection_that_no_rule_writes() -> None:
    message = "no inputMapping writes `$.input.itms`, so nothing is iterated"
    assert problems(loop("$.input.itms", ITEMS)) == [f"{message} (did you mean `items`?)"]


@pytest.mark.parametrize(
    "rules",
    [
        [ITEMS],
        [ITEMS, {"source": "$.context.more", "target": "$.input.itms.deep"}],
        [ITEMS, {"source": "$.context", "target": "$.input[*]"}],
        [],
    ],
)
def test_validation_says_nothing_where_a_rule_may_write_it(rules: list[Json]) -> None:
    collection = "$.input.items" if rules == [ITEMS] else "$.input.itms"
    assert problems(loop(collection, *rules)) == []
