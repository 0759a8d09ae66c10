"""What fails unexpectedly concerns one execution: its neighbours go on, and so does the loop.

One that keeps crashing is left alone, and says so, until somebody sees to it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from msgspec.structs import replace

from rillflow.core.events import CancelRequested, Event, RedoRequested
from rillflow.errors import CrashedError, DamagedError, StoreError
from rillflow.ids import PARTITIONS, ExecutionId
from rillflow.ports.executions import (
    Call,
    Delivery,
    Query,
    Reply,
    ResourceCall,
    Submission,
)
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import Append, StoredExecution
from rillflow.runtime.crashes.quarantine import Quarantine
from rillflow.runtime.crashes.quarantine_list import quarantined
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.dispatch.pool import DispatchPool
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.log_lines import LineFormatter
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters

POOR: Final = "poor"
RICH: Final = "rich"
SECRET: Final = "the value of a secret"
LONG_S: Final = 20
FLOW: Final = """
workspace: isolation
dagName: NAME
type: flow
callback: { resourceName: "http://127.0.0.1:1/told" }
tasks:
  - name: work
    category: function
    pattern: task_sync
    resourceName: http://127.0.0.1:1/work
    retry: { maxRetryTimes: 1, intervalInSeconds: INTERVAL }
    next: below
  - name: below
    category: function
    pattern: flow_sync
    resourceName: rillflow://isolation:NAMEbelow
"""
BELOW: Final = """
workspace: isolation
dagName: NAMEbelow
type: flow
tasks:
  - { name: leaf, category: function, pattern: task_sync, resourceName: "http://127.0.0.1:1/leaf" }
