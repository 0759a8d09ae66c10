"""Ray tasks wait in a fair order, and as many stand in Ray's queue as the cluster has room for.

Those with large inputs also wait for room for these, and hold no place meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import pytest

from rillflow.gateways.limits.concurrency import Caller
from rillflow.ray_tasks.limits.input_room import InputRoom
from rillflow.ray_tasks.limits.node_resources import demand_of
from rillflow.ray_tasks.limits.task_queue import TaskQueue
from rillflow.ray_tasks.limits.task_room import MOST_IN_VAIN, MOST_UNKNOWN

WAIT_S: Final = 60.0
NODES: Final[list[dict[str, Any]]] = [
    {"Alive": True, "Resources": {"CPU": 4.0, "memory": 8e9}, "Labels": {"zone": "a"}},
    {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}, "Labels": {"zone": "b"}},
    {"Alive": False, "Resources": {"CPU": 64.0, "disk": 8.0}, "Labels": {"zone": "c"}},
]
ONE: Final = Caller("one", "one:a")
TWO: Final = Caller("two", "two:a")
MOST_BYTES: Final = 40


class Calls:
    """Calls by name, each of which lasts until it is ended."""

    def __init__(self, nodes: list[dict[str, Any]] | None) -> None:
        self.nodes = NODES if nodes is None else nodes
        self.queue = TaskQueue(lambda: self.nodes, InputRoom(MOST_BYTES))
        self.begun: list[str] = []
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    async def ask(
        self,
        *names: str,
        caller: Caller = ONE,
        is_begun: Any = None,
        large_bytes: int = 0,
        **options: Any,
    ) -> None:
        """Ask for places."""
        for name in names:
            place = self.queue.place(demand_of(options), caller, is_begun, large_bytes=large_bytes)
            self._calls[name] = asyncio.create_task(self._hold(name, place))
        await self.turns()

    async def end(self, *names: str, one_by_one: bool = True) -> None:
        """End calls, or give up those that wait."""
        ended = [self._calls.pop(name) for name in names]
        for call in ended:
            call.cancel()
            if one_by_one:
                await self.turns()
        await self.turns()
        assert all(call.cancelled() for call in ended)

    async def until_begun(self, count: int) -> None:
        """Wait until so many calls have begun."""
        async with asyncio.timeout(WAIT_S):
            while len(self.begun) < count:
                self._news.clear()
                await self._news.wait()

    async def turns(self) -> None:
        """Let go on what can."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def close(self) -> None:
        """End all."""
        for call in self._calls.values():
            call.cancel()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        self.queue.close()

    async def _hold(self, name: str, place: AbstractAsyncContextManager[None]) -> None:
        async with place:
            self.begun.append(name)
            self._news.set()
            await asyncio.Event().wait()


@asynccontextmanager
async def calls(nodes: list[dict[str, Any]] | None = None) -> AsyncIterator[Calls]:
    """Know the nodes from the start."""
    under_way = Calls(nodes)
    under_way.queue.learn(under_way.nodes)
    try:
        yield under_way
    finally:
        await under_way.close()


def named(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 10),
        ({"num_cpus": 0.5}, 20),
        ({"num_cpus": 2}, 6),
        ({"num_cpus": 3}, 4),
        ({"num_cpus": 0, "num_gpus": 0.5}, 4),
        ({"memory": 3e9}, 4),
        ({"label_selector": {"zone": "a"}}, 6),
        ({"label_selector": {"zone": "!a"}}, 6),
        ({"label_selector": {"zone": "in(a, b)"}}, 10),
        ({"label_selector": {"zone": "!in(a, b)"}}, 2),
        ({"num_cpus": 5}, 2),
        ({"resources": {"disk": 1}}, 2),
        ({"label_selector": {"zone": "c"}}, 2),
        ({"num_cpus": 0}, 50),
    ],
)
async def test_as_many_stand_in_rays_queue_as_fit_on_the_nodes_and_a_quarter_or_two_more(
    options: dict[str, Any], most: int
) -> None:
    async with calls() as under_way:
        await under_way.ask(*named("call", 50), **options)
        assert under_way.begun == named("call", most)


async def test_calls_that_ask_for_different_things_share_what_there_is() -> None:
    async with calls() as under_way:
        for number in range(40):
            await under_way.ask(*named(f"{number} ", 40), num_cpus=1 + number / 1_000)
        # The first kind has 10; then another one has what is asked for beyond what there is.
        assert len(under_way.begun) <= 8 + 2 + 3


async def test_what_no_node_can_run_takes_no_room_from_others_and_is_told() -> None:
    async with calls() as under_way:
        for number in range(100):
            await under_way.ask(*named(f"vain {number} ", 5), num_cpus=5 + number)
        assert len(under_way.begun) == MOST_IN_VAIN
        await under_way.ask("other", caller=TWO, num_cpus=99)
        assert under_way.begun[-1] == "other"
        await under_way.end("other")
        await under_way.ask(*named("call", 8), caller=ONE)
        assert under_way.begun[-8:] == named("call", 8)
        usage = under_way.queue.usage()
        assert (usage.under_way, usage.waiting) == (8, 500)


