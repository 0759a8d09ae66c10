"""The progress of a dispatcher's calls of Ray functions: the latest of each, at a bounded rate.

Used by `ray_tasks/gateway.py`.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rillflow.core.tasks.progress import pause_ms
from rillflow.gateways.limits.answer_budget import CallId

Deliver: TypeAlias = Callable[[CallId, float | None, str, str | None], None]


class _Call:
    """The reports of one call."""

    def __init__(self, call: CallId, started_s: float) -> None:
        self.call = call
        self.started_s = started_s
        self.due_s = 0.0
        self.latest: tuple[float | None, str, str | None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class ProgressReports:
    """Passes on what functions report, in the pauses in which owners keep it."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        # A call of an earlier process of the dispatcher may still report, by a number of its own.
        self._next = secrets.randbits(48)
        self.deliver: Deliver = lambda *_: None

    @contextmanager
    def of(self, call: CallId) -> Iterator[int]:
        """Take reports of a call as long as it is made, under the number that is given."""
        self._next = number = self._next + 1
        self._calls[number] = _Call(call, asyncio.get_running_loop().time())
        try:
            yield number
        finally:
            timer = self._calls.pop(number).timer
            if timer is not None:
                timer.cancel()

    def take(
        self, number: int, fraction: float | None, message: str, log: str | None = None
    ) -> None:
        """Take a report; one of a call that is not made any more is dropped."""
        reports = self._calls.get(number)
        if reports is None:
            return
        if reports.latest is not None and fraction is None and not message:
            fraction, message, _ = reports.latest  # this is the place of the log alone
        reports.latest = fraction, message, log
        if reports.timer is None:
            loop = asyncio.get_running_loop()
            reports.timer = loop.call_at(max(reports.due_s, loop.time()), self._pass_on, reports)

    def _pass_on(self, reports: _Call) -> None:
        reports.timer = None
        if reports.latest is None:
            return
        now_s = asyncio.get_running_loop().time()
        passed_ms = round((now_s - reports.started_s) * 1000)
        # A little more than the owner's pause, whose clock is another one.
        reports.due_s = now_s + 1.1 * pause_ms(0, passed_ms) / 1000
        latest, reports.latest = reports.latest, None
        self.deliver(reports.call, *latest)
