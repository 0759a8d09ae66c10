"""What one event makes, starts and ends is bounded; the rest follows in events of their own.

An execution has a largest number of tasks, and a foreach or choice that would exceed it fails.
Both limits travel with the submission; executions of older releases have neither.
"""

import time

import pytest

from rillflow.core import machine
from rillflow.core.agenda import EVENT_WORK, EXECUTION_MAX_TASKS, REMAINING, TURN_MAX_TASK_STEPS
from rillflow.core.commands import SetTimer
from rillflow.core.encoding import codec
from rillflow.core.events import (
    CancelRequested,
    CompletionRequested,
    DispatchAnswered,
    PauseRequested,
    RedoRequested,
    ResumeRequested,
    TimerFired,
)
from rillflow.core.machine import waits_for_others_only
from rillflow.core.state import ExecutionState
from rillflow.core.status import TaskStatus
from rillflow.core.timing import longest_wait_ms
from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.language.versions import NESTING_BOUNDED
from rillflow.runtime.commands.subflows import inherited_from
from rillflow.settings import Settings
from rillflow.testing import Scenario
from rillflow.testing.replay import replay
from tests.machine_speed import least
from tests.spec.wide_executions import (
    CALLS,
    CHOICES,
    HEAD,
    NESTED,
    PASSES,
    SHARED,
    Owner,
    listed,
)

# -- how much work one event does -----------------------------------------------------


def heavy(count: int) -> JsonObject:
    """Return data for ``SHARED``: each task walks 12,500 values, some 3,000 steps of the budget."""
    return {"outer": listed(count), "doc": listed(12_500)}


def test_tasks_that_work_much_are_spread_over_events() -> None:
    """They were handled in one event, of up to minutes: each worked before it was refused."""
    owner = Owner(SHARED, heavy(100), turn_max_task_steps=2_000)
    events = owner.finish()
    assert owner.state.status.name == "SUCCEED"
    assert 100 * 3_000 // EVENT_WORK - 2 <= events <= 100
    records = [codec.encode_event(event) for event in owner.journal]
    assert codec.encode_state(replay(owner.plan, records)) == codec.encode_state(owner.state)


def finished_within(most_s: float, text: str, data: JsonObject, **limits: int) -> Owner:
    """Have an execution end, which may take so much processor time; return its owner."""
    owners = []

    def finish() -> float:
        begun_s = time.thread_time()
        owners.append(Owner(text, data, **limits))
        owners[-1].finish()
        return time.thread_time() - begun_s

    assert least(finish, most_s) < most_s
    return owners[-1]


def test_the_events_that_go_on_share_the_memory_of_the_first_one() -> None:
    """Each had a budget of its own, so one submission made a state of gigabytes."""
    literal = encode_json({"a": ["x"] * 60_000}).decode()
    text = SHARED.replace("source: $.context.doc, target", f"source: '{literal}', target")
    data: JsonObject = {"outer": listed(2_000)}
    owner = finished_within(2, text, data, turn_max_task_steps=2_000, turn_max_bytes=1 << 25)
    assert owner.state.status.name == "FAILED"
    assert "turn_max_bytes" in (owner.state.invoke.msg or "")
    assert owner.state.made_bytes < 1 << 26
    records = [codec.encode_event(event) for event in owner.journal]
    assert codec.encode_state(replay(owner.plan, records)) == codec.encode_state(owner.state)


def test_an_execution_of_an_older_release_is_handled_in_one_event() -> None:
    owner = Owner(SHARED, heavy(100), turn_max_task_steps=2_000, language=NESTING_BOUNDED)
    assert owner.finish() == 0
    assert owner.state.status.name == "SUCCEED"


def test_what_groups_share_is_charged_to_each_and_walked_once_by_each_event() -> None:
    data: JsonObject = {"outer": listed(2_000), "doc": listed(280_000)}
    owner = finished_within(2, SHARED, data, turn_max_task_steps=2_000)
    assert owner.state.status.name == "FAILED"
    assert "turn_max_bytes" in (owner.state.invoke.msg or "")
    assert owner.state.groups == {}


