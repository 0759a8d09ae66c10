"""Reading an execution takes about one turn's budget at most, however many events it has had.

It gives the event loop back between events, and keeps nobody waiting but those who call the
same execution.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import pytest

from rillflow.core import machine
from rillflow.core.encoding.codec import encode_event, encode_state
from rillflow.core.events import ExecutionSubmitted, WakeUpReceived
from rillflow.core.machine import Handled
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.errors import StoreError
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.jsontypes import decode_json
from rillflow.ports.executions import Delivery, Query, Reply, Submission
from rillflow.ports.storage.store import Append, StoredExecution
from rillflow.runtime.activation.active_execution import SNAPSHOT_BYTES_PER_STEP, ActiveExecution
from rillflow.runtime.activation.journal import SNAPSHOT_STEPS
from rillflow.runtime.activation.replay import replay
from rillflow.runtime.aio.fair_turns import TURN_S, FairTurns, in_groups
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.machine_speed import slowness, tries
from tests.own_executions import OwnExecutions
from tests.submissions import submission_event
from tests.turns import measured_turns

LOOPS: Final = 5_000
STEPS_OF_EVENT: Final = 3 * LOOPS
"""Fewer than a wake-up takes."""
NEVER: Final = 1 << 62
WAITS: Final = f"""
workspace: house
dagName: work
type: flow
tasks:
  - name: wait
    category: suspense
    conditions: ["$.input[?(@.done == 1)]"]
    outputMappings:
      - source: $.output.n
        target: $.context.n
        transform: "let i = 0; while i < {LOOPS} {{ i = i + 1; }} source"
"""
PLAN: Final = Plan(parse_definition(WAITS), "definition")


class CountingStore(MemoryStore):
    """A store that tells how many records were read each time, and when a snapshot was written."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []
        self.is_slow_to_read: ExecutionId | None = None
        self.may_read = asyncio.Event()
        self._appended = asyncio.Condition()
        self._newest: dict[ExecutionId, int] = {}

    async def append(self, appends: Sequence[Append]) -> None:
        await super().append(appends)
        async with self._appended:
            self._newest.update((each.execution_id, each.first_seq) for each in appends)
            self._appended.notify_all()

    async def wait_for(self, execution_id: ExecutionId, *, seq: int) -> None:
        """Wait until something is written that follows the record before ``seq``."""
        async with asyncio.timeout(60), self._appended:
            await self._appended.wait_for(lambda: self._newest.get(execution_id) == seq)

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        if execution_id == self.is_slow_to_read:
            await self.may_read.wait()
        stored = await super().load(execution_id, most_bytes)
        if stored is not None:
            self.read.append(len(stored.records))
        return stored


class House(OwnExecutions):
    """One owner of executions after another, each with one execution in memory at most."""

    def __init__(self) -> None:
        self.store = CountingStore()
        self.owner: ExecutionOwner
        self._version = ""

    @asynccontextmanager
    async def living(self, *, snapshot_steps: int = NEVER) -> AsyncIterator["House"]:
        await self.store.open()
        found = await add_descriptor(self.store, "house", "work", "release", WAITS, at_ms=1)
        self._version = found.version or ""
        self.owner = ExecutionOwner(
            store=self.store,
            clock=SystemClock(),
            dispatcher=self,
            executions=self,
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
            limits=OwnerLimits(most_hot=1, snapshot_steps=snapshot_steps),
        )
        await self.owner.start()
        await self.owner.recovered()
        yield self
        await self.owner.stop()

    async def submit(self) -> ExecutionId:
        execution_id = new_execution_id("house", "work", at_ms=1, entropy=os.urandom(10))
        event = _submitted(execution_id, self._version)
        submission = Submission(business="house", feature="work", event=event)
        (await self.call(submission)).raise_for_error()
        return execution_id

    async def submit_in_place_of(self, execution_id: ExecutionId) -> ExecutionId:
        """Submit another one, until this one has left memory: it may be in use a little longer."""
        async with asyncio.timeout(60):
            other = await self.submit()
            while self.owner.knows(execution_id):
                other = await self.submit()
        return other

    async def wake(self, execution_id: ExecutionId, times: int) -> None:
        for _ in range(times):
            (await self.call(_wake_up(execution_id))).raise_for_error()

    async def context(self, execution_id: ExecutionId) -> object:
        reply = await self.call(Query(execution_id=execution_id, kind="context"))
        return decode_json(reply.body or b"null")


def _submitted(execution_id: str, definition_id: str) -> ExecutionSubmitted:
    return submission_event(ExecutionId(execution_id), definition_id, turn_max_steps=2_000_000)


def _wake_up(execution_id: ExecutionId) -> Delivery:
    event = WakeUpReceived(at_ms=2, task="wait", data=b'{"n":7}')
    return Delivery(execution_id=execution_id, event=event)


