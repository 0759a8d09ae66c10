"""Processes of dedicated executions start one at a time, workspaces in turn, with rests."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random

import pytest

from rillflow.actors.directory import DedicatedActors
from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId
from rillflow.runtime.routing.start_turns import (
    BURST_S,
    COMING_S,
    LEAST_WAITING,
    LONGEST_START_S,
    LONGEST_WAIT_S,
    REST,
    StartTurns,
    starts_at_once,
)
from tests.simulation.virtual_loop import VirtualLoop

_numbers = count()
START_S = 0.5
SOON_S = 0.001
"""After it all that could happen at once has; this loop takes what is ready in any order."""


class Machine:
    """A machine on which a start takes ``START_S``; it notes when which workspace's began."""

    def __init__(self, at_once: int = 1) -> None:
        self.turns = StartTurns(at_once)
        self.begun: list[tuple[float, str]] = []
        self.under_way = self.most = 0

    async def start(self, workspace: str, took_s: float = START_S) -> None:
        async with self.turns.turn(new_id(workspace)):
            self.begun.append((asyncio.get_running_loop().time(), workspace))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            try:
                await asyncio.sleep(took_s)
            finally:
                self.under_way -= 1

    async def start_all(self, workspaces: str) -> None:
        await asyncio.gather(*map(self.start, workspaces))

    def is_admitted(self, workspace: str) -> bool:
        try:
            self.turns.admit(new_id(workspace))
        except OverloadedError:
            return False
        return True

    def order(self) -> str:
        return "".join(workspace for _, workspace in self.begun)


