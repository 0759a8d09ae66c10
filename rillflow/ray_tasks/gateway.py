"""The gateway of ``ray://``: an attempt is a Ray task, and what the function returns its answer."""

import asyncio
from typing import Any, Final

from ray.exceptions import RayError

from rillflow.backoff import Backoff
from rillflow.errors import GatewayError
from rillflow.gateways.http.requests import read_input
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.jsontypes import encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, failed
from rillflow.ray_tasks.options import call_options
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.system_failures import FIRST_PAUSE_S, LONGEST_PAUSE_S, system_failure
from rillflow.ray_tasks.targets import SCHEME, FunctionTarget, function_target, refuse_module
from rillflow.ray_tasks.tasks import RayTasks, Result

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

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt; a failure of Ray is repeated, within the time of the attempt."""
        try:
            target = function_target(request.resource_name)
            refuse_module(target, self._settings.modules)
            fields = read_input(request)
            fields.pop(_SIGNS, None)
            async with asyncio.timeout(request.timeout_s):
                return await self._outcome(request, target, encode_json(fields))
        except TimeoutError:
            return failed(request, "timeout")
        except GatewayError as error:
            return failed(request, str(error), error.hint)

    async def close(self) -> None:
        """Wait for functions that are being ended; those under way end with this process."""
        await self._tasks.close()

    async def _outcome(
        self, request: DispatchRequest, target: FunctionTarget, fields: bytes
    ) -> DispatchAnswer:
        options = call_options(request.ray_options)
        repetitions, pauses = 0, Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                result = await self._result_of(self._tasks.start(target, fields, options))
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
