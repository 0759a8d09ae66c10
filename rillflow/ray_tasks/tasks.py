"""Starting a function in a Ray worker, and ending it there.

Used by `ray_tasks`.
"""

import asyncio
import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache, partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
import ray
from cachetools import LRUCache

from rillflow.errors import GatewayError
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.ids import ExecutionId, TaskName
from rillflow.private_apis.ray_core.state import no_hook
from rillflow.progress_reports import reporting_to
from rillflow.ray_tasks.call_feed import Feed
from rillflow.ray_tasks.credentials import forget_credentials
from rillflow.ray_tasks.earlier_calls import calls
from rillflow.ray_tasks.exports import remote_function
from rillflow.ray_tasks.options import CallOptions
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.worker import BatchCall, Done, FunctionCall, call_batch, call_function
from rillflow.ray_tasks.worker_log import WorkerLog, watch
from rillflow.task_set import TaskSet

SMALL_BYTES: Final = 64 * 1024
"""A body that is larger is fetched by a reference, once there is room for it."""
CANCEL_GRACE_S: Final = 5.0
"""How long a function may take to end after a ``KeyboardInterrupt``; then its worker is killed."""
MOST_KEPT: Final = 256
MARK: Final = "RILLFLOW_RAY_TASK"
"""Set for the workers of functions, so that none is a copy of the stack's own processes."""

_FOR_INPUTS: Final = FairThread(most=sys.maxsize, most_of_one=sys.maxsize, name="inputs", threads=4)
"""The threads of this process that store large inputs, workspaces in turn."""
log = logging.getLogger("rillflow.ray_tasks")

T = TypeVar("T")
Report: TypeAlias = Callable[[float | None, str, str | None], object]
"""Takes a fraction, a message, and the place of the log."""


class Result(NamedTuple):
    """What a worker returns: the body, or its size and a reference where it is large."""

    body: bytes
    error: str | None
    size_bytes: int
    reference: Any
    log: str | None = None


class CallOutcome(NamedTuple):
    """What a worker tells of a call; ``task`` is the token that its Ray task was given."""

    task: bytes
    call: int
    done: Done


# Ray sends bytes as they are; a tuple takes its pickler 50 us.
_encoder: Final = msgspec.msgpack.Encoder()
_call_decoder: Final = msgspec.msgpack.Decoder(FunctionCall)
_done_decoder: Final = msgspec.msgpack.Decoder(Done)
_batch_decoder: Final = msgspec.msgpack.Decoder(BatchCall)
_outcomes_decoder: Final = msgspec.msgpack.Decoder(list[Done])


def run(call: bytes) -> "bytes | Result":
    """Call a function in a Ray worker; what comes of it is bytes unless it is large.

    A call with a ``feed`` tells its outcome there, and is followed by others if they wait. Nothing
    is returned for what was told.
    """
    given = _call_decoder.decode(call)
    if not given.feed:
        done, result = _run_once(given)
        return _encoder.encode(done) if result.reference is None else result
    feed = Feed(given.feed)
    try:
        return _run_on(given, feed)
    finally:
        feed.close()


def _run_on(given: FunctionCall, feed: Feed) -> "bytes | Result":
    token = given.token
    while True:
        done, result = _run_once(given)
        if result.reference is not None:
            return result
        following = feed.tell(_encoder.encode(CallOutcome(token, given.number, done)))
        if following is None:
            return _encoder.encode(done)
        if not following:
            return b""
        given = _call_decoder.decode(following)


def _run_once(given: FunctionCall) -> tuple[Done, Result]:
    begun_s = time.perf_counter()
    done = called(given, partial(_report, given))
    done = done._replace(took_s=time.perf_counter() - begun_s)
    return done, packed(done)


