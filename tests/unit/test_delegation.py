"""While a dispatcher is busy others make some of its calls, and its limits hold for all of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import pytest
from aiohttp import web

from rillflow.errors import DefectError
from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.limits.delegation_call import Delegate, DelegationCall, Outcome
from rillflow.gateways.outbound.settings import BreakerPolicy, HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, Gateway
from rillflow.ports.loops import LEAVES, LoopState, encode_loop
from rillflow.ports.messages import (
    Answers,
    BeginDelegation,
    CancelDispatches,
    Dispatches,
    GetLoopState,
    GetMeters,
    decode_dispatcher_message,
)
from rillflow.runtime.dispatch.client import Connection
from rillflow.runtime.dispatch.delegation import Delegation
from rillflow.runtime.dispatch.load_sharing import RUN
from rillflow.runtime.dispatch.pool import MANY
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.process.clock import SystemClock
from tests.loopback import answers_in, attempt, closed_port, gateway, web_server

WITHIN_S: Final = 30
HOME, OTHER, OWNER = "rillflow:dispatcher:0", "rillflow:dispatcher:1", "rillflow:execution:0"
NEVER: Final = f"http://127.0.0.1:{closed_port()}/work"
PLACES: Final = 8
SHARED: Final = 2 * RUN
"""Of so many calls one run is made here, and one elsewhere."""


class Function:
    """An HTTP function that answers once it may, and counts what is under way."""

    def __init__(self) -> None:
        self.under_way = self.most = self.calls = 0
        self.answers = asyncio.Event()
        self.changed = asyncio.Condition()

    async def handle(self, _: web.Request) -> web.Response:
        await self._count(1)
        try:
            await self.answers.wait()
            await asyncio.sleep(0)
        finally:
            await self._count(-1)
        return web.json_response({"made": True})

    async def _count(self, change: int) -> None:
        async with self.changed:
            self.under_way += change
            self.calls += change > 0
            self.most = max(self.most, self.under_way)
            self.changed.notify_all()

    async def until(self, under_way: int) -> None:
        async with asyncio.timeout(WITHIN_S), self.changed:
            await self.changed.wait_for(lambda: self.under_way == under_way)


class Counted:
    """A gateway whose calls are counted, and those that are under way."""

    def __init__(self, opened: Gateway) -> None:
        self._opened = opened
        self.calls = self.under_way = 0
        self._changed = asyncio.Event()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.calls += 1
        self.under_way += 1
        self._changed.set()
        try:
            return await self._opened.call(request)
        finally:
            self.under_way -= 1
            self._changed.set()

    async def until(self, *, calls: int = 0, under_way: int | None = None) -> None:
        async with asyncio.timeout(WITHIN_S):
            while self.calls < calls or under_way not in (None, self.under_way):
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        await self._opened.close()


class Two:
    """Two dispatchers, the first of which has the limits of the host that is called."""

    def __init__(self, **settings: Any) -> None:
        self.busy, self.busy_there = 1.0, 0.0
        self.asked: list[type] = []
        self.answered: asyncio.Queue[DispatchAnswer] = asyncio.Queue()
        self.returned: asyncio.Queue[DispatchAnswer] = asyncio.Queue()
        self.begun = asyncio.Event()
        self.is_old = False
        self.budget = AnswerBudget(1 << 20)
        self.here = self._registry(**settings)
        self.there = Counted(HttpGateway(HttpSettings(), SystemClock(), is_limited=False))
        self.other = self.another(b"1")
        self.delegation = self.process("1")
        self.home = DispatcherEndpoint(
            self.here,
            life=b"home",
            connect=lambda _: self._to_the_owner,
            budget=self.budget,
            passes_on=self.here,
            queues=self.here,
        )
        self.orders = 0

    def _registry(self, **settings: Any) -> GatewayRegistry:
        return GatewayRegistry.with_http(HttpSettings(**settings), SystemClock(), discover=False)

    def another(self, life: bytes) -> DispatcherEndpoint:
        """Return a new process of the second dispatcher."""
        return DispatcherEndpoint(
            self.there, life=life, connect=self._connect, delegated=self.there
        )

    def process(self, process: str) -> Delegation:
        """Return what a process of the first dispatcher delegates by."""
        made = Delegation(HOME, process, [self._ask], busy=lambda: self.busy, budget=self.budget)
        self.here.delegate_to(made)
        return made

    async def share(self, looks: int = 5) -> None:
        """Let them see how busy they are."""
        for _ in range(looks):
            await self.delegation.look()

    async def order(self, url: str, tasks: Iterable[str]) -> None:
        """Order calls of the first dispatcher."""
        self.orders += 1
        requests = [attempt(url, task=task) for task in tasks]
        await self.home.take(Dispatches(OWNER, 1, self.orders, b"home", requests))

    async def answers(self, count: int) -> list[DispatchAnswer]:
        """Wait for so many answers."""
        async with asyncio.timeout(WITHIN_S):
            return [await self.answered.get() for _ in range(count)]

    async def _ask(self, data: bytes) -> bytes:
        message = decode_dispatcher_message(data)
        self.asked.append(type(message))
        if isinstance(message, GetLoopState):
            return encode_loop(LoopState(process=OTHER, busy=self.busy_there))
        assert not isinstance(message, Answers | GetMeters)
        if isinstance(message, BeginDelegation):
            self.begun.set()
        if self.is_old and isinstance(message, BeginDelegation):
            raise DefectError("ValidationError in another process")
        return await self.other.take(message)

    def _connect(self, name: str) -> Connection:
        assert name == HOME
        return self._to_home

    async def _to_home(self, data: bytes) -> bytes:
        message = decode_dispatcher_message(data)
        assert isinstance(message, Answers)
        for answer in message.answers:
            self.returned.put_nowait(answer)
        taken = self.delegation.answered(message.answers)
        return taken if isinstance(taken, bytes) else await taken

    async def _to_the_owner(self, data: bytes) -> bytes:
        for answer in answers_in(data):
            self.answered.put_nowait(answer)
        return b""


async def settle() -> None:
    """Let everything happen that waits for nothing from outside."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(two: Two) -> AsyncIterator[Two]:
    task = asyncio.create_task(two.delegation.run())
    try:
        await asyncio.wait_for(two.begun.wait(), WITHIN_S)
        await settle()
        yield two
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await two.here.close()
        await two.there.close()


