"""Calls of quick functions share Ray tasks: one takes further calls, one after the other.

A Ray task costs half a millisecond of processor time and more, however little its function does.
So the Ray task of a call that has ended asks its dispatcher for another call of the same function
with the same ``rayOptions``. Each call has its own input, outcome, time and cancellation.

Calls of a function that is not quick are Ray tasks of their own.

Used by `ray_tasks/gateway.py`.
"""

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from cachetools import LRUCache
from ray.exceptions import RayError, WorkerCrashedError

from rillflow.gateways.limits.concurrency import Caller
from rillflow.ray_tasks.attempts import refused_options
from rillflow.ray_tasks.call_feed import FeedServer
from rillflow.ray_tasks.limits.task_queue import TaskQueue
from rillflow.ray_tasks.limits.task_room import Place, demand_of
from rillflow.ray_tasks.options import CallOptions
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.tasks import (
    MOST_KEPT,
    CallOutcome,
    Result,
    encoded_call,
    packed,
    returned_done,
)
from rillflow.ray_tasks.worker import FunctionCall

MOST_FRESH: Final = 2
"""While so many Ray tasks of a function have told no outcome, its next calls wait here."""
TOKEN_BYTES: Final = 16


class Limits(NamedTuple):
    """Limits of sharing, in seconds.

    Attributes:
        quick_s: A function whose last call has taken no longer is quick.
        shared_s: After so long a Ray task takes no further call, so that others get its worker.
        patience_s: If a Ray task has told no outcome for so long, since it has not begun or its
            function is not quick now, calls wait for it no longer, only for room.
    """

    quick_s: float = 0.02
    shared_s: float = 0.03
    patience_s: float = 0.5


_LIMITS: Final = Limits()
_NONE: Final = b""

_outcome_decoder: Final = msgspec.msgpack.Decoder(CallOutcome)


class _Item:
    """A call that waits for its outcome, and the Ray task that makes it."""

    __slots__ = ("call", "caller", "group", "result", "start", "task")

    def __init__(
        self,
        call: FunctionCall,
        caller: Caller,
        group: "_Group",
        start: "Callable[[_Item, Place], None]",
    ) -> None:
        self.call = call
        self.caller = caller
        self.group = group
        self.start = start
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.task: _Task | None = None

    def is_wanted(self) -> bool:
        """Tell whether somebody waits for it."""
        return not self.result.done()

    def begin(self, place: Place) -> None:
        """Start a Ray task for this call."""
        self.start(self, place)


class _Task:
    """A Ray task, known to its worker by a token, and the call that it makes now."""

    __slots__ = (
        "begun_s",
        "group",
        "is_ending",
        "item",
        "number",
        "place",
        "reference",
        "since_s",
        "token",
        "until_s",
    )

    def __init__(self, item: _Item, token: bytes, place: Place, begun_s: float) -> None:
        self.group = item.group
        self.number = item.call.number
        self.token = token
        self.place = place
        self.item: _Item | None = item
        self.reference: Any = None
        self.begun_s = begun_s
        self.since_s: float | None = None
        """When it was given its call; None of the first, which waits in Ray's queue."""
        self.until_s: float | None = None
        self.is_ending = False


class _Group:
    """The calls of one function with the same options."""

    __slots__ = ("demand", "fresh", "is_local", "is_quick", "look", "options")

    def __init__(self, options: CallOptions) -> None:
        self.options = options
        self.demand = demand_of(options)
        self.fresh: dict[int, _Task] = {}
        self.is_quick = False
        self.is_local = True
        self.look: asyncio.TimerHandle | None = None

    def is_open(self) -> bool:
        """Tell whether the next call is worth a Ray task."""
        return not self.is_quick or len(self.fresh) < MOST_FRESH


class Tasks(Protocol):
    """Starts Ray tasks; ``RayTasks`` does so on Ray."""

    async def start(self, call: FunctionCall, options: CallOptions, workspace: str) -> Any:
        """Start a call of a workspace, and return the reference to what comes of it."""

    def start_now(self, call: FunctionCall, options: CallOptions) -> Any:
        """Do the same for a small input."""

    def end(self, reference: Any) -> None:
        """End what nobody waits for."""


