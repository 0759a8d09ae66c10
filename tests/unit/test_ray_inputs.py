"""Inputs of Ray calls under way take so many bytes at most; calls wait for room in their order."""

import asyncio
from collections.abc import Callable

from rillflow.ray_tasks.limits.input_budget import InputBudget


class Calls:
    """Calls that hold room until they are ended."""

    def __init__(self, most_bytes: int) -> None:
        self._budget = InputBudget(most_bytes)
        self.made: list[str] = []

    def call(self, name: str, size_bytes: int) -> Callable[[], bool]:
        """Begin a call, and return what ends it, also while it waits."""

        async def run() -> None:
            async with self._budget.room(size_bytes):
                self.made.append(name)
                await asyncio.Event().wait()

        return asyncio.create_task(run()).cancel

    async def settle(self) -> list[str]:
        for _ in range(10):
            await asyncio.sleep(0)
        return self.made


async def test_a_call_waits_until_there_is_room_and_passes_none_that_waits() -> None:
    calls = Calls(10)
    first, _ = calls.call("first", 6), calls.call("second", 4)
    calls.call("third", 5)
    calls.call("small", 1)
    assert await calls.settle() == ["first", "second"]
    first()
    assert await calls.settle() == ["first", "second", "third", "small"]


async def test_a_call_that_leaves_while_it_waits_takes_no_room() -> None:
    calls = Calls(10)
    first = calls.call("first", 10)
    await calls.settle()
    gone = calls.call("gone", 10)
    calls.call("next", 10)
    await calls.settle()
    gone()
    await calls.settle()
    first()
    assert await calls.settle() == ["first", "next"]


async def test_a_call_that_leaves_as_it_is_let_in_gives_its_room_to_the_next() -> None:
    calls = Calls(10)
    first = calls.call("first", 10)
    await calls.settle()
    gone = calls.call("gone", 10)
    calls.call("next", 10)
    await calls.settle()
    first()
    await asyncio.sleep(0)
    gone()
    assert (await calls.settle())[-1] == "next"


async def test_an_input_that_is_larger_than_all_room_goes_alone() -> None:
    calls = Calls(10)
    first = calls.call("first", 1)
    calls.call("large", 11)
    assert await calls.settle() == ["first"]
    first()
    assert await calls.settle() == ["first", "large"]
