"""What holds answers of functions is bounded in bytes: their batches, and all that are under way.

An answer may hold 10 MiB, packed in some kilobytes, and hundreds come at once.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import pytest
from aiohttp import web

from rillflow.errors import UnavailableError
from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.ports.executions import Query, Watch, size_of
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.aio import batching
from rillflow.runtime.aio.batching import Batcher
from rillflow.runtime.dispatch.outbox import (
    LARGE_BYTES_UNDER_WAY,
    LONGEST_BATCH_BYTES,
    PATIENCE_S,
)
from rillflow.runtime.dispatch.pool import DispatchPool
from tests.loopback import FAILS, StoppedClock, attempt, raw_server, responding, web_server

WITHIN_S: Final = 60.0
LARGEST: Final = 10 << 20
HOST: Final = "http://one.test"
OTHER: Final = "http://other.test"
PATIENT_S: Final = 0.3


def call_id(number: int) -> CallId:
    return ("b:f_c_1", "A", number, 0)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Answering:
    """A gateway that answers each attempt at once, with the body that it has for it."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self._bodies = bodies

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        return DispatchAnswer(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            body=self._bodies[request.attempt],
        )

    async def close(self) -> None:
        """Nothing is open."""


class Taker:
    """An owner that takes batches when it is let; notes each, and what was under way at once."""

    def __init__(self, expected: int) -> None:
        self.batches: list[list[int]] = []
        self.most_bytes = 0
        self.all_taken = asyncio.Event()
        self.may_take = asyncio.Event()
        self.holds_many = asyncio.Event()
        self._bytes = 0
        self._expected = expected

    async def take(self, answers: list[DispatchAnswer]) -> None:
        sizes = [answer.size_bytes for answer in answers]
        self.batches.append(sizes)
        self._bytes += sum(sizes)
        self.most_bytes = max(self.most_bytes, self._bytes)
        if self._bytes > LARGE_BYTES_UNDER_WAY - LARGEST:
            self.holds_many.set()
        await self.may_take.wait()
        self._bytes -= sum(sizes)
        if sum(map(len, self.batches)) == self._expected:
            self.all_taken.set()


async def sent(bodies: Sequence[bytes], *, late: bool = False) -> Taker:
    taker = Taker(len(bodies))
    pool = DispatchPool(Answering(bodies), taker.take)
    pool.send([attempt("http://f.test/x", attempt=number) for number in range(len(bodies))])
    if late:
        await asyncio.wait_for(taker.holds_many.wait(), WITHIN_S)
        with pytest.raises(TimeoutError):  # in that time another one could leave
            await asyncio.wait_for(taker.all_taken.wait(), 3 * PATIENCE_S)
    taker.may_take.set()
    await asyncio.wait_for(taker.all_taken.wait(), WITHIN_S)
    await pool.close()
    return taker


async def test_a_batch_of_answers_has_few_bytes_or_one_answer() -> None:
    of_ordinary_size = [b"x" * (200 << 10)] * 100
    taker = await sent(
        [b"x" * (3 << 20)] * 8 + [b"x" * LARGEST] * 3 + of_ordinary_size + [b"small"] * 200
    )
    assert all(sum(sizes) <= LONGEST_BATCH_BYTES or len(sizes) == 1 for sizes in taker.batches)
    assert [sizes for sizes in taker.batches if len(sizes) > 1], "small ones go together"


async def test_batches_that_are_not_taken_hold_few_bytes_together() -> None:
    taker = await sent([b"x" * LARGEST] * 16, late=True)
    assert LARGE_BYTES_UNDER_WAY // 2 < taker.most_bytes <= LARGE_BYTES_UNDER_WAY + LARGEST + 1024


async def test_a_batch_of_calls_has_few_bytes_or_one_call() -> None:
    batches: list[list[int]] = []

    async def send(items: list[int]) -> list[int]:
        batches.append(items)
        await asyncio.sleep(0)
        return items

    batcher: Batcher[int, int] = Batcher(send, size_of=lambda item: item)
    sizes = [1 << 20] * 10 + [LARGEST] + [10] * 300
    assert await asyncio.gather(*map(batcher.ask, sizes)) == sizes
    assert all(sum(each) <= batching.LONGEST_BATCH_BYTES or len(each) == 1 for each in batches)
    assert len(batches) < 10


def test_a_batch_of_questions_has_as_few_as_its_reply_may_hold() -> None:
    asked = Query(execution_id="b:f_c_1", kind="execution")
    assert batching.LONGEST_BATCH_BYTES // size_of(asked) < 64
    watched = Watch(execution_id="b:f_c_1", watcher="me", show="brief")
    assert size_of(watched) == size_of(asked)
    assert size_of(Query(execution_id="b:f_c_1", kind="status")) < 1_000