# -- portions -------------------------------------------------------------------------


async def test_a_replay_gives_the_loop_back_between_events() -> None:
    house = House()
    async with house.living():
        execution_id = await house.submit()
        begun_s = time.thread_time()
        await house.wake(execution_id, 20)
        event_ms = (time.thread_time() - begun_s) * 1000 / 20
    async with house.living():
        for _ in tries():
            await house.submit()  # makes the other one leave memory
            with measured_turns() as turns:
                context = await house.context(execution_id)
                await asyncio.sleep(0)
            assert context == {"flow_execution_id": execution_id, "n": 7}
            assert house.store.read[-1] == 21
            if turns.longest_ms < TURN_S * 1000 * slowness() + 4 * event_ms:
                break
        else:
            pytest.fail(f"a turn takes {turns.longest_ms:.0f} ms")


async def test_calls_of_other_executions_in_the_batch_do_not_wait_for_a_replay() -> None:
    house = House()
    async with house.living():
        slow = await house.submit()
        await house.wake(slow, 5)
        other = await house.submit_in_place_of(slow)
        house.store.is_slow_to_read = slow
        view = Query(execution_id=slow, kind="context")
        batch = asyncio.create_task(house.owner.call_many([view, _wake_up(other)]))
        await house.store.wait_for(other, seq=2)
        assert not batch.done()
        house.store.may_read.set()
        seen, woken = await batch
    assert seen.body is not None
    assert woken.error is None


async def test_calls_of_an_execution_that_is_replayed_keep_their_order() -> None:
    taken: list[list[str]] = []

    async def take(calls: object) -> list[Reply]:
        names = [f"{call.execution_id}{call.kind}" for call in calls]  # type: ignore[attr-defined]
        taken.append(names)
        return [Reply(body=name.encode()) for name in names]

    calls = [
        Query(execution_id=ExecutionId(name), kind=kind)
        for name, kind in ("a1", "x1", "y1", "a2", "x2", "b1")
    ]
    replies = await in_groups(calls, lambda _: {"x", "y"}, take)
    assert taken == [["a1", "a2", "b1"], ["x1", "y1", "x2"]]
    assert [reply.body for reply in replies] == [b"a1", b"x1", b"y1", b"a2", b"x2", b"b1"]


class Pieces:
    """Work of one execution in pieces that take so long by a clock of its own."""

    def __init__(self, piece_s: float) -> None:
        self._now_s = 0.0
        self._piece_s = piece_s
        self.turns = FairTurns(cpu_s=lambda: self._now_s, clock_s=lambda: self._now_s)

    def of(self, name: str, times: int, done: list[str]) -> Iterator[None]:
        for _ in range(times):
            self._now_s += self._piece_s
            done.append(name)
            yield


async def test_work_that_is_spread_takes_turns_with_that_of_other_executions() -> None:
    pieces, done = Pieces(0.03), list[str]()
    await asyncio.gather(
        *(
            pieces.turns.spread(ExecutionId(name), pieces.of(name, 3, done))
            for name in ("one", "other")
        )
    )
    assert done == ["one", "other"] * 3


async def test_short_work_is_done_at_once() -> None:
    pieces, done = Pieces(0.0001), list[str]()
    work = pieces.turns.spread(ExecutionId("one"), pieces.of("one", 100, done))
    with pytest.raises(StopIteration):
        work.send(None)
    assert len(done) == 100


# -- snapshots ------------------------------------------------------------------------


async def test_a_replay_begins_with_a_snapshot_that_is_not_much_older() -> None:
    house = House()
    async with house.living(snapshot_steps=3 * STEPS_OF_EVENT):
        execution_id = await house.submit()
        await house.wake(execution_id, 40)
        stored = await house.store.load(execution_id)
        assert stored is not None
        assert len(stored.records) <= 3
        assert stored.snapshot_seq + len(stored.records) == 41
        shown = await house.context(execution_id)
    async with house.living(snapshot_steps=3 * STEPS_OF_EVENT):
        assert await house.context(execution_id) == shown


async def test_what_was_read_counts_for_the_next_snapshot() -> None:
    house = House()
    async with house.living():
        execution_id = await house.submit()
    for _ in range(8):
        async with house.living(snapshot_steps=3 * STEPS_OF_EVENT):
            await house.wake(execution_id, 1)
    assert max(house.store.read) <= 4


async def test_a_long_journal_without_snapshots_is_replayed_once() -> None:
    house = House()
    async with house.living():
        execution_id = await house.submit()
        await house.wake(execution_id, 10)
    async with house.living(snapshot_steps=3 * STEPS_OF_EVENT):
        shown = await house.context(execution_id)
        await house.store.wait_for(execution_id, seq=12)
    async with house.living(snapshot_steps=3 * STEPS_OF_EVENT):
        assert await house.context(execution_id) == shown
    assert house.store.read == [11, 0]


