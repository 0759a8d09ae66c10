"""Actors that have stopped are replaced together, unless they have gone on before their turn."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from rillflow.actors.monitoring.reports import Reports
from rillflow.actors.takeover.actor_watch import Stopped
from rillflow.actors.takeover.takeovers import Takeovers

WITHIN_S: Final = 60.0
LOST: Final = [Stopped(f"rillflow:execution:{number}", object(), "node") for number in range(2)]


class Actors:
    """Starts actors by name, after as long as a test wants."""

    def __init__(self) -> None:
        self.looking = asyncio.Lock()
        self.silent = {each.name for each in LOST}
        self.begun: list[str] = []
        self.all_begun = asyncio.Event()
        self.replaced: list[str] = []
        self.fails = ""
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.takeovers = Takeovers(self.looking, Reports("test"), self._restart, lambda *_: None)

    async def still_stopped(self, lost: Sequence[Stopped]) -> list[Stopped]:
        """Return those that are silent now."""
        return [each for each in lost if each.name in self.silent]

    async def _restart(self, name: str, _actor: Any, _start: Callable[[], Any]) -> str:
        self.begun.append(name)
        if len(self.begun) == len(LOST):
            self.all_begun.set()
        if name == self.fails:
            raise RuntimeError("a library is broken")
        await self.may_start.wait()
        self.replaced.append(name)
        return "other node"


async def test_who_goes_on_while_others_are_at_work_is_left_alone() -> None:
    actors = Actors()
    await actors.looking.acquire()
    taking = asyncio.create_task(actors.takeovers.take_over(LOST, actors.still_stopped))
    await asyncio.sleep(0)
    actors.silent.remove(LOST[0].name)
    actors.looking.release()
    async with asyncio.timeout(WITHIN_S):
        await taking
    assert actors.replaced == [LOST[1].name]
    actors.silent.clear()
    await actors.takeovers.take_over(LOST, actors.still_stopped)
    assert (actors.replaced, actors.takeovers.count) == ([LOST[1].name], 1)


async def test_nothing_else_is_done_to_actors_until_all_are_replaced() -> None:
    actors = Actors()
    actors.fails = LOST[0].name
    actors.may_start.clear()
    taking = asyncio.create_task(actors.takeovers.take_over(LOST, actors.still_stopped))
    async with asyncio.timeout(WITHIN_S):
        await actors.all_begun.wait()
        for _ in range(10):  # until the failure of the first one has come to whoever waits
            await asyncio.sleep(0)
        assert actors.looking.locked()
        actors.may_start.set()
        await taking
    assert actors.replaced == [LOST[1].name]
