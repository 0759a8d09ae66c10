"""An execution that brings down its owner's process is set apart after the second death.

A death is played: at the fatal moment the record of what is handled is copied, as the next life
of a killed process finds it, and everything else of that life is given up.
"""

import asyncio
import json
import shutil
from collections import UserList
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest
from msgspec.structs import replace

from rillflow.core.events import (
    CallbackReceived,
    CancelRequested,
    DispatchAnswered,
    Event,
    RedoRequested,
    WakeUpReceived,
)
from rillflow.errors import CrashedError, LargeExecutionError
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.ports.executions import (
    ELSEWHERE,
    Call,
    Delivery,
    Query,
    Reply,
    ResourceCall,
    Submission,
    Watch,
)
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.cache import LARGE_BYTES
from rillflow.runtime.crashes.crash_history import HandlingRecord
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.hooks.chain import Action, HookChain, Moment
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS
from tests.submissions import submission_event

LONG_S: Final = 20
POOR: Final = 1
RICH: Final = 2
FLOW: Final = """
workspace: deaths
dagName: order
type: flow
tasks:
  - { name: one, category: function, pattern: task_sync, resourceName: "http://127.0.0.1:1/one" }
  - { name: two, category: function, pattern: task_async, resourceName: "http://127.0.0.1:1/two" }
"""
HANDLE: Final = Moment.TRAVERSAL
CALL: Final = Moment.RUN

Fatal = Callable[[Moment, ExecutionId, str], bool]


class Killed(BaseException):
    """Stands for the end of the process."""


class FatalRecords(UserList[bytes]):
    """Journal records that kill whoever replays them."""

    def __init__(self, records: Sequence[bytes], kill: Callable[[], None]) -> None:
        super().__init__(records)
        self._kill = kill

    def __iter__(self) -> Iterator[bytes]:
        self._kill()
        return super().__iter__()


class FatalSnapshot(bytes):
    """A large snapshot that kills whoever decodes it."""

    kill: Callable[[], None]

    def __getitem__(self, place: Any) -> Any:
        self.kill()
        return super().__getitem__(place)


class SharedStore(MemoryStore):
    """A store whose reading may be fatal; it counts how often the poor one was read."""

    def __init__(self) -> None:
        super().__init__()
        self.kill: Callable[[], None] | None = None
        self.large = ""
        self.read = 0

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        stored = await super().load(execution_id, most_bytes)
        if stored is None or execution_id != id_of(POOR):
            return stored
        self.read += 1
        if self.large and most_bytes is not None:
            raise LargeExecutionError(f"{execution_id} is large")
        if self.kill is None:
            return stored
        if self.large == "read":
            self.kill()
        if self.large == "decoded":
            stored = replace(stored, snapshot=FatalSnapshot(bytes(LARGE_BYTES + 1)))
            cast("Any", stored.snapshot).kill = self.kill
            return stored
        return replace(stored, records=cast("Any", FatalRecords(stored.records, self.kill)))


class Owner:
    """One life of an owner of executions, until it is killed."""

    def __init__(self, lives: "Lives", fatal: Fatal, dedicated: ExecutionId | None) -> None:
        self._lives = lives
        self._fatal = fatal
        self.sent: list[DispatchRequest] = []
        self._is_killed = False
        self.host = ExecutionOwner(
            store=lives.store,
            clock=SystemClock(),
            dispatcher=self,
            executions=self,
            callback_host="http://here",
            partitions=() if dedicated else range(PARTITIONS),
            dedicated=dedicated,
            guards=HookChain([self._hook]),
            record=HandlingRecord(lives.path),
        )

    def _hook(self, moment: Moment, execution_id: str, task: str, proceed: Action) -> None:
        if self._fatal(moment, execution_id, task):
            self.kill()
        proceed()

    def kill(self) -> None:
        """End this life now."""
        shutil.copy(self._lives.path, self._lives.found)
        self._is_killed = True
        raise Killed

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        self.sent += requests

    async def call(self, call: Call) -> Reply:
        [reply] = await self.host.call_many([call])
        await asyncio.sleep(0)  # Commands are carried out after the answer.
        if self._is_killed:
            raise Killed
        return reply

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        return [await self.call(call)]

    async def deliver(self, number: int, event: Event) -> Reply:
        return await self.call(Delivery(execution_id=id_of(number), event=event))

    async def shown(self, number: int, kind: str = "execution") -> dict[str, Any]:
        reply = await self.call(Query(execution_id=id_of(number), kind=kind))
        shown: dict[str, Any] = json.loads(reply.raise_for_error().body or b"{}")
        return shown


