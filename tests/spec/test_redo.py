"""Redo runs tasks, and all that follows them, again; what is done stays done."""

import pytest

from rillflow.core.commands import SetTimer
from rillflow.core.events import RedoRequested
from rillflow.errors import ExecutionError
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import (
    choice,
    each,
    fn,
    on_input,
    pass_,
    refused,
    ret,
    scenario,
    susp,
    within,
)


def chain() -> Scenario:
    run = scenario(fn("A", outs="x", to="B"), fn("B", ins="x", to="C"), fn("C"), fn("D"))
    run.submit()
    return run


@pytest.mark.case("RD-01")
def test_only_what_is_unfinished_is_done_again() -> None:
    bbb = on_input('url == "bbb"')
    run = scenario(susp("A", bbb, ins="url", outs="url", to="B"), fn("B"))
    run.submit({"url": "x"})
    run.wake("A", {"url": "bbb"})
    assert run.redo(data={"url": "x"}) == [dispatch("B")]
    assert run.statuses == {"A": "SUCCEED", "B": "RUNNING"}
    assert len(run.dispatched) == 2
    assert run.context == {"url": "x"}


def test_a_named_task_and_everything_that_follows_it_run_again() -> None:
    run = chain()
    run.finish("A", {"x": 1})
    run.finish("B")
    run.finish("C")
    assert run.redo("B", data={"x": 2}) == [dispatch("B", x=2)]
    assert run.statuses == {"A": "SUCCEED", "B": "RUNNING", "C": "NOT_STARTED", "D": "RUNNING"}

    assert run.finish("B") == [dispatch("C")]


def test_what_follows_on_two_ways_is_reset_once() -> None:
    run = scenario(fn("A", to="B,C"), fn("B", to="D"), fn("C", to="D"), fn("D"))
    run.submit()
    run.finish("A")
    assert run.redo("A") == [dispatch("A")]
    assert list(run.statuses.values()) == ["RUNNING", *["NOT_STARTED"] * 3]


def test_a_name_inside_a_group_means_its_task_at_the_top() -> None:
    run = scenario(
        each("A", "list", choice("A1", ("$.input", [fn("A2")])), pass_("A3"), ins="list"),
        pass_("B"),
    )
    run.submit({"list": [1, 2]})
    run.finish("A_0-A1_0-A2")
    run.redo("A_1-A1_0-A2", data={"list": [1]})
    assert list(run.state.groups) == ["A_0", "A_0-A1_0"]
    assert list(run.statuses) == ["A", "B", "A_0-A1", "A_0-A3", "A_0-A1_0-A2"]


def test_instances_made_anew_count_their_attempts_on() -> None:
    run = scenario(each("A", "list", fn("A1"), ins="list"), fn("B"))
    run.submit({"list": [1]})
    run.redo("A")
    assert run.task("A_0-A1").attempt == 2
    run.finish("A_0-A1", attempt=1)
    assert not run.changed
    run.finish("A_0-A1", attempt=2)
    assert run.statuses["A"] == "SUCCEED"


def test_unknown_and_unstarted_names_are_ignored_but_the_data_are_kept() -> None:
    run = chain()
    assert run.redo("Z", " C ", data={"y": 1}) == []
    assert run.statuses == {"A": "RUNNING", "B": "NOT_STARTED", "C": "NOT_STARTED", "D": "RUNNING"}
    assert run.context == {"y": 1}


def test_a_reserved_key_in_the_data_refuses_the_redo() -> None:
    run = chain()
    with pytest.raises(ExecutionError) as error:
        run.redo("A", data={"__x": 1})
    assert refused(error)[0] == 30505


def test_nothing_to_do_again_changes_only_the_context() -> None:
    run = scenario(pass_("A"))
    run.submit()
    assert run.redo() == []
    assert run.status == "SUCCEED"
    assert len(run.state.invoke.time_infos) == 1


