"""The checker knows which parents wait in vain for a sub-flow that has told its outcome."""

import msgspec
import pytest

from rillflow.core.commands import NotifyParent, RedoChild
from rillflow.core.events import ParentLink, RedoRequested
from rillflow.testing import Scenario
from tests.simulation.mirror import waits_in_vain
from tests.spec.notation import Json, flow, fn, scenario, within


@pytest.fixture(name="family")
def _family() -> tuple[Scenario, Scenario]:
    """A parent, and the sub-flow that its task waits for."""
    parent = scenario(fn("A", "flow_sync", timeline=within(9)))
    parent.submit()
    link = ParentLink(
        execution_id=parent.state.execution_id, task="A", attempt=1, pattern="flow_sync"
    )
    child = Scenario(flow(fn("C")), execution_id="child", parent=link)
    child.submit()
    parent.answer("A", {"execution_id": "child"})
    return parent, child


def take_order(wanted: list[Json], child: Scenario) -> list[Json]:
    [order] = [want for want in wanted if isinstance(want, RedoChild)]
    return child.take(RedoRequested(at_ms=child.now_ms, failed_only=True, order=order.order))


def test_a_parent_that_has_not_taken_the_outcome_waits_in_vain(
    family: tuple[Scenario, Scenario],
) -> None:
    parent, child = family
    assert not waits_in_vain(parent.state, child.state)
    [notice] = [each for each in child.finish("C") if isinstance(each, NotifyParent)]
    assert waits_in_vain(parent.state, child.state)
    parent.take(msgspec.structs.replace(notice.callback, at_ms=parent.now_ms))
    assert not waits_in_vain(parent.state, child.state)


def test_a_parent_whose_redo_makes_the_sub_flow_tell_again_does_not_wait_in_vain(
    family: tuple[Scenario, Scenario],
) -> None:
    parent, child = family
    parent.timeout("A")
    [notice] = [each for each in child.finish("C") if isinstance(each, NotifyParent)]
    parent.take(msgspec.structs.replace(notice.callback, at_ms=parent.now_ms))
    assert not parent.changed
    parent.redo(failed_only=True)
    assert parent.statuses["A"] == "RUNNING"
    assert not waits_in_vain(parent.state, child.state)


def test_a_parent_whose_redo_the_sub_flow_has_taken_is_to_take_what_it_tells_then(
    family: tuple[Scenario, Scenario],
) -> None:
    parent, child = family
    parent.timeout("A")
    child.finish("C")
    wanted = take_order(parent.redo(failed_only=True), child)
    assert waits_in_vain(parent.state, child.state)
    [notice] = [each for each in wanted if isinstance(each, NotifyParent)]
    parent.take(msgspec.structs.replace(notice.callback, at_ms=parent.now_ms))
    assert not waits_in_vain(parent.state, child.state)
    assert parent.statuses["A"] == "SUCCEED"
