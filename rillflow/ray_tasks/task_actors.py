"""Task actors of attempts that outlive their dispatcher: detached actors, one for each attempt.

Used by `ray_tasks/gateway.py`.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import ray

from rillflow.backoff import Backoff
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.ids import ExecutionId, TaskName, workspace_of
from rillflow.ports.gateway import DispatchRequest
from rillflow.ray_tasks.exports import actor_class
from rillflow.ray_tasks.system_failures import FIRST_PAUSE_S, LONGEST_PAUSE_S
from rillflow.ray_tasks.tasks import Report as Told
from rillflow.ray_tasks.tasks import Result, attempt_hash, called, packed
from rillflow.ray_tasks.worker import FunctionCall, failed_by
from rillflow.task_set import TaskSet

ASK_S: Final = 20.0
"""How long a question for the outcome waits for it, before it is asked again."""
ASKS_AGAIN_S: Final = 1.5 * ASK_S
"""A dispatcher that has not asked for so long does not wait for the outcome any more."""
UNREACHED_S: Final = 1.0
FIRST_QUESTION_S: Final = 30.0
"""How long a task actor waits for its first question, which whoever orders it asks at once."""
ENDED_S: Final = 5.0
"""How long Ray may take to end the process of a task actor that leaves."""
LOOKS: Final = 5
"""How often a task actor is looked for while Ray's controller does not answer."""
REPLY_S: Final = 3.0
"""How long a task actor may take to say who else asks, before it is killed."""
ACTOR_OPTIONS: Final[Mapping[str, Any]] = {
    "num_cpus": 1,  # while it runs; without it, Ray asks for a processor at the start only
    "lifetime": "detached",
    "get_if_exists": True,
    "max_restarts": 0,
    "max_task_retries": 0,
    "max_concurrency": 100,
}

_FINDING: Final = FairThread(
    most=sys.maxsize, most_of_one=sys.maxsize, name="task actors", threads=8
)
"""The threads of this process in which Ray finds or starts them, workspaces in turn."""

log = logging.getLogger("rillflow.ray_tasks")


class Report(NamedTuple):
    """What a function has last said about its progress."""

    number: int
    fraction: float | None
    message: str
    log: str | None = None


class _Leave(Protocol):
    """Ends the process of a task actor."""

    def __call__(self, *, by_ray: bool) -> None: ...


class TaskActor:
    """The actor that runs the function of one attempt once, and keeps its outcome.

    The function begins with the first question for its outcome, so that none begins after a wait
    for resources if whoever has ordered it is gone. The actor leaves when it is told to. One whose
    outcome nobody has asked for during ``unclaimed_s`` seconds leaves by itself, and what it runs
    ends with it. One that has not begun leaves sooner, after ``unbegun_s``: nothing is lost by it,
    and where Ray has given this process up while it started, nobody can ask or end it.
    """

    def __init__(
        self,
        call: FunctionCall,
        unclaimed_s: float,
        unbegun_s: float = FIRST_QUESTION_S,
        leave: "_Leave | None" = None,
    ) -> None:
        self._unclaimed_s = unclaimed_s
        self._unbegun_s = min(unbegun_s, unclaimed_s)
        self._leave = leave or _leave_for_good
        self._asked_s = time.monotonic()
        self._questions = 0
        self._askers: dict[str, float] = {}
        self._result: Result | None = None
        self._report = Report(0, None, "")
        self._news = asyncio.Condition()
        self._loop = asyncio.get_running_loop()
        self._watching = asyncio.create_task(self._leave_unclaimed(), name="unclaimed")
        self._function: threading.Thread | None = None
        self._call = call

    async def outcome(self, asker: str, heard: int = 0) -> "Result | Report | None":
        """Return the outcome, or else the progress; None if there is neither within ``ASK_S``.

        Args:
            asker: The name of the dispatcher that asks.
            heard: The number of the last report of progress that it has heard.
        """
        self._begin()
        self._askers[asker] = time.monotonic()
        self._questions += 1
        try:
            async with self._news:
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._news.wait_for(lambda: self._has_news(heard)), ASK_S
                    )
        finally:
            self._questions -= 1
            self._asked_s = time.monotonic()
        if self._result is None and self._report.number > heard:
            return self._report
        return self._result

    def _has_news(self, heard: int) -> bool:
        return self._result is not None or self._report.number > heard

    async def has_other_askers(self, asker: str) -> bool:
        """Forget a dispatcher, which does not ask any more, and tell whether others still ask.

        If none does, the dispatcher has Ray end this actor. Ray tries that once, and takes the
        actor for dead whatever comes of it, so the process ends by itself a little later.
        """
        self._askers.pop(asker, None)
        oldest_s = time.monotonic() - ASKS_AGAIN_S
        self._askers = {name: at_s for name, at_s in self._askers.items() if at_s > oldest_s}
        if not self._askers:
            self._loop.call_later(ENDED_S, self._leave_unasked)
        return bool(self._askers)

    def _leave_unasked(self) -> None:
        if not self._askers:
            self._leave(by_ray=False)

    def _begin(self) -> None:
        if self._function is None:
            self._function = threading.Thread(
                target=self._run, args=(self._call,), name="function", daemon=True
            )
            self._function.start()

    def _run(self, call: FunctionCall) -> None:
        try:
            self._result = packed(called(call, self._take_report))
        except BaseException as error:  # noqa: BLE001 - otherwise the outcome would never come
            self._result = packed(failed_by(error))
        asyncio.run_coroutine_threadsafe(self._tell(), self._loop)

    def _take_report(self, fraction: float | None, message: str, log: str | None) -> None:
        last = self._report
        if fraction is None and not message:  # the place of the log alone
            fraction, message = last.fraction, last.message
        self._report = Report(last.number + 1, fraction, message, log)
        asyncio.run_coroutine_threadsafe(self._tell(), self._loop)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _leave_unclaimed(self) -> None:
        left_s = self._left_s()
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = self._left_s()
        # One that has not begun asks Ray for nothing, which may have begun the actor elsewhere.
        self._leave(by_ray=self._function is not None)

    def _left_s(self) -> float:
        """Return in how many seconds this task actor is unclaimed, if nobody asks meanwhile."""
        if self._questions:
            return self._unclaimed_s
        most_s = self._unbegun_s if self._function is None else self._unclaimed_s
        return self._asked_s + most_s - time.monotonic()


