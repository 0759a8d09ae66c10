"""An event that takes long is interrupted: others are handled meanwhile, and nobody sees its half.

Here every look at the clock takes longer than a turn of the loop may, so an event is interrupted
after each portion of its steps, and every piece of it is a turn of the loop of its own.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.core.events import WakeUpReceived
from rillflow.errors import StoreError
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.jsontypes import decode_json, encode_json
from rillflow.language.budget import TotalBudget
from rillflow.ports.executions import Call, Delivery, Query, Reply, Submission
from rillflow.ports.gateway import DispatchRequest
from rillflow.ports.storage.store import Append, Death
from rillflow.runtime.activation.divided_turns import (
    LIGHT_BYTES,
    DividedTurns,
    UnfinishedTurn,
)
from rillflow.runtime.activation.journal import SNAPSHOT_STEPS
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.aio.resumable import Interrupted
from rillflow.runtime.crashes.crash_history import REPLAY, CrashHistory, HandlingRecord
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.hooks.chain import HookChain
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.machine_speed import tries
from tests.own_executions import OwnExecutions
from tests.submissions import submission_event
from tests.turns import LONGEST_MS, measured_turns

LOOPS: Final = 20_000
"""Some tens of portions."""
LOOK_S: Final = 0.05
WAITS: Final = f"""
workspace: {{}}
dagName: work
type: flow
tasks:
  - name: wait
    category: suspense
    conditions: ["$.input[?(@.done == 1)]"]
    outputMappings:
      - source: $.output.n
        target: $.context.n
        transform: "let i = 0; while i < {LOOPS} {{{{ i = i + 1; }}}} source"
      - source: $.output.n
        target: $.context.m
"""
PASSES: Final = """
workspace: {}
dagName: work
type: flow
tasks: [{{name: only, category: pass}}]
"""
LOOPS_AT_ONCE: Final = f"""
workspace: {{}}
dagName: work
type: flow
tasks:
  - name: only
    category: pass
    inputMappings:
      - transform: "let i = 0; while i < {LOOPS} {{{{ i = i + 1; }}}} i"
        target: $.input.n
"""


CALLS: Final = (
    WAITS
    + """
  - name: first
    category: suspense
    inputMappings: [{{source: $.context.go, target: $.input.go}}]
    outputMappings: [{{source: $.output.n, target: $.context.go}}]
    conditions: ["$.input[?(@.go == 7)]"]
    next: call
  - name: call
    category: function
    pattern: task_async
    resourceName: http://127.0.0.1:9/function/f
"""
)


GROUPS: Final = """
workspace: {}
dagName: work
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{{source: $.context.l, target: $.input.l}}]
    iterationMapping: {{collection: $.input.l, item: x}}
    tasks: [{{name: s, category: suspense, conditions: ["$.input.[?(@.never == 1)]"]}}]
"""


class GatedStore(MemoryStore):
    """A store whose next appends wait, or fail, until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.held: asyncio.Event | None = None
        self.fails = False
        self.is_held = asyncio.Event()
        self.tried = 0

    async def append(self, appends: Sequence[Append]) -> None:
        held, self.held = self.held, None
        self.tried += any(each.records for each in appends)
        if held is not None:
            self.is_held.set()
            await held.wait()
            if self.fails:
                self.fails = False
                raise StoreError("no")
        await super().append(appends)


