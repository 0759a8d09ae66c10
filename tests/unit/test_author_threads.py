"""Who sends large definitions holds up nobody who sends an ordinary one."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rillflow.gateways.outbound.fair_thread import FOR_SCHEMAS
from rillflow.runtime.aio.author_threads import FOR_DRY_RUNS, SHORT_TEXT_BYTES, AuthorThreads

WORK_S = 0.05


async def test_a_short_text_waits_for_no_long_one() -> None:
    threads, gate = AuthorThreads(), threading.Event()
    long = [
        asyncio.create_task(
            threads.run(gate.wait, sender="a", text_bytes=SHORT_TEXT_BYTES + 1 if n % 2 else None)
        )
        for n in range(10)
    ]
    await asyncio.sleep(0)
    assert await threads.run(lambda: 1, sender="a", text_bytes=SHORT_TEXT_BYTES) == 1
    assert not any(task.done() for task in long)
    gate.set()
    await asyncio.gather(*long)


async def test_senders_of_long_texts_take_turns() -> None:
    threads, gate = AuthorThreads(), threading.Event()
    order: list[str] = []
    running = asyncio.create_task(threads.run(gate.wait, sender="a", text_bytes=None))
    await asyncio.sleep(0)
    tasks = []
    for sender in "aaaabb":
        work = asyncio.create_task(
            threads.run(lambda name=sender: order.append(name), sender=sender, text_bytes=None)  # type: ignore[misc]
        )
        tasks.append(work)
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(running, *tasks)
    assert order == list("ababaa")


def compute() -> float:
    """Use some processor time, and return when that was over."""
    began_s = time.thread_time()
    while time.thread_time() - began_s < WORK_S:
        pass
    return time.monotonic()


def _long(work: Callable[[], Any]) -> Awaitable[Any]:
    return AUTHORS.run(work, sender="a", text_bytes=None)


AUTHORS = AuthorThreads()


@pytest.mark.parametrize(
    "run",
    [
        _long,
        lambda work: FOR_DRY_RUNS.run("a", work),
        lambda work: FOR_SCHEMAS.run("a", work),
    ],
)
async def test_after_a_long_work_others_have_the_interpreter_for_as_long(
    run: Callable[[Callable[[], Any]], Awaitable[Any]],
) -> None:
    over_s, next_s = await asyncio.gather(run(compute), run(time.monotonic))
    assert next_s - over_s >= WORK_S