# -- how many tasks an execution has --------------------------------------------------


@pytest.mark.long
def test_a_foreach_in_a_foreach_cannot_multiply_beyond_the_limit_of_the_execution() -> None:
    owner = Owner(NESTED, {"outer": listed(700), "inner": listed(700)}, turn_max_task_steps=4_000)
    owner.finish()
    assert owner.state.status.name == "FAILED"
    assert len(owner.state.tasks) <= EXECUTION_MAX_TASKS
    failed = owner.state.tasks["E_699-F"]
    assert failed.status.name == "FAILED"
    assert failed.invoke.code == "30507"
    assert "and may have 50000, as the setting execution_max_tasks" in (failed.invoke.msg or "")
    assert owner.state.invoke.code == "30507"


@pytest.mark.parametrize(("most", "status"), [(21, "SUCCEED"), (20, "FAILED")])
def test_it_counts_the_tasks_of_all_groups_and_those_of_the_top_level(
    most: int, status: str
) -> None:
    flow = Scenario(PASSES, execution_max_tasks=most, check=True)
    flow.submit({"outer": listed(20), "inner": []})
    assert flow.status == status


def test_groups_without_tasks_count_too() -> None:
    flow = Scenario(CHOICES, execution_max_tasks=30, check=True)
    flow.submit({"outer": listed(10), "inner": []})
    assert flow.status == "FAILED"
    assert flow.task("E_9-C").invoke.code == "30507"
    assert len(flow.state.groups) <= 30


def test_a_foreach_that_fails_for_the_limit_is_caught_as_any_failure_and_makes_no_group() -> None:
    text = PASSES.replace("- name: E\n", "- name: E\n  next: R\n  catch: R\n")
    flow = Scenario(f"{text}- {{name: R, category: pass}}\n", execution_max_tasks=5, check=True)
    flow.submit({"outer": listed(20), "inner": []})
    assert flow.status == "SUCCEED"
    assert flow.state.groups == {}


def test_what_a_redo_drops_makes_room() -> None:
    flow = Scenario(PASSES, execution_max_tasks=21, check=True)
    flow.submit({"outer": listed(20), "inner": []})
    flow.redo("E")
    assert flow.status == "SUCCEED"
    assert len(flow.state.tasks) == 21


def test_a_definition_with_more_tasks_than_an_execution_may_have_is_refused() -> None:
    text = HEAD + "".join(f"- {{name: P{number}, category: pass}}\n" for number in range(6))
    with pytest.raises(ExecutionError, match="would have 6 tasks") as caught:
        Scenario(text, execution_max_tasks=5).submit({})
    assert caught.value.wire_code == 30507


def test_groups_and_instances_are_charged_to_the_turn_that_makes_them() -> None:
    flow = Scenario(PASSES, turn_max_steps=1_000, check=True)
    flow.submit({"outer": listed(100), "inner": []})
    assert "more than 1000 steps; turn_max_steps" in (flow.task("E").invoke.msg or "")
    flow = Scenario(PASSES, turn_max_bytes=100_000, check=True)
    flow.submit({"outer": listed(100), "inner": []})
    assert "more than 100000 bytes; turn_max_bytes" in (flow.task("E").invoke.msg or "")


@pytest.mark.long
def test_as_many_items_as_a_foreach_may_have_are_within_all_limits() -> None:
    flow = Scenario(PASSES)
    flow.submit({"outer": listed(Settings().foreach_max_items), "inner": []})
    assert flow.status == "SUCCEED"


# -- how much one event does ----------------------------------------------------------


def test_what_is_too_much_for_one_event_goes_on_in_others_and_ends_the_same() -> None:
    data: JsonObject = {"outer": listed(30), "inner": [1, 2, 3]}
    whole, parts = Owner(NESTED, data), Owner(NESTED, data, turn_max_task_steps=10)
    assert whole.state.remaining is None
    assert parts.finish() > 20
    assert parts.state.status.name == whole.state.status.name == "SUCCEED"
    assert parts.statuses() == whole.statuses()
    assert parts.state.context == whole.state.context