async def test_what_a_new_node_can_run_begins() -> None:
    async with calls() as under_way:
        await under_way.ask(*named("disk", 9), num_cpus=0, resources={"disk": 1})
        assert under_way.begun == named("disk", 2)
        under_way.queue.learn([{**node, "Alive": True} for node in NODES])
        await under_way.turns()
        assert under_way.begun == named("disk", 9)


async def test_the_nodes_are_looked_at_once_there_are_calls() -> None:
    under_way = Calls(None)
    try:
        await under_way.ask(*named("call", 9))
        await under_way.until_begun(9)
    finally:
        await under_way.close()


async def test_a_few_begin_while_the_nodes_are_not_known() -> None:
    under_way = Calls([])
    try:
        await under_way.ask(*named("call", 9))
        assert under_way.begun == named("call", MOST_UNKNOWN)
    finally:
        await under_way.close()


async def test_the_workspace_with_the_least_share_is_next() -> None:
    async with calls() as under_way:
        await under_way.ask(*named("first", 100))
        await under_way.ask(*named("second", 100), caller=Caller("two", "two:a"))
        await under_way.ask(*named("third", 100), caller=Caller("three", "three:a"), num_cpus=2)
        await under_way.end(*named("first", 10))
        # A call of the third asks for as much as two others.
        begun = under_way.begun[10:]
        first, second, third = (sum(each.startswith(kind) for each in begun) for kind in "fst")
        assert min(first, second, third) > 0
        assert max(first, second, 2 * third) - min(first, second, 2 * third) <= 2


async def test_executions_of_a_workspace_have_their_turns() -> None:
    async with calls() as under_way:
        await under_way.ask(*named("first", 100), caller=Caller("one", "one:a"))
        await under_way.ask(*named("second", 3), caller=Caller("one", "one:b"))
        for number in range(6):
            await under_way.end(f"first{number}")
        assert [each for each in under_way.begun[10:] if each.startswith("second")]


async def test_a_call_that_gives_up_leaves_its_place_to_the_next() -> None:
    async with calls() as under_way:
        await under_way.ask(*named("call", 12))
        await under_way.end("call10", "call0", "call11", "call1")
        await under_way.ask("last")
        assert under_way.begun == [*named("call", 10), "call11", "last"]
        await under_way.end(*named("call", 10)[2:], "last")
        usage = under_way.queue.usage()
        assert (usage.under_way, usage.waiting) == (0, 0)


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_call_that_ray_runs_already_does_not_wait(*, is_there: bool) -> None:
    async def is_begun() -> bool:
        return is_there

    async with calls() as under_way:
        await under_way.ask(*named("call", 12))
        await under_way.ask("begun", is_begun=is_begun)
        assert ("begun" in under_way.begun) is is_there


async def test_a_call_that_gives_up_as_its_turn_comes_leaves_it_to_the_next() -> None:
    async with calls() as under_way:
        await under_way.ask(*named("call", 13))
        await under_way.end("call0", "call10", one_by_one=False)
        assert under_way.begun == [*named("call", 10), "call11"]
        assert under_way.queue.usage().waiting == 1


@pytest.mark.parametrize("options", [{"num_cpus": 0}, {"num_cpus": 99}, {"num_cpus": 0.0001}])
async def test_calls_that_ask_for_nothing_or_too_much_leave_one_after_the_other(
    options: dict[str, Any],
) -> None:
    async with calls() as under_way:
        await under_way.ask(*named("call", 5), **options)
        await under_way.end(*named("call", 5))
        usage = under_way.queue.usage()
        assert (usage.under_way, usage.waiting) == (0, 0)
        await under_way.ask(*named("again", 2), **options)
        assert under_way.begun[-2:] == named("again", 2)


# -- large inputs --------------------------------------------------------------------------------


async def test_what_waits_for_room_for_its_input_keeps_no_place_from_others() -> None:
    async with calls() as under_way:
        await under_way.ask(*named("large", 9), caller=ONE, large_bytes=10)
        await under_way.ask(*named("small", 9), caller=TWO)
        assert under_way.begun == [*named("large", 3), *named("small", 5)]


async def test_a_workspace_leaves_room_for_the_large_inputs_of_others() -> None:
    async with calls() as under_way:
        for number in range(9):
            names = named(f"vain {number} ", 2)
            await under_way.ask(*names, large_bytes=10, num_cpus=number, num_gpus=8)
        assert len(under_way.begun) == 3
        await under_way.ask("large", caller=TWO, large_bytes=10)
        assert under_way.begun[-1] == "large"


async def test_large_inputs_begin_in_their_order_as_others_end_or_give_up() -> None:
    async with calls() as under_way:
        await under_way.ask(*named("large", 6), large_bytes=15)
        assert under_way.begun == named("large", 2)
        await under_way.end("large2", "large0")
        assert under_way.begun == ["large0", "large1", "large3"]
        await under_way.end("large1", "large4", one_by_one=False)
        assert under_way.begun == ["large0", "large1", "large3", "large5"]
        await under_way.end("large3", "large5")
        await under_way.ask(*named("again", 3), large_bytes=15)
        assert under_way.begun[-2:] == named("again", 2)


async def test_an_input_that_is_larger_than_all_room_may_go() -> None:
    async with calls() as under_way:
        await under_way.ask(*named("large", 2), large_bytes=10 * MOST_BYTES)
        assert under_way.begun == ["large0"]
        await under_way.end("large0")
        assert under_way.begun == named("large", 2)