def test_an_ended_execution_runs_again_with_a_new_time() -> None:
    run = chain()
    run.finish("D")
    run.finish("A", succeeded=False, msg="no", code="7", ext={"e": 1})
    assert run.status == "FAILED"
    run.advance(5)
    assert run.redo() == [dispatch("A")]
    assert run.status == "RUNNING"
    assert run.state.invoke.msg is None
    assert [(i.start_ms, i.end_ms) for i in run.state.invoke.time_infos] == [(0, 0), (5000, None)]

    run.finish("A")
    run.finish("B")
    run.finish("C")
    assert run.status == "SUCCEED"


def test_a_running_task_is_done_again_and_its_old_answer_counts_for_nothing() -> None:
    run = chain()
    assert run.redo("A") == [dispatch("A")]
    assert run.task("A").attempt == 2
    run.finish("A", attempt=1)
    assert not run.changed
    run.finish("A")
    assert run.statuses["A"] == "SUCCEED"


def test_a_redone_task_has_a_fresh_budget_of_retries_and_keeps_its_history() -> None:
    run = scenario(fn("A", retry={"maxRetryTimes": 1}))
    run.submit()
    for _ in range(2):
        run.finish("A", succeeded=False, msg="no")
    assert run.status == "FAILED"

    run.redo()
    assert run.task("A").invoke.msg is None
    assert run.finish("A", succeeded=False) == [dispatch("A")]
    run.finish("A", succeeded=False)
    assert run.status == "FAILED"
    assert len(run.task("A").invoke.time_infos) == 4


def test_a_redone_return_decides_anew() -> None:
    aaa = on_input('x == "aaa"')
    run = scenario(ret("A", aaa, ins="x", to="B"), fn("B"))
    run.submit({"x": "aaa"})
    assert run.statuses["B"] == "SKIPPED"
    assert run.redo("A", data={"x": "b"}) == [dispatch("B")]
    assert run.task("B").invoke.msg is None


def test_a_redo_after_a_time_out_sets_the_executions_time_out_again() -> None:
    run = scenario(fn("A"), timeline=within(9))
    run.submit()
    run.timeout()
    assert run.redo() == [SetTimer(kind="dag", task="", due_ms=18_000), dispatch("A")]
    run.timeout()
    assert run.status == "FAILED"


def test_the_redone_tasks_own_time_out_starts_anew() -> None:
    run = scenario(fn("A", timeline=within(9)))
    run.submit()
    run.advance(5)
    run.redo("A")
    assert run.timers == [SetTimer(kind="timeout", task="A", due_ms=14_000)]
    run.advance(4)
    assert run.statuses == {"A": "RUNNING"}


def test_a_cancelled_execution_can_be_redone() -> None:
    run = chain()
    run.cancel()
    run.redo()
    assert run.status == "RUNNING"
    assert not run.state.cancelled


def test_a_cancelled_execution_goes_on_after_what_ended_since() -> None:
    run = scenario(fn("A", "sync", to="B"), fn("B", "sync"))
    run.submit()
    run.cancel()
    assert run.answer("A", {}) == []
    assert run.redo() == [dispatch("B")]
    run.cancel()
    run.answer("B", {})
    assert run.redo("nobody") == []
    assert run.status == "FAILED"
    assert run.redo() == []
    assert run.status == "SUCCEED"
    assert run.state.invoke.msg is None


# -- what the end had interrupted, and the redo does not name ------------------------------


def test_a_redo_after_the_end_sets_the_other_tasks_timers_again() -> None:
    run = scenario(
        fn("A"),
        fn("B", timeline=within(9)),
        pass_("C", timeline={"suspenseIntervalSeconds": "7"}),
        timeline=within(3),
    )
    run.submit()
    run.timeout()
    assert run.redo("A") == [
        SetTimer(kind="dag", task="", due_ms=6000),
        dispatch("B"),
        SetTimer(kind="timeout", task="B", due_ms=9000),
        SetTimer(kind="delay", task="C", due_ms=7000),
        dispatch("A"),
    ]