def new_id(workspace: str) -> ExecutionId:
    """Return the id of another execution."""
    return f"{workspace}:flow_c_{next(_numbers)}"


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Let time pass as the scene waits for it."""

    async def all_of_it() -> None:
        await scene()

    loop = VirtualLoop(Random(7))
    loop.run_until_complete(all_of_it())
    loop.bury(())


def test_one_start_is_under_way_and_workspaces_take_turns() -> None:
    machine = Machine()
    play(lambda: machine.start_all("aaaabc"))
    assert machine.most == 1
    assert sorted(machine.order()[:3]) == ["a", "b", "c"]


def test_a_workspace_that_starts_many_rests_as_long_as_they_took() -> None:
    machine = Machine()
    count = 21
    play(lambda: machine.start_all("a" * count))
    lasted_s = machine.begun[-1][0] - machine.begun[0][0]
    assert lasted_s == pytest.approx((count - 1) * (1 + REST) * START_S - BURST_S)


def test_others_start_while_it_rests() -> None:
    machine = Machine()

    async def scene() -> None:
        many = asyncio.create_task(machine.start_all("a" * 8))
        await asyncio.sleep(4.2 * (1 + REST) * START_S)
        asked_s = asyncio.get_running_loop().time()
        await machine.start("b")
        waited_s = next(at_s for at_s, each in machine.begun if each == "b") - asked_s
        assert waited_s <= START_S
        await many

    play(scene)


def test_one_now_and_then_does_not_wait() -> None:
    machine = Machine()

    async def scene() -> None:
        for _ in range(3):
            asked_s = asyncio.get_running_loop().time()
            await machine.start("a")
            assert machine.begun[-1][0] == asked_s

    play(scene)


def test_a_start_that_takes_very_long_keeps_no_other_workspace() -> None:
    machine = Machine()

    async def scene() -> None:
        stuck = asyncio.create_task(machine.start("a", 10 * LONGEST_START_S))
        await asyncio.sleep(SOON_S)
        await machine.start_all("bb")
        assert next(at_s for at_s, each in machine.begun if each == "b") == LONGEST_START_S
        assert machine.most == 2  # and no third one, though the first has given its turn back
        await stuck
        await machine.start_all("bc")
        assert machine.most == 2

    play(scene)


def test_who_leaves_while_waiting_keeps_nobody() -> None:
    machine = Machine()

    async def scene() -> None:
        first = asyncio.create_task(machine.start("a"))
        await asyncio.sleep(SOON_S)
        gone = [asyncio.create_task(machine.start(each)) for each in "ab"]
        await asyncio.sleep(SOON_S)
        for each in gone:
            each.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        await first
        await machine.start_all("ab")
        assert sorted(machine.order()) == ["a", "a", "b"]

    play(scene)


def test_where_there_are_several_no_workspace_has_all() -> None:
    machine = Machine(at_once=3)

    async def scene() -> None:
        many = asyncio.create_task(machine.start_all("a" * 8))
        await asyncio.sleep(SOON_S)
        asked_s = asyncio.get_running_loop().time()
        await machine.start("b")
        assert (asked_s, "b") in machine.begun
        await many
        assert machine.most == 3

    play(scene)


def test_more_than_can_start_in_time_are_refused_and_those_of_others_are_not() -> None:
    machine = Machine()

    async def scene() -> None:
        await machine.start("a", 4.0)
        waiting = asyncio.create_task(machine.start_all("a" * LEAST_WAITING))
        await asyncio.sleep(SOON_S)
        machine.turns.admit(new_id("b"))
        with pytest.raises(OverloadedError, match="isolation=shared") as refused:
            machine.turns.admit(new_id("a"))
        assert refused.value.http_status == 429
        await waiting
        machine.turns.admit(new_id("a"))

    play(scene)


def test_a_batch_that_can_start_in_time_is_not_refused() -> None:
    machine = Machine()

    async def scene() -> None:
        batch = int(LONGEST_WAIT_S / (1 + REST) / START_S)
        waiting = asyncio.create_task(machine.start_all("a" * batch))
        await asyncio.sleep(SOON_S)
        machine.turns.admit(new_id("a"))
        await waiting

    play(scene)


def test_those_that_come_together_are_counted_before_they_wait() -> None:
    machine = Machine()

    async def scene() -> None:
        same = new_id("a")
        machine.turns.admit(same)
        admitted = [machine.is_admitted("a") for _ in range(1_000)].count(True)
        assert LEAST_WAITING < admitted < LONGEST_WAIT_S / START_S * 2
        machine.turns.admit(same)  # it is repeated
        await asyncio.sleep(COMING_S)
        machine.turns.admit(new_id("a"))  # they have not come

    play(scene)


def test_nothing_is_kept_of_workspaces_that_have_rested() -> None:
    machine = Machine()

    async def scene() -> None:
        await machine.start_all("abcdef")
        await asyncio.sleep((1 + REST) * START_S)
        await machine.start("g")
        assert len(machine.turns) == 1

    play(scene)


@pytest.mark.parametrize(("processors", "starts"), [(1, 1), (2, 1), (7, 1), (8, 2), (64, 16)])
def test_a_large_machine_starts_several_at_once(processors: int, starts: int) -> None:
    assert starts_at_once(processors) == starts


async def test_the_actors_of_a_replica_start_in_turn() -> None:
    under_way: list[ExecutionId] = []
    turns, most = StartTurns(1), 0

    class Actor:
        """An actor that is ready after a few turns of the loop."""

        def __init__(self, execution_id: ExecutionId) -> None:
            self._execution_id = execution_id
            self.socket = self

        async def remote(self) -> None:
            nonlocal most
            under_way.append(self._execution_id)
            assert len(turns) == 1  # the workspace has one of these turns
            most = max(most, len(under_way))
            for _ in range(5):
                await asyncio.sleep(0)
            under_way.remove(self._execution_id)

    actors = DedicatedActors("nowhere", Actor, turns)
    owners = [actors.spawn(f"a:flow_c_{number}") for number in range(4)]
    # Whoever calls it starts it; there is no Ray here that would answer the call then.
    starts = [owner._start_once() for owner in owners]  # type: ignore[attr-defined]
    await asyncio.gather(*starts)
    assert most == 1
