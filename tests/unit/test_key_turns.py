"""A replica whose event loop is late gives each key by name its turns, and no key the loop."""

import asyncio
from collections.abc import Sequence

from serve.limits.key_turns import FALLS_TO, LEAST, MOST, MOST_INTERVALS, KeyTurns

LONG_S = 3_600.0
"""No interval ends by itself."""
LATE_S = 2 * LONG_S


async def waiting(turns: KeyTurns, key: str, numbers: Sequence[int], taken: list[int]) -> None:
    """Have requests of a key wait for their turns, and write down which had one."""

    async def take(number: int) -> None:
        assert await turns.wait(key)
        taken.append(number)

    for number in numbers:
        tasks.add(asyncio.create_task(take(number)))
    await settled()


tasks: set[asyncio.Task[None]] = set()


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def take_some(turns: KeyTurns, key: str, most: int = 1_000) -> int:
    """Take turns until there is none, or enough were taken."""
    return next((taken for taken in range(most) if not turns.has_turn(key)), most)


async def test_a_loop_in_time_limits_nobody_below_what_it_could_ever_take() -> None:
    turns = KeyTurns(LONG_S)
    for _ in range(3):
        assert take_some(turns, "one") == MOST
        turns.end_interval(LONG_S)


async def test_each_key_has_what_lets_a_late_loop_keep_up() -> None:
    turns = KeyTurns(LONG_S)
    take_some(turns, "one")
    turns.end_interval(LATE_S)
    served = MOST * LONG_S / LATE_S
    assert take_some(turns, "one") == served * FALLS_TO
    assert take_some(turns, "other") == served * FALLS_TO


async def test_who_sends_little_never_waits_however_late_the_loop_is() -> None:
    turns = KeyTurns(LONG_S)
    for _ in range(50):
        assert take_some(turns, "other", LEAST) == LEAST
        take_some(turns, "one")
        turns.end_interval(LATE_S)


async def test_the_others_have_their_turns_in_their_order() -> None:
    turns, taken = KeyTurns(LONG_S), list[int]()
    take_some(turns, "one", LEAST)
    turns.end_interval(LATE_S)
    assert take_some(turns, "one") == LEAST
    await waiting(turns, "one", range(2 * LEAST + 5), taken)
    assert not turns.has_turn("one")
    assert turns.has_turn("other")
    for ends in (LEAST, 2 * LEAST, 2 * LEAST + 5):
        turns.end_interval(LATE_S)
        await settled()
        assert taken == list(range(ends))
    assert turns.has_turn("one")


async def test_a_loop_that_keeps_up_has_no_limit_after_some_time() -> None:
    turns = KeyTurns(LONG_S)
    take_some(turns, "one")
    turns.end_interval(LATE_S)
    for _ in range(100):
        assert take_some(turns, "one") >= LEAST
        turns.end_interval(LONG_S)
    assert take_some(turns, "one") == MOST


async def test_a_request_that_would_wait_for_too_long_is_refused() -> None:
    turns = KeyTurns(LONG_S)
    take_some(turns, "one", LEAST)
    turns.end_interval(LATE_S)
    assert take_some(turns, "one") == LEAST
    await waiting(turns, "one", range(MOST_INTERVALS * LEAST), [])
    assert not await turns.wait("one")
    for each in tasks:
        each.cancel()


async def test_one_that_waits_no_more_takes_no_turn() -> None:
    turns, taken = KeyTurns(LONG_S), list[int]()
    take_some(turns, "one", LEAST)
    turns.end_interval(LATE_S)
    gone = asyncio.create_task(turns.wait("one"))
    await settled()
    gone.cancel()
    await waiting(turns, "one", range(LEAST), taken)
    turns.end_interval(LATE_S)
    await settled()
    assert taken == list(range(LEAST))
