"""Whatever a user sends, an execution stays within bounds and its actor with it."""

import pytest

from rillflow.core.stored_context import Cleaner, stored_context
from rillflow.core.view import invoke_view
from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.testing.scenario import Scenario

TIMED = """
workspace: demo
dagName: timed
type: flow
timeline: {{timeoutInSeconds: "{limit}"}}
tasks:
- name: A
  category: function
  pattern: task_async
  resourceName: http://functions.test/a
  timeline: {{timeoutInSeconds: "{limit}"}}
"""


@pytest.mark.parametrize("limit", ["++5", "+-1", "9" * 330, "1e400", "99999999999999999999", "x"])
def test_a_time_limit_that_is_no_number_or_no_time_is_none(limit: str) -> None:
    flow = Scenario(TIMED.format(limit=limit), check=True)
    flow.submit({})
    assert flow.timers == []
    assert flow.status == "RUNNING"


def test_no_timer_is_due_after_the_year_9999() -> None:
    flow = Scenario(TIMED.format(limit="999999999999999"), check=True)
    flow.submit({})
    assert {timer.due_ms for timer in flow.timers} == {253_402_300_799_000}


def test_a_context_that_doubles_with_every_task_is_stopped() -> None:
    tasks = "\n".join(
        f"- {{name: T{n}, category: pass, next: T{n + 1}, outputMappings:"
        f" [{{source: $.context, target: $.context.c{n % 2}}}]}}"
        for n in range(40)
    )
    head = "workspace: demo\ndagName: doubling\ntype: flow\ntasks:\n"
    flow = Scenario(f"{head}{tasks}\n- {{name: T40, category: pass}}\n")
    flow.submit({"a": 1})
    assert flow.status == "FAILED"
    assert "exceed the limit" in (flow.state.invoke.msg or "")


def test_an_input_that_doubles_with_every_rule_is_stopped() -> None:
    rules = ", ".join(f"{{source: $.input, target: $.input.c{n % 2}}}" for n in range(60))
    flow = Scenario(
        "workspace: demo\ndagName: wide\ntype: flow\ntasks:\n"
        "- name: A\n  category: pass\n"
        f"  inputMappings: [{{source: x, target: $.input.x}}, {rules}]\n"
    )
    flow.submit({})
    assert flow.status == "FAILED"


def test_every_value_weighs_eight_bytes_and_a_text_its_length_besides() -> None:
    value: JsonObject = {"text": "x" * 20, "list": [1, 2]}
    enough = 8 + (8 + 20) + 8 + 2 * 8
    assert Cleaner(enough).clean(value) is value
    with pytest.raises(ExecutionError, match="more than 59 exceed the limit") as error:
        Cleaner(enough - 1).clean(value)
    assert error.value.wire_code == 30507


def test_what_an_execution_holds_already_does_not_count_again() -> None:
    held: JsonObject = {"large": ["x" * 100], "small": 1}
    assert stored_context({**held, "small": 2}, held, 8) == {**held, "small": 2}
    with pytest.raises(ExecutionError):
        stored_context({**held, "small": [2]}, held, 8)


def test_a_foreach_takes_no_more_items_than_one_turn_can_bear() -> None:
    flow = Scenario(
        """
workspace: demo
dagName: loop
type: flow
tasks:
- name: E
  category: foreach
  iterationMapping: {collection: $.input.items, item: item}
  inputMappings: [{source: $.context.items, target: $.input.items}]
  tasks: [{name: P, category: pass}]
"""
    )
    flow.submit({"items": list(range(20_001))})
    assert flow.status == "FAILED"
    assert flow.task("E").invoke.msg == (
        "iteration collection has 20001 items, at most 20000 are taken"
    )


def test_a_code_is_kept_in_a_form_that_every_store_can_list() -> None:
    flow = Scenario(TIMED.format(limit="x"), check=True)
    flow.submit({})
    flow.finish("A", {}, succeeded=False, code="a\0b" + "c" * 300)
    assert flow.task("A").invoke.code == "ab" + "c" * 254


def test_what_is_named_like_a_secret_is_masked_when_shown() -> None:
    flow = Scenario(
        """
workspace: demo
dagName: secret
type: flow
tasks:
- name: A
  category: function
  pattern: task_async
  resourceName: http://functions.test/a
  parameters: {apikey: k, header: {Authorization: Bearer x, X-Page: 2}, db_password: p, n: 1}
"""
    )
    flow.submit({})
    assert invoke_view(flow.task("A").invoke)["input"] == {
        "apikey": "***",
        "header": {"Authorization": "***", "X-Page": 2},
        "db_password": "***",
        "n": 1,
    }
    assert flow.dispatched[0].input["apikey"] == "k"


def test_a_number_counts_for_what_it_takes_to_write_it() -> None:
    large = 10**4_000
    with pytest.raises(ExecutionError, match="exceed the limit"):
        stored_context({"a": [large] * 300}, {}, 8 * 1024 * 1024)
    values: list[JsonValue] = [{"k": large}, [large], large]
    for value in values:
        with pytest.raises(ExecutionError, match="exceed the limit"):
            stored_context({"a": value}, {}, 30_000)
    few: JsonObject = {"a": [2**63, large], "b": [7] * 10_000}
    assert stored_context(few, {}, 150_000) == few