async def test_a_snapshot_of_an_old_state_does_not_follow_an_event() -> None:
    """The note of a snapshot that an event has overtaken is refused, and nothing is lost."""
    house = House()
    async with house.living():
        execution_id = await house.submit()
        await house.wake(execution_id, 10)
    async with house.living(snapshot_steps=3 * STEPS_OF_EVENT):
        await house.wake(execution_id, 5)
        shown = await house.context(execution_id)
    async with house.living(snapshot_steps=3 * STEPS_OF_EVENT):
        assert await house.context(execution_id) == shown
    stored = await house.store.load(execution_id)
    assert stored is not None
    assert stored.snapshot_seq + len(stored.records) == 16


def _active(times: int) -> tuple[ActiveExecution, list[bytes]]:
    submitted = _submitted("house:work_c_1", PLAN.definition_id)
    state, handled = machine.submit(PLAN, submitted)
    execution = ActiveExecution(PLAN, state)
    records = [encode_event(submitted)]
    execution.note_event(records[0], handled)
    for _ in range(times):
        event = _wake_up(execution.state.execution_id).event
        handled = machine.handle(PLAN, state, event)
        assert handled.steps > STEPS_OF_EVENT
        records.append(encode_event(event))
        execution.note_event(records[-1], handled)
    return execution, records


def _stored(records: list[bytes], snapshot: bytes | None = None, seq: int = 0) -> StoredExecution:
    return StoredExecution(
        execution_id=ExecutionId("house:work_c_1"),
        business="house",
        feature="work",
        listing_partition=0,
        definition_id=PLAN.definition_id,
        submitted_at_ms=1,
        dedicated=False,
        parent_id=None,
        status="RUNNING",
        snapshot=snapshot,
        snapshot_seq=seq,
        records=tuple(records),
    )


def test_a_replay_counts_what_handling_has_counted() -> None:
    execution, records = _active(3)
    assert replay(PLAN, _stored(records)).replay_steps == execution.replay_steps


@pytest.mark.parametrize("has_snapshot", [False, True])
def test_what_is_of_another_execution_is_not_replayed(*, has_snapshot: bool) -> None:
    """It would take the place of that one in memory, and write into its journal."""
    early, records = _active(2)
    stored = _stored(records)
    if has_snapshot:
        stored = _stored([], encode_state(early.state), len(records))
    assert replay(PLAN, stored).state.execution_id == stored.execution_id
    forged = msgspec.structs.replace(stored, execution_id=ExecutionId("house:work_c_2"))
    with pytest.raises(StoreError, match="house:work_c_2: the journal is of another execution"):
        replay(PLAN, forged)


def test_a_replay_from_a_snapshot_counts_what_comes_after_it() -> None:
    early, _ = _active(2)
    whole, records = _active(3)
    snapshot = encode_state(early.state)
    later = replay(PLAN, _stored(records[3:], snapshot, 3))
    assert later.replay_steps == whole.replay_steps - early.replay_steps
    assert later.snapshot_bytes == len(snapshot)
    assert encode_state(later.state) == encode_state(whole.state)


def test_events_and_long_records_count_although_they_evaluate_nothing() -> None:
    execution, _ = _active(0)
    before = execution.replay_steps
    execution.note_event(b"." * 64_000, Handled([]))
    assert execution.replay_steps - before > 1000


def test_a_snapshot_of_a_large_state_is_due_after_more_work() -> None:
    execution, _ = _active(0)
    execution.note_event(b"", Handled([], steps=SNAPSHOT_STEPS))
    assert execution.owes_snapshot(SNAPSHOT_STEPS)
    execution.note_snapshot(b"." * (2 * SNAPSHOT_STEPS * SNAPSHOT_BYTES_PER_STEP))
    assert not execution.owes_snapshot(SNAPSHOT_STEPS)
    execution.note_event(b"", Handled([], steps=SNAPSHOT_STEPS))
    assert not execution.owes_snapshot(SNAPSHOT_STEPS)
    execution.note_event(b"", Handled([], steps=SNAPSHOT_STEPS))
    assert execution.owes_snapshot(SNAPSHOT_STEPS)


def test_a_state_of_many_tasks_has_its_first_snapshot_after_more_work() -> None:
    execution, _ = _active(0)
    some = next(iter(execution.state.tasks.values()))
    execution.state.tasks.update({f"each_{number}-one": some for number in range(10_000)})
    execution.note_event(b"", Handled([], steps=2 * SNAPSHOT_STEPS))
    assert not execution.owes_snapshot(SNAPSHOT_STEPS)
    execution.note_event(b"", Handled([], steps=2 * SNAPSHOT_STEPS))
    assert execution.owes_snapshot(SNAPSHOT_STEPS)
