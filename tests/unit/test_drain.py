"""The drain of an actor: shut before it moves, and open again when it does not."""

import asyncio
from typing import Final

from rillflow.runtime.routing.message_gates import Drain

KIND: Final = "Answers"


class Endless:
    """Calls that do not end."""

    def __len__(self) -> int:
        return 1

    def unfinished(self) -> list[str]:
        return ["1 calls of e0"]


async def _answer() -> bytes:
    return b"answer"


def test_whoever_is_inside_finishes_and_whoever_comes_waits() -> None:
    async def scene() -> None:
        drain, may_end = Drain(), asyncio.Event()

        async def slow() -> bytes:
            await may_end.wait()
            return b"slow"

        inside = asyncio.create_task(drain.through(slow, KIND))
        await asyncio.sleep(0)
        shutting = asyncio.create_task(drain.shut())
        await asyncio.sleep(0)
        outside = asyncio.create_task(drain.through(_answer, KIND))
        await asyncio.sleep(0)
        may_end.set()
        assert await shutting
        assert await inside == b"slow"
        assert not outside.done()
        outside.cancel()

    asyncio.run(scene())


def test_a_drain_that_cannot_be_shut_in_time_is_open_again() -> None:
    async def scene() -> None:
        drain = Drain(patience_s=0.0)
        assert not await drain.shut(Endless())
        assert await drain.through(_answer, KIND) == b"answer"

    asyncio.run(scene())


def test_a_drain_that_cannot_be_shut_tells_who_is_inside() -> None:
    async def scene() -> None:
        drain, may_end = Drain(patience_s=0.0), asyncio.Event()

        async def slow() -> bytes:
            await may_end.wait()
            return b"slow"

        inside = [asyncio.create_task(drain.through(slow, kind)) for kind in ("Calls", KIND, KIND)]
        await asyncio.sleep(0)
        assert not await drain.shut(Endless())
        told = ["1 messages (Calls)", "2 messages (Answers)", "1 calls of e0"]
        assert drain.unfinished == told
        may_end.set()
        await asyncio.gather(*inside)
        assert await drain.shut()
        assert drain.unfinished == []

    asyncio.run(scene())


def test_a_shut_drain_opens_again_when_nobody_ends_the_actor() -> None:
    async def scene() -> None:
        drain = Drain(shut_s=0.0)
        assert await drain.shut()
        async with asyncio.timeout(60):
            assert await drain.through(_answer, KIND) == b"answer"

    asyncio.run(scene())


def test_a_drain_that_is_shut_twice_stays_shut_for_the_second_one() -> None:
    async def scene() -> None:
        drain = Drain(shut_s=60.0)
        assert await drain.shut()
        assert await drain.shut()
        outside = asyncio.create_task(drain.through(_answer, KIND))
        await asyncio.sleep(0)
        assert not outside.done()
        outside.cancel()

    asyncio.run(scene())


def test_who_waited_outside_is_not_let_in_when_the_drain_is_shut_again_at_once() -> None:
    async def scene() -> None:
        drain = Drain(patience_s=0.0)
        assert await drain.shut()
        outside = asyncio.create_task(drain.through(_answer, KIND))
        await asyncio.sleep(0)
        assert not await drain.shut(Endless())  # Now it is open, for less than a turn.
        assert await drain.shut()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not outside.done()
        outside.cancel()

    asyncio.run(scene())


def test_a_drain_is_open_when_whoever_was_shutting_it_has_given_up() -> None:
    async def scene() -> None:
        drain = Drain()
        shutting = asyncio.create_task(drain.shut(Endless()))
        await asyncio.sleep(0)
        shutting.cancel()
        await asyncio.wait({shutting})
        async with asyncio.timeout(60):
            assert await drain.through(_answer, KIND) == b"answer"

    asyncio.run(scene())
