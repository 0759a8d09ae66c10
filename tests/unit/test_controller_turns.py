"""Whoever has to take over from an actor waits for no other step of the controller.

A step waits for seconds: until a process is prepared, until an actor has finished what it is at,
until the next one answers. A take-over goes on meanwhile, also of the actor that the step is at.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

from msgspec.structs import replace

from rillflow.actors.controller_actor import ControllerActor
from rillflow.actors.lifecycle.steps import Steps
from rillflow.actors.monitoring.callback_address import CallbackAddress
from rillflow.actors.monitoring.reports import ObservedActor
from rillflow.actors.takeover.actor_watch import Stopped
from rillflow.actors.takeover.claims import Claims
from rillflow.actors.takeover.takeovers import Takeovers
from rillflow.ports.deployment import Deployment
from rillflow.runtime.supervision.convergence import DISPATCHER, EXECUTION, Kind, Running
from rillflow.settings import Settings
from tests.deployments import FIRST

WITHIN_S: Final = 60.0
EARLIER: Final = FIRST
WANTED: Final = replace(EARLIER, version=2, settings_digest="b")
OTHER_MAP: Final = replace(WANTED, partition_map=2)
CALLS: Final = "rillflow:dispatcher:0"
OWNER: Final = "rillflow:execution:0"
OWNERS: Final = (OWNER, "rillflow:execution:1")


class Actor:
    """An actor of Ray, which may be ended, and whose answers may have to wait."""

    def __init__(self, name: str, deployed: Deployment = WANTED) -> None:
        self.name = name
        self.deployed = deployed
        self.is_asked, self.is_ended, self.finishes = asyncio.Event(), False, True
        self.has_left, self.has_started = asyncio.Event(), asyncio.Event()
        self.has_left.set()
        self.has_started.set()
        self.leave = SimpleNamespace(remote=self._left)
        self.report = SimpleNamespace(remote=self._reported)

    def seen(self) -> ObservedActor:
        kind: Kind = DISPATCHER if self.name == CALLS else EXECUTION
        return ObservedActor(Running(self.name, kind, self.deployed), self, None)

    def lost(self) -> Stopped:
        return Stopped(self.name, self, "gone")

    async def _left(self) -> bool:
        self.is_asked.set()
        await self.has_left.wait()
        return self.finishes

    async def _reported(self) -> Any:
        self.is_asked.set()
        await self.has_started.wait()
        return SimpleNamespace(node="here")


class Process(Steps):
    """What the controller does to actors, which are here."""

    def __init__(self, controller: "Controller") -> None:
        super().__init__(
            controller._settings,
            WANTED,
            controller._claims,
            controller._reports,
            end=controller.end,
            replace=controller._replace,
        )
        self._controller = controller
        self.nodes = _here

    def start_actor(self, name: str, node: str | None) -> Actor:
        del node
        return self._controller.start(name)


class Controller(ControllerActor):
    """One that looks at actors of this process, and notes which ones end and start."""

    def __init__(self, *actors: Actor) -> None:
        self.actors = {each.name: each for each in actors}
        self.next = {name: Actor(name) for name in (CALLS, *OWNERS)}
        self.log: list[str] = []
        self.prepares, self.is_prepared = asyncio.Event(), asyncio.Event()
        self.is_prepared.set()
        self._wanted = WANTED
        self._settings = Settings()
        self._names = [(CALLS, DISPATCHER), (OWNER, EXECUTION)]
        self._lease = self._held = None
        self._steps = 0
        self._callback_address = CallbackAddress("n", lambda *told: self.log.append(f"{told}"))
        self._claims = Claims()
        reports: Any = SimpleNamespace(
            take=self._taken,
            given_up=list,
            note_restart=lambda _: None,
            expect=lambda _: None,
        )
        self._reports = reports
        self._actor_steps = Process(self)
        self._takeovers = Takeovers(
            self._claims,
            reports,
            self._actor_steps.restart,
            self._actor_steps.start_actor,
            self.end,
        )
        self._takeovers.nodes = self._wanted_nodes = partial(_here)
        others: Any = SimpleNamespace(deployment=self._deployment, prepare=self._prepare)
        self._store = self._spare = others

    def end(self, actor: Actor) -> None:
        actor.is_ended = True
        self.log.append(f"{actor.name} ends")
        if self.actors.get(actor.name) is actor:
            del self.actors[actor.name]

    def start(self, name: str) -> Actor:
        assert name not in self.actors, "two processes of one name"
        self.log.append(f"{name} starts")
        started = self.actors[name] = self.next[name]
        return started

    def _replace(self, name: str, actor: Actor, start_next: Callable[[], Any]) -> Any:
        del name
        self.end(actor)
        return start_next()

    async def take_over(self, *lost: Actor) -> None:
        await self._takeovers.take_over([each.lost() for each in lost], _all)

    async def _taken(self) -> list[ObservedActor]:
        return [each.seen() for each in self.actors.values()]

    async def _deployment(self) -> None:
        """Nobody has deployed anything later."""

    async def _prepare(self, nodes: Sequence[str | None], _: str) -> bool:
        assert set(nodes) <= {None}
        self.prepares.set()
        return await self.is_prepared.wait()

    def _say(self, reason: str | None, cause: str = "") -> None:
        del reason, cause


@asynccontextmanager
async def looking(controller: Controller, until: asyncio.Event) -> AsyncIterator[None]:
    """Let the controller look, and go on with the test once it waits for something."""
    async with asyncio.timeout(WITHIN_S):
        look = asyncio.create_task(controller._look())
        await until.wait()
        yield
        await look


async def test_a_takeover_does_not_wait_until_a_process_is_prepared() -> None:
    calls, owner = Actor(CALLS), Actor(OWNER, EARLIER)
    controller = Controller(calls, owner)
    controller.is_prepared.clear()
    async with looking(controller, controller.prepares):
        await controller.take_over(calls)
        assert controller.log == [f"{CALLS} ends", f"{CALLS} starts"]
        controller.is_prepared.set()
    assert len(controller.log) == 2, "what was seen is out of date"
    await controller._look()
    assert controller.log[2:] == [f"{OWNER} ends", f"{OWNER} starts"]


async def test_a_takeover_does_not_wait_until_another_actor_has_finished() -> None:
    calls, owner = Actor(CALLS), Actor(OWNER, EARLIER)
    controller = Controller(calls, owner)
    owner.has_left.clear()
    async with looking(controller, owner.is_asked):
        await controller.take_over(calls)
        assert controller.log == [f"{CALLS} ends", f"{CALLS} starts"]
        owner.has_left.set()
    assert controller.log[2:] == [f"{OWNER} ends", f"{OWNER} starts"]


async def test_a_takeover_does_not_wait_until_the_next_process_answers() -> None:
    calls, owner = Actor(CALLS), Actor(OWNER, EARLIER)
    controller = Controller(calls, owner)
    started = controller.next[OWNER]
    started.has_started.clear()
    async with looking(controller, started.is_asked):
        await controller.take_over(calls)
        assert controller.log[2:] == [f"{CALLS} ends", f"{CALLS} starts"]
        started.has_started.set()
    assert not started.is_ended


async def test_two_takeovers_do_not_wait_for_each_other() -> None:
    calls, owner = Actor(CALLS), Actor(OWNER)
    controller = Controller(calls, owner)
    controller._claims.note_ending(())
    started = controller.next[OWNER]
    started.has_started.clear()
    async with asyncio.timeout(WITHIN_S):
        first = asyncio.create_task(controller.take_over(owner))
        await started.is_asked.wait()
        await controller.take_over(calls)
        started.has_started.set()
        await first
    assert controller.log == [
        f"{name} {what}" for name in (OWNER, CALLS) for what in ("ends", "starts")
    ]


async def test_an_actor_that_stops_while_it_finishes_is_started_once() -> None:
    calls, owner = Actor(CALLS), Actor(OWNER, EARLIER)
    controller = Controller(calls, owner)
    owner.has_left.clear()
    async with looking(controller, owner.is_asked):
        await controller.take_over(owner)
        owner.has_left.set()
    assert controller.log == [f"{OWNER} ends", f"{OWNER} starts"]
    assert not controller.next[OWNER].is_ended


async def test_a_process_that_stops_before_it_has_answered_is_left_to_whoever_takes_over() -> None:
    calls, owner = Actor(CALLS), Actor(OWNER, EARLIER)
    controller = Controller(calls, owner)
    stopped = controller.next[OWNER]
    stopped.has_started.clear()
    async with looking(controller, stopped.is_asked):
        controller.next[OWNER] = Actor(OWNER)
        await controller.take_over(stopped)
        stopped.has_started.set()
    assert controller.log[2:] == [f"{OWNER} ends", f"{OWNER} starts"]
    assert not controller.next[OWNER].is_ended


async def test_while_owners_of_another_partition_map_end_none_is_started() -> None:
    calls, *owners = Actor(CALLS), *(Actor(name, OTHER_MAP) for name in OWNERS)
    controller = Controller(calls, *owners)
    owners[1].has_left.clear()
    async with looking(controller, owners[1].is_asked):
        await controller.take_over(owners[0])
        assert controller.log == [f"{OWNERS[0]} ends"]
        owners[1].has_left.set()
    assert controller.log[1:] == [f"{OWNERS[1]} ends"]
    await controller._look()
    assert controller.log[2:] == [f"{OWNER} starts"]


async def test_between_two_looks_at_owners_of_another_partition_map_none_is_started() -> None:
    calls, *owners = Actor(CALLS), *(Actor(name, OTHER_MAP) for name in OWNERS)
    controller = Controller(calls, *owners)
    owners[1].finishes = False
    await controller._look()
    assert controller.log == []
    await controller.take_over(owners[0])
    assert controller.log == [f"{OWNERS[0]} ends"]


async def test_before_the_first_look_an_owner_is_ended_and_a_dispatcher_is_started() -> None:
    calls, *owners = Actor(CALLS), *(Actor(name, OTHER_MAP) for name in OWNERS)
    controller = Controller(calls, *owners)
    await controller.take_over(owners[0], calls)
    assert controller.log == [f"{OWNERS[0]} ends", f"{CALLS} ends", f"{CALLS} starts"]


async def test_once_everything_is_to_end_nothing_is_started() -> None:
    calls, owner = Actor(CALLS), Actor(OWNER, EARLIER)
    controller = Controller(calls, owner)
    owner.has_left.clear()
    async with looking(controller, owner.is_asked):
        controller._claims.close()
        owner.has_left.set()
        await controller.take_over(calls)
    assert controller.log == []


def _here() -> list[str]:
    return ["here"]


async def _all(stopped: Sequence[Stopped]) -> list[Stopped]:
    return list(stopped)
