"""The gateway of ``ray://``: an attempt is a Ray task, and what the function returns its answer.

Used by `actors/dispatcher_actor.py`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import lru_cache, partial

import ray
from ray.exceptions import RayError

from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.gateways.limits.concurrency import caller_of
from rillflow.ids import workspace_of
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, HostState
from rillflow.ray_tasks.attempts import Attempts, fields_of, refused_options
from rillflow.ray_tasks.limits.call_slots import CallSlots
from rillflow.ray_tasks.limits.input_room import InputRoom
from rillflow.ray_tasks.limits.task_queue import TaskQueue
from rillflow.ray_tasks.limits.task_room import demand_of
from rillflow.ray_tasks.limits.waiting import WaitingCalls
from rillflow.ray_tasks.options import LONGEST_KEPT, CallOptions, call_options
from rillflow.ray_tasks.progress import ProgressReports
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.sharing.batches import Batches
from rillflow.ray_tasks.sharing.shared_tasks import SharedTasks
from rillflow.ray_tasks.targets import SCHEME, FunctionTarget, function_target, refuse_module
from rillflow.ray_tasks.task_actors import TaskActors
from rillflow.ray_tasks.tasks import SMALL_BYTES, RayTasks, Result
from rillflow.ray_tasks.worker import FunctionCall


class RayTaskGateway:
    """Calls Python functions in Ray workers; every failure is an answer, none an exception.

    The answer is the outcome, also of an asynchronous task: nobody calls back. A call that is
    cancelled, or whose time is over, ends its Ray task.
    """

    def __init__(self, settings: RaySettings, budget: AnswerBudget) -> None:
        """Fetch large results only where the ``budget`` has room."""
        self._settings = settings
        self._attempts = Attempts(budget)
        self._tasks = RayTasks(settings)
        self._shares = settings.workspace_shares
        self._queue = TaskQueue(ray.nodes, InputRoom(settings.max_input_bytes), self._shares)
        self._shared = SharedTasks(self._tasks, settings.feed_path, self._queue)
        self._waiting = WaitingCalls()
        self._small = CallSlots(each=settings.small_calls, total=settings.small_calls)
        self._actors = TaskActors(settings.namespace, settings.unclaimed_s, settings.dispatcher)
        self._batches = Batches(self._tasks, self._place_of_batch)
        self.progress = ProgressReports()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt; a failure of Ray is repeated, within the time of the attempt."""
        if call_options(request.ray_options).batch is not None:
            # A batch reports no progress, needs no slot for each of its calls, and has no actor.
            return await self._attempts.answer(
                request, lambda options: self._result(request, 0, options)
            )
        async with self._slot(request):
            with self.progress.of(request.call) as number:
                return await self._answer(request, number)

    async def _answer(self, request: DispatchRequest, number: int) -> DispatchAnswer:
        has_outcome = False
        self._actors.begin(request.call)
        try:
            answer = await self._attempts.answer(
                request, lambda options: self._result(request, number, options)
            )
            has_outcome = answer.is_outcome
            return answer
        finally:
            self._actors.release(request.call, has_outcome=has_outcome)

    def settled(self, call: CallId) -> None:
        """Note that an answer is durable: what has kept it may go."""
        self._actors.settle(call)

    def lost(self, call: CallId) -> None:
        """End what an earlier process of the dispatcher has begun, and what nobody waits for."""
        self._actors.end_lost(call)

    def hosts(self) -> list[HostState]:
        """Return the state of Ray, if it is called."""
        return self._waiting.hosts(self._small.usage(SCHEME).waiting, self._queue.usage().waiting)

    async def close(self) -> None:
        """Wait for what is being ended. Ray tasks end with this process, detached ones go on."""
        self._queue.close()
        self._shared.close()
        await self._batches.close()
        await self._tasks.close()
        await self._actors.close()

    def _slot(self, request: DispatchRequest) -> AbstractAsyncContextManager[None]:
        """Return what holds a slot for a call that is made alone, and that no processor limits."""
        options = call_options(request.ray_options)
        if options.is_small:
            return self._small.slot(SCHEME, request)
        return nullcontext()

    def _place(
        self,
        request: DispatchRequest,
        size_bytes: int,
        is_begun: Callable[[], Awaitable[bool]] | None = None,
    ) -> AbstractAsyncContextManager[None]:
        """Return what holds a place in Ray's queue, and room for the input."""
        demand = demand_of(call_options(request.ray_options))
        large_bytes = size_bytes if size_bytes > SMALL_BYTES else 0
        return self._queue.place(demand, caller_of(request), is_begun, large_bytes=large_bytes)

    @asynccontextmanager
    async def _place_of_batch(
        self, request: DispatchRequest, size_bytes: int
    ) -> AsyncIterator[None]:
        is_small = call_options(request.ray_options).is_small
        slot = self._small.slot(SCHEME, request) if is_small else nullcontext()
        async with slot, self._place(request, size_bytes):
            yield

    async def _function_call(self, request: DispatchRequest, number: int) -> FunctionCall:
        settings = self._settings
        return FunctionCall(
            self._target(request),
            await fields_of(request),
            settings.modules,
            settings.path,
            settings.max_result_bytes,
            (settings.dispatcher, settings.namespace),
            number,
            artifacts=settings.artifacts_of(request),
            traceparent=request.traceparent or "",
            workspace=workspace_of(request.execution_id),
        )

    def _target(self, request: DispatchRequest) -> FunctionTarget:
        return _allowed_target(request.resource_name, self._settings.modules)

    async def _result(self, request: DispatchRequest, number: int, options: CallOptions) -> Result:
        target = self._target(request)  # what must not be called does not wait
        share = self._shares.get(workspace_of(request.execution_id), 1.0)
        with self._waiting.waiting(request.call, f"{SCHEME}://{target}", options.resources, share):
            if options.is_detached(request.pattern):
                return await self._detached_result(request, number, options)
            if options.batch is None and len(request.input) > SMALL_BYTES:
                async with self._place(request, len(request.input)):
                    call = await self._function_call(request, number)
                    workspace = workspace_of(request.execution_id)
                    return await self._shared.alone(call, options, workspace)
            call = await self._function_call(request, number)
            if options.batch is not None:
                return await self._batches.result(request, call, options)
            return await self._shared.result(call, options, caller_of(request))

    async def _detached_result(
        self, request: DispatchRequest, number: int, options: CallOptions
    ) -> Result:
        is_begun = partial(self._actors.is_begun, request)
        async with self._place(request, len(request.input), is_begun):
            call = await self._function_call(request, number)
            try:
                given = self._tasks.ray_options(options)
                told = partial(self.progress.take, number)
                return await self._actors.result(request, call, given, told)
            except RayError:
                raise
            except (TypeError, ValueError) as error:
                raise refused_options(options, error) from error


def _allowed_target(resource_name: str, modules: tuple[str, ...]) -> FunctionTarget:
    """Return the function of a name.

    Raises:
        GatewayError: It names none, or ``ray_modules`` does not allow its module.
    """
    is_kept = len(resource_name) <= LONGEST_KEPT
    return (_target if is_kept else _target.__wrapped__)(resource_name, modules)


@lru_cache(maxsize=256)
def _target(resource_name: str, modules: tuple[str, ...]) -> FunctionTarget:
    target = function_target(resource_name)
    refuse_module(target, modules)
    return target
