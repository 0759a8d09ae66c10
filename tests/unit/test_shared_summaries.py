"""Streams of one execution share the questions for its summary: one for each change."""

import asyncio

import pytest

from rillflow.errors import UnavailableError
from rillflow.runtime.changes.summaries import SharedSummaries

ORDER = "shop:order_c_8f0f9c00-0000-11f0-8000-000000000001"
STREAMS = 50


class Owner:
    """Answers with the number of the question, after a turn of the event loop."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False

    async def summary(self, _: str) -> bytes | None:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0)
        if self.is_away:
            raise UnavailableError("the owner is away")
        return str(number).encode()


async def test_streams_of_one_execution_ask_once_for_each_change() -> None:
    owner = Owner()
    summaries = SharedSummaries(owner.summary)
    async with summaries.shown(ORDER) as one, summaries.shown(ORDER) as other:
        for batch in (1, 2):
            asking = [shared.at(batch) for shared in (one, other) for _ in range(STREAMS)]
            assert set(await asyncio.gather(*asking)) == {str(batch).encode()}
            assert owner.asked == batch


async def test_nothing_is_asked_on_silence() -> None:
    owner = Owner()
    async with SharedSummaries(owner.summary).shown(ORDER) as shared:
        for _ in range(STREAMS):
            assert await shared.at(1) == b"1"
    assert owner.asked == 1


async def test_what_is_stale_is_asked_again() -> None:
    owner = Owner()
    async with SharedSummaries(owner.summary).shown(ORDER) as shared:
        assert [await shared.at(1, stale_s=0) for _ in range(2)] == [b"1", b"2"]


async def test_a_failure_is_told_to_who_waits_and_the_next_one_asks_again() -> None:
    owner = Owner()
    owner.is_away = True
    async with SharedSummaries(owner.summary).shown(ORDER) as shared:
        with pytest.raises(UnavailableError):
            await shared.at(1)
        owner.is_away = False
        assert await shared.at(1) == b"2"


async def test_a_stream_that_is_closed_leaves_the_answer_to_the_others() -> None:
    owner = Owner()
    async with SharedSummaries(owner.summary).shown(ORDER) as shared:
        leaving = asyncio.ensure_future(shared.at(1))
        staying = asyncio.ensure_future(shared.at(1))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == b"1"


async def test_a_summary_is_kept_while_a_stream_shows_it() -> None:
    summaries = SharedSummaries(Owner().summary)
    async with summaries.shown(ORDER):
        async with summaries.shown(ORDER):
            pass
        assert ORDER in summaries
    assert ORDER not in summaries