class House(OwnExecutions):
    """One owner of the executions of several workspaces."""

    def __init__(self, *, look_s: float = LOOK_S) -> None:
        self.store = GatedStore()
        self.owner: ExecutionOwner
        self.looked = self.sent_at = 0
        self.sent = asyncio.Event()
        self._look_s = look_s
        self._versions: dict[str, str] = {}

    @asynccontextmanager
    async def living(
        self,
        snapshot_steps: int = SNAPSHOT_STEPS,
        guards: HookChain | None = None,
        most_hot: int = 100,
        *,
        recovers: bool = True,
        **flows: str,
    ) -> AsyncIterator["House"]:
        await self.store.open()
        for workspace, flow in flows.items():
            text = flow.format(workspace)
            found = await add_descriptor(self.store, workspace, "work", "release", text, at_ms=1)
            self._versions[workspace] = found.version or ""
        self.owner = ExecutionOwner(
            store=self.store,
            clock=SystemClock(),
            dispatcher=self,
            executions=self,
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
            limits=OwnerLimits(most_hot=most_hot, snapshot_steps=snapshot_steps),
            turns=FairTurns(cpu_s=self._now_s, clock_s=self._now_s) if self._look_s else None,
            guards=guards,
        )
        await self.owner.start()
        if recovers:
            await self.owner.recovered()
        yield self
        await self.owner.stop()

    def submission(self, workspace: str, number: int = 0, data: bytes = b"{}") -> Submission:
        entropy = os.urandom(10) if not number else number.to_bytes(10, "big")
        execution_id = new_execution_id(workspace, "work", at_ms=1, entropy=entropy)
        event = submission_event(
            execution_id, self._versions[workspace], data=data, turn_max_steps=2_000_000
        )
        return Submission(business=workspace, feature="work", event=event)

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        assert len(requests) == 1
        self.sent_at = self.looked
        self.sent.set()

    def _now_s(self) -> float:
        self.looked += 1
        return self.looked * self._look_s

    async def submit(self, workspace: str) -> ExecutionId:
        submission = self.submission(workspace)
        (await self.call(submission)).raise_for_error()
        return submission.execution_id

    async def context(self, execution_id: ExecutionId) -> dict[str, Any]:
        reply = await self.call(Query(execution_id=execution_id, kind="context"))
        shown: Any = decode_json(reply.body or b"null")
        return {key: shown[key] for key in shown if key in {"n", "m"}}


def wake_up(execution_id: ExecutionId, n: int = 7, task: str = "wait") -> Delivery:
    event = WakeUpReceived(at_ms=2, task=task, data=b'{"n":%d}' % n)
    return Delivery(execution_id=execution_id, event=event)


