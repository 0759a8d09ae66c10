"""A task starts when its dependencies allow it: all of them, or one for stream input."""

import pytest

from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.status import TaskStatus
from rillflow.core.traversal import is_ready, resume_scope, start_scope
from rillflow.core.turn import Turn
from rillflow.definition.model import FunctionTask, WorkflowDefinition
from rillflow.definition.parse import parse_definition
from rillflow.jsontypes import encode_json
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import Definition, each, flow, fn, pass_, scenario

STREAM = {"input_type": "stream"}


def ready(*tasks: Definition, **statuses: TaskStatus) -> set[str]:
    """Tell which tasks a look at the top level makes READY."""
    plan = Plan(parse_definition(encode_json(flow(*tasks))), "")
    state = ExecutionState(execution_id="e", definition_id="d", host="")
    turn = Turn(plan, state, 0)
    turn.instantiate("", plan.level)
    for name, status in statuses.items():
        turn.set_status(turn.task(name), status)
    resume_scope(turn, "")
    return {
        name
        for name, task in state.tasks.items()
        if task.status is TaskStatus.READY and name not in statuses
    }


def called(run: Scenario) -> list[str]:
    return [call.task for call in run.dispatched]


# -- key mode ------------------------------------------------------------------------------


def key_tasks() -> list[Definition]:
    return [
        fn("A", to="B,C"),
        fn("B"),
        fn("C", key_callback=True, to="D"),
        fn("E", to="D"),
        fn("D"),
    ]


@pytest.mark.case("RS-02")
def test_in_key_mode_a_task_without_key_callback_is_not_ready() -> None:
    statuses = {"A": TaskStatus.KEY_SUCCEED, "E": TaskStatus.SUCCEED}
    assert ready(*key_tasks(), **statuses) == {"C"}


# -- block and stream ----------------------------------------------------------------------


@pytest.mark.case("RS-03")
def test_a_block_task_waits_for_all_whatever_they_stream() -> None:
    tasks = [fn(name, output_type="stream", to="D") for name in "ABC"]
    statuses = {"A": TaskStatus.SUCCEED, "B": TaskStatus.SUCCEED, "C": TaskStatus.RUNNING}
    assert ready(*tasks, fn("D"), **statuses) == set()


@pytest.mark.case("RS-04")
def test_a_stream_task_waits_for_the_first_of_its_block_dependencies() -> None:
    tasks = [fn(name, to="D") for name in "ABC"]
    assert ready(*tasks, fn("D", **STREAM)) == {"A", "B", "C"}


@pytest.mark.case("RS-05")
def test_a_stream_task_is_ready_with_its_first_finished_dependency() -> None:
    tasks = [fn(name, to="D") for name in "ABC"]
    assert ready(*tasks, fn("D", **STREAM), A=TaskStatus.SUCCEED) == {"B", "C", "D"}


def test_a_stream_task_starts_together_with_what_streams_to_it() -> None:
    assert ready(fn("A", output_type="Stream", to="B"), fn("B", **STREAM)) == {"A", "B"}


def test_of_two_chained_stream_tasks_the_second_starts_in_a_later_pass() -> None:
    tasks = [
        fn("A", output_type="stream", to="B"),
        fn("B", output_type="stream", to="C", **STREAM),
        fn("C", **STREAM),
    ]
    assert ready(*tasks) == {"A", "B"}


def test_a_stream_task_with_key_callback_accepts_key_success() -> None:
    tasks = [fn("A", to="B,C"), fn("B", key_callback=True, **STREAM), fn("C", **STREAM)]
    assert ready(*tasks, A=TaskStatus.KEY_SUCCEED) == {"B"}


def test_a_stream_task_without_dependencies_is_like_a_block_task() -> None:
    run = scenario(fn("A", **STREAM))
    assert run.submit() == [dispatch("A")]


def test_a_stream_flow_runs_to_its_end() -> None:
    run = scenario(
        fn("A", output_type="stream", to="B"),
        fn("B", output_type="stream", to="C", **STREAM),
        fn("C", to="D", **STREAM),
        fn("D"),
    )
    run.submit()
    assert called(run) == ["A", "B"]
    assert run.finish("B") == [dispatch("C")]
    run.finish("C")
    assert run.status == "RUNNING"
    run.finish("A")
    run.finish("D")
    assert run.status == "SUCCEED"


def test_streams_flow_inside_groups() -> None:
    run = scenario(
        each("A", "list", fn("A1", output_type="stream", to="A2"), fn("A2", **STREAM), ins="list")
    )
    run.submit({"list": [1]})
    assert called(run) == ["A_0-A1", "A_0-A2"]


# -- definitions that no validation would let through --------------------------------------


def taken_as_it_is(*tasks: Definition) -> Scenario:
    definition = WorkflowDefinition.model_validate(flow(*tasks))
    run = Scenario(definition, check=True)
    run.submit()
    return run


def test_a_workflow_without_tasks_has_succeeded() -> None:
    assert taken_as_it_is().status == "SUCCEED"


def test_a_choice_without_branches_succeeds() -> None:
    run = taken_as_it_is({"name": "A", "category": "choice"})
    assert run.statuses == {"A": "SUCCEED"}
    assert run.task("A").invoke.msg == "choices collection empty"


def test_a_foreach_that_iterates_over_nothing_named_fails() -> None:
    run = taken_as_it_is({"name": "A", "category": "foreach", "tasks": [pass_("A1")]})
    assert run.statuses == {"A": "FAILED"}


def test_a_foreach_without_tasks_succeeds() -> None:
    run = taken_as_it_is(each("A", "list", ins=[{"source": "[1]", "target": "$.input.list"}]))
    assert run.statuses == {"A": "SUCCEED"}
    assert run.task("A").invoke.msg == "loop collection or subTasks empty"


def test_a_task_is_only_taken_for_what_it_is() -> None:
    run = taken_as_it_is(pass_("A"))
    with pytest.raises(TypeError, match="task A is no FunctionTask"):
        run.plan.by_name["A"].spec_as(FunctionTask)


# -- starting ------------------------------------------------------------------------------


def test_tasks_start_in_the_order_of_the_definition() -> None:
    run = scenario(pass_("Z", to="M,B"), fn("M"), fn("B"), fn("A"))
    run.submit()
    assert called(run) == ["A", "M", "B"]


def test_a_join_starts_once_after_the_last_of_its_dependencies() -> None:
    run = scenario(fn("A", to="C"), fn("B", to="C, C,"), fn("C"))
    run.submit()
    assert run.finish("B") == []
    assert run.finish("A") == [dispatch("C")]


def test_a_task_that_has_started_is_not_ready() -> None:
    plan = Plan(parse_definition(encode_json(flow(fn("A", to="B"), fn("B", **STREAM)))), "")
    state = ExecutionState(execution_id="e", definition_id="d", host="")
    turn = Turn(plan, state, 0)
    turn.instantiate("", plan.level)
    start_scope(turn, "")
    assert not is_ready(turn, turn.task("A"))
    assert not is_ready(turn, turn.task("B"))
