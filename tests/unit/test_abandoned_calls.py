"""A call whose answer nobody would take any more is ended, and holds up no other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from rillflow.core.events import CancelRequested, CompletionRequested, RedoRequested
from rillflow.errors import StoreError
from rillflow.ids import ExecutionId, TaskName
from rillflow.ports.executions import Delivery
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import Append
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.dispatch.pool import ENDED, DispatchPool
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import answers_in, attempt, connection_to

PATIENCE_S: Final = 20
FLOW: Final = """
workspace: abandoned
dagName: tarpit
type: flow
tasks:
  - name: slow
    category: function
    pattern: task_sync
    resourceName: http://127.0.0.1:1/slow
    timeline: { timeoutInSeconds: TIMEOUT }
"""


class Tarpit:
    """A gateway whose calls last for ever; tells which ones are under way, and were given up."""

    def __init__(self) -> None:
        self.under_way: set[ExecutionId] = set()
        self.changed = asyncio.Event()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.under_way.add(request.execution_id)
        self.changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.under_way.discard(request.execution_id)
            self.changed.set()
        raise AssertionError

    async def close(self) -> None:
        """Nothing is open."""

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.under_way) != count:
                self.changed.clear()
                await self.changed.wait()


class Taker:
    """Takes the answers of a pool."""

    def __init__(self) -> None:
        self._taken: asyncio.Queue[DispatchAnswer] = asyncio.Queue()

    async def take(self, answers: Sequence[DispatchAnswer]) -> None:
        for answer in answers:
            self._taken.put_nowait(answer)

    async def next(self) -> DispatchAnswer:
        answer = await asyncio.wait_for(self._taken.get(), PATIENCE_S)
        for _ in range(5):  # until the pool has noted that it was taken
            await asyncio.sleep(0)
        return answer


class Apart(LocalExecutions):
    """Executions whose calls are made by a dispatcher in another process, as it were."""

    def __init__(
        self,
        store: MemoryStore,
        gateway: Tarpit,
        endpoint: DispatcherEndpoint | None = None,
        *,
        hot_bytes: int = 1 << 29,
    ) -> None:
        super().__init__(
            store=store,
            clock=SystemClock(),
            gateway=gateway,
            callback_host="",
            hot_bytes=hot_bytes,
        )
        self.endpoint = endpoint or DispatcherEndpoint(
            gateway, life=b"life", connect=lambda _: self._back
        )
        self.client = DispatcherClient("owner", [connection_to(self.endpoint)])
        self.client.serve(self.host)
        self.answered = asyncio.Event()

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        self.client.send(requests)

    def waiting(self, execution_id: ExecutionId) -> list[TaskName]:
        return self.client.waiting(execution_id)

    async def _back(self, message: bytes) -> bytes:
        answers = answers_in(message)
        await self.host.answers_arrived(answers)
        self.client.answered(answers)
        self.answered.set()
        return b""


class HeldStore(MemoryStore):
    """A store whose appends wait while it is held, and then succeed or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.arrived = asyncio.Event()
        self.fails = False

    async def append(self, appends: Sequence[Append]) -> None:
        self.arrived.set()
        await self.may_go_on.wait()
        if self.fails:
            raise StoreError("no room")
        await super().append(appends)

    def hold(self, *, fails: bool) -> None:
        self.arrived.clear()
        self.may_go_on.clear()
        self.fails = fails

    def let_go(self) -> None:
        self.may_go_on.set()


@asynccontextmanager
async def living(
    gateway: Tarpit,
    timeout_s: int,
    pattern: str = "task_sync",
    flow: str = FLOW,
    *,
    store: MemoryStore | None = None,
    hot_bytes: int = 1 << 29,
) -> AsyncIterator[tuple[Apart, Submissions]]:
    store, clock = store or MemoryStore(), SystemClock()
    await store.open()
    executions = Apart(store, gateway, hot_bytes=hot_bytes)
    await executions.start()
    beat = asyncio.create_task(executions.client.watch_dispatchers())
    text = flow.replace("TIMEOUT", str(timeout_s)).replace("task_sync", pattern)
    await add_descriptor(store, "abandoned", "tarpit", "release", text, at_ms=clock.now_ms())
    yield executions, Submissions(Settings(), store=store, executions=executions, clock=clock)
    beat.cancel()
    await executions.client.stop()
    await executions.stop()
    await store.close()


