"""Time-outs end tasks and executions; delays put starts off. All times are told, none is read."""

import pytest

from rillflow.core.commands import SetTimer
from rillflow.core.events import TimerFired
from rillflow.core.machine import outstanding
from rillflow.core.timing import longest_wait_ms
from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonValue
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import (
    Definition,
    Json,
    at_most,
    choice,
    each,
    fn,
    on_output,
    pass_,
    ret,
    scenario,
    susp,
    within,
)


def task_timer(task: str, due_s: int) -> SetTimer:
    return SetTimer(kind="timeout", task=task, due_ms=due_s * 1000)


def dag_timer(due_s: int) -> SetTimer:
    return SetTimer(kind="dag", task="", due_ms=due_s * 1000)


def delay(task: str, due_s: int) -> SetTimer:
    return SetTimer(kind="delay", task=task, due_ms=due_s * 1000)


# -- time-outs of tasks --------------------------------------------------------------------


@pytest.mark.case("TO-01")
def test_an_async_task_times_out() -> None:
    run = scenario(fn("A", timeline=within(1)))
    assert run.submit() == [dispatch("A"), task_timer("A", 1)]
    run.answer("A")
    run.timeout("A")
    assert run.announced == ["TASK_FAILED A", "DAG_FAILED"]
    assert run.task("A").invoke.msg == "timeout"
    assert run.timers == []


@pytest.mark.case("TO-02")
def test_a_suspense_times_out() -> None:
    run = scenario(susp("A", "$.input.x", timeline=within(1)))
    assert run.submit() == [task_timer("A", 1)]
    run.timeout("A")
    assert run.announced == ["TASK_FAILED A", "DAG_FAILED"]
    assert run.task("A").invoke.msg == "timeout"


def test_a_call_that_does_not_return_times_out_too() -> None:
    run = scenario(fn("A", "sync", timeline=within(1), to="B"), pass_("B"))
    run.submit()
    run.timeout("A")
    assert run.statuses == {"A": "FAILED", "B": "NOT_STARTED"}
    run.answer("A", {})
    assert not run.changed


def test_a_callback_held_when_the_time_is_out_counts() -> None:
    run = scenario(fn("A", outs="x", timeline=within(1)))
    run.submit()
    run.finish("A", {"x": 1}, early=True)
    run.timeout("A")
    assert run.statuses == {"A": "SUCCEED"}
    assert run.context == {"x": 1}


def test_a_key_success_held_when_the_time_is_out_counts_and_ends_the_call() -> None:
    run = scenario(fn("A", "flow_sync", timeline=within(1)))
    run.submit()
    run.finish("A", key_succeeded=True, early=True)
    run.timeout("A")
    assert run.statuses == {"A": "KEY_SUCCEED"}
    assert list(outstanding(run.plan, run.state)) == []


def test_a_finished_task_does_not_time_out() -> None:
    run = scenario(fn("A", timeline=within(1)), fn("B"))
    run.submit()
    run.finish("A")
    assert run.timers == []
    run.advance(1)
    assert not run.changed


def test_a_time_out_is_tolerated_where_failures_are() -> None:
    run = scenario(fn("A", timeline=within(1), tolerance=True))
    run.submit()
    run.timeout("A")
    assert run.statuses == {"A": "SKIPPED"}


@pytest.mark.case("TO-10")
def test_a_time_out_is_a_failure_even_where_fail_conditions_do_not_hold() -> None:
    run = scenario(fn("A", fail_conditions=[on_output("err == 1")], timeline=within(1)))
    run.submit()
    run.timeout("A")
    assert run.statuses == {"A": "FAILED"}


@pytest.mark.case("TO-11")
def test_a_time_out_counts_as_a_failed_attempt() -> None:
    run = scenario(fn("A", timeline=within(1), retry={"maxRetryTimes": 1}))
    run.submit()
    run.answer("A")
    assert run.timeout("A") == [dispatch("A"), task_timer("A", 2)]
    run.timeout("A")
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").attempt == 2