class Lives:
    """The lives of an owner, one after the other, on one store and one machine."""

    def __init__(self, store: SharedStore, folder: Path, version: str) -> None:
        self.store = store
        self.path = folder / "owner"
        self.found = folder / "found"
        self._version = version
        self._last: Owner | None = None

    async def begin(
        self, fatal: Fatal = lambda *_: False, dedicated: ExecutionId | None = None
    ) -> Owner:
        """Begin the next life; what the last one has left lies where a kill leaves it."""
        await self.give_up()
        if self.found.exists():
            self.found.replace(self.path)
        self._last = Owner(self, fatal, dedicated)
        await self._last.host.start()
        return self._last

    async def begin_and_recover(self, fatal: Fatal = lambda *_: False) -> Owner:
        owner = await self.begin(fatal)
        await owner.host.recovered()
        return owner

    async def give_up(self) -> None:
        if self._last is not None:
            await self._last.host.stop()
            self._last = None

    def submission(self, number: int, *, dedicated: bool = False) -> Submission:
        event = submission_event(
            id_of(number, dedicated=dedicated), self._version, at_ms=NOW_MS, dedicated=dedicated
        )
        return Submission(business="deaths", feature="order", event=event)

    async def die(self, fatal: Fatal, *calls: Call) -> None:
        """Live until one of these calls, or what is outstanding, is fatal."""
        with pytest.raises(Killed):
            await self._live(fatal, calls)

    async def _live(self, fatal: Fatal, calls: Sequence[Call]) -> None:
        owner = await self.begin_and_recover(fatal)
        for call in calls:
            await owner.call(call)


def id_of(number: int, *, dedicated: bool = False) -> ExecutionId:
    return new_execution_id(
        "deaths", "order", at_ms=NOW_MS, entropy=number.to_bytes(10), dedicated=dedicated
    )


def poor(moment: Moment, task: str) -> Fatal:
    """Say that a task of the poor one is fatal at some moment."""
    return lambda *asked: asked == (moment, id_of(POOR), task)


def answer(number: int, task: str = "one") -> Delivery:
    event = DispatchAnswered(at_ms=NOW_MS, task=task, attempt=1, body=b"{}")
    return Delivery(execution_id=id_of(number), event=event)


def callback(number: int, task: str = "two") -> Delivery:
    event = CallbackReceived(at_ms=NOW_MS, task=task, succeeded=True)
    return Delivery(execution_id=id_of(number), event=event)


def cancel(number: int) -> Delivery:
    return Delivery(execution_id=id_of(number), event=CancelRequested(at_ms=NOW_MS))


@pytest.fixture(name="lives")
async def _lives(tmp_path: Path) -> AsyncIterator[Lives]:
    store = SharedStore()
    await store.open()
    found = await add_descriptor(store, "deaths", "order", "release", FLOW, at_ms=1)
    lives = Lives(store, tmp_path, found.version or "")
    yield lives
    await lives.give_up()


async def submitted(lives: Lives) -> None:
    owner = await lives.begin()
    for number in (POOR, RICH):
        assert (await owner.call(lives.submission(number))).error is None


async def twice_fatal(lives: Lives) -> Owner:
    """Have the poor one bring down its owner twice, by one answer."""
    await submitted(lives)
    for _ in range(2):
        await lives.die(poor(HANDLE, "one"), answer(POOR))
    return await lives.begin_and_recover()


REASON: Final = (
    "the process that handled it died 2 times, in the steps 'DispatchAnswered one 1' and"
    " 'DispatchAnswered one 1'; it goes on after a redo or a cancellation"
)


