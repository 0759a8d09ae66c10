"""The actor that calls named actors and Serve deployments, away from the dispatcher's process.

What they return are objects of the user, whose modules are imported where they are read. Of the
files that they name only those of ``ray_result_folders`` are read: this process may read others
than theirs.

Used by `ray_tasks/call_gateway.py`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import ray

from rillflow.artifacts.artifact import artifacts_from
from rillflow.artifacts.calls import ArtifactAccess, StoredArtifacts, with_opened
from rillflow.artifacts.references import MARK_BYTES
from rillflow.function_calls.failures import (
    FunctionInputError,
    FunctionNotFoundError,
    FunctionResultError,
)
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.gateways.outbound.threads import REST, SHORT_BYTES
from rillflow.jsontypes import decode_json
from rillflow.progress_reports import MESSAGE_CHARACTERS, progress, reporting_in_context
from rillflow.ray_tasks.result_files import opened_in
from rillflow.ray_tasks.system_failures import SystemFailure, system_failure
from rillflow.ray_tasks.targets import ActorTarget, ServeTarget
from rillflow.ray_tasks.tasks import Result, packed, report_progress, started
from rillflow.ray_tasks.worker import Done, done_with, failed_by

CALL: Final = "__call__"
MODEL_ID: Final = "serve_multiplexed_model_id"
PART_BYTES: Final = 64
"""Counted for each part of a stream, beside its text."""
SHORT: Final = 16_384
"""Text of so many characters is encoded at once."""
MOST_ENCODED: Final = 32
"""Of so many actors and applications results are encoded at once."""
MOST_OPENED: Final = 8
"""The artifacts of so many inputs are looked for at once: their store may be far away."""
_UNREADABLE: Final = (ray.exceptions.UnserializableException, ray.exceptions.RaySystemError)
"""What Ray raises after a call whose result or exception it cannot decode."""


class CallInput(NamedTuple):
    """The input of a call, a JSON object, and where its artifacts are; None is nowhere.

    ``workspace`` is that of the execution: those with large inputs take turns.
    """

    fields: bytes
    artifacts: ArtifactAccess | None = None
    workspace: str = ""


class ServeOptions(NamedTuple):
    """How a deployment is called, and where its progress goes.

    Attributes:
        stream: Whether it streams its answer.
        reports_to: Name and namespace of the dispatcher.
        number: The number of the call there.
    """

    stream: bool = False
    reports_to: tuple[str, str] = ("", "")
    number: int = 0


class CallResult(NamedTuple):
    """What came of a call: the result, or a failure of Ray."""

    result: Result | None = None
    failure: SystemFailure | None = None


_ALONE: Final = ServeOptions()
_NO_FILE: Final = (
    "the result is the file {}, which is in no folder of the setting ray_result_folders; return its"
    " content, as bytes, or an Artifact of it, which is read before it leaves its process"
)
_LOST: Final = (
    "the result is the file {}, which the server cannot read on the node of its dispatcher: {}"
)


class ReturnedArtifacts(StoredArtifacts):
    """The artifacts of a call whose function runs in another process, perhaps with fewer rights."""

    def __init__(self, access: ArtifactAccess, folders: Sequence[str]) -> None:
        """Read files of these folders."""
        super().__init__(access)
        self._folders = folders

    def open_file(self, file: Path) -> BinaryIO:
        """Open a file of the folders.

        Raises:
            FunctionResultError: It is in none of them, or cannot be read.
        """
        try:
            opened = opened_in(self._folders, file) if self._folders else None
        except (OSError, ValueError) as error:
            raise FunctionResultError(_LOST.format(file, error)) from None
        if opened is None:
            raise FunctionResultError(_NO_FILE.format(file))
        return opened


class Caller:
    """Makes calls, and returns what comes of them as JSON."""

    def __init__(
        self, path: tuple[str, ...], most_bytes: int, result_folders: tuple[str, ...] = ()
    ) -> None:
        self._most_bytes = most_bytes
        self._folders = result_folders
        self._threads = ThreadPoolExecutor(MOST_ENCODED, "results")
        self._reading = FairThread(
            most=sys.maxsize, most_of_one=sys.maxsize, name="large inputs", rest=REST
        )
        self._opening = FairThread(
            most=sys.maxsize,
            most_of_one=sys.maxsize,
            name="artifacts of inputs",
            rest=1.0,
            threads=MOST_OPENED,
        )
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._deployments: dict[tuple[str, str], Any] = {}
        sys.path[:0] = [folder for folder in path if folder not in sys.path]

    async def call_actor(self, target: ActorTarget, namespace: str, given: CallInput) -> CallResult:
        """Call a method of a named actor."""

        async def method(_: dict[str, Any]) -> Any:
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

        return await self._called(target.host, method, given)

    async def call_deployment(
        self, target: ServeTarget, given: CallInput, how: ServeOptions = _ALONE
    ) -> CallResult:
        """Call a deployment of a Serve application, by default the ingress.

        The field ``serve_multiplexed_model_id`` chooses the model, as the header of that name does
        where Serve is called over HTTP.
        """

        async def method(fields: dict[str, Any]) -> Any:
            model_id = fields.pop(MODEL_ID, None)
            if model_id is not None and not isinstance(model_id, str):
                raise FunctionInputError(f"{MODEL_ID} is a text")
            handle = await self._deployment(target.application, target.deployment)
            options: dict[str, Any] = {"stream": True} if how.stream else {}
            if target.method != CALL:
                options["method_name"] = target.method
            if model_id:
                options["multiplexed_model_id"] = model_id
            return handle.options(**options) if options else handle

        return await self._called(target.host, method, given, how)

    async def _deployment(self, application: str, deployment: str) -> Any:
        key = application, deployment
        if key not in self._deployments:
            self._deployments[key] = await asyncio.to_thread(_handle_of, *key)
        return self._deployments[key]

    async def _fields_of(self, given: CallInput) -> Any:
        """Return the keyword arguments; references to artifacts in them can be opened."""
        read = partial(decode_json, given.fields)
        is_short = len(given.fields) <= SHORT_BYTES
        fields = read() if is_short else await self._reading.run(given.workspace, read)
        if given.artifacts is None or MARK_BYTES not in given.fields:
            return fields
        opened = partial(with_opened, fields, given.artifacts)
        return await self._opening.run(given.workspace, opened)

    async def _done_with(self, host: str, result: Any, artifacts: ArtifactAccess | None) -> Done:
        """Encode what was returned beside the event loop, since its class may have code of its own.

        One thread does so for an actor or application; it goes on if the call is cancelled.
        """
        if _is_short(result):
            return _done_with(result, self._most_bytes, None)
        source = None if artifacts is None else ReturnedArtifacts(artifacts, self._folders)
        turn = self._turns.setdefault(host, asyncio.Semaphore())
        await turn.acquire()
        loop = asyncio.get_running_loop()
        encoding = loop.run_in_executor(self._threads, _done_with, result, self._most_bytes, source)
        encoding.add_done_callback(lambda _: turn.release())
        return await asyncio.shield(encoding)

    async def _called(
        self,
        host: str,
        method: Callable[[dict[str, Any]], Awaitable[Any]],
        given: CallInput,
        how: ServeOptions = _ALONE,
    ) -> CallResult:
        try:
            fields = await self._fields_of(given)
            remote = partial((await method(fields)).remote, **fields)
            # Ray encodes the input while it starts a call.
            response = await started(len(given.fields), remote, _end, workspace=given.workspace)
            if how.stream:
                result = await _joined(response, how, self._most_bytes)
            else:
                result = await _awaited(response)
            done = await self._done_with(host, result, given.artifacts)
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


def _done_with(result: Any, most_bytes: int, source: ReturnedArtifacts | None) -> Done:
    """Encode what was returned, and store what is to be an artifact.

    Whatever a class of the user's raises meanwhile is told.
    """
    try:
        with artifacts_from(source):
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
        _end(response)
        raise


def _end(response: Any) -> None:
    """End a call that nobody waits for."""
    if isinstance(response, ray.ObjectRef):
        ray.cancel(response)
    else:
        response.cancel()


async def _joined(response: Any, how: ServeOptions, most_bytes: int) -> Any:
    """Read a stream to its end, and return its parts as one value.

    Its progress is the end of the text, or how many parts there are.

    Raises:
        FunctionResultError: It is too large.
    """
    parts: list[Any] = []
    with reporting_in_context(lambda *said: report_progress(how.reports_to, how.number, *said)):
        try:
            async for part in _bounded(response, most_bytes):
                parts.append(part)
                progress(None, _end_of(parts))
        except BaseException:
            response.cancel()
            raise
    return _one_of(parts)


def _one_of(parts: list[Any]) -> Any:
    """Join parts that are all texts, or all bytes; others stay a list."""
    if parts and all(isinstance(part, str) for part in parts):
        return "".join(parts)
    return b"".join(parts) if parts and all(isinstance(part, bytes) for part in parts) else parts


async def _bounded(response: Any, most_bytes: int) -> AsyncIterator[Any]:
    size_bytes = 0
    async for part in response:
        size_bytes += PART_BYTES + (len(part) if isinstance(part, str | bytes) else 0)
        if size_bytes > most_bytes:
            raise FunctionResultError(f"the stream has more than {most_bytes} bytes")
        yield part


def _end_of(parts: list[Any]) -> str:
    last = parts[-MESSAGE_CHARACTERS:]
    if not all(isinstance(part, str) for part in last):
        return f"{len(parts)} parts"
    return "".join(last)[-MESSAGE_CHARACTERS:]


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
