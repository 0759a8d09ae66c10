"""Failures in the words of a function's caller: wrong input, exceptions, results.

Used by `function_calls`, `functions/application.py` and `ray_tasks`.
"""

import inspect
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from rillflow.suggestions import did_you_mean

MOST_MESSAGE: Final = 2_000
MOST_TRACEBACK: Final = 4_000
MOST_FRAMES: Final = 8
MOST_PROBLEMS: Final = 5

_OWN_MODULES: Final = ("rillflow.ray_tasks.", "rillflow.function_calls.", "rillflow.functions.")
_JSON_TYPES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


class FunctionInputError(Exception):
    """The input does not fit the parameters of the function.

    Attributes:
        fields: What is wrong with each field, by its name.
    """

    def __init__(self, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class FunctionResultError(Exception):
    """The function returned what cannot be an output."""


class FunctionNotFoundError(Exception):
    """The module has no such function, or it cannot be called by tasks."""


OWN_ERRORS: Final = (FunctionInputError, FunctionNotFoundError, FunctionResultError)
"""Errors in our own words, which need no traceback."""


def failure_facts(error: BaseException, *, traced: bool) -> dict[str, str]:
    """Return type, message and, if ``traced``, the end of the traceback, each bounded."""
    facts = {"type": type(error).__qualname__, "message": _message_of(error)[:MOST_MESSAGE]}
    if traced:
        facts["traceback"] = _traceback_of(error)
    return facts


def input_error(
    error: ValidationError,
    signature: inspect.Signature,
    module: str,
    fields: Mapping[str, Any],
) -> FunctionInputError:
    """Say which parameters an input does not fit, with the types of both."""
    problems = error.errors(include_url=False, include_context=False)
    said = [_problem(problem, signature, module, fields) for problem in problems[:MOST_PROBLEMS]]
    names = [str((problem["loc"] or ("",))[0]) for problem in problems[:MOST_PROBLEMS]]
    by_field: dict[str, str] = {}
    for name, sentence in zip(names, said, strict=True):
        by_field[name] = f"{by_field[name]}; {sentence}" if name in by_field else sentence
    if len(problems) > MOST_PROBLEMS:
        said.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return FunctionInputError("; ".join(said), by_field)


def element_error(
    error: ValidationError, parameter: str, hint: Any, module: str, given: Any
) -> FunctionInputError:
    """Say what of one input does not fit the type of the elements of a list of inputs."""
    problems = error.errors(include_url=False, include_context=False)
    wanted = f"the elements of {parameter} have the type {type_text(hint, module)}"
    said = [_element_problem(problem, wanted, given) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        said.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return FunctionInputError("; ".join(said))


def _element_problem(problem: Mapping[str, Any], wanted: str, given: Any) -> str:
    name, *inner = map(str, problem["loc"] or ("",))
    if problem["type"] == "missing" and not inner:
        return f"the input has no {name}, and {wanted}"
    if isinstance(given, Mapping) and name in given:
        kind, place = _JSON_TYPES.get(type(given[name]), "unknown"), ".".join([name, *inner])
        return f"the input {name} is {kind}, and {wanted}: {problem['msg']} at {place}"
    kind = _JSON_TYPES.get(type(given), "unknown")
    return f"the input is {kind}, and {wanted}: {problem['msg']}"


def type_text(annotation: Any, module: str) -> str:
    """Return a type as it is written in a module."""
    if annotation is inspect.Parameter.empty:
        return "any"
    if isinstance(annotation, str):  # as with `from __future__ import annotations`
        return annotation
    return inspect.formatannotation(annotation, module)


def _problem(
    problem: Mapping[str, Any],
    signature: inspect.Signature,
    module: str,
    fields: Mapping[str, Any],
) -> str:
    name, *inner = problem["loc"] or ("",)
    parameter = _parameter_of(str(name), signature)
    wanted = type_text(parameter.annotation, module) if parameter is not None else ""
    if problem["type"].startswith("missing") and not inner:
        return f"the input has no {name}, which is a parameter of type {wanted}"
    if problem["type"].startswith("unexpected"):
        near = did_you_mean(str(name), signature.parameters)
        known = ", ".join(signature.parameters) or "none"
        said = f"the input has {name}, and the parameters are {known}"
        return f"{said}; {near}" if near else said
    given = _JSON_TYPES.get(type(fields.get(str(name))), "unknown")
    place = "".join(f".{step}" for step in inner)
    where = f" at {name}{place}" if place else ""
    return (
        f"the input {name} is {given}, and its parameter has the type {wanted}:"
        f" {problem['msg']}{where}"
    )


def _parameter_of(name: str, signature: inspect.Signature) -> inspect.Parameter | None:
    """Return the parameter that takes an argument, which may be ``**others``."""
    others = (each for each in signature.parameters.values() if each.kind is each.VAR_KEYWORD)
    return signature.parameters.get(name) or next(others, None)


def _message_of(error: BaseException) -> str:
    try:
        return str.__str__(str(error))  # which may be of a class that is derived from str
    except BaseException:  # noqa: BLE001 - a class of the user's may raise anything
        return f"the message of this {type(error).__qualname__} cannot be read"


def _traceback_of(error: BaseException) -> str:
    """Return the innermost frames of the user's code and the message, the end if it is long."""
    try:
        frames = list(_frames_of(error))[-MOST_FRAMES:]
        last = traceback.format_exception_only(error)
    except BaseException:  # noqa: BLE001 - a class of the user's may raise anything
        return ""
    return "".join([*traceback.format_list(frames), *last])[-MOST_TRACEBACK:]


def _frames_of(error: BaseException) -> Iterator[traceback.FrameSummary]:
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not str(frame.f_globals.get("__name__", "")).startswith(_OWN_MODULES):
            code = frame.f_code
            yield traceback.FrameSummary(code.co_filename, line, code.co_name)