@pytest.mark.parametrize("width", [60, pytest.param(100, marks=pytest.mark.long)])
def test_no_event_of_a_wide_execution_does_much_more_than_it_may(width: int) -> None:
    owner = Owner(NESTED, {"outer": listed(width), "inner": listed(width)}, turn_max_task_steps=50)
    while owner.state.remaining is not None:
        announced, made = len(owner.commands), len(owner.state.tasks)
        owner.go_on()
        assert len(owner.commands) - announced <= 50 + 1  # the timer of the rest
        assert len(owner.state.tasks) - made <= 50
    assert owner.state.status.name == "SUCCEED"


def test_the_rest_is_a_timer_that_is_due_at_once_also_after_a_restart() -> None:
    owner = Owner(PASSES, {"outer": listed(20), "inner": []}, turn_max_task_steps=10)
    remaining = owner.state.remaining
    assert remaining is not None
    timer = SetTimer(kind=REMAINING, task="", due_ms=1)
    assert owner.commands[-1] == timer
    state = codec.decode_state(codec.encode_state(owner.state))
    assert state.remaining == remaining
    assert list(machine.outstanding(owner.plan, state)) == [timer]
    assert longest_wait_ms(state, timer) == 0
    assert not waits_for_others_only(owner.plan, state)


def test_a_timer_of_a_rest_that_another_event_has_taken_counts_for_nothing() -> None:
    owner = Owner(PASSES, {"outer": listed(40), "inner": []}, turn_max_task_steps=10)
    assert not owner.take(TimerFired(at_ms=9, kind=REMAINING, task="", due_ms=0))
    assert owner.take(PauseRequested(at_ms=9))
    assert not owner.take(TimerFired(at_ms=9, kind=REMAINING, task="", due_ms=1))
    assert owner.state.remaining is not None
    assert owner.state.remaining.due_ms == 9


def test_the_journal_and_a_snapshot_in_the_middle_give_the_same_execution() -> None:
    owner = Owner(CALLS, {"outer": listed(20), "inner": []}, turn_max_task_steps=7)
    owner.go_on()
    snapshot, before = codec.encode_state(owner.state), len(owner.journal)
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    records = [codec.encode_event(event) for event in owner.journal]
    whole, later = replay(owner.plan, records), replay(owner.plan, records[before:], snapshot)
    assert codec.encode_state(whole) == codec.encode_state(owner.state)
    assert codec.encode_state(later) == codec.encode_state(owner.state)


# -- what comes in between ------------------------------------------------------------


@pytest.mark.parametrize("handled", range(2, 10))
def test_what_a_time_out_abandons_does_not_go_on(handled: int) -> None:
    """A group whose end was left to a later event ended its task, which had timed out."""
    text = PASSES.replace("category: foreach", "category: foreach\n  timeline: TIMELINE").replace(
        "TIMELINE", "{timeoutInSeconds: 1}"
    )
    owner = Owner(text, {"outer": listed(2), "inner": []}, turn_max_task_steps=1)
    for _ in range(handled):
        owner.go_on()
    task = owner.state.tasks["E"]
    due_ms = task.timeout_due_ms
    assert due_ms is not None
    owner.take(TimerFired(at_ms=due_ms, kind="timeout", task="E", due_ms=due_ms))
    assert task.status is TaskStatus.FAILED
    owner.finish()
    assert (task.status.name, owner.state.status.name) == ("FAILED", "FAILED")


def begun() -> Owner:
    """Return an execution with 20 calls to make that has made some of them."""
    owner = Owner(CALLS, {"outer": listed(20), "inner": []}, turn_max_task_steps=7)
    while not owner.called():
        owner.go_on()
    assert 0 < len(owner.called()) < 20
    return owner


def test_an_answer_that_comes_in_between_counts_at_once() -> None:
    owner = begun()
    [first, *_] = [task for task in owner.state.tasks.values() if task.in_flight]
    owner.take(DispatchAnswered(at_ms=1, task=first.name, attempt=1, body=b"{}", http_status=200))
    assert first.status.name == "SUCCEED"
    assert owner.state.remaining is not None
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    assert len(owner.called()) == len(set(owner.called())) == 20


