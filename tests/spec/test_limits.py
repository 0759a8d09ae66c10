"""Whatever a user sends, an execution stays within bounds and its actor with it."""

import gc
import sys

import pytest

from rillflow.core.encoding.stored_context import Cleaner, stored_context
from rillflow.core.view import invoke_view
from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonObject, JsonValue, decode_json
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


def calls_within(context: JsonObject, before: JsonObject) -> int:
    """Count the calls of functions that storing a context takes."""
    called: list[str] = []

    def note(_: object, event: str, __: object) -> None:
        if event == "call":
            called.append(event)

    gc.disable()  # what others have registered for a collection would be counted, too
    sys.setprofile(note)
    try:
        stored_context(context, before, 1 << 20)
    finally:
        sys.setprofile(None)
        gc.enable()
    return len(called)


@pytest.mark.parametrize("value", ["text", 1, -(2**64) + 1, 1.5, True, None])
@pytest.mark.parametrize("before", [{}, {"held": 1}])
def test_a_context_of_many_scalars_takes_no_call_for_each(
    value: JsonValue, before: JsonObject
) -> None:
    few: JsonObject = {f"k{number}": value for number in range(100)}
    many: JsonObject = {f"k{number}": value for number in range(1_000)}
    assert calls_within(many, before) == calls_within(few, before)


@pytest.mark.parametrize(
    "value", ["[]", "{}", "[1]", '{"a":1}', "[[]]", '{"a":null}', '["a",{"b":[null]}]']
)
@pytest.mark.parametrize("around", ["list", "map", "context"])
def test_a_context_of_many_lists_and_maps_takes_no_call_for_each(value: str, around: str) -> None:
    def context_of(number: int) -> JsonObject:
        if around == "list":
            return {"all": [decode_json(value.encode()) for _ in range(number)]}
        held = {f"k{each}": decode_json(value.encode()) for each in range(number)}
        return held if around == "context" else {"all": held}

    few, many = calls_within(context_of(100), {}), calls_within(context_of(1_000), {})
    # A map with nulls is made anew, which some versions of the interpreter call a call.
    assert many - few <= (900 if "null}" in value else 0)


def test_changes_of_a_context_count_one_after_the_other() -> None:
    held: JsonObject = {"a": 1, "z": "old"}
    changed: JsonObject = {"z": None, "b": "x" * 12, "n": None, "c": {"d": None}, "__p": {}, "e": 2}
    size = 8 + (8 + 12) + 8 + 8
    kept = stored_context({**held, **changed}, held, size)
    assert list(kept.items()) == [("a", 1), ("z", "old"), ("b", "x" * 12), ("c", {}), ("e", 2)]
    with pytest.raises(ExecutionError) as error:
        stored_context({**held, **changed}, held, size - 1)
    assert error.value.wire_code == 30507
    refused: list[tuple[JsonObject, int]] = [
        ({"b": "x" * 40, "__p": 1}, 30507),
        ({"b": 1, "__p": None}, 30505),
    ]
    for wrong, code in refused:
        with pytest.raises(ExecutionError) as error:
            stored_context(wrong, held, size)
        assert error.value.wire_code == code


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
