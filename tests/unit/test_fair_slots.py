"""Slots of calls go round among workspaces and executions, and nobody may have all of them."""

import asyncio
from typing import Final

import pytest
from msgspec.structs import replace

from rillflow.gateways.limits.concurrency import (
    LEAST_SHARED,
    Caller,
    FairSlots,
    caller_of,
)
from rillflow.gateways.limits.host_slots import HostSlots
from rillflow.gateways.limits.rates import Rates
from tests.loopback import attempt

LIMIT: Final = 256


def caller(workspace: str, execution: int = 1) -> Caller:
    return Caller(workspace, f"{workspace}:flow_c_{execution}")


class Calls:
    """Takes slots and holds them until they are given back."""

    def __init__(self, limit: int) -> None:
        self.slots = FairSlots(limit)
        self.granted: list[Caller] = []

    async def ask(self, who: Caller, times: int = 1) -> int:
        """Ask for slots; return how many were given at once."""
        before = self.granted.count(who)
        self.tasks = [asyncio.create_task(self._take(who)) for _ in range(times)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.granted.count(who) - before

    async def _take(self, who: Caller) -> None:
        await self.slots.acquire(who)
        self.granted.append(who)

    async def give_back(self, who: Caller, times: int = 1) -> list[Caller]:
        """Give slots back; return who has got them, in order."""
        before = len(self.granted)
        for _ in range(times):
            self.slots.release(who)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return self.granted[before:]


async def test_a_submission_that_wants_everything_leaves_slots_to_other_executions() -> None:
    calls = Calls(LIMIT)
    first = await calls.ask(caller("a", 1), 10 * LIMIT)
    assert LIMIT * 3 // 4 < first < LIMIT
    assert await calls.ask(caller("a", 2)) == 1
    assert await calls.ask(caller("b", 1)) == 1


async def test_a_workspace_with_many_executions_leaves_slots_to_the_others() -> None:
    calls = Calls(LIMIT)
    for number in range(100):
        await calls.ask(caller("a", number), 100)
    assert LIMIT * 3 // 4 < len(calls.granted) < LIMIT
    for workspace in ("b", "c"):
        assert await calls.ask(caller(workspace), 10 * LIMIT) >= 1


async def test_what_is_given_back_goes_round() -> None:
    calls = Calls(2)
    hog = caller("a", 1)
    assert await calls.ask(hog, 10) == 2
    for who in (caller("a", 2), caller("b", 1), caller("b", 2)):
        assert await calls.ask(who, 2) == 0
    order = await calls.give_back(hog, 2)
    order += [each for who in list(order) for each in await calls.give_back(who)]
    assert {each.workspace for each in order[:2]} == {"a", "b"}
    assert {caller("a", 2), caller("b", 1)} < set(order)


@pytest.mark.parametrize("limit", range(LEAST_SHARED, 300))
async def test_one_execution_alone_has_three_quarters_at_least(limit: int) -> None:
    assert limit * 3 // 4 <= await Calls(limit).ask(caller("a"), limit) < limit


@pytest.mark.parametrize("limit", [1, 2, LEAST_SHARED - 1])
async def test_of_a_few_slots_one_caller_may_have_all(limit: int) -> None:
    assert await Calls(limit).ask(caller("a"), 2 * limit) == limit


@pytest.mark.parametrize("limit", [LEAST_SHARED, 100, 1024])
async def test_every_slot_is_given_out_again(limit: int) -> None:
    calls = Calls(limit)
    everybody = [caller(workspace, number) for workspace in "abc" for number in range(5)]
    for who in everybody:
        await calls.ask(who, limit)
    held = list(calls.granted)
    taken = len(held)
    while held:
        held += await calls.give_back(held.pop())
        assert len(held) <= limit
        taken = max(taken, len(calls.granted))
    assert taken == len(everybody) * limit


async def test_a_call_that_is_given_up_takes_no_slot() -> None:
    calls = Calls(1)
    await calls.ask(caller("a"))
    await calls.ask(caller("b"), 3)
    waiting = list(calls.tasks)
    await calls.ask(caller("c"))
    waiting[0].cancel()
    calls.slots.release(caller("a"))  # the second of b has it now
    waiting[1].cancel()
    waiting[2].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(0)
    assert calls.granted == [caller("a"), caller("c")]


async def test_slow_hosts_leave_calls_to_a_healthy_one() -> None:
    slots = HostSlots(per_host=LIMIT, total=4 * LIMIT, rates=Rates(None, {}))
    hog = caller("a")
    tasks = [
        asyncio.create_task(slots.acquire(f"http://slow{number % 5}", hog))
        for number in range(5 * 300)
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await slots.acquire("http://slow0", caller("b"))
        await slots.acquire("http://well", caller("a", 2))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_sub_flows_call_for_the_execution_that_began_them() -> None:
    request = attempt("http://a.test", execution_id="shop:below_c_2")
    route = (("shop:above_c_1", "ask", "flow_sync"), ("shop:mid_c_3", "ask", "flow_sync"))
    assert caller_of(request) == ("shop", "shop:below_c_2")
    assert caller_of(replace(request, route=route)) == ("shop", "shop:above_c_1")


@pytest.mark.parametrize("times", [1, 10, 1_000])
async def test_calls_that_are_given_up_leave_nothing_behind(times: int) -> None:
    calls = Calls(1)
    await calls.ask(caller("a"))
    await calls.ask(caller("b"), times)
    for task in calls.tasks:
        task.cancel()
    await asyncio.gather(*calls.tasks, return_exceptions=True)
    assert list(calls.slots.waiting()) == []
