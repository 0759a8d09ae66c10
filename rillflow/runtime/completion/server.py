"""The owner's side of waiting: notifies watchers, in batches, of executions that have ended.

Used by `runtime/owner/call_handling.py` and `runtime/owner/execution_owner.py`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from cachetools import LRUCache

from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.runtime.completion.client import Ended

FORGET_S: Final = 120.0
"""A watcher that has not asked for so long is dropped."""
MOST_SHOWN_BYTES: Final = 65_536
"""Larger views are not sent with the news of an end; smaller ones are kept until received."""
LONGEST_NEWS_BYTES: Final = 4 << 20
"""Limit of the views in one message."""
MOST_WATCHERS: Final = 1000
"""Limit of watchers; those that asked least recently are dropped, and watch again later."""
MOST_WATCHED: Final = 100_000
"""Limit of watched executions, since some of them never end."""


class CompletionServer:
    """Keeps, for each watcher, the watched executions that have ended.

    An answer may be lost, so ends are repeated until the watcher confirms them, or has not asked
    for long.
    """

    def __init__(self, clock: Clock, *, most_watched: int = MOST_WATCHED) -> None:
        """Keep the watchers of the ``most_watched`` executions that were watched last."""
        self._clock = clock
        self._of = LRUCache[ExecutionId, dict[str, str]](most_watched)
        self._watchers: OrderedDict[str, _Watcher] = OrderedDict()

    def watch(self, watcher: str, execution_id: ExecutionId, show: str = "") -> None:
        """Register a watcher for the end of an execution, with the view that ``show`` asks for.

        What the watcher has not confirmed of an earlier end, before a redo, is dropped.
        """
        self._of.setdefault(execution_id, {})[watcher] = show
        known = self._watcher(watcher)
        known.heard_s = self._clock.monotonic_s()
        known.forget(execution_id)

    def ended(
        self, execution_id: ExecutionId, view: Callable[[str], bytes | None] = lambda _: None
    ) -> None:
        """Tell all watchers of this execution; ``view`` answers what they ask for."""
        forgotten_s = self._clock.monotonic_s() - FORGET_S
        for name, show in self._of.pop(execution_id, {}).items():
            watcher = self._watchers.get(name)
            if watcher is not None and (watcher.asks or watcher.heard_s >= forgotten_s):
                body = view(show) if show else None
                fits = body is not None and len(body) <= MOST_SHOWN_BYTES
                watcher.ended(Ended(execution_id, show, body if fits else None))
            else:
                self._watchers.pop(name, None)

    async def take(
        self, watcher: str, timeout_s: float, heard: Sequence[ExecutionId] = ()
    ) -> list[Ended]:
        """Return what has ended, except what the watcher has ``heard``.

        Waits for something up to a limit.
        """
        asker = self._watcher(watcher)
        asker.asks += 1
        try:
            return await asker.take(timeout_s, heard)
        finally:
            asker.asks -= 1
            asker.heard_s = self._clock.monotonic_s()

    def _watcher(self, name: str) -> "_Watcher":
        watcher = self._watchers.get(name)
        if watcher is None:
            self._forget_gone()
            watcher = self._watchers[name] = _Watcher()
            watcher.heard_s = self._clock.monotonic_s()
            if len(self._watchers) > MOST_WATCHERS:
                self._watchers.popitem(last=False)
        self._watchers.move_to_end(name)
        return watcher

    def _forget_gone(self) -> None:
        """Drop watchers that left without notice, and what was kept for them."""
        oldest_s = self._clock.monotonic_s() - FORGET_S
        for name, watcher in list(self._watchers.items()):
            if not watcher.asks and watcher.heard_s < oldest_s:
                del self._watchers[name]


class _Watcher:
    """One watcher: how many queries of it are open, and when it asked last."""

    def __init__(self) -> None:
        self.asks = 0
        self.heard_s = 0.0
        self._ended: dict[ExecutionId, Ended] = {}
        self._news = asyncio.Event()

    def ended(self, ended: Ended) -> None:
        self._ended[ended.execution_id] = ended
        self._news.set()

    def forget(self, execution_id: ExecutionId) -> None:
        self._ended.pop(execution_id, None)

    async def take(self, timeout_s: float, heard: Sequence[ExecutionId]) -> list[Ended]:
        for execution_id in heard:
            self.forget(execution_id)
        if not self._ended:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return []
        return self._that_fit()

    def _that_fit(self) -> list[Ended]:
        """Return what fits into one message; the rest follows after its confirmation."""
        told: list[Ended] = []
        size_bytes = 0
        for ended in self._ended.values():
            size_bytes += len(ended.body or b"")
            if told and size_bytes > LONGEST_NEWS_BYTES:
                break
            told.append(ended)
        return told
