"""The functions on Ray of a run: each runs in a task actor, which outlives dispatchers.

Who orders an attempt again finds its task actor. It ends when its outcome is durable, or when no
dispatcher that lives waits for it, as `rillflow/ray_tasks/task_actors.py` has it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from tests.simulation.surroundings import Surroundings
from tests.simulation.virtual_loop import LIFE, Life

Key: TypeAlias = tuple[str, str, int]
"""An attempt: execution, task and number."""


class ActorWatch(Protocol):
    """Who is told of every task actor."""

    def begun(self, key: Key) -> None:
        """Hear that a function has begun."""

    def unwanted(self, key: Key) -> None:
        """Hear that a function is ended, since nobody waits for it."""

    def delivered(self, key: Key) -> None:
        """Hear that a task actor leaves, since its outcome is durable."""


class _Attempt:
    """The calls of one dispatcher that wait for the same attempt."""

    def __init__(self) -> None:
        self.calls = 0
        self.has_outcome = False
        self.is_durable = False

    @property
    def is_over(self) -> bool:
        return not self.calls and (self.is_durable or not self.has_outcome)


class TaskActors:
    """The task actors of all dispatchers of a run.

    Args:
        around: The world.
        life: What the functions run in; it does not end.
        watch: Is told of each.
        work: Does what a function does, and returns what comes of it.
    """

    def __init__(
        self,
        around: Surroundings,
        life: Life,
        watch: ActorWatch,
        work: Callable[[DispatchRequest], Awaitable[DispatchAnswer]],
    ) -> None:
        self._around = around
        self._life = life
        self._watch = watch
        self._work = work
        self._running: dict[Key, asyncio.Task[DispatchAnswer]] = {}
        self._attempts: dict[tuple[Life | None, CallId], _Attempt] = {}

    async def outcome(self, request: DispatchRequest) -> DispatchAnswer:
        """Return the outcome of an attempt, begun only if it has no task actor."""
        attempt = self._attempts.setdefault((LIFE.get(), request.call), _Attempt())
        attempt.calls += 1
        try:
            answer = await asyncio.shield(self._found_or_begun(request))
            attempt.has_outcome = True
            return answer
        finally:  # of a dispatcher that was killed nothing runs any more
            attempt.calls -= 1
            self._end_if_over(request.call, attempt)

    def settled(self, call: CallId) -> None:
        """Hear from a dispatcher that the outcome of a call is durable."""
        attempt = self._attempts.get((LIFE.get(), call))
        if attempt is not None:
            attempt.is_durable = True
            self._end_if_over(call, attempt)

    def lost(self, call: CallId) -> None:
        """Hear from a dispatcher that nobody waits for a call of an earlier one."""
        if (LIFE.get(), call) not in self._attempts:
            self._end_unwanted(call)

    def _found_or_begun(self, request: DispatchRequest) -> "asyncio.Task[DispatchAnswer]":
        running = self._running.get(request.key)
        if running is None:
            self._watch.begun(request.key)
            running = self._around.loop.spawn(self._life, self._made(request))
            self._running[request.key] = running
        return running

    async def _made(self, request: DispatchRequest) -> DispatchAnswer:
        return await self._work(request)

    def _end_if_over(self, call: CallId, attempt: _Attempt) -> None:
        if not attempt.is_over or self._attempts.pop((LIFE.get(), call), None) is None:
            return
        if not attempt.is_durable:
            self._end_unwanted(call)
        elif self._running.pop(call[:3], None) is not None:
            self._watch.delivered(call[:3])

    def _end_unwanted(self, call: CallId) -> None:
        others = (each for life, each in self._attempts if life is None or not life.dead)
        key = call[:3]
        if key in self._running and all(other[:3] != key for other in others):
            self._running.pop(key).cancel()
            self._watch.unwanted(key)
