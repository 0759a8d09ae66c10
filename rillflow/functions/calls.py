"""The calls of an application: admitted within limits, run once for each key, and delivered.

Used by `functions/application.py`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from rillflow.functions.deliveries import Address, Deliveries
from rillflow.functions.kept_outcomes import KeptOutcomes
from rillflow.functions.limits import CallRefusedError, Limits, no_room
from rillflow.functions.requests import BodyRoom
from rillflow.functions.running import Invocation, Outcome, run
from rillflow.task_set import TaskSet

_CONFLICT: Final = 409

logger = logging.getLogger("rillflow.functions")


class Call:
    """A function that is to be called, or is being called, or was.

    Attributes:
        address: Where the outcome is posted, the one that was given last; None if nowhere.
    """

    __slots__ = ("address", "digest", "invocation", "key", "outcome", "size_bytes")

    def __init__(self, invocation: Invocation, key: str, digest: bytes, size_bytes: int) -> None:
        self.invocation = invocation
        self.key = (invocation.name, key) if key else None
        self.digest = digest
        self.size_bytes = size_bytes
        self.address: Address | None = None
        self.outcome: asyncio.Task[Outcome] | None = None


class Calls:
    """All calls under way: they wait, run, or their outcome is being delivered."""

    def __init__(self, limits: Limits) -> None:
        self.room = BodyRoom(limits.held_bytes)
        self.deliveries = Deliveries(limits.callback_patience_s)
        self._limits = limits
        self._kept = KeptOutcomes(limits)
        self._by_key: dict[tuple[str, str], Call] = {}
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._threads = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="function")
        self._runs = TaskSet[Outcome]()
        self._delivering = TaskSet[None]()

    def __len__(self) -> int:
        return len(self._runs) + len(self._delivering)

    def begin(self, call: Call) -> Awaitable[Outcome]:
        """Run a function, or find the outcome of the call that had the same key.

        The room of the call is given back when it is over, or by who calls this if it is refused.

        Raises:
            CallRefusedError: There is no room, or the key was used for another input.
        """
        kept = None if self._first_of(call) is not None else self._kept_of(call)
        if kept is not None:
            return _already(kept)
        return asyncio.shield(self._begun(call))

    def accept(self, call: Call, address: Address) -> None:
        """Run a function, and post its outcome; that of a call with the same key is posted again.

        Raises:
            CallRefusedError: There is no room, or the key was used for another input.
        """
        first = self._first_of(call)
        if first is None:
            self._refuse_crowd()
        kept = None if first is not None else self._kept_of(call)
        if kept is None:
            self._begun(call)
            (first or call).address = address  # the newest one, whose time is over last
        else:
            call.address = address
            self._delivering.start(self._deliver(call, kept))

    async def drain(self, within_s: float) -> int:
        """Wait for the calls under way; return how many are given up."""
        give_up_s = time.monotonic() + within_s
        while len(self) and time.monotonic() < give_up_s:
            for tasks in (self._runs, self._delivering):
                await tasks.wait(max(0.0, give_up_s - time.monotonic()))
        left = len(self)
        await self._runs.stop()
        await self._delivering.stop()
        await self.deliveries.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        return left

    def _kept_of(self, call: Call) -> Outcome | None:
        kept = self._kept.get(call.key, now_s=time.monotonic()) if call.key else None
        if kept is None:
            return None
        outcome, digest = kept
        _refuse_other(call, digest)
        self.room.give_back(call.size_bytes)
        return outcome

    def _first_of(self, call: Call) -> Call | None:
        """Return the call under way that has the same key."""
        return self._by_key.get(call.key) if call.key else None

    def _begun(self, call: Call) -> asyncio.Task[Outcome]:
        """Return the task of a call, which may be that of an earlier one with the same key."""
        first = self._first_of(call)
        if first is not None and first.outcome is not None:
            _refuse_other(call, first.digest)
            self.room.give_back(call.size_bytes)
            return first.outcome
        self._refuse_crowd()
        if call.key:
            self._by_key[call.key] = call
        call.outcome = self._runs.start(self._run(call))
        return call.outcome

    def _refuse_crowd(self) -> None:
        """Make sure that there is room for one more call.

        Raises:
            CallRefusedError: There is none.
        """
        if len(self) >= self._limits.concurrency + self._limits.queue:
            raise no_room("too many calls are under way")

    async def _run(self, call: Call) -> Outcome:
        try:
            async with self._slots:
                outcome = await run(
                    call.invocation, self._threads, most_bytes=self._limits.result_bytes
                )
        finally:
            self.room.give_back(call.size_bytes)
        _log(call, outcome)
        if call.key is not None:
            kept = outcome._replace(log="")  # thousands are kept
            self._kept.put(call.key, call.digest, kept, now_s=time.monotonic())
        if call.address is not None:
            self._delivering.start(self._deliver(call, outcome))
        elif call.key is not None:
            del self._by_key[call.key]
        return outcome

    async def _deliver(self, call: Call, outcome: Outcome) -> None:
        self.room.held_bytes += len(outcome.body)
        try:
            await self.deliveries.deliver(partial(_address_of, call), outcome)
        finally:
            self.room.give_back(len(outcome.body))
            if call.key is not None and self._by_key.get(call.key) is call:
                del self._by_key[call.key]


async def _already(outcome: Outcome) -> Outcome:
    return outcome


def _address_of(call: Call) -> Address:
    assert call.address is not None  # noqa: S101 - it is being delivered
    return call.address


def _log(call: Call, outcome: Outcome) -> None:
    facts = {
        "function": call.invocation.name,
        "succeeded": outcome.succeeded,
        "duration_ms": round(outcome.duration_s * 1000),
    }
    logger.info("function_called", extra=facts)


def _refuse_other(call: Call, digest: bytes) -> None:
    """Make sure that a key was used for the same input before.

    Raises:
        CallRefusedError: It was used for another one.
    """
    if call.digest != digest:
        raise CallRefusedError(_CONFLICT, "the Idempotency-Key was used for another input")