"""


class Trap:
    """Raises for executions of the poor, as often as it is set."""

    def __init__(self) -> None:
        self.springs = 0
        self.sprung = 0

    def step(self, execution_id: ExecutionId) -> None:
        if self.springs and f":{POOR}_c_" in execution_id:
            self.springs -= 1
            self.sprung += 1
            raise ZeroDivisionError(SECRET)


class TrappedStore(MemoryStore):
    """A store in which appending, or reading, may meet the trap."""

    def __init__(self) -> None:
        super().__init__()
        self.appending = Trap()
        self.reading = Trap()

    async def append(self, appends: Sequence[Append]) -> None:
        for append in appends:
            self.appending.step(append.execution_id)
        await super().append(appends)

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        self.reading.step(execution_id)
        return await super().load(execution_id, most_bytes)


class WatchedQuarantine(Quarantine):
    """A quarantine with short pauses that says when an execution is in it."""

    def __init__(self) -> None:
        super().__init__(SystemClock(), first_pause_s=0.001)
        self.filled = asyncio.Event()

    def crashed(self, execution_id: ExecutionId, error: Exception) -> float | None:
        pause_s = super().crashed(execution_id, error)
        if self.shown(execution_id) is not None:
            self.filled.set()
        return pause_s


class House:
    """A host and a dispatcher in one process; first calls of ``work`` fail, others do well."""

    def __init__(self, store: "TrappedStore") -> None:
        clock = SystemClock()
        self.store = store
        self.quarantine, self.meters = WatchedQuarantine(), Meters("owner")
        self.sending, self.calling, self.handling = Trap(), Trap(), Trap()
        self.learning, self.carrying, self.firing = Trap(), Trap(), Trap()
        self.host = ExecutionOwner(
            store=store,
            clock=clock,
            dispatcher=self,
            executions=self,
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
            quarantine=self.quarantine,
            meters=self.meters,
        )
        self._pool = DispatchPool(self, self.host.answers_arrived)
        self._submissions = Submissions(Settings(), store=store, executions=self, clock=clock)
        self._set_traps()

    def _set_traps(self) -> None:
        host: Any = self.host
        host._calls._handle = _before(
            host._calls._handle, lambda *of: self.handling.step(of[1].execution_id)
        )
        commands, outbound = host._commands, host._commands.outbound
        outbound.learn = _before(
            outbound.learn, lambda answer: self.learning.step(answer.execution_id)
        )
        commands._begin = _before(commands._begin, lambda *of: self.carrying.step(of[0]))
        fire = host._timers._fire

        async def fire_timers(timers: list[Any]) -> None:
            for timer in timers:
                self.firing.step(timer.execution_id)
            await fire(timers)

        host._timers._fire = fire_timers

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        for request in requests:
            self.sending.step(request.execution_id)
        self._pool.send(requests)

    async def call(self, call: Call | DispatchRequest) -> Any:
        """Make a call to an execution, or to a function."""
        if isinstance(call, DispatchRequest):
            return _answer(call)
        if isinstance(call, Submission) and call.event.parent is not None:
            self.calling.step(call.event.parent.execution_id)
        [reply] = await self.host.call_many([call])
        return reply

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        return [await self.call(call)]

    async def close(self) -> None:
        await self.host.stop()

    async def submit(self, name: str, *, interval_s: int = 0) -> ExecutionId:
        for text in (BELOW, FLOW):
            workflow = f"{name}below" if text is BELOW else name
            filled = text.replace("NAME", name).replace("INTERVAL", str(interval_s))
            await add_descriptor(self.store, "isolation", workflow, "release", filled, at_ms=1)
        return await self._submissions.submit(f"isolation:{name}", b"", Options())

    async def shown(self, execution_id: ExecutionId) -> dict[str, Any]:
        reply = await self.call(Query(execution_id=execution_id, kind="brief"))
        shown: dict[str, Any] = json.loads(reply.raise_for_error().body or b"{}")
        return shown

    async def ends(self, execution_id: ExecutionId) -> str:
        """Return the status of an execution once it has settled."""
        async with asyncio.timeout(LONG_S):
            await self.host.settled(execution_id)
        return str((await self.shown(execution_id))["dag_status"])

    async def quarantined(self, execution_id: ExecutionId) -> str:
        """Wait until an execution is in quarantine, and return what is said of it."""
        await asyncio.wait_for(self.quarantine.filled.wait(), LONG_S)
        return self.quarantine.shown(execution_id) or ""

    async def deliver(self, execution_id: ExecutionId, event: Event) -> Reply:
        reply: Reply = await self.call(Delivery(execution_id=execution_id, event=event))
        return reply


def _before(then: Callable[..., Any], first: Callable[..., None]) -> Callable[..., Any]:
    def both(*args: Any, **named: Any) -> Any:
        first(*args)
        return then(*args, **named)

    return both


def _answer(request: DispatchRequest) -> DispatchAnswer:
    fails = request.task == "work" and request.attempt == 1
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=b"{}",
        error="not yet" if fails else None,
    )


@asynccontextmanager
async def house(store: TrappedStore | None = None) -> AsyncIterator[House]:
    store = store or TrappedStore()
    await store.open()
    built = House(store)
    await built.host.start()
    try:
        yield built
    finally:
        await built.host.stop()
        await built._pool.close()


PLACES: Final[dict[str, Callable[[House], Trap]]] = {
    "an event is handled": lambda built: built.handling,
    "it is written": lambda built: built.store.appending,
    "a command is carried out": lambda built: built.carrying,
    "its dispatch is sent": lambda built: built.sending,
    "a sub-flow is started": lambda built: built.calling,
    "an answer is looked into": lambda built: built.learning,
    "a timer fires": lambda built: built.firing,
}
RETRIED: Final = [place for place in PLACES if place != "an answer is looked into"]


async def both(built: House, place: str, *, springs: int) -> tuple[ExecutionId, ExecutionId]:
    """Submit one execution of the poor and one of the rich; the trap is set for what follows."""
    trap, is_written = PLACES[place](built), place == "it is written"
    trap.springs = 0 if is_written else springs
    interval_s = 1 if place == "a timer fires" else 0
    submitted = (built.submit(name, interval_s=interval_s) for name in (POOR, RICH))
    poor, rich = await asyncio.gather(*submitted)
    trap.springs = springs if is_written else trap.springs
    return poor, rich


@pytest.mark.parametrize("place", PLACES)
async def test_one_crash_delays_one_execution_and_no_other(place: str) -> None:
    async with house() as built:
        trap = PLACES[place](built)
        poor, rich = await both(built, place, springs=1)
        assert await built.ends(rich) == "SUCCEED"
        assert await built.ends(poor) == "SUCCEED"
        assert trap.sprung == 1


@pytest.mark.parametrize("place", RETRIED)
async def test_an_execution_that_keeps_crashing_is_left_alone_and_says_so(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = TrappedStore()
    async with house(store) as built:
        trap = PLACES[place](built)
        poor, rich = await both(built, place, springs=1000)
        assert await built.ends(rich) == "SUCCEED"
        reason = await built.quarantined(poor)
        assert reason.startswith("handling it crashed 5 times, last with ZeroDivisionError;")
        shown = await built.shown(poor)
        assert (shown["dag_status"], shown["quarantine"]) == ("RUNNING", reason)
        assert await quarantined(store, built) == {poor: reason}
        trap.springs = 0
        assert "quarantine" not in await built.shown(rich)
    [(labels, failures)] = built.meters.counter(metrics.ERRORS).values.items()
    assert labels == (f"isolation:{POOR}", "server", "ZeroDivisionError")
    assert failures >= 5
    logged = [r for r in caplog.records if r.name == "rillflow.crashes"]
    assert [r.getMessage() for r in logged] == ["execution_crashed"] * 4 + ["execution_quarantined"]
    assert {getattr(record, "execution_id", None) for record in logged} == {poor}
    assert "test_isolation.py" in getattr(logged[0], "where", "")
    lines = LineFormatter()
    assert all(SECRET not in lines.format(record) for record in caplog.records)


@pytest.mark.parametrize("place", RETRIED)
@pytest.mark.parametrize(
    ("event", "end"), [(RedoRequested, "SUCCEED"), (CancelRequested, "FAILED"), (None, "SUCCEED")]
)
async def test_an_execution_in_quarantine_goes_on_when_somebody_sees_to_it(
    place: str, event: type[RedoRequested | CancelRequested] | None, end: str
) -> None:
    store = TrappedStore()
    async with house(store) as built:
        trap = PLACES[place](built)
        poor, _ = await both(built, place, springs=1000)
        await built.quarantined(poor)
        trap.springs = 0
        if event is not None:
            assert (await built.deliver(poor, event(at_ms=2))).error is None
            assert await built.ends(poor) == end
            assert "quarantine" not in await built.shown(poor)
            return
    async with house(store) as later:
        assert await later.ends(poor) == end


# -- what is stored cannot be read -----------------------------------------------------


class DamagedStore(TrappedStore):
    """A store whose records of the poor are damaged, or miss a part, while it says so."""

    def __init__(self, *, has_hole: bool) -> None:
        super().__init__()
        self.damaged = False
        self._has_hole = has_hole

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        stored = await super().load(execution_id, most_bytes)
        if stored is None or not self.damaged or f":{POOR}_c_" not in execution_id:
            return stored
        if self._has_hole:
            raise DamagedError("a large value is missing")
        return replace(stored, snapshot=None, records=(b"\x01\xc1",))


@pytest.mark.parametrize(
    ("has_hole", "reason"),
    [
        (False, "cannot be read: a journal record cannot be read: .*:"),
        (True, "cannot be read: a large value is missing:"),
    ],
)
async def test_a_journal_that_cannot_be_replayed_stops_no_recovery_and_says_so(
    *, has_hole: bool, reason: str
) -> None:
    store = DamagedStore(has_hole=has_hole)
    async with house(store) as built:
        built.sending.springs = 1000
        poor = await built.submit(POOR)
        others = [await built.submit(RICH) for _ in range(3)]
    store.damaged = True
    async with house(store) as later:
        for rich in others:
            assert await later.ends(rich) == "SUCCEED"
        await later.quarantined(poor)
        with pytest.raises(CrashedError, match=f"{reason} handling it crashed 5 times"):
            await later.shown(poor)
        store.damaged = False
        await later.deliver(poor, RedoRequested(at_ms=2))
        assert await later.ends(poor) == "SUCCEED"


class RefusingStore(TrappedStore):
    """A store that cannot read the poor now, while it says so, for whatever reason."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = False
        self.read: asyncio.Queue[ExecutionId] = asyncio.Queue()

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        if self.refuses and f":{POOR}_c_" in execution_id:
            raise StoreError("not now")
        if self.refuses:
            self.read.put_nowait(execution_id)
        return await super().load(execution_id, most_bytes)


async def test_recovery_passes_over_what_cannot_be_read_now_and_comes_back_to_it() -> None:
    store = RefusingStore()
    async with house(store) as built:
        poor = [await built.submit(POOR, interval_s=1) for _ in range(2)]
        rich = [await built.submit(RICH, interval_s=1) for _ in range(3)]
        assert sorted(poor + rich)[:2] == sorted(poor)
    store.refuses = True
    async with house(store) as later:
        unresumed = later.host._activations.unresumed
        assert unresumed == {*poor, *rich}
        async with asyncio.timeout(LONG_S):
            assert {await store.read.get() for _ in rich} == set(rich)
            assert unresumed >= set(poor)
            store.refuses = False
            await later.host.recovered()
        assert not unresumed
        assert [await later.ends(each) for each in (*poor, *rich)] == ["SUCCEED"] * 5
