"""Executions with a home of their own leave busy functions alone like all others.

Nobody tells such a home of anything, so it asks before it dispatches; and it tells the
homes of shared executions which functions it calls.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import pytest

from rillflow.errors import RequestError, UnavailableError
from rillflow.ids import PARTITIONS, ExecutionId
from rillflow.ports.executions import Call, Reply, ResourceCall, Submission
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.backpressure.busy_functions import ResourceRow
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import ResourceCheck, Settings
from rillflow.stores import open_store
from tests.loopback import NOW_MS, ManualClock

WORK: Final = "http://127.0.0.1:1/work"
BUSY_S: Final = 10
LONG_S: Final = 10
FLOW: Final = f"""
workspace: apart
dagName: work
type: flow
isolation: dedicated
tasks:
  - {{ name: call, category: function, pattern: task_sync, resourceName: "{WORK}" }}
"""
BUSY: Final = ResourceCall(
    kind="busy", service="apart:work", task="call", resource=WORK, for_s=BUSY_S
)


class Houses:
    """A home of shared executions, and one of each dedicated execution."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = open_store("memory:")
        self.sent: asyncio.Queue[DispatchRequest] = asyncio.Queue()
        self.asked = asyncio.Event()
        self.is_reachable = True
        self.home = self._host()
        self.apart: dict[ExecutionId, ExecutionOwner] = {}
        self._submissions = Submissions(
            Settings(), store=self.store, executions=self, clock=self.clock
        )

    def _host(self, dedicated: ExecutionId | None = None) -> ExecutionOwner:
        return ExecutionOwner(
            store=self.store,
            clock=self.clock,
            dispatcher=self,
            executions=self,
            callback_host="http://rillflow.test",
            partitions=() if dedicated else range(PARTITIONS),
            dedicated=dedicated,
        )

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        for request in requests:
            self.sent.put_nowait(request)

    async def call(self, call: Call) -> Reply:
        host = self.home
        if isinstance(call, Submission):
            host = self.apart[call.execution_id] = self._host(call.execution_id)
            await host.start()
        [reply] = await host.call_many([call])
        return reply

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        if not self.is_reachable:
            raise UnavailableError("no home can be reached")
        reply = await self.call(call)
        self.asked.set()
        return [reply]

    async def submit(self, check: str = "skip") -> ExecutionOwner:
        await add_descriptor(self.store, "apart", "work", "release", FLOW, at_ms=NOW_MS)
        asked = ResourceCheck.model_validate({"check_type": check})
        execution_id = await self._submissions.submit(
            "apart:work", b"", Options(resource_check=asked)
        )
        return self.apart[execution_id]

    async def next_call(self) -> DispatchRequest:
        return await asyncio.wait_for(self.sent.get(), LONG_S)

    async def rows(self) -> list[ResourceRow]:
        [reply] = await self.ask_all(ResourceCall(kind="read", service="apart:work"))
        return msgspec.json.decode(reply.body or b"[]", type=list[ResourceRow])


@pytest.fixture(name="houses")
async def _houses() -> AsyncIterator[Houses]:
    built = Houses()
    await built.store.open()
    await built.home.start()
    yield built
    for host in (built.home, *built.apart.values()):
        await host.stop()


async def _is_held(houses: Houses, host: ExecutionOwner) -> bool:
    await asyncio.wait_for(houses.asked.wait(), LONG_S)
    for _ in range(10):
        await asyncio.sleep(0)
    return len(host._commands.outbound._held) == 1 and houses.sent.empty()


async def test_a_call_waits_until_its_function_is_no_longer_busy(houses: Houses) -> None:
    await houses.call(BUSY)
    host = await houses.submit()
    assert await _is_held(houses, host)
    houses.clock.forward(BUSY_S + 1)
    host._commands.outbound._held.look_again()
    assert (await houses.next_call()).resource_name == WORK


async def test_a_call_leaves_when_the_hint_is_cleared_at_the_homes(houses: Houses) -> None:
    await houses.call(BUSY)
    host = await houses.submit()
    assert await _is_held(houses, host)
    await houses.call(ResourceCall(kind="clear", service="apart:work"))
    houses.clock.forward(2)
    host._commands.outbound._held.look_again()
    assert (await houses.next_call()).resource_name == WORK


async def test_a_free_function_is_called_and_homes_that_cannot_be_asked_stop_nothing(
    houses: Houses,
) -> None:
    await houses.submit()
    assert (await houses.next_call()).resource_name == WORK
    houses.clock.forward(2)
    houses.is_reachable = False
    await houses.submit()
    assert (await houses.next_call()).resource_name == WORK


@pytest.mark.parametrize(
    ("body", "busy"), [(b"{}", False), (b'{"sys_info":{"retry_interval_seconds":10}}', True)]
)
async def test_the_homes_hear_which_functions_it_calls(
    houses: Houses, body: bytes, *, busy: bool
) -> None:
    host = await houses.submit()
    request = await houses.next_call()
    answer = DispatchAnswer(
        execution_id=request.execution_id, task=request.task, attempt=request.attempt, body=body
    )
    await host.answers_arrived([answer])
    [row] = await houses.rows()
    assert (row.task, row.resource, row.busy) == ("call", WORK, busy)


async def test_a_submission_is_refused_while_its_functions_are_busy(houses: Houses) -> None:
    await houses.call(BUSY)
    with pytest.raises(RequestError, match=f"resource limit resources: {WORK}"):
        await houses.submit("short_board")
    assert not houses.apart
    houses.clock.forward(BUSY_S + 1)
    assert await houses.submit("short_board")
    houses.is_reachable = False
    assert await houses.submit("short_board"), "a check that cannot be made lets pass"
