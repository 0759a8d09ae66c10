"""Streams tell what has changed, ten times a second; nothing is noted while nobody asks."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from rillflow.errors import OverloadedError, UnavailableError
from rillflow.ports.changes import AwaitChanges, Change, Changes, decode_changes, encode_changes
from rillflow.runtime.changes.feed import LISTENS_S, ChangeFeed
from rillflow.runtime.changes.hub import (
    LEAST_NAMED,
    LINGER_S,
    MOST_NAMED,
    MOST_OF_ADDRESS,
    MOST_OF_EXECUTION,
    MOST_STREAMS,
    MOST_TOLD_AT_ONCE,
    MOST_WAITING,
    NAMED_AT_ONCE,
    REST_S,
    TOLD_PER_S,
    Batch,
    ChangeHub,
    ChangeStream,
    Selection,
    merge,
    selections_of,
)
from tests.loopback import ManualClock

ORDER = "shop:order_c_8f0f9c00-0000-11f0-8000-00000000000"
PAY = "shop:pay_c_8f0f9c00-0000-11f0-8000-00000000000"
SHORT_S = 0.05
LONG_S = 60


async def heard(feed: ChangeFeed) -> Changes:
    """Begin to listen to a feed."""
    return await feed.take(AwaitChanges(0, "", 0))


async def test_a_feed_tells_each_changed_execution_once_with_its_last_status() -> None:
    feed = ChangeFeed(ManualClock())
    begun = await heard(feed)
    feed.note(f"{ORDER}1", 1, "running")
    feed.note(f"{ORDER}2", 1, "running")
    feed.note(f"{ORDER}1", 2, "succeed")
    told = await feed.take(AwaitChanges(begun.position, begun.life, 1))
    assert decode_changes(encode_changes(told)).changes == [
        Change(f"{ORDER}2", 1, "running", is_new=True),
        Change(f"{ORDER}1", 2, "succeed", is_new=True),
    ]
    feed.note(f"{ORDER}2", 2, "failed")
    later = await feed.take(AwaitChanges(told.position, told.life, 1))
    assert later.changes == [Change(f"{ORDER}2", 2, "failed", is_new=False)]
    assert not later.lost


def test_an_execution_stays_new_until_it_was_told() -> None:
    known: dict[str, Change] = {}
    merge(known, [Change("a", 1, "running", is_new=True), Change("b", 2, "running")])
    merge(known, [Change("a", 2, "succeed"), Change("b", 3, "succeed")])
    assert list(known.values()) == [
        Change("a", 2, "succeed", is_new=True),
        Change("b", 3, "succeed"),
    ]


async def test_a_question_waits_for_a_change_up_to_its_limit() -> None:
    feed = ChangeFeed(ManualClock())
    begun = await heard(feed)
    nothing = await feed.take(AwaitChanges(begun.position, begun.life, SHORT_S))
    assert nothing.changes == ()
    asking = asyncio.ensure_future(feed.take(AwaitChanges(begun.position, begun.life, 20)))
    await asyncio.sleep(0)
    feed.note(f"{ORDER}1", 1, "running")
    assert len((await asking).changes) == 1


async def test_a_feed_notes_only_while_somebody_has_asked_lately() -> None:
    clock = ManualClock()
    feed = ChangeFeed(clock)
    assert not feed.is_heard
    begun = await heard(feed)
    assert feed.is_heard
    clock.forward(LISTENS_S + 1)
    feed.note(f"{ORDER}1", 1, "running")
    assert not feed.is_heard
    assert (await feed.take(AwaitChanges(begun.position, begun.life, 0))).lost


async def test_a_feed_keeps_the_last_changes_and_tells_that_others_are_lost() -> None:
    feed = ChangeFeed(ManualClock(), most=2)
    begun = await heard(feed)
    for number in range(3):
        feed.note(f"{ORDER}{number}", 1, "running")
    told = await feed.take(AwaitChanges(begun.position, begun.life, 0))
    assert told.lost
    assert [change.execution_id[-1] for change in told.changes] == ["1", "2"]


async def test_a_new_process_tells_its_position_only() -> None:
    feed = ChangeFeed(ManualClock())
    await heard(feed)
    feed.note(f"{ORDER}1", 1, "running")
    told = await feed.take(AwaitChanges(99, "another life", 20))
    assert (told.lost, told.changes, told.position) == (True, (), 1)


class Owners:
    """Feeds as owners; one of them may be out of reach."""

    def __init__(self, count: int = 2) -> None:
        self.feeds = [ChangeFeed(ManualClock()) for _ in range(count)]
        self.gone: set[int] = set()
        self.questions = 0

    @property
    def owner_count(self) -> int:
        return len(self.feeds)

    async def changes(self, owner: int, asked: AwaitChanges) -> Changes:
        self.questions += 1
        if owner in self.gone:
            raise UnavailableError("gone")
        return await self.feeds[owner].take(asked)


def ids(batch: Batch | None) -> Sequence[str]:
    assert batch is not None
    assert batch.changes is not None
    return [change.execution_id for change in batch.changes]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - a hub tells streams only
            await asyncio.sleep(0)


async def test_a_stream_tells_the_changes_of_its_selection_from_all_owners() -> None:
    owners = Owners()
    hub = ChangeHub(owners)
    async with (
        hub.stream(Selection(), None) as everything,
        hub.stream(Selection("shop", "pay"), None) as pay,
        hub.stream(Selection(execution_id=f"{ORDER}1"), None) as one,
    ):
        owners.feeds[0].note(f"{ORDER}1", 1, "running")
        owners.feeds[1].note(f"{PAY}1", 1, "running")
        first = await everything.next(LONG_S)
        rest = await everything.next(SHORT_S * 6)
        assert {*ids(first), *(ids(rest) if rest else ())} == {f"{ORDER}1", f"{PAY}1"}
        assert ids(await pay.next(LONG_S)) == [f"{PAY}1"]
        assert ids(await one.next(LONG_S)) == [f"{ORDER}1"]
        assert await pay.next(SHORT_S) is None
    await hub.stop()


async def test_a_stream_that_comes_back_hears_what_it_missed() -> None:
    owners = Owners(1)
    hub = ChangeHub(owners)
    async with hub.stream(Selection("shop"), None) as stream:
        owners.feeds[0].note(f"{ORDER}1", 1, "running")
        first = await stream.next(LONG_S)
        assert first is not None
    owners.feeds[0].note(f"{ORDER}2", 1, "running")
    await until(lambda: hub.number > first.number)
    async with hub.stream(Selection("shop"), first.number) as again:
        assert ids(await again.next(LONG_S)) == [f"{ORDER}2"]
    async with hub.stream(Selection("shop"), 10_000) as unknown:
        lost = await unknown.next(LONG_S)
        assert lost is not None
        assert lost.changes is None
    await hub.stop()


async def test_an_owner_that_begins_anew_makes_lists_be_read_anew() -> None:
    owners = Owners(1)
    hub = ChangeHub(owners)
    async with hub.stream(Selection(), None) as stream:
        before = owners.feeds[0]
        owners.feeds[0] = ChangeFeed(ManualClock())
        before.note(f"{ORDER}1", 1, "running")  # ends the question at the old process
        while (batch := await stream.next(LONG_S)) is not None and batch.changes is not None:
            pass  # of the old process
        assert batch is not None
    await hub.stop()


async def test_an_owner_out_of_reach_is_asked_again() -> None:
    owners = Owners(1)
    owners.gone.add(0)
    hub = ChangeHub(owners)
    async with hub.stream(Selection(), None) as stream:
        owners.gone.clear()
        await until(lambda: owners.feeds[0].is_heard)
        owners.feeds[0].note(f"{ORDER}1", 1, "running")
        assert ids(await stream.next(LONG_S)) == [f"{ORDER}1"]
    await hub.stop()


async def test_nothing_is_asked_when_the_last_stream_has_been_closed_for_long() -> None:
    owners = Owners(1)
    hub = ChangeHub(owners, linger_s=SHORT_S)
    async with hub.stream(Selection(), None):
        pass
    await until(lambda: hub._telling is not None and hub._telling.done())
    assert not hub._askers
    async with hub.stream(Selection(), 0) as again:
        lost = await again.next(LONG_S)
        assert lost is not None
        assert lost.changes is None
    await hub.stop()


async def test_many_streams_are_told_a_part_at_a_time() -> None:
    """Each writes to its client once it is told, so all at once would hold the loop."""
    owners = Owners(1)
    hub = ChangeHub(owners)
    told: list[int] = []
    async with AsyncExitStack() as opened:
        for _ in range(4 * MOST_TOLD_AT_ONCE):
            stream = await opened.enter_async_context(hub.stream(Selection(), None))
            opened.callback(asyncio.create_task(_note(stream, told)).cancel)
        await until(lambda: owners.feeds[0].is_heard)
        owners.feeds[0].note(f"{ORDER}1", 1, "running")
        most = 0
        while len(told) < 4 * MOST_TOLD_AT_ONCE:
            before = len(told)
            await asyncio.sleep(0)
            most = max(most, len(told) - before)
    assert 0 < most <= 2 * MOST_TOLD_AT_ONCE
    assert len(set(told)) == 1  # all have the same batch, which is encoded once
    await hub.stop()


async def _note(stream: ChangeStream, told: list[int]) -> None:
    batch = await stream.next(60)
    assert batch is not None
    told.append(id(batch))


async def test_a_stream_that_does_not_read_is_marked() -> None:
    hub = ChangeHub(Owners(1))
    async with hub.stream(Selection(), None) as stream:
        for number in range(MOST_WAITING + 1):
            assert not stream.is_slow
            stream.tell(Batch(number, ()))
        assert stream.is_slow
    await hub.stop()


async def test_streams_are_limited() -> None:
    hub = ChangeHub(Owners(1))
    hub._streams.update(ChangeStream(Selection()) for _ in range(MOST_STREAMS))
    with pytest.raises(OverloadedError) as error:
        async with hub.stream(Selection(), None):
            pass
    assert error.value.http_status == 503
    await hub.stop()


@pytest.mark.parametrize(
    ("selection", "address", "most"),
    [
        (Selection(execution_id=f"{ORDER}1"), "", MOST_OF_EXECUTION),
        (Selection("shop"), "192.0.2.1", MOST_OF_ADDRESS),
    ],
)
async def test_one_execution_and_one_address_have_a_part_of_the_streams(
    selection: Selection, address: str, most: int
) -> None:
    hub = ChangeHub(Owners(1))
    async with AsyncExitStack() as opened:
        for _ in range(most):
            await opened.enter_async_context(hub.stream(selection, None, address=address))
        with pytest.raises(OverloadedError, match=f"{most} streams of") as error:
            hub.require_place(selection, address)
        assert error.value.http_status == 503
        hub.require_place(Selection(execution_id=f"{ORDER}2"), "192.0.2.2")
    hub.require_place(selection, address)
    await hub.stop()


def test_a_selection_has_its_flow_and_no_other() -> None:
    one = f"{ORDER}1"
    assert set(selections_of(one)) == {
        Selection(),
        Selection("shop"),
        Selection("shop", "order"),
        Selection(execution_id=one),
    }


async def test_a_list_names_the_last_changes_and_counts_the_others() -> None:
    owners = Owners(1)
    hub = ChangeHub(owners)
    busy = MOST_NAMED * 20
    async with hub.stream(Selection("shop"), None) as stream:
        await until(lambda: owners.feeds[0].is_heard)
        for number in range(busy):
            owners.feeds[0].note(f"{ORDER}{number}", 1, "running")
        told = await stream.next(LONG_S)
        assert told is not None
        assert ids(told) == [f"{ORDER}{number}" for number in range(busy - MOST_NAMED, busy)]
        assert told.more == busy - MOST_NAMED
        position = hub.number
    async with hub.stream(Selection("shop"), position - 1) as again:
        missed = await again.next(LONG_S)
        assert missed is not None
        assert missed.changes is None
    await hub.stop()


async def test_many_lists_that_change_without_pause_are_told_less_often() -> None:
    owners = Owners(1)
    hub = ChangeHub(owners)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as opened:
        streams = [
            await opened.enter_async_context(hub.stream(Selection(), None))
            for _ in range(MOST_STREAMS)
        ]
        await until(lambda: owners.feeds[0].is_heard)
        begun_s = loop.time()
        for number in range(1, 5):
            owners.feeds[0].note(f"{ORDER}1", number, "running")
            assert ids(await streams[0].next(60)) == [f"{ORDER}1"]
        took_s = loop.time() - begun_s
    # The first is told at once, and each later one 0.29 s after the one before.
    assert took_s > 0.85
    assert MOST_STREAMS / TOLD_PER_S < 0.3
    await hub.stop()


async def test_an_owner_that_always_has_changes_is_asked_now_and_then() -> None:
    owners = Owners(1)
    hub = ChangeHub(owners)
    loop = asyncio.get_running_loop()
    async with hub.stream(Selection(), None) as stream:
        await until(lambda: owners.feeds[0].is_heard)
        begun_s, before = loop.time(), owners.questions
        told = 0
        while told < 3:
            owners.feeds[0].note(f"{ORDER}1", 1, "running")
            told += await stream.next(0) is not None
        asked = owners.questions - before
        assert asked <= (loop.time() - begun_s) / REST_S + 1
    await hub.stop()


async def test_the_more_lists_there_are_the_fewer_changes_each_names() -> None:
    owners = Owners(1)
    hub = ChangeHub(owners)
    async with AsyncExitStack() as opened:
        streams = [
            await opened.enter_async_context(hub.stream(Selection(), None))
            for _ in range(NAMED_AT_ONCE // LEAST_NAMED)
        ]
        await until(lambda: owners.feeds[0].is_heard)
        for number in range(MOST_NAMED):
            owners.feeds[0].note(f"{ORDER}{number}", 1, "running")
        told = await streams[0].next(LONG_S)
        assert told is not None
        assert (len(ids(told)), told.more) == (LEAST_NAMED, MOST_NAMED - LEAST_NAMED)
        assert ids(told)[-1] == f"{ORDER}{MOST_NAMED - 1}"
    await hub.stop()


@pytest.mark.parametrize("turns", range(12))
async def test_a_hub_stops_at_once_however_soon_after_news(turns: int) -> None:
    owners = Owners(1)
    hub = ChangeHub(owners)
    async with hub.stream(Selection(), None):
        await until(lambda: owners.feeds[0].is_heard)
        owners.feeds[0].note(f"{ORDER}1", 1, "running")
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(LINGER_S / 2):
            await hub.stop()