async def test_the_call_of_an_execution_that_is_cancelled_is_ended_and_others_are_not() -> None:
    gateway = Tarpit()
    async with living(gateway, 86_400) as (executions, submissions):
        first = await submissions.submit("abandoned:tarpit", b"", Options())
        second = await submissions.submit("abandoned:tarpit", b"", Options())
        await gateway.until(2)
        event = CancelRequested(at_ms=SystemClock().now_ms())
        await executions.call(Delivery(execution_id=first, event=event))
        await gateway.until(1)
        assert gateway.under_way == {second}
        await asyncio.wait_for(executions.answered.wait(), PATIENCE_S)
        assert len(executions.client) == 1


async def test_the_calls_of_an_execution_end_also_when_it_has_left_memory() -> None:
    """A large one leaves at its end, before its thousands of calls were looked at."""
    gateway = Tarpit()
    async with living(gateway, 86_400, hot_bytes=1) as (executions, submissions):
        ids = [await submissions.submit("abandoned:tarpit", b"", Options()) for _ in range(4)]
        await gateway.until(4)
        for each in ids[:3]:
            event = CancelRequested(at_ms=SystemClock().now_ms())
            await executions.call(Delivery(execution_id=each, event=event))
        waiting = [attempt("http://f.test/x", execution_id=each, task="slow") for each in ids]
        assert await executions.host.unawaited(waiting) == waiting[:3]
        await gateway.until(1)
        assert gateway.under_way == {ids[3]}


async def test_a_redone_execution_keeps_its_calls_after_it_was_cancelled() -> None:
    gateway = Tarpit()
    async with living(gateway, 86_400, hot_bytes=1) as (executions, submissions):
        ids = [await submissions.submit("abandoned:tarpit", b"", Options()) for _ in range(3)]
        await gateway.until(3)
        for each in ids:
            event = CancelRequested(at_ms=SystemClock().now_ms())
            await executions.call(Delivery(execution_id=each, event=event))
        await gateway.until(0)
        redo = RedoRequested(at_ms=SystemClock().now_ms())
        await executions.call(Delivery(execution_id=ids[0], event=redo))
        await gateway.until(1)
        first, second = (
            attempt("http://f.test/x", execution_id=ids[0], task="slow", attempt=number)
            for number in (1, 2)
        )
        assert await executions.host.unawaited([first, second]) == [first]
        assert gateway.under_way == {ids[0]}


async def test_an_asynchronous_call_goes_on_for_its_callback_is_kept() -> None:
    gateway = Tarpit()
    async with living(gateway, 86_400, "task_async") as (executions, submissions):
        execution_id = await submissions.submit("abandoned:tarpit", b"", Options())
        await gateway.until(1)
        event = CancelRequested(at_ms=SystemClock().now_ms())
        await executions.call(Delivery(execution_id=execution_id, event=event))
        task = await executions.host.unawaited(
            [
                attempt("http://f.test/x", execution_id=execution_id, task="slow", pattern=pattern)
                for pattern in ("task_async", "task_sync")
            ]
        )
        assert [each.pattern for each in task] == ["task_sync"]


