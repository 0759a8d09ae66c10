"""Benchmarks of the whole path: Serve, actors, journal, dispatch, all on this machine.

    python -m tests.bench [--full] [--json FILE]

Starts a stack with a data folder of its own and the functions as another process, warms
up, and prints a table.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import aiohttp
import httpx

from tests.bench import measuring, workloads

HERE = Path(__file__).parent
SHORT = [("glue", (1, 64, 256)), ("callback", (64,)), ("fanout", (16,))]
FULL = [("glue", (1, 16, 64, 256)), ("callback", (1, 64)), ("fanout", (1, 16))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more rows, three runs of each")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one run")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    runs = 3 if options.full else 1
    print(f"load before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    with _functions() as functions_url, _stack() as (base, pid):
        asyncio.run(_add_all(base, functions_url))
        print(measuring.HEADER, flush=True)
        rows = []
        for job, concurrencies in FULL if options.full else SHORT:
            for concurrency in concurrencies:
                measured = [
                    measuring.measure(base, job, concurrency, options.seconds, pid)
                    for _ in range(runs)
                ]
                middle = statistics.median_low([row.executions_per_s for row in measured])
                row = next(row for row in measured if row.executions_per_s == middle)
                rows.append(row)
                print(row.shown(), flush=True)
        rate = measuring.storm(base, 10_000 if options.full else 3_000, 64)
        print(f"submit storm: {rate:.0f} submissions/s")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        facts = {"rows": [row.facts() for row in rows], "submissions_per_s": rate}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


async def _add_all(base: str, functions_url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for name, definition in workloads.DEFINITIONS.items():
            await workloads.add(http, base, name, definition(functions_url))


@contextmanager
def _functions() -> Iterator[str]:
    command = [sys.executable, str(HERE / "function_server.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://{_line_of(process.stdout).split()[1]}"
        finally:
            process.kill()


@contextmanager
def _stack() -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        port = _free_port()
        program = str(Path(sys.executable).with_name("rillflow"))
        command = [program, "up", "--port", str(port), "--data-dir", folder]
        begun = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                base = f"http://127.0.0.1:{port}"
                _await(f"{base}/readyz")
                print(f"rillflow up answered after {time.monotonic() - begun:.1f} s")
                yield base, process.pid
            finally:
                process.terminate()
                process.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await(url: str) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            httpx.get(url, timeout=5).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)
        else:
            return


def _line_of(stream: IO[str] | None) -> str:
    return stream.readline() if stream else ""


if __name__ == "__main__":
    main()
