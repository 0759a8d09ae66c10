"""A world of triggers: owners of all partitions, a store that fails, and changing triggers.

There is one owner, or there are two that know nothing of each other, as there may be for a moment
when partitions move. An owner is killed now and then, at any step, and begins again. Some owners
prepare executions before their time. The store answers late, fails before it writes, or after.
Executions are rows that run for a while.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

from rillflow.core.events import CancelRequested
from rillflow.errors import RillflowError, StoreError, UnavailableError
from rillflow.ids import PARTITIONS, ExecutionId, partition_of
from rillflow.jsontypes import JsonObject
from rillflow.ports.executions import (
    Call,
    Delivery,
    Reply,
    Submission,
    Until,
    reply_to_error,
)
from rillflow.ports.storage.store import Append, NewExecution
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.submission.groups import GroupSubmissions
from rillflow.runtime.triggers.ahead import Ahead
from rillflow.runtime.triggers.registry import TriggerRegistry
from rillflow.runtime.triggers.runner import TriggerRunner
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from rillflow.triggers.spec import TriggerSpec, read_cron
from rillflow.triggers.trigger_types import ReadTrigger
from tests.simulation.surroundings import SimulatedClock
from tests.simulation.virtual_loop import Life, VirtualLoop

TROUBLE_S: Final = 40.0
PEACE_S: Final = 40.0
FAILING: Final = 0.03
FRAILTY: Final = 0.0006
LONG: Final = 0.3
PREPARING: Final = (1, 5, 6)
"""Of eight seeds those whose owners prepare executions before their time."""
CRONS: Final = ("* * * * * *", "*/2 * * * * *", "*/5 * * * * *", "3,7,20 * * * * *")
DEFINITION: Final = """
workspace: shop
dagName: order
type: flow
tasks: [{name: A, category: pass, inputMappings: [{source: $.context.a, target: $.input.a}]}]
"""


class Wire:
    """The way to the store: it takes time, and calls fail before or after they take effect."""

    def __init__(self, store: MemoryStore, random: Random) -> None:
        self._store = store
        self._random = random
        self.failing = FAILING

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return partial(self._call, getattr(self._store, name))

    async def _call(self, method: Callable[..., Awaitable[Any]], *given: Any, **named: Any) -> Any:
        for is_after in (False, True):
            await asyncio.sleep(self._random.uniform(0, 0.02))
            if self._random.random() < self.failing:
                raise StoreError("the store is away")
            if not is_after:
                found = await method(*given, **named)
        return found


class Rows:
    """The executions: rows of the store that run for a while, or until they are cancelled."""

    def __init__(self, store: MemoryStore, wire: Wire, loop: VirtualLoop, random: Random) -> None:
        self._store, self._wire, self._loop, self._random = store, wire, loop, random
        self._epoch = 0
        self.spans: dict[ExecutionId, list[float]] = {}
        self.by_key: dict[str, list[ExecutionId]] = defaultdict(list)

    async def open(self) -> None:
        """Own all partitions."""
        self._epoch = await self._store.take_scopes(range(PARTITIONS))

    async def call(self, call: Call) -> Reply:
        """Take a submission or a cancellation."""
        try:
            await asyncio.sleep(self._random.uniform(0, 0.05))
            if self._random.random() < self._wire.failing:
                raise UnavailableError("the owner is away")
            if isinstance(call, Submission):
                await self._submit(call)
            elif isinstance(call, Delivery) and isinstance(call.event, CancelRequested):
                self._end(call.execution_id)
        except RillflowError as error:
            return reply_to_error(error)
        if self._random.random() < self._wire.failing:
            return reply_to_error(UnavailableError("the owner has gone after it"))
        return Reply(changed=True)

    async def call_many(self, calls: Sequence[Call]) -> list[Reply]:
        """Take the calls of one message, which may be lost, or answered in part."""
        if self._random.random() < self._wire.failing:
            lost = reply_to_error(UnavailableError("the message is lost"))
            return [lost] * len(calls)
        return list(await asyncio.gather(*map(self.call, calls)))

    async def submit_ahead(self, submissions: Sequence[Submission], until: Until) -> list[Reply]:
        """Take submissions ahead of their time, as the owner in the process that fires them."""
        await asyncio.sleep(self._random.uniform(0, 0.3))
        refusal = await until()
        if refusal is not None:
            return [reply_to_error(refusal)] * len(submissions)
        return await self.call_many(submissions)

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait until an execution has ended."""
        give_up_s = self._loop.time() + timeout_s
        while self._loop.time() < self.spans[execution_id][1]:
            if self._loop.time() >= give_up_s:
                return False
            await asyncio.sleep(0.1)
        return True

    def _end(self, execution_id: ExecutionId) -> None:
        span = self.spans[execution_id]
        span[1] = min(span[1], self._loop.time())

    async def _submit(self, call: Submission) -> None:
        execution_id = call.event.execution_id
        partition = partition_of(execution_id)
        new = NewExecution(
            execution_id=execution_id,
            business=call.business,
            feature=call.feature,
            listing_partition=partition,
            definition_id=call.event.definition_id,
            submitted_at_ms=call.event.at_ms,
            idempotency_key=call.idempotency_key,
            request_digest=call.request_digest,
        )
        append = Append(
            execution_id=execution_id,
            fencing_scope=partition,
            epoch=self._epoch,
            first_seq=1,
            records=(b"{}",),
            new=new,
            status="RUNNING",
        )
        await self._store.append([append])
        began_s = self._loop.time()
        # Some are longer than an outage after which times count as missed.
        longest_s = 25.0 if self._random.random() < LONG else 6.0
        self.spans[execution_id] = [began_s, began_s + self._random.uniform(0.1, longest_s)]
        self.by_key[call.idempotency_key or ""].append(execution_id)


