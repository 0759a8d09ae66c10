"""A failed sub-flow that is redone lets its parent go on, whoever asked for the redo."""

from typing import Final

import msgspec
import pytest

from rillflow.core.commands import NotifyParent, RedoChild
from rillflow.core.events import (
    CallbackReceived,
    NoticeDelivered,
    ParentLink,
    RedoRequested,
    SubFlowNotice,
)
from rillflow.testing import Scenario, dispatch
from tests.spec.notation import Definition, Json, each, flow, fn, scenario, within

COLLECTED: Final = [{"source": "$.output.sub_context[*].x", "target": "$.context.all"}]


def family(*tasks: Definition, waiting: str = "A", **rest: Json) -> tuple[Scenario, Scenario]:
    """A parent, and the sub-flow of two tasks in a row that one of its tasks waits for."""
    parent = scenario(*tasks, **rest)
    parent.submit({"list": [1]})
    link = ParentLink(
        execution_id=parent.state.execution_id, task=waiting, attempt=1, pattern="flow_sync"
    )
    child = Scenario(
        flow(fn("C", outs="x", to="D"), fn("D", ins="x", outs="y")),
        execution_id="child",
        parent=link,
        check=True,
    )
    child.submit()
    parent.answer(waiting, {"execution_id": "child"})
    return parent, child


def failed_family(**rest: Json) -> tuple[Scenario, Scenario]:
    """Both of which have failed, after the child's first task had succeeded."""
    parent, child = family(fn("A", "flow_sync", outs="y", to="B"), fn("B", ins="y"), **rest)
    child.finish("C", {"x": 1})
    tell(child.finish("D", succeeded=False, msg="no"), parent)
    assert (parent.status, parent.state.invoke.msg) == ("FAILED", "no")
    return parent, child


def notices(wanted: list[Json]) -> list[CallbackReceived]:
    return [want.callback for want in wanted if isinstance(want, NotifyParent)]


def tell(wanted: list[Json], parent: Scenario) -> list[Json]:
    """Deliver what a child wants its parent to hear, and return what the parent wants then."""
    heard: list[Json] = []
    for notice in notices(wanted):
        heard += parent.take(msgspec.structs.replace(notice, at_ms=parent.now_ms))
    return heard


def ask(wanted: list[Json], child: Scenario) -> list[Json]:
    """Deliver the order to be redone that is among what a parent wants."""
    [order] = [want for want in wanted if isinstance(want, RedoChild)]
    return child.take(RedoRequested(at_ms=child.now_ms, failed_only=True, order=order.order))


def test_a_task_waits_again_as_soon_as_its_sub_flow_is_redone() -> None:
    parent, child = failed_family()
    assert tell(child.redo(failed_only=True), parent) == []
    assert (parent.status, parent.statuses["A"]) == ("RUNNING", "RUNNING")
    assert parent.state.invoke.msg is None


@pytest.mark.parametrize("failed_only", [True, False])
def test_the_parent_goes_on_when_its_redone_sub_flow_ends(failed_only: bool) -> None:  # noqa: FBT001
    parent, child = failed_family()
    tell(child.redo(failed_only=failed_only), parent)
    assert tell(child.finish("D", {"y": 2}), parent) == [dispatch("B", y=2)]
    parent.finish("B")
    assert parent.status == "SUCCEED"


def test_a_parent_that_hears_of_the_redo_only_by_its_outcome_goes_on_with_it() -> None:
    parent, child = failed_family()
    child.redo(failed_only=True)
    assert tell(child.finish("D", {"y": 2}), parent) == [dispatch("B", y=2)]
    assert parent.statuses == {"A": "SUCCEED", "B": "RUNNING"}


def test_a_parent_asks_its_sub_flow_and_goes_on_with_what_comes() -> None:
    parent, child = failed_family()
    assert ask(parent.redo(failed_only=True), child) == [dispatch("D", x=1)]
    assert tell(child.finish("D", {"y": 2}), parent) == [dispatch("B", y=2)]


def test_a_sub_flow_that_succeeded_meanwhile_says_so_again_when_it_is_asked() -> None:
    parent, child = family(fn("A", "flow_sync", outs="y"), timeline=within(9))
    parent.timeout()
    child.finish("C")
    child.finish("D", {"y": 3})
    wanted = parent.redo(failed_only=True)
    tell(ask(wanted, child), parent)
    assert (parent.status, parent.context["y"]) == ("SUCCEED", 3)


def test_notices_that_are_repeated_or_overtaken_change_nothing() -> None:
    parent, child = failed_family()
    first = child.state.parent_notice
    assert first is not None
    running = child.redo(failed_only=True)
    tell(running, parent)
    parent.take(first)
    assert not parent.changed
    tell(running, parent)
    assert not parent.changed
    tell(child.finish("D", {"y": 1}), parent)
    assert parent.statuses["A"] == "SUCCEED"
    tell(running, parent)
    assert not parent.changed


def test_the_first_outcome_delivered_again_after_the_redo_is_not_taken_for_the_next() -> None:
    parent, child = failed_family()
    first = child.state.parent_notice
    assert first is not None
    ask(parent.redo(failed_only=True), child)
    parent.take(first)
    assert not parent.changed
    assert parent.statuses["A"] == "RUNNING"


def test_a_redone_sub_flow_that_fails_again_fails_its_parent_again() -> None:
    parent, child = failed_family()
    tell(child.redo(failed_only=True), parent)
    tell(child.finish("D", succeeded=False, msg="again"), parent)
    assert (parent.status, parent.state.invoke.msg) == ("FAILED", "again")


