"""The laws of the activation cache, whatever is called, written, doubted and read, in any order.

* An execution is in memory once at most, and all who have a lease on it have the same object.
* What is leased, or being written, or new, does not leave memory.
* Memory is what the store has, and what is being written on top of it: no update is lost.
* What is doubted is read again, and nobody gets it before; whoever resumes it is told once.
"""

import ast
import asyncio
from collections import Counter
from collections.abc import Container, Coroutine
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import CancelRequested, Event, RedoRequested
from rillflow.core.events import WakeUpReceived as WakeUp
from rillflow.core.plan import Plan
from rillflow.errors import ConflictError, ExecutionError
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.ports.executions import Submission
from rillflow.ports.storage.store import Append, StoredExecution
from rillflow.runtime.activation.active_execution import (
    NEXT,
    ActivationEvent,
    ActiveExecution,
    Stage,
)
from rillflow.runtime.activation.cache import ActivationCache, OpenAppend
from rillflow.runtime.activation.divided_turns import DividedTurns
from rillflow.runtime.activation.eviction_writes import EvictionWrites
from rillflow.runtime.activation.journal import (
    JournalRows,
    OwnerEpoch,
    Progress,
    progress_of,
    row_of,
)
from rillflow.runtime.activation.replay import replay
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.crashes.crash_history import CrashHistory, HandlingRecord
from rillflow.runtime.definitions.catalogue import add_descriptor, parse_stored
from rillflow.stores.memory.store import MemoryStore
from tests.fuzzing import examples
from tests.submissions import submission_event

FLOW: Final = """
workspace: laws
dagName: work
type: flow
tasks:
  - name: wait
    category: suspense
    conditions: ["$.input[?(@.done == 1)]"]
    inputMappings: [{ source: $.context.done, target: $.input.done }]
    outputMappings: [{ source: $.output.n, target: $.context.n }]
"""
IDS: Final = [
    new_execution_id("laws", "work", at_ms=1, entropy=bytes([number] * 10)) for number in range(3)
]
WHICH: Final = st.integers(0, 1 << 20)
MOST_LEASES: Final = 2
KINDS: Final = st.sampled_from(["wake", "wake", "cancel", "redo"])