@pytest.mark.parametrize(
    ("written", "due_s"),
    [
        pytest.param("2", 2, id="text"),
        pytest.param(" 2 ", 2, id="text with blanks"),
        pytest.param("+2", 2, id="a sign"),
        pytest.param("$.input.wait", 3, id="the input"),
        pytest.param("0", None, id="zero is none"),
        pytest.param("-1", None, id="negative is none"),
        pytest.param("1.5", None, id="a fraction is none"),
        pytest.param("soon", None, id="text is none"),
        pytest.param("true", None, id="a boolean is none"),
        pytest.param("", None, id="empty is none"),
        pytest.param("$$$", None, id="a broken path is none"),
        pytest.param("$.input.absent", None, id="a missing value is none"),
        pytest.param("$.input.long", None, id="too many digits"),
    ],
)
def test_a_time_out_is_a_whole_number_of_seconds_or_none(written: str, due_s: int | None) -> None:
    run = scenario(fn("A", ins="wait,long", timeline=within(written)))
    run.submit({"wait": "3", "long": "9" * 19})
    assert run.timers == ([task_timer("A", due_s)] if due_s else [])


def test_a_time_out_may_come_from_the_parameters() -> None:
    run = scenario(fn("A", parameters={"wait": 4}, timeline=within("$.input.wait")))
    run.submit()
    assert run.timers == [task_timer("A", 4)]


def test_a_timeline_without_a_time_out_sets_none() -> None:
    run = scenario(fn("A", timeline={"skipOnTimeout": "true"}), timeline={"skipOnTimeout": "true"})
    run.submit()
    assert run.timers == []


# -- time-outs of groups -------------------------------------------------------------------


def groups_with_time_out(**rest: Json) -> Scenario:
    run = scenario(
        each(
            "A",
            "list",
            fn("A1", retry={"maxRetryTimes": 1, "intervalInSeconds": 9}, to="A2"),
            fn("A2"),
            ins="list",
            timeline=within(5),
            synchronization=at_most(2),
            **rest,
        ),
        fn("B"),
    )
    run.submit({"list": [1, 2, 3]})
    return run


def test_a_foreach_times_out() -> None:
    run = groups_with_time_out()
    run.timeout("A")
    assert run.statuses["A"] == "FAILED"
    assert run.task("A").invoke.msg == "timeout"


def test_a_tolerant_foreach_that_times_out_is_skipped() -> None:
    run = groups_with_time_out(tolerance=True)
    run.timeout("A")
    assert run.statuses["A"] == "SKIPPED"


def test_after_a_foreach_timed_out_nothing_more_starts_in_its_groups() -> None:
    run = groups_with_time_out()
    run.finish("A_0-A1", succeeded=False)
    assert run.statuses["A_0-A1"] == "READY"
    run.timeout("A")
    assert run.advance(20) == []
    assert run.finish("A_1-A1") == []
    assert run.statuses["A_1-A1"] == "SUCCEED"
    assert run.statuses["A_1-A2"] == "NOT_STARTED"


def test_nothing_starts_below_an_abandoned_group_at_any_depth() -> None:
    inner = choice("C", ("$.input", [fn("C1", to="C2"), fn("C2")]))
    run = scenario(each("A", "list", inner, ins="list", timeline=within(5)), fn("B"))
    run.submit({"list": [1]})
    run.timeout("A")
    assert run.finish("A_0-C_0-C1") == []
    assert run.statuses["A_0-C_0-C2"] == "NOT_STARTED"


def test_a_choice_times_out() -> None:
    run = scenario(choice("A", ("$.input", [fn("A1")]), timeline=within(5)))
    run.submit()
    run.timeout("A")
    assert run.statuses["A"] == "FAILED"
    assert run.status == "FAILED"


@pytest.mark.parametrize(
    "waiting",
    [
        susp("A", "$.input.never", ins="wait", timeline=within("$.input.wait")),
        choice("A", ("$.input", [fn("A1")]), ins="wait", timeline=within("$.input.wait")),
        each("A", "list", fn("A1"), ins="list,wait", timeline=within("$.input.wait")),
    ],
    ids=lambda task: str(task["category"]),
)
def test_whatever_waits_may_take_its_time_out_from_its_input(waiting: Definition) -> None:
    run = scenario(waiting)
    run.submit({"wait": 6, "list": [1]})
    assert run.timers == [task_timer("A", 6)]


