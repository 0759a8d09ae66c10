"""Lives of an owner that an execution brings down, one after the other, on one store.

A death is played: at the fatal moment the record of what is handled is copied, as the next life
of a killed process finds it, and everything else of that life is given up.
"""

import asyncio
import json
import shutil
from collections import UserList
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest
from msgspec.structs import replace

from rillflow.core.events import (
    CallbackReceived,
    CancelRequested,
    DispatchAnswered,
    Event,
)
from rillflow.errors import LargeExecutionError
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.ports.executions import (
    Call,
    Delivery,
    Query,
    Reply,
    ResourceCall,
    Submission,
)
from rillflow.ports.gateway import DispatchRequest
from rillflow.ports.storage.store import Death, StoredExecution
from rillflow.runtime.activation.replays import LARGE_BYTES
from rillflow.runtime.crashes.crash_history import HandlingRecord
from rillflow.runtime.hooks.chain import Action, HookChain, Moment
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import NOW_MS
from tests.submissions import submission_event

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
        self.deaths_are_asked, self.deaths_are_read = asyncio.Event(), asyncio.Event()
        self.deaths_are_read.set()

    async def deaths(self) -> list[Death]:
        self.deaths_are_asked.set()
        await self.deaths_are_read.wait()
        return await super().deaths()

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

    @property
    def last(self) -> Owner:
        assert self._last is not None
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
