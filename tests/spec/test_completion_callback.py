"""The end of an execution is announced by one call to the address that asked for it."""

import pytest

from rillflow.core.commands import DispatchTask
from rillflow.core.machine import outstanding
from rillflow.core.status import DagStatus
from rillflow.testing import Scenario
from tests.spec.notation import Json, each, flow, fn, pass_, scenario

LISTENER = "http://listener"


def ended(*, succeeded: bool = True, **config: Json) -> Scenario:
    run = scenario(fn("A", outs="x"), pass_("B"), callback={"resourceName": LISTENER, **config})
    run.submit({"given": 1})
    run.finish("A", {"x": 2}, succeeded=succeeded, msg="no", code="7")
    return run


def body(run: Scenario) -> Json:
    [call] = [call for call in run.dispatched if call.task == ""]
    return call.input


def calls(run: Scenario) -> list[DispatchTask]:
    return [c for c in run.commands if isinstance(c, DispatchTask) and not c.task]


@pytest.mark.case("E2E-25")
def test_the_end_is_announced_to_the_definitions_address() -> None:
    run = ended()
    [call] = calls(run)
    assert (call.resource_name, call.pattern, call.attempt) == (LISTENER, "completion", 1)
    assert body(run) == {"dag_status": "succeed"}


@pytest.mark.case("E2E-26")
def test_the_address_of_the_submission_wins() -> None:
    run = scenario(pass_("A"), callback={"resourceName": LISTENER})
    run.submit(callback={"resourceName": "http://other", "inputMappings": [constant("x")]})
    [call] = calls(run)
    assert call.resource_name == "http://other"
    assert body(run) == {"x": "constant", "dag_status": "succeed"}


def constant(name: str) -> Json:
    return {"source": "constant", "target": f"$.input.{name}"}


@pytest.mark.parametrize("config", [{"resourceName": " "}, {}])
def test_without_an_address_nobody_is_called(config: Json) -> None:
    run = scenario(pass_("A"), callback=config)
    assert run.submit() == []
    assert run.state.completion is None


def test_the_call_carries_what_its_mappings_say() -> None:
    rules = [{"source": "$.context.x", "target": "$.input.got"}]
    assert body(ended(inputMappings=rules)) == {"got": 2, "dag_status": "succeed"}


def test_mappings_may_refer_to_common_ones() -> None:
    run = scenario(
        pass_("A"),
        callback={"resourceName": LISTENER, "inputMappings": [{"reference": "shared"}]},
        common_mapping={"shared": [constant("x")]},
    )
    run.submit()
    assert body(run)["x"] == "constant"

    run = scenario(pass_("A"), common_mapping={"shared": [constant("x")]})
    rules = [{"reference": "shared"}, {"reference": "unknown"}, constant("y")]
    run.submit(callback={"resourceName": LISTENER, "inputMappings": rules})
    assert body(run) == {"x": "constant", "y": "constant", "dag_status": "succeed"}


def test_a_failure_is_explained() -> None:
    explained = body(ended(succeeded=False))
    assert explained["dag_status"] == "failed"
    assert explained["error_info"]["dag_invoke_info"]["msg"] == "no"
    assert explained["error_info"]["failed_tasks_invoke_info"]["A"]["code"] == "7"
    assert list(explained["error_info"]["failed_tasks_invoke_info"]) == ["A"]


def test_failed_members_of_groups_are_named_too() -> None:
    run = scenario(each("A", "list", fn("A1"), ins="list"), callback={"resourceName": LISTENER})
    run.submit({"list": [1]})
    run.finish("A_0-A1", succeeded=False)
    assert list(body(run)["error_info"]["failed_tasks_invoke_info"]) == ["A", "A_0-A1"]


def test_the_whole_context_and_execution_come_when_asked_for() -> None:
    full = body(ended(fullContext=True, fullDAGInfo=True))
    assert full["data"]["x"] == 2
    info = full["dag_info"]
    assert info["executionId"] == full["data"]["flow_execution_id"]
    assert info["dagStatus"] == "succeed"
    assert info["dag"]["dagName"] == "scenario"
    assert None not in info["dag"].values()
    assert {name: task["status"] for name, task in info["tasks"].items()} == {
        "A": "SUCCEED",
        "B": "SUCCEED",
    }
    assert info["tasks"]["A"]["name"] == "A"
    assert info["tasks"]["A"]["task"]["category"] == "function"
    assert info["tasks"]["A"]["taskInvokeMsg"]["output"] == {"x": 2}
    assert info["dagInvokeMsg"]["invokeTimeInfos"] == [{"startTime": 0, "endTime": 0}]


def limited(run: Scenario, data: Json, most_bytes: int) -> Scenario:
    """Submit with a lower limit of what a context may be than that of a scenario."""
    run.submit(data)
    run.state.context_max_bytes = most_bytes
    return run