class _Attempt:
    """The calls of one dispatcher that wait for the same attempt, and its task actor."""

    def __init__(self) -> None:
        self.calls = 0
        self.finding: asyncio.Future[Any] | None = None
        self.has_outcome = False
        self.is_durable = False

    @property
    def is_over(self) -> bool:
        """Tell whether nobody needs the outcome any more."""
        return not self.calls and (self.is_durable or not self.has_outcome)


class ActorNames:
    """Reads names of actors; who asks while they are read waits for the next reading."""

    def __init__(self, read: Callable[[], frozenset[str]]) -> None:
        """Read in a thread."""
        self._read = read
        self._now: asyncio.Task[frozenset[str]] | None = None
        self._next: asyncio.Task[frozenset[str]] | None = None

    async def next(self) -> frozenset[str]:
        """Return what a reading that has not begun yet finds; nothing if it fails."""
        if self._next is None:
            self._next = asyncio.create_task(self._look(self._now), name="task actors")
        return await asyncio.shield(self._next)

    async def _look(self, before: "asyncio.Task[frozenset[str]] | None") -> frozenset[str]:
        if before is not None:
            await asyncio.wait({before})
        self._now, self._next = self._next, None
        try:
            return await asyncio.to_thread(self._read)
        except Exception:
            log.exception("ray_actors_not_listed")
            return frozenset()


