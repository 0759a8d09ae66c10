"""Callbacks of one execution are unpacked two at a time, and those of others meanwhile."""

import asyncio

import pytest

from rillflow.errors import OverloadedError
from serve.limits.unpacking import (
    AT_ONCE,
    MOST_BYTES,
    MOST_BYTES_OF_EXECUTION,
    MOST_WAITING,
    UnpackingTurns,
)


class Readers:
    """Callbacks that are read until a test lets them end."""

    def __init__(self) -> None:
        self.turns = UnpackingTurns()
        self.reading: list[str] = []
        self.let_go = asyncio.Event()

    async def read(self, execution_id: str, size_bytes: int = 1) -> None:
        async with self.turns.turn(execution_id, size_bytes):
            self.reading.append(execution_id)
            await self.let_go.wait()


async def test_two_of_an_execution_are_read_at_once_and_another_one_waits_for_none() -> None:
    readers = Readers()
    tasks = [asyncio.create_task(readers.read("a")) for _ in range(5)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(readers.read("b")))
    await asyncio.sleep(0)
    assert readers.reading == ["a"] * AT_ONCE + ["b"]
    readers.let_go.set()
    await asyncio.gather(*tasks)
    assert sorted(readers.reading) == ["a"] * 5 + ["b"]


async def test_beyond_a_number_that_wait_more_are_told_to_come_again() -> None:
    readers = Readers()
    tasks = [asyncio.create_task(readers.read("a")) for _ in range(AT_ONCE + MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="258 large or packed callbacks of this execution"):
        await readers.read("a")
    tasks[-1].cancel()
    readers.let_go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await readers.read("a")
    assert len(readers.reading) == AT_ONCE + MOST_WAITING


async def test_executions_and_workspaces_have_a_part_of_the_bytes_that_wait() -> None:
    readers, each = Readers(), MOST_BYTES_OF_EXECUTION // 2
    of_evil = MOST_BYTES // 2 // each
    tasks = [
        asyncio.create_task(readers.read(f"evil:{number // 2}", each)) for number in range(of_evil)
    ]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 large or packed callbacks of this execution"):
        await readers.read("evil:0", 1)
    with pytest.raises(OverloadedError, match="too many large callbacks are being read"):
        await readers.read("evil:new", each)
    tasks += [asyncio.create_task(readers.read("shop:a", each)) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    readers.let_go.set()
    await asyncio.gather(*tasks)
    await readers.read("evil:0", 2 * MOST_BYTES)
    assert len(readers.reading) == of_evil + 3