class SharedTasks:
    """Makes calls as Ray tasks, several by one where they are quick."""

    def __init__(self, tasks: Tasks, path: str, queue: TaskQueue, limits: Limits = _LIMITS) -> None:
        """Listen at ``path`` for the workers of this node; empty is not at all."""
        self._tasks = tasks
        self._queue = queue
        self._limits = limits
        self._look_s = limits.patience_s / 2
        self._feed = FeedServer(path, self._told)
        self._by_token: dict[bytes, _Task] = {}
        self._groups: LRUCache[tuple[FunctionTarget, CallOptions], _Group] = LRUCache(MOST_KEPT)

    async def result(self, call: FunctionCall, options: CallOptions, caller: Caller) -> Result:
        """Make a call with a small input in its turn, and return what came of it.

        Raises:
            RayError: The call was lost.
            GatewayError: Ray refuses the options, or there is no such runtime environment.
        """
        self._feed.start()
        item = _Item(call, caller, self._group(call, options), self._begin)
        self._queue.ask(item)
        self._look_after(item.group)
        try:
            return await item.result
        except asyncio.CancelledError:
            item.result.cancel()
            self._queue.forget(item)
            task = item.task
            if task is not None and task.item is item:
                task.is_ending = True
                self._tasks.end(task.reference)
            raise
        finally:
            del item  # the traceback of an error has this frame, and would keep itself

    async def alone(self, call: FunctionCall, options: CallOptions, workspace: str) -> Result:
        """Make a call of a workspace whose input may be large, in a Ray task that has a place.

        Raises:
            RayError: The call was lost.
            GatewayError: Ray refuses the options, or there is no such runtime environment.
        """
        try:
            reference = await self._tasks.start(call, options, workspace)
        except RayError:
            raise
        except (TypeError, ValueError) as error:
            raise refused_options(options, error) from error
        try:
            return _result(await reference)
        except asyncio.CancelledError:
            self._tasks.end(reference)
            raise

    def close(self) -> None:
        """Give no further calls."""
        self._feed.close()

    def _group(self, call: FunctionCall, options: CallOptions) -> _Group:
        key = call.target, options
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(options)
        return group

    def _begin(self, item: _Item, place: Place) -> None:
        """Start a Ray task; what hinders it is the outcome of the call."""
        group = item.group
        # A call that is alone is not worth a connection; there may be room for one at a time.
        has_others = group.fresh or self._queue.waits_in(group)
        is_shared = has_others and group.is_local and not group.options.max_calls
        feed = self._feed.path if is_shared else ""
        token = secrets.token_bytes(TOKEN_BYTES) if feed else _NONE
        task = _Task(item, token, place, asyncio.get_running_loop().time())
        try:
            call = item.call._replace(feed=feed, token=token) if feed else item.call
            task.reference = self._tasks.start_now(call, group.options)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            item.result.set_exception(_hindrance(group.options, error))
            self._queue.leave(place)
            return
        item.task = task
        group.fresh[task.number] = task
        if token:
            self._by_token[token] = task
        asyncio.wrap_future(task.reference.future()).add_done_callback(partial(self._ended, task))

    def _ended(self, task: _Task, ended: "asyncio.Future[Any]") -> None:
        """Take the outcome of the call that a Ray task has ended with, if it has not told it."""
        group = task.group
        self._by_token.pop(task.token, None)
        group.fresh.pop(task.number, None)
        item, task.item = task.item, None
        if task.token:
            self._note_distance(group, ended)
        error = None if ended.cancelled() else ended.exception()
        if item is not None and not item.result.done():
            if error is not None:
                item.result.set_exception(error)
            else:
                self._take(group, item, ended)
        self._queue.leave(task.place)

    def _note_distance(self, group: _Group, ended: "asyncio.Future[Any]") -> None:
        """Share no more if a worker has not reached this process, as one of another node.

        Other nodes have workers to spare, which only calls in Ray's queue make use of.
        """
        if ended.cancelled() or ended.exception() is not None:
            return
        returned = ended.result()
        if isinstance(returned, bytes) and returned != _NONE:
            group.is_local = group.is_quick = False

    def _take(self, group: _Group, item: _Item, ended: "asyncio.Future[Any]") -> None:
        returned = _NONE if ended.cancelled() else ended.result()
        if returned == _NONE:
            item.result.set_exception(WorkerCrashedError())
            return
        done = returned_done(returned)
        if done is not None:
            self._note(group, done.took_s)
        item.result.set_result(_result(returned))

    def _told(self, frame: bytes) -> bytes:
        """Take an outcome of a Ray task that has not ended, and return its next call."""
        told = _outcome_decoder.decode(frame)
        task = self._by_token.get(told.task)
        if task is None:
            return _NONE
        group, item = task.group, task.item
        group.fresh.pop(task.number, None)
        task.item = None
        if item is not None and not item.result.done() and item.call.number == told.call:
            item.result.set_result(packed(told.done))
        self._note(group, max(told.done.took_s, self._seen_s(task)))
        following = self._following(task)
        self._queue.fill()
        return encoded_call(following.call) if following is not None else _NONE

    def _seen_s(self, task: _Task) -> float:
        """Return how long a call has taken, where that is more than a busy process explains."""
        if task.since_s is None:
            return 0.0
        seen_s = asyncio.get_running_loop().time() - task.since_s
        return seen_s if seen_s > self._limits.patience_s else 0.0

    def _following(self, task: _Task) -> _Item | None:
        """Return the next call of a Ray task; without one it ends."""
        now_s = asyncio.get_running_loop().time()
        if task.until_s is None:  # it may have waited in Ray's queue before
            task.until_s = now_s + self._limits.shared_s
        may_go_on = not task.is_ending and task.group.is_quick and now_s < task.until_s
        found = self._queue.next_of(task.group, task.place) if may_go_on else None
        call = None
        if found is not None:
            call, task.place = found
        item = call if isinstance(call, _Item) else None
        task.item = item
        task.since_s = now_s
        task.is_ending = item is None
        if item is not None:
            item.task = task
        return item

    def _note(self, group: _Group, took_s: float) -> None:
        may_share = group.is_local and self._feed.path and not group.options.max_calls
        group.is_quick = bool(may_share) and took_s <= self._limits.quick_s
        self._look_after(group)

    def _look_after(self, group: _Group) -> None:
        if group.look is None and group.is_quick and self._queue.waits_in(group):
            group.look = asyncio.get_running_loop().call_later(self._look_s, self._look, group)

    def _look(self, group: _Group) -> None:
        """See whether calls wait for Ray tasks that have not begun, or take long."""
        group.look = None
        now_s = asyncio.get_running_loop().time()
        oldest = next(iter(group.fresh.values()), None)
        if oldest is not None and oldest.begun_s + self._limits.patience_s < now_s:
            group.is_quick = False
            self._queue.fill()
        else:
            self._look_after(group)


def _hindrance(options: CallOptions, error: Exception) -> Exception:
    """Return what is told of a Ray task that could not be started."""
    is_refused = isinstance(error, TypeError | ValueError) and not isinstance(error, RayError)
    return refused_options(options, error) if is_refused else error


def _result(returned: Any) -> Result:
    done = returned_done(returned)
    if done is not None:
        return packed(done)
    found: Result = returned
    return found
