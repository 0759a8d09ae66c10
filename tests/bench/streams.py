"""What open streams of changes cost, and how soon they tell an update.

    python -m tests.bench.streams [--streams 1000] [--seconds 8] [--rounds 3]

Runs a stack and five HTTP tasks in a row, 64 at once, in turns without streams and with so many
open: of executions that wait, of the list of a workflow that does not run, and of the list of the
one that runs. Prints executions a second, and the processor time of the stack (not of the readers
of the streams, which share the machine) for 1,000 of them. Then pauses and resumes an execution and
prints how long after the request was sent its stream and that of its list told the update.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from tests.bench import measuring
from tests.bench.stacks import Scene, functions, scene

V1: Final = "/flow/console/v1/"
CONCURRENCY: Final = 64
UPDATES: Final = 100
BUSY: Final = "the list that changes"
KINDS: Final = ("executions that wait", "a list at rest", BUSY)
_OPEN: Final = "open"


def paths_of(kind: str, execution_ids: list[str]) -> list[str]:
    """Return the addresses of the streams of a kind, one after the other."""
    if kind == "executions that wait":
        return [f"{V1}execution.stream?execution_id={each}" for each in execution_ids]
    return [f"{V1}executions.stream?flow=bench:{'glue' if kind == BUSY else 'slow'}"]


async def events_of(base: str, path: str) -> AsyncIterator[bytes]:
    """Open a stream and yield what it sends, as it comes; the first piece has its beginning."""
    address = urlsplit(base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: text/event-stream\r\n\r\n"
        writer.write(head.encode())
        while piece := await reader.read(1 << 16):
            yield piece
    finally:
        writer.close()


async def read_all(base: str, paths: list[str], count: int) -> None:
    """Keep so many streams open, and read what they send; say when all are open."""
    opened = 0
    is_open = asyncio.Event()

    async def read(path: str) -> None:
        nonlocal opened
        has_begun = False
        async for piece in events_of(base, path):
            if not has_begun and b"event:" in piece:
                has_begun = True
                opened += 1
                if opened == count:
                    is_open.set()
        raise RuntimeError(f"a stream has ended, after {opened} of {count} were open: {path}")

    tasks = [asyncio.create_task(read(paths[number % len(paths)])) for number in range(count)]
    waiting = asyncio.create_task(is_open.wait())
    await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    if is_open.is_set():
        print(_OPEN, flush=True)
    await asyncio.gather(*tasks)


@contextmanager
def reading(base: str, paths: list[str], count: int) -> Iterator[None]:
    """Have another process read so many streams."""
    command = [sys.executable, "-m", "tests.bench.streams", "--read", base]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"paths": paths, "count": count}))
            process.stdin.close()
            if process.stdout.readline().strip() != _OPEN:
                raise RuntimeError("the streams could not be opened")
            yield
        finally:
            process.kill()


def throughput(stage: Scene) -> tuple[float, float]:
    """Return executions a second, and processor time in s for 1,000 executions."""
    cpu_s = stage.cpu_s()
    sample = measuring.measure(stage, "glue", CONCURRENCY)
    cpu_s = stage.cpu_s() - cpu_s
    count = sample.per_s * (sample.elapsed_s + measuring.WARM_UP_S)
    return sample.per_s, cpu_s / count * 1000


def measure_costs(stage: Scene, execution_ids: list[str], streams: int, rounds: int) -> None:
    """Print what streams cost, each kind beside none."""
    print(f"{'':28}{'executions/s':>14}{'of none':>9}{'CPU-s/1,000':>13}{'of none':>9}")
    for kind in KINDS:
        without: list[tuple[float, float]] = []
        with_streams: list[tuple[float, float]] = []
        for _ in range(rounds):
            without.append(throughput(stage))
            with reading(stage.base, paths_of(kind, execution_ids), streams):
                with_streams.append(throughput(stage))
        (rate, cost), (base_rate, base_cost) = (
            [statistics.median(column) for column in zip(*found, strict=True)]
            for found in (with_streams, without)
        )
        print(
            f"{kind:28}{rate:14.0f}{rate / base_rate:9.2f}{cost:13.2f}{cost / base_cost:9.2f}",
            flush=True,
        )


async def update_times(base: str, path: str, execution_id: str) -> list[float]:
    """Pause and resume an execution; return how long a stream took to tell each, in ms, sorted."""
    told: asyncio.Queue[float] = asyncio.Queue()

    async def listen() -> None:
        async for piece in events_of(base, path):
            if execution_id.encode() in piece or b'"paused"' in piece:
                told.put_nowait(time.perf_counter())

    listening = asyncio.create_task(listen())
    took: list[float] = []
    async with httpx.AsyncClient(base_url=base) as client:
        await asyncio.sleep(1)  # until the stream is open
        for number in range(UPDATES):
            while not told.empty():
                told.get_nowait()
            begun_s = time.perf_counter()
            verb = "resume" if number % 2 else "pause"
            (
                await client.post(f"/flow/{verb}.json", params={"execution_id": execution_id})
            ).raise_for_status()
            took.append((await asyncio.wait_for(told.get(), 10) - begun_s) * 1000)
            await asyncio.sleep(0.05 + number % 7 * 0.02)  # at any place of a tenth of a second
    listening.cancel()
    return sorted(took)


def measure_updates(stage: Scene, execution_ids: list[str], streams: int) -> None:
    """Print how soon updates are told, alone and beside many other streams."""
    one = execution_ids[0]
    paths = {
        "its own stream": f"{V1}execution.stream?execution_id={one}",
        "the list": f"{V1}executions.stream?flow=bench",
    }
    print(f"\n{'update told by':40}{'p50 ms':>9}{'p95 ms':>9}{'longest':>9}")
    for what, path in paths.items():
        print_times(what, asyncio.run(update_times(stage.base, path, one)))
    others = [f"{V1}executions.stream?flow=bench"]
    with reading(stage.base, others, streams - 1):
        for what, path in paths.items():
            took = asyncio.run(update_times(stage.base, path, one))
            print_times(f"{what}, beside {streams - 1} of the list", took)


def print_times(what: str, took: list[float]) -> None:
    """Print one line of times."""
    p50, p95 = (measuring.percentile(took, percent) for percent in (50, 95))
    print(f"{what:40}{p50:9.0f}{p95:9.0f}{took[-1]:9.0f}", flush=True)


def submit_waiting(base: str, count: int) -> list[str]:
    """Start executions that wait for a callback."""
    with httpx.Client(base_url=base) as client:
        query = {"descriptor_id": "bench:parked"}
        answers = [client.post("/flow/submit.json", params=query, json={}) for _ in range(count)]
    return [str(each.raise_for_status().json()["execution_id"]) for each in answers]


def main() -> None:
    """Measure, or read streams for a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.read:
        asked: dict[str, Any] = json.loads(sys.stdin.read())
        asyncio.run(read_all(chosen.read, asked["paths"], asked["count"]))
        return
    with (
        functions() as functions_url,
        scene(functions_url, seconds=chosen.seconds, full=False) as stage,
    ):
        execution_ids = submit_waiting(stage.base, chosen.streams)
        measure_updates(stage, execution_ids, chosen.streams)
        print()
        measure_costs(stage, execution_ids, chosen.streams, chosen.rounds)


if __name__ == "__main__":
    main()