class TaskActors:
    """The task actors of a dispatcher's calls, found or begun, until their outcomes are durable.

    An attempt may be ordered by two owners, so that two calls of one dispatcher, or two
    dispatchers, wait for the same task actor. Only the last of them ends it.
    """

    def __init__(self, namespace: str, unclaimed_s: float, asker: str) -> None:
        """Ask as ``asker``, the name of the dispatcher."""
        self._namespace = namespace
        self._unclaimed_s = unclaimed_s
        self._asker = asker
        self._attempts: dict[CallId, _Attempt] = {}
        self._ending: TaskSet[None] = TaskSet()
        self._looks = ActorNames(partial(_names_in, namespace))

    async def is_begun(self, request: DispatchRequest) -> bool:
        """Tell whether an attempt has a task actor, of this dispatcher, an earlier or another one.

        Nobody else asks for its outcome if whoever began it has died, so it must not wait.
        """
        attempt = self._attempts.get(request.call)
        if attempt is not None and attempt.finding is not None:
            return True
        return actor_name(*request.key) in await self._looks.next()

    async def result(
        self,
        request: DispatchRequest,
        call: FunctionCall,
        options: Mapping[str, Any],
        told: Told,
    ) -> Result:
        """Return the outcome of an attempt that has begun, started only if no task actor is there.

        ``told`` is given its progress.

        Raises:
            RayError: The task actor, or its node, is lost.
            ValueError: Ray refuses the options.
        """
        given = {**ACTOR_OPTIONS, **options, "name": actor_name(*request.key)}
        given["namespace"] = self._namespace
        # Ray waits for its controller there, so it is done beside the event loop.
        find = partial(_find_or_start, call, self._unclaimed_s, given)
        finding = _FINDING.begin(workspace_of(request.execution_id), find)
        self._attempts[request.call].finding = finding
        return await _outcome_of(await asyncio.shield(finding), self._asker, told)

    def begin(self, call: CallId) -> None:
        """Note that a call waits for the outcome of its attempt."""
        self._attempts.setdefault(call, _Attempt()).calls += 1

    def release(self, call: CallId, *, has_outcome: bool) -> None:
        """Note that a call waits no longer; without an outcome the attempt is unwanted."""
        attempt = self._attempts[call]
        attempt.calls -= 1
        attempt.has_outcome |= has_outcome
        self._end_if_over(call, attempt)

    def settle(self, call: CallId) -> None:
        """Note that the outcome of a call is durable."""
        attempt = self._attempts.get(call)
        if attempt is not None:
            attempt.is_durable = True
            self._end_if_over(call, attempt)

    def end_lost(self, call: CallId) -> None:
        """End the task actor of a call that an earlier process of the dispatcher has made."""
        if call not in self._attempts:
            name = actor_name(*call[:3])
            look = partial(ray.get_actor, name, self._namespace)
            self._ending.start(_end(found(look), self._asker))

    async def close(self) -> None:
        """Wait for the task actors that are leaving; the others go on."""
        await self._ending.wait()

    def _end_if_over(self, call: CallId, attempt: _Attempt) -> None:
        if attempt.is_over:
            del self._attempts[call]
            if attempt.finding is not None:
                ending = _end(attempt.finding, self._asker, is_durable=attempt.is_durable)
                self._ending.start(ending)


def actor_name(execution_id: ExecutionId, task: TaskName, attempt: int) -> str:
    """Return the name of the task actor of an attempt; it does not tell the execution's id."""
    return f"rillflow:task:{attempt_hash(execution_id, task, attempt)}"


def _names_in(namespace: str) -> frozenset[str]:
    found = ray.util.list_named_actors(all_namespaces=True)
    return frozenset(each["name"] for each in found if each["namespace"] == namespace)


def _find_or_start(call: FunctionCall, unclaimed_s: float, options: Mapping[str, Any]) -> Any:
    return actor_class(TaskActor).options(**options).remote(call, unclaimed_s)


async def _outcome_of(actor: Any, asker: str, told: Told) -> Result:
    heard = 0
    while True:
        try:
            found = await actor.outcome.remote(asker, heard)
        except ray.exceptions.ActorUnavailableError:
            await asyncio.sleep(UNREACHED_S)
            continue
        if isinstance(found, Report):
            heard = found.number
            told(found.fraction, found.message, found.log)
        elif found is not None:
            return Result(*found)


async def found(look: Callable[[], Any], first_pause_s: float = FIRST_PAUSE_S) -> Any:
    """Return the task actor that a look in a thread finds; Ray may be too busy to tell at first.

    Raises:
        ValueError: There is none.
        RayError: Ray has not told.
    """
    pauses = Backoff(first_pause_s, LONGEST_PAUSE_S)
    for _ in range(LOOKS - 1):
        with suppress(ray.exceptions.RayError):
            return await asyncio.to_thread(look)
        await asyncio.sleep(pauses.next_s())
    return await asyncio.to_thread(look)


async def _end(finding: Awaitable[Any], asker: str, *, is_durable: bool = False) -> None:
    """End a task actor, once no other dispatcher asks for its outcome or that ``is_durable``."""
    with suppress(Exception):  # what could not be begun, or has ended, has nothing to end
        actor = await finding
        while True:
            if not await _has_other_askers(actor, asker) or is_durable:
                break
            await asyncio.sleep(ASK_S)
        _leave(actor)


async def _has_other_askers(actor: Any, asker: str) -> bool:
    """Ask a task actor; one that waits for resources, or is busy, does not answer in time.

    Raises:
        RayError: It has ended.
    """
    try:
        answer = asyncio.wrap_future(actor.has_other_askers.remote(asker).future())
        return bool(await asyncio.wait_for(answer, REPLY_S))
    except (TimeoutError, ray.exceptions.ActorUnavailableError):
        return False


def _leave(actor: Any) -> None:
    ray.kill(actor, no_restart=True)


def _leave_for_good(*, by_ray: bool) -> None:
    """End this process, by Ray at first if it is to; that may take its actor for dead already."""
    if not by_ray:
        os._exit(1)
    by_itself = threading.Timer(ENDED_S, os._exit, (1,))
    by_itself.daemon = True
    by_itself.start()
    _leave(ray.get_runtime_context().current_actor)
