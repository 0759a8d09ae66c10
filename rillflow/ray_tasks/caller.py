"""The actor that calls named actors and Serve deployments, away from the dispatcher's process.

What they return are objects of the user, whose modules are imported where they are read.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import ray

from rillflow.function_calls.failures import FunctionNotFoundError, FunctionResultError
from rillflow.jsontypes import decode_json
from rillflow.ray_tasks.system_failures import SystemFailure, system_failure
from rillflow.ray_tasks.targets import ActorTarget, ServeTarget
from rillflow.ray_tasks.tasks import Result, packed
from rillflow.ray_tasks.worker import Done, done_with, failed_by

CALL: Final = "__call__"
SHORT: Final = 16_384
"""Text of so many characters is encoded at once."""
MOST_ENCODED: Final = 32
"""Of so many actors and applications results are encoded at once."""
_UNREADABLE: Final = (ray.exceptions.UnserializableException, ray.exceptions.RaySystemError)
"""What Ray raises after a call whose result or exception it cannot decode."""


class CallResult(NamedTuple):
    """What came of a call: the result, or a failure of Ray."""

    result: Result | None = None
    failure: SystemFailure | None = None


class Caller:
    """Makes calls, and returns what comes of them as JSON."""

    def __init__(self, path: tuple[str, ...], most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._threads = ThreadPoolExecutor(MOST_ENCODED, "results")
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._deployments: dict[tuple[str, str], Any] = {}
        sys.path[:0] = [folder for folder in path if folder not in sys.path]

    async def call_actor(self, target: ActorTarget, namespace: str, fields: bytes) -> CallResult:
        """Call a method of a named actor."""

        async def method() -> Any:
            try:
                actor = await asyncio.to_thread(ray.get_actor, target.name, namespace)
            except ValueError:
                raise FunctionNotFoundError(
                    f"there is no actor {target.name}@{namespace}"
                ) from None
            found = getattr(actor, target.method, None)
            if found is None:
                raise FunctionNotFoundError(
                    f"the actor {target.name} has no method {target.method}"
                )
            return found

        return await self._called(target.host, method, fields)

    async def call_deployment(self, target: ServeTarget, fields: bytes) -> CallResult:
        """Call a deployment of a Serve application, by default the ingress."""

        async def method() -> Any:
            handle = await self._deployment(target.application, target.deployment)
            return handle if target.method == CALL else handle.options(method_name=target.method)

        return await self._called(target.host, method, fields)

    async def _deployment(self, application: str, deployment: str) -> Any:
        key = application, deployment
        if key not in self._deployments:
            self._deployments[key] = await asyncio.to_thread(_handle_of, *key)
        return self._deployments[key]

    async def _done_with(self, host: str, result: Any) -> Done:
        """Encode what was returned beside the event loop, since its class may have code of its own.

        One thread does so for an actor or application; it goes on if the call is cancelled.
        """
        if _is_short(result):
            return _done_with(result, self._most_bytes)
        turn = self._turns.setdefault(host, asyncio.Semaphore())
        await turn.acquire()
        loop = asyncio.get_running_loop()
        encoding = loop.run_in_executor(self._threads, _done_with, result, self._most_bytes)
        encoding.add_done_callback(lambda _: turn.release())
        return await asyncio.shield(encoding)

    async def _called(
        self, host: str, method: Callable[[], Awaitable[Any]], fields: bytes
    ) -> CallResult:
        try:
            given = decode_json(fields)
            response = (await method()).remote(**given)  # type: ignore[arg-type] # an object
            done = await self._done_with(host, await _awaited(response))
        except ray.exceptions.RayTaskError as error:
            done = failed_by(error.cause or error)
        except _UNREADABLE as error:
            done = failed_by(_unreadable(error))
        except ray.exceptions.RayError as error:
            return CallResult(failure=system_failure(error))
        except asyncio.CancelledError:
            raise asyncio.CancelledError from None  # what was raised may be a class of the user's
        except BaseException as error:  # noqa: BLE001 - the other side may raise anything
            done = failed_by(error)
        return CallResult(packed(done))


def _is_short(result: Any) -> bool:
    kind = type(result)
    return result is None or kind in {int, float, bool} or (kind is str and len(result) <= SHORT)


def _done_with(result: Any, most_bytes: int) -> Done:
    """Encode what was returned; whatever its class raises meanwhile is told."""
    try:
        return done_with(result, most_bytes)
    except BaseException as error:  # noqa: BLE001 - a class of the user's may raise anything
        return failed_by(error)


def _unreadable(error: Exception) -> FunctionResultError:
    """Say that a call has ended, and that what came of it is of a class that is not known here."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return FunctionResultError(
        "the call has ended, and what it returned or raised cannot be read outside of its process:"
        f" {lines[0][:512]}; return JSON values, and raise exceptions of Python"
    )


async def _awaited(response: Any) -> Any:
    try:
        return await response
    except asyncio.CancelledError:
        if isinstance(response, ray.ObjectRef):
            ray.cancel(response)
        else:
            response.cancel()
        raise


def _handle_of(application: str, deployment: str) -> Any:
    from ray import serve  # noqa: PLC0415 - a second of imports, only for those who use it

    try:
        if deployment:
            return serve.get_deployment_handle(deployment, application)
        return serve.get_app_handle(application)
    except Exception as error:  # noqa: BLE001 - Serve raises nothing narrower
        raise FunctionNotFoundError(
            f"the application {application} is not there: {error}"
        ) from None
