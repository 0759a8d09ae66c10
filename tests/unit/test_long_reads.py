"""Nobody in a batch waits for what somebody else in it needs to have read.

The owner refuses calls that need a long definition or a long journal at once, and the caller asks
for them again, each alone.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from typing import Final

import pytest

from rillflow.definition import canonical_text, expand_sugar, parse_definition, version_of
from rillflow.errors import NotReadyError
from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.jsontypes import encode_json
from rillflow.ports.executions import Query, Reply, Submission
from rillflow.ports.messages import Calls, decode_owner_message
from rillflow.ports.storage.store import Store
from rillflow.runtime.activation.replay import LONG_BYTES
from rillflow.runtime.aio.thread_pool import FOR_DEFINITIONS, PriorityThread
from rillflow.runtime.definitions.catalogue import Plans, is_ready_at_once
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.endpoints.owner_endpoint import OwnerEndpoint
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from rillflow.stores import open_store
from tests.api.definition_texts import PASS, SUSPENDED
from tests.loopback import ManualClock
from tests.submissions import submission_event

LONG: Final = PASS + f"defaultContext: {{text: '{'x' * SHORT_BYTES}'}}\n"
SHORT_S: Final = 20


class Owned:
    """An owner of all executions, and its caller."""

    def __init__(self, store: Store | None = None, *, hot_bytes: int = 1 << 29) -> None:
        self.store: Store = store or open_store("memory:")
        self.sent: list[tuple[int, bool]] = []
        self._numbers = count()
        self.caller = OwnerRef(self._call, watcher="me")
        dispatcher = DispatcherClient("owner", [], asyncio.Event())
        self.owner = ExecutionOwner(
            store=self.store,
            clock=ManualClock(),
            dispatcher=dispatcher,
            executions=ExecutionRouter([self.caller], None),  # type: ignore[arg-type]  # none is dedicated
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
            limits=OwnerLimits(most_hot=1, hot_bytes=hot_bytes),
        )
        self._endpoint = OwnerEndpoint(self.owner, dispatcher, life="first")

    async def _call(self, message: bytes) -> bytes:
        taken = decode_owner_message(message)
        assert isinstance(taken, Calls)
        self.sent.append((len(taken.calls), taken.waits))
        return await self._endpoint.take(taken, len(message))

    async def add(self, text: str) -> str:
        canonical = canonical_text(expand_sugar(parse_definition(text)))
        version = version_of(canonical)
        await self.store.add_version("shop", "order", "release", version, canonical, at_ms=1)
        return version

    async def submit(self, version: str, text: str = "", business: str = "shop") -> Reply:
        entropy = next(self._numbers).to_bytes(10)
        execution_id = new_execution_id(business, "order", at_ms=1, entropy=entropy)
        event = submission_event(execution_id, version, data=encode_json({"text": text}))
        reply = await self.caller.ask(Submission(business=business, feature="order", event=event))
        assert reply.error is None
        self.last = execution_id
        return reply

    def status_of(self, execution_id: ExecutionId) -> Query:
        return Query(execution_id=execution_id, kind="status")


@pytest.fixture(name="owned")
async def _owned() -> AsyncIterator[Owned]:
    owned = Owned()
    await owned.store.open()
    await owned.owner.start()
    yield owned
    await owned.owner.stop()
    await owned.store.close()


async def test_others_do_not_wait_for_a_long_definition(owned: Owned) -> None:
    long, short = await owned.add(LONG), await owned.add(PASS)
    gate = threading.Event()
    held = asyncio.create_task(FOR_DEFINITIONS.run(0, gate.wait))
    waiting = [asyncio.create_task(owned.submit(long)) for _ in range(20)]
    async with asyncio.timeout(SHORT_S):
        for _ in range(20):
            await owned.submit(short)
    assert not any(task.done() for task in waiting)
    gate.set()
    await asyncio.gather(held, *waiting)
    before = len(owned.sent)
    await owned.submit(long)
    assert owned.sent[before:] == [(1, False)], "a definition that is in memory is not waited for"


@pytest.mark.parametrize(
    ("text", "is_at_once"),
    [
        (PASS, True),
        (PASS + "# $.l[?(@.a =~ /x/)]", True),
        (PASS + "# $.l[?(@.a =~ /x/)]" * 5, False),
        (LONG, False),
    ],
)
def test_long_definitions_and_those_with_many_patterns_are_made_in_a_thread(
    text: str, *, is_at_once: bool
) -> None:
    assert is_ready_at_once(text) is is_at_once


async def test_all_who_wait_for_a_long_definition_share_one_read(owned: Owned) -> None:
    version = await owned.add(LONG)
    read, texts = owned.store.definition_text, list[str]()

    class Counting:
        async def definition_text(self, definition_id: str) -> str | None:
            texts.append(definition_id)
            return await read(definition_id)

    plans = Plans(Counting())  # type: ignore[arg-type]  # all that is asked
    found = await asyncio.gather(*(plans.get(version) for _ in range(20)))
    assert len(texts) == 1
    assert len({id(plan) for plan in found}) == 1


async def test_a_long_journal_is_read_for_a_call_that_is_alone(owned: Owned) -> None:
    version = await owned.add(SUSPENDED)
    await owned.submit(version, "x" * (2 * LONG_BYTES))
    long = owned.last
    await owned.submit(version)
    short = owned.last
    await owned.submit(version)  # evicts the others
    [refused, told] = await owned.owner.call_ready([owned.status_of(long), owned.status_of(short)])
    assert (refused.kind, told.error) == (NotReadyError.code, None)
    assert (await owned.caller.ask(owned.status_of(long))).error is None
    assert owned.sent[-2:] == [(1, False), (1, True)]


async def test_who_does_not_wait_joins_no_read_that_is_under_way(owned: Owned) -> None:
    version = await owned.add(SUSPENDED)
    await owned.submit(version)
    first = owned.last
    await owned.submit(version)
    replies = await asyncio.gather(
        *(owned.owner.call_ready([owned.status_of(first)]) for _ in range(3)),
        owned.owner.call_many([owned.status_of(first)]),
    )
    kinds = [reply.kind for [reply] in replies]
    assert kinds == ["", NotReadyError.code, NotReadyError.code, ""]


async def test_the_shortest_work_is_next_and_now_and_then_the_oldest() -> None:
    thread, gate = PriorityThread(name="tests"), threading.Event()
    order: list[int] = []
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(thread.run(0, gate.wait))]
    await asyncio.sleep(0)
    for size in (9, 8, 7, 1, 2, 3):
        tasks.append(asyncio.create_task(thread.run(size, partial(order.append, size))))
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert order == [1, 2, 9, 3, 7, 8]


async def test_a_work_that_fails_tells_why_and_the_next_is_done() -> None:
    thread = PriorityThread(name="tests")
    with pytest.raises(ValueError, match="no"):
        await thread.run(1, lambda: int("no"))
    assert await thread.run(1, lambda: 5) == 5