def test_a_redo_after_the_end_goes_on_with_groups_whose_answers_came_too_late() -> None:
    run = scenario(fn("A"), each("B", "list", fn("B1", "sync", to="B2"), fn("B2"), ins="list"))
    run.submit({"list": [1, 2]})
    run.cancel()
    run.answer("B_0-B1", {})
    run.answer("B_1-B1", {"result_type": "FAILED"})
    assert run.redo("A") == [dispatch("B_0-B2"), dispatch("A")]
    assert run.groups("B") == ["RUNNING", "FAILED"]


def test_a_redo_after_the_end_leaves_groups_alone_that_ended_or_ran_out_of_time() -> None:
    inner = choice("C", ("$.input", [fn("C1", "sync", to="C2"), fn("C2")]))
    run = scenario(
        fn("A"),
        each("B", "list", fn("B1"), ins="list"),
        each("L", "list", inner, ins="list", timeline=within(1)),
    )
    run.submit({"list": [1, 2]})
    run.finish("B_0-B1")
    run.timeout("L")
    run.cancel()
    run.answer("L_0-C_0-C1", {})
    assert run.redo("A") == [dispatch("B_1-B1"), dispatch("A")]
    assert run.statuses["L_0-C_0-C2"] == "NOT_STARTED"


def test_a_redo_after_the_end_orders_again_what_is_under_way() -> None:
    run = scenario(fn("A"), fn("B"), fn("P", completion="poll"))
    run.submit()
    run.answer("P", http_status=202, poll_url="http://gateway/results/1")
    run.advance(1)
    run.cancel()
    assert run.redo("A") == [dispatch("B"), dispatch("P"), dispatch("A")]
    assert run.finish("B") == []


def test_a_redo_after_the_end_waits_for_timers_no_longer_than_they_were_set_for() -> None:
    run = scenario(fn("A"), fn("B", timeline=within(9)))
    run.submit()
    run.cancel()
    run.now_ms -= 3_600_000
    assert SetTimer(kind="timeout", task="B", due_ms=run.now_ms + 9000) in run.redo("A")


def test_a_redo_after_the_end_starts_what_was_ready_while_paused() -> None:
    run = scenario(fn("A", to="B"), fn("B"), fn("C"))
    run.submit()
    run.pause()
    run.finish("A")
    assert run.statuses["B"] == "READY"
    run.cancel()
    run.redo("C")
    assert run.resume() == [dispatch("B"), dispatch("C")]


def test_what_was_ready_while_paused_is_not_started_when_a_redo_takes_it_back() -> None:
    run = scenario(
        fn("A", to="B"), each("B", "list", fn("B1", to="B2"), fn("B2"), ins="list"), fn("C")
    )
    run.submit({"list": [1]})
    run.finish("A")
    run.pause()
    run.finish("B_0-B1")
    assert run.state.parked == ["B_0-B2"]
    run.redo("A")
    assert run.state.parked == ["A"]
    assert run.resume() == [dispatch("A")]
    assert run.statuses["B"] == "NOT_STARTED"


def test_what_was_ready_while_paused_still_starts_when_a_redo_leaves_it_alone() -> None:
    run = scenario(fn("A", to="B"), fn("B"), fn("C"))
    run.submit()
    run.pause()
    run.finish("A")
    run.redo("C")
    assert run.resume() == [dispatch("B"), dispatch("C")]


def test_a_null_in_the_data_leaves_what_was_there() -> None:
    run = scenario(fn("A"))
    run.submit({"x": 1, "y": 2})
    run.redo("A", data={"x": None, "y": 3})
    assert run.context == {"x": 1, "y": 3}


def test_data_that_are_no_object_count_as_none() -> None:
    run = scenario(fn("A"))
    run.submit({"x": 1})
    run.take(RedoRequested(at_ms=0, tasks=("A",), data=b"[1]"))
    assert run.context == {"x": 1}
    assert run.dispatched == [dispatch("A")] * 2


def test_a_redo_forgets_notices_that_are_still_due() -> None:
    run = scenario(pass_("A"), callback={"resourceName": "http://listener"})
    run.submit()
    assert run.state.completion is not None
    run.redo("A")
    assert run.dispatched == [dispatch("", dag_status="succeed")] * 2
