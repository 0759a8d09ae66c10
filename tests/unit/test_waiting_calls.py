"""Calls that wait for a slot of a host take no task of the event loop, and little memory.

They are answered, given up, abandoned and handed over as calls that have a task.
"""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from rillflow.gateways.limits.deadlines import FEW, PORTION, Deadlines
from rillflow.gateways.outbound.settings import BreakerPolicy, HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.messages import Dispatches, decode_dispatcher_message, encode_message
from rillflow.runtime.dispatch.measuring import MeasuredGateway
from rillflow.runtime.dispatch.pool import ENDED, MANY, DispatchPool
from rillflow.runtime.process.clock import SystemClock
from rillflow.telemetry.meters import Meters
from tests.loopback import FAILS, attempt, closed_port, raw_server

WITHIN_S: Final = 60.0
SLOTS: Final = 4
CALLS: Final = 10 * MANY
INPUT: Final = b'{"text":"some input of a call"}'
MOST_BYTES: Final = 2_000
"""Of memory for a call that waits, with its request."""


class Host:
    """A function that answers when it is let."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.status = b"200 OK"
        self.under_way = self.most = self.calls = 0

    async def talk(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\n{}" % self.status)
        await writer.drain()


class Dispatcher:
    """A pool with its gateways, and what it has answered."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.url = url
        chosen = {"limit_per_host": SLOTS, "call_timeout_s": WITHIN_S} | settings
        self.registry = GatewayRegistry.with_http(
            HttpSettings(**chosen), SystemClock(), discover=False
        )
        self.meters = Meters("test")
        self.gateway = MeasuredGateway(
            self.registry, self.meters, SystemClock(), queues=self.registry
        )
        self.answered: dict[int, DispatchAnswer] = {}
        self._changed = asyncio.Event()
        self.pool = self.another()

    def another(self) -> DispatchPool:
        """Return the pool of another owner."""
        return DispatchPool(self.gateway, self.take, queues=self.gateway)

    async def take(self, answers: Sequence[DispatchAnswer]) -> None:
        for answer in answers:
            assert answer.attempt not in self.answered
            self.answered[answer.attempt] = answer
        self._changed.set()

    async def until_answered(self, calls: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(self.answered) < calls:
                self._changed.clear()
                await self._changed.wait()

    def requests(self, numbers: range, **changes: Any) -> list[DispatchRequest]:
        return [attempt(self.url, attempt=number, input=INPUT, **changes) for number in numbers]

    @property
    def waiting(self) -> int:
        return sum(host.waiting for host in self.registry.hosts())

    @property
    def under_way(self) -> int:
        return sum(host.under_way for host in self.registry.hosts())


@asynccontextmanager
async def dispatcher(**settings: Any) -> AsyncIterator[tuple[Dispatcher, Host]]:
    host = Host()
    async with raw_server(host.talk) as server:
        opened = Dispatcher(server.url, **settings)
        try:
            yield opened, host
        finally:
            host.gate.set()
            await opened.pool.close()


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_calls_that_wait_for_slots_have_no_task_and_all_are_answered() -> None:
    async with dispatcher() as (opened, host):
        before = len(asyncio.all_tasks())
        opened.pool.send(opened.requests(range(1, CALLS + 1)))
        await turns()
        assert len(asyncio.all_tasks()) - before < 10 * SLOTS
        assert (opened.under_way, opened.waiting) == (SLOTS, CALLS - SLOTS)
        assert len(opened.pool) == CALLS
        host.gate.set()
        await opened.until_answered(CALLS)
        assert {each.error for each in opened.answered.values()} == {None}
        assert (host.calls, host.most <= SLOTS) == (CALLS, True)
        assert (opened.under_way, opened.waiting) == (0, 0)


async def test_slots_of_the_total_are_waited_for_without_a_task_too() -> None:
    async with dispatcher(limit_per_host=MANY, pool_size=SLOTS) as (opened, host):
        before = len(asyncio.all_tasks())
        opened.pool.send(opened.requests(range(1, CALLS + 1)))
        await turns()
        assert len(asyncio.all_tasks()) - before < 10 * SLOTS
        assert (opened.under_way, opened.waiting) == (SLOTS, CALLS - SLOTS)
        host.gate.set()
        await opened.until_answered(CALLS)
        assert host.most <= SLOTS
        assert (opened.under_way, opened.waiting) == (0, 0)


async def test_a_call_that_waits_takes_little_memory() -> None:
    async with dispatcher() as (opened, _):
        orders = [
            encode_message(Dispatches("owner", 1, first, b"", opened.requests(range(first, last))))
            for first, last in ((1, CALLS), (CALLS, 2 * CALLS))
        ]
        opened.pool.send(decode_dispatcher_message(orders[0]).requests)  # type: ignore[union-attr]
        await turns()
        tracemalloc.start()
        try:
            opened.pool.send(decode_dispatcher_message(orders[1]).requests)  # type: ignore[union-attr]
            await turns()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held / CALLS < MOST_BYTES


async def test_a_call_that_waits_for_longer_than_its_task_may_is_given_up() -> None:
    async with dispatcher() as (opened, host):
        opened.pool.send(opened.requests(range(1, MANY + 1)))
        await turns()
        late = range(MANY + 1, 2 * MANY + 1)
        opened.pool.send(opened.requests(late, timeout_s=0.05))
        await opened.until_answered(MANY)
        assert {opened.answered[number].error for number in late} == {"timeout"}
        assert opened.waiting == MANY - SLOTS
        host.gate.set()
        await opened.until_answered(2 * MANY)
        assert host.calls == MANY


async def test_calls_that_are_abandoned_while_they_wait_are_answered_and_not_made() -> None:
    async with dispatcher() as (opened, host):
        requests = opened.requests(range(1, CALLS + 1))
        opened.pool.send(requests)
        await turns()
        opened.pool.abandon([each.call for each in requests[SLOTS:]])
        await opened.until_answered(CALLS - SLOTS)
        assert {each.error for each in opened.answered.values()} == {f"handle fails: {ENDED}"}
        assert opened.waiting == 0
        host.gate.set()
        await opened.until_answered(CALLS)
        assert host.calls == SLOTS


async def test_a_call_that_is_abandoned_as_its_turn_comes_gives_the_slot_back() -> None:
    async with dispatcher() as (opened, host):
        host.gate.set()
        requests = opened.requests(range(1, CALLS + 1))
        opened.pool.send(requests)  # the first have slots, and tasks that have not begun
        opened.pool.abandon([each.call for each in requests[:SLOTS]])
        await opened.until_answered(CALLS)
        ended = [number for number, each in opened.answered.items() if each.error is not None]
        assert sorted(ended) == list(range(1, SLOTS + 1))
        assert (opened.under_way, opened.waiting) == (0, 0)


async def test_another_owner_takes_calls_over_that_wait() -> None:
    async with dispatcher() as (opened, host):
        requests = opened.requests(range(1, MANY + 2))
        opened.pool.send(requests)
        heir = opened.another()
        await turns()
        for request in requests:
            assert opened.pool.give(request.call, heir)
        assert (len(opened.pool), len(heir)) == (0, len(requests))
        heir.abandon([requests[-1].call])
        host.gate.set()
        await opened.until_answered(len(requests))
        await turns()
        assert (len(opened.pool), len(heir)) == (0, 0)
        assert opened.answered[len(requests)].error == f"handle fails: {ENDED}"
        await heir.close()


async def test_closing_the_gateway_ends_calls_that_wait_with_an_error() -> None:
    async with dispatcher() as (opened, _):
        opened.pool.send(opened.requests(range(1, CALLS + 1)))
        await turns()
        await opened.gateway.close()
        await opened.until_answered(CALLS)
        assert {each.error for each in opened.answered.values()} == {
            f"{FAILS}the gateway is closed"
        }


async def test_no_more_calls_wait_for_a_rate_than_there_are_slots() -> None:
    async with dispatcher(rate_per_host=1_000.0) as (opened, host):
        host.gate.set()
        before = len(asyncio.all_tasks())
        opened.pool.send(opened.requests(range(1, MANY + 2)))
        await turns()
        assert len(asyncio.all_tasks()) - before < 10 * SLOTS
        await opened.until_answered(MANY + 1)
        assert (opened.under_way, opened.waiting) == (0, 0)


async def test_calls_whose_circuit_opens_while_they_wait_are_held_back() -> None:
    breaker = BreakerPolicy(failures=SLOTS, pause_s=WITHIN_S, longest_pause_s=WITHIN_S)
    async with dispatcher(breaker=breaker) as (opened, host):
        host.status = b"500 Broken"
        opened.pool.send(opened.requests(range(1, MANY + 2)))
        await turns()
        host.gate.set()
        await opened.until_answered(SLOTS)
        await turns(10 * MANY)
        [shown] = opened.registry.hosts()
        assert (host.calls, shown.held, shown.under_way) == (SLOTS, MANY + 1 - SLOTS, 0)


async def test_calls_that_fail_at_once_leave_nothing_to_the_garbage_collector() -> None:
    opened = Dispatcher(f"http://127.0.0.1:{closed_port()}")
    opened.pool.send(opened.requests(range(1, MANY + 2)))
    await opened.until_answered(MANY + 1)  # imports and caches
    gc.collect()
    gc.disable()
    try:
        opened.pool.send(opened.requests(range(MANY + 2, CALLS)))
        await opened.until_answered(CALLS - 1)
        assert gc.collect() < MANY
    finally:
        gc.enable()
        await opened.pool.close()


class Waiting:
    """Notes when it is given up."""

    def __init__(self, given_up: list[int]) -> None:
        self._given_up = given_up
        self.is_done = False

    def done(self) -> bool:
        return self.is_done

    def give_up(self) -> None:
        self.is_done = True
        self._given_up[-1] += 1


async def test_deadlines_that_are_over_together_are_handled_in_portions() -> None:
    given_up, deadlines = [0], Deadlines()
    for _ in range(3 * PORTION):
        deadlines.add(0.0, Waiting(given_up))
    async with asyncio.timeout(WITHIN_S):
        while sum(given_up) < 3 * PORTION:
            given_up.append(0)
            await asyncio.sleep(0)
    assert max(given_up) == PORTION
    assert len(deadlines) == 0


@pytest.mark.parametrize("count", [10 * FEW])
async def test_deadlines_of_calls_that_wait_no_more_are_dropped(count: int) -> None:
    deadlines = Deadlines()
    for _ in range(count):
        waiting = Waiting([0])
        deadlines.add(asyncio.get_running_loop().time() + WITHIN_S, waiting)
        waiting.is_done = True
    assert len(deadlines) <= FEW
    deadlines.close()