def test_after_a_cancellation_in_between_nothing_more_is_called_and_nothing_is_left() -> None:
    owner = begun()
    called = owner.called()
    owner.take(CancelRequested(at_ms=1))
    assert owner.state.remaining is None
    assert owner.called() == called
    assert not [c for c in machine.outstanding(owner.plan, owner.state) if isinstance(c, SetTimer)]


@pytest.mark.parametrize("success", [True, False])
def test_who_ends_it_by_hand_in_between_has_the_last_word(success: bool) -> None:  # noqa: FBT001
    text = HEAD + "- {name: P, category: pass}\n"
    owner = Owner(text, {}, turn_max_task_steps=1)
    while owner.state.tasks["P"].status is not TaskStatus.SUCCEED:
        owner.go_on()
    owner.take(CompletionRequested(at_ms=1, success=success))
    assert owner.state.remaining is None
    assert owner.state.status.name == ("SUCCEED" if success else "FAILED")


def test_what_was_cancelled_in_between_goes_on_after_a_redo_and_calls_each_once() -> None:
    owner = begun()
    owner.take(CancelRequested(at_ms=1))
    owner.take(RedoRequested(at_ms=1, failed_only=True))
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    assert len(set(owner.called())) == 20


def test_what_is_left_when_it_is_paused_waits_until_it_is_resumed() -> None:
    owner = begun()
    called = owner.called()
    owner.take(PauseRequested(at_ms=1))
    owner.finish()
    assert owner.called() == called
    owner.take(ResumeRequested(at_ms=1))
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    assert len(owner.called()) == len(set(owner.called())) == 20


def test_a_redo_in_between_drops_what_is_left_of_the_groups_that_it_makes_anew() -> None:
    owner = begun()
    owner.take(RedoRequested(at_ms=1, tasks=("E",)))
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    assert {task.status.name for task in owner.state.tasks.values()} == {"SUCCEED"}
    assert len(owner.called()) == len(set(owner.called()))


def test_what_a_redo_in_between_is_to_run_once_more_runs_once() -> None:
    late = ', timeline: {suspenseIntervalSeconds: "5"}}\n'
    text = HEAD + "".join(f"- {{name: P{number}, category: pass{late}" for number in range(4))
    owner = Owner(text, {}, turn_max_task_steps=1)
    while TaskStatus.READY not in owner.statuses().values():
        owner.go_on()
    owner.take(RedoRequested(at_ms=1))
    owner.finish()
    timers = [c.task for c in owner.commands if isinstance(c, SetTimer) and c.kind == "delay"]
    assert timers == ["P0", "P1", "P2", "P3"]


# -- limits -----------------------------------------------------------------------------


def test_the_limits_are_in_the_record_the_state_and_what_sub_flows_inherit() -> None:
    owner = Owner(PASSES, {}, turn_max_task_steps=7, execution_max_tasks=9)
    [event] = owner.journal
    assert codec.decode_event(codec.encode_event(event)) == event
    state: ExecutionState = codec.decode_state(codec.encode_state(owner.state))
    assert (state.turn_max_task_steps, state.execution_max_tasks) == (7, 9)
    inherited = inherited_from(state).settings
    assert (inherited["turn_max_task_steps"], inherited["execution_max_tasks"]) == (7, 9)


def test_the_defaults_are_those_of_the_settings() -> None:
    settings = Settings()
    assert settings.turn_max_task_steps == TURN_MAX_TASK_STEPS
    assert settings.execution_max_tasks == EXECUTION_MAX_TASKS


def test_an_execution_of_an_older_release_does_everything_in_one_event_and_is_not_charged() -> None:
    data: JsonObject = {"outer": listed(9_000), "inner": []}
    owner = Owner(PASSES, data, execution_max_tasks=None, foreach_in_portions=False)
    assert owner.state.remaining is None
    assert owner.state.status.name == "SUCCEED"
