"""Batches: calls of one function that wait at the same time are made as one Ray task.

The first call goes out at once, with what has arrived in the same turns of the event loop. Those
that arrive while a batch is under way are collected for the next one, and a full batch goes out
by itself. So there is no pause to choose, and batches grow with the load.

Used by `ray_tasks/gateway.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from ray.exceptions import RayError

from rillflow.ids import service_of, workspace_of
from rillflow.ports.gateway import DispatchRequest
from rillflow.ray_tasks.attempts import refused_options
from rillflow.ray_tasks.options import CallOptions
from rillflow.ray_tasks.tasks import Result, results_of
from rillflow.ray_tasks.worker import BatchCall, FunctionCall
from rillflow.task_set import TaskSet

LARGEST_BYTES: Final = 4 * 1024 * 1024
"""A batch whose inputs have so many bytes is full."""
COLLECT_S: Final = 0.002
"""How long the first call waits for those that its dispatcher receives with it."""

Slot: TypeAlias = Callable[[DispatchRequest, int], AbstractAsyncContextManager[None]]
"""Takes a call for which a Ray task is started, and the size of its input in bytes."""


class BatchTasks(Protocol):
    """Starts batches; ``RayTasks`` does so on Ray."""

    async def start_batch(self, batch: BatchCall, options: CallOptions, workspace: str) -> Any:
        """Start a batch of a workspace, and return the reference to what comes of it."""

    def end(self, reference: Any) -> None:
        """End a batch that nobody waits for."""


class _Item(NamedTuple):
    request: DispatchRequest
    fields: bytes
    execution: str
    result: "asyncio.Future[Result]"


class _Batch:
    """Calls that are made together."""

    def __init__(self, key: Hashable, call: FunctionCall, options: CallOptions) -> None:
        self.key = key
        self.call = call
        self.options = options
        self.items: list[_Item] = []
        self.size_bytes = 0
        self.running: asyncio.Task[None] | None = None

    def is_full(self) -> bool:
        return len(self.items) >= (self.options.batch or 1) or self.size_bytes >= LARGEST_BYTES

    def waiting(self) -> list[_Item]:
        return [item for item in self.items if not item.result.done()]


class Batches:
    """Collects calls, of one function and one workflow, and makes them together.

    Args:
        tasks: Starts the Ray tasks.
        slot: Holds a place for the Ray task of a batch.
    """

    def __init__(self, tasks: BatchTasks, slot: Slot) -> None:
        self._tasks = tasks
        self._slot = slot
        self._open: dict[Hashable, _Batch] = {}
        self._under_way: Counter[Hashable] = Counter()
        self._running: TaskSet[None] = TaskSet()

    async def result(
        self, request: DispatchRequest, call: FunctionCall, options: CallOptions
    ) -> Result:
        """Make a call together with others, and return what came of it.

        Raises:
            RayError: The batch was lost.
            GatewayError: Ray refuses the options.
        """
        batch = self._joined(request, call, options)
        item = batch.items[-1]
        try:
            return await item.result
        except asyncio.CancelledError:
            item.result.cancel()
            if batch.running is not None and not batch.waiting():
                batch.running.cancel()
            raise
        finally:
            del batch, item  # the traceback of an error has this frame, and would keep itself

    def _joined(self, request: DispatchRequest, call: FunctionCall, options: CallOptions) -> _Batch:
        # What a function raises is told to all of a batch, so other workflows are in others.
        key = call.target, options, call.modules, service_of(request.execution_id)
        loop = asyncio.get_running_loop()
        batch = self._open.get(key)
        if batch is None:
            batch = self._open[key] = _Batch(key, call, options)
            if not self._under_way[key]:
                loop.call_later(COLLECT_S, self._send, batch)
        batch.items.append(_Item(request, call.fields, _execution_of(call), loop.create_future()))
        batch.size_bytes += len(call.fields)
        if batch.is_full():
            self._send(batch)
        return batch

    def _send(self, batch: _Batch) -> None:
        if self._open.get(batch.key) is not batch:
            return  # it has gone out already
        del self._open[batch.key]
        self._under_way[batch.key] += 1
        batch.running = self._running.start(self._run(batch))
        batch.running.add_done_callback(lambda _: self._ended(batch))

    def _ended(self, batch: _Batch) -> None:
        self._under_way[batch.key] -= 1
        if not self._under_way[batch.key]:
            del self._under_way[batch.key]
            following = self._open.get(batch.key)
            if following is not None:
                self._send(following)

    async def _run(self, batch: _Batch) -> None:
        try:
            async with self._slot(batch.items[0].request, batch.size_bytes):
                items = batch.waiting()
                if items:
                    await self._make(batch, items)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            for item in batch.waiting():
                item.result.set_exception(error)

    async def _make(self, batch: _Batch, items: list[_Item]) -> None:
        inputs = tuple(item.fields for item in items)
        executions = tuple(item.execution for item in items if item.execution)
        try:
            call = BatchCall(batch.call._replace(fields=b"", number=0), inputs, executions)
            workspace = workspace_of(items[0].request.execution_id)
            reference = await self._tasks.start_batch(call, batch.options, workspace)
        except RayError:
            raise
        except (TypeError, ValueError) as error:
            raise refused_options(batch.options, error) from error
        try:
            results = results_of(await reference)
        except asyncio.CancelledError:
            self._tasks.end(reference)
            raise
        for item, result in zip(items, results, strict=True):
            if not item.result.done():
                item.result.set_result(result)

    async def close(self) -> None:
        """Wait until what was to end has ended."""
        await self._running.wait()


def _execution_of(call: FunctionCall) -> str:
    """Return what the store of artifacts calls the execution of a call."""
    return "" if call.artifacts is None else call.artifacts.execution