# -- time-outs of executions ----------------------------------------------------------------


@pytest.mark.case("TO-03")
def test_a_whole_execution_times_out() -> None:
    run = scenario(fn("A"), timer=within(1))
    assert run.submit() == [dag_timer(1), dispatch("A")]
    run.timeout()
    assert run.announced == ["DAG_FAILED"]
    assert run.state.invoke.msg == "timeout"
    assert run.statuses == {"A": "RUNNING"}
    with pytest.raises(ExecutionError, match="is finished"):
        run.finish("A", early=True)


@pytest.mark.case("TO-05")
def test_a_tasks_time_out_and_the_executions_are_independent() -> None:
    run = scenario(fn("A", timeline=within(1)), fn("B"), timeline=within(2))
    run.submit()
    assert run.timers == [task_timer("A", 1), dag_timer(2)]
    run.timeout("A")
    assert run.announced == ["TASK_FAILED A"]
    assert run.task("A").invoke.msg == "timeout"
    run.timeout()
    assert run.announced == ["TASK_FAILED A", "DAG_FAILED"]
    assert run.state.invoke.msg == "timeout"
    assert run.statuses["B"] == "RUNNING"


@pytest.mark.parametrize(
    ("dag", "task", "due_s"),
    [
        pytest.param("2", "2", 2, id="TO-06"),
        pytest.param("$.context.dagTimeout", "$.input.taskTimeout", 3, id="TO-07"),
    ],
)
def test_time_outs_are_literals_or_paths(dag: str, task: str, due_s: int) -> None:
    run = scenario(
        susp("A", "$.input.x", ins="taskTimeout", timeline=within(task)), timeline=within(dag)
    )
    run.submit({"dagTimeout": "3", "taskTimeout": "3"})
    assert run.timers == [dag_timer(due_s), task_timer("A", due_s)]


@pytest.mark.parametrize("written", ["$$$", "0", "-1", "soon", "$.context.absent"])
def test_anything_else_is_no_time_out_of_the_execution(written: str) -> None:
    run = scenario(fn("A"), timeline=within(written))
    assert run.submit() == [dispatch("A")]


def test_an_execution_that_has_ended_does_not_time_out() -> None:
    run = scenario(fn("A"), timeline=within(1))
    run.submit()
    run.finish("A")
    assert run.timers == []
    run.advance(1)
    assert not run.changed
    assert run.status == "SUCCEED"


def test_a_failure_inside_a_group_is_reported_when_the_execution_times_out() -> None:
    run = scenario(each("A", "list", fn("A1"), ins="list"), pass_("B"), timeline=within(1))
    run.submit({"list": [1, 2]})
    run.finish("A_1-A1", succeeded=False, code="7", msg="no")
    run.timeout()
    assert (run.state.invoke.code, run.state.invoke.msg) == ("7", "timeout")


# -- delays --------------------------------------------------------------------------------


@pytest.mark.case("TO-08")
def test_a_pass_can_be_delayed() -> None:
    run = scenario(pass_("A", timeline={"suspenseIntervalSeconds": "5"}))
    assert run.submit() == [delay("A", 5)]
    assert run.statuses == {"A": "READY"}
    run.advance(4.999)
    assert run.statuses == {"A": "READY"}
    run.advance(0.001)
    assert run.statuses == {"A": "SUCCEED"}
    assert [(info.start_ms, info.end_ms) for info in run.task("A").invoke.time_infos] == [(0, 5000)]


def test_a_delayed_task_maps_its_input_when_it_starts() -> None:
    run = scenario(
        fn("A", ins="x", timeline={"suspenseIntervalSeconds": "$.input.x"}), fn("B", outs="x")
    )
    run.submit({"x": 5})
    run.finish("B", {"x": 2})
    assert run.advance(5) == [dispatch("A", x=2)]


def test_an_absolute_time_may_come_from_the_input() -> None:
    run = scenario(pass_("A", ins="at", timeline={"suspenseTimestamp": "$.input.at"}))
    assert run.submit({"at": 7000}) == [delay("A", 7)]