async def test_an_asynchronous_call_of_ray_is_ended_for_no_callback_will_come() -> None:
    gateway = Tarpit()
    async with living(gateway, 86_400, "task_async") as (executions, submissions):
        execution_id = await submissions.submit("abandoned:tarpit", b"", Options())
        await gateway.until(1)
        event = CancelRequested(at_ms=SystemClock().now_ms())
        await executions.call(Delivery(execution_id=execution_id, event=event))
        request = attempt("ray://m:f", execution_id=execution_id, task="slow", pattern="task_async")
        assert await executions.host.unawaited([request]) == [request]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_call_is_ended_when_what_ends_it_is_durable_and_not_before(
    *, is_lost: bool
) -> None:
    gateway, store = Tarpit(), HeldStore()
    async with living(gateway, 86_400, store=store) as (executions, submissions):
        execution_id = await submissions.submit("abandoned:tarpit", b"", Options())
        await gateway.until(1)
        request = attempt("http://f.test/x", execution_id=execution_id, task="slow")
        event = CancelRequested(at_ms=SystemClock().now_ms())
        store.hold(fails=is_lost)
        cancelled = asyncio.create_task(
            executions.call(Delivery(execution_id=execution_id, event=event))
        )
        await asyncio.wait_for(store.arrived.wait(), PATIENCE_S)
        owner = executions.host
        asked = [
            asyncio.create_task(owner.unawaited([request])),
            asyncio.create_task(owner.ended_calls([request.call])),
        ]
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(each.done() for each in asked), "memory alone says that it has ended"
        store.let_go()
        unawaited, ended = await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S)
        assert unawaited == [request] * (not is_lost)
        assert ended == [request.call] * (not is_lost)
        await asyncio.wait_for(asyncio.wait({cancelled}), PATIENCE_S)


async def test_a_call_that_was_cancelled_just_before_its_owner_died_is_ended_by_the_next_one() -> (
    None
):
    gateway, clock = Tarpit(), SystemClock()
    store = MemoryStore()
    await store.open()
    first = Apart(store, gateway)
    await first.start()
    text = FLOW.replace("TIMEOUT", "86400")
    await add_descriptor(store, "abandoned", "tarpit", "release", text, at_ms=clock.now_ms())
    submissions = Submissions(Settings(), store=store, executions=first, clock=clock)
    cancelled = await submissions.submit("abandoned:tarpit", b"", Options())
    awaited = await submissions.submit("abandoned:tarpit", b"", Options())
    await gateway.until(2)
    await first.call(Delivery(execution_id=cancelled, event=CancelRequested(at_ms=clock.now_ms())))
    await first.client.stop()
    await first.stop()
    assert gateway.under_way == {cancelled, awaited}, "nobody has told the dispatcher"

    second = Apart(store, gateway, first.endpoint)
    await second.start()
    beat = asyncio.create_task(second.client.watch_dispatchers())
    await gateway.until(1)
    assert gateway.under_way == {awaited}
    beat.cancel()
    await second.client.stop()
    await second.stop()
    await store.close()


@pytest.mark.parametrize(
    ("pattern", "resource", "is_ended"),
    [
        ("task_sync", "http://127.0.0.1:1/slow", True),
        ("task_async", "http://127.0.0.1:1/slow", False),
        ("task_async", "ray://m:f", True),
    ],
)
async def test_the_store_tells_which_calls_nobody_waits_for(
    pattern: str, resource: str, *, is_ended: bool
) -> None:
    gateway = Tarpit()
    text = FLOW.replace("http://127.0.0.1:1/slow", resource)
    async with living(gateway, 86_400, pattern, text) as (executions, submissions):
        execution_id = await submissions.submit("abandoned:tarpit", b"", Options())
        await gateway.until(1)
        call, other = (execution_id, "slow", 1, 0), (execution_id, "slow", 2, 0)
        assert call not in await executions.host.ended_calls([call])
        assert await executions.host.ended_calls([other]) == [other] * is_ended
        event = CancelRequested(at_ms=SystemClock().now_ms())
        await executions.call(Delivery(execution_id=execution_id, event=event))
        poll, completion = (execution_id, "slow", 1, 3), (execution_id, "", 1, 0)
        last = "1" if execution_id.endswith("0") else "0"
        removed = (execution_id[:-1] + last, "slow", 1, 0)
        ended = await executions.host.ended_calls([call, poll, completion, removed])
        assert ended == [*[call] * is_ended, removed]


