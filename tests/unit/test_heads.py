"""The answer to HEAD is complete with its head, and what makes it ends there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.middleware.heads import only_head

SCOPE: Final[dict[str, Any]] = {"type": "http", "method": "GET", "path": "/flow/get.json"}
START: Final[Message] = {"type": "http.response.start", "status": 200, "headers": []}
END: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}
SOON_S: Final = 60


async def nothing() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def head_of(answer: Callable[[Send], Awaitable[None]]) -> list[Message]:
    """Return what is sent of what an application answers."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def application(scope: Scope, receive: Receive, send_inside: Send) -> None:
        assert (scope, receive) == (SCOPE, nothing)
        await answer(send_inside)

    async with asyncio.timeout(SOON_S):
        await only_head(application, SCOPE, nothing, send)
    return sent


async def test_nothing_is_made_of_a_body_that_goes_on_and_its_resources_are_freed() -> None:
    steps: list[str] = []

    async def stream(send: Send) -> None:
        try:
            await send(START)
            steps.append("went on")
        finally:
            steps.append("freed")

    assert await head_of(stream) == [START, END]
    assert steps == ["freed"]


async def test_what_other_tasks_send_is_not_sent() -> None:
    part = {**END, "body": b"x", "more_body": True}

    async def stream(send: Send) -> None:
        tasks = [asyncio.ensure_future(send(message)) for message in (START, part, part, END)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    assert await head_of(stream) == [START, END]


async def test_what_fails_after_the_head_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def stream(send: Send) -> None:
        try:
            await send(START)
        finally:
            raise ValueError("not closed")

    assert await head_of(stream) == [START, END]
    assert [record.message for record in caplog.records] == ["request_not_ended"]


@pytest.mark.parametrize("error", [TimeoutError, ValueError])
async def test_what_fails_before_the_head_fails(error: type[Exception]) -> None:
    async def fails(_: Send) -> None:
        raise error

    with pytest.raises(error):
        await head_of(fails)


async def test_who_is_cancelled_before_the_head_is_cancelled() -> None:
    async def waits(_: Send) -> None:
        await asyncio.Event().wait()

    asking = asyncio.create_task(head_of(waits))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
