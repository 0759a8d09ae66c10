"""Large answers are sent as they are read, count until then, and must be read in time."""

import asyncio
from typing import Any, Final

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from rillflow.errors import UnreadAnswersError
from rillflow.settings import Settings
from serve.limits.large_answers import (
    ANSWERED_REQUEST,
    LARGE_BYTES,
    PIECE_BYTES,
    AnswerPool,
    LargeAnswers,
)
from serve.schemas.errors import respond_to

BODY: Final = bytes(range(256)) * (LARGE_BYTES // 256) + b"end"
SCOPE: Final[dict[str, Any]] = {"type": "http", "client": ("192.0.2.1", 1)}
RATE: Final = {"answer_min_bytes_per_s": 1e9}


class Reader:
    """A client that reads, or stops after so many messages."""

    def __init__(self, stops_after: int = 1_000) -> None:
        self.sent: list[Message] = []
        self._stops_after = stops_after

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if len(self.sent) > self._stops_after:
            await asyncio.Event().wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def receive() -> Message:
    return {"type": "http.disconnect"}


def pool_of(**limits: Any) -> AnswerPool:
    return AnswerPool(Settings(**(RATE | limits)), respond_to, grace_s=0.05)


async def test_a_large_answer_goes_in_pieces_and_counts_until_its_end() -> None:
    reader, pool = Reader(), pool_of()
    await pool.respond(Response(BODY), SCOPE, receive, reader.send)
    assert reader.body == BODY
    assert max(len(message.get("body", b"")) for message in reader.sent) == PIECE_BYTES
    assert [message["more_body"] for message in reader.sent[1:]] == [True] * 4 + [False]
    assert pool.bytes == 0


async def test_who_stops_reading_is_given_up() -> None:
    reader, pool = Reader(stops_after=2), pool_of()
    answering = asyncio.create_task(pool.respond(Response(BODY), SCOPE, receive, reader.send))
    await asyncio.sleep(0)
    assert pool.bytes == len(BODY)
    await answering
    assert pool.bytes == 0
    assert len(reader.sent) == 3


async def test_the_time_for_an_answer_grows_with_its_size() -> None:
    reader, pool = Reader(stops_after=2), pool_of(answer_min_bytes_per_s=1_000)
    answering = asyncio.create_task(pool.respond(Response(BODY), SCOPE, receive, reader.send))
    done, _ = await asyncio.wait([answering], timeout=0.3)
    assert not done
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert pool.bytes == 0


async def test_what_is_about_to_be_fetched_counts_already_and_once() -> None:
    reader, pool = Reader(), pool_of(answers_max_bytes=3 * len(BODY))
    ANSWERED_REQUEST.set(SCOPE)
    pool.take(len(BODY))
    pool.take(len(BODY))
    assert pool.bytes == len(BODY)
    await pool.respond(Response(b'{"ret":' + BODY + b"}"), SCOPE, receive, reader.send)
    assert reader.sent[0]["status"] == 200
    assert pool.bytes == 0


async def test_what_would_be_too_much_is_refused_before_it_is_fetched() -> None:
    pool = pool_of(answers_max_bytes=2 * len(BODY))
    scopes = [{**SCOPE, "number": number} for number in range(3)]
    for scope in scopes[:2]:
        ANSWERED_REQUEST.set(scope)
        pool.take(len(BODY))
    ANSWERED_REQUEST.set(scopes[2])
    with pytest.raises(UnreadAnswersError):
        pool.take(len(BODY))
    for scope in scopes:
        pool.end(scope)
    assert pool.bytes == 0


@pytest.mark.parametrize("body", [BODY, b"small", b""])
async def test_answers_of_other_applications_arrive_as_they_are(body: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(body, 201, headers={"X-Kept": "yes"})(scope, receive, send)

    reader, plain = Reader(), Reader()
    await LargeAnswers(app, pool_of())(SCOPE, receive, reader.send)
    await app(SCOPE, receive, plain.send)
    assert (reader.sent[0], reader.body) == (plain.sent[0], body)
