"""Turns are given to one at a time, to those who wait in rotation, each with a bounded share."""

import asyncio

import pytest

from rillflow.errors import OverloadedError
from rillflow.runtime.aio.sender_turns import FEW, SenderTurns

MOST = 8


class Scene:
    """Senders who note when they have a turn, each of which ends when it is told to."""

    def __init__(self, at_once: int = 1) -> None:
        self.turns = SenderTurns(most=MOST, refusal="too many", at_once=at_once)
        self.begun: list[str] = []
        self._ends: list[asyncio.Event] = []

    async def come(self, sender: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._work(sender))
        await asyncio.sleep(0)
        return task

    async def end_turn(self) -> None:
        self._ends[-1].set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def end_first(self) -> None:
        next(end for end in self._ends if not end.is_set()).set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def _work(self, sender: str) -> None:
        async with self.turns.turn(sender):
            self.begun.append(sender)
            end = asyncio.Event()
            self._ends.append(end)
            await end.wait()


async def test_a_sender_waits_for_one_turn_of_each_other_one() -> None:
    scene = Scene()
    tasks = [await scene.come(sender) for sender in ("a", "a", "a", "b", "c")]
    assert scene.begun == ["a"]
    for _ in tasks:
        await scene.end_turn()
    assert scene.begun == ["a", "a", "b", "c", "a"]
    await asyncio.gather(*tasks)


async def test_a_sender_has_a_half_of_the_places_and_others_have_room() -> None:
    scene = Scene()
    tasks = [await scene.come("a") for _ in range(MOST // 2)]
    with pytest.raises(OverloadedError, match="too many") as error:
        await (await scene.come("a"))
    assert error.value.http_status == 503
    tasks += [await scene.come("b") for _ in range(MOST // 2)]
    with pytest.raises(OverloadedError):
        await (await scene.come("b"))
    tasks += [await scene.come(f"other {number}") for number in range(MOST)]
    with pytest.raises(OverloadedError):
        await (await scene.come("one more"))
    for _ in tasks:
        await scene.end_turn()
    await asyncio.gather(*tasks)
    assert len(scene.begun) == 2 * MOST


async def test_who_has_few_places_finds_more_where_two_others_have_all() -> None:
    scene = Scene()
    tasks = [await scene.come(sender) for sender in ["a", "b"] * (MOST // 2)]
    tasks += [await scene.come("c") for _ in range(FEW)]
    for _ in tasks:
        await scene.end_turn()
    await asyncio.gather(*tasks)
    assert scene.begun.count("c") == FEW


async def test_who_leaves_frees_the_place_and_passes_on_the_turn() -> None:
    scene = Scene()
    first, second, third = [await scene.come(sender) for sender in ("a", "b", "c")]
    second.cancel()
    await asyncio.sleep(0)
    await scene.end_turn()
    assert scene.begun == ["a", "c"]
    third.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    last = await scene.come("d")
    assert scene.begun == ["a", "c", "d"]
    await scene.end_turn()
    await last


async def test_a_turn_that_is_given_to_somebody_who_leaves_at_that_moment_is_passed_on() -> None:
    scene = Scene()
    first, second, third = [await scene.come(sender) for sender in ("a", "b", "c")]
    first.cancel()
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    for _ in range(3):
        await asyncio.sleep(0)
    assert scene.begun == ["a", "c"]
    await scene.end_turn()
    await third


async def test_where_several_have_turns_one_is_left_to_others() -> None:
    scene = Scene(at_once=3)
    tasks = [await scene.come("a") for _ in range(4)]
    assert scene.begun == ["a", "a"]
    tasks += [await scene.come(sender) for sender in ("b", "b", "c")]
    assert scene.begun == ["a", "a", "b"]
    await scene.end_turn()
    assert scene.begun[3:] == ["b"], "a has as many turns as one sender may have"
    await scene.end_turn()
    assert scene.begun[4:] == ["c"]
    for _ in tasks[2:]:
        await scene.end_first()
    await asyncio.gather(*tasks)
    assert scene.begun == ["a", "a", "b", "b", "c", "a", "a"]
