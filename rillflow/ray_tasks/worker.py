"""What runs in the Ray worker: a function is imported, given its input, and its result encoded.

The module is imported here and nowhere else. Nothing here imports Ray, so that the rules are
tested without it.
"""

import asyncio
import importlib
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from functools import wraps
from typing import Any, Final, NamedTuple

from pydantic import ValidationError, validate_call
from pydantic_core import PydanticSerializationError, to_json

from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.progress_reports import report_yielded
from rillflow.ray_tasks.failures import (
    FunctionInputError,
    FunctionNotFoundError,
    FunctionResultError,
    failure_facts,
    input_error,
)
from rillflow.ray_tasks.targets import FunctionTarget, is_allowed

_OWN_ERRORS: Final = (FunctionInputError, FunctionNotFoundError, FunctionResultError)
_loaded: dict[tuple[FunctionTarget, tuple[str, ...]], "_Function"] = {}


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
    return Done(_body_of(result, most_bytes))


def failed_by(error: BaseException) -> Done:
    """Return what a function has raised as the outcome of its call; our own words need no trace."""
    traced = not isinstance(error, _OWN_ERRORS)
    facts = failure_facts(error, traced=traced)
    body = encode_json({"error": {key: _sound(value) for key, value in facts.items()}})
    return Done(body, _sound(f"{facts['type']}: {facts['message']}"))


def _sound(text: str) -> str:
    """Return text without lone surrogates, which JSON cannot have."""
    return str.encode(text, errors="replace").decode()


class _Function(NamedTuple):
    function: Callable[..., Any]
    arguments: Callable[..., tuple[Sequence[Any], dict[str, Any]]]
    signature: inspect.Signature


def _result_of(call: FunctionCall) -> Any:
    key = call.target, call.modules  # whether a function may be called depends on both
    loaded = _loaded.get(key)
    if loaded is None:
        loaded = _loaded[key] = _load(call)
    fields = decode_json(call.fields)
    assert isinstance(fields, dict)  # noqa: S101 - the gateway has checked it
    try:
        arguments, named = loaded.arguments(**_keywords(fields, loaded.signature))
    except ValidationError as error:
        raise input_error(error, loaded.signature, loaded.function.__module__, fields) from None
    return _finished(loaded.function(*arguments, **named))


def _keywords(fields: JsonObject, signature: inspect.Signature) -> dict[str, Any]:
    """Return the input as keyword arguments; positional-only parameters have no name to be told by.

    Raises:
        FunctionInputError: The function has such a parameter without a default.
    """
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise FunctionInputError(
                f"the parameter {parameter.name} is positional-only, and inputs are given by name"
            )
    return dict(fields)


def _load(call: FunctionCall) -> _Function:
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

    @wraps(function)
    def arguments(*given: Any, **named: Any) -> tuple[Sequence[Any], dict[str, Any]]:
        return given, named

    return _Function(function, validate_call(arguments), inspect.signature(function))


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


_EMPTY: Final = b"{}"


def _body_of(result: Any, most_bytes: int) -> bytes:
    """Encode a result as a JSON object: what is no object becomes its ``data``, None is empty.

    Raises:
        FunctionResultError: It is no JSON, or too large.
    """
    if result is None:
        return _EMPTY
    try:
        text = to_json(result, fallback=_plain)
        if len(text) <= most_bytes:
            decode_json(text)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise FunctionResultError(
            f"the result, of type {type(result).__qualname__}, is no JSON, which also has no NaN"
            f" and no infinity: {error}"
        ) from None
    body = text if text.startswith(b"{") else b'{"data":%b}' % text
    if len(body) > most_bytes:
        raise FunctionResultError(
            f"the result has {len(body)} bytes of JSON, and {most_bytes} are allowed"
        )
    return body


def _plain(value: Any) -> Any:
    """Return an array or number of NumPy, and of what is like it, as lists and numbers of Python.

    Raises:
        TypeError: It is none.
    """
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return tolist()
    raise TypeError(f"a value of type {type(value).__qualname__} is no JSON")
