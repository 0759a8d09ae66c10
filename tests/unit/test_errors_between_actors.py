"""An error of one actor is the same error at another, and a defect is told as one, once.

What can be made again by its caller, a request of the API, is answered at once; what must not be
lost is made again after pauses that grow.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final

import pytest

from rillflow import errors
from rillflow.actors.connections.frames import Serve, SocketConnection
from rillflow.actors.connections.sockets import SocketServer
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, Reply, Submission, Watch, encode_replies
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.messages import (
    AwaitEnds,
    Calls,
    Dispatches,
    decode_dispatcher_message,
    decode_owner_message,
)
from rillflow.runtime.aio import retrying
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.completion.client import CompletionClient, News
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.dispatch.outbox import Outbox
from rillflow.runtime.routing.router import OwnerRef
from serve.schemas.errors import respond_to
from tests.loopback import attempt

SECRET: Final = "the value of a secret"
LONG_S: Final = 20
WATCH: Final = Watch(execution_id="b:f_c_1", watcher="me")
SAME: Final = (
    errors.UnavailableError("the owner starts"),
    errors.NotOwnerError("it has moved", (4, 3)),
    errors.StoreError("the disk is full"),
    errors.ConflictError("it was written meanwhile"),
    errors.FencedError("a newer owner"),
    errors.DamagedError("a record is missing"),
    errors.QuotaError("too many"),
    errors.OverloadedError("later"),
    errors.UnreadAnswersError("read first"),
    errors.CrashedError("it failed"),
    errors.DefectError("unexpected"),
    errors.ExecutionError("it has ended", 30603),
    errors.UnknownExecutionError("unknown"),
)


@asynccontextmanager
async def connected(
    serve: Serve,
) -> AsyncIterator[SocketConnection]:
    server = SocketServer(serve, "owner:1")
    await server.start()
    connection = await SocketConnection.connect(server.path)
    try:
        yield connection
    finally:
        connection.close()
        server.close()


async def refusal_of(error: Exception, *, is_at_once: bool = False) -> errors.RillflowError:
    """Return what a caller gets when the actor at the other end of a socket raises this.

    It is raised ``is_at_once``, or by what is waited for.
    """

    def serve_at_once(_: bytes) -> bytes:
        raise error

    async def serve(_: bytes) -> bytes:
        raise error

    async with (
        connected(serve_at_once if is_at_once else serve) as connection,
        asyncio.timeout(LONG_S),
    ):
        with pytest.raises(errors.RillflowError) as caught:
            await connection.call(b"")
    return caught.value


@pytest.mark.parametrize("way", ["at once", "after a wait"])
@pytest.mark.parametrize("error", SAME, ids=lambda error: error.code)
async def test_an_error_has_its_class_its_text_and_its_codes_at_the_caller_too(
    error: errors.RillflowError, way: str
) -> None:
    told = await refusal_of(error, is_at_once=way == "at once")
    assert type(told) is type(error)
    assert str(told) == str(error)
    assert (told.wire_code, told.http_status) == (error.wire_code, error.http_status)


async def test_that_a_third_actor_has_gone_does_not_mean_that_the_called_one_has() -> None:
    assert type(await refusal_of(errors.GoneError("another"))) is errors.UnavailableError


async def test_an_answer_that_is_there_at_once_arrives_as_one_that_is_waited_for() -> None:
    async with connected(bytes.upper) as connection, asyncio.timeout(LONG_S):
        assert await connection.call(b"message") == b"MESSAGE"


@pytest.mark.parametrize("way", ["at once", "after a wait"])
async def test_an_unexpected_exception_is_logged_there_and_told_without_its_values(
    caplog: pytest.LogCaptureFixture, way: str
) -> None:
    told = await refusal_of(TypeError(SECRET), is_at_once=way == "at once")
    assert type(told) is errors.DefectError
    assert str(told) == "unexpected TypeError in owner:1; its log has the traceback"
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == SECRET


async def test_a_defect_in_one_call_of_a_batch_is_told_to_its_caller_alone_and_once() -> None:
    batches: list[int] = []

    async def serve(data: bytes) -> bytes:
        message = decode_owner_message(data)
        assert isinstance(message, Calls)
        calls = message.calls
        batches.append(len(calls))
        if "bad" in str(calls):
            raise TypeError(SECRET)
        return encode_replies([Reply(body=b"1") for _ in calls])

    async with connected(serve) as connection, asyncio.timeout(LONG_S):
        owner = OwnerRef(connection.call, watcher="me")
        bad = Watch(execution_id=ExecutionId(f"{WATCH.execution_id}bad"), watcher="me")
        calls: list[Call] = [WATCH, WATCH, WATCH, bad]
        asked = (owner.ask(each) for each in (*calls, WATCH))
        replies = await asyncio.gather(*asked, return_exceptions=True)
    kinds = [type(reply) for reply in replies]
    assert kinds == [Reply, Reply, Reply, errors.DefectError, Reply]
    assert batches.count(1) >= 3, "the batch with the bad call was sent one by one"


async def test_who_waits_for_an_end_is_told_of_a_defect_at_once() -> None:
    asked: list[AwaitEnds] = []

    async def call(_: Watch | Submission) -> Reply:
        return Reply()

    async def ask(question: AwaitEnds) -> News:
        asked.append(question)
        raise errors.DefectError("unexpected")

    client = CompletionClient("me", call, ask)
    with pytest.raises(errors.DefectError):
        await asyncio.wait_for(client.wait("b:f_c_1", timeout_s=LONG_S), LONG_S / 2)
    await asyncio.sleep(0)
    assert len(asked) == 1
    assert not len(client)


async def test_what_must_not_be_lost_is_asked_again_after_a_defect_with_growing_pauses() -> None:
    loop = asyncio.get_running_loop()
    asked_s: list[float] = []

    async def ask() -> str:
        asked_s.append(loop.time())
        if len(asked_s) < 4:
            raise errors.DefectError("unexpected")
        return "answer"

    assert await asyncio.wait_for(retry_while_unavailable(ask), LONG_S) == "answer"
    pauses_s = [after - before for before, after in pairwise(asked_s)]
    assert all(pause_s >= retrying.FIRST_PAUSE_S * 2**n * 0.9 for n, pause_s in enumerate(pauses_s))


def test_pauses_grow_to_seconds_for_what_is_away_and_to_minutes_for_what_needs_somebody() -> None:
    seconds, minutes = retrying.LONGEST_PAUSE_S, retrying.LONGEST_CRASH_PAUSE_S
    assert minutes >= 120
    for error, longest_s in (
        (errors.StoreError("away"), seconds),
        (errors.UnavailableError("away"), seconds),
        (errors.DamagedError("broken"), minutes),
        (errors.DefectError("unexpected"), minutes),
    ):
        assert retrying.longest_pause_s(error) == longest_s


async def test_an_answer_that_its_owner_meets_a_defect_with_holds_up_no_other_and_is_not_lost() -> (
    None
):
    taken: list[int] = []
    refused: list[int] = []
    all_taken = asyncio.Event()

    async def take(batch: list[DispatchAnswer]) -> None:
        attempts = [answer.attempt for answer in batch]
        if 1 in attempts and len(refused) < 3:
            refused.append(len(batch))
            raise errors.DefectError("unexpected")
        taken.extend(attempts)
        if len(taken) == 5:
            all_taken.set()

    outbox = Outbox(take)
    for number in range(5):
        outbox.put(DispatchAnswer(execution_id="b:f_c_1", task="A", attempt=number))
    await asyncio.wait_for(all_taken.wait(), LONG_S)
    await outbox.close()
    assert taken == [0, 2, 3, 4, 1]
    assert refused == [5, 1, 1]


class Owner:
    """An owner of executions that takes every answer."""

    epoch = 1

    def __init__(self) -> None:
        self.answers: list[DispatchAnswer] = []
        self.arrived = asyncio.Event()

    async def is_replaced(self) -> bool:
        return False

    async def still_awaited(self, requests: Sequence[DispatchRequest]) -> list[DispatchRequest]:
        return list(requests)

    async def has_started(self) -> None:
        """It has started."""

    async def ended_calls(self, _: Sequence[CallId]) -> list[CallId]:
        return []

    async def unawaited(self, _: Iterable[DispatchRequest]) -> list[DispatchRequest]:
        return []

    async def answers_arrived(self, answers: Sequence[DispatchAnswer]) -> None:
        self.answers += answers
        self.arrived.set()


async def test_a_call_that_a_dispatcher_meets_a_defect_with_fails_and_the_others_are_made() -> None:
    sent: list[int] = []
    all_sent = asyncio.Event()

    async def serve(data: bytes) -> bytes:
        message = decode_dispatcher_message(data)
        if isinstance(message, Dispatches):
            attempts = [request.attempt for request in message.requests]
            if 2 in attempts:
                raise TypeError(SECRET)
            sent.extend(attempts)
            if len(sent) == 3:
                all_sent.set()
        return b"life"

    async with connected(serve) as connection, asyncio.timeout(LONG_S):
        client, owner = DispatcherClient("me", [connection.call]), Owner()
        client.serve(owner)
        client.send([attempt("http://h/f", attempt=number) for number in range(1, 5)])
        await owner.arrived.wait()
        await all_sent.wait()
        await client.stop()
    assert sorted(sent) == [1, 3, 4]
    [failure] = owner.answers
    assert failure.attempt == 2
    assert failure.error == "handle fails: DefectError while sending the request"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.UnavailableError("rillflow:execution:0 cannot be reached"), 503, 30113),
        (errors.StoreError("PostgreSQL: no connection"), 503, 30501),
        (errors.DefectError("unexpected TypeError in rillflow:execution:0"), 500, 30101),
    ],
)
def test_over_http_a_process_that_is_away_is_503_and_a_defect_is_500(
    error: errors.RillflowError, status: int, code: int
) -> None:
    response = respond_to(error)
    body = json.loads(bytes(response.body))
    assert (response.status_code, body["error_code"]) == (status, code)
    assert ("retry-after" in response.headers) is (status == 503)
    if code == errors.UnavailableError.wire_code:
        assert body["error"] == "a process of the server cannot be reached now; try again later"
