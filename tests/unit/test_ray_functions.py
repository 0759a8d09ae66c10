"""In a Ray worker the input becomes arguments, and what the function returns or raises is JSON."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.errors import GatewayError
from rillflow.function_calls.failures import MOST_MESSAGE, MOST_TRACEBACK
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ray_tasks.targets import FunctionTarget, function_target, refuse_module
from rillflow.ray_tasks.worker import Done, FunctionCall, call_function

MODULE: Final = "functions_of_this_test"
TEXT: Final = """
from __future__ import annotations

import os
from asyncio import CancelledError
from calendar import isleap
from dataclasses import dataclass
from datetime import date
from enum import Enum
from subprocess import run

import numpy
from pydantic import BaseModel


class Size(BaseModel):
    width: int
    height: int = 2


@dataclass
class Frame:
    name: str
    day: date


class Worse(Exception):
    def __str__(self):
        raise RuntimeError("no")


def area(size: Size, times: int = 1) -> int:
    return size.width * size.height * times


def frame(name: str, day: date) -> Frame:
    return Frame(name, day)


def untyped(a, b=2):
    return {"a": a, "b": b}


def keywords(**rest: int) -> dict:
    return rest


def positional(a, /):
    return a


def array():
    return numpy.arange(3)


def number():
    return {"mean": numpy.float32(0.5)}


def not_a_number():
    return float("nan")


def thing():
    return object()


def endless():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(250):
        value = [value]
    return value


def text(count):
    return "x" * count


def numbers(count):
    return [0] * count


def raises(message):
    raise ValueError(message)


def surrogate():
    raise ValueError("cut \\ud83d")


def worse():
    raise Worse


def recursive():
    return recursive()


def invalid():
    return Size(width="wide")


def leaves():
    raise SystemExit(3)


class Interrupt(KeyboardInterrupt):
    pass


def is_cancelled():
    raise Interrupt("of the user")


class Ends(BaseException):
    pass


def ends():
    raise Ends("over")


async def inner_cancel():
    raise CancelledError("cancelled inside")


def group():
    raise BaseExceptionGroup("several", [Ends("one")])


class Silent(Exception):
    def __str__(self):
        raise Ends("no message")


def silent():
    raise Silent


async def steps(count: int):
    for step in range(count):
        yield step


def span():
    return {"traceparent": os.environ.get("TRACEPARENT")}


