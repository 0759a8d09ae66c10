"""Works that may take seconds have one thread, which takes those of all keys in turn."""

import asyncio
import threading
from typing import Any

import pytest

from rillflow.errors import OverloadedError
from rillflow.gateways.outbound.fair_thread import FairThread


async def begun(thread: FairThread, key: str, order: list[str]) -> "asyncio.Task[None]":
    task = asyncio.create_task(thread.run(key, lambda: order.append(key)))
    await asyncio.sleep(0)
    return task


async def test_each_key_has_its_turn_however_many_works_others_have() -> None:
    thread, gate = FairThread(most=9, most_of_one=4, name="tests"), threading.Event()
    order: list[str] = []
    running = asyncio.create_task(thread.run("first", gate.wait))
    await asyncio.sleep(0)
    tasks = [await begun(thread, key, order) for key in ("a", "a", "a", "b", "c", "b")]
    gate.set()
    await asyncio.gather(running, *tasks)
    assert order == ["a", "b", "c", "a", "b", "a"]


async def test_places_are_limited_for_a_key_and_for_all_and_a_first_work_has_its_own() -> None:
    thread, gate = FairThread(most=3, most_of_one=2, name="tests"), threading.Event()
    order: list[str] = []
    held: list[asyncio.Task[Any]] = [
        asyncio.create_task(thread.run("a", gate.wait)) for _ in range(2)
    ]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 tests of a are under way or waiting; try again"):
        await thread.run("a", gate.wait)
    held += [await begun(thread, key, order) for key in "bcde"]
    with pytest.raises(OverloadedError, match="6 tests are under way or waiting; try again"):
        await thread.run("b", gate.wait)
    with pytest.raises(OverloadedError, match="6 tests are"):
        await thread.run("f", gate.wait)
    gate.set()
    await asyncio.gather(*held)
    assert order == list("bcde")
    await thread.run("f", gate.wait)


async def test_a_work_that_is_given_up_is_not_begun_and_one_that_fails_tells_why() -> None:
    thread, gate = FairThread(most=3, most_of_one=3, name="tests"), threading.Event()
    order: list[str] = []
    running = asyncio.create_task(thread.run("a", gate.wait))
    await asyncio.sleep(0)
    given_up = await begun(thread, "a", order)
    given_up.cancel()
    await asyncio.wait({given_up})
    await asyncio.sleep(0)  # tells the thread's queue
    gate.set()
    assert await running
    with pytest.raises(ValueError, match="no"):
        await thread.run("a", lambda: int("no"))
    assert order == []


async def test_a_work_that_is_given_up_while_it_waits_frees_its_place() -> None:
    thread, gate = FairThread(most=3, most_of_one=2, name="tests"), threading.Event()
    order: list[str] = []
    running = asyncio.create_task(thread.run("a", gate.wait))
    await asyncio.sleep(0)
    for _ in range(5):
        given_up = await begun(thread, "a", order)
        given_up.cancel()
        await asyncio.wait({given_up})
        await asyncio.sleep(0)
    kept = await begun(thread, "a", order)
    gate.set()
    await asyncio.gather(running, kept)
    assert order == ["a"]


async def test_who_has_a_result_may_come_with_the_next_work_at_once() -> None:
    thread = FairThread(most=3, most_of_one=1, name="tests")
    assert [await thread.run("a", lambda: 1) for _ in range(500)] == [1] * 500


async def test_a_work_that_ends_its_thread_has_its_caller_told_and_others_go_on() -> None:
    thread = FairThread(most=8, most_of_one=8, name="works")
    with pytest.raises(GeneratorExit):
        await thread.run("a", _leave)
    assert await thread.run("a", lambda: "next") == "next"


async def test_a_key_has_half_of_several_threads_and_all_of_its_works_are_done() -> None:
    threads = FairThread(most=99, most_of_one=99, name="tests", threads=4)
    gate, begun_works = threading.Event(), threading.Semaphore(0)
    running: list[int] = []

    def hold() -> None:
        running.append(1)
        begun_works.release()
        gate.wait()

    held = [asyncio.create_task(threads.run("a", hold)) for _ in range(20)]
    await asyncio.sleep(0)
    for _ in range(2):
        await asyncio.to_thread(begun_works.acquire)
    try:
        async with asyncio.timeout(10):
            # Others have a thread at once, so nothing more of this key has begun meanwhile.
            assert [await threads.run(key, lambda: len(running)) for key in "bcbcbc"] == [2] * 6
    finally:
        gate.set()
    await asyncio.gather(*held)
    assert len(running) == 20
    assert not threads._waiting
    assert not threads._running
    assert not threads._taken


def _leave() -> None:
    raise GeneratorExit