def test_an_iteration_has_the_value_of_its_redone_sub_flow() -> None:
    parent, child = family(
        each("each", "list", fn("A", "flow_sync", outs="x<=y"), ins="list", outs=COLLECTED),
        waiting="each_0-A",
    )
    child.finish("C")
    tell(child.finish("D", succeeded=False), parent)
    tell(child.redo(failed_only=True), parent)
    assert parent.groups("each") == ["RUNNING"]
    tell(child.finish("D", {"y": 8}), parent)
    assert (parent.status, parent.context["all"]) == ("SUCCEED", [8])


def test_a_mapping_that_fails_with_the_new_outcome_is_the_tasks_failure() -> None:
    broken = [{"transform": "1 +", "target": "$.context.x", "tolerance": False}]
    parent, child = family(fn("A", "flow_sync", outs=broken))
    child.finish("C")
    parent.finish("A", succeeded=False, early=True)
    tell(child.finish("D", succeeded=False), parent)
    child.redo(failed_only=True)
    tell(child.finish("D", {"y": 1}), parent)
    assert parent.changed
    assert parent.statuses == {"A": "FAILED"}


# -- when the parent does not go on ---------------------------------------------------------


def test_a_parent_that_has_gone_on_without_its_sub_flow_stays_as_it_is() -> None:
    parent, child = family(fn("A", "flow_sync", tolerance=True, to="B"), fn("B"))
    child.finish("C")
    tell(child.finish("D", succeeded=False), parent)
    assert parent.statuses == {"A": "SKIPPED", "B": "RUNNING"}
    tell(child.redo(failed_only=True), parent)
    assert not parent.changed
    tell(child.finish("D"), parent)
    assert parent.statuses == {"A": "SKIPPED", "B": "RUNNING"}


def test_a_tolerated_foreach_does_not_run_again_for_a_sub_flow_in_it() -> None:
    parent, child = family(
        each("each", "list", fn("A", "flow_sync"), ins="list", tolerance=True, to="B"),
        fn("B"),
        waiting="each_0-A",
    )
    child.finish("C")
    tell(child.finish("D", succeeded=False), parent)
    assert parent.statuses["each"] == "SKIPPED"
    tell(child.redo(failed_only=True), parent)
    assert not parent.changed


def test_a_cancelled_parent_stays_cancelled() -> None:
    parent, child = family(fn("A", "flow_sync"))
    child.finish("C")
    parent.cancel()
    tell(child.cancel(), parent)
    assert parent.statuses == {"A": "FAILED"}
    tell(child.redo(failed_only=True), parent)
    assert not parent.changed
    assert parent.status == "FAILED"


def test_a_sub_flow_of_an_earlier_attempt_does_not_concern_its_parent() -> None:
    parent, child = failed_family()
    parent.redo("A")
    parent.answer("A", {"execution_id": "another"})
    tell(child.redo(failed_only=True), parent)
    assert not parent.changed
    tell(child.finish("D", {"y": 1}), parent)
    assert not parent.changed


def test_a_task_that_is_no_sub_flow_hears_of_none() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.finish("A", succeeded=False)
    run.finish("A", early=True, attempt=1, sub_flow=SubFlowNotice(number=5, redone=True))
    assert not run.changed


def test_a_late_end_of_a_sub_flow_that_nobody_redid_does_not_revive_its_parent() -> None:
    parent, child = family(fn("A", "flow_sync", timeline=within(1)))
    parent.timeout("A")
    assert parent.status == "FAILED"
    child.finish("C")
    tell(child.finish("D"), parent)
    assert not parent.changed


def test_a_sub_flow_that_succeeded_and_is_redone_does_not_tell_its_parent_that_it_runs() -> None:
    _, child = family(fn("A", "flow_sync"))
    child.finish("C")
    child.finish("D")
    assert notices(child.redo("C")) == []


def test_a_revived_parent_tells_its_own_parent() -> None:
    link = ParentLink(execution_id="grand", task="Z", attempt=1, pattern="flow_sync")
    parent = Scenario(flow(fn("A", "flow_sync")), execution_id="mid", parent=link, check=True)
    parent.submit()
    parent.answer("A", {"execution_id": "child"})
    failure = notices_of_child(failed=True)
    parent.take(failure[0])
    [running] = notices(parent.take(failure[1]))
    assert (running.task, running.sub_flow and running.sub_flow.running) == ("Z", True)


def notices_of_child(*, failed: bool) -> list[CallbackReceived]:
    link = ParentLink(execution_id="mid", task="A", attempt=1, pattern="flow_sync")
    child = Scenario(flow(fn("C")), execution_id="child", parent=link)
    child.submit()
    return notices(child.finish("C", succeeded=not failed)) + notices(child.redo())


def test_a_delivered_notice_that_the_sub_flow_runs_is_no_longer_owed() -> None:
    _, child = failed_family()
    child.redo(failed_only=True)
    child.take(NoticeDelivered(at_ms=0, kind="parent", attempt=1))  # that of the end before it
    assert not child.changed
    child.take(NoticeDelivered(at_ms=0, kind="redone", attempt=1))
    assert child.state.parent_notice is None


def test_a_parent_whose_task_succeeded_keeps_the_outcome_that_it_took() -> None:
    parent, child = family(fn("A", "flow_sync", outs="y"))
    child.finish("C", {"x": 1})
    tell(child.finish("D", {"y": 2}), parent)
    assert (parent.status, parent.context["y"]) == ("SUCCEED", 2)
    tell(child.redo("D", failed_only=True), parent)
    tell(child.finish("D", {"y": 3}), parent)
    assert child.context["y"] == 3
    assert (parent.status, parent.context["y"]) == ("SUCCEED", 2)
