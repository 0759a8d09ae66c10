"""Calls that take their turns on a loop of virtual time: no sockets, and no waiting."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, Final

from rillflow.errors import BrokenExchangeError, NotConnectedError
from rillflow.gateways.limits.call_timeout import CallTimeout
from rillflow.gateways.limits.concurrency import caller_of
from rillflow.gateways.limits.deadlines import Deadlines
from rillflow.gateways.limits.limiter import CallLimiter
from rillflow.gateways.outbound.exchange import Reply
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.targets import parse_http_url
from rillflow.ports.gateway import CircuitState, HostState
from tests.loopback import StoppedClock, attempt
from tests.simulation.virtual_loop import VirtualLoop

HOST: Final = "http://functions.test"
UNREACHED: Final = 0
BROKEN: Final = 1
"""Statuses of calls that get no connection, or no whole answer."""


def lively(hosts: list[HostState]) -> list[HostState]:
    """Leave out hosts that nobody calls now, and nothing is the matter with."""
    return [host for host in hosts if host.idle_s is None or host.host.failures or host.functions]


class Calls:
    """Makes calls, and keeps when each of them went out."""

    def __init__(self, **settings: Any) -> None:
        self.loop = VirtualLoop(Random(7))
        self.turns = CallLimiter(HttpSettings(**settings), StoppedClock())
        self.deadlines = Deadlines()
        self.began: list[tuple[str, float]] = []
        self.left: list[HostState] = []

    async def call(
        self,
        status: int = 200,
        *,
        to: str = f"{HOST}/work",
        name: str = "",
        takes_s: float = 0.0,
        timeout_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Make one call that is answered with a status."""
        request = attempt(to, timeout_s=timeout_s)
        target = parse_http_url(to)
        names = target.origin, f"{target.origin}{target.path}"
        with CallTimeout(self.deadlines) as limit:
            turn = self.turns.turn(caller_of(request), timeout_s, names, limit)
            if not turn.begins_at_once():
                await turn.begin()
            with turn:
                self.began.append((name or to, round(self.loop.time(), 6)))
                if timeout_s is not None:
                    limit.reschedule(self.loop.time() + timeout_s)
                await asyncio.sleep(takes_s)
                if status == UNREACHED:
                    raise NotConnectedError("nobody there")
                if status == BROKEN:
                    raise BrokenExchangeError("the answer broke off")
                turn.answered(Reply(status, "", headers or {}, b""))

    async def fail(self, times: int, status: int = 500, *, to: str = f"{HOST}/work") -> None:
        """Make calls that fail, one after the other."""
        for _ in range(times):
            await asyncio.gather(self.call(status, to=to, name="failing"), return_exceptions=True)

    def start(self, status: int = 200, **differs: Any) -> "asyncio.Task[None]":
        """Start a call and let it be."""
        task = self.loop.create_task(self.call(status, **differs))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def pass_time(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    def when(self, name: str) -> list[float]:
        """Return when calls of a name went out."""
        return [at_s for began, at_s in self.began if began == name]

    def host(self, name: str = HOST) -> HostState | None:
        """Return what is shown of a host."""
        return next((host for host in self.turns.hosts() if host.host.name == name), None)

    def function(self, address: str = f"{HOST}/work") -> CircuitState | None:
        """Return what is shown of a function."""
        functions = [each for host in self.turns.hosts() for each in host.functions]
        return next((each for each in functions if each.name == address), None)

    def run(self, scene: Coroutine[Any, Any, None]) -> None:
        """Run a scene to its end, and keep which hosts are used or in trouble then."""

        async def whole() -> None:
            await scene
            self.left = lively(self.turns.hosts())

        self.loop.run_until_complete(whole())
        self.loop.bury(())
