"""Calls of quick functions share Ray tasks: one takes further calls, one after the other.

A Ray task costs half a millisecond of processor time and more, however little its function does.
So the Ray task of a call that has ended asks its dispatcher for another call of the same function
with the same ``rayOptions``. Each call has its own input, outcome, time and cancellation.

Calls of a function that is not quick are Ray tasks of their own, which wait in Ray's queue.

Used by `ray_tasks/gateway.py`.
"""

import asyncio
from collections import deque
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from cachetools import LRUCache
from ray.exceptions import RayError, WorkerCrashedError

from rillflow.ray_tasks.attempts import refused_options
from rillflow.ray_tasks.call_feed import FeedServer
from rillflow.ray_tasks.options import CallOptions
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.tasks import (
    MOST_KEPT,
    SMALL_BYTES,
    CallOutcome,
    Result,
    encoded_call,
    packed,
    returned_done,
)
from rillflow.ray_tasks.worker import FunctionCall

MOST_FRESH: Final = 2
"""While so many Ray tasks of a function have told no outcome, its next calls wait here."""


class Limits(NamedTuple):
    """Limits of sharing, in seconds.

    Attributes:
        quick_s: A function whose last call has taken no longer is quick.
        shared_s: After so long a Ray task takes no further call, so that others get its worker.
        patience_s: If a Ray task has told no outcome for so long, since it has not begun or its
            function is not quick now, all calls that wait here become Ray tasks.
    """

    quick_s: float = 0.02
    shared_s: float = 0.03
    patience_s: float = 0.5


_LIMITS: Final = Limits()
_NONE: Final = b""

_outcome_decoder: Final = msgspec.msgpack.Decoder(CallOutcome)


class _Item:
    """A call that waits for its outcome, and the Ray task that makes it."""

    __slots__ = ("call", "result", "task")

    def __init__(self, call: FunctionCall, result: "asyncio.Future[Result]") -> None:
        self.call = call
        self.result = result
        self.task: _Task | None = None


class _Task:
    """A Ray task, known by the number of its first call, and the call that it makes now."""

    __slots__ = (
        "begun_s",
        "group",
        "is_ending",
        "is_fed",
        "item",
        "number",
        "reference",
        "until_s",
    )

    def __init__(self, group: "_Group", item: _Item, reference: Any, begun_s: float) -> None:
        self.group = group
        self.number = item.call.number
        self.item: _Item | None = item
        self.reference = reference
        self.begun_s = begun_s
        self.until_s: float | None = None
        self.is_ending = False
        self.is_fed = False


class _Group:
    """The calls of one function with the same options."""

    __slots__ = ("fresh", "is_local", "is_quick", "look", "options", "waiting")

    def __init__(self, options: CallOptions) -> None:
        self.options = options
        self.waiting: deque[_Item] = deque()
        self.fresh: dict[int, _Task] = {}
        self.is_quick = False
        self.is_local = True
        self.look: asyncio.TimerHandle | None = None

    def next_item(self) -> _Item | None:
        """Return the call that has waited longest, and is still wanted."""
        while self.waiting:
            item = self.waiting.popleft()
            if not item.result.done():
                return item
        return None


class Tasks(Protocol):
    """Starts Ray tasks; ``RayTasks`` does so on Ray."""

    async def start(self, call: FunctionCall, options: CallOptions) -> Any:
        """Start a call and return the reference to what comes of it."""

    def start_now(self, call: FunctionCall, options: CallOptions) -> Any:
        """Do the same for a small input."""

    def end(self, reference: Any) -> None:
        """End what nobody waits for."""


