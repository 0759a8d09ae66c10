"""An inbox bounds the submissions that wait, and nothing that running executions need."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final

import pytest

from rillflow.core.events import CancelRequested, ParentLink
from rillflow.errors import OverloadedError, StoreError
from rillflow.ports.executions import Call, Delivery, Reply, Submission, encode_replies
from rillflow.ports.gateway import failed
from rillflow.runtime.backpressure.admission import (
    SubmissionLimit,
    UnansweredCalls,
    UnansweredInputs,
    inputs_of,
)
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.routing.router import OwnerRef
from tests.loopback import attempt
from tests.submissions import submission_event

EXECUTION: Final = "shop:order_c_00000000-0000-7000-8000-000000000000"
PARENT: Final = ParentLink(execution_id=EXECUTION, task="A", attempt=1, pattern="flow_sync")
CANCEL: Final = Delivery(execution_id=EXECUTION, event=CancelRequested(at_ms=1))


def _submission(parent: ParentLink | None = None) -> Submission:
    event = submission_event(EXECUTION, parent=parent)
    return Submission(business="shop", feature="order", event=event)


async def _take(calls: Sequence[Call]) -> list[Reply]:
    return [Reply(body=str(number).encode()) for number, _ in enumerate(calls)]


async def _unknown(_: str) -> bool:
    return False


async def _fail(_: Sequence[Call]) -> list[Reply]:
    raise StoreError("lost")


async def test_what_finds_no_place_is_refused_and_the_rest_is_answered_in_order() -> None:
    calls: list[Call] = [_submission(), CANCEL, _submission(), _submission(PARENT)]
    replies = await SubmissionLimit(1).call_many(calls, _take, _unknown)
    assert [reply.kind for reply in replies] == ["", "", OverloadedError.code, ""]
    assert [reply.body for reply in replies] == [b"0", b"1", None, b"2"]
    assert replies[2].http_status == 429


@pytest.mark.parametrize("take", [_take, _fail])
async def test_places_are_free_again_however_a_batch_ends(take: object) -> None:
    inbox = SubmissionLimit(1)
    for _ in range(3):
        if take is _fail:
            with pytest.raises(StoreError):
                await inbox.call_many([_submission()], _fail, _unknown)
        else:
            [reply] = await inbox.call_many([_submission()], _take, _unknown)
            assert reply.error is None


async def test_a_batch_of_refused_submissions_asks_nobody() -> None:
    inbox = SubmissionLimit(1)
    with inbox.place(_submission()):
        replies = await inbox.call_many([_submission(), _submission()], _fail, _unknown)
    assert [reply.kind for reply in replies] == [OverloadedError.code] * 2


async def test_a_submission_that_came_before_needs_no_place() -> None:
    async def known(_: str) -> bool:
        return True

    inbox = SubmissionLimit(1)
    with inbox.place(_submission()):
        [reply] = await inbox.call_many([_submission()], _take, known)
        assert reply.error is None
        others = await inbox.call_many([_submission(), CANCEL], _take, _unknown)
    assert [reply.kind for reply in others] == [OverloadedError.code, ""]


def _of(workspace: str) -> Submission:
    event = submission_event(EXECUTION.replace("shop", workspace))
    return Submission(business=workspace, feature="order", event=event)


@pytest.mark.parametrize(("theirs", "refused"), [(79, False), (80, True), (89, True)])
async def test_a_workspace_with_most_of_the_unanswered_calls_waits_and_others_do_not(
    theirs: int,
    refused: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    waiting = [EXECUTION] * theirs + ["other:order_c_0"] * (90 - theirs)
    unanswered = UnansweredCalls(lambda: len(waiting), lambda: waiting, 100, lambda: 0.0)
    inbox = SubmissionLimit(unanswered=unanswered)
    calls: list[Call] = [_submission(), _of("new"), _submission(PARENT), CANCEL, _of("new")]
    replies = await inbox.call_many(calls, _take, _unknown)
    assert [reply.kind == OverloadedError.code for reply in replies] == [
        refused,
        *[False] * 4,
    ]
    waiting += ["other:order_c_0"] * 10
    replies = await inbox.call_many(calls, _take, _unknown)
    told = [reply.error is not None for reply in replies]
    assert told == [theirs > 6, False, False, False, False], "those with many wait"
    waiting += [EXECUTION] * 900
    replies = await inbox.call_many(calls, _take, _unknown)
    told = [reply.error is not None for reply in replies]
    assert told == [True, False, False, False, False], "however many they have"
    del waiting[100:]
    del waiting[50:]
    assert all(reply.error is None for reply in await inbox.call_many(calls, _take, _unknown))


def test_calls_are_counted_by_workspace_only_when_one_may_have_too_many() -> None:
    counted, at_s, waiting = 0, 0.0, [0]

    def executions() -> Iterator[str]:
        nonlocal counted, at_s
        counted, at_s = counted + 1, at_s + 0.03
        return repeat(EXECUTION, waiting[0])

    unanswered = UnansweredCalls(lambda: waiting[0], executions, 100_000, lambda: at_s)
    for waiting[0] in (0, 50_000, 88_000):
        assert unanswered.are_few
    for waiting[0] in (89_000, 89_001, 89_500):
        assert not unanswered.are_few
        assert unanswered.refuse(EXECUTION)
        assert not unanswered.refuse("other:order_c_0")
    assert counted == 1
    waiting[0] = 91_000
    assert unanswered.refuse(EXECUTION)
    assert counted == 1, "a twentieth of the time"
    at_s += 0.6
    assert unanswered.refuse(EXECUTION)
    assert counted == 2


@pytest.mark.parametrize(
    ("theirs", "others", "refused"),
    [
        (790, 110, (False, False)),
        (800, 100, (True, False)),
        (5_000, 62, (True, False)),  # one event made all of it
        (940, 63, (True, True)),
        (62, 62, (False, False)),
    ],
)
async def test_a_workspace_with_most_of_the_bytes_of_unanswered_inputs_waits_for_answers(
    theirs: int, others: int, refused: tuple[bool, bool]
) -> None:
    waiting = [(EXECUTION, theirs), ("other:order_c_0", others)]
    inputs = UnansweredInputs(lambda: theirs + others, lambda: waiting, 1_000)
    inbox = SubmissionLimit(inputs=inputs)
    calls: list[Call] = [_submission(), _of("other"), _submission(PARENT), CANCEL, _of("new")]
    replies = await inbox.call_many(calls, _take, _unknown)
    told = [reply.kind == OverloadedError.code for reply in replies]
    assert told == [*refused, False, False, False]


async def test_the_bytes_of_inputs_are_counted_until_their_calls_are_answered() -> None:
    opened = asyncio.Event()

    async def dispatcher(_: bytes) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    client = DispatcherClient("owner", [dispatcher, dispatcher], opened)
    poll, callback = (
        attempt("http://a/f", input=b"x" * 40),
        attempt("http://b/f", input=b"y" * 30, pattern="task_async", task="B"),
    )
    client.send([poll, callback])
    client.send([poll])  # it is ordered again
    assert client.input_bytes == 70
    assert sorted(client.inputs()) == [("b:f_c_1", 30), ("b:f_c_1", 40)]
    assert inputs_of((client,), 71).refuse("b:f_c_2")
    assert not inputs_of((client,), 71).refuse("other:f_c_2")
    opened.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.input_bytes == 70
    client.answered([failed(poll, "no")])
    client.answered([failed(poll, "no")])
    assert client.input_bytes == 30
    client.answered([failed(callback, "no")])
    assert (client.input_bytes, list(client.inputs())) == (0, [])
    await client.stop()


async def test_a_submission_that_may_have_come_before_is_to_be_sent_again() -> None:
    async def unreadable(_: str) -> bool:
        raise StoreError("lost")

    inbox = SubmissionLimit(1)
    with inbox.place(_submission()):
        [reply] = await inbox.call_many([_submission()], _fail, unreadable)
    assert reply.is_unanswered


async def test_a_caller_queues_no_more_submissions_than_the_limit() -> None:
    is_open, asked = asyncio.Event(), asyncio.Event()

    async def connection(_: bytes) -> bytes:
        asked.set()
        await is_open.wait()
        return encode_replies([Reply()])

    owner = OwnerRef(connection, watcher="me", limit=SubmissionLimit(1))
    first = asyncio.create_task(owner.ask(_submission()))
    await asked.wait()
    with pytest.raises(OverloadedError, match="1 submissions are waiting"):
        await owner.ask(_submission())
    others = [asyncio.create_task(owner.ask(call)) for call in (CANCEL, _submission(PARENT))]
    is_open.set()
    await asyncio.gather(first, *others, return_exceptions=True)
    assert (await owner.ask(_submission())).error is None