def test_an_absolute_time_wins_over_an_interval() -> None:
    timeline = {"suspenseTimestamp": "7000", "suspenseIntervalSeconds": "5"}
    run = scenario(ret("A", "$.input", timeline=timeline))
    assert run.submit() == [delay("A", 7)]


@pytest.mark.parametrize(
    "timeline",
    [
        {"suspenseTimestamp": "999"},
        {"suspenseTimestamp": "-5000"},
        {"suspenseTimestamp": "soon", "suspenseIntervalSeconds": "5"},
        {"suspenseIntervalSeconds": "0"},
        {"suspenseIntervalSeconds": "1.5"},
        {"suspenseIntervalSeconds": "$$$"},
        {"suspenseIntervalSeconds": "$.input.absent"},
    ],
)
def test_what_is_no_whole_second_in_the_future_is_no_delay(timeline: JsonValue) -> None:
    run = scenario(pass_("A", timeline=timeline))
    run.submit()
    assert run.statuses == {"A": "SUCCEED"}


def test_each_attempt_is_delayed_anew() -> None:
    run = scenario(
        fn("A", timeline={"suspenseIntervalSeconds": "5"}, retry={"maxRetryTimes": 1}),
    )
    run.submit()
    assert run.advance(5) == [dispatch("A")]
    assert run.finish("A", succeeded=False) == [delay("A", 10)]
    assert run.advance(5) == [dispatch("A")]


def test_a_delay_is_dropped_when_the_execution_ends() -> None:
    run = scenario(fn("A", timeline={"suspenseIntervalSeconds": "5"}), timeline=within(3))
    run.submit()
    assert run.advance(9) == []
    assert run.status == "FAILED"
    assert run.statuses == {"A": "READY"}


@pytest.mark.parametrize("kind", ["timeout", "delay", "dag"])
@pytest.mark.parametrize(("task", "due_ms"), [("A", 1), ("B", 1), ("Z", 1)])
def test_a_timer_that_was_not_set_changes_nothing(kind: str, task: str, due_ms: int) -> None:
    run = scenario(
        fn("A", timeline=within(1)), pass_("B", timeline={"suspenseIntervalSeconds": "5"})
    )
    run.submit()
    run.take(TimerFired(at_ms=0, kind=kind, task=task, due_ms=due_ms))
    assert not run.changed


# -- how long a timer was set for ----------------------------------------------------------


def three_timers() -> Scenario:
    """From second 10 on: a delay of 3 s before a time-out of 5 s, and an execution's of 60 s."""
    run = scenario(
        fn(
            "A",
            timeline=within(5, suspenseIntervalSeconds=3),
            retry={"maxRetryTimes": 1, "intervalInSeconds": 7},
        ),
        timeline=within(60),
    )
    run.advance(10)
    run.submit()
    return run


def waits(run: Scenario) -> dict[str, int]:
    return {timer.kind: longest_wait_ms(run.state, timer) for timer in run.timers}


def test_a_timer_waits_no_longer_than_it_was_set_for() -> None:
    run = three_timers()
    assert waits(run) == {"delay": 3000, "dag": 60_000}
    run.advance(3)
    assert waits(run) == {"timeout": 5000, "dag": 60_000}
    run.advance(2)
    run.finish("A", succeeded=False)
    assert waits(run) == {"delay": 7000, "dag": 60_000}


def test_a_time_out_that_a_redo_sets_anew_waits_as_long_as_the_first() -> None:
    run = three_timers()
    run.advance(4)
    run.redo("A")
    assert waits(run) == {"delay": 3000, "dag": 60_000}


def test_a_timer_of_a_release_that_kept_no_such_times_counts_from_the_attempt() -> None:
    run = three_timers()
    run.advance(3)
    run.state.timeout_armed_ms = run.task("A").armed_ms = None
    assert waits(run) == {"timeout": 8000, "dag": 60_000}
    run = three_timers()
    run.advance(5)
    run.finish("A", succeeded=False)
    run.task("A").armed_ms = None
    assert waits(run)["delay"] == 7000


def test_a_timer_that_is_past_waits_no_more() -> None:
    run = three_timers()
    past = SetTimer(kind="dag", task="", due_ms=5000)
    assert longest_wait_ms(run.state, past) == 0
