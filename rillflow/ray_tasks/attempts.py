"""One attempt at a call of Ray: repeated after failures of Ray, within the time of the attempt.

Used by `ray_tasks`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ray.exceptions import RayError, RuntimeEnvSetupError

from rillflow.backoff import Backoff
from rillflow.errors import GatewayError
from rillflow.gateways.http.requests import read_input
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.outbound.threads import in_turn
from rillflow.jsontypes import encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, failed
from rillflow.ray_tasks.options import CallOptions, call_options
from rillflow.ray_tasks.system_failures import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    SystemFailureError,
    reason_for_the_log,
    system_failure,
)
from rillflow.ray_tasks.targets import SCHEME
from rillflow.ray_tasks.tasks import Result
from rillflow.telemetry.trace_context import HEADER as TRACEPARENT

_SIGNS = "generate_auth"

log = logging.getLogger("rillflow.ray_tasks")


class Attempts:
    """Makes attempts and fetches their results; every failure is an answer, none an exception."""

    def __init__(self, budget: AnswerBudget) -> None:
        """Fetch large results only where the ``budget`` has room."""
        self._budget = budget

    async def answer(
        self,
        request: DispatchRequest,
        start: Callable[[CallOptions], Awaitable[Result]],
    ) -> DispatchAnswer:
        """Return the answer of an attempt; ``start`` makes its call once."""
        try:
            options = call_options(request.ray_options)
            async with asyncio.timeout(request.timeout_s):
                return await self._repeated(request, options, start)
        except TimeoutError:
            return failed(request, "timeout")
        except GatewayError as error:
            return failed(request, str(error), error.hint)

    async def _repeated(
        self,
        request: DispatchRequest,
        options: CallOptions,
        start: Callable[[CallOptions], Awaitable[Result]],
    ) -> DispatchAnswer:
        repetitions, pauses = 0, Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                result = await start(options)
                return _answer(request, await self._fetched(request, result), result)
            except RayError as error:
                if isinstance(error, RuntimeEnvSetupError):
                    _log_environment(options, error)
                failure = system_failure(error)
            except SystemFailureError as error:
                failure = error.failure
            if not failure.is_passing:
                raise GatewayError(f"system failure: {failure.text}")
            if repetitions >= options.max_system_retries:
                tried = f", after {repetitions} repetitions" if repetitions else ""
                raise GatewayError(f"system failure{tried}: {failure.text}")
            repetitions += 1
            await asyncio.sleep(pauses.next_s())

    async def _fetched(self, request: DispatchRequest, result: Result) -> bytes:
        """Return a body; one that is large once there is room for it."""
        if result.reference is None:
            return result.body
        waits = self._budget.reserve(request.call, SCHEME, result.size_bytes)
        if waits is not None:
            await waits
        body: bytes = await result.reference
        return body


def refused_options(options: CallOptions, error: Exception) -> GatewayError:
    """Say that Ray takes no such options; what it says of an environment is for the log."""
    if options.runtime_env is None:
        return GatewayError(f"Ray refuses the rayOptions: {error}")
    _log_environment(options, error)
    return GatewayError(
        f"Ray refuses the rayOptions or the runtime environment {options.runtime_env}; the log"
        " has the reason"
    )


def _log_environment(options: CallOptions, error: Exception) -> None:
    facts = {"environment": options.runtime_env, "reason": reason_for_the_log(error)}
    log.warning("ray_runtime_env_failed", extra=facts)


async def fields_of(request: DispatchRequest) -> bytes:
    """Return the input of a call as a JSON object; a large one is read beside the event loop.

    A field ``traceparent`` of that word gets the header, which is empty without a trace.

    Raises:
        GatewayError: It is none.
    """
    return await in_turn(request.execution_id, len(request.input), lambda: _fields_of(request))


def _fields_of(request: DispatchRequest) -> bytes:
    fields = read_input(request)
    if _SIGNS not in fields and fields.get(TRACEPARENT) != TRACEPARENT:
        return request.input
    fields.pop(_SIGNS, None)
    if fields.get(TRACEPARENT) == TRACEPARENT:
        # Neither actors, nor deployments, nor batches have an environment of one call.
        fields[TRACEPARENT] = request.traceparent or ""
    return encode_json(fields)


def _answer(request: DispatchRequest, body: bytes, result: Result) -> DispatchAnswer:
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=body,
        error=result.error,
        is_outcome=True,
        log=result.log,
    )
