"""Calls between two actors: over a socket, over TCP as between nodes, and over Ray.

    python -m tests.bench.messages [seconds]

For 1 and for 64 calls under way it prints how many are answered in a second, how long each takes
(median), and how much processor time it costs the caller, the called actor, and the processes of
Ray. A call carries the message of a query, of some 80 bytes, and its reply, as large calls do not
differ: they travel in batches. All ways run uvloop, as the actors of a stack do. The last lines
say what encoding and decoding take.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, Final, NamedTuple

import ray
import uvloop

from rillflow.actors.connections.frames import ANSWER
from rillflow.actors.connections.sockets import ASK_ADDRESS, SocketServer
from rillflow.actors.peers import Peer
from rillflow.ports.cluster import ActorReport
from rillflow.ports.deployment import PROTOCOL
from rillflow.ports.executions import Query, Reply, decode_replies, encode_replies
from rillflow.ports.messages import (
    Calls,
    decode_owner_message,
    encode_message,
    encode_network_address,
)
from tests.bench.stacks import cpu_s
from tests.cluster.processes import descendants

NAMESPACE: Final = "bench"
QUERY: Final = Query(
    execution_id="bench:messages_c_01890a5d-ac96-774b-bcce-b302099a8057", kind="status"
)
SECONDS: Final = 5.0
MANY: Final = 64
CODED: Final = 100_000


class Answering:
    """An actor that answers each call with a small body."""

    def __init__(self, way: str) -> None:
        self._way = way
        self._socket = SocketServer(self._answer, way)
        self._started = asyncio.create_task(self._socket.start())

    async def socket(self) -> tuple[str, str]:
        """Return where it is reached on its node; all but one say another node."""
        await self._started
        node: str = ray.get_runtime_context().get_node_id()
        return node if self._way == "socket" else "another", self._socket.path

    async def report(self) -> ActorReport:
        """Return what the other side looks at: the protocol."""
        return ActorReport(
            name=self._way, node="", pid=0, life="", is_ready=True, code_version=f"/{PROTOCOL}"
        )

    async def exchange(self, protocol: int, message: bytes) -> tuple[int, int, bytes]:
        """Take a message over Ray; one that is reached so has no address."""
        if self._way == "ray" and message == ASK_ADDRESS:
            return PROTOCOL, ANSWER, encode_network_address(None)
        return await self._socket.exchange(protocol, message)

    async def cpu_s(self) -> float:
        """Return the processor time of this process."""
        return time.process_time()

    async def _answer(self, data: bytes) -> bytes:
        message = decode_owner_message(data)
        assert isinstance(message, Calls)
        return encode_replies([Reply(body=b'"RUNNING"') for _ in message.calls])


class Cost(NamedTuple):
    """What a call costs: processor time of all who take part, in microseconds."""

    at_once: int
    calls_per_s: float
    median_us: float
    caller_us: float
    actor_us: float
    ray_us: float


def _ray_cpu_s(without: set[int]) -> float:
    """Return the processor time of Ray's own processes, so far."""
    return sum(cpu_s(pid) for pid in descendants(os.getpid()) if pid not in without)


async def _measured(
    ask: Callable[[], Awaitable[bytes]], actor: Any, at_once: int, seconds: float
) -> Cost:
    actor_pid = {await actor.__ray_call__.remote(lambda _: os.getpid())}
    took_s: list[float] = []

    async def caller(until_s: float) -> None:
        while (begun_s := time.perf_counter()) < until_s:
            decode_replies(await ask())
            took_s.append(time.perf_counter() - begun_s)

    async def all_callers(for_s: float) -> None:
        until_s = time.perf_counter() + for_s
        await asyncio.gather(*(caller(until_s) for _ in range(at_once)))

    await all_callers(0.5)
    took_s.clear()
    before = time.process_time(), await actor.cpu_s.remote(), _ray_cpu_s(actor_pid)
    await all_callers(seconds)
    after = time.process_time(), await actor.cpu_s.remote(), _ray_cpu_s(actor_pid)
    calls = len(took_s)
    costs_us = [1e6 * (end - start) / calls for start, end in zip(before, after, strict=True)]
    return Cost(at_once, calls / seconds, 1e6 * median(took_s), *costs_us)


async def _measure(handles: dict[str, Any], seconds: float) -> None:
    sys.stdout.write("way     at once   calls/s   median us   us CPU: caller   actor   Ray\n")
    for way, handle in handles.items():
        peer = Peer(way, NAMESPACE)

        async def ask(peer: Peer = peer) -> bytes:
            return await peer.call(encode_message(Calls([QUERY])))

        for at_once in (1, MANY):
            cost = await _measured(ask, handle, at_once, seconds)
            sys.stdout.write(
                f"{way:<8}{cost.at_once:>7}{cost.calls_per_s:>10.0f}{cost.median_us:>12.0f}"
                f"{cost.caller_us:>17.0f}{cost.actor_us:>8.0f}{cost.ray_us:>6.0f}\n"
            )
        peer.close()


def coding_us(calls: int) -> tuple[float, float]:
    """Return the processor time of encoding, and of decoding, a message with so many calls."""
    message = Calls([QUERY] * calls)
    data = encode_message(message)
    times = max(CODED // calls, 1)
    begun_s = time.process_time()
    for _ in range(times):
        encode_message(message)
    encoded_s = time.process_time()
    for _ in range(times):
        decode_owner_message(data)
    decoded_s = time.process_time()
    return 1e6 * (encoded_s - begun_s) / times, 1e6 * (decoded_s - encoded_s) / times


def main() -> None:
    """Start Ray, measure, and end it."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    ray.init(
        address="local",
        namespace=NAMESPACE,
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
    )
    actor = ray.remote(Answering)
    handles = {
        way: actor.options(
            name=way, num_cpus=0, max_concurrency=10_000, enable_task_events=False
        ).remote(way)
        for way in ("socket", "network", "ray")
    }
    uvloop.run(_measure(handles, seconds))
    ray.shutdown()
    for calls in (1, 64):
        encode_us, decode_us = coding_us(calls)
        sys.stdout.write(f"{calls} calls: encode {encode_us:.2f} us, decode {decode_us:.2f} us\n")


if __name__ == "__main__":
    main()
