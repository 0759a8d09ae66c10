"""Whoever has to take over from an actor waits for no process that another step has prepared."""

import asyncio
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

from msgspec.structs import replace

from rillflow.actors.controller_actor import ControllerActor
from rillflow.actors.monitoring.reports import ObservedActor
from rillflow.actors.takeover.actor_watch import Stopped
from rillflow.actors.takeover.takeovers import Takeovers
from rillflow.ports.deployment import Deployment
from rillflow.runtime.supervision.convergence import DISPATCHER, EXECUTION, Replace, Running, Step
from rillflow.settings import Settings

WITHIN_S: Final = 60.0
EARLIER: Final = Deployment(
    store_id="s",
    version=1,
    partition_map=1,
    settings_digest="a",
    code_version="1/1",
    execution_actors=1,
    dispatcher_actors=1,
)
WANTED: Final = replace(EARLIER, version=2, settings_digest="b")
OWNER: Final = "rillflow:execution:0"
DISPATCHER_NAME: Final = "rillflow:dispatcher:0"


class Controller(ControllerActor):
    """One that finds an actor that is out of date, and notes its steps."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.prepares, self.is_prepared = asyncio.Event(), asyncio.Event()
        self._wanted = WANTED
        self._settings = Settings()
        self._names = [(DISPATCHER_NAME, DISPATCHER), (OWNER, EXECUTION)]
        self._lease = self._held = None
        self._steps = 0
        self._looking = asyncio.Lock()
        reports: Any = SimpleNamespace(
            take=self._taken,
            given_up=list,
            note_restart=lambda _: None,
            expect=lambda _: None,
        )
        self._reports = reports
        self._takeovers = Takeovers(self._looking, reports, self._restarted, lambda *_: None)
        self._takeovers.nodes = self._wanted_nodes = partial(_here)
        others: Any = SimpleNamespace(
            deployment=self._deployment,
            check=self._checked,
            failing=list,
            left_alone=list,
            prepare=self._prepare,
        )
        self._store = self._starts = self._drains = self._spare = others

    async def _taken(self) -> list[ObservedActor]:
        return [
            ObservedActor(Running(DISPATCHER_NAME, DISPATCHER, WANTED), object(), None),
            ObservedActor(Running(OWNER, EXECUTION, EARLIER), object(), None),
        ]

    async def _deployment(self) -> None:
        """Nobody has deployed anything later."""

    async def _checked(self, _: Sequence[ObservedActor]) -> None:
        """All have started."""

    async def _prepare(self, nodes: Sequence[str | None], _: str) -> bool:
        assert list(nodes) == [None]
        self.prepares.set()
        return await self.is_prepared.wait()

    async def _restarted(self, name: str, *_: Any) -> str:
        self.log.append(f"taken over: {name}")
        return "here"

    def _say(self, reason: str | None, cause: str = "") -> None:
        del reason, cause

    def _causes(self, seen: list[ObservedActor]) -> str:
        del seen
        return ""

    async def _carry_out(self, step: Step, seen: dict[str, ObservedActor]) -> None:
        assert self._looking.locked()
        assert isinstance(step, Replace)
        assert step.name in seen
        self.log.append(f"replaced: {step.name}")


async def test_a_takeover_does_not_wait_until_a_process_is_prepared() -> None:
    controller = Controller()
    async with asyncio.timeout(WITHIN_S):
        looking = asyncio.create_task(controller._look())
        await controller.prepares.wait()
        await controller._takeovers.take_over([Stopped(DISPATCHER_NAME, object(), "gone")], _all)
        controller.is_prepared.set()
        await looking
        assert controller.log == [f"taken over: {DISPATCHER_NAME}"], "what was seen is out of date"
        await controller._look()
    assert controller.log[1:] == [f"replaced: {OWNER}"]


def _here() -> list[str]:
    return ["here"]


async def _all(stopped: Sequence[Stopped]) -> list[Stopped]:
    return list(stopped)