@pytest.mark.parametrize("calls", [100, 2 * MANY])  # more than MANY wait without a task
async def test_both_make_calls_and_the_limit_of_the_host_holds_for_all(calls: int) -> None:
    function = Function()
    async with (
        web_server(work=function.handle) as base,
        running(Two(limit_per_host=PLACES)) as two,
    ):
        await two.share()
        await two.order(f"{base}/work", map(str, range(calls)))
        await function.until(PLACES)
        [host] = two.here.hosts()
        assert (host.under_way, host.waiting) == (PLACES, calls - PLACES)
        function.answers.set()
        answers = await two.answers(calls)
    assert (function.calls, function.most) == (calls, PLACES)
    assert {answer.task for answer in answers} == set(map(str, range(calls)))
    assert {answer.body for answer in answers} == {b'{"made": true}'}
    assert 0 < two.there.calls < calls


async def test_while_it_is_quiet_nobody_is_asked_and_all_calls_are_made_here() -> None:
    function = Function()
    function.answers.set()
    async with web_server(work=function.handle) as base, running(Two()) as two:
        two.busy = 0.2
        await two.share()
        await two.order(f"{base}/work", map(str, range(20)))
        await two.answers(20)
    assert two.there.calls == 0
    assert GetLoopState not in two.asked


async def test_calls_that_died_with_another_dispatcher_are_made_here() -> None:
    function = Function()
    async with web_server(work=function.handle) as base, running(Two()) as two:
        await two.share()
        await two.order(f"{base}/work", map(str, range(SHARED)))
        await function.until(SHARED)
        lost = two.there.calls
        two.other = two.another(b"2")
        await function.until(SHARED + lost)
        assert (two.there.calls, len(two.other)) == (lost, 0)
        function.answers.set()
        answers = await two.answers(SHARED)
        assert sorted(answer.task for answer in answers) == sorted(map(str, range(SHARED)))
        await two.share(9)
        await two.order(f"{base}/work", map(str, range(SHARED, 2 * SHARED)))
        await two.answers(SHARED)
        assert two.there.calls > lost, "the next process is given calls as the one before"


