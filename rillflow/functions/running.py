"""Runs a function: a coroutine in the event loop, any other in a thread; the outcome is JSON.

Used by `functions/calls.py`.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from rillflow.artifacts.artifact import ArtifactSource, artifacts_from
from rillflow.function_calls.results import described, encoded_result
from rillflow.functions.call_logs import CallLog, logging_to
from rillflow.jsontypes import decode_json, encode_json
from rillflow.progress_reports import Send, report_yielded, reporting_in_context

_SUCCESS: Final = "SUCCESS"

logger = logging.getLogger("rillflow.functions")


class Outcome(NamedTuple):
    """What came of a call: the body of the answer, and whether the function succeeded.

    ``log`` is the end of what it has logged, as it travels in a header.
    """

    body: bytes
    succeeded: bool
    duration_s: float
    log: str = ""


class Invocation(NamedTuple):
    """A function with its arguments.

    ``report`` is told of its progress, in any thread. ``artifacts`` are those that it may use.
    ``log`` keeps what it logs.
    """

    name: str
    function: Callable[..., Any]
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    report: Send
    artifacts: ArtifactSource
    log: CallLog


class _StoppedError(Exception):
    """A ``StopIteration`` of a function, which Python lets no coroutine raise."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__()
        self.error = error


async def run(invocation: Invocation, threads: ThreadPoolExecutor, *, most_bytes: int) -> Outcome:
    """Run a function to its end; whatever it raises is its outcome."""
    began_s = time.monotonic()
    with (
        reporting_in_context(invocation.report),
        artifacts_from(invocation.artifacts),
        logging_to(invocation.log),
    ):
        try:
            result = await _result_of(invocation, threads)
            body = await _in_thread(threads, encoded_result, result, most_bytes)
            succeeded = await _in_thread(threads, _has_succeeded, body)
        except BaseException as error:
            if _is_cancelled():
                invocation.log.end()
                raise
            raised = error.error if isinstance(error, _StoppedError) else error
            body, succeeded = _failed(invocation.name, raised), False
    return Outcome(body, succeeded, time.monotonic() - began_s, invocation.log.end())


async def _result_of(invocation: Invocation, threads: ThreadPoolExecutor) -> Any:
    function, arguments, named = invocation.function, invocation.arguments, invocation.named
    if asyncio.iscoroutinefunction(function):
        return await function(*arguments, **named)
    result = await _in_thread(threads, _finished, function, arguments, named)
    if asyncio.iscoroutine(result):
        return await result
    if isinstance(result, AsyncGenerator):
        async for step in result:
            report_yielded(step)
        return None
    return result


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[..., Any], *given: Any) -> Any:
    """Run something in a thread, with the context of this task."""
    context = contextvars.copy_context()
    done, result = await asyncio.get_running_loop().run_in_executor(
        threads, context.run, _guarded, work, given
    )
    if not done:
        raise _StoppedError(result) if isinstance(result, StopIteration) else result
    return result


def _guarded(work: Callable[..., Any], given: Sequence[Any]) -> tuple[bool, Any]:
    """Return whether something ended well, and its result, or else what it has raised.

    A future cannot have a ``StopIteration``, and ``SystemExit`` would end the event loop.
    """
    try:
        return True, work(*given)
    except BaseException as error:  # noqa: BLE001 - the function may raise anything
        return False, error


def _finished(function: Callable[..., Any], arguments: Sequence[Any], named: Any) -> Any:
    """Call a function, and run a generator to its end; what it returns is the result."""
    result = function(*arguments, **named)
    if not isinstance(result, Generator):
        return result
    while True:
        try:
            report_yielded(next(result))
        except StopIteration as end:
            return end.value


def _has_succeeded(body: bytes) -> bool:
    output = decode_json(body)
    kind = output.get("result_type") if isinstance(output, dict) else None
    return kind is None or str(kind).upper() == _SUCCESS


def _failed(name: str, error: BaseException) -> bytes:
    """Return the outcome of a function that has raised something; the log has the traceback."""
    facts, words = described(error, traced=False)
    logger.warning("function_failed", extra={"function": name}, exc_info=error)
    return encode_json({"result_type": "FAILED", "error_msg": words, "error": facts})


def _is_cancelled() -> bool:
    """Tell whether this task is being cancelled; a function may raise ``CancelledError`` itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
