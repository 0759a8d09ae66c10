"""A host gives its event loop back after some milliseconds of computation.

What waits then comes by workspace, and within one by execution, the one that has had the least
first: who submits long events holds up himself, and others by one event at a time.
"""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, Query, Reply
from rillflow.runtime.aio.fair_turns import COUNTED_S, LIGHT_TURNS, TURN_S, FairTurns, in_portions

GREEDY: Final = ExecutionId("w:greedy_c_1")
GREEDY_WORKSPACE: Final = [ExecutionId(f"greedy:flow_c_{number}") for number in range(50)]
OTHER: Final = ExecutionId("w:other_c_1")
LONG_S: Final = 0.2
LONGER_THAN_THIS_TEST_S: Final = 1_000.0


def call(execution_id: ExecutionId) -> Call:
    return Query(execution_id=execution_id, kind="brief")


class Handling:
    """Handles calls in portions; each of the greedy execution takes long, others nearly nothing."""

    def __init__(self, long_s: float = LONG_S) -> None:
        self._now_s = 0.0
        self._long_s = long_s
        self.turns = FairTurns(cpu_s=lambda: self._now_s, clock_s=lambda: self._now_s)
        self.handled: list[ExecutionId] = []
        self.numbers: list[int] = []
        self.portions: list[int] = []
        self.third = asyncio.Event()

    def _handle(self, each: Call) -> Reply:
        is_long = each.execution_id in {GREEDY, *GREEDY_WORKSPACE}
        self._now_s += self._long_s if is_long else 0.0001
        self.handled.append(each.execution_id)
        if len(self.handled) == 3:
            self.third.set()
        self.numbers.append(id(each))
        return Reply(body=each.execution_id.encode())

    async def take(self, calls: Sequence[Call]) -> list[Reply]:
        await self.turns.wait(calls[0].execution_id)
        replies = self.turns.take(calls, self._handle, whole=False)
        self.portions.append(len(replies))
        await asyncio.sleep(0)
        return replies

    async def batch(self, *execution_ids: ExecutionId) -> list[Reply]:
        return await in_portions([call(each) for each in execution_ids], self.take)


async def test_a_batch_of_short_events_is_one_portion() -> None:
    handling = Handling()
    replies = await handling.batch(*[OTHER] * 200)
    assert handling.portions == [200]
    assert len(replies) == 200


async def test_an_empty_batch_has_no_replies() -> None:
    assert await Handling().batch() == []


async def test_a_long_event_ends_its_portion() -> None:
    handling = Handling()
    await handling.batch(*[GREEDY] * 5)
    assert handling.portions == [1] * 5


async def test_many_short_events_end_a_portion_too() -> None:
    handling = Handling(long_s=0.0004)
    await handling.batch(*[GREEDY] * 200)
    assert len(handling.portions) >= 3
    assert max(handling.portions) <= 70


async def test_replies_come_in_the_order_of_the_batch_and_others_go_first() -> None:
    handling = Handling()
    batch = [GREEDY, GREEDY, OTHER, GREEDY, OTHER]
    replies = await handling.batch(*batch)
    assert [reply.body for reply in replies] == [each.encode() for each in batch]
    assert handling.handled == [GREEDY, OTHER, OTHER, GREEDY, GREEDY]


async def test_events_of_one_execution_keep_their_order() -> None:
    handling = Handling()
    calls = [call(GREEDY if number % 3 else OTHER) for number in range(30)]
    await in_portions(calls, handling.take)
    for execution_id in (GREEDY, OTHER):
        sent = [id(each) for each in calls if each.execution_id == execution_id]
        assert [number for number in handling.numbers if number in set(sent)] == sent


async def test_of_batches_that_come_together_one_event_is_handled_in_a_turn() -> None:
    handling = Handling()
    seen: list[int] = []

    async def look() -> None:
        while len(handling.handled) < 20:
            seen.append(len(handling.handled))
            await asyncio.sleep(0)

    await asyncio.gather(look(), *(handling.batch(GREEDY) for _ in range(20)))
    assert max(later - earlier for earlier, later in pairwise(seen)) == 1


async def test_an_event_of_another_execution_passes_those_that_wait() -> None:
    handling = Handling()
    greedy = [asyncio.create_task(handling.batch(GREEDY)) for _ in range(50)]
    await handling.third.wait()
    await handling.batch(OTHER)
    assert len(handling.handled) <= 6
    await asyncio.gather(*greedy)
    assert len(handling.handled) == 51


async def test_all_executions_of_a_workspace_hold_up_another_by_one_event_at_a_time() -> None:
    handling = Handling()
    greedy = [asyncio.create_task(handling.batch(each)) for each in GREEDY_WORKSPACE]
    await handling.third.wait()
    for _ in range(5):
        before = len(handling.handled)
        await handling.batch(OTHER)
        assert len(handling.handled) - before <= 1 + 2, "the event under way, or the oldest"
    await asyncio.gather(*greedy)
    assert len(handling.handled) == 55


async def test_within_a_workspace_the_execution_that_has_had_least_comes_first() -> None:
    handling = Handling()
    first, second, *_ = GREEDY_WORKSPACE
    waiting = [asyncio.create_task(handling.batch(first)) for _ in range(20)]
    await handling.third.wait()
    await handling.batch(second)
    assert handling.handled.index(second) <= 5
    await asyncio.gather(*waiting)


async def test_in_a_batch_other_workspaces_come_before_the_one_that_filled_a_turn() -> None:
    handling = Handling()
    first, second, third, *_ = GREEDY_WORKSPACE
    await handling.batch(first, second, third, OTHER, first, OTHER)
    assert handling.handled == [first, OTHER, OTHER, second, third, first]


