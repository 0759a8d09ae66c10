"""Keeps a dedicated execution in memory only while it is used, where it is large.

Its process waits most of the time, maybe for days, and there may be many of them.

Used by `actors/execution_actor.py` and `runtime/owner/execution_owner.py`.
"""

import asyncio
import ctypes
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rillflow.ids import ExecutionId, workspace_of
from rillflow.runtime.activation.cache import ActivationCache
from rillflow.runtime.crashes.crash_history import record_path
from rillflow.runtime.process.machine_memory import PART_OF_MEMORY, memory_bytes
from rillflow.runtime.process.memory_bound import POLL_S, MemoryBound
from rillflow.settings import Settings

T = TypeVar("T")

LARGE_BYTES: Final = 40 * 1000**2
"""Executions that take more, as it is estimated, leave memory; a process takes as much without."""
REST_S: Final = 3.0
"""So long an execution stays in memory that nobody uses; longer than `dedicated_exit.LINGER_S`."""
RESIDENCE: Final = 2
"""It stays so many times as long as bringing it there took."""
LONGEST_REST_S: Final = 10.0
LOOK_S: Final = 1.0
LONGEST_PAUSE_S: Final = 5.0
"""How long a call waits for its execution to leave memory."""
_TRIMS: Final = 3
"""How often memory is given back after an execution has left, which is freed in portions."""


class DedicatedMemory:
    """The memory of the owner of one execution.

    A large execution that nobody uses is evicted after a while. While the processes of its
    workspace take more than they may (``MemoryBound``), it is evicted before its next call, which
    reads it again as soon as there is room for it. Then it stays for a while even so: there may be
    no room for long, and each of many calls would wait for it.
    """

    def __init__(
        self,
        bound: MemoryBound,
        activations: ActivationCache,
        execution_id: ExecutionId,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bound = bound
        self._activations = activations
        self._execution_id = execution_id
        self._clock_s = clock_s
        self._used_s = clock_s()
        self._rest_s = REST_S
        self._was_large = self._gave_way = False
        self._stays_until_s = float("-inf")
        self._trims = 0

    async def around(self, take: Callable[[], Awaitable[T]]) -> T:
        """Handle calls, as soon as they may take memory."""
        stays = self._clock_s() < self._stays_until_s
        if self._is_large and not stays and self._bound.is_reached:
            await self._until_left()
        begun_s, is_there = self._clock_s(), self._activations.holds(self._execution_id)
        self._used_s = begun_s
        try:
            return await take()
        finally:
            self._used_s = self._clock_s()
            if not is_there:
                took_s = self._used_s - begun_s
                self._rest_s = min(max(RESIDENCE * took_s, REST_S), LONGEST_REST_S)
            if self._gave_way and self._activations.holds(self._execution_id):
                self._gave_way, self._stays_until_s = False, self._used_s + self._rest_s

    async def run(self) -> None:
        """Have the execution leave memory whenever it may."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Have the execution leave memory if it may, and give back what it took."""
        was_large, self._was_large = self._was_large, self._is_large
        if self._was_large:
            now_s = self._clock_s()
            if not was_large:  # it may have been brought there without a call
                self._used_s = now_s
            elif now_s - self._used_s >= self._rest_s:
                self._leave()
        elif self._trims:
            self._trims -= 1
            await asyncio.to_thread(_give_back)

    @property
    def _is_large(self) -> bool:
        execution = self._activations.find(self._execution_id)
        return execution is not None and execution.counted_bytes > LARGE_BYTES

    def _leave(self) -> None:
        if self._activations.evict(self._execution_id):
            self._trims, self._was_large = _TRIMS, False

    async def _until_left(self) -> None:
        """Evict the execution, which others may use still."""
        deadline_s = self._clock_s() + LONGEST_PAUSE_S
        self._leave()
        while self._is_large and self._clock_s() < deadline_s:
            await asyncio.sleep(POLL_S)
            self._leave()
        self._gave_way = not self._is_large


def memory_bound(settings: Settings, execution_id: ExecutionId | None) -> MemoryBound | None:
    """Return the bound of the processes of dedicated executions of a stack, for one of these.

    It notes what this process takes now.
    """
    if execution_id is None:
        return None
    folder = record_path(settings.store_url, settings.namespace, "memory")
    memory = memory_bytes()
    most_bytes = None if memory is None else memory // PART_OF_MEMORY
    bound = MemoryBound(folder, workspace_of(execution_id), most_bytes)
    bound.begin()
    return bound


def _give_back() -> None:
    """Give freed memory back to the system: the C library keeps what lies between pieces in use."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc only
        if trim is not None:
            trim(0)
