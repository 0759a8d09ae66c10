"""Nobody in a batch waits for what somebody else in it needs to have read.

The owner refuses calls that need a long definition or a long journal at once, and the caller asks
for them again, each alone.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import count
from typing import Final

import pytest

from rillflow.core.events import ParentLink
from rillflow.definition import canonical_text, expand_sugar, parse_definition, version_of
from rillflow.errors import NotReadyError, OverloadedError
from rillflow.gateways.outbound.threads import SHORT_BYTES
from rillflow.ids import PARTITIONS, ExecutionId, TaskName, new_execution_id
from rillflow.jsontypes import encode_json
from rillflow.ports.executions import Query, Reply, Submission
from rillflow.ports.messages import Calls, decode_owner_message
from rillflow.ports.storage.store import Store
from rillflow.runtime.activation.replay import LONG_BYTES
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.aio.thread_pool import DEFINITIONS_OF_ONE, FOR_DEFINITIONS, FairPriorityThread
from rillflow.runtime.aio.workspace_places import MOST_OF_ONE
from rillflow.runtime.definitions.catalogue import (
    Plans,
    is_ready_at_once,
    read_bytes,
    ready_bytes,
    workspace_in,
)
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.endpoints.owner_endpoint import OwnerEndpoint
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from rillflow.runtime.submission.intake import Submissions
from rillflow.settings import Settings
from rillflow.stores import open_store
from tests.api.definition_texts import PASS, SUSPENDED
from tests.loopback import ManualClock
from tests.submissions import submission_event

LONG: Final = PASS + f"defaultContext: {{text: '{'x' * SHORT_BYTES}'}}\n"
SHORT_S: Final = 20


def long_definition(number: int) -> str:
    """Return one of several definitions whose plans are made in the thread."""
    return LONG.replace("text: '", f"text: '{number}")


def definition_of(workspace: str, number: int) -> str:
    """Return a definition whose plan is made at once."""
    return PASS.replace("shop", workspace) + f"defaultContext: {{n: {number}}}\n"


def stored_form(text: str) -> str:
    """Return the canonical text of a definition."""
    return canonical_text(expand_sugar(parse_definition(text)))


class Texts:
    """The texts of a store, and which of them were read."""

    def __init__(self, store: Store) -> None:
        self.read: list[str] = []
        self._store = store

    async def definition_text(self, definition_id: str) -> str | None:
        self.read.append(definition_id)
        return await self._store.definition_text(definition_id)


class Owned:
    """An owner of all executions, and its caller."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        hot_bytes: int = 1 << 29,
        turns: FairTurns | None = None,
    ) -> None:
        self.store: Store = store or open_store("memory:")
        self.sent: list[tuple[int, bool]] = []
        self._numbers = count()
        self.caller = OwnerRef(self._call, watcher="me")
        self.executions = ExecutionRouter([self.caller], None)  # type: ignore[arg-type]  # none is dedicated
        dispatcher = DispatcherClient("owner", [], asyncio.Event())
        self.owner = ExecutionOwner(
            store=self.store,
            clock=ManualClock(),
            dispatcher=dispatcher,
            executions=self.executions,
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
            limits=OwnerLimits(most_hot=1, hot_bytes=hot_bytes),
            turns=turns,
        )
        self._endpoint = OwnerEndpoint(self.owner, dispatcher, life="first")

    async def _call(self, message: bytes) -> bytes:
        taken = decode_owner_message(message)
        assert isinstance(taken, Calls)
        self.sent.append((len(taken.calls), taken.waits))
        return await self._endpoint.take(taken, len(message))

    async def add(self, text: str) -> str:
        canonical = stored_form(text)
        version = version_of(canonical)
        await self.store.add_version("shop", "order", "release", version, canonical, at_ms=1)
        return version

    async def submit(self, version: str, text: str = "", business: str = "shop") -> Reply:
        reply = await self.ask(version, text, business)
        assert reply.error is None
        return reply

    async def ask(
        self, version: str, text: str = "", business: str = "shop", parent: ParentLink | None = None
    ) -> Reply:
        entropy = next(self._numbers).to_bytes(10)
        self.last = new_execution_id(business, "order", at_ms=1, entropy=entropy)
        data = encode_json({"text": text})
        event = submission_event(self.last, version, data=data, parent=parent)
        return await self.caller.ask(Submission(business=business, feature="order", event=event))

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
    held = asyncio.create_task(FOR_DEFINITIONS.run("other", gate.wait))
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
    texts = Texts(owned.store)
    plans = Plans(texts)  # type: ignore[arg-type]  # all that is asked
    found = await asyncio.gather(*(plans.get(version) for _ in range(20)))
    assert texts.read == [version]
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


async def test_of_a_workspace_the_shortest_work_is_next_and_now_and_then_the_oldest() -> None:
    thread, gate = FairPriorityThread(most=9, most_of_one=9, name="tests"), threading.Event()
    order: list[int] = []
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(thread.run("first", gate.wait))]
    await asyncio.sleep(0)
    for size in (9, 8, 7, 1, 2, 3):
        work = thread.run("shop", partial(order.append, size), size=size)
        tasks.append(asyncio.create_task(work))
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert order == [1, 2, 3, 9, 7, 8]


