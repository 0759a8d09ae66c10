"""The groups of a foreach over a long collection are made in several events.

None of them starts before all are made, so the foreach is as if it were made in one.
"""

from collections.abc import Iterable
from typing import Any

import pytest

from rillflow.core.encoding import codec
from rillflow.core.events import CancelRequested, RedoRequested, TimerFired
from rillflow.core.inspection.stored_data import stored_input
from rillflow.jsontypes import JsonObject
from rillflow.runtime.commands.subflows import inherited_from
from rillflow.testing.replay import replay
from tests.spec.wide_executions import CALLS, EACH, HEAD, NESTED, PASSES, Owner, listed


def names(numbers: Iterable[int]) -> list[str]:
    return [f"E_{number}-P" for number in numbers]


def making(text: str = CALLS, **limits: Any) -> Owner:
    """Return an execution that has made some of the 20 groups of its foreach."""
    owner = Owner(text, {"outer": listed(20), "inner": []}, turn_max_task_steps=7, **limits)
    while not owner.state.groups:
        owner.go_on()
    assert 0 < len(owner.state.groups) < 20
    return owner


def test_no_group_starts_before_all_are_made() -> None:
    owner = making()
    while len(owner.state.groups) < 20:
        assert {group.status.name for group in owner.state.groups.values()} == {"READY"}
        owner.go_on()
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    assert [name for _, name, _ in owner.called()] == names(range(20))


def test_groups_that_are_made_in_portions_start_as_many_at_once_as_allowed() -> None:
    most = "maxConcurrency: 3, conditions: ['$.input[?(1 == 1)]']"
    text = CALLS.replace("  next: Z\n", f"  next: Z\n  synchronization: {{{most}}}\n")
    owner = making(text)
    owner.finish()
    assert [name for _, name, _ in owner.called()] == names(range(3))


def test_an_item_that_cannot_be_taken_fails_the_foreach_with_all_groups() -> None:
    data: JsonObject = {"outer": [*listed(15), None, 1], "inner": []}
    owner = Owner(CALLS, data, turn_max_task_steps=4)
    owner.finish()
    assert owner.state.tasks["E"].invoke.msg == "iteration item 15 is null"
    assert (owner.state.status.name, owner.state.groups, owner.called()) == ("FAILED", {}, [])
    assert set(owner.state.tasks) == {"E", "Z"}


def test_a_journal_and_a_snapshot_while_groups_are_made_give_the_same_execution() -> None:
    owner = making()
    snapshot, before = codec.encode_state(owner.state), len(owner.journal)
    owner.answer_all()
    records = [codec.encode_event(event) for event in owner.journal]
    whole, later = replay(owner.plan, records), replay(owner.plan, records[before:], snapshot)
    assert codec.encode_state(whole) == codec.encode_state(owner.state)
    assert codec.encode_state(later) == codec.encode_state(owner.state)


def test_a_foreach_that_times_out_while_its_groups_are_made_goes_on_after_a_redo() -> None:
    text = CALLS.replace("  next: Z\n", "  next: Z\n  timeline: {timeoutInSeconds: 1}\n")
    owner = making(text)
    due_ms = owner.state.tasks["E"].timeout_due_ms
    assert due_ms is not None
    owner.take(TimerFired(at_ms=due_ms, kind="timeout", task="E", due_ms=due_ms))
    owner.finish()
    assert (owner.state.status.name, owner.called()) == ("FAILED", [])
    assert len(owner.state.groups) < 20
    owner.take(RedoRequested(at_ms=due_ms, failed_only=True))
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    assert len(set(owner.called())) == 20


@pytest.mark.parametrize("redo", [{"failed_only": True}, {"tasks": ("E",)}, {}])
def test_what_was_cancelled_while_groups_are_made_goes_on_after_a_redo(redo: Any) -> None:
    owner = making()
    owner.take(CancelRequested(at_ms=1))
    assert owner.state.remaining is None
    owner.take(RedoRequested(at_ms=1, **redo))
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    assert len(owner.called()) == len(set(owner.called())) == 20


def test_a_redo_while_groups_are_made_makes_them_anew() -> None:
    owner = making()
    owner.take(RedoRequested(at_ms=1, tasks=("E",)))
    owner.answer_all()
    assert owner.state.status.name == "SUCCEED"
    assert len(owner.called()) == len(set(owner.called())) == 20


def test_a_foreach_in_a_foreach_has_no_more_groups_than_the_execution_may() -> None:
    """Both make theirs in several events, and each is refused what the other has taken."""
    data: JsonObject = {"outer": listed(10), "inner": listed(10)}
    owner = Owner(NESTED, data, turn_max_task_steps=3, execution_max_tasks=60)
    owner.finish()
    assert owner.state.status.name == "FAILED"
    assert len(owner.state.tasks) <= 60
    failed = [task for task in owner.state.tasks.values() if task.invoke.code == "30507"]
    assert "E_9-F" in {task.name for task in failed}
    assert not any(task.routes for task in failed if task.base == "F")


@pytest.mark.parametrize("tasks", [1, 40])
def test_no_event_makes_more_than_it_may(tasks: int) -> None:
    each = ", ".join(f"{{name: P{number}, category: pass}}" for number in range(tasks))
    text = f"{HEAD}{EACH}  tasks: [{each}]\n"
    owner = Owner(text, {"outer": listed(300), "inner": []}, turn_max_task_steps=100)
    while len(owner.state.groups) < 300:
        made = len(owner.state.tasks) + len(owner.state.groups)
        owner.go_on()
        assert len(owner.state.tasks) + len(owner.state.groups) - made < 100 + 1 + tasks


def test_contexts_that_are_much_to_walk_cut_the_making_too() -> None:
    data: JsonObject = {"outer": [listed(4_000)] * 100, "inner": []}
    owner = Owner(PASSES, data, turn_max_task_steps=2_000)
    assert 0 < len(owner.state.groups) < 100
    owner.finish()
    assert owner.state.status.name == "SUCCEED"
    assert len(owner.state.groups) == 100


def test_a_foreach_that_is_shown_while_its_groups_are_made_has_its_whole_collection() -> None:
    owner = making()
    task = owner.state.tasks["E"]
    assert task.group_count == 20 > len(task.routes)
    stored = stored_input(owner.plan, owner.state, task)
    assert stored is not None
    assert stored.elements == listed(20)


def test_sub_flows_inherit_it_and_executions_of_an_older_release_make_all_at_once() -> None:
    owner = making()
    assert inherited_from(owner.state).settings["foreach_in_portions"]
    older = Owner(
        CALLS, {"outer": listed(20), "inner": []}, turn_max_task_steps=7, foreach_in_portions=False
    )
    older.go_on()
    assert len(older.state.groups) == 20
    assert not inherited_from(older.state).settings["foreach_in_portions"]
    owner.answer_all()
    older.answer_all()
    assert older.statuses() == owner.statuses()
    assert older.called() == owner.called()
