"""Whoever is to be told something is told until it is delivered; each notice has its number."""

import pytest

from rillflow.core.commands import CancelChild, DispatchTask, NotifyParent
from rillflow.core.ending import owes_notice
from rillflow.core.events import NoticeDelivered, ParentLink
from rillflow.core.machine import outstanding
from rillflow.testing import Scenario
from tests.spec.notation import Json, flow, fn, scenario

LINK = ParentLink(execution_id="bigFlow", task="A", attempt=1, pattern="flow_sync")
LISTENER = {"resourceName": "http://listener"}


def ended(**rest: Json) -> Scenario:
    """A sub-flow that failed, whose parent and whose listener are to be told."""
    run = Scenario(flow(fn("C"), callback=LISTENER, **rest), parent=LINK, check=True)
    run.submit()
    run.advance(3)
    run.finish("C", succeeded=False)
    return run


def owed(run: Scenario) -> list[tuple[str, int]]:
    """What is outstanding, with its number."""
    return [
        (type(command).__name__, command.attempt)
        for command in outstanding(run.plan, run.state)
        if isinstance(command, NotifyParent | DispatchTask)
    ]


def deliver(run: Scenario, kind: str, attempt: int | None = None, child: str | None = None) -> bool:
    run.take(NoticeDelivered(at_ms=run.now_ms, kind=kind, attempt=attempt, child=child))
    return run.changed


def test_each_end_has_notices_under_a_number_of_their_own() -> None:
    run = ended()
    assert owed(run) == [("NotifyParent", 1), ("DispatchTask", 1)]
    for number in (2, 3):
        run.redo()  # its parent is told that it runs again, and the call of C is under way
        assert owed(run) == [("DispatchTask", number), ("NotifyParent", number - 1)]
        run.finish("C", succeeded=False)
        assert owed(run) == [("NotifyParent", number), ("DispatchTask", number)]
    told = [command.attempt for command in run.commands if isinstance(command, NotifyParent)]
    assert told == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("kind", ["parent", "completion"])
def test_the_delivery_of_an_earlier_notice_leaves_the_later_one_owed(kind: str) -> None:
    run = ended()
    run.redo()
    run.finish("C", succeeded=False)
    both = owed(run)
    assert not deliver(run, kind, attempt=1)
    assert owed(run) == both
    assert deliver(run, kind, attempt=2)
    assert len(owed(run)) == 1


def test_the_delivery_of_one_notice_leaves_the_others_owed() -> None:
    run = ended()
    assert deliver(run, "parent")
    assert owed(run) == [("DispatchTask", 1)]
    run = ended()
    assert deliver(run, "completion")
    assert owed(run) == [("NotifyParent", 1)]


def test_something_is_owed_until_the_last_notice_is_delivered() -> None:
    run = ended()
    for kind in ("completion", "parent"):
        assert owes_notice(run.state)
        deliver(run, kind)
    assert not owes_notice(run.state)


def test_every_child_of_a_cancelled_execution_is_told_until_it_is_delivered() -> None:
    run = scenario(fn("A", "flow_sync"), fn("B", "flow_sync"))
    run.submit()
    run.answer("A", {"execution_id": "a"})
    run.answer("B", {"execution_id": "b"})
    run.cancel()
    told = [CancelChild(execution_id="a"), CancelChild(execution_id="b")]
    assert list(outstanding(run.plan, run.state)) == told
    assert not deliver(run, "cancel", child="c")
    assert list(outstanding(run.plan, run.state)) == told
    assert deliver(run, "cancel", child="a")
    assert list(outstanding(run.plan, run.state)) == told[1:]
    assert owes_notice(run.state)
    assert deliver(run, "cancel", child="b")
    assert not owes_notice(run.state)


def test_the_completion_callback_is_dated_by_the_end_also_after_a_restart() -> None:
    run = ended()
    run.advance(60)
    [call] = [c for c in outstanding(run.plan, run.state) if isinstance(c, DispatchTask)]
    assert (call.execution_id, call.at_ms) == (run.state.execution_id, 3000)