async def test_a_new_process_ends_what_the_one_before_it_had_delegated() -> None:
    function = Function()
    async with web_server(work=function.handle) as base, running(Two()) as two:
        await two.share()
        await two.order(f"{base}/work", map(str, range(SHARED)))
        await function.until(SHARED)
        assert len(two.other) == two.there.calls > 0
        await two.other.take(BeginDelegation(f"{HOME}#2"))
        await two.there.until(under_way=0)
        assert len(two.other) == 0
        assert two.answered.empty()
        assert two.returned.empty()


async def test_a_repeated_beginning_ends_nothing() -> None:
    function = Function()
    async with web_server(work=function.handle) as base, running(Two()) as two:
        await two.share()
        await two.order(f"{base}/work", map(str, range(SHARED)))
        await function.until(SHARED)
        await two.other.take(BeginDelegation(f"{HOME}#1"))
        await two.other.take(BeginDelegation("rillflow:dispatcher:00#9"))
        function.answers.set()
        await two.answers(SHARED)
    assert function.calls == SHARED


async def test_a_call_that_is_abandoned_is_ended_by_whoever_makes_it() -> None:
    function = Function()
    async with web_server(work=function.handle) as base, running(Two()) as two:
        await two.share()
        await two.order(f"{base}/work", map(str, range(SHARED)))
        await function.until(SHARED)
        calls = [("b:f_c_1", str(number), 1, 0) for number in range(SHARED)]
        await two.home.take(CancelDispatches(OWNER, b"home", calls))
        answers = await two.answers(SHARED)
        assert all(answer.error for answer in answers)
        await two.there.until(under_way=0)


async def test_a_call_that_takes_too_long_elsewhere_is_given_up_here_and_ended_there() -> None:
    function = Function()
    async with web_server(work=function.handle) as base, running(Two()) as two:
        await two.share()
        delegate = two.delegation._delegates[0]
        now_s = asyncio.get_running_loop().time()
        outcomes: dict[str, Outcome] = {}
        came = asyncio.Event()

        def returned(call: DelegationCall, outcome: Outcome) -> None:
            outcomes[call.request.task] = outcome
            call.cancel()
            came.set()

        for task, left_s in (("late", 0.0), ("other", 60.0)):
            call = DelegationCall(attempt(f"{base}/work", task=task), returned, lambda _: None)
            call.give_up_s = now_s + left_s
            assert delegate.take(call)
        await function.until(2)
        await asyncio.wait_for(came.wait(), WITHIN_S)
        assert isinstance(outcomes["late"], TimeoutError)
        await two.there.until(under_way=1)
        came.clear()
        function.answers.set()
        await asyncio.wait_for(came.wait(), WITHIN_S)
        other = outcomes["other"]
        assert isinstance(other, DispatchAnswer)
        assert other.body == b'{"made": true}'


async def test_a_call_that_takes_too_long_elsewhere_counts_as_the_failure_of_its_function() -> None:
    class Late:
        """One that gives every call up."""

        def take(self, call: DelegationCall) -> bool:
            asyncio.get_running_loop().call_soon(call.came, TimeoutError())
            return True

    two = Two(breaker=OPENS)
    async with running(two):
        two.here.delegate_to(Always(Late()))
        await two.order(NEVER, map(str, range(OPENS.failures)))
        answers = await two.answers(OPENS.failures)
        assert all("no answer from POST" in (answer.error or "") for answer in answers)
        [host] = two.here.hosts()
        assert [each.failures for each in host.functions] == [OPENS.failures]


async def test_answers_wait_in_the_other_dispatcher_while_here_is_no_room() -> None:
    two = Two()
    async with running(two):
        two.budget.keep(("b:f_c_1", "large", 1, 0), 1 << 20)
        taken = two.delegation.answered([])
        assert not isinstance(taken, bytes)
        waiting = asyncio.ensure_future(taken)
        await asyncio.sleep(0)
        assert not waiting.done()
        two.budget.taken(("b:f_c_1", "large", 1, 0))
        assert await asyncio.wait_for(waiting, WITHIN_S) == b""


async def test_one_of_the_release_before_is_given_no_calls() -> None:
    function = Function()
    function.answers.set()
    two = Two()
    two.is_old = True
    async with web_server(work=function.handle) as base, running(two):
        await two.share()
        await two.order(f"{base}/work", map(str, range(10)))
        await two.answers(10)
    assert (two.there.calls, function.calls) == (0, 10)


