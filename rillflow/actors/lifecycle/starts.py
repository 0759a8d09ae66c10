"""The actors that the controller has started, until they report or have turned out not to start.

An exception in the constructor of an actor ends the actor for good: Ray does not start it again,
and nobody but its creator hears of the cause.

Used by `actors/lifecycle/steps.py`.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import ray

from rillflow.actors.monitoring.reports import ANSWER_S, ObservedActor, Reports
from rillflow.runtime.supervision.actor_pauses import ActorPauses

log = logging.getLogger("rillflow.controller")

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 60.0
"""Between the starts of an actor that does not start."""


class Starts:
    """Notices actors that do not start, why, and until when they are not started again."""

    def __init__(self, reports: Reports) -> None:
        """Count failed starts as restarts of ``reports``."""
        self._reports = reports
        self._pauses = ActorPauses(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._begun: dict[str, Any] = {}
        self._causes: dict[str, str] = {}

    def begun(self, name: str, actor: Any) -> None:
        """Know of an actor that is being started."""
        self._begun[name] = actor

    def failing(self) -> set[str]:
        """Return the actors that have not started, and are not started again yet."""
        return self._pauses.names()

    def causes(self) -> list[str]:
        """Return why actors have not started; empty if all have."""
        return [f"{name} does not start: {why}" for name, why in self._causes.items()]

    async def check(self, seen: Sequence[ObservedActor]) -> None:
        """Compare the actors that were started with those that there are."""
        there = {each.running.name for each in seen}
        for name in [each.running.name for each in seen if each.report is not None]:
            self._begun.pop(name, None)
            self._causes.pop(name, None)
            self._pauses.forget(name)
        for name in [name for name in self._begun if name not in there]:
            try:
                await asyncio.wait_for(self._begun[name].report.remote(), ANSWER_S)
            except ray.exceptions.RayError as error:
                self.failed(name, error)
            except TimeoutError:
                continue  # It starts; the name was not in the list yet.

    def failed(self, name: str, error: ray.exceptions.RayError) -> None:
        """Note that an actor has ended instead of starting."""
        self._begun.pop(name, None)
        pause_s = self._pauses.begin(name)
        if not has_failed_to_start(error):
            return  # The name has led to the one before, of whose end Ray had not heard yet.
        self._causes[name] = _last_line(error)
        self._reports.note_restart(name)
        facts = {"actor": name, "cause": self._causes[name], "pause_s": pause_s}
        log.error("actor_failed_to_start", extra=facts)


def has_failed_to_start(error: ray.exceptions.RayError) -> bool:
    """Tell whether an actor ended because it could not start, not because it was killed."""
    is_end = isinstance(error, ray.exceptions.RayActorError)
    return not is_end or error.actor_init_failed


def _last_line(error: ray.exceptions.RayError) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