class TriggerWorld:
    """See the module."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.owners = 1 + seed % 2
        self.prepares = seed % 8 in PREPARING
        self.loop = VirtualLoop(Random(seed + 1))
        self.clock = SimulatedClock(self.loop)
        self.store = MemoryStore()
        self.wire = Wire(self.store, Random(seed + 2))
        self.rows = Rows(self.store, self.wire, self.loop, Random(seed + 3))
        self.added: dict[str, tuple[TriggerSpec, int]] = {}
        self.removed_ms: dict[str, int] = {}
        self._lives: list[Life] = []
        self.deaths = 0

    def run(self) -> None:
        """Let it go through its trouble, and then its peace."""
        self.loop.run_until_complete(self._history())
        self.loop.bury(self._lives)

    async def begin(self) -> None:
        """Open the store, with one definition in it."""
        await self.store.open()
        await self.rows.open()
        await add_descriptor(
            self.store, "shop", "order", "release", DEFINITION, at_ms=self.clock.now_ms()
        )

    async def _history(self) -> None:
        await self.begin()
        owners = [asyncio.create_task(self._owner(number)) for number in range(self.owners)]
        people = asyncio.create_task(self._people())
        await asyncio.sleep(TROUBLE_S)
        self.wire.failing = 0.0
        await people
        await asyncio.sleep(PEACE_S)
        for owner in owners:
            owner.cancel()

    async def _owner(self, number: int) -> None:
        """Have an owner run, and run again whenever it was killed."""
        while True:
            is_frail = self.loop.time() < TROUBLE_S
            life = Life(f"owner{number}", len(self._lives), frailty=FRAILTY if is_frail else 0.0)
            self._lives.append(life)
            self.loop.spawn(life, self.run_owner())
            while not life.dead:
                await asyncio.sleep(0.2)
                if self.loop.time() >= TROUBLE_S:
                    life.frailty = 0.0
            self.deaths += 1
            longest_s = 20.0 if self.random.random() < LONG else 5.0
            await asyncio.sleep(self.random.uniform(0.2, longest_s))

    async def run_owner(self) -> None:
        """Fire triggers, until the life that this belongs to is killed."""
        submissions = self.submissions()
        ahead = Ahead(submissions, lambda _: True, self.rows.submit_ahead, least=1)
        runner = TriggerRunner(
            store=self.wire,  # type: ignore[arg-type]
            submissions=submissions,
            executions=self.rows,  # type: ignore[arg-type]
            clock=self.clock,
            partitions=range(PARTITIONS),
            ahead=ahead if self.prepares else None,
        )
        runner.start()
        await asyncio.Event().wait()

    def submissions(self) -> GroupSubmissions:
        """Return what submits on behalf of a process."""
        settings = Settings(switches={"ENABLE_RUNTIME_STORAGE_USAGE_CHECK": False})
        return GroupSubmissions(
            settings,
            store=self.wire,  # type: ignore[arg-type]
            executions=self.rows,  # type: ignore[arg-type]
            clock=self.clock,
            entropy=self.random.randbytes,
        )

    async def _people(self) -> None:
        """Add triggers, and remove some of them again."""
        registry = TriggerRegistry(self.store, self.submissions(), self.clock)
        for number in range(8):
            overlap = ("allow", "allow", "skip", "queue_one", "cancel_running")[number % 5]
            jitter_s = self.random.choice([0.0, 0.0, 1.5])
            fields: JsonObject = {
                "cron": self.random.choice(CRONS),
                "overlap": overlap,
                "jitter_s": jitter_s,
                "catch_up": 1000 if overlap == "allow" else self.random.choice([0, 1, 1000]),
            }
            spec = read_cron(fields)
            row = await registry.add(
                "shop:order", ReadTrigger("cron", spec), {"a": number}, trigger_id=f"t{number}"
            )
            self.added[row.id] = spec, row.created_at_ms
            await asyncio.sleep(self.random.uniform(0.0, 3.0))
        for trigger_id in ("t1", "t2"):
            await asyncio.sleep(self.random.uniform(0.0, 6.0))
            assert await registry.remove(trigger_id)
            self.removed_ms[trigger_id] = self.clock.now_ms()
