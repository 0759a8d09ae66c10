"""Whoever waits for an end is soon in touch with the owner's successor."""

import asyncio
from types import SimpleNamespace
from typing import Any, Final

from rillflow.errors import CrashedError
from rillflow.ports.executions import End, Reply, Submission, Watch, reply_to_error
from rillflow.ports.messages import AwaitEnds
from rillflow.runtime.completion.client import (
    CompletionClient,
    Ended,
    News,
    decode_news,
)
from rillflow.runtime.completion.server import CompletionServer
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.endpoints.owner_endpoint import OwnerEndpoint
from tests.loopback import ManualClock
from tests.submissions import submission_event

LONG_S: Final = 20
HOUR_S: Final = 3600.0


def _endpoint(life: str) -> OwnerEndpoint:
    host: Any = SimpleNamespace(watchers=CompletionServer(ManualClock()))
    return OwnerEndpoint(host, DispatcherClient("me", []), life=life)


async def _ask(endpoint: OwnerEndpoint, life: str | None) -> News:
    question = AwaitEnds("watcher", HOUR_S, [], life)
    return decode_news(await endpoint.take(question, size_bytes=0))


async def test_an_owner_in_another_life_does_not_wait_for_news() -> None:
    async with asyncio.timeout(LONG_S):
        assert await _ask(_endpoint("second"), "first") == News("second", [])
        assert await _ask(_endpoint("second"), "") == News("second", [])


async def test_an_owner_that_was_told_waits_and_so_does_one_that_cannot_know() -> None:
    for life in ("second", None):
        asked = asyncio.create_task(_ask(_endpoint("second"), life))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not asked.done()
        asked.cancel()


async def test_a_successor_is_told_again_what_is_waited_for() -> None:
    asked: list[str | None] = []
    told: list[str] = []

    async def call(watch: Watch | Submission) -> Reply:
        told.append(watch.execution_id)
        # At the third time, which is the first at the successor, it has ended.
        return Reply(changed=len(told) < 3)

    async def ask(question: AwaitEnds) -> News:
        await asyncio.sleep(0)
        asked.append(question.life)
        return News("first" if len(asked) == 1 else "second", [])

    end = await asyncio.wait_for(CompletionClient("me", call, ask).wait("e", LONG_S), LONG_S)
    assert end == End(has_ended=True)
    assert asked[:2] == ["", "first"]
    assert told == ["e"] * 3


async def test_what_is_being_submitted_to_a_successor_has_not_ended() -> None:
    made: set[str] = set()
    lives = iter(("first", "second"))
    may_submit, news = asyncio.Event(), asyncio.Event()

    async def call(asked: Watch | Submission) -> Reply:
        if isinstance(asked, Submission):
            await may_submit.wait()
            made.add(asked.execution_id)
            return Reply()
        # An execution that is not known has no end to wait for.
        return Reply(changed=asked.execution_id in made)

    async def ask(_: AwaitEnds) -> News:
        await asyncio.sleep(0)
        life = next(lives, None)
        if life is None:
            await news.wait()
        return News(life or "second", [Ended("new")] if life is None else [])

    made.add("old")
    watch = CompletionClient("me", call, ask)
    old = asyncio.create_task(watch.wait("old", HOUR_S))
    new = asyncio.create_task(watch.run(_submission("new"), HOUR_S, ""))
    async with asyncio.timeout(LONG_S):
        for _ in range(20):
            await asyncio.sleep(0)
        may_submit.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not new.done()
        news.set()
        assert (await new)[1] == End(has_ended=True)
    old.cancel()


async def test_one_that_a_successor_cannot_look_at_holds_up_no_other_and_is_not_forgotten() -> None:
    asked = 0

    async def call(watch: Watch | Submission) -> Reply:
        if watch.execution_id != "crashed" or not asked:
            return Reply()
        if asked < 3:
            return reply_to_error(CrashedError("internal server error"))
        return Reply(changed=False)

    async def ask(_: AwaitEnds) -> News:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return News("only", [Ended("sound")] if asked == 2 else [])

    watch = CompletionClient("me", call, ask)
    waits = (watch.wait(each, LONG_S) for each in ("crashed", "sound"))
    async with asyncio.timeout(LONG_S):
        assert await asyncio.gather(*waits) == [End(has_ended=True)] * 2
    assert asked >= 3


def _submission(execution_id: str) -> Submission:
    event = submission_event(execution_id, "d")
    return Submission(business="b", feature="f", event=event)