async def test_who_has_had_most_goes_on_also_while_others_come_without_an_end() -> None:
    handling = Handling()
    greedy = asyncio.gather(*(handling.batch(GREEDY) for _ in range(5)))

    async def come() -> None:
        number = 0
        while not greedy.done():
            number += 1
            await handling.batch(ExecutionId(f"w:other_c_{number}"))

    await asyncio.wait_for(asyncio.gather(greedy, *(come() for _ in range(20))), 60)
    assert handling.handled.count(GREEDY) == 5


async def test_one_that_waits_no_longer_keeps_nobody() -> None:
    handling = Handling()
    waiting = [asyncio.create_task(handling.batch(GREEDY)) for _ in range(4)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    waiting[2].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(handling.handled) == 2
    state: Any = handling.turns
    for _ in range(2 * LIGHT_TURNS + 3):
        await asyncio.sleep(0)
    assert not state._waiting
    assert not state._spent_s
    assert not state.is_full


async def test_a_call_that_passes_through_the_loop_several_times_waits_for_one_long_event() -> None:
    handling = Handling()
    greedy = [asyncio.create_task(handling.batch(each)) for each in GREEDY_WORKSPACE * 2]
    await handling.third.wait()
    for _ in range(5):
        before = len(handling.handled)
        for _ in range(LIGHT_TURNS):
            await asyncio.sleep(0)
        assert len(handling.handled) - before <= 1
    await asyncio.gather(*greedy)


async def test_events_that_are_half_as_long_as_a_turn_leave_turns_between_too() -> None:
    handling = Handling(long_s=TURN_S / 2)

    async def go_on(execution_id: ExecutionId) -> None:
        for _ in range(10):
            await handling.batch(execution_id)

    greedy = asyncio.gather(*(go_on(each) for each in GREEDY_WORKSPACE[:8]))
    await handling.third.wait()
    while not greedy.done():
        before = len(handling.handled)
        for _ in range(LIGHT_TURNS):
            await asyncio.sleep(0)
        assert len(handling.handled) - before <= 2
    await greedy


async def test_while_calls_of_another_workspace_are_written_the_greedy_one_rests() -> None:
    handling = Handling(long_s=LONGER_THAN_THIS_TEST_S)
    greedy = [asyncio.create_task(handling.batch(each)) for each in GREEDY_WORKSPACE]
    await handling.third.wait()
    with handling.turns.in_hand(OTHER):
        before = len(handling.handled)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(handling.handled) - before <= 1
        await handling.batch(OTHER)
        assert handling.handled[-1] == OTHER
    await cancelled(greedy)


async def test_after_an_event_that_is_too_long_it_rests_if_others_have_written_lately() -> None:
    handling = Handling(long_s=LONGER_THAN_THIS_TEST_S)
    with handling.turns.in_hand(OTHER):
        """It is written at once."""
    greedy = [asyncio.create_task(handling.batch(each)) for each in GREEDY_WORKSPACE]
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(handling.handled) == 1
    await handling.batch(OTHER)
    assert handling.handled[1:] == [OTHER]
    await cancelled(greedy)


async def test_it_does_not_rest_for_others_after_a_turn_of_the_usual_length() -> None:
    handling = Handling(long_s=TURN_S + COUNTED_S / 10)
    with handling.turns.in_hand(OTHER):
        """It is written at once."""
    greedy = (handling.batch(each) for each in GREEDY_WORKSPACE)
    state: Any = handling.turns
    rested: list[bool] = []

    async def look() -> None:
        while len(handling.handled) < len(GREEDY_WORKSPACE):
            rested.append(state._rest is not None)
            await asyncio.sleep(0)

    await asyncio.gather(look(), *greedy)
    assert not any(rested)


async def test_it_rests_no_longer_than_it_has_held_the_loop() -> None:
    handling = Handling(long_s=0.03)
    with handling.turns.in_hand(OTHER):
        greedy = (handling.batch(each) for each in GREEDY_WORKSPACE[:5])
        await asyncio.wait_for(asyncio.gather(*greedy), 60)
    assert len(handling.handled) == 5


async def test_it_does_not_rest_for_calls_of_its_own() -> None:
    handling = Handling(long_s=LONGER_THAN_THIS_TEST_S)
    with handling.turns.in_hand(GREEDY_WORKSPACE[0]):
        greedy = (handling.batch(each) for each in GREEDY_WORKSPACE)
        await asyncio.wait_for(asyncio.gather(*greedy), 60)
    assert len(handling.handled) == 50


async def test_the_one_of_a_thousand_that_continues_is_found_at_once() -> None:
    handling = Handling()
    many = [ExecutionId(f"greedy:flow_c_{number}") for number in range(50, 1_050)]
    waiting = [asyncio.create_task(handling.batch(each)) for each in [GREEDY, *many]]
    await asyncio.sleep(0)
    state: Any = handling.turns
    looked: list[ExecutionId] = []
    state._waiting["greedy"] = Looked(state._waiting["greedy"], looked)
    await asyncio.gather(*waiting)
    assert len(looked) < 5 * len(many)


async def cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Looked(dict[Any, Any]):
    """Notes what is looked at while it is gone through."""

    def __init__(self, of: dict[Any, Any], looked: list[ExecutionId]) -> None:
        super().__init__(of)
        self._looked = looked

    def __iter__(self) -> Any:
        for each in super().__iter__():
            self._looked.append(each)
            yield each

    def values(self) -> Any:
        for each in self:
            yield self[each]
