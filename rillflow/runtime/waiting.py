"""Those who wait for executions to end, told in batches."""

import asyncio

from rillflow.ids import ExecutionId


class Watchers:
    """Keeps, for each watcher, the watched executions that have ended since it last asked."""

    def __init__(self) -> None:
        self._of: dict[ExecutionId, set[str]] = {}
        self._ended: dict[str, list[ExecutionId]] = {}
        self._news: dict[str, asyncio.Event] = {}

    def watch(self, watcher: str, execution_id: ExecutionId) -> None:
        """Have a watcher told when an execution ends."""
        self._of.setdefault(execution_id, set()).add(watcher)

    def ended(self, execution_id: ExecutionId) -> None:
        """Tell everyone who watches this execution."""
        for watcher in self._of.pop(execution_id, ()):
            self._ended.setdefault(watcher, []).append(execution_id)
            self._news.setdefault(watcher, asyncio.Event()).set()

    async def take(self, watcher: str, timeout_s: float) -> list[ExecutionId]:
        """Return what ended since the last time; wait for something up to a limit."""
        news = self._news.setdefault(watcher, asyncio.Event())
        if not self._ended.get(watcher):
            try:
                await asyncio.wait_for(news.wait(), timeout_s)
            except TimeoutError:
                return []
        news.clear()
        return self._ended.pop(watcher, [])
