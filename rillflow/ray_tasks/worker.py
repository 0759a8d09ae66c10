"""What runs in the Ray worker: a function is imported, given its input, and its result encoded.

The module is imported here and nowhere else. Nothing here imports Ray, so that the rules are
tested without it.
"""

import asyncio
import importlib
import inspect
import sys
from collections.abc import AsyncGenerator, Generator
from typing import Any, NamedTuple

from rillflow.function_calls.arguments import TypedFunction
from rillflow.function_calls.failures import FunctionNotFoundError
from rillflow.function_calls.results import described, encoded_result
from rillflow.jsontypes import decode_json, encode_json
from rillflow.progress_reports import report_yielded
from rillflow.ray_tasks.targets import FunctionTarget, is_allowed

_loaded: dict[tuple[FunctionTarget, tuple[str, ...]], TypedFunction] = {}


class FunctionCall(NamedTuple):
    """One call of a function.

    ``fields`` is a JSON object. ``modules`` are those that tasks may call. ``path`` has the
    folders that are searched for modules before others. A result has ``most_bytes`` at most.
    Progress goes to the actor ``reports_to``, as that of the call of this ``number``.
    """

    target: FunctionTarget
    fields: bytes
    modules: tuple[str, ...]
    path: tuple[str, ...]
    most_bytes: int
    reports_to: tuple[str, str] = ("", "")
    number: int = 0


class Done(NamedTuple):
    """What came of a call: JSON of the output, or of ``{"error": ...}`` with the same in words.

    ``log`` is the place of what the function has printed.
    """

    body: bytes
    error: str | None = None
    log: str | None = None


def call_function(call: FunctionCall) -> Done:
    """Call a function with the input of a task.

    Whatever it raises is told, except a ``KeyboardInterrupt``, by which Ray cancels it. An
    exception object never leaves: Ray would decode it, and run its code, in the dispatcher.
    """
    try:
        return done_with(_result_of(call), call.most_bytes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # what the function has raised may be a class of its own
    except BaseException as error:  # noqa: BLE001 - the function may raise anything
        return failed_by(error)


def done_with(result: Any, most_bytes: int) -> Done:
    """Return what a function has returned as the outcome of its call.

    Raises:
        FunctionResultError: It is no JSON, or too large.
    """
    return Done(encoded_result(result, most_bytes))


def failed_by(error: BaseException) -> Done:
    """Return what a function has raised as the outcome of its call; our own words need no trace."""
    facts, words = described(error)
    return Done(encode_json({"error": facts}), words)


def _result_of(call: FunctionCall) -> Any:
    key = call.target, call.modules  # whether a function may be called depends on both
    loaded = _loaded.get(key)
    if loaded is None:
        loaded = _loaded[key] = _load(call)
    fields = decode_json(call.fields)
    assert isinstance(fields, dict)  # noqa: S101 - the gateway has checked it
    arguments, named = loaded.arguments(fields)
    return _finished(loaded.function(*arguments, **named))


def _load(call: FunctionCall) -> TypedFunction:
    """Import a function.

    Raises:
        FunctionNotFoundError: There is none that may be called.
    """
    target = call.target
    for folder in reversed(call.path):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.invalidate_caches()
    function = _unwrapped(getattr(importlib.import_module(target.module), target.function, None))
    if not inspect.isfunction(function):
        raise FunctionNotFoundError(f"the module {target.module} has no function {target.function}")
    if not is_allowed(function.__module__, call.modules):
        raise FunctionNotFoundError(
            f"{target} is a function of the module {function.__module__}, which the setting"
            " ray_modules does not allow"
        )
    return TypedFunction(function)


def _unwrapped(found: Any) -> Any:
    """Return the function inside of what ``@ray.remote`` makes of one."""
    ray = sys.modules.get("ray")
    kind = getattr(getattr(ray, "remote_function", None), "RemoteFunction", None)
    return getattr(found, "_function", found) if kind and isinstance(found, kind) else found


def _finished(result: Any) -> Any:
    """Wait for a coroutine, and run a generator to its end; what it returns is the result."""
    if inspect.iscoroutine(result):
        return asyncio.run(_awaited(result))
    if isinstance(result, AsyncGenerator):
        return asyncio.run(_exhausted(result))
    if isinstance(result, Generator):
        while True:
            try:
                report_yielded(next(result))
            except StopIteration as end:
                return end.value
    return result


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


async def _exhausted(steps: AsyncGenerator[Any, Any]) -> None:
    async for step in steps:
        report_yielded(step)
