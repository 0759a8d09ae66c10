"""What an owner has for a dispatcher leaves in turn by workspace, and begins there in portions."""

import asyncio
from typing import Final

from rillflow.core.commands import DispatchTask
from rillflow.gateways.outbound.portions import Portions
from rillflow.ports.gateway import DispatchRequest
from rillflow.runtime.dispatch.order_queue import LONGEST_ORDER_BYTES, MOST_IN_ORDER, OrderQueue

LONG_S: Final = 60
QUARTER: Final = LONGEST_ORDER_BYTES // 4


def asked(execution: str, number: int, size_bytes: int = 10) -> DispatchRequest:
    return DispatchTask(
        execution_id=execution,
        task=f"t{number}",
        attempt=1,
        pattern="task_sync",
        resource_name="http://127.0.0.1:1/f",
        input=b" " * size_bytes,
    )


def names(requests: list[DispatchRequest]) -> list[str]:
    return [f"{each.execution_id} {each.task}" for each in requests]


def test_workspaces_have_orders_in_turn() -> None:
    queue = OrderQueue()
    queue.add(asked("a:1", number, QUARTER) for number in range(5))
    queue.add([asked("b:1", 0), asked("b:1", 1), asked("c:1", 0, QUARTER)])
    assert names(queue.take()) == ["a:1 t0", "b:1 t0", "c:1 t0", "a:1 t1", "b:1 t1"]
    assert names(queue.take()) == ["a:1 t2", "a:1 t3", "a:1 t4"]
    assert not queue
    assert queue.take() == []


def test_an_order_has_few_requests_and_one_that_is_too_large_goes_alone() -> None:
    queue = OrderQueue()
    queue.add([asked("a:1", 0, 2 * LONGEST_ORDER_BYTES)])
    queue.add(asked("a:1", number) for number in range(1, MOST_IN_ORDER + 2))
    assert len(queue.take()) == 1
    order = queue.take()
    assert len(order) == MOST_IN_ORDER
    queue.put_back(order)
    assert names(queue.take()) == names(order), "those that were not sent are the next again"
    assert len(queue) == 1


async def test_a_turn_begins_a_portion_and_workspaces_have_turns() -> None:
    portions, begun = Portions(1_000), list[list[str]]()

    async def begin(name: str) -> None:
        if not portions.takes(600):
            await portions.wait(f"{name}:f_c_1", 600)
        begun[-1].append(name)

    async def count_turns() -> None:
        while len(begun) < 5:
            begun.append([])
            await asyncio.sleep(0)

    turns = asyncio.create_task(count_turns())
    works = [asyncio.create_task(begin(name)) for name in ("a", "a", "a", "a", "a", "b", "c")]
    await asyncio.wait_for(asyncio.gather(*works, turns), LONG_S)
    assert [names for names in begun if names] == [["a", "a"], ["a", "b"], ["c", "a"], ["a"]]


async def test_a_work_that_was_cancelled_takes_no_turn() -> None:
    portions = Portions(1_000)
    assert portions.takes(3_000)
    waiting = [asyncio.create_task(portions.wait(f"{name}:1", 900)) for name in "abcd"]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.wait_for(asyncio.gather(*waiting[2:]), LONG_S)
    assert [each.cancelled() for each in waiting] == [True, True, False, False]
    await asyncio.sleep(0)
    assert portions.takes(1)
