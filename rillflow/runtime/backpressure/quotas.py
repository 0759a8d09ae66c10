"""Quotas of submissions: of the key that submits, and of the workspace (ours).

Submissions in a second are counted by one owner for the whole stack, as traffic limits are (spec
6.3). Unfinished executions of a workspace, and the bytes that the store keeps for it, are counted
in the store, about once a second, and at most a twentieth of the time. Unfinished executions of a
key are what this process has started for it. A check that cannot be made accepts.

Used by `runtime/submission/intake.py` and `actors/execution_actor.py`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeAlias

from rillflow.backoff import Backoff
from rillflow.core.status import UNFINISHED
from rillflow.errors import (
    DefectError,
    OverloadedError,
    RequestError,
    RillflowError,
    StoreError,
    UnavailableError,
)
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Executions, TrafficCall
from rillflow.ports.storage.access import Holder, Quota
from rillflow.ports.storage.store import ExecutionFilter, Store
from rillflow.runtime.backpressure.store_room import StoreRoom
from rillflow.settings import Settings
from rillflow.task_set import TaskSet

log = logging.getLogger("rillflow.admission")

FRESH_S: Final = 1.0
"""How old what was counted of a workspace may be."""
COUNTING_SHARE: Final = 20
"""It may be as old as it took to count it, so many times, where that is longer."""
LONGEST_OLD_S: Final = 5.0
"""What was counted is still taken for so long while the store is slow to count again."""
SHORT_WAIT_S: Final = 0.05
"""So long a submission waits for that, where searches may be what keeps the store busy."""
LONGEST_COUNT_S: Final = 20.0
"""Time limit of counting bytes, for which one submission of a workspace waits now and then."""
LEAST_BYTES: Final = 8 * 1024
"""What the store counts of an execution however small."""
LONGEST_ASK_S: Final = 2.0
LEAST_ORDER_BYTES: Final = 512
"""What an order or a signal stores besides its data: a record, and a row of the audit."""
ORDERS_BEYOND: Final = 10
"""Orders and signals for executions that exist may store a tenth more than the quota."""
WAIT_S: Final = 600.0
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
Wait: TypeAlias = Callable[[ExecutionId, float], Awaitable[bool]]
"""Waits for the end of an execution; False if the time was not enough."""


class KeysOfExecutions(Protocol):
    """Where it is noted which executions were started with a key that has a quota."""

    async def keep_key(self, execution_id: ExecutionId, holder: Holder) -> None:
        """Note with which key an execution is started."""
        ...

    async def forget_key(self, execution_id: ExecutionId, holder: Holder) -> None:
        """Forget an execution that was not started."""
        ...


class Place:
    """What a submission holds of the quotas while it is made."""

    def __init__(self) -> None:
        self.started: ExecutionId | None = None
        """The execution, once it is on disk."""


class Quotas:
    """The quotas of the submissions of one process.

    Attributes:
        by_workspace: The quotas of workspaces that have some.
    """

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        by_workspace: Mapping[str, Quota],
        *,
        store: Store,
        executions: Executions,
        clock: Clock,
        wait: Wait | None = None,
        notes: KeysOfExecutions | None = None,
    ) -> None:
        """Count at these owners and in this store; keys need ``wait`` and ``notes``."""
        self.by_workspace = by_workspace
        self._notes = notes
        self._executions = executions
        self._wait = wait
        self._unfinished = Totals(clock, lambda business: _unfinished_of(store, business))
        self.store = StoreQuotas(by_workspace, store, clock)
        self._of_keys: Counter[str] = Counter()
        self._watches = TaskSet[None]()

    @asynccontextmanager
    async def place(
        self, execution_id: ExecutionId, business: str, holder: Holder | None, size_bytes: int = 0
    ) -> AsyncIterator[Place]:
        """Count a submission of so many bytes while it is made, and its execution until it ends.

        Raises:
            OverloadedError: A quota is reached (429); its message names it.
        """
        place = Place()
        if holder is not None:
            await self._take_of_key(holder)
        try:
            quota = self.by_workspace.get(business)
            if quota is not None:
                await self._take_of_workspace(business, quota, size_bytes)
            if holder is not None and self._notes is not None:
                # Before it begins, for it may store artifacts at once.
                await self._notes.keep_key(execution_id, holder)
            yield place
        except RequestError:
            if holder is not None and self._notes is not None:
                await self._notes.forget_key(execution_id, holder)
            raise
        finally:
            if holder is not None and holder.quota.running is not None:
                if place.started is None or self._wait is None:
                    self._release(holder.key_id)
                else:
                    work = self._until_ended(holder.key_id, place.started, self._wait)
                    self._watches.start(work)

    async def stop(self) -> None:
        """Wait for no execution any more."""
        await self._watches.stop()

    async def _take_of_key(self, holder: Holder) -> None:
        whose, quota = f"the key {holder.name}", holder.quota
        if quota.running is not None and self._of_keys[holder.key_id] >= quota.running:
            raise _reached("running", whose, f"{quota.running} unfinished executions")
        if quota.running is not None:
            self._of_keys[holder.key_id] += 1
        try:
            await self._take_traffic(f"quota/key/{holder.key_id}", whose, quota)
        except RillflowError:
            if quota.running is not None:
                self._release(holder.key_id)
            raise

    async def _take_of_workspace(self, business: str, quota: Quota, size_bytes: int) -> None:
        whose = f"the workspace {business}"
        await self.store.take(business, max(size_bytes, LEAST_BYTES))
        most = quota.running
        if most is not None and not await self._unfinished.take(business, most):
            raise _reached("running", whose, f"{most} unfinished executions")
        await self._take_traffic(f"quota/workspace/{business}", whose, quota)

    async def _take_traffic(self, subject: str, whose: str, quota: Quota) -> None:
        most = quota.submissions_per_s
        if most is None:
            return
        try:
            async with asyncio.timeout(LONGEST_ASK_S):
                reply = await self._executions.call(TrafficCall(subject=subject, limit=most))
            taken = reply.raise_for_error().changed
        except (StoreError, UnavailableError, DefectError, TimeoutError) as error:
            facts = {"subject": subject, "reason": repr(error)}
            log.warning("quota_not_checked", extra=facts)
            return
        if not taken:
            raise _reached("submissions_per_s", whose, f"{most} submissions a second")

    async def _until_ended(self, key_id: str, execution_id: ExecutionId, wait: Wait) -> None:
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        try:
            while True:
                try:
                    if await wait(execution_id, WAIT_S):
                        return
                    backoff.reset()
                except RequestError:
                    return  # it is gone
                except RillflowError:
                    await asyncio.sleep(backoff.next_s())
        finally:
            self._release(key_id)

    def _release(self, key_id: str) -> None:
        self._of_keys[key_id] -= 1
        if not self._of_keys[key_id]:
            del self._of_keys[key_id]


class StoreQuotas:
    """How many bytes each workspace may store, as this process counts them."""

    def __init__(self, by_workspace: Mapping[str, Quota], store: Store, clock: Clock) -> None:
        """Count in this store for workspaces that have a quota."""
        self._by_workspace = by_workspace
        self._stored = Totals(
            clock, lambda business: _stored_of(store, business), LONGEST_COUNT_S, keeps=True
        )

    async def take(self, business: str, size_bytes: int, *, for_order: bool = False) -> None:
        """Count bytes that a workspace is about to store; an order may go a tenth beyond its quota.

        Raises:
            OverloadedError: Its quota is reached (429).
        """
        most = self._most(business)
        if most is None:
            return
        wanted = most + most // ORDERS_BEYOND if for_order else most
        if not await self._stored.take(business, wanted, size_bytes):
            raise _stored_too_much(business, most)

    def take_for_signal(self, business: str, size_bytes: int) -> None:
        """Count the bytes of a signal as those of an order, without waiting for the store.

        Raises:
            OverloadedError: The quota of its workspace is reached (429).
        """
        most = self._most(business)
        if most is None:
            return
        wanted = most + most // ORDERS_BEYOND
        if not self._stored.take_of_known(business, wanted, size_bytes):
            raise _stored_too_much(business, most)

    def _most(self, business: str) -> int | None:
        quota = self._by_workspace.get(business)
        return None if quota is None else quota.store_bytes

    async def told(self) -> dict[str, int]:
        """Return what the store keeps for each workspace that has a quota of it."""
        return {
            business: await self._stored.told(business)
            for business, quota in self._by_workspace.items()
            if quota.store_bytes is not None
        }


class Totals:
    """How much of something each workspace has, as the store knew a moment ago."""

    def __init__(
        self,
        clock: Clock,
        count: Callable[[str], Awaitable[int]],
        patience_s: float = LONGEST_ASK_S,
        *,
        keeps: bool = False,
    ) -> None:
        """Count so; what cannot be counted is what it was before if it ``keeps``, or else none."""
        self._clock = clock
        self._count_in_store = count
        self._patience_s = patience_s
        self._keeps = keeps
        self._counted: dict[str, tuple[int, float]] = {}
        self._added: Counter[str] = Counter()
        self._counting: dict[str, asyncio.Task[None]] = {}
        """The counts that are under way."""

    async def take(self, business: str, most: int, wanted: int = 1) -> bool:
        """Count so much more; False if there would be more than ``most``."""
        if await self.told(business) + self._added[business] + wanted > most:
            return False
        self._added[business] += wanted
        return True

    def take_of_known(self, business: str, most: int, wanted: int) -> bool:
        """Count as ``take`` does, with what is known; what is too old is counted meanwhile."""
        if not self._is_fresh(business) and not self._counting:
            self._begin_to_count(business)
        known, _ = self._counted.get(business, (0, 0.0))
        if known + self._added[business] + wanted > most:
            return False
        self._added[business] += wanted
        return True

    async def told(self, business: str) -> int:
        """Return what the store knew; a while ago, if it takes long to count anew."""
        if not self._is_fresh(business):
            counting = self._begin_to_count(business)
            is_known = self._is_fresh(business, LONGEST_OLD_S)
            await asyncio.wait([counting], timeout=SHORT_WAIT_S if is_known else None)
            if counting.done():
                counting.result()
        return self._counted[business][0]

    def _begin_to_count(self, business: str) -> "asyncio.Task[None]":
        """Return the count that is under way, which goes on if nobody waits for it any more."""
        counting = self._counting.get(business)
        if counting is None:
            counting = self._counting[business] = asyncio.create_task(self._count(business))
            counting.add_done_callback(lambda _: self._counting.pop(business))
        return counting

    def _is_fresh(self, business: str, longer_s: float = 0.0) -> bool:
        found = self._counted.get(business)
        return found is not None and self._clock.monotonic_s() < found[1] + longer_s

    async def _count(self, business: str) -> None:
        begun_s, before = self._clock.monotonic_s(), self._added[business]
        try:
            async with asyncio.timeout(self._patience_s):
                count = await self._count_in_store(business)
        except (StoreError, TimeoutError) as error:
            facts = {"subject": business, "reason": repr(error)}
            log.warning("quota_not_checked", extra=facts)
            # Bytes go slowly, and a store that is busy is when they matter; executions end soon.
            count = self._counted.get(business, (0, 0.0))[0] if self._keeps else 0
        fresh_s = max(FRESH_S, COUNTING_SHARE * (self._clock.monotonic_s() - begun_s))
        self._counted[business] = count, begun_s + fresh_s
        self._added[business] -= before


async def _stored_of(store: Store, business: str) -> int:
    definitions = await store.definition_bytes(business)
    catalogue, triggers = await store.catalogue_use(business), await store.trigger_use(business)
    kept = definitions + catalogue.bytes + triggers.bytes_of_one
    return kept + await store.stored_bytes(business)


async def _unfinished_of(store: Store, business: str) -> int:
    # Sub-flows may be started from another workspace, which must not use up this one.
    wanted = ExecutionFilter(business=business, statuses=UNFINISHED, roots_only=True)
    return sum((await store.count_executions(wanted)).values())


def _reached(name: str, whose: str, most: str) -> OverloadedError:
    return OverloadedError(
        f"the quota {name} of {whose} is reached: {most}", hint="try again later"
    )


def _stored_too_much(business: str, most: int) -> OverloadedError:
    return _reached("store_bytes", f"the workspace {business}", f"{most} bytes")


def store_limit(settings: Settings, store: Store, clock: Clock) -> "StoreLimit":
    """Return what an owner asks before it starts a sub-flow, or takes a signal."""
    by_workspace = {name: quota.as_quota() for name, quota in settings.workspace_quotas.items()}
    return StoreLimit(StoreQuotas(by_workspace, store, clock), StoreRoom(settings, clock))


class StoreLimit:
    """What an owner asks before its executions store more; see ``StoreLimits``."""

    def __init__(self, quotas: StoreQuotas, room: StoreRoom) -> None:
        self._quotas = quotas
        self._room = room

    async def __call__(self, workspace: str, size_bytes: int) -> None:
        """Count what a sub-flow stores.

        Raises:
            OverloadedError: The quota of the workspace is reached.
            UnavailableError: The disk has too little space; one asks again.
        """
        if self._room.is_full():
            raise UnavailableError("the disk of the store is full")
        await self._quotas.take(workspace, max(size_bytes, LEAST_BYTES))

    def take_signal(self, workspace: str, size_bytes: int) -> None:
        """Count what a signal stores.

        Raises:
            OverloadedError: The quota of the workspace is reached (429), or the disk has much too
                little space (503).
        """
        self._room.require_for_order()
        self._quotas.take_for_signal(workspace, LEAST_ORDER_BYTES + size_bytes)