async def test_one_that_is_about_to_end_is_given_no_more_calls() -> None:
    function = Function()
    function.answers.set()
    async with web_server(work=function.handle) as base, running(Two()) as two:
        await two.share()
        two.busy_there = LEAVES
        await two.share(1)
        await two.order(f"{base}/work", map(str, range(10)))
        await two.answers(10)
    assert (two.there.calls, function.calls) == (0, 10)


async def test_a_call_that_is_delegated_again_is_made_again() -> None:
    function = Function()
    function.answers.set()
    async with web_server(work=function.handle) as base, running(Two()) as two:
        for number in (1, 2):
            request = attempt(f"{base}/work", task="A")
            await two.other.take(Dispatches(f"{HOME}#1", 1, number, b"1", [request]))
            await asyncio.wait_for(two.returned.get(), WITHIN_S)
            await settle()
    assert function.calls == 2, "only who delegates a call knows whether it has the answer"


async def _fail(_: web.Request) -> web.Response:
    return web.Response(status=500)


async def _break(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(("handle", "is_host"), [(_fail, False), (_break, False), (None, True)])
async def test_calls_that_fail_elsewhere_open_the_circuit_here(
    handle: Callable[[web.Request], Awaitable[web.Response]] | None, *, is_host: bool
) -> None:
    well = asyncio.Event()

    async def work(request: web.Request) -> web.Response:
        if well.is_set() or handle is None:
            return web.json_response({})
        return await handle(request)

    two = Two(breaker=OPENS)
    async with web_server(work=work) as base, running(two):
        await two.share()
        url = f"{base}/work" if handle else NEVER
        two.here.delegate_to(Always(two.delegation._delegates[0]))
        await two.order(url, map(str, range(OPENS.failures)))
        answers = await two.answers(OPENS.failures)
        assert all(answer.error for answer in answers)
        assert two.there.calls == OPENS.failures
        [host] = two.here.hosts()
        circuit = host.host if is_host else host.functions[0]
        assert circuit.failures == OPENS.failures
        assert circuit.state != "closed"
        if handle is None:
            return
        well.set()
        await two.order(url, ["probe"])
        [answer] = await two.answers(1)
        assert answer.error is None
        assert two.there.calls == OPENS.failures + 1
        [host] = two.here.hosts()
        assert (host.host.state, host.functions) == ("closed", [])


class Always(NamedTuple):
    """Has another dispatcher make every call, not a part of them."""

    delegate: Delegate
    is_alone: bool = False

    def chosen(self, calls: int = 1) -> Delegate:
        del calls
        return self.delegate


class Asked:
    """Others that make no call, and note which ones they were offered."""

    is_alone = False

    def __init__(self) -> None:
        self.requests: list[DispatchRequest] = []

    def chosen(self, calls: int = 1) -> Delegate:
        del calls
        return self

    def take(self, call: DelegationCall) -> bool:
        assert call.give_up_s > asyncio.get_running_loop().time()
        self.requests.append(call.request)
        return False


OPENS: Final = BreakerPolicy(failures=3, pause_s=0.01)
"""The pause is short, since calls that are held back wait for it."""


@pytest.mark.parametrize(
    ("settings", "changes", "times"),
    [
        ({}, {}, 1),
        ({}, {"secrets": (("token",),)}, 0),
        ({}, {"poll": 1}, 0),
        ({}, {"is_public": True}, 0),
        ({}, {"task": "", "pattern": "completion"}, 0),
        ({"breaker": OPENS}, {}, 1),
    ],
)
async def test_only_plain_calls_are_offered_to_others(
    settings: dict[str, Any], changes: dict[str, Any], times: int
) -> None:
    asked = Asked()
    async with gateway(**settings) as opened:
        opened.delegates = asked
        request = attempt(NEVER, **changes)
        assert not opened.pass_on(DelegationCall(request, lambda *_: None, lambda _: None), asked)
        assert len(asked.requests) == times
        for _ in range(2):  # the second one has to be let through by a circuit
            answer = await opened.call(request)
    assert answer.error
    assert len(asked.requests) == times + bool(settings)