async def test_the_call_of_an_execution_that_has_ended_otherwise_goes_on() -> None:
    gateway = Tarpit()
    async with living(gateway, 86_400) as (executions, submissions):
        execution_id = await submissions.submit("abandoned:tarpit", b"", Options())
        await gateway.until(1)
        event = CompletionRequested(at_ms=SystemClock().now_ms(), success=False)
        await executions.call(Delivery(execution_id=execution_id, event=event))
        request = attempt("http://f.test/x", execution_id=execution_id, task="slow")
        assert await executions.host.unawaited([request]) == []


async def test_a_call_that_is_abandoned_is_answered_and_not_made_again() -> None:
    gateway, taker = Tarpit(), Taker()
    pool = DispatchPool(gateway, taker.take)
    request = attempt("http://f.test/x")
    pool.send([request])
    await gateway.until(1)
    pool.abandon([request.call, (request.execution_id, "another", 1, 0)])
    pool.abandon([request.call])
    answer = await taker.next()
    assert answer.call == request.call
    assert answer.error == f"handle fails: {ENDED}"
    pool.send([request])
    assert len(pool) == 0
    await pool.close()


async def test_a_call_that_is_abandoned_before_it_was_made_is_answered() -> None:
    gateway = Tarpit()
    taken: asyncio.Queue[DispatchAnswer] = asyncio.Queue()

    async def take(answers: Sequence[DispatchAnswer]) -> None:
        for answer in answers:
            taken.put_nowait(answer)

    pool = DispatchPool(gateway, take)
    request = attempt("http://f.test/x")
    pool.send([request])
    pool.abandon([request.call])
    async with asyncio.timeout(PATIENCE_S):
        assert (await taken.get()).error == f"handle fails: {ENDED}"
    await pool.close()


@pytest.mark.parametrize("pattern", ["task_sync", "completion"])
async def test_what_is_closed_is_not_answered(pattern: str) -> None:
    gateway = Tarpit()
    taken: list[DispatchAnswer] = []

    async def take(answers: Sequence[DispatchAnswer]) -> None:
        taken.extend(answers)

    pool = DispatchPool(gateway, take)
    pool.send([attempt("http://f.test/x", pattern=pattern)])
    await gateway.until(1)
    await pool.close()
    assert (taken, gateway.under_way) == ([], set())


async def test_a_call_that_is_abandoned_before_it_has_begun_is_answered_and_not_made() -> None:
    gateway, taker = Tarpit(), Taker()
    pool = DispatchPool(gateway, taker.take)
    request = attempt("http://f.test/x")
    pool.send([request])
    pool.abandon([request.call])  # the two messages arrived together
    answer = await taker.next()
    assert answer.error == f"handle fails: {ENDED}"
    assert len(pool) == 0
    assert not gateway.changed.is_set()
    await pool.close()


@pytest.mark.parametrize("has_begun", [False, True])
async def test_an_abandoned_call_that_another_owner_takes_over_is_answered_to_that_one(
    *,
    has_begun: bool,
) -> None:
    gateway, taker = Tarpit(), Taker()

    async def refuse(answers: Sequence[DispatchAnswer]) -> None:
        raise AssertionError(answers)

    before, heir = DispatchPool(gateway, refuse), DispatchPool(gateway, taker.take)
    request = attempt("http://f.test/x")
    before.send([request])
    if has_begun:
        await gateway.until(1)
    before.abandon([request.call])
    assert before.give(request.call, heir)
    heir.send([request])
    answer = await taker.next()
    assert answer.error == f"handle fails: {ENDED}"
    assert (len(before), len(heir)) == (0, 0)
    await before.close()
    await heir.close()


async def test_a_call_whose_gateway_was_cancelled_in_its_place_is_answered() -> None:
    class Sharing(Tarpit):
        """Waits for what another call has begun, and which is cancelled with that call."""

        async def call(self, _: DispatchRequest) -> DispatchAnswer:
            shared: asyncio.Future[DispatchAnswer] = asyncio.get_running_loop().create_future()
            shared.cancel()
            return await shared

    taker = Taker()
    pool = DispatchPool(Sharing(), taker.take)
    pool.send([attempt("http://f.test/x")])
    answer = await taker.next()
    assert answer.error == "handle fails: what the call waited for was cancelled"
    assert len(pool) == 0
    await pool.close()