async def test_after_the_second_death_it_is_left_alone_and_others_go_on(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    assert {request.execution_id for request in owner.sent} == {id_of(RICH)}
    assert (await owner.call(answer(RICH))).changed
    reply = await owner.call(answer(POOR))
    assert reply.kind == CrashedError.code
    assert reply.error == f"{id_of(POOR)} is quarantined: {REASON}"


async def test_get_tells_it_without_reading_it(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    lives.store.read = 0
    shown = await owner.shown(POOR)
    assert (shown["dag_status"], shown["quarantine"]) == ("RUNNING", REASON)
    assert (shown["workspace"], shown["dag_name"]) == ("deaths", "order")
    assert (await owner.shown(POOR, "brief"))["quarantine"] == REASON
    assert await owner.shown(POOR, "status") == {"dag_status": "RUNNING"}
    assert (await owner.call(Query(execution_id=id_of(POOR), kind="context"))).error
    assert lives.store.read == 0
    assert "quarantine" not in await owner.shown(RICH)


async def test_it_stays_apart_in_every_later_life(lives: Lives) -> None:
    await twice_fatal(lives)
    for _ in range(2):
        owner = await lives.begin_and_recover(poor(HANDLE, "one"))
        assert (await owner.call(answer(POOR))).kind == CrashedError.code


async def test_a_step_that_was_taken_since_without_harm_is_forgiven(lives: Lives) -> None:
    await submitted(lives)
    for task, step in (("one", answer(POOR)), ("two", answer(POOR, "two"))):
        await lives.die(poor(HANDLE, task), step)
        owner = await lives.begin_and_recover()
        assert (await owner.call(step)).changed
    await lives.die(poor(HANDLE, "two"), callback(POOR))
    owner = await lives.begin_and_recover()
    assert (await owner.call(callback(POOR))).changed
    assert (await owner.shown(POOR))["dag_status"] == "SUCCEED"
    await lives.give_up()
    assert await lives.store.deaths() == []


async def test_ten_kills_between_which_it_goes_on_set_nothing_apart(lives: Lives) -> None:
    await submitted(lives)
    for _ in range(10):
        # Nobody finds this fatal: the process is killed while it happens to be at it.
        await lives.die(poor(CALL, "one"))
        assert len(await lives.store.deaths()) <= 1
        owner = await lives.begin_and_recover()
        assert "quarantine" not in await owner.shown(POOR)
    assert {request.task for request in owner.sent} == {"one", "two"}


async def test_a_start_that_is_repeated_counts_a_death_once(lives: Lives) -> None:
    await submitted(lives)
    await lives.die(poor(HANDLE, "one"), answer(POOR))
    owner = await lives.begin_and_recover()
    for _ in range(2):
        await owner.host.stop()
        await owner.host.start()
        await owner.host.recovered()
    assert (await owner.call(answer(POOR))).changed


async def test_a_kill_while_nothing_is_handled_counts_against_nobody(lives: Lives) -> None:
    await submitted(lives)
    for _ in range(3):
        shutil.copy(lives.path, lives.found)
        await lives.begin_and_recover()
    assert await lives.store.deaths() == []


async def test_what_it_asks_for_may_be_fatal_too(lives: Lives) -> None:
    await lives.die(poor(CALL, "one"), lives.submission(POOR))
    await lives.die(poor(CALL, "one"))
    owner = await lives.begin_and_recover(poor(CALL, "one"))
    assert "'commands' and 'commands'" in (await owner.shown(POOR))["quarantine"]
    assert not owner.sent


async def test_two_steps_in_a_row_may_be_fatal(lives: Lives) -> None:
    await submitted(lives)
    await lives.die(poor(HANDLE, "one"), answer(POOR))
    await lives.die(poor(CALL, "one"))
    owner = await lives.begin_and_recover()
    assert "'DispatchAnswered one 1' and 'commands'" in (await owner.shown(POOR))["quarantine"]


async def test_one_that_is_fatal_to_read_is_read_no_more(lives: Lives) -> None:
    await submitted(lives)
    for _ in range(2):
        owner = await lives.begin()
        lives.store.kill = owner.kill
        with pytest.raises(Killed):
            await owner.call(Query(execution_id=id_of(POOR), kind="brief"))
    lives.store.read = 0
    owner = await lives.begin_and_recover()
    assert "'replay' and 'replay'" in (await owner.shown(POOR))["quarantine"]
    assert (await owner.deliver(POOR, WakeUpReceived(at_ms=1, task="one"))).error
    assert lives.store.read == 0


@pytest.mark.parametrize("moment", ["read", "decoded", "replayed"])
async def test_a_large_execution_that_is_fatal_to_read_is_left_alone_after_the_second_death(
    lives: Lives, moment: str
) -> None:
    await submitted(lives)
    lives.store.large = moment
    for _ in range(2):
        owner = await lives.begin()
        lives.store.kill = owner.kill
        with pytest.raises(Killed):
            await owner.call(Query(execution_id=id_of(POOR), kind="brief"))
    owner = await lives.begin_and_recover()
    assert "'replay' and 'replay'" in (await owner.shown(POOR))["quarantine"]


async def test_a_large_execution_that_was_read_beside_a_fatal_one_is_forgiven(lives: Lives) -> None:
    await submitted(lives)
    record = HandlingRecord(lives.path)
    record.open()
    record.begin_beside(id_of(POOR), "replay")
    record.begin(id_of(RICH), "DispatchAnswered one 1")
    shutil.copy(lives.path, lives.found)
    owner = await lives.begin_and_recover()
    assert (await owner.call(answer(RICH))).changed
    await lives.give_up()
    assert await lives.store.deaths() == []


async def test_a_fatal_submission_is_refused_the_third_time(lives: Lives) -> None:
    lives.store.kill = None
    owner = await lives.begin()
    await owner.call(lives.submission(RICH))
    for _ in range(2):
        # As if making it were fatal: no hook is asked, so its step is played by the record.
        record = HandlingRecord(lives.path)
        record.open()
        record.begin(id_of(POOR), "Submission")
        shutil.copy(lives.path, lives.found)
        owner = await lives.begin_and_recover()
    reply = await owner.call(lives.submission(POOR))
    assert reply.kind == CrashedError.code
    assert "'Submission' and 'Submission'" in (reply.error or "")
    assert await owner.shown(POOR) == {}
    assert await lives.store.load(id_of(POOR)) is None


async def test_a_repeated_submission_of_one_that_is_stored_is_a_repetition(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    reply = await owner.call(lives.submission(POOR))
    assert (reply.error, reply.changed) == (None, False)


async def test_who_waits_for_its_end_waits(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    reply = await owner.call(Watch(execution_id=id_of(POOR), watcher="me"))
    assert (reply.error, reply.changed) == (None, True)
    assert (await owner.call(cancel(POOR))).error is None
    [ended] = await owner.host.watchers.take("me", LONG_S, ())
    assert ended.execution_id == id_of(POOR)


async def test_a_cancellation_ends_it_and_nothing_counts_any_more(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    assert (await owner.call(cancel(POOR))).changed
    shown = await owner.shown(POOR)
    assert (shown["dag_status"], shown.get("quarantine")) == ("FAILED", None)
    await lives.give_up()
    assert await lives.store.deaths() == []


async def test_a_cancellation_comes_before_what_it_asked_for(lives: Lives) -> None:
    fatal = poor(CALL, "one")
    await lives.die(fatal, lives.submission(POOR))
    await lives.die(fatal)
    owner = await lives.begin_and_recover(fatal)
    assert (await owner.call(cancel(POOR))).changed
    async with asyncio.timeout(LONG_S):
        await owner.host.settled(id_of(POOR))
    assert (await owner.shown(POOR))["dag_status"] == "FAILED"
    assert not lives.found.exists()


async def test_a_redo_has_it_go_on_with_the_answers_that_came_meanwhile(lives: Lives) -> None:
    owner = await twice_fatal(lives)
    kept = DispatchAnswer(execution_id=id_of(POOR), task="one", attempt=1, body=b"{}")
    await owner.host.answers_arrived([kept])
    redo = RedoRequested(at_ms=NOW_MS, tasks=("two",))
    assert (await owner.deliver(POOR, redo)).error is None
    again = DispatchAnswered(at_ms=NOW_MS, task="two", attempt=2, body=b"{}")
    assert (await owner.deliver(POOR, again)).changed
    assert (await owner.call(callback(POOR))).changed
    async with asyncio.timeout(LONG_S):
        await owner.host.settled(id_of(POOR))
    shown = await owner.shown(POOR)
    assert (shown["dag_status"], shown.get("quarantine")) == ("SUCCEED", None)
    assert shown["tasks"]["one"]["status"] == "SUCCEEDED"


async def test_a_dedicated_one_is_left_alone_by_its_own_owner_and_by_that_of_its_partition(
    lives: Lives,
) -> None:
    apart = id_of(POOR, dedicated=True)
    fatal: Fatal = lambda moment, _, task: (moment, task) == (HANDLE, "one")  # noqa: E731
    event = answer(POOR).event
    owner = await lives.begin(dedicated=apart)
    assert (await owner.call(lives.submission(POOR, dedicated=True))).error is None
    home_path, lives.path = lives.path, lives.path.with_name("apart")
    for _ in range(2):
        owner = await lives.begin(fatal, dedicated=apart)
        with pytest.raises(Killed):
            await owner.call(Delivery(execution_id=apart, event=event))
    owner = await lives.begin(fatal, dedicated=apart)
    reply = await owner.call(Delivery(execution_id=apart, event=event))
    assert reply.kind == CrashedError.code
    lives.path = home_path
    owner = await lives.begin()
    reply = await owner.call(Query(execution_id=apart, kind="brief"))
    assert b'"quarantine"' in (reply.body or b"")
    assert (await owner.call(Delivery(execution_id=apart, event=event))).kind == ELSEWHERE
