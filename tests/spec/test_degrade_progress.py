"""Degrade switches skip a task or what follows it; progress adds up weights and groups."""

import pytest

from rillflow.errors import RequestError
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import (
    Json,
    choice,
    each,
    fn,
    on_input,
    pass_,
    refused,
    ret,
    scenario,
    susp,
)

SKIP_MESSAGE = "skip due to dependent tasks return or degrade"


def tree(**degrade: bool) -> Scenario:
    run = scenario(
        pass_("A", degrade=degrade, to="B,C"),
        pass_("B", to="D"),
        pass_("C", to="E"),
        pass_("D"),
        pass_("E"),
    )
    run.submit()
    assert run.status == "SUCCEED"
    return run


@pytest.mark.case("DG-01")
def test_a_degraded_task_is_skipped_and_the_rest_runs() -> None:
    run = tree(current=True)
    assert list(run.statuses.values()) == ["SKIPPED", *["SUCCEED"] * 4]
    assert run.task("A").invoke.msg is None


@pytest.mark.case("DG-03")
def test_degrading_a_task_and_its_followers_skips_them_all() -> None:
    run = tree(current=True, followings=True)
    assert set(run.statuses.values()) == {"SKIPPED"}


def test_degrading_the_followers_alone_runs_the_task() -> None:
    run = tree(followings=True)
    assert list(run.statuses.values()) == ["SUCCEED", *["SKIPPED"] * 4]
    assert run.task("D").invoke.msg == SKIP_MESSAGE


def test_only_the_degraded_task_itself_is_announced() -> None:
    run = scenario(
        pass_("A", degrade={"followings": True}, to="B"),
        pass_("B", to="C"),
        pass_("C", to="D"),
        pass_("D"),
    )
    run.submit()
    assert run.announced == ["TASK_FINISH A", "DAG_SUCCEED"]


def test_a_follower_that_has_started_is_not_skipped_and_the_others_are() -> None:
    run = scenario(
        fn("A", output_type="stream", retry={"maxRetryTimes": 1}, to="B,C"),
        fn("B", input_type="stream"),
        pass_("C", to="D"),
        pass_("D"),
    )
    run.submit()
    run.degrade("A", followings=True)
    run.answer("A", error="no")
    assert run.statuses == {"A": "RUNNING", "B": "RUNNING", "C": "SKIPPED", "D": "SKIPPED"}
    run.finish("B")
    run.finish("A")
    assert run.announced == ["TASK_FINISH B", "TASK_FINISH A", "DAG_SUCCEED"]


def test_degrade_skips_before_the_task_is_done() -> None:
    run = scenario(
        fn("A", degrade={"followings": True}, to="B,C"), fn("B"), fn("C"), fn("X", to="C")
    )
    assert run.submit() == [dispatch("A"), dispatch("X")]
    assert run.statuses == {"A": "RUNNING", "B": "SKIPPED", "C": "NOT_STARTED", "X": "RUNNING"}


def test_a_follower_with_another_dependency_runs() -> None:
    run = scenario(
        pass_("A", degrade={"followings": True}, to="B,C"),
        fn("X", to="C"),
        pass_("B", to="D"),
        pass_("C"),
        pass_("D"),
    )
    run.submit()
    run.finish("X")
    assert run.statuses["C"] == "SUCCEED"
    assert run.statuses["B"] == run.statuses["D"] == "SKIPPED"


def test_followers_of_two_degraded_tasks_are_skipped() -> None:
    run = scenario(
        pass_("A", degrade={"followings": True}, to="C"),
        fn("B", degrade={"followings": True}, to="C"),
        pass_("C"),
    )
    run.submit()
    run.finish("B")
    assert run.statuses["C"] == "SKIPPED"


def test_an_endless_skip_chain_is_walked_once() -> None:
    run = scenario(
        pass_("A", degrade={"followings": True}, to="B,C"),
        pass_("B", to="D"),
        pass_("C", to="D"),
        pass_("D"),
    )
    run.submit()
    assert run.statuses["D"] == "SKIPPED"


def test_a_running_execution_can_be_degraded() -> None:
    run = scenario(fn("A", to="B"), fn("B", to="C"), fn("C"))
    run.submit()
    run.degrade("B", current=True)
    assert run.finish("A") == [dispatch("C")]
    assert run.statuses["B"] == "SKIPPED"

    run.degrade("C", current=True)
    assert run.statuses["C"] == "RUNNING"


def test_degrading_the_followings_of_a_running_execution() -> None:
    run = scenario(fn("A", to="B"), pass_("B", to="C"), fn("C"))
    run.submit()
    run.degrade("B", followings=True)
    assert run.finish("A") == []
    assert run.statuses == {"A": "SUCCEED", "B": "SUCCEED", "C": "SKIPPED"}


