"""A timeout for what begins and ends often: one timer of the event loop serves many of them.

`asyncio.timeout` sets and cancels a timer each time. Where a thousand clients are each sent
something every second, and hardly any of them is ever late, that is a part of what it costs.

Used by `runtime/changes/hub.py` and `serve/routes/console_api/streams.py`.
"""

import asyncio
from collections.abc import Callable
from math import inf


class ReusedTimer:
    """Calls a function once what was begun has lasted for its timeout."""

    def __init__(self, on_late: Callable[[], None]) -> None:
        self._on_late = on_late
        self._due_s: float | None = None
        self._timer: asyncio.Handle | None = None
        # Of a time that has passed, uvloop makes a handle that does not tell it.
        self._set_for_s = inf

    def begin(self, timeout_s: float) -> None:
        """Begin, in place of what has begun before."""
        loop = asyncio.get_running_loop()
        self._due_s = due_s = loop.time() + timeout_s
        if self._timer is not None:
            if self._set_for_s <= due_s:
                return
            self._timer.cancel()  # it was set for a longer timeout
        self._set_for_s = due_s
        self._timer = loop.call_at(due_s, self._look, loop)

    def end(self) -> None:
        """End in time; the timer stays for what begins next."""
        self._due_s = None

    def close(self) -> None:
        """Cancel the timer."""
        self._due_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._due_s is None:
            return
        left_s = self._due_s - loop.time()
        if left_s > 0:
            self._set_for_s = self._due_s
            self._timer = loop.call_later(left_s, self._look, loop)
            return
        self._due_s = None
        self._on_late()