async def test_short_works_of_one_workspace_do_not_keep_back_a_longer_one_of_another() -> None:
    thread, gate = FairPriorityThread(most=9, most_of_one=9, name="tests"), threading.Event()
    order: list[str] = []
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(thread.run("first", gate.wait))]
    await asyncio.sleep(0)
    for workspace, size in (("busy", 1), ("busy", 1), ("busy", 1), ("shop", 20)):
        work = thread.run(workspace, partial(order.append, workspace), size=size)
        tasks.append(asyncio.create_task(work))
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["busy", "shop", "busy", "busy"]


async def test_a_submission_is_refused_beyond_the_places_of_its_workspace_and_no_sub_flow(
    owned: Owned,
) -> None:
    await owned.submit(await owned.add(SUSPENDED))
    parent = ParentLink(
        execution_id=owned.last, task=TaskName("wait"), attempt=1, pattern="task_sync"
    )
    version, gate = await owned.add(LONG), threading.Event()
    held = [
        FOR_DEFINITIONS.begin("shop", gate.wait, size=SHORT_BYTES)
        for _ in range(DEFINITIONS_OF_ONE)
    ]
    refused = await owned.ask(version)
    assert (refused.kind, refused.http_status) == (OverloadedError.code, 429)
    child = asyncio.create_task(owned.ask(version, parent=parent))
    await _until(lambda: FOR_DEFINITIONS._taken["shop"] > DEFINITIONS_OF_ONE)
    gate.set()
    assert (await child).error is None
    await asyncio.gather(*held)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - a thread tells nobody
            await asyncio.sleep(0)


async def test_a_call_that_does_not_wait_reads_no_definition_that_is_being_made(
    owned: Owned,
) -> None:
    version = await owned.add(LONG)
    texts = Texts(owned.store)
    plans, gate = Plans(texts), threading.Event()  # type: ignore[arg-type]  # all that is asked
    held = asyncio.create_task(FOR_DEFINITIONS.run("other", gate.wait))
    made = asyncio.create_task(plans.get(version))
    await asyncio.sleep(0)
    for _ in range(100):
        with pytest.raises(NotReadyError):
            await plans.get(version, waits=False)
    gate.set()
    await asyncio.gather(held, made)
    assert texts.read == [version]


async def test_a_workspace_that_rotates_through_many_definitions_evicts_its_own_only(
    owned: Owned,
) -> None:
    mine = await owned.add(SUSPENDED)
    others = [await owned.add(definition_of("busy", number)) for number in range(9)]
    plans = Plans(owned.store, most_bytes=3 * ready_bytes(stored_form(definition_of("busy", 0))))
    kept = await plans.get(mine)
    for version in others * 2:
        await plans.get(version)
    assert plans.ready(mine) is kept
    assert sum(plans.ready(version) is not None for version in others) <= 3


async def test_a_replica_keeps_what_a_workspace_uses_while_another_rotates_through_many(
    owned: Owned,
) -> None:
    mine = await owned.add(SUSPENDED)
    others = [await owned.add(definition_of("busy", number)) for number in range(9)]
    most_bytes = 3 * read_bytes(stored_form(definition_of("busy", 0)))
    submissions = Submissions(
        Settings(),
        store=owned.store,
        executions=owned.executions,
        clock=ManualClock(),
        definitions_bytes=most_bytes,
    )
    kept = await submissions.definition(mine)
    for version in others * 2:
        await submissions.definition(version)
    assert await submissions.definition(mine) is kept


def test_the_workspace_of_a_text_is_that_of_its_definition() -> None:
    text = PASS.replace("shop", "'12'") + 'defaultContext: {a: "\\nworkspace: busy\\n"}'
    assert workspace_in(stored_form(text)) == '"12"'
    assert workspace_in("") == ""


async def test_a_work_that_fails_tells_why_and_the_next_is_done() -> None:
    thread = FairPriorityThread(most=1, most_of_one=1, name="tests")
    with pytest.raises(ValueError, match="no"):
        await thread.run("shop", lambda: int("no"))
    assert await thread.run("shop", lambda: 5) == 5


async def test_replays_and_sub_flows_that_wait_have_read_so_many_texts_of_a_workspace(
    owned: Owned,
) -> None:
    many = [await owned.add(long_definition(number)) for number in range(MOST_OF_ONE + 9)]
    other = await owned.add(SUSPENDED)
    texts = Texts(owned.store)
    plans, gate = Plans(texts), threading.Event()  # type: ignore[arg-type]  # all that is asked
    held = asyncio.create_task(FOR_DEFINITIONS.run("gate", gate.wait))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(plans.get(each, workspace="busy")) for each in many]
    await _until(lambda: len(texts.read) >= MOST_OF_ONE)
    assert (await plans.get(other, workspace="shop")).definition_id == other
    assert len(texts.read) == MOST_OF_ONE + 1
    gate.set()
    made = await asyncio.gather(*waiting)
    await held
    assert [plan.definition_id for plan in made] == many
    assert len(plans._places) == 0
