"""Orders to many sub-flows at once take time proportional to their number.

Sets and lists are walked over in C, where no lines are counted, so processor time is
compared: four times as many sub-flows take four times as long; a square would be sixteen. The
least times are compared, since a busy machine makes some longer.
"""

import gc
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from rillflow.core.commands import CancelChild, RedoChild
from rillflow.testing import Scenario
from tests.machine_speed import tries
from tests.spec.notation import Json, each, flow, fn

FEW: Final = 1_000
MANY: Final = 4 * FEW
MOST_TIMES: Final = 9
ROUNDS: Final = 3


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def started(number: int) -> Scenario:
    """A foreach whose iterations each wait for a sub-flow, with a task behind it."""
    sub_flow = fn("A", "flow_sync", to="B")
    run = Scenario(flow(each("each", "list", sub_flow, fn("B"), ins="list")))
    run.submit({"list": list(range(number))})
    for index in range(number):
        run.answer(f"each_{index}-A", {"execution_id": f"the-sub-flow-{index}"})
    return run


def failed(number: int) -> Scenario:
    run = started(number)
    for index in range(number):
        run.finish(f"each_{index}-A", succeeded=False, msg="no")
    return run


def cancelled(number: int) -> Scenario:
    run = started(number)
    run.cancel()
    return run


def redo(run: Scenario) -> list[Json]:
    return run.redo(failed_only=True)


def cancel(run: Scenario) -> list[Json]:
    return run.cancel()


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("prepare", "act", "ordered"),
    [(failed, redo, RedoChild), (started, cancel, CancelChild), (cancelled, redo, None)],
    ids=["redo", "cancel", "redo of what is being cancelled"],
)
def test_an_order_for_each_of_many_sub_flows_takes_no_square(
    prepare: Callable[[int], Scenario],
    act: Callable[[Scenario], list[Json]],
    ordered: type | None,
) -> None:
    def took_s(number: int) -> float:
        run = prepare(number)
        begun_s = time.thread_time()
        wanted = act(run)
        spent_s = time.thread_time() - begun_s
        assert ordered is None or sum(isinstance(each, ordered) for each in wanted) == number
        return spent_s

    few_s = min(took_s(FEW) for _ in range(ROUNDS))
    for _ in tries():
        many_s = took_s(MANY)
        if many_s < MOST_TIMES * few_s:
            break
        few_s = min(few_s, took_s(FEW))
    else:
        pytest.fail(f"{FEW} take {few_s:.3f} s, and {MANY} take {many_s:.3f} s")