def test_degrading_an_instance_degrades_the_task_in_all_groups() -> None:
    run = scenario(each("A", "list", fn("A1", to="A2"), fn("A2"), ins="list"))
    run.submit({"list": [1, 2]})
    run.degrade("A_0-A2", current=True)
    run.finish("A_0-A1")
    run.finish("A_1-A1")
    assert run.status == "SUCCEED"
    assert run.statuses["A_1-A2"] == "SKIPPED"


def test_an_instance_below_several_groups_is_degraded_by_its_own_name() -> None:
    inner = choice("B", ("$.input", [fn("B1", to="B2"), fn("B2")]))
    run = scenario(each("A", "list", inner, ins="list"))
    run.submit({"list": [1]})
    run.degrade("A_0-B_0-B2", current=True)
    run.finish("A_0-B_0-B1")
    assert run.statuses["A_0-B_0-B2"] == "SKIPPED"
    assert run.status == "SUCCEED"


def test_a_later_degrade_request_replaces_an_earlier_one() -> None:
    run = scenario(fn("A", to="B"), fn("B", degrade={"current": True}))
    run.submit()
    run.degrade("B", current=False)
    assert run.finish("A") == [dispatch("B")]


def test_an_unknown_task_cannot_be_degraded() -> None:
    run = scenario(fn("A"))
    run.submit()
    with pytest.raises(RequestError) as error:
        run.degrade("Z", current=True)
    assert refused(error) == (
        30106,
        f"can not find base task:Z, executionId:{run.state.execution_id}",
    )


# -- progress -----------------------------------------------------------------------------


@pytest.mark.case("PR-01")
def test_weight_and_progress_arguments_are_recorded() -> None:
    args = [{"source": "$.input.length", "variable": "length"}]
    run = scenario(
        ret("A", on_input('url == "aaa"'), ins="length,url", progress={"weight": 10, "args": args})
    )
    run.submit({"length": 10})
    assert run.announced == ["TASK_SKIPPED A", "DAG_SUCCEED"]
    assert run.task("A").invoke.progress_args == {"length": 10}
    progress = run.plan.by_name["A"].spec.progress
    assert progress is not None
    assert progress.weight == 10


def test_arguments_that_fail_or_lead_nowhere_are_left_out() -> None:
    args = [
        {"source": "$$$", "variable": "broken"},
        {"source": "$.input.absent", "variable": "absent"},
        {"source": "$.input.there"},
        {"source": " ", "variable": "blank"},
        {"source": "7", "variable": "seven"},
    ]
    run = scenario(fn("A", ins="there", progress={"args": args}))
    run.submit({"there": 1})
    assert run.task("A").invoke.progress_args == {"seven": 7}


@pytest.mark.case("PR-02")
def test_progress_adds_up_weights_and_parts_of_groups() -> None:
    run = scenario(
        pass_("A"),
        pass_("B", to="C"),
        each("C", "list", fn("C1"), ins="list", to="D"),
        pass_("D"),
    )
    run.submit({"list": [1, 2]})
    run.finish("C_0-C1")
    assert run.process == 62


def test_heavier_tasks_count_for_more() -> None:
    run = scenario(pass_("A", progress={"weight": 3}), fn("B", to="C"), fn("C"))
    run.submit()
    assert run.process == 60


def test_a_finished_execution_is_at_100() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.complete(success=False)
    assert run.process == 100


@pytest.mark.parametrize(
    ("calculation", "process"),
    [
        pytest.param("taskRunningTimeInMillis / 10000.0", 50, id="the time it runs"),
        pytest.param("params.part", 25, id="an argument"),
        pytest.param("params.text", 75, id="numeric text"),
        pytest.param("1 +", 0, id="a broken one: tasks completed of all"),
        pytest.param("nil", 0, id="nothing"),
        pytest.param("seq.list(1)", 0, id="no number"),
        pytest.param("true", 0, id="no number either"),
    ],
)
def test_a_running_task_may_calculate_its_progress(calculation: str, process: int) -> None:
    args = [
        {"source": "0.25", "variable": "part"},
        {"source": "$.input.text", "variable": "text"},
    ]
    run = scenario(fn("A", ins="text", progress={"calculation": calculation, "args": args}))
    run.submit({"text": "0.75"})
    run.advance(5)
    assert run.process == process


def test_a_task_that_has_not_started_has_run_for_no_time() -> None:
    by_time = {"calculation": "taskRunningTimeInMillis"}
    run = scenario(susp("A", "$.input.x", to="B"), fn("B", progress=by_time))
    run.submit()
    run.advance(5)
    assert run.process == 0


def test_without_weights_the_tasks_are_counted() -> None:
    none: Json = {"weight": 0}
    run = scenario(pass_("A", progress=none), fn("B", progress=none))
    run.submit()
    assert run.process == 50
    run = scenario(pass_("A", progress=none), pass_("B", progress=none), fn("C", progress=none))
    run.submit()
    assert run.process == 66
    assert isinstance(run.process, int)
