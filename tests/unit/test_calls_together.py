"""Calls that are made together reach each owner in one message, and each has its own reply."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from rillflow.errors import (
    DefectError,
    NotOwnerError,
    NotReadyError,
    OverloadedError,
    UnavailableError,
)
from rillflow.ids import new_execution_id, partition_of
from rillflow.ports.executions import (
    Call,
    Query,
    Reply,
    Submission,
    encode_replies,
    reply_to_error,
)
from rillflow.ports.messages import Calls, GetPartitionMap, decode_owner_message, encode_map
from rillflow.runtime.aio.batching import Batcher
from rillflow.runtime.backpressure.admission import SubmissionLimit
from rillflow.runtime.routing.router import DedicatedOwners, ExecutionRouter, OwnerRef
from tests.submissions import submission_event

NOBODY: Final = cast("DedicatedOwners", None)
Answer = Callable[[Call, bool], Reply]


def execution_of(owner: int, number: int, *, dedicated: bool = False) -> str:
    """Make the id of an execution of one of two owners."""
    while True:
        entropy = number.to_bytes(10)
        made = new_execution_id("demo", "flow", at_ms=1, entropy=entropy, dedicated=dedicated)
        if partition_of(made) % 2 == owner:
            return made
        number += 1_000


def reads(owner: int, count: int) -> list[Call]:
    return [Query(execution_id=execution_of(owner, n), kind="status") for n in range(count)]


class Owner(OwnerRef):
    """Answers each call by a function; ``messages`` are the numbers of calls that it got."""

    def __init__(self, answer: Answer, *, most: int = 100) -> None:
        super().__init__(self._take, watcher="me", limit=SubmissionLimit(most))
        self._answer = answer
        self.messages: list[int] = []

    async def _take(self, data: bytes) -> bytes:
        message = decode_owner_message(data)
        if isinstance(message, GetPartitionMap):
            return encode_map(1, 2)
        assert isinstance(message, Calls)
        self.messages.append(len(message.calls))
        return encode_replies([self._answer(call, message.waits) for call in message.calls])


def named(call: Call, waits: bool) -> Reply:  # noqa: FBT001 - an answer is called so
    del waits
    return Reply(body=call.execution_id.encode())


async def test_each_owner_gets_one_message_and_the_replies_are_in_order() -> None:
    owners = [Owner(named), Owner(named)]
    calls = [call for pair in zip(reads(0, 9), reads(1, 9), strict=True) for call in pair]
    replies = await ExecutionRouter(owners, NOBODY).call_many(calls)
    assert [reply.body for reply in replies] == [call.execution_id.encode() for call in calls]
    assert [owner.messages for owner in owners] == [[9], [9]]
    assert await ExecutionRouter(owners, NOBODY).call_many([]) == []


async def test_an_owner_that_cannot_be_reached_fails_its_own_calls_only() -> None:
    def away(call: Call, waits: bool) -> Reply:  # noqa: FBT001 - an answer is called so
        del call, waits
        raise UnavailableError("away")

    owners = [Owner(named), Owner(away)]
    calls = [*reads(1, 2), *reads(0, 2)]
    replies = await ExecutionRouter(owners, NOBODY).call_many(calls)
    assert [reply.kind for reply in replies] == [UnavailableError.code] * 2 + ["", ""]


async def test_a_call_that_takes_long_is_made_alone_and_waits() -> None:
    def slow(call: Call, waits: bool) -> Reply:  # noqa: FBT001 - an answer is called so
        is_slow = call.execution_id == execution_of(0, 1) and not waits
        return reply_to_error(NotReadyError("long")) if is_slow else named(call, waits)

    owner = Owner(slow)
    replies = await ExecutionRouter([owner], NOBODY).call_many(reads(0, 3))
    assert [reply.error for reply in replies] == [None] * 3
    assert owner.messages == [3, 1, 1]


async def test_a_call_whose_partition_has_moved_finds_the_new_owner() -> None:
    moved = reply_to_error(NotOwnerError("moved", (1, 2)))

    def first(call: Call, waits: bool) -> Reply:  # noqa: FBT001 - an answer is called so
        is_own = partition_of(call.execution_id) % 2 == 0
        return named(call, waits) if is_own else moved

    owners = [Owner(first), Owner(named)]
    router = ExecutionRouter(owners[:1], NOBODY, lambda index: owners[index])
    calls = [*reads(0, 1), *reads(1, 2)]
    replies = await router.call_many(calls)
    assert [reply.body for reply in replies] == [call.execution_id.encode() for call in calls]


async def test_submissions_for_which_there_is_no_place_are_refused_as_one() -> None:
    def submission(number: int) -> Call:
        event = submission_event(execution_of(0, number))
        return Submission(business="demo", feature="flow", event=event)

    owner = Owner(named, most=2)
    router = ExecutionRouter([owner], NOBODY)
    replies = await router.call_many([submission(n) for n in range(3)])
    assert [reply.kind for reply in replies] == [OverloadedError.code] * 3
    for _ in range(3):  # the places are free again
        replies = await router.call_many([submission(n) for n in range(2)])
        assert [reply.error for reply in replies] == [None] * 2
    assert owner.messages == [2] * 3


async def test_a_defect_reaches_only_its_own_item() -> None:
    async def send(items: list[int]) -> list[int]:
        if 3 in items:
            raise ValueError("3")
        return [item * 2 for item in items]

    found = await Batcher(send).ask_many([1, 2, 3, 4])
    assert found[:2] == [2, 4]
    assert isinstance(found[2], DefectError)
    assert found[3] == 8


async def test_what_was_not_sent_is_not_sent_after_a_cancellation() -> None:
    sent: list[list[int]] = []
    free = asyncio.Event()

    async def send(items: list[int]) -> list[int]:
        sent.append(items)
        await free.wait()
        return items

    batcher = Batcher(send)
    first = asyncio.create_task(batcher.ask(1))
    await asyncio.sleep(0)
    others = asyncio.create_task(batcher.ask_many([2, 3]))
    last = asyncio.create_task(batcher.ask(4))
    await asyncio.sleep(0)
    others.cancel()
    await asyncio.gather(others, return_exceptions=True)
    free.set()
    assert (await first, await last) == (1, 4)
    assert sent == [[1], [4]]
