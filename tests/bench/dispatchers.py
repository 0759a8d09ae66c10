"""Calls to one host by one dispatcher and by two: ``make bench-dispatchers``.

    python -m tests.bench.dispatchers [rounds]

Dispatchers are processes of their own without Ray, as are the functions; this process orders the
calls and takes the answers, as an owner does, with many under way. For each number of
dispatchers it prints the calls in a second, the processor time of a call, that of each
dispatcher and that of all processes, and which part of a processor each dispatcher used. The first
passes calls on only above 0.6: on a machine that others keep busy it gets less, and does not.
"""

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Awaitable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from rillflow.actors.connections.frames import Serve, ServerConnection, SocketConnection
from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from rillflow.ports.gateway import DispatchRequest
from rillflow.ports.loops import decode_loop, encode_loop
from rillflow.ports.messages import (
    Answers,
    Dispatches,
    GetLoopState,
    GetMeters,
    GetProcessToken,
    decode_dispatcher_message,
    decode_owner_message,
    encode_message,
)
from rillflow.runtime.dispatch.client import Connection
from rillflow.runtime.dispatch.delegation import Delegation
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.runtime.process.loop_watch import LoopWatch
from tests.bench.stacks import cpu_s, functions
from tests.cluster.processes import announced, descendants

SECONDS: Final = 5.0
WARM_UP_S: Final = 4.0
"""The parts of the calls have settled then."""
UNDER_WAY: Final = 200
BATCH: Final = 20
OWNER: Final = "owner"
ANSWER_BYTES: Final = 1 << 28
HEAD: Final = (
    "| dispatchers | calls/s | CPU us a call: each dispatcher | all processes | busy |",
    "|---|---|---|---|---|",
)


class Round(NamedTuple):
    """What was measured with some dispatchers."""

    dispatchers: int
    per_s: float
    each_us: list[float]
    all_us: float
    busy: list[float]

    def __str__(self) -> str:
        each = " + ".join(f"{us:.0f}" for us in self.each_us)
        busy = " + ".join(f"{part:.2f}" for part in self.busy)
        return f"| {self.dispatchers} | {self.per_s:,.0f} | {each} | {self.all_us:.0f} | {busy} |"


def connection_to(path: Path) -> Connection:
    """Return a connection to the process that listens there, opened with the first message."""
    opened: list[SocketConnection] = []
    opening = asyncio.Lock()

    async def call(message: bytes) -> bytes:
        async with opening:
            while not opened:
                try:
                    opened.append(await SocketConnection.connect(str(path)))
                except OSError:
                    await asyncio.sleep(0.02)
        return await opened[0].call(message)

    return call


async def listen(path: Path, serve: Serve, name: str) -> asyncio.Server:
    """Answer messages there, as long as the server is kept."""
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(lambda: ServerConnection(serve, name), str(path))


async def dispatcher(folder: Path, name: str, others: list[str]) -> None:
    """Run a dispatcher in this process, with sockets in a folder, until killed."""
    logging.disable(logging.CRITICAL)  # at the end of a round nobody takes the answers
    watch, clock, budget = LoopWatch(name), SystemClock(), AnswerBudget(ANSWER_BYTES)
    registry = GatewayRegistry.with_http(HttpSettings(), clock, discover=False, budget=budget)
    delegated = HttpGateway(HttpSettings(), clock, budget, is_limited=False)
    connections = [connection_to(folder / other) for other in others]
    delegation = Delegation(name, "1", connections, busy=lambda: watch.busy, budget=budget)
    if others:
        registry.delegate_to(delegation)
    endpoint = DispatcherEndpoint(
        registry,
        life=name.encode(),
        connect=lambda sender: connection_to(folder / sender),
        hosts=registry.hosts,
        budget=budget,
        delegated=delegated,
        passes_on=registry,
    )

    def answer(data: bytes) -> bytes | Awaitable[bytes]:
        message = decode_dispatcher_message(data)
        if isinstance(message, GetLoopState):
            return encode_loop(watch.state())
        if isinstance(message, Answers):
            return delegation.answered(message.answers)
        assert not isinstance(message, GetMeters)
        return endpoint.answer(message)

    watch.start()
    async with await listen(folder / name, answer, name):
        tune_gc()
        print(f"ready {os.getpid()}", flush=True)
        await delegation.run()


