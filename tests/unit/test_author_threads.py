"""Who sends large definitions holds up nobody who sends an ordinary one."""

import asyncio
import threading

from rillflow.runtime.aio.author_threads import SHORT_TEXT_BYTES, AuthorThreads


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
