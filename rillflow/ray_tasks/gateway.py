"""The gateway of ``ray://``: an attempt is a Ray task, and what the function returns its answer."""

import asyncio
from typing import Any, Final

from ray.exceptions import RayError

from rillflow.backoff import Backoff
from rillflow.errors import GatewayError
from rillflow.gateways.http.requests import read_input
from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.jsontypes import encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, HostState, failed
from rillflow.ray_tasks.options import CallOptions, call_options
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.system_failures import FIRST_PAUSE_S, LONGEST_PAUSE_S, system_failure
from rillflow.ray_tasks.targets import SCHEME, function_target, refuse_module
from rillflow.ray_tasks.task_actors import TaskActors
from rillflow.ray_tasks.tasks import RayTasks, Result
from rillflow.ray_tasks.waiting import WaitingCalls
from rillflow.ray_tasks.worker import FunctionCall

_SIGNS: Final = "generate_auth"


class RayTaskGateway:
    """Calls Python functions in Ray workers; every failure is an answer, none an exception.

    The answer is the outcome, also of an asynchronous task: nobody calls back. A call that is
    cancelled, or whose time is over, ends its Ray task.
    """

    def __init__(self, settings: RaySettings, budget: AnswerBudget) -> None:
        """Fetch large results only where the ``budget`` has room."""
        self._settings = settings
        self._budget = budget
        self._tasks = RayTasks(settings)
        self._under_way = WaitingCalls()
        self._actors = TaskActors(settings.namespace, settings.unclaimed_s)

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt; a failure of Ray is repeated, within the time of the attempt."""
        is_outcome = False
        try:
            call = self._function_call(request)
            options = call_options(request.ray_options)
            async with asyncio.timeout(request.timeout_s):
                answer = await self._outcome(request, call, options)
            is_outcome = True
        except TimeoutError:
            return failed(request, "timeout")
        except GatewayError as error:
            return failed(request, str(error), error.hint)
        else:
            return answer
        finally:
            if not is_outcome:
                self._actors.settle(request.call)

    def settled(self, call: CallId) -> None:
        """Note that an answer is durable: what has kept it may go."""
        self._actors.settle(call)

    def hosts(self) -> list[HostState]:
        """Return the state of Ray, if it is called."""
        return self._under_way.hosts()

    async def close(self) -> None:
        """Wait for what is being ended. Ray tasks end with this process, detached ones go on."""
        await self._tasks.close()
        await self._actors.close()

    def _function_call(self, request: DispatchRequest) -> FunctionCall:
        settings = self._settings
        target = function_target(request.resource_name)
        refuse_module(target, settings.modules)
        fields = read_input(request)
        fields.pop(_SIGNS, None)
        return FunctionCall(
            target, encode_json(fields), settings.modules, settings.path, settings.max_result_bytes
        )

    async def _outcome(
        self, request: DispatchRequest, call: FunctionCall, options: CallOptions
    ) -> DispatchAnswer:
        repetitions, pauses = 0, Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                with self._under_way.waiting(request.call, str(call.target), options.resources):
                    result = await self._result(request, call, options)
                body = await self._fetched(request, result)
                return _answer(request, body, result.error)
            except RayError as error:
                failure = system_failure(error)
            if not failure.is_passing:
                raise GatewayError(f"system failure: {failure.text}")
            if repetitions >= options.max_system_retries:
                tried = f", after {repetitions} repetitions" if repetitions else ""
                raise GatewayError(f"system failure{tried}: {failure.text}")
            repetitions += 1
            await asyncio.sleep(pauses.next_s())

    async def _result(
        self, request: DispatchRequest, call: FunctionCall, options: CallOptions
    ) -> Result:
        try:
            if options.is_detached(request.pattern):
                return await self._actors.result(request, call, self._tasks.ray_options(options))
            reference = self._tasks.start(call, options)
        except (TypeError, ValueError) as error:
            raise GatewayError(f"Ray refuses the rayOptions: {error}") from error
        return await self._result_of(reference)

    async def _result_of(self, reference: Any) -> Result:
        try:
            return Result(*await reference)
        except asyncio.CancelledError:
            self._tasks.end(reference)
            raise

    async def _fetched(self, request: DispatchRequest, result: Result) -> bytes:
        """Return a body; one that is large once there is room for it."""
        if result.reference is None:
            return result.body
        waits = self._budget.reserve(request.call, SCHEME, result.size_bytes)
        if waits is not None:
            await waits
        body: bytes = await result.reference
        return body


def _answer(request: DispatchRequest, body: bytes, error: str | None) -> DispatchAnswer:
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=body,
        error=error,
        is_outcome=True,
    )