def run_batch(call: bytes) -> "bytes | list[Result]":
    """Call a function over many inputs; what comes of them is bytes unless one is large."""
    batch = _batch_decoder.decode(call)
    # The reports of a batch would be those of one of its tasks.
    outcomes, log = _watched(lambda: call_batch(batch), lambda *_: None, batch.call.workspace)
    found = [packed(done._replace(log=log)) for done in outcomes]
    if any(result.reference is not None for result in found):
        return found
    return _encoder.encode([done._replace(log=log) for done in outcomes])


def called(call: FunctionCall, report: Report) -> Done:
    """Call a function; its progress, and the place of its log, go to ``report``."""
    done, log = _watched(lambda: call_function(call), report, call.workspace)
    return done._replace(log=log)


def _watched(work: Callable[[], T], report: Report, workspace: str) -> tuple[T, str | None]:
    _forget_credentials()
    calls.begin(workspace)
    log = WorkerLog(is_shown=not calls.may_print())

    def tell(fraction: float | None, message: str) -> None:
        report(fraction, message, log.so_far())

    watch.begin(log, lambda: tell(None, ""))
    try:
        with reporting_to(tell, calls.hears):
            done = work()
    finally:
        watch.end()
        log.end()  # also of a function that was interrupted, whose place may have been told
    return done, log.ended()


@cache  # a worker keeps its environment
def _forget_credentials() -> None:
    forget_credentials(os.environ)


def _report(call: FunctionCall, fraction: float | None, message: str, log: str | None) -> None:
    report_progress(call.reports_to, call.number, fraction, message, log)


def report_progress(
    reports_to: tuple[str, str],
    number: int,
    fraction: float | None,
    message: str,
    log: str | None = None,
) -> None:
    """Tell a dispatcher how far a call has come, if it lives; what it has begun ends with it."""
    with suppress(ray.exceptions.RayError, ValueError):
        _dispatcher(*reports_to).progress.remote(number, fraction, message, log)


@lru_cache(maxsize=8)
def _dispatcher(name: str, namespace: str) -> Any:
    return ray.get_actor(name, namespace)


def attempt_hash(execution_id: ExecutionId, task: TaskName, attempt: int) -> str:
    """Return what names an attempt to Ray: ids of executions are secrets, and Ray lists names."""
    text = "\0".join((execution_id, task, str(attempt)))
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"task actor").hexdigest()


def returned_done(returned: Any) -> Done | None:
    """Read what a worker has returned; None if that is a ``Result``, as for a large one."""
    return _done_decoder.decode(returned) if isinstance(returned, bytes) else None


def encoded_call(call: FunctionCall) -> bytes:
    """Return a call as ``run`` takes it."""
    return _encoder.encode(call)


def results_of(returned: Any) -> list[Result]:
    """Read what a worker has returned for a batch."""
    if isinstance(returned, bytes):
        return list(map(packed, _outcomes_decoder.decode(returned)))
    found: list[Result] = returned
    return found


def packed(done: Done) -> Result:
    """Return what came of a call as it travels."""
    size_bytes = len(done.body)
    if size_bytes <= SMALL_BYTES:
        return Result(done.body, done.error, size_bytes, None, done.log)
    return Result(b"", done.error, size_bytes, ray.put(done.body), done.log)


