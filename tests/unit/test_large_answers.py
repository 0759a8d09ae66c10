"""Large answers are sent as they are read, count until then, and must be read in time."""

import asyncio
from typing import Any, Final

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from rillflow.errors import UnreadAnswersError
from rillflow.settings import Settings
from serve.forms.large_answers import (
    LARGE_BYTES,
    MOST_FETCHES,
    PIECE_BYTES,
    AnswerPool,
    LargeAnswers,
)

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
    return AnswerPool(Settings(**(RATE | limits)), grace_s=0.05)


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


class Source:
    """Where an answer is fetched from, which takes a turn; notes what was under way then."""

    def __init__(self, pool: AnswerPool, body: bytes = BODY) -> None:
        self.body = body
        self.at_once: list[int] = []
        self.held_bytes: list[int] = []
        self._pool = pool
        self._fetches = 0

    async def fetch(self) -> bytes:
        self._fetches += 1
        self.at_once.append(self._fetches)
        self.held_bytes.append(self._pool.bytes)
        await asyncio.sleep(0)
        self._fetches -= 1
        return self.body


async def test_what_was_large_counts_already_while_it_is_read_again() -> None:
    pool = pool_of()
    source = Source(pool)
    for body in (BODY, BODY, b"small by now", b"small"):
        source.body = body
        assert await pool.read(SCOPE, "one", source.fetch) == body
    await pool.read(SCOPE, "other", source.fetch)
    assert source.held_bytes == [0, len(BODY), len(BODY), 0, 0]
    assert pool.bytes == 0


async def test_of_many_that_read_one_thing_for_the_first_time_few_fetch_it_at_once() -> None:
    pool = pool_of(answers_max_bytes=4 * len(BODY))
    source = Source(pool)
    reads = [pool.read(SCOPE, "one", source.fetch) for _ in range(100)]
    read = await asyncio.gather(*reads, return_exceptions=True)
    assert max(source.at_once) == MOST_FETCHES
    assert max(source.held_bytes) <= 4 * len(BODY)
    assert {type(each) for each in read} <= {bytes, UnreadAnswersError}
    assert pool.bytes == 0
    assert await pool.read(SCOPE, "one", source.fetch) == BODY


@pytest.mark.parametrize("body", [BODY, b"small", b""])
async def test_answers_of_other_applications_arrive_as_they_are(body: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(body, 201, headers={"X-Kept": "yes"})(scope, receive, send)

    reader, plain = Reader(), Reader()
    await LargeAnswers(app, pool_of())(SCOPE, receive, reader.send)
    await app(SCOPE, receive, plain.send)
    assert (reader.sent[0], reader.body) == (plain.sent[0], body)
