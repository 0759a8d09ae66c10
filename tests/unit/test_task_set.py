"""A set of tasks keeps them alive, forgets those that end, and cancels what is left."""

import asyncio
import gc

import pytest

from rillflow.task_set import TaskSet


async def test_a_task_that_nobody_else_holds_lives_until_its_end() -> None:
    tasks, goes_on = TaskSet[None](), asyncio.Event()
    ended: list[str] = []

    async def work() -> None:
        await goes_on.wait()
        ended.append("work")

    tasks.start(work())
    await asyncio.sleep(0)
    gc.collect()
    assert len(tasks) == 1
    goes_on.set()
    await tasks.wait()
    await asyncio.sleep(0)
    assert (ended, len(tasks)) == (["work"], 0)


async def test_one_that_fails_hinders_no_other() -> None:
    tasks, goes_on = TaskSet[str](), asyncio.Event()

    async def fail() -> str:
        raise ValueError("broken")

    async def work() -> str:
        await goes_on.wait()
        return "done"

    failing, working = tasks.start(fail()), tasks.start(work())
    with pytest.raises(ValueError, match="broken"):
        await failing
    goes_on.set()
    assert await working == "done"


async def test_waiting_ends_with_its_time_and_cancels_nothing() -> None:
    tasks = TaskSet[None]()
    task = tasks.start(asyncio.Event().wait())  # type: ignore[arg-type]
    await tasks.wait(0.01)
    assert not task.done()
    await tasks.stop()
    assert task.cancelled()


async def test_stopping_cancels_also_what_begins_while_others_end() -> None:
    tasks = TaskSet[None]()
    begun: list[asyncio.Task[None]] = []

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    async def leave_something() -> None:
        try:
            await wait_for_ever()
        finally:
            begun.append(tasks.start(wait_for_ever()))

    tasks.start(leave_something())
    await asyncio.sleep(0)
    await tasks.stop()
    assert begun[0].cancelled()
    assert not len(tasks)