class Owner:
    """Orders calls, so that always as many are under way, and counts the answers."""

    def __init__(self, folder: Path, url: str) -> None:
        self._dispatcher = connection_to(folder / "first")
        self._url = url
        self._numbers = iter(range(10**9))
        self._orders = iter(range(1, 10**9))
        self._due = 0
        self._came = asyncio.Event()
        self.calls = 0

    def take(self, data: bytes) -> bytes:
        """Take answers."""
        message = decode_owner_message(data)
        assert isinstance(message, Answers)
        assert not any(answer.error for answer in message.answers), message.answers[0].error
        self.calls += len(message.answers)
        self._due += len(message.answers)
        if self._due >= BATCH:
            self._came.set()
        return b""

    async def run(self) -> None:
        """Order until cancelled."""
        life = await self._dispatcher(encode_message(GetProcessToken()))
        self._due = UNDER_WAY
        while True:
            self._due, count = 0, self._due
            requests = [self._request() for _ in range(count)]
            order = Dispatches(OWNER, 1, next(self._orders), life, requests)
            await self._dispatcher(encode_message(order))
            await self._came.wait()
            self._came.clear()

    def _request(self) -> DispatchRequest:
        number = next(self._numbers)
        return DispatchRequest(
            execution_id=f"bench:calls_c_{number % 100}",
            task=f"step{number}",
            attempt=1,
            pattern="task_sync",
            resource_name=self._url,
            input=b'{"n":1}',
        )


async def measure(folder: Path, url: str, pids: dict[str, int], seconds: float) -> Round:
    """Order calls of the first of some dispatchers, and measure once all has settled."""
    owner = Owner(folder, url)
    async with await listen(folder / OWNER, owner.take, OWNER):
        ordering = asyncio.create_task(owner.run())
        await asyncio.sleep(WARM_UP_S)
        every = [*pids.values(), os.getpid(), *descendants(os.getpid())]
        before = {pid: cpu_s(pid) for pid in every}
        begun, calls = time.monotonic(), owner.calls
        await asyncio.sleep(seconds)
        took_s, calls = time.monotonic() - begun, owner.calls - calls
        spent = {pid: cpu_s(pid) - was for pid, was in before.items()}
        states = [
            await connection_to(folder / name)(encode_message(GetLoopState())) for name in pids
        ]
        ordering.cancel()
    return Round(
        dispatchers=len(pids),
        per_s=calls / took_s,
        each_us=[spent[pid] * 1e6 / calls for pid in pids.values()],
        all_us=sum(spent.values()) * 1e6 / calls,
        busy=[decode_loop(state).busy for state in states],
    )


def one_round(names: list[str], seconds: float) -> Round:
    """Start dispatchers of these names, and functions, and measure."""
    with ExitStack() as ends:
        place = ends.enter_context(tempfile.TemporaryDirectory(prefix="rfb-", dir="/tmp"))
        url = f"{ends.enter_context(functions())}/step/a"
        lines = [
            ends.enter_context(
                announced("-m", __spec__.name, place, *sorted(names, key=name.__ne__))
            )
            for name in names
        ]
        pids = {name: int(line.split()[1]) for name, line in zip(names, lines, strict=True)}
        return uvloop.run(measure(Path(place), url, pids, seconds))


def main() -> None:
    """Measure one and two dispatchers in turns, and print a table."""
    if len(sys.argv) > 2:
        folder, name, *others = sys.argv[1:]
        uvloop.run(dispatcher(Path(folder), name, others))
        return
    print("\n".join(HEAD))
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        for names in (["first"], ["first", "second"]):
            print(one_round(names, SECONDS), flush=True)


if __name__ == "__main__":
    main()