class GatedStore(MemoryStore):
    """A store whose reads wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[asyncio.Event] = []

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return await super().load(execution_id, most_bytes)

    async def stored(self, execution_id: ExecutionId) -> StoredExecution | None:
        """Read without waiting, as the law does."""
        return await super().load(execution_id)


class Written(NamedTuple):
    """An append that is under way."""

    pending: OpenAppend
    append: Append
    execution: ActiveExecution


class Watching:
    """Hears what the cache tells."""

    def __init__(self) -> None:
        self.told: Counter[ExecutionId] = Counter()

    def resumed(self, execution: ActiveExecution) -> None:
        raise AssertionError(f"{execution.state.execution_id}: nothing was to be resumed")

    def forgotten(self, execution_id: ExecutionId) -> None:
        self.told[execution_id] += 1

    def crashed(self, execution_id: ExecutionId, error: Exception) -> None:
        raise AssertionError(execution_id) from error


class CacheKeepsItsLaws(RuleBasedStateMachine):
    """Calls an activation cache as owners do, in any order, with writes that fail."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = GatedStore()
        self.watching = Watching()
        self.leases: list[ActiveExecution] = []
        self.calls: list[asyncio.Future[None]] = []
        self.written: list[Written] = []
        self.doubted: Counter[ExecutionId] = Counter()
        self.number = 0
        self.do(self._start())

    async def _start(self) -> None:
        await self.store.open()
        found = await add_descriptor(self.store, "laws", "work", "release", FLOW, at_ms=1)
        self.plan = Plan(parse_stored(FLOW), found.version or "")
        ownership = OwnerEpoch(self.store, range(PARTITIONS), None)
        await ownership.take()
        self.rows = JournalRows(ownership, snapshot_steps=300)
        self.eviction_writes = EvictionWrites(self.store, self.rows, self.watching.crashed)
        turns = FairTurns(cpu_s=lambda: 0.0, clock_s=lambda: 0.0)
        crashes = CrashHistory(self.store, HandlingRecord())
        self.cache = ActivationCache(
            self.store,
            ownership,
            most_hot=1,
            hot_bytes=1 << 20,
            watch=self.watching,
            eviction_writes=self.eviction_writes,
            crashes=crashes,
            turns=turns,
            divided=DividedTurns(turns, crashes),
        )

    def do(self, work: Coroutine[Any, Any, object]) -> None:
        self.runner.run(work)

    def teardown(self) -> None:
        async def stop() -> None:
            for call in self.calls:
                call.cancel()
            await self.cache.stop()
            await self.eviction_writes.stop()

        self.do(stop())
        self.runner.close()

    # -- what calls do ----------------------------------------------------------------

    @rule(which=WHICH)
    def submit(self, which: int) -> None:
        self.do(self._submit(IDS[which % len(IDS)]))

    async def _submit(self, execution_id: ExecutionId) -> None:
        if self.cache.find(execution_id) is not None:
            return
        event = submission_event(execution_id, self.plan.definition_id)
        state, handled = machine.submit(self.plan, event)
        execution = ActiveExecution(self.plan, state, Stage.NEW)
        self.cache.admit(execution)
        row = row_of(Submission(business="laws", feature="work", event=event))
        self._write(execution, self.rows.append_of(execution, event, handled, Progress(), row))
        self.cache.release(execution)

    @rule(which=WHICH, kind=KINDS)
    def call(self, which: int, kind: str) -> None:
        """Have a lease, handle an event, and let go while it is being written."""

        async def call() -> None:
            execution = await self._leased(IDS[which % len(IDS)])
            if execution is not None:
                await self._handle(execution, kind)
                self.cache.release(execution)

        self._begin(call())

    @precondition(lambda self: len(self.leases) < MOST_LEASES)
    @rule(which=WHICH)
    def keep_a_lease(self, which: int) -> None:
        async def keep() -> None:
            execution = await self._leased(IDS[which % len(IDS)])
            if execution is not None:
                self.leases.append(execution)

        self._begin(keep())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        async def begin() -> None:
            self.calls.append(asyncio.ensure_future(work))
            await asyncio.sleep(0)

        self.do(begin())

    async def _leased(self, execution_id: ExecutionId) -> ActiveExecution | None:
        execution = self.cache.lease_from_memory(execution_id)
        if execution is None:
            execution = await self.cache.lease(execution_id)
        if execution is None:
            return None
        assert not execution.is_distrusted
        assert execution.stage is not Stage.NEW
        assert self.cache.find(execution_id) is execution
        # What is doubted, and not over, is on no other object.
        for each in self.written:
            if each.execution.state.execution_id == execution_id:
                assert each.execution is execution
        return execution

    @precondition(lambda self: self.leases)
    @rule(which=WHICH, kind=KINDS)
    def handle(self, which: int, kind: str) -> None:
        self.do(self._handle(self.leases[which % len(self.leases)], kind))

    def _event(self, kind: str) -> Event:
        self.number += 1
        data = b'{"n":%d}' % self.number
        match kind:
            case "wake":
                return WakeUp(at_ms=self.number, task="wait", data=data)
            case "redo":
                return RedoRequested(at_ms=self.number)
            case _:
                return CancelRequested(at_ms=self.number)

    async def _handle(self, execution: ActiveExecution, kind: str) -> None:
        if execution.is_distrusted:
            return
        event = self._event(kind)
        before = progress_of(execution)
        try:
            handled = machine.handle(execution.plan, execution.state, event)
        except ExecutionError:
            handled = None
        if handled is None or not handled.changed:
            self._write(execution, self.rows.confirmation_of(execution))
            return
        if before.settled and not execution.settled:
            self.cache.revive(execution)
        self._write(execution, self.rows.append_of(execution, event, handled, before))

    def _write(self, execution: ActiveExecution, append: Append) -> None:
        self.written.append(Written(self.cache.begin_append([execution]), append, execution))

    @precondition(lambda self: self.leases)
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        async def release() -> None:
            self.cache.release(self.leases.pop(which % len(self.leases)))

        self.do(release())

    @precondition(lambda self: self.leases)
    @rule(which=WHICH)
    def handling_fails(self, which: int) -> None:
        async def distrust() -> None:
            execution = self.leases[which % len(self.leases)]
            self._doubt(execution)
            self.cache.distrust(execution)

        self.do(distrust())

    # -- what the store does ----------------------------------------------------------

    @precondition(lambda self: self.written)
    @rule(fate=st.sampled_from(["written", "written", "lost", "unknown"]))
    def finish_oldest_append(self, fate: str) -> None:
        self.do(self._finish(self.written.pop(0), fate))

    async def _finish(self, written: Written, fate: str) -> None:
        is_stored = False
        if fate != "lost":
            try:
                await self.store.append([written.append])
                is_stored = True
            except ConflictError:
                pass  # An append before it was lost.
        is_written = is_stored and fate == "written"
        if not is_written:
            self._doubt(written.execution)
        written.pending.end(is_written=is_written)

    def _doubt(self, execution: ActiveExecution) -> None:
        if not execution.is_distrusted:
            self.doubted[execution.state.execution_id] += 1

    @rule()
    def time_passes(self) -> None:
        self.do(asyncio.sleep(0))

    @rule()
    def reads_arrive(self) -> None:
        async def let_through() -> None:
            for gate in self.store.gates:
                gate.set()
            self.store.gates.clear()
            for _ in range(10):
                await asyncio.sleep(0)

        self.do(let_through())

    # -- the laws ---------------------------------------------------------------------

    @invariant()
    def no_call_fails(self) -> None:
        for call in [each for each in self.calls if each.done()]:
            self.calls.remove(call)
            call.result()

    @invariant()
    def what_is_counted_upon_does_not_leave(self) -> None:
        counted = [*self.leases, *(each.execution for each in self.written)]
        for execution in counted:
            if not execution.is_distrusted:
                assert self.cache.find(execution.state.execution_id) is execution

    @invariant()
    def each_is_there_once(self) -> None:
        hot, ended = self.cache._hot, self.cache._ended
        places: list[Container[ExecutionId]] = [
            hot._unfolded,
            hot._folded,
            ended._unfolded,
            ended._folded,
        ]
        for execution_id in IDS:
            assert sum(execution_id in place for place in places) <= 1
            in_ended = execution_id in ended
            execution = self.cache.find(execution_id)
            if execution is not None and not execution.is_distrusted:
                assert (execution.stage is Stage.SETTLED) is in_ended

    @invariant()
    def memory_is_the_store_and_what_is_being_written(self) -> None:
        self.do(self._compare())

    async def _compare(self) -> None:
        for execution_id in IDS:
            execution = self.cache.find(execution_id)
            if execution is None or execution.is_distrusted:
                continue
            under_way = [each.append for each in self.written if each.execution is execution]
            stored = await self.store.stored(execution_id)
            records = [record for append in under_way for record in append.records]
            if execution.stage is Stage.NEW:
                continue
            assert stored is not None
            state = replay(self.plan, stored).state
            for record in records:
                machine.handle(self.plan, state, codec.decode_event(record))
            assert codec.encode_state(state) == codec.encode_state(execution.state)

    @invariant()
    def what_was_doubted_is_told_once(self) -> None:
        waiting = {each.execution.state.execution_id for each in self.written}
        for execution_id in IDS:
            told, doubted = self.watching.told[execution_id], self.doubted[execution_id]
            assert told <= doubted
            if execution_id not in waiting:
                assert told == doubted

    @invariant()
    def nobody_is_told_twice_what_is_not_there(self) -> None:
        assert not self.cache.unresumed