class RayTasks:
    """Starts functions as Ray tasks; Ray itself repeats none."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._prepared: LRUCache[tuple[Any, FunctionTarget, CallOptions], Any] = LRUCache(MOST_KEPT)
        self._ending: TaskSet[None] = TaskSet()

    async def start(self, call: FunctionCall, options: CallOptions, workspace: str) -> Any:
        """Start a function, and return the reference to what it returns, bytes or a ``Result``.

        Large inputs of a ``workspace`` do not hold up those of others.

        Raises:
            GatewayError: There is no such runtime environment.
            ValueError: Ray refuses the options.
        """
        prepared = self._prepare(run, call.target, options)
        return await started(
            len(call.fields),
            lambda: prepared.remote(_encoder.encode(call)),
            self.end,
            workspace=workspace,
        )

    def start_now(self, call: FunctionCall, options: CallOptions) -> Any:
        """Start a function whose input is small, as ``start`` does.

        Raises:
            GatewayError: There is no such runtime environment.
            ValueError: Ray refuses the options.
        """
        return self._prepare(run, call.target, options).remote(_encoder.encode(call))

    async def start_batch(self, batch: BatchCall, options: CallOptions, workspace: str) -> Any:
        """Start a function over many inputs; the reference is to bytes or a list of ``Result``.

        Raises:
            GatewayError: There is no such runtime environment.
            ValueError: Ray refuses the options.
        """
        prepared = self._prepare(run_batch, batch.call.target, options)
        size_bytes = sum(map(len, batch.inputs))
        return await started(
            size_bytes,
            lambda: prepared.remote(_encoder.encode(batch)),
            self.end,
            workspace=workspace,
        )

    def ray_options(self, options: CallOptions) -> dict[str, Any]:
        """Return the options of a call as Ray takes them, those of tasks only apart.

        Raises:
            GatewayError: There is no such runtime environment.
        """
        return {**options.resources, "runtime_env": self._environment(options.runtime_env)}

    def end(self, reference: Any) -> None:
        """End a function that nobody waits for: first as Ctrl-C does, then with its worker."""
        self._ending.start(_end(reference))

    async def close(self) -> None:
        """Wait until what was to end has ended."""
        await self._ending.wait()

    def _prepare(
        self, run: Callable[[bytes], Any], target: FunctionTarget, options: CallOptions
    ) -> Any:
        key = run, target, options
        prepared = self._prepared.get(key)
        if prepared is None:
            # Names of functions are for everybody who may list tasks; ids of executions are not.
            given = {**self.ray_options(options), "name": str(target)}
            prepared = remote_function(run, options.max_calls).options(**given)
            self._prepared[key] = prepared
        return prepared

    def _environment(self, name: str | None) -> dict[str, Any]:
        """Return the environment of this name, with the mark of the workers of functions.

        Raises:
            GatewayError: There is none.
        """
        if name is not None and name not in self._settings.runtime_envs:
            raise GatewayError(
                f"there is no runtime environment {name[:64]}",
                hint="the setting ray_runtime_envs has the environments by name",
            )
        chosen = self._settings.runtime_envs[name] if name is not None else {}
        return {**chosen, "env_vars": {**no_hook(), **chosen.get("env_vars", {}), MARK: "1"}}


async def started(
    size_bytes: int, start: Callable[[], Any], end: Callable[[Any], None], *, workspace: str
) -> Any:
    """Start a call of Ray and return its reference; a large input is stored beside the event loop.

    Ray copies it into the object store of the node, and waits there for room.

    Args:
        size_bytes: The size of the input.
        start: Starts the call.
        end: Is given the reference if nobody waits for it any more.
        workspace: Whose call it is; those of others do not wait for all of its inputs.
    """
    if size_bytes <= SMALL_BYTES:
        return start()
    starting = _FOR_INPUTS.begin(workspace, start)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(lambda ended: _end_begun(ended, end))
        raise


def _end_begun(starting: "asyncio.Future[Any]", end: Callable[[Any], None]) -> None:
    if starting.exception() is None:
        end(starting.result())


async def _end(reference: Any) -> None:
    try:
        ray.cancel(reference)
        ended = asyncio.wrap_future(reference.future())
        await asyncio.wait({ended}, timeout=CANCEL_GRACE_S)
        if not ended.done():
            log.warning("ray_task_killed", extra={"grace_s": CANCEL_GRACE_S})
            ray.cancel(reference, force=True)
            await asyncio.wait({ended}, timeout=CANCEL_GRACE_S)
        if ended.done() and not ended.cancelled():
            ended.exception()  # it was cancelled, which is no news
        ended.cancel()
    except Exception:
        log.exception("ray_task_not_cancelled")
