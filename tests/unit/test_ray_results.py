"""What actors and deployments return is encoded beside the event loop, one at a time for each."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from rillflow.function_calls.failures import FunctionResultError
from rillflow.jsontypes import decode_json
from rillflow.progress_reports import MESSAGE_CHARACTERS
from rillflow.ray_tasks.caller import Caller, CallResult, _bounded, _end_of

WAIT_S: Final = 10.0


class Slow:
    """What becomes a list when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def tolist(self) -> list[int]:
        self.begun.set()
        assert self.may_end.wait(WAIT_S)
        return [1]


class EndsError(BaseException):
    """What is no Exception."""


class Ends:
    """What raises while it is encoded."""

    def tolist(self) -> list[int]:
        raise EndsError("in tolist")


class Answer:
    """A remote method that returns, or raises, at once."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def remote(self) -> Awaitable[Any]:
        future = asyncio.get_running_loop().create_future()
        if isinstance(self._result, BaseException):
            future.set_exception(self._result)
        else:
            future.set_result(self._result)
        return future


def _returning(result: Any) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    async def method(_: dict[str, Any]) -> Any:
        return Answer(result)

    return method


async def _called(caller: Caller, host: str, result: Any) -> CallResult:
    return await caller._called(host, _returning(result), b"{}")


def _output(called: CallResult) -> Any:
    assert called.result is not None
    return decode_json(called.result.body)


async def test_a_result_that_takes_long_to_encode_holds_up_its_own_host_only() -> None:
    caller, first, second = Caller((), 1_000), Slow(), Slow()
    calls = [asyncio.create_task(_called(caller, "a", slow)) for slow in (first, second)]
    assert await asyncio.to_thread(first.begun.wait, WAIT_S)
    assert _output(await _called(caller, "b", [2])) == {"data": [2]}
    calls[0].cancel()
    await asyncio.wait({calls[0]})
    assert calls[0].cancelled()
    assert not second.begun.is_set()  # the thread of the first goes on
    for slow in (first, second):
        slow.may_end.set()
    assert _output(await asyncio.wait_for(calls[1], WAIT_S)) == {"data": [1]}


async def test_what_is_raised_while_a_result_is_encoded_is_told() -> None:
    called = await _called(Caller((), 1_000), "a", Ends())
    assert called.result is not None
    assert "EndsError: in tolist" in str(called.result.error)


async def test_what_is_no_exception_of_python_is_told_and_does_not_leave() -> None:
    called = await _called(Caller((), 1_000), "a", EndsError("raised"))
    assert called.result is not None
    assert called.result.error == "EndsError: raised"


async def _parts(*parts: Any) -> AsyncIterator[Any]:
    for part in parts:
        yield part


@pytest.mark.parametrize("parts", [["x" * 60], [""] * 2, [{}] * 2, [b"x" * 40, b""]])
async def test_a_stream_is_bounded_whatever_its_parts_are(parts: list[Any]) -> None:
    with pytest.raises(FunctionResultError, match="the stream has more than 120 bytes"):
        _ = [part async for part in _bounded(_parts(*parts), 120)]
    assert [part async for part in _bounded(_parts(*parts), 1_000)] == parts


def test_the_progress_of_a_stream_is_the_end_of_its_text_or_the_number_of_its_parts() -> None:
    assert _end_of(["once ", "upon"]) == "once upon"
    assert _end_of(["a" * 500, "b"]) == "a" * (MESSAGE_CHARACTERS - 1) + "b"
    assert _end_of(["once", {}]) == "2 parts"