renamed = area
constant = 3
"""


@pytest.fixture(name="folder", scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("functions")
    (folder / f"{MODULE}.py").write_text(TEXT, encoding="utf-8")
    before = list(sys.path)
    yield folder
    sys.path[:] = before
    sys.modules.pop(MODULE, None)


@pytest.fixture(name="call")
def _call(folder: Path) -> Any:
    def call(function: str, given: dict[str, Any] | None = None, most_bytes: int = 1_000) -> Done:
        fields = encode_json(given or {})
        target = FunctionTarget(MODULE, function)
        return call_function(FunctionCall(target, fields, (MODULE,), (str(folder),), most_bytes))

    return call


@pytest.mark.parametrize(
    ("function", "given", "body"),
    [
        ("area", {"size": {"width": "3"}, "times": 2}, {"data": 12}),
        ("renamed", {"size": {"width": 3}}, {"data": 6}),
        ("frame", {"name": "a", "day": "2026-01-31"}, {"name": "a", "day": "2026-01-31"}),
        ("untyped", {"a": [1]}, {"a": [1], "b": 2}),
        ("keywords", {"x": "1"}, {"x": 1}),
        ("array", {}, {"data": [0, 1, 2]}),
        ("number", {}, {"mean": 0.5}),
        ("steps", {"count": 2}, {}),
    ],
)
def test_what_a_function_returns_is_a_json_object(
    call: Any, function: str, given: dict[str, Any], body: dict[str, Any]
) -> None:
    done = call(function, given)
    assert done.error is None
    assert decode_json(done.body) == body


@pytest.mark.parametrize(
    ("function", "given", "told"),
    [
        (
            "area",
            {"size": {"width": "wide"}},
            "has the type Size: Input should be a valid integer, unable to parse string as an inte",
        ),
        ("area", {"size": None}, "the input size is null, and its parameter has the type Size"),
        ("area", {}, "the input has no size, which is a parameter of type Size"),
        ("untyped", {}, "the input has no a, which is a parameter of type any"),
        (
            "area",
            {"size": {"width": 1}, "time": 2},
            "the input has time, and the parameters are size, times; did you mean `times`?",
        ),
        ("keywords", {"x": "one"}, "the input x is text, and its parameter has the type int"),
        ("positional", {"a": 1}, "the parameter a is positional-only, and inputs are given by"),
    ],
)
def test_an_input_that_does_not_fit_is_told_with_parameter_and_types(
    call: Any, function: str, given: dict[str, Any], told: str
) -> None:
    error = call(function, given).error
    assert error.startswith("FunctionInputError: ")
    assert told in error


def test_of_many_arguments_that_do_not_fit_the_first_are_told(call: Any) -> None:
    error = call("keywords", {f"key{number}": "no" for number in range(100)}).error
    assert error.endswith("and 95 more")
    assert len(error) < MOST_MESSAGE


@pytest.mark.parametrize("function", ["not_a_number", "thing", "endless", "deep"])
def test_a_result_that_is_no_json_is_a_failure(call: Any, function: str) -> None:
    error = call(function).error
    assert re.match(r"FunctionResultError: the result, of type \w+, is no JSON", error)


def test_a_result_that_is_too_large_is_a_failure(call: Any) -> None:
    assert call("text", {"count": 987}).error is None
    told = "FunctionResultError: the result has 1001 bytes of JSON, and 1000 are allowed"
    assert call("text", {"count": 990}).error == told
    assert call("numbers", {"count": 290_000}, most_bytes=10**7).error is None
    error = call("numbers", {"count": 310_000}, most_bytes=10**7).error
    assert (
        "FunctionResultError: the result cannot be kept: it holds more than 300000 values" in error
    )


def test_an_exception_is_told_with_its_type_message_and_the_users_frames(call: Any) -> None:
    done = call("raises", {"message": "no frames"})
    assert done.error == "ValueError: no frames"
    facts: Any = decode_json(done.body)
    assert facts["error"]["type"] == "ValueError"
    assert facts["error"]["message"] == "no frames"
    assert facts["error"]["traceback"].count("File ") == 1
    assert "in raises\n    raise ValueError(message)" in facts["error"]["traceback"]


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("surrogate", "ValueError: cut ?"),
        ("worse", "Worse: the message of this Worse cannot be read"),
        ("recursive", "RecursionError: maximum recursion depth exceeded"),
        ("invalid", "ValidationError: 1 validation error for Size"),
        ("leaves", "SystemExit: 3"),
    ],
)
def test_whatever_a_function_raises_is_its_failure(call: Any, function: str, error: str) -> None:
    done = call(function)
    assert done.error is not None
    assert done.error.startswith(error)
    assert decode_json(done.body)


def test_a_long_message_and_traceback_are_cut(call: Any) -> None:
    done = call("raises", {"message": "x" * 100_000})
    assert len(done.body) < MOST_MESSAGE + MOST_TRACEBACK + 200
    assert done.error is not None
    assert len(done.error) < MOST_MESSAGE + 20


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("ends", "Ends: over"),
        ("inner_cancel", "CancelledError: cancelled inside"),
        ("group", "BaseExceptionGroup: several (1 sub-exception)"),
        ("silent", "Silent: the message of this Silent cannot be read"),
    ],
)
def test_what_is_no_exception_of_python_is_a_failure_too(
    call: Any, function: str, error: str
) -> None:
    done = call(function)
    assert done.error == error
    facts: Any = decode_json(done.body)
    assert facts["error"]["type"] == error.partition(":")[0]


def test_a_cancellation_is_no_failure_of_the_function(call: Any) -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        call("is_cancelled")
    assert raised.type is KeyboardInterrupt  # a class of the user's would be decoded elsewhere


def test_a_worker_that_is_used_again_calls_only_what_the_settings_allow_now(folder: Path) -> None:
    def call(*modules: str) -> Done:
        target = FunctionTarget(MODULE, "isleap")
        return call_function(FunctionCall(target, b'{"year":2000}', modules, (str(folder),), 1_000))

    assert call(MODULE, "calendar").error is None
    assert "is a function of the module calendar" in str(call(MODULE).error)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("run", f"{MODULE}:run is a function of the module subprocess, which the setting"),
        ("Size", f"the module {MODULE} has no function Size; this name is of a ModelMetaclass"),
        ("constant", f"the module {MODULE} has no function constant; this name is of a int"),
        ("nobody", f"the module {MODULE} has no function nobody"),
    ],
)
def test_what_is_no_function_of_an_allowed_module_is_not_called(
    call: Any, function: str, told: str
) -> None:
    assert told in call(function).error


@pytest.mark.parametrize(
    "name",
    ["ray://", "ray://m", "ray://m:", "ray://m:f.g", "ray://_m:f", "ray://m:_f", "ray://m:f "],
)
def test_a_name_that_names_no_function_is_refused(name: str) -> None:
    with pytest.raises(GatewayError, match="names no function"):
        function_target(name)


def test_modules_inside_an_allowed_one_are_allowed_and_no_others() -> None:
    refuse_module(function_target("ray://a.b.c:f"), ["a.b"])
    refuse_module(function_target("ray://a.b:f"), ["a.b"])
    for other in ("ray://a:f", "ray://a.bc:f", "ray://b:f"):
        with pytest.raises(GatewayError, match="ray_modules") as refused:
            refuse_module(function_target(other), ["a.b"])
        assert "--functions" in refused.value.hint


def test_a_function_is_told_the_span_of_its_attempt_and_no_other_one(folder: Path) -> None:
    def call(traceparent: str) -> Any:
        target = FunctionTarget(MODULE, "span")
        made = FunctionCall(target, b"{}", (MODULE,), (str(folder),), 1_000)
        return decode_json(call_function(made._replace(traceparent=traceparent)).body)

    span = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert call(span) == {"traceparent": span}
    assert call("") == {"traceparent": None}