CacheKeepsItsLaws.TestCase.settings = settings(
    max_examples=examples(80),
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestTheCacheKeepsItsLaws = CacheKeepsItsLaws.TestCase


@pytest.mark.parametrize("happened", ActivationEvent)
@pytest.mark.parametrize("stage", Stage)
def test_an_activation_goes_through_the_stages_of_the_table_and_no_other(
    stage: Stage, happened: ActivationEvent
) -> None:
    plan = Plan(parse_stored(FLOW), "definition")
    event = submission_event(IDS[0], "definition")
    execution = ActiveExecution(plan, machine.submit(plan, event)[0], stage)
    following = NEXT.get((stage, happened))
    if following is None:
        with pytest.raises(RuntimeError, match=stage.name):
            execution.move(happened)
    else:
        execution.move(happened)
    assert execution.stage is (following or stage)


def test_only_an_execution_that_nobody_counts_on_may_leave() -> None:
    leaving = {stage for stage, happened in NEXT if happened is ActivationEvent.LEFT}
    assert leaving == {Stage.ACTIVE, Stage.SETTLED}


ACTIVATION: Final = Path("rillflow/runtime/activation")
OF_THE_CACHE: Final = {"cache.py", "hot_executions.py", "kept_executions.py", "loading.py"}
LIFE: Final = {"move", "distrust", "count"} | {
    f"{begin_or_end}_{what}" for begin_or_end in ("begin", "end") for what in ("lease", "append")
}


def test_the_fields_of_an_execution_in_memory_are_written_by_its_own_methods() -> None:
    written = [
        f"{path}:{node.lineno} {target.attr}"
        for path in Path("rillflow").rglob("*.py")
        if path.name != "active_execution.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign)
        for target in ast.walk(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        if isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id in {"execution", "active", "each"}
        and target.attr in ActiveExecution.__slots__
    ]
    assert written == []


def test_only_the_cache_leads_an_execution_through_its_life() -> None:
    callers = {
        path.name
        for path in ACTIVATION.parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LIFE
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "execution"
    }
    assert callers == OF_THE_CACHE