def test_what_the_body_has_no_room_for_is_left_out_and_named() -> None:
    config = {"resourceName": LISTENER, "fullContext": True, "fullDAGInfo": True}
    definition = flow(fn("A", outs="x"), pass_("B"), callback=config)
    run = limited(Scenario(definition), {"given": "g" * 30_000}, 65_536)
    run.finish("A", {"x": "y" * 40_000})
    assert len(run.state.completion or b"") < 65_536
    assert body(run)["left_out"] == ["data"]
    assert body(run)["dag_info"]["tasks"]["A"]["taskInvokeMsg"]["output"] == {"x": "y" * 40_000}
    assert "data" not in body(run)


def test_failed_tasks_are_left_out_of_the_body_where_their_values_do_not_fit() -> None:
    definition = flow(
        each("A", "list", fn("A1", ins="list"), ins="list"), callback={"resourceName": LISTENER}
    )
    run = limited(Scenario(definition), {"list": list(range(20))}, 131_072)
    for number in range(20):
        run.finish(f"A_{number}-A1", succeeded=False, msg="m" * 8_000)
    told = body(run)
    assert told["left_out"] == ["failed_tasks_invoke_info"]
    assert list(told["error_info"]) == ["dag_invoke_info"]
    assert len(run.state.completion or b"") < 131_072


def test_a_long_definition_is_left_out_of_the_body() -> None:
    definition = flow(
        fn("A", input_mappings=[{"reference": "c"}] * 10),
        common_mapping={"c": [{"source": "x" * 10_000, "target": "$.input.a"}]},
        callback={"resourceName": LISTENER, "fullDAGInfo": True},
    )
    run = limited(Scenario(definition), {}, 65_536)
    run.finish("A")
    assert body(run) == {"dag_status": "succeed", "left_out": ["dag_info"]}


def test_its_rules_may_ask_for_the_address_of_a_task() -> None:
    address = "$.tasks.A.trigger_url"
    said = body(ended(inputMappings=[{"source": address, "target": "$.input.url"}]))
    assert said["url"].endswith("&task_name=A")


def doubled(times: int) -> list[dict[str, str]]:
    """Rules that make an input twice as large so many times."""
    rules = [{"source": "x" * 64, "target": "$.input.a0"}]
    for n in range(times):
        rules += [
            {"source": f"$.input.a{n}", "target": f"$.input.a{n + 1}.{side}"} for side in "lr"
        ]
    return rules


@pytest.mark.parametrize(
    "rules",
    [
        [{"source": "a", "transform": "source.x.y", "target": "$.input.a", "tolerance": False}],
        doubled(20),
    ],
    ids=["a rule fails", "the input is too large"],
)
def test_nothing_about_it_keeps_an_execution_from_its_end(rules: list[Json]) -> None:
    run = ended(inputMappings=rules)
    assert run.state.status is DagStatus.SUCCEED
    assert run.changed
    assert calls(run) == []
    assert list(outstanding(run.plan, run.state)) == []


def test_the_call_is_outstanding_until_it_is_delivered() -> None:
    run = ended()
    assert list(outstanding(run.plan, run.state)) == calls(run)
    run.deliver("completion")
    assert run.changed
    assert list(outstanding(run.plan, run.state)) == []


def test_what_changes_after_the_end_does_not_change_the_call() -> None:
    draw = [{"transform": "rand(1000000)", "target": "$.input.drawn"}]
    run = ended(fullContext=True, inputMappings=draw)
    run.complete(success=False)
    assert list(outstanding(run.plan, run.state)) == calls(run)


def test_each_end_is_announced_under_a_number_of_its_own() -> None:
    run = ended(succeeded=False)
    run.redo()
    run.finish("A", {"x": 2})
    assert [call.attempt for call in calls(run)] == [1, 2]


def test_a_key_success_is_not_announced_and_the_end_after_it_is() -> None:
    run = scenario(fn("A", "flow_sync"), callback={"resourceName": LISTENER})
    run.submit()
    run.answer("A", {"execution_id": "small"})
    run.finish("A", key_succeeded=True)
    assert run.status == "KEY_SUCCEED"
    assert calls(run) == []
    run.finish("A")
    assert [call.attempt for call in calls(run)] == [1]


def test_completion_by_hand_is_not_announced() -> None:
    run = scenario(fn("A"), callback={"resourceName": LISTENER})
    run.submit()
    run.complete(success=True)
    assert calls(run) == []


def test_cancellation_is_announced() -> None:
    run = scenario(fn("A"), callback={"resourceName": LISTENER})
    run.submit()
    run.cancel()
    assert body(run)["error_info"]["dag_invoke_info"]["msg"] == "cancelled"
