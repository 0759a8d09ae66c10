"""Measure the HTTP gateway against a bare server in a process of its own.

Run it as ``python tests/bench/bench_gateway.py [seconds] [concurrency]``. The server
answers every request with the same bytes, so the figures are about the calling side:
building the request, sending it, and reading the answer.
"""

import asyncio
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from typing import Final

from rillflow.gateways.http import HttpGateway
from rillflow.gateways.requests import build_request
from rillflow.gateways.settings import HttpSettings
from rillflow.ports.gateway import DispatchRequest

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n"
BODY: Final = b'{"ok":true}'
INPUT: Final = b'{"query":{"user":"Bob"},"text":"the quick brown fox","number":42,"flag":true}'
BUILDS: Final = 5_000


class WallClock:
    """Time as the machine has it."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class BareServer(asyncio.Protocol):
    """Answers each request, found by its length, without reading it."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        if len(rest) >= length:
            self._buffer = rest[length:]
            if isinstance(self._transport, asyncio.WriteTransport):
                self._transport.write(ANSWER + BODY)


async def serve(ready: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(BareServer, "127.0.0.1", 0)
    ready.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def run_server(ready: Connection) -> None:
    asyncio.run(serve(ready))


def request(url: str, number: int) -> DispatchRequest:
    return DispatchRequest(
        execution_id="bench:gateway_c_0190f3a2-0000-7000-8000-000000000000",
        task="A",
        attempt=number,
        pattern="task_sync",
        resource_name=url,
        input=INPUT,
    )


async def measure(url: str, *, seconds: float, concurrency: int) -> None:
    gateway = HttpGateway(HttpSettings(), WallClock())
    deadline = time.perf_counter() + seconds
    made, failed = 0, 0

    async def caller() -> None:
        nonlocal made, failed
        while time.perf_counter() < deadline:
            made += 1
            answer = await gateway.call(request(url, made))
            failed += answer.body != BODY

    started, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    took, used = time.perf_counter() - started, time.process_time() - used
    await gateway.close()
    show(f"calls at concurrency {concurrency}", f"{made / took:,.0f}/s, {failed} failed")
    show("processor time of a call", f"{used / made * 1e6:.0f} us")


def measure_building(url: str) -> None:
    settings = HttpSettings()
    started = time.perf_counter()
    for number in range(BUILDS):
        build_request(request(url, number), settings, now_ms=number)
    took = time.perf_counter() - started
    show("building a request, of that", f"{took / BUILDS * 1e6:.0f} us")


def show(what: str, figure: str) -> None:
    sys.stdout.write(f"{what:<32}{figure}\n")


def main() -> None:
    given = [float(text) for text in sys.argv[1:]]
    seconds, concurrency = (*given, *(3.0, 64.0)[len(given) :])
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=run_server, args=(there,))
    process.start()
    try:
        url = f"http://127.0.0.1:{here.recv()}/function/work"
        asyncio.run(measure(url, seconds=seconds, concurrency=int(concurrency)))
        measure_building(url)
    finally:
        process.kill()
        process.join()


if __name__ == "__main__":
    main()