class Begun:
    """Calls that were made at once, and the order in which they were answered."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._tasks: list[asyncio.Task[Reply]] = []
        self.answered: list[str] = []

    def begin(self, name: str, call: Call) -> None:
        task = asyncio.create_task(self._house.call(call))
        task.add_done_callback(lambda _: self.answered.append(name))
        self._tasks.append(task)

    async def replies(self) -> list[Reply]:
        return await asyncio.gather(*self._tasks)


async def test_events_of_other_workspaces_are_handled_meanwhile() -> None:
    house = House()
    async with house.living(long=LOOPS_AT_ONCE, small=PASSES):
        begun = Begun(house)
        begun.begin("long", house.submission("long"))
        for number in range(3):
            begun.begin(f"small {number}", house.submission("small"))
        assert not any(reply.error for reply in await begun.replies())
    assert begun.answered == ["small 0", "small 1", "small 2", "long"]


async def test_those_of_its_own_workspace_are_handled_afterwards() -> None:
    house = House()
    async with house.living(long=WAITS, small=PASSES):
        first, second = await house.submit("long"), await house.submit("long")
        begun = Begun(house)
        begun.begin("first", wake_up(first, 1))
        begun.begin("second", wake_up(second, 2))
        begun.begin("third", wake_up(first, 3))
        begun.begin("small", house.submission("small"))
        assert not any(reply.error for reply in await begun.replies())
        assert await house.context(first) == {"n": 3, "m": 3}
        assert await house.context(second) == {"n": 2, "m": 2}
    assert begun.answered == ["small", "first", "second", "third"]


async def test_who_reads_the_execution_sees_it_as_it_is_after_the_event() -> None:
    house = House()
    async with house.living(long=WAITS):
        first, second = await house.submit("long"), await house.submit("long")
        begun = Begun(house)
        begun.begin("event", wake_up(first))
        await asyncio.sleep(0)
        begun.begin("read it", Query(execution_id=first, kind="context"))
        begun.begin("read another", Query(execution_id=second, kind="context"))
        _, reply, _ = await begun.replies()
        assert b'"m":7' in (reply.body or b"")
    assert begun.answered == ["read another", "event", "read it"]


async def test_a_submission_that_is_repeated_meanwhile_makes_no_second_execution() -> None:
    house = House()
    async with house.living(long=LOOPS_AT_ONCE):
        submission = house.submission("long", number=1)
        begun = Begun(house)
        begun.begin("first", submission)
        await asyncio.sleep(0)
        begun.begin("again", submission)
        first, again = await begun.replies()
        assert (first.error, again.error) == (None, None)
        assert (first.changed, again.changed) == (True, False)
        stored = await house.store.load(submission.execution_id)
        assert stored is not None
        assert len(stored.records) <= 1


async def test_it_is_handled_again_if_an_earlier_event_could_not_be_written_meanwhile() -> None:
    house = House()
    async with house.living(long=WAITS):
        execution_id = await house.submit("long")
        house.store.held, house.store.fails = asyncio.Event(), True
        held, begun = house.store.held, Begun(house)
        begun.begin("first", wake_up(execution_id, 1))
        await house.store.is_held.wait()
        begun.begin("second", wake_up(execution_id, 2))
        for _ in range(8):
            await asyncio.sleep(0)
        held.set()
        first, second = await begun.replies()
        assert (first.error, second.error) == ("no", None)
        assert house.store.tried == 3, "the second was handled on what the first has left"
        assert await house.context(execution_id) == {"n": 2, "m": 2}
        stored = await house.store.load(execution_id)
        assert stored is not None
        assert len(stored.records) == 2


async def test_reading_its_journal_is_interrupted_as_well() -> None:
    house = House()
    async with house.living(long=WAITS, small=PASSES):
        ids = [await house.submit("long") for _ in range(2)]
        for execution_id in ids:
            (await house.call(wake_up(execution_id, 5))).raise_for_error()
    async with house.living(most_hot=1, long=WAITS, small=PASSES):
        begun = Begun(house)
        begun.begin("read", Query(execution_id=min(ids), kind="context"))
        begun.begin("small", house.submission("small"))
        await begun.replies()
        for execution_id in ids:
            assert await house.context(execution_id) == {"n": 5, "m": 5}
    assert begun.answered == ["small", "read"]


async def test_a_death_while_it_was_read_counts_until_all_of_it_was_read() -> None:
    house = House()
    async with house.living(long=WAITS):
        ids = [await house.submit("long") for _ in range(2)]
        for execution_id in ids:
            for n in range(2):
                (await house.call(wake_up(execution_id, n))).raise_for_error()
    await house.store.note_death(Death(execution_id=min(ids), life="one", step=REPLAY, at_ms=1))
    async with house.living(most_hot=1, recovers=False, long=WAITS):
        suspects, counted = house.owner._crashes.suspects, list[bool]()
        assert min(ids) in suspects
        reading = asyncio.create_task(house.context(min(ids)))
        while not reading.done():
            await asyncio.sleep(0)
            counted.append(min(ids) in suspects)
    assert sum(counted) > 0.9 * len(counted) > 20
    assert not counted[-1]


async def test_an_event_is_never_interrupted_where_there_are_hooks() -> None:
    house, under_way, others = House(), list[str](), list[str]()

    def notes(_moment: object, execution_id: str, _task: str, proceed: Any) -> None:
        others.extend(each for each in under_way if each != execution_id)
        under_way.append(execution_id)
        proceed()
        under_way.pop()

    async with house.living(guards=HookChain([notes]), long=WAITS, small=WAITS):
        ids = {workspace: await house.submit(workspace) for workspace in ("long", "small")}
        begun = Begun(house)
        for workspace, execution_id in ids.items():
            begun.begin(workspace, wake_up(execution_id))
        assert not any(reply.error for reply in await begun.replies())
    assert (begun.answered, others) == (["long", "small"], [])


async def test_whoever_asks_for_several_executions_waits_for_it() -> None:
    house = House()
    async with house.living(long=WAITS):
        execution_id = await house.submit("long")
        begun = Begun(house)
        begun.begin("event", wake_up(execution_id))
        for _ in range(8):
            await asyncio.sleep(0)
        before = house.looked
        calls: list[CallId] = [(execution_id, "wait", 1, 0)]
        assert await house.owner.ended_calls(calls) == []
        assert house.looked > before + 20
        await begun.replies()


async def test_commands_of_an_earlier_event_are_carried_out_when_it_is_over() -> None:
    house = House()
    async with house.living(long=CALLS):
        execution_id = await house.submit("long")
        house.store.held = held = asyncio.Event()
        begun = Begun(house)
        begun.begin("calls", wake_up(execution_id, task="first"))
        await house.store.is_held.wait()
        begun.begin("event", wake_up(execution_id))
        for _ in range(8):
            await asyncio.sleep(0)
        held.set()
        assert not any(reply.error for reply in await begun.replies())
        async with asyncio.timeout(60):
            await house.sent.wait()
        assert house.sent_at >= house.looked - 10


@pytest.mark.parametrize(
    ("flow", "data"),
    [
        (LOOPS_AT_ONCE.replace(str(LOOPS), "10000000"), {}),
        (GROUPS, {"l": list(range(19_000))}),
    ],
    ids=["loops", "groups"],
)
async def test_one_at_its_limit_holds_the_loop_for_no_longer_than_a_short_one(
    flow: str, data: dict[str, Any]
) -> None:
    for _ in tries():
        house = House(look_s=0.0)
        async with house.living(long=flow, small=PASSES):
            await house.submit("small")
            submission = house.submission("long", data=encode_json(data))
            with measured_turns() as turns:
                (await house.call(submission)).raise_for_error()
        if turns.longest_ms < LONGEST_MS:
            break
    else:
        pytest.fail(f"a turn takes {turns.longest_ms:.0f} ms")


# -- those that make much ---------------------------------------------------------------


class Parts:
    """Turns of several workspaces, each in so many parts, after the first of which it made this."""

    def __init__(self, path: Path | None = None) -> None:
        looks = count()
        turns = FairTurns(cpu_s=lambda: 0.0, clock_s=lambda: next(looks) * LOOK_S)
        self.record = HandlingRecord(path)
        self.record.open()
        crashes = CrashHistory(MemoryStore(), self.record)
        self.divided = DividedTurns(turns, crashes)
        self.seen: list[str] = []

    async def finish(self, name: str, parts: int, made_bytes: int) -> None:
        execution_id = new_execution_id(name, "work", at_ms=1, entropy=os.urandom(10))
        budget = TotalBudget()

        def take(_: None, __: Call) -> None:
            for _part in range(parts):
                self.seen.append(name)
                budget.make(made_bytes // parts)
                self.divided.work.checkpoint(budget)

        begun = self.divided.begin(take, None, wake_up(execution_id))
        assert isinstance(begun, UnfinishedTurn)
        await asyncio.sleep(0)
        await self.divided.finish(begun, "step")
        self.divided.end(execution_id)


async def test_those_that_make_little_are_under_way_side_by_side() -> None:
    parts = Parts()
    await asyncio.gather(*(parts.finish(name, 4, 1000) for name in ("a", "b")))
    assert "".join(parts.seen[2:]) not in {"aaabbb", "bbbaaa"}


async def test_those_that_make_much_are_finished_one_after_the_other() -> None:
    parts = Parts()
    await asyncio.gather(*(parts.finish(name, 4, 4 * LIGHT_BYTES) for name in ("a", "b", "c")))
    seen = "".join(parts.seen)
    assert (seen[:3], {seen[3:6], seen[6:9], seen[9:]}) == ("abc", {"aaa", "bbb", "ccc"})


async def test_the_record_of_what_is_handled_names_it_while_it_is_computed(tmp_path: Path) -> None:
    path = tmp_path / "owner"
    parts = Parts(path)
    handled: list[list[str]] = []

    def compute() -> None:
        for _ in range(3):
            handled.append([each.step for each in HandlingRecord(path).left])
            parts.divided.work.checkpoint(None)

    execution_id = new_execution_id("a", "work", at_ms=1, entropy=bytes(10))
    begun = parts.divided.work.run(compute)
    assert isinstance(begun, Interrupted)
    await parts.divided.finish_alone(execution_id, "step", begun)
    assert handled == [[], ["step"], ["step"]]
    assert HandlingRecord(path).left == ()
