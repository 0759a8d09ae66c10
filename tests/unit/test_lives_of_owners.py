"""Whoever waits for an end is soon in touch with the owner's successor."""

import asyncio
from types import SimpleNamespace
from typing import Any, Final

from rillflow.ports.executions import End, Reply, Submission, Watch
from rillflow.runtime.desks import HostDesk
from rillflow.runtime.dispatch_lanes import DispatchLanes
from rillflow.runtime.waiting import Watchers
from rillflow.runtime.watching import EndWatch, News, Question, decode_news, encode_question
from tests.loopback import ManualClock

LONG_S: Final = 20
HOUR_S: Final = 3600.0


def _desk(life: str) -> HostDesk:
    host: Any = SimpleNamespace(watchers=Watchers(ManualClock()))
    return HostDesk(host, DispatchLanes("me", []), life=life)


async def _ask(desk: HostDesk, life: str | None) -> News:
    question = encode_question(Question("watcher", HOUR_S, [], life))
    return decode_news(await desk.take("ended", question))


async def test_an_owner_in_another_life_does_not_wait_for_news() -> None:
    async with asyncio.timeout(LONG_S):
        assert await _ask(_desk("second"), "first") == News("second", [])
        assert await _ask(_desk("second"), "") == News("second", [])


async def test_an_owner_that_was_told_waits_and_so_does_one_that_cannot_know() -> None:
    for life in ("second", None):
        asked = asyncio.create_task(_ask(_desk("second"), life))
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

    async def ask(question: Question) -> News:
        await asyncio.sleep(0)
        asked.append(question.life)
        return News("first" if len(asked) == 1 else "second", [])

    end = await asyncio.wait_for(EndWatch("me", call, ask).wait("e", LONG_S), LONG_S)
    assert end == End(has_ended=True)
    assert asked[:2] == ["", "first"]
    assert told == ["e"] * 3
