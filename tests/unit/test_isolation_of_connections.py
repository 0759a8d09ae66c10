"""What cannot travel between processes fails alone, and ends no sending or waiting."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from rillflow.errors import CrashedError, DefectError, StoreError
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ports.executions import End, Reply, Submission, Watch, decode_replies
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.messages import AwaitEnds, Dispatches, decode_dispatcher_message
from rillflow.runtime.aio.batching import Batcher
from rillflow.runtime.completion.client import CompletionClient, Ended, News
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.dispatch.outbox import MOST_IN_BATCH, Outbox
from rillflow.runtime.endpoints.owner_endpoint import encoded

SECRET: Final = "the value of a secret"
LONG_S: Final = 20


async def test_an_answer_that_cannot_be_handed_over_becomes_a_failure_and_stops_no_other() -> None:
    taken: list[DispatchAnswer] = []
    arrived = asyncio.Event()

    async def take(answers: list[DispatchAnswer]) -> None:
        if any(answer.body == b"poison" for answer in answers):
            raise ZeroDivisionError(SECRET)
        taken.extend(answers)
        if len(taken) == 3:
            arrived.set()

    outbox = Outbox(take)
    for number, body in enumerate((b"good", b"poison", b"good")):
        outbox.put(DispatchAnswer(execution_id="e", task="t", attempt=number, body=body))
    await asyncio.wait_for(arrived.wait(), LONG_S)
    await outbox.close()
    assert [answer.attempt for answer in taken] == [0, 2, 1]
    assert taken[2].error == "handle fails: ZeroDivisionError while handing the answer over"


def answers(count: int) -> list[DispatchAnswer]:
    return [DispatchAnswer(execution_id="e", task="t", attempt=number) for number in range(count)]


class Taker:
    """Takes answers once all have been put, and notes what came together."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.most_under_way = 0
        self._under_way = 0
        self._left = 0
        self._may_take = asyncio.Event()
        self._arrived = asyncio.Event()

    async def take(self, answers: list[DispatchAnswer]) -> None:
        self.batches.append(len(answers))
        self._under_way += 1
        self.most_under_way = max(self._under_way, self.most_under_way)
        await self._may_take.wait()
        self._under_way -= 1
        self._left -= len(answers)
        if not self._left:
            self._arrived.set()

    async def takes(self, *counts: int) -> None:
        """Have so many answers put at once, then so many more, and wait until all are taken."""
        outbox = Outbox(self.take)
        for count in counts:
            self._left += count
            for answer in answers(count):
                outbox.put(answer)
            await asyncio.sleep(0)
        self._may_take.set()
        await asyncio.wait_for(self._arrived.wait(), LONG_S)
        await outbox.close()


async def test_many_answers_are_handed_over_in_batches_two_at_a_time() -> None:
    taker = Taker()
    await taker.takes(3 * MOST_IN_BATCH + 1)
    assert taker.batches == [*[MOST_IN_BATCH] * 3, 1]
    assert taker.most_under_way == 2


async def test_a_full_batch_leaves_beside_the_one_ahead_of_it_and_a_smaller_one_waits() -> None:
    full, smaller = Taker(), Taker()
    await full.takes(1, MOST_IN_BATCH)
    await smaller.takes(1, MOST_IN_BATCH - 1)
    assert full.batches == [1, MOST_IN_BATCH]
    assert full.most_under_way == 2
    assert smaller.batches == [1, MOST_IN_BATCH - 1]
    assert smaller.most_under_way == 1


async def test_what_an_owner_cannot_take_stays_behind_and_holds_up_no_other() -> None:
    stuck, *others = answers(3 * MOST_IN_BATCH)
    taken: set[int] = set()
    arrived = asyncio.Event()

    async def take(answers: list[DispatchAnswer]) -> None:
        if stuck in answers:
            raise StoreError("the row of one execution cannot be read")
        taken.update(answer.attempt for answer in answers)
        if len(taken) == 2 * MOST_IN_BATCH:
            arrived.set()

    outbox = Outbox(take)
    for answer in (stuck, *others):
        outbox.put(answer)
    await asyncio.wait_for(arrived.wait(), LONG_S)
    assert taken == set(range(MOST_IN_BATCH, 3 * MOST_IN_BATCH))
    await outbox.close()


