"""A pass copies values; tasks see the context as it is, and never each other's edits."""

import sys

import pytest

from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonValue
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import each, flow, fn, pass_, refused, scenario, sw


@pytest.mark.case("PA-01")
def test_mappings_run_in_the_order_they_are_written() -> None:
    rules = [
        {"source": "$.context.key1", "target": "$.context.key2"},
        {"source": "value1", "target": "$.context.key1"},
    ]
    run = scenario(pass_("A", outs=rules))
    run.submit({"key1": "value2"})
    assert run.status == "SUCCEED"
    assert run.context == {"key1": "value1", "key2": "value2"}


@pytest.mark.case("PA-03")
def test_passes_without_mappings_leave_the_context_alone() -> None:
    run = scenario(pass_("A"), pass_("B"))
    assert run.submit({"key1": 1, "key2": 2}) == []
    assert run.statuses == {"A": "SUCCEED", "B": "SUCCEED"}
    assert run.context == {"key1": 1, "key2": 2}
    assert run.announced == ["TASK_FINISH A", "TASK_FINISH B", "DAG_SUCCEED"]


def test_the_output_of_a_pass_is_its_input() -> None:
    run = scenario(pass_("A", ins="x", outs="y<=x"))
    run.submit({"x": 1})
    assert run.context == {"x": 1, "y": 1}


def test_a_chain_longer_than_pythons_stack_ends_without_an_event_from_outside() -> None:
    length = 2 * sys.getrecursionlimit()
    run = scenario(*(pass_(f"T{n}", to=f"T{n + 1}") for n in range(length)), pass_(f"T{length}"))
    assert run.submit() == []
    assert run.status == "SUCCEED"


@pytest.mark.case("CM-01")
def test_a_literal_becomes_a_tasks_input() -> None:
    run = scenario(fn("A", ins="key1:=value1", outs="segments"))
    assert run.submit() == [dispatch("A", key1="value1")]
    run.finish("A", {"segments": [1]})
    assert run.context == {"segments": [1]}


@pytest.mark.case("CM-02")
def test_an_edit_of_one_tasks_input_is_not_seen_by_its_siblings() -> None:
    edited = [
        {"source": "$.context.metaData", "target": "$.input.metaData"},
        {"source": "value", "target": "$.input.metaData.text"},
    ]
    run = scenario(
        pass_("A", to="B,C,D"),
        fn("B", ins=edited),
        fn("C", ins="metaData"),
        fn("D", ins="metaData"),
        default_context={"metaData": '{"text": "aa"}'},
    )
    assert run.submit() == [
        dispatch("B", metaData={"text": "value"}),
        dispatch("C", metaData={"text": "aa"}),
        dispatch("D", metaData={"text": "aa"}),
    ]
    assert run.context == {"metaData": {"text": "aa"}}


# -- contexts -----------------------------------------------------------------------------


def test_submitted_data_override_the_default_context_key_by_key() -> None:
    run = scenario(pass_("A"), default_context={"n": "5", "o": '{"k": 1}'})
    run.submit({"n": 7})
    assert run.context == {"n": 7, "o": {"k": 1}}
    assert run.state.context["flow_execution_id"] == run.state.execution_id


def test_the_executions_own_id_cannot_be_submitted() -> None:
    run = scenario(pass_("A"))
    run.submit({"flow_execution_id": "mine"})
    assert run.state.context == {"flow_execution_id": run.state.execution_id}


def test_nulls_are_dropped_from_maps_at_every_level_and_stay_in_lists() -> None:
    run = scenario(fn("A", outs="x"))
    run.submit({"gone": None, "kept": [None, {"gone": None, "a": 1}]})
    run.finish("A", {"x": {"a": {"b": None}, "l": [None, [{"c": None}]], "same": [1]}})
    assert run.context == {
        "kept": [None, {"a": 1}],
        "x": {"a": {}, "l": [None, [{}]], "same": [1]},
    }


def test_a_null_result_does_not_overwrite() -> None:
    run = scenario(fn("A", outs="x"))
    run.submit({"x": "old"})
    run.finish("A", {"x": None})
    assert run.context == {"x": "old"}


def test_a_reserved_key_must_hold_a_map() -> None:
    run = scenario(pass_("A"))
    with pytest.raises(ExecutionError) as error:
        run.submit({"__A": "value"})
    assert refused(error) == (30505, "value type is not map")


def test_maps_under_reserved_keys_are_not_part_of_the_context() -> None:
    run = scenario(pass_("A"))
    run.submit({"A": 1, "__D": {"x": 1}, "E": 2})
    assert run.context == {"A": 1, "E": 2}


def test_a_reserved_key_from_a_mapping_fails_a_sync_task() -> None:
    run = scenario(fn("A", "sync", outs="__x<=x"))
    run.submit()
    run.answer("A", {"x": 1})
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").invoke.msg == "value type is not map"


def test_a_reserved_key_from_a_mapping_refuses_a_callback() -> None:
    run = scenario(fn("A", outs="__x<=x"))
    run.submit()
    run.answer("A")
    with pytest.raises(ExecutionError) as error:
        run.finish("A", {"x": 1})
    assert refused(error) == (30505, "value type is not map")
    assert run.statuses == {"A": "RUNNING"}


# -- addresses of callbacks ----------------------------------------------------------------


def test_the_callback_address_of_a_task_names_execution_and_task() -> None:
    run = scenario(
        pass_("A", outs=[{"source": "$.tasks.B.trigger_url", "target": "$.context.url"}]),
        fn("B"),
    )
    run.submit()
    assert run.context["url"] == (
        f"http://rillflow.test/flow/trigger.json?execution_id={run.state.execution_id}&task_name=B"
    )


def test_in_a_group_the_address_of_a_sibling_is_that_of_the_same_group() -> None:
    urls = [
        {"source": "$.tasks.A2.trigger_url", "target": "$.context.sibling"},
        {"source": "$.tasks.B.trigger_url", "target": "$.context.outside"},
    ]
    run = scenario(each("A", "list", pass_("A1", outs=urls), fn("A2"), ins="list"), fn("B"))
    run.submit({"list": [1, 2]})
    assert [str(context["sibling"])[-6:] for context in run.group_contexts("A")] == [
        "A_0-A2",
        "A_1-A2",
    ]
    assert str(run.group_contexts("A")[0]["outside"]).endswith("task_name=B")


def test_random_numbers_are_the_same_in_every_replay() -> None:
    draw = [{"transform": "rand(1000000)", "target": "$.context.n"}]
    run = scenario(pass_("A", outs=draw, to="B"), sw("B", ("default", "C")), pass_("C"))
    run.submit()
    assert isinstance(run.context["n"], int)


def drawn(execution_id: str) -> list[JsonValue]:
    """What one execution draws: twice in its first turn, once in its second."""
    draw = [{"transform": "rand(1000000)", "target": "$.context.n"}]
    tasks = [
        pass_("A", outs=draw),
        pass_("B", outs=[{**draw[0], "target": "$.context.m"}]),
        fn("C", to="D"),
        pass_("D", outs=[{**draw[0], "target": "$.context.o"}]),
    ]
    run = Scenario(flow(*tasks), execution_id=execution_id, check=True)
    run.submit()
    run.finish("C")
    return [run.context[name] for name in "nmo"]


def test_tasks_events_and_executions_draw_random_numbers_of_their_own() -> None:
    one, another = drawn("demo:x_c_1"), drawn("demo:x_c_2")
    assert one == drawn("demo:x_c_1")
    assert len({*one, *another}) == 6
