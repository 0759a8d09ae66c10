"""A full pool of unfinished bodies takes room from who holds most, and not from who comes."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
from starlette.requests import Request
from starlette.types import Message, Scope

from rillflow.errors import BodyTimeoutError, UnfinishedBodyError
from rillflow.settings import MEBIBYTE, Settings
from serve.limits.body_pool import (
    BURST,
    MOST_BYTES,
    SMALL_BYTES,
    BodyLimit,
    BodyLimits,
    BodyPool,
    BodySender,
    anonymous_pool,
)

LIMIT: Final = BodyLimit(16 * MEBIBYTE, "", 400)
PIECE: Final = bytes(8 * MEBIBYTE)
"""Sixteen of these fill a pool; all bodies share the one object until they are copied."""
FULL: Final = MOST_BYTES // len(PIECE)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - nothing tells when a pool has looked
            await asyncio.sleep(0)


def sender_in(scope: Scope, _: str) -> BodySender:
    sender: BodySender = scope["sender"]
    return sender


def pool_with(**settings: Any) -> BodyPool:
    """Return the pool of known callers, in which an address may have as many as there are."""
    made = Settings(**settings)
    return BodyPool(made, BodyLimits(made), sender_in)


def key_of(workspace: str, name: str = "a") -> BodySender:
    return BodySender(f"workspace {workspace}", f"key {workspace} {name}", has_key=True)


class Body:
    """A body whose parts arrive when the test says so."""

    def __init__(self, pool: BodyPool, sender: BodySender) -> None:
        self._parts: asyncio.Queue[Message] = asyncio.Queue()
        request = Request({"type": "http", "sender": sender}, self._parts.get)
        self.reading = asyncio.create_task(pool.read(request, LIMIT))

    async def come(self, part: bytes, *, more: bool = True) -> None:
        """Have a part arrive, and wait until it was taken."""
        self._parts.put_nowait({"type": "http.request", "body": part, "more_body": more})
        await until(lambda: self._parts.empty() or self.reading.done())
        await asyncio.sleep(0)

    async def ends(self) -> int:
        """Have the end arrive, and return how many bytes were read."""
        await self.come(b"", more=False)
        return len(await self.reading)

    async def refusal(self) -> str:
        with pytest.raises(UnfinishedBodyError) as refused:
            await self.reading
        return f"{refused.value.http_status} {refused.value.hint}"


async def filled(pool: BodyPool, senders: list[BodySender], number: int = FULL) -> list[Body]:
    """Fill a pool with bodies of these senders in turn, none of which ends."""
    bodies = [Body(pool, senders[turn % len(senders)]) for turn in range(number)]
    for body in bodies:
        await body.come(PIECE)
    return bodies


async def closed(bodies: list[Body]) -> None:
    for body in bodies:
        body.reading.cancel()
    await asyncio.gather(*(body.reading for body in bodies), return_exceptions=True)


async def test_a_sender_who_holds_all_gives_way_to_another_with_the_body_that_waits_longest() -> (
    None
):
    pool = pool_with()
    held = await filled(pool, [key_of("evil")])
    await held[0].come(b"")
    other = Body(pool, key_of("shop"))
    await other.come(PIECE)
    assert "hold too much memory" in await held[1].refusal()
    assert await other.ends() == len(PIECE)
    assert not any(body.reading.done() for body in held[2:])
    assert await held[0].ends() == len(PIECE)
    await closed(held)


async def test_another_body_of_who_holds_all_takes_the_room_of_one_that_waits() -> None:
    pool = pool_with()
    held = await filled(pool, [key_of("evil")])
    newest = Body(pool, key_of("evil"))
    await newest.come(PIECE)
    assert (await held[0].refusal()).startswith("503 ")
    assert await newest.ends() == len(PIECE)
    await closed(held)


async def test_many_keys_of_a_workspace_count_together() -> None:
    pool = pool_with()
    keys = [key_of("evil", str(number)) for number in range(FULL)]
    held = await filled(pool, keys)
    first, second = (Body(pool, key_of("shop")) for _ in range(2))
    for body in (first, second):
        await body.come(PIECE)  # the key of the other workspace has now more than each of these
    assert [await body.ends() for body in (first, second)] == [len(PIECE)] * 2
    assert sum(body.reading.done() for body in held) == len((first, second))
    await closed(held)


async def test_two_senders_have_half_of_the_room_each_however_they_come() -> None:
    pool = pool_with()
    evil = await filled(pool, [key_of("evil")])
    shop = await filled(pool, [key_of("shop")], FULL // 2)
    evil += await filled(pool, [key_of("evil")], FULL // 2)
    assert not any(body.reading.done() for body in shop)
    assert sum(not body.reading.done() for body in evil) == FULL // 2
    assert [await body.ends() for body in shop] == [len(PIECE)] * (FULL // 2)
    await closed(evil)


async def test_a_body_in_one_piece_and_small_parts_take_nothing_of_a_full_pool() -> None:
    pool = pool_with()
    held = await filled(pool, [key_of("evil")])
    whole, small = Body(pool, key_of("evil")), Body(pool, key_of("shop"))
    await whole.come(PIECE, more=False)
    assert len(await whole.reading) == len(PIECE)
    await small.come(bytes(SMALL_BYTES - 1))
    assert await small.ends() == SMALL_BYTES - 1
    assert not any(body.reading.done() for body in held)
    await closed(held)


async def test_what_has_ended_or_was_refused_leaves_nothing_behind() -> None:
    pool = pool_with()
    for _ in range(3):
        held = await filled(pool, [key_of("evil"), key_of("shop")], FULL + 4)
        assert sum(body.reading.done() for body in held) == 4
        await held[-1].ends()
        await closed(held)
    held = await filled(pool, [key_of("evil")])
    assert not any(body.reading.done() for body in held)
    await closed(held)


async def test_who_comes_is_asked_once_half_of_the_bytes_are_taken() -> None:
    pool = anonymous_pool(Settings(), sender_in)
    stranger = BodySender("192.0.2.1", "192.0.2.1")
    held = await filled(pool, [stranger], FULL // 2 - 1)
    assert not pool.asks_who_comes
    held += await filled(pool, [stranger], 1)
    assert pool.asks_who_comes
    assert not pool.known.asks_who_comes
    await closed(held)


async def test_the_places_of_a_full_pool_are_taken_from_who_has_most() -> None:
    pool, places = pool_with(unfinished_bodies=4), 4 * BURST
    evil = [Body(pool, key_of("evil")) for _ in range(places)]
    await asyncio.sleep(0)
    shop = [Body(pool, key_of("shop")) for _ in range(places // 2)]
    for newest in reversed(evil[places // 2 :]):
        assert f"are more than {places}" in await newest.refusal()
    for workspace in ("evil", "shop"):
        assert f"are more than {places}" in await Body(pool, key_of(workspace)).refusal()
    assert not any(body.reading.done() for body in (*evil[: places // 2], *shop))
    await closed([*evil, *shop])


async def test_a_body_that_has_arrived_needs_no_place() -> None:
    pool = pool_with(unfinished_bodies=1)
    held = [Body(pool, key_of("evil")) for _ in range(BURST)]
    await asyncio.sleep(0)
    whole = Body(pool, key_of("evil"))
    await whole.come(b"{}", more=False)
    assert await whole.reading == b"{}"
    assert not any(body.reading.done() for body in held)
    await closed(held)


async def test_slow_bodies_have_a_share_by_key_and_beyond_the_limit_turns_by_workspace() -> None:
    pool = pool_with(unfinished_bodies=6)
    evil = [Body(pool, key_of("evil", str(number))) for number in range(5)]
    evil += [Body(pool, key_of("evil", "0")) for _ in range(4)]
    shop = [Body(pool, key_of("shop")) for _ in range(3)]
    await until(lambda: sum(body.reading.done() for body in evil) == 6)
    assert [body.reading.done() for body in evil] == [False] * 3 + [True] * 6
    assert not any(body.reading.done() for body in shop)
    told = [await body.refusal() for body in evil[3:]]
    assert any("3 may be, as unfinished_bodies " in each for each in told)
    assert any("are more than 6" in each for each in told)
    await closed([*evil, *shop])


async def test_what_has_arrived_at_once_buys_no_time_for_the_rest() -> None:
    pool = pool_with(body_timeout_s=12.0)
    body = Body(pool, key_of("evil"))
    await body.come(PIECE)
    with pytest.raises(BodyTimeoutError) as late:
        await body.reading
    assert "body_min_bytes_per_s" in late.value.hint
