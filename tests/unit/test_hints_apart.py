"""Executions with an owner of their own leave busy functions alone like all others.

Nobody tells such an owner of anything, so it asks before it dispatches; and it tells the
owners of shared executions which functions it calls.
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


class Owners:
    """An owner of shared executions, and one of each dedicated execution."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = open_store("memory:")
        self.sent: asyncio.Queue[DispatchRequest] = asyncio.Queue()
        self.asked = asyncio.Event()
        self.is_reachable = True
        self.shared = self._host()
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
        host = self.shared
        if isinstance(call, Submission):
            host = self.apart[call.execution_id] = self._host(call.execution_id)
            await host.start()
        [reply] = await host.call_many([call])
        return reply

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        if not self.is_reachable:
            raise UnavailableError("no owner can be reached")
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


@pytest.fixture(name="owners")
async def _owners() -> AsyncIterator[Owners]:
    built = Owners()
    await built.store.open()
    await built.shared.start()
    yield built
    for host in (built.shared, *built.apart.values()):
        await host.stop()


async def _is_held(owners: Owners, host: ExecutionOwner) -> bool:
    await asyncio.wait_for(owners.asked.wait(), LONG_S)
    for _ in range(10):
        await asyncio.sleep(0)
    return len(host._commands.outbound.held) == 1 and owners.sent.empty()


async def test_a_call_waits_until_its_function_is_no_longer_busy(owners: Owners) -> None:
    await owners.call(BUSY)
    host = await owners.submit()
    assert await _is_held(owners, host)
    owners.clock.forward(BUSY_S + 1)
    host._commands.outbound.held.look_again()
    assert (await owners.next_call()).resource_name == WORK


async def test_a_call_leaves_when_the_hint_is_cleared_at_the_owners(owners: Owners) -> None:
    await owners.call(BUSY)
    host = await owners.submit()
    assert await _is_held(owners, host)
    await owners.call(ResourceCall(kind="clear", service="apart:work"))
    owners.clock.forward(2)
    host._commands.outbound.held.look_again()
    assert (await owners.next_call()).resource_name == WORK


async def test_a_free_function_is_called_and_owners_that_cannot_be_asked_stop_nothing(
    owners: Owners,
) -> None:
    await owners.submit()
    assert (await owners.next_call()).resource_name == WORK
    owners.clock.forward(2)
    owners.is_reachable = False
    await owners.submit()
    assert (await owners.next_call()).resource_name == WORK


@pytest.mark.parametrize(
    ("body", "busy"), [(b"{}", False), (b'{"sys_info":{"retry_interval_seconds":10}}', True)]
)
async def test_the_owners_hear_which_functions_it_calls(
    owners: Owners, body: bytes, *, busy: bool
) -> None:
    host = await owners.submit()
    request = await owners.next_call()
    answer = DispatchAnswer(
        execution_id=request.execution_id, task=request.task, attempt=request.attempt, body=body
    )
    await host.answers_arrived([answer])
    [row] = await owners.rows()
    assert (row.task, row.resource, row.busy) == ("call", WORK, busy)


async def test_a_submission_is_refused_while_its_functions_are_busy(owners: Owners) -> None:
    await owners.call(BUSY)
    with pytest.raises(RequestError, match=f"resource limit resources: {WORK}"):
        await owners.submit("short_board")
    assert not owners.apart
    owners.clock.forward(BUSY_S + 1)
    assert await owners.submit("short_board")
    owners.is_reachable = False
    assert await owners.submit("short_board"), "a check that cannot be made lets pass"
