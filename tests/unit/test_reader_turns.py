"""Places are given to readers in rotation, none has all of them, and nobody is refused."""

import asyncio

from rillflow.stores.reader_turns import ReaderTurns


class Scene:
    """Readers who note when they have a place, which they give back when they are told to."""

    def __init__(self, places: int, most_of_one: int) -> None:
        self.turns = ReaderTurns(places, most_of_one=most_of_one)
        self.begun: list[str] = []
        self._ends: list[asyncio.Event] = []

    async def come(self, *readers: str) -> "list[asyncio.Task[None]]":
        tasks = [asyncio.create_task(self._read(reader)) for reader in readers]
        await self._settle()
        return tasks

    async def end_first(self) -> None:
        next(end for end in self._ends if not end.is_set()).set()
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _read(self, reader: str) -> None:
        async with self.turns.place(reader):
            self.begun.append(reader)
            end = asyncio.Event()
            self._ends.append(end)
            await end.wait()


async def test_a_reader_waits_for_one_place_of_each_other_one() -> None:
    scene = Scene(places=1, most_of_one=1)
    tasks = await scene.come("a", "a", "a", "a", "b", "c")
    assert scene.begun == ["a"]
    for _ in tasks:
        await scene.end_first()
    assert scene.begun == ["a", "a", "b", "c", "a", "a"]
    await asyncio.gather(*tasks)


async def test_no_reader_has_all_places_however_many_it_asks_for() -> None:
    scene = Scene(places=3, most_of_one=2)
    tasks = await scene.come(*("a" for _ in range(100)), "b")
    assert scene.begun == ["a", "a", "b"]
    for _ in range(101):
        await scene.end_first()
    await asyncio.gather(*tasks)
    assert scene.begun.count("a") == 100


async def test_a_free_place_is_taken_at_once_while_others_have_enough() -> None:
    scene = Scene(places=3, most_of_one=1)
    tasks = await scene.come("a", "a", "b")
    assert scene.begun == ["a", "b"]
    tasks += await scene.come("c")
    assert scene.begun == ["a", "b", "c"]
    for _ in tasks:
        await scene.end_first()
    await asyncio.gather(*tasks)


async def test_who_leaves_while_it_waits_or_as_it_is_let_in_keeps_no_place() -> None:
    scene = Scene(places=1, most_of_one=1)
    first, waits, let_in, last = await scene.come("a", "a", "b", "c")
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    # The end lets b in, which is cancelled before it runs again.
    scene._ends[0].set()
    while scene.turns._held != {"b": 1}:  # noqa: ASYNC110 - nothing else tells it
        await asyncio.sleep(0)
    let_in.cancel()
    await asyncio.gather(let_in, first, return_exceptions=True)
    await scene._settle()
    assert scene.begun == ["a", "c"]
    await scene.end_first()
    await last
    assert not scene.turns._held
    assert not scene.turns._waiting