# -- the budget -----------------------------------------------------------------------


async def test_room_is_given_in_the_order_in_which_it_was_asked_for() -> None:
    budget = AnswerBudget(100)
    assert budget.reserve(call_id(1), HOST, 50) is None
    large = budget.reserve(call_id(2), OTHER, 60)
    small = budget.reserve(call_id(3), "http://third.test", 10)
    assert large is not None
    assert small is not None, "else what is large would wait for ever"
    budget.release(call_id(1))
    assert large.done()
    assert small.done()
    assert budget.bytes == 70


async def test_one_answer_always_has_room_however_large_it_is() -> None:
    budget = AnswerBudget(100)
    assert budget.reserve(call_id(1), HOST, 1_000) is None
    second = budget.reserve(call_id(2), HOST, 1_000)
    assert second is not None
    assert not second.done()
    budget.release(call_id(1))
    assert second.done()


async def test_a_host_that_has_its_half_lets_others_by() -> None:
    budget = AnswerBudget(100)
    assert budget.reserve(call_id(1), HOST, 30) is None
    waits = budget.reserve(call_id(2), HOST, 30)
    assert waits is not None
    assert budget.reserve(call_id(3), OTHER, 20) is None
    budget.release(call_id(1))
    assert waits.done()


@pytest.mark.parametrize("hosts", [1, 2, 4])
async def test_some_hosts_that_take_what_they_get_leave_room_for_another_one(hosts: int) -> None:
    budget = AnswerBudget(1 << 20)
    numbers = iter(range(100_000))
    for host in range(hosts):
        while budget.reserve(call_id(next(numbers)), f"host-{host}", 1 << 10) is None:
            pass
    assert budget.reserve(call_id(next(numbers)), "http://new.test", 1 << 14) is None


async def test_readers_that_hold_room_and_want_more_come_to_an_end() -> None:
    budget = AnswerBudget(100)
    for number in range(8):
        assert budget.reserve(call_id(number), f"host-{number}", 5) is None
    waits = [budget.reserve(call_id(number), f"host-{number}", 90) for number in range(8)]
    assert waits[0] is None, "who has had room for longest gets what it asks for"
    for number in range(8):
        later = waits[number]
        assert later is None or later.done()
        budget.release(call_id(number))
    assert budget.bytes == 0


# -- answers that come too slowly ------------------------------------------------------


async def late_ones(budget: AnswerBudget, holds: dict[str, int], asks: str) -> list[str]:
    """Let hosts hold room that they do not fill, and another reader wait until all give up."""
    given_up: list[str] = []
    for number, (host, size_bytes) in enumerate(holds.items()):
        give_up = partial(given_up.append, host)
        assert budget.reserve(call_id(number), host, size_bytes, give_up) is None
    waits = budget.reserve(call_id(99), asks, 60)
    assert waits is not None
    async with asyncio.timeout(WITHIN_S):
        while len(set(given_up)) < len(holds):
            await asyncio.wait([waits], timeout=PATIENT_S / 10)
    return given_up


async def test_while_others_wait_the_late_ones_of_the_host_with_most_give_up() -> None:
    loop = asyncio.get_running_loop()
    budget = AnswerBudget(100, 1_000, patience_s=PATIENT_S)
    begun_s = loop.time()
    assert set(await late_ones(budget, {HOST: 40, "http://small.test": 5}, OTHER)) == {
        HOST,
        "http://small.test",
    }
    assert loop.time() - begun_s >= PATIENT_S


async def test_who_is_read_to_the_end_or_waits_itself_is_not_late() -> None:
    budget = AnswerBudget(100, 1_000, patience_s=PATIENT_S)
    given_up: list[int] = []
    for number in range(3):
        budget.reserve(call_id(number), f"host-{number}", 10, partial(given_up.append, number))
    budget.arrived(call_id(1))
    waits = budget.reserve(call_id(2), "host-2", 90, partial(given_up.append, 2))
    assert waits is not None
    async with asyncio.timeout(WITHIN_S):
        while not given_up:
            await asyncio.wait([waits], timeout=PATIENT_S / 10)
    await asyncio.wait([waits], timeout=PATIENT_S * 2)
    assert set(given_up) == {0}


async def test_while_nobody_waits_an_answer_may_be_slow() -> None:
    budget = AnswerBudget(100, 1_000_000, patience_s=PATIENT_S)
    given_up: list[int] = []
    budget.reserve(call_id(1), HOST, 40, partial(given_up.append, 1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), PATIENT_S * 3)
    assert not given_up


