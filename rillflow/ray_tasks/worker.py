"""What runs in the Ray worker: a function is imported, given its input, and its result encoded.

The module is imported here and nowhere else. Nothing here imports Ray, so that the rules are
tested without it.

Used by `ray_tasks`.
"""

import asyncio
import importlib
import inspect
import os
import sys
import typing
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from rillflow.artifacts.artifact import artifacts_from
from rillflow.artifacts.calls import ArtifactAccess, StoredArtifacts
from rillflow.errors import ArtifactLostError, TooLargeError
from rillflow.function_calls.arguments import TypedFunction
from rillflow.function_calls.failures import (
    FunctionInputError,
    FunctionNotFoundError,
    FunctionResultError,
    element_error,
)
from rillflow.function_calls.results import described, encoded_result
from rillflow.jsontypes import decode_json, encode_json
from rillflow.private_apis.ray_core.exits import is_by_ray
from rillflow.progress_reports import report_yielded
from rillflow.ray_tasks.targets import FunctionTarget, is_allowed
from rillflow.telemetry.trace_context import VARIABLE as TRACEPARENT

_loaded: dict[tuple[FunctionTarget, tuple[str, ...]], TypedFunction] = {}


class FunctionCall(NamedTuple):
    """One call of a function.

    ``fields`` is a JSON object. ``modules`` are those that tasks may call. ``path`` has the
    folders that are searched for modules before others. A result has ``most_bytes`` at most.
    Progress goes to the actor ``reports_to``, as that of the call of this ``number``. ``artifacts``
    says where artifacts are; None is nowhere. ``feed`` is where the worker may ask for further
    calls, empty if it may not, with the ``token`` of its Ray task, which nobody can guess.
    ``traceparent`` names the span of the attempt, if it has one. ``workspace`` is that of the
    execution.
    """

    target: FunctionTarget
    fields: bytes
    modules: tuple[str, ...]
    path: tuple[str, ...]
    most_bytes: int
    reports_to: tuple[str, str] = ("", "")
    number: int = 0
    artifacts: ArtifactAccess | None = None
    feed: str = ""
    token: bytes = b""
    traceparent: str = ""
    workspace: str = ""


class Done(NamedTuple):
    """What came of a call: JSON of the output, or of ``{"error": ...}`` with the same in words.

    ``log`` is the place of what the function has printed. ``took_s`` is how long the call took.
    """

    body: bytes
    error: str | None = None
    log: str | None = None
    took_s: float = 0.0