class SharedTasks:
    """Makes calls as Ray tasks, several by one where they are quick."""

    def __init__(self, tasks: Tasks, path: str, limits: Limits = _LIMITS) -> None:
        """Listen at ``path`` for the workers of this node; empty is not at all."""
        self._tasks = tasks
        self._limits = limits
        self._look_s = limits.patience_s / 2
        self._feed = FeedServer(path, self._told)
        self._by_number: dict[int, _Task] = {}
        self._groups: LRUCache[tuple[FunctionTarget, CallOptions], _Group] = LRUCache(MOST_KEPT)

    async def result(self, call: FunctionCall, options: CallOptions) -> Result:
        """Make a call, and return what came of it.

        Raises:
            RayError: The call was lost.
            GatewayError: Ray refuses the options, or there is no such runtime environment.
        """
        if len(call.fields) > SMALL_BYTES:
            return await self._alone(call, options)
        self._feed.start()
        item = _Item(call, asyncio.get_running_loop().create_future())
        group = self._group(call, options)
        if group.is_quick and len(group.fresh) >= MOST_FRESH:
            self._wait(group, item)
        else:
            self._begin(group, item)
        try:
            return await item.result
        except asyncio.CancelledError:
            item.result.cancel()
            task = item.task
            if task is not None and task.item is item:
                task.is_ending = True
                self._tasks.end(task.reference)
            raise

    def close(self) -> None:
        """Give no further calls."""
        self._feed.close()

    async def _alone(self, call: FunctionCall, options: CallOptions) -> Result:
        try:
            reference = await self._tasks.start(call, options)
        except RayError:
            raise
        except (TypeError, ValueError) as error:
            raise refused_options(options, error) from error
        try:
            return _result(await reference)
        except asyncio.CancelledError:
            self._tasks.end(reference)
            raise

    def _group(self, call: FunctionCall, options: CallOptions) -> _Group:
        key = call.target, options
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(options)
        return group

    def _begin(self, group: _Group, item: _Item) -> None:
        """Start a Ray task; what hinders it is the outcome of the call."""
        # A call that is alone is not worth a connection.
        is_shared = group.fresh and group.is_local and not group.options.max_calls
        call = item.call._replace(feed=self._feed.path) if is_shared else item.call
        loop = asyncio.get_running_loop()
        try:
            reference = self._tasks.start_now(call, group.options)
        except RayError as error:
            item.result.set_exception(error)
            return
        except (TypeError, ValueError) as error:
            item.result.set_exception(refused_options(group.options, error))
            return
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            item.result.set_exception(error)
            return
        task = item.task = _Task(group, item, reference, loop.time())
        task.is_fed = bool(call.feed)
        self._by_number[task.number] = group.fresh[task.number] = task
        asyncio.wrap_future(reference.future()).add_done_callback(partial(self._ended, task))

    def _ended(self, task: _Task, ended: "asyncio.Future[Any]") -> None:
        """Take the outcome of the call that a Ray task has ended with, if it has not told it."""
        group = task.group
        self._by_number.pop(task.number, None)
        group.fresh.pop(task.number, None)
        item, task.item = task.item, None
        if task.is_fed:
            self._note_distance(group, ended)
        error = None if ended.cancelled() else ended.exception()
        if item is not None and not item.result.done():
            if error is not None:
                item.result.set_exception(error)
            else:
                self._take(group, item, ended)
        self._fill(group)

    def _note_distance(self, group: _Group, ended: "asyncio.Future[Any]") -> None:
        """Share no more if a worker has not reached this process, as one of another node.

        Other nodes have workers to spare, which only calls in Ray's queue make use of.
        """
        if ended.cancelled() or ended.exception() is not None:
            return
        returned = ended.result()
        if isinstance(returned, bytes) and returned != _NONE:
            group.is_local = group.is_quick = False
            self._begin_waiting(group)

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
        task = self._by_number.get(told.task)
        if task is None:
            return _NONE
        group, item = task.group, task.item
        group.fresh.pop(task.number, None)
        task.item = None
        if item is not None and not item.result.done() and item.call.number == told.call:
            item.result.set_result(packed(told.done))
        self._note(group, told.done.took_s)
        following = self._following(task)
        self._fill(group)
        return encoded_call(following.call) if following is not None else _NONE

    def _following(self, task: _Task) -> _Item | None:
        """Return the next call of a Ray task; without one it ends."""
        now_s = asyncio.get_running_loop().time()
        if task.until_s is None:  # it may have waited in Ray's queue before
            task.until_s = now_s + self._limits.shared_s
        may_go_on = not task.is_ending and now_s < task.until_s
        item = task.group.next_item() if may_go_on else None
        task.item = item
        task.is_ending = item is None
        if item is not None:
            item.task = task
        return item

    def _note(self, group: _Group, took_s: float) -> None:
        may_share = group.is_local and self._feed.path and not group.options.max_calls
        group.is_quick = bool(may_share) and took_s <= self._limits.quick_s

    def _fill(self, group: _Group) -> None:
        """Start as many Ray tasks as may wait in Ray's queue."""
        while group.waiting and len(group.fresh) < MOST_FRESH:
            item = group.next_item()
            if item is not None:
                self._begin(group, item)

    def _begin_waiting(self, group: _Group) -> None:
        """Start a Ray task for each call that waits."""
        while (item := group.next_item()) is not None:
            self._begin(group, item)

    def _wait(self, group: _Group, item: _Item) -> None:
        group.waiting.append(item)
        if group.look is None:
            group.look = asyncio.get_running_loop().call_later(self._look_s, self._look, group)

    def _look(self, group: _Group) -> None:
        """See whether calls wait for Ray tasks that have not begun, or take long."""
        group.look = None
        if not group.waiting:
            return
        loop = asyncio.get_running_loop()
        oldest = next(iter(group.fresh.values()), None)
        if oldest is not None and oldest.begun_s + self._limits.patience_s < loop.time():
            group.is_quick = False
            self._begin_waiting(group)
        else:
            group.look = loop.call_later(self._look_s, self._look, group)


def _result(returned: Any) -> Result:
    done = returned_done(returned)
    if done is not None:
        return packed(done)
    found: Result = returned
    return found