async def test_who_has_given_up_gets_no_room_and_keeps_nobody_waiting() -> None:
    budget = AnswerBudget(100)
    budget.reserve(call_id(1), HOST, 50)
    given_up = budget.reserve(call_id(2), OTHER, 60)
    waits = budget.reserve(call_id(3), OTHER, 50)
    assert given_up is not None
    assert waits is not None
    given_up.cancel()
    budget.release(call_id(1))
    assert waits.done()
    assert budget.bytes == 50


async def test_an_answer_counts_until_it_is_taken_also_in_the_place_of_another_one() -> None:
    budget = AnswerBudget(100)
    budget.reserve(call_id(1), HOST, 80)
    budget.keep(call_id(1), 70)
    budget.keep(call_id(1), 60)
    assert budget.bytes == 60
    budget.keep(call_id(2), 40)
    assert budget.is_full
    budget.taken(call_id(1))
    budget.taken(call_id(1))
    assert (budget.bytes, budget.is_full) == (40, False)


# -- the gateway ----------------------------------------------------------------------


class Watching(AnswerBudget):
    """A budget that notes the most that was taken of it."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self.most_at_once = 0
        self.waited = 0

    def reserve(
        self,
        call: CallId,
        host: str,
        size_bytes: int,
        give_up: Callable[[], None] | None = None,
    ) -> "asyncio.Future[None] | None":
        waits = super().reserve(call, host, size_bytes, give_up)
        self.waited += waits is not None
        self.most_at_once = max(self.most_at_once, self.bytes)
        return waits

    def keep(self, call: CallId, size_bytes: int) -> None:
        super().keep(call, size_bytes)
        self.most_at_once = max(self.most_at_once, self.bytes)


TEXT: Final = b'{"a":"' + b"x" * 900_000 + b'"}'
CAP: Final = 1 << 20
PACKED: Final = {"Content-Encoding": "gzip"}


async def chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for start in range(0, len(TEXT), 100_000):
        await response.write(TEXT[start : start + 100_000])
    return response


async def answers_within(budget: AnswerBudget, name: str, calls: int) -> list[DispatchAnswer]:
    """Return the answers of calls made at once, which are taken one after the other."""
    taken: list[DispatchAnswer] = []
    done = asyncio.Event()

    async def take(answers: list[DispatchAnswer]) -> None:
        await settle()
        taken.extend(answers)
        if len(taken) == calls:
            done.set()

    settings = HttpSettings(max_response_bytes=CAP)
    gateway = HttpGateway(settings, StoppedClock(), budget)
    async with web_server(
        packed=responding(body=gzip.compress(TEXT), headers=PACKED),
        plain=responding(body=TEXT),
        chunked=chunked,
        broken=responding(body=b"no gzip at all" * 20_000, headers=PACKED),
        small=responding(body=b"{}"),
    ) as url:
        pool = DispatchPool(gateway, take, budget=budget)
        pool.send([attempt(f"{url}/{name}", attempt=number) for number in range(calls)])
        await asyncio.wait_for(done.wait(), WITHIN_S)
        await pool.close()
    return taken


@pytest.mark.parametrize("name", ["packed", "plain", "chunked"])
async def test_large_answers_are_read_as_far_as_there_is_room(name: str) -> None:
    budget = Watching(4 * CAP)
    taken = await answers_within(budget, name, 24)
    assert {answer.body for answer in taken} == {TEXT}
    assert budget.waited > 5
    assert budget.most_at_once <= 4 * CAP
    assert budget.bytes == 0


@pytest.mark.parametrize("name", ["packed", "plain", "chunked", "broken"])
async def test_a_budget_smaller_than_an_answer_lets_them_come_one_by_one(name: str) -> None:
    budget = Watching(CAP // 2)
    taken = await answers_within(budget, name, 5)
    assert len(taken) == 5
    assert budget.most_at_once <= 2 * CAP
    assert budget.bytes == 0


async def test_small_answers_take_no_room_while_they_are_read() -> None:
    budget = Watching(4 * CAP)
    assert len(await answers_within(budget, "small", 50)) == 50
    assert (budget.waited, budget.bytes) == (0, 0)


@asynccontextmanager
async def full() -> AsyncIterator[tuple[AnswerBudget, HttpGateway]]:
    """A gateway whose budget is taken by another call."""
    budget = AnswerBudget(CAP)
    budget.reserve(call_id(0), OTHER, CAP)
    settings = HttpSettings(max_response_bytes=CAP, call_timeout_s=2.0)
    gateway = HttpGateway(settings, StoppedClock(), budget)
    yield budget, gateway
    await gateway.close()


async def test_the_time_in_which_an_answer_waits_for_room_is_not_the_call_s() -> None:
    async with full() as (budget, gateway), web_server(plain=responding(body=TEXT)) as url:
        calling = asyncio.create_task(gateway.call(attempt(f"{url}/plain")))
        done, _ = await asyncio.wait([calling], timeout=2.5)
        assert not done
        budget.release(call_id(0))
        answer = await asyncio.wait_for(calling, WITHIN_S)
    assert (answer.error, answer.body) == (None, TEXT)


@pytest.mark.parametrize("name", ["plain", "packed"])
async def test_a_call_whose_answer_finds_no_room_ends_all_the_same(name: str) -> None:
    handlers = {
        "plain": responding(body=TEXT),
        "packed": responding(body=gzip.compress(TEXT), headers=PACKED),
    }
    async with full() as (_, gateway), web_server(**handlers) as url:
        answer = await asyncio.wait_for(gateway.call(attempt(f"{url}/{name}")), WITHIN_S)
    assert answer.error == f"{FAILS}there was no room for the answer of POST {url}/{name}"
    assert answer.hint == "see call_answers_max_bytes"


async def test_a_small_packed_answer_needs_no_room() -> None:
    small = responding(body=gzip.compress(b'{"a":1}'), headers=PACKED)
    async with full() as (_, gateway), web_server(small=small) as url:
        answer = await asyncio.wait_for(gateway.call(attempt(f"{url}/small")), WITHIN_S)
    assert (answer.error, answer.body) == (None, b'{"a":1}')


async def stall(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Announce the largest answer, send a little of it, and nothing more."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGEST + b" " * 70_000)
    await asyncio.Event().wait()


async def test_answers_that_stall_hold_the_room_of_what_they_have_sent() -> None:
    budget = AnswerBudget(8 << 20)
    gateway = HttpGateway(HttpSettings(call_timeout_s=WITHIN_S * 2), StoppedClock(), budget)
    handlers = {
        "plain": responding(body=TEXT),
        "packed": responding(body=gzip.compress(TEXT), headers=PACKED),
    }
    async with raw_server(stall) as one, raw_server(stall) as two, web_server(**handlers) as url:
        stalled = [
            asyncio.create_task(gateway.call(attempt(server.url, attempt=number)))
            for number, server in enumerate([one, two] * 8)
        ]
        async with asyncio.timeout(WITHIN_S):
            while budget.bytes < 16 * 70_000:  # noqa: ASYNC110 - the budget tells nobody
                await asyncio.sleep(0)
        for number, name in enumerate(handlers):
            calling = gateway.call(attempt(f"{url}/{name}", attempt=100 + number))
            answer = await asyncio.wait_for(calling, WITHIN_S)
            assert (answer.error, answer.body) == (None, TEXT)
            budget.release(answer.call)
        assert not any(each.done() for each in stalled)
        await gateway.close()
        await asyncio.gather(*stalled)


async def test_an_answer_that_stalls_while_others_wait_ends_its_call() -> None:
    budget = AnswerBudget(400_000, 1_000_000, patience_s=PATIENT_S)
    gateway = HttpGateway(HttpSettings(call_timeout_s=WITHIN_S * 2), StoppedClock(), budget)
    async with raw_server(stall) as server, web_server(plain=responding(body=TEXT)) as url:
        stalled = asyncio.create_task(gateway.call(attempt(server.url)))
        stalled.add_done_callback(lambda done: budget.release(done.result().call))
        async with asyncio.timeout(WITHIN_S):
            while not budget.bytes:  # noqa: ASYNC110 - the budget tells nobody
                await asyncio.sleep(0)
        calling = gateway.call(attempt(f"{url}/plain", attempt=2))
        answer = await asyncio.wait_for(calling, WITHIN_S)
        assert (answer.error, answer.body) == (None, TEXT)
        reason = "came too slowly while other answers waited for its room"
        slow = await asyncio.wait_for(stalled, WITHIN_S)
        assert slow.error == f"{FAILS}the answer of POST {server.url} {reason}"
    await gateway.close()


async def test_no_call_is_made_while_answers_that_nobody_takes_fill_the_budget() -> None:
    budget = AnswerBudget(1_000)
    made: list[int] = []
    is_reached = False
    done = asyncio.Event()

    class Counting(Answering):
        async def call(self, request: DispatchRequest) -> DispatchAnswer:
            made.append(request.attempt)
            return await super().call(request)

    async def take(answers: list[DispatchAnswer]) -> None:
        if not is_reached:
            raise UnavailableError("the owner cannot be reached")
        if answers[-1].attempt == 2:
            done.set()

    pool = DispatchPool(Counting([b"x" * 1_000] * 3), take, budget=budget)
    for number in range(3):
        pool.send([attempt("http://f.test/x", attempt=number)])
        await settle()
    assert made == [0]
    is_reached = True
    await asyncio.wait_for(done.wait(), WITHIN_S)
    await pool.close()
    assert made == [0, 1, 2]
    assert budget.bytes == 0