def call_function(call: FunctionCall) -> Done:
    """Call a function with the input of a task.

    Whatever it raises is told, except a ``KeyboardInterrupt``, by which Ray cancels it, and the
    ``SystemExit`` by which Ray ends the process. An
    exception object never leaves: Ray would decode it, and run its code, in the dispatcher.
    """
    try:
        source = None if call.artifacts is None else StoredArtifacts(call.artifacts)
        with artifacts_from(source), _traced_by(call.traceparent):
            return done_with(_result_of(call), call.most_bytes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # what the function has raised may be a class of its own
    except SystemExit as ended:
        return _exited(ended)
    except BaseException as error:  # noqa: BLE001 - the function may raise anything
        return failed_by(error)


@contextmanager
def _traced_by(traceparent: str) -> Iterator[None]:
    """Name the span of the attempt to the function, as OpenTelemetry does for programs."""
    if not traceparent:
        yield
        return
    os.environ[TRACEPARENT] = traceparent
    try:
        yield
    finally:
        os.environ.pop(TRACEPARENT, None)


def done_with(result: Any, most_bytes: int) -> Done:
    """Return what a function has returned as the outcome of its call.

    Raises:
        FunctionResultError: It is no JSON, or too large.
    """
    return Done(encoded_result(result, most_bytes))


def _exited(ended: SystemExit) -> Done:
    """Return the outcome of a function that exits; where Ray ends the process there is none."""
    if is_by_ray(ended):
        raise SystemExit(ended.code) from None
    return failed_by(ended)


def failed_by(error: BaseException) -> Done:
    """Return what a function has raised as the outcome of its call; our own words need no trace."""
    facts, words = described(error)
    return Done(encode_json({"error": facts}), words)


def _result_of(call: FunctionCall) -> Any:
    function = _loaded_function(call)
    fields = decode_json(call.fields)
    assert isinstance(fields, dict)  # noqa: S101 - the gateway has checked it
    arguments, named = function.arguments(fields)
    return _finished(function.function(*arguments, **named))


def _loaded_function(call: FunctionCall) -> TypedFunction:
    """Return the function of a call, which is imported once.

    Raises:
        FunctionNotFoundError: There is none that may be called.
    """
    key = call.target, call.modules  # whether a function may be called depends on both
    function = _loaded.get(key)
    if function is None:
        function = _loaded[key] = _load(call)
    return function


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
        said = f"the module {target.module} has no function {target.function}"
        other = "" if function is None else f"; this name is of a {type(function).__qualname__}"
        raise FunctionNotFoundError(f"{said}{other}")
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


# -- batches: one call over the inputs of many tasks ---------------------------------------------

_elements: dict[TypedFunction, "Elements"] = {}


class Elements(NamedTuple):
    """What a function of batches takes: its parameter, and the type of an element."""

    parameter: str
    hint: Any
    adapter: TypeAdapter[Any]
    module: str


class BatchCall(NamedTuple):
    """One call over many inputs; the ``fields`` of ``call`` are not read.

    ``executions`` has the name of each input's execution in the store of artifacts.
    """

    call: FunctionCall
    inputs: tuple[bytes, ...]
    executions: tuple[str, ...] = ()


def call_batch(batch: BatchCall) -> list[Done]:
    """Call a function once with the inputs that fit, and return what came of each.

    Whatever the function raises is the outcome of all of them. What it returns for an input may be
    an exception, which is the outcome of that one.
    """
    outcomes: dict[int, Done] = {}
    artifacts = _artifacts_of(batch)
    try:
        function = _loaded_function(batch.call)
        items = _fitting(function, batch.inputs, outcomes, artifacts)
        if items:
            results = _results(_finished(function.function(list(items.values()))), len(items))
            for place, result in zip(items, results, strict=True):
                with artifacts_from(artifacts[place]):
                    outcomes[place] = _outcome(result, batch.call.most_bytes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None
    except SystemExit as ended:
        failed = _exited(ended)
        return [outcomes.get(place, failed) for place in range(len(batch.inputs))]
    except BaseException as error:  # noqa: BLE001 - the function may raise anything
        failed = failed_by(error)
        return [outcomes.get(place, failed) for place in range(len(batch.inputs))]
    return [outcomes[place] for place in range(len(batch.inputs))]


def _artifacts_of(batch: BatchCall) -> list[StoredArtifacts | None]:
    """Return where each input of a batch has its artifacts."""
    access = batch.call.artifacts
    if access is None or not batch.executions:
        return [None] * len(batch.inputs)
    each = {name: StoredArtifacts(access._replace(execution=name)) for name in {*batch.executions}}
    return [each[name] for name in batch.executions]


def _fitting(
    function: TypedFunction,
    inputs: Sequence[bytes],
    outcomes: dict[int, Done],
    artifacts: Sequence[StoredArtifacts | None],
) -> dict[int, Any]:
    """Return the inputs that fit the type of the elements; the others have failed."""
    elements = _elements.get(function)
    if elements is None:
        elements = _elements[function] = _elements_of(function)
    items = {}
    for place, text in enumerate(inputs):
        fields = decode_json(text)
        try:
            with artifacts_from(artifacts[place]):
                items[place] = elements.adapter.validate_python(fields)
        except ValidationError as error:
            parameter, hint, _, module = elements
            outcomes[place] = failed_by(element_error(error, parameter, hint, module, fields))
        except (ArtifactLostError, TooLargeError, OSError) as error:
            outcomes[place] = failed_by(error)
    return items


def _elements_of(function: TypedFunction) -> Elements:
    """Return the only parameter, and the type of an element.

    Raises:
        FunctionInputError: The function takes something else than one list.
    """
    parameters = list(function.signature.parameters.values())
    needed = [it for it in parameters if it.default is it.empty]
    if len(needed) != 1 or needed[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise FunctionInputError(
            "with rayOptions.batch a function takes one parameter, the list of the inputs,"
            f" and this one takes {function.signature}"
        )
    hint = typing.get_type_hints(function.function).get(needed[0].name, Any)
    arguments = typing.get_args(hint)
    element = arguments[0] if len(arguments) == 1 else Any
    return Elements(needed[0].name, element, TypeAdapter(element), function.function.__module__)


def _results(returned: Any, count: int) -> Sequence[Any]:
    tolist = getattr(returned, "tolist", None)
    results = tolist() if callable(tolist) else returned
    if not isinstance(results, list | tuple) or len(results) != count:
        what = f"{len(results)} results" if isinstance(results, list | tuple) else "no list"
        raise FunctionResultError(
            f"with rayOptions.batch a function returns a list with a result for each input, and"
            f" this one returned {what} for {count} inputs"
        )
    return results


def _outcome(result: Any, most_bytes: int) -> Done:
    if isinstance(result, BaseException):
        return failed_by(result)
    try:
        return done_with(result, most_bytes)
    except (FunctionResultError, ArtifactLostError, TooLargeError, OSError) as error:
        return failed_by(error)