async def test_an_answer_that_comes_when_the_last_one_has_just_left_is_not_forgotten() -> None:
    loop = asyncio.get_running_loop()
    first, second = answers(2)
    arrived = asyncio.Event()

    async def take(answers: list[DispatchAnswer]) -> None:
        if answers == [first]:
            loop.call_soon(outbox.put, second)
        else:
            arrived.set()

    outbox = Outbox(take)
    outbox.put(first)
    await asyncio.wait_for(arrived.wait(), LONG_S)
    await outbox.close()


async def test_a_call_that_cannot_be_sent_fails_alone() -> None:
    async def send(items: list[int]) -> list[int]:
        if 0 in items:
            raise ZeroDivisionError(SECRET)
        return [item + 1 for item in items]

    batcher: Batcher[int, int] = Batcher(send)
    asked = (batcher.ask(item) for item in (5, 1, 0, 2))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, int, DefectError, int]


async def test_what_its_caller_has_given_up_takes_no_place_and_is_not_sent() -> None:
    sent: list[int] = []
    is_open = asyncio.Event()

    async def send(items: list[int]) -> list[int]:
        sent.extend(items)
        await is_open.wait()
        return items

    batcher: Batcher[int, int] = Batcher(send)
    asked = []
    for item in (1, 7, 7, 3):
        asked.append(asyncio.create_task(batcher.ask(item)))
        await asyncio.sleep(0)
    before = len(batcher)
    asked[2].cancel()
    await asyncio.gather(asked[2], return_exceptions=True)
    assert len(batcher) == before - 1
    is_open.set()
    assert list(await asyncio.gather(asked[0], asked[1], asked[3])) == [1, 7, 3]
    assert sent == [1, 7, 3]


async def test_answers_that_do_not_fit_their_batch_reach_nobody_and_nobody_waits_for_ever() -> None:
    async def send(items: list[int]) -> list[int]:
        return items * 2

    batcher: Batcher[int, int] = Batcher(send)
    asked = (batcher.ask(item) for item in (1, 2, 3))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [DefectError] * 3


class Owner:
    """An owner of executions that takes every answer."""

    epoch = 1

    def __init__(self) -> None:
        self.answers: list[DispatchAnswer] = []

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
        self.answers.extend(answers)


async def test_a_dispatch_that_cannot_be_encoded_fails_and_the_others_are_sent() -> None:
    sent: asyncio.Queue[str] = asyncio.Queue()

    async def connection(data: bytes) -> bytes:
        message = decode_dispatcher_message(data)
        if isinstance(message, Dispatches):
            for request in message.requests:
                sent.put_nowait(request.task)
        return b"life"

    client, owner = DispatcherClient("me", [connection]), Owner()
    client.serve(owner)
    client.send([_request("a"), _request("b", resource="\ud800"), _request("c")])
    async with asyncio.timeout(LONG_S):
        assert [await sent.get(), await sent.get()] == ["a", "c"]
    await client.stop()
    [failure] = owner.answers
    assert failure.task == "b"
    assert failure.error == "handle fails: UnicodeEncodeError while sending the request"


async def test_an_unforeseen_error_of_a_connection_does_not_end_the_sending() -> None:
    sent = asyncio.Event()
    errors = [ZeroDivisionError(SECRET)]

    async def connection(data: bytes) -> bytes:
        message = decode_dispatcher_message(data)
        if isinstance(message, Dispatches) and errors:
            raise errors.pop()
        if isinstance(message, Dispatches) and message.requests:
            sent.set()
        return b"life"

    client = DispatcherClient("me", [connection])
    client.send([_request("a")])
    await asyncio.wait_for(sent.wait(), LONG_S)
    await client.stop()


def test_a_reply_that_cannot_be_encoded_is_replaced_alone() -> None:
    good, poison = Reply(body=b"1"), Reply(error="\ud800", kind="request")
    replies = decode_replies(encoded([good, poison, good]))
    assert [replies[0], replies[2]] == [good, good]
    assert replies[1].kind == CrashedError.code


async def test_waiting_for_an_end_survives_an_answer_that_nobody_foresaw() -> None:
    errors = [ZeroDivisionError(SECRET)]

    async def call(_: Watch | Submission) -> Reply:
        return Reply()

    async def ask(_: AwaitEnds) -> News:
        if errors:
            raise errors.pop()
        await asyncio.sleep(0)
        return News("life", [Ended("e")])

    assert await CompletionClient("me", call, ask).wait("e", LONG_S) == End(has_ended=True)


def _request(task: str, *, resource: str = "http://x") -> DispatchRequest:
    return DispatchRequest(
        execution_id="e", task=task, attempt=1, pattern="task_sync", resource_name=resource
    )
