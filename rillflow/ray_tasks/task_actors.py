"""TaskActors of attempts that outlive their dispatcher: detached actors, one for each attempt."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final

import ray

from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ports.gateway import DispatchRequest
from rillflow.ray_tasks.tasks import Result, packed
from rillflow.ray_tasks.worker import FunctionCall, call_function, failed_by
from rillflow.task_set import TaskSet

ASK_S: Final = 20.0
"""How long a question for the outcome waits for it, before it is asked again."""
UNREACHED_S: Final = 1.0
ACTOR_OPTIONS: Final[Mapping[str, Any]] = {
    "num_cpus": 1,  # while it runs; without it, Ray asks for a processor at the start only
    "lifetime": "detached",
    "get_if_exists": True,
    "max_restarts": 0,
    "max_task_retries": 0,
    "max_concurrency": 100,
}


class TaskActor:
    """The actor that runs the function of one attempt once, and keeps its outcome.

    The function begins with the first question for its outcome, so that none begins after a wait
    for resources if whoever has ordered it is gone. The actor leaves when it is told to. One whose
    outcome nobody has asked for during ``unclaimed_s`` seconds leaves by itself, and what it runs
    ends with it.
    """

    def __init__(self, call: FunctionCall, unclaimed_s: float) -> None:
        self._unclaimed_s = unclaimed_s
        self._asked_s = time.monotonic()
        self._questions = 0
        self._result: Result | None = None
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._watching = asyncio.create_task(self._leave_unclaimed(), name="unclaimed")
        self._function: threading.Thread | None = None
        self._call = call

    async def outcome(self) -> Result | None:
        """Return the outcome; None if there is none within ``ASK_S``."""
        self._begin()
        self._questions += 1
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), ASK_S)
        finally:
            self._questions -= 1
            self._asked_s = time.monotonic()
        return self._result

    def _begin(self) -> None:
        if self._function is None:
            self._function = threading.Thread(
                target=self._run, args=(self._call,), name="function", daemon=True
            )
            self._function.start()

    def _run(self, call: FunctionCall) -> None:
        try:
            self._result = packed(call_function(call))
        except BaseException as error:  # noqa: BLE001 - otherwise the outcome would never come
            self._result = packed(failed_by(error))
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _leave_unclaimed(self) -> None:
        left_s = self._unclaimed_s
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = self._left_s()
        _leave(ray.get_runtime_context().current_actor)

    def _left_s(self) -> float:
        """Return in how many seconds this task actor is unclaimed, if nobody asks meanwhile."""
        if self._questions:
            return self._unclaimed_s
        return self._asked_s + self._unclaimed_s - time.monotonic()


class TaskActors:
    """The task actors of a dispatcher's calls, found or begun, until their outcomes are durable."""

    def __init__(self, namespace: str, unclaimed_s: float) -> None:
        self._namespace = namespace
        self._unclaimed_s = unclaimed_s
        self._actors: dict[CallId, asyncio.Future[Any]] = {}
        self._ending: TaskSet[None] = TaskSet()

    async def result(
        self, request: DispatchRequest, call: FunctionCall, options: Mapping[str, Any]
    ) -> Result:
        """Return the outcome of an attempt, begun only if no task actor of it is there.

        Raises:
            RayError: The task actor, or its node, is lost.
            ValueError: Ray refuses the options.
        """
        given = {**ACTOR_OPTIONS, **options, "name": actor_name(request)}
        given["namespace"] = self._namespace
        # Ray waits for its controller there, so it is done beside the event loop.
        finding = asyncio.ensure_future(
            asyncio.to_thread(_find_or_start, call, self._unclaimed_s, given)
        )
        self._actors[request.call] = finding
        return await _outcome_of(await asyncio.shield(finding))

    def settle(self, call: CallId) -> None:
        """End the task actor of a call, if it has one: its outcome is durable, or unwanted."""
        finding = self._actors.pop(call, None)
        if finding is not None:
            self._ending.start(_end(finding))

    async def close(self) -> None:
        """Wait for the task actors that are leaving; the others go on."""
        await self._ending.wait()


def actor_name(request: DispatchRequest) -> str:
    """Return the name of the task actor of an attempt; it does not tell the execution's id."""
    text = "\0".join((request.execution_id, request.task, str(request.attempt)))
    digest = hashlib.blake2b(text.encode(), digest_size=16, person=b"task actor").hexdigest()
    return f"rillflow:task:{digest}"


@cache
def _actor_class() -> Any:
    return ray.remote(TaskActor)


def _find_or_start(call: FunctionCall, unclaimed_s: float, options: Mapping[str, Any]) -> Any:
    return _actor_class().options(**options).remote(call, unclaimed_s)


async def _outcome_of(actor: Any) -> Result:
    while True:
        try:
            found = await actor.outcome.remote()
        except ray.exceptions.ActorUnavailableError:
            await asyncio.sleep(UNREACHED_S)
            continue
        if found is not None:
            return Result(*found)


async def _end(finding: "asyncio.Future[Any]") -> None:
    with suppress(Exception):  # what could not be begun has nothing to end
        _leave(await finding)


def _leave(actor: Any) -> None:
    ray.kill(actor, no_restart=True)
