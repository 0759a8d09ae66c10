"""Counting executions on a running stack, and what its processes cost meanwhile."""

import asyncio
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import uvloop

from tests.bench import workloads


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement: rates per second, times in milliseconds."""

    job: str
    concurrency: int
    executions_per_s: float
    tasks_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000_tasks: float

    def shown(self) -> str:
        """Return the row of the table."""
        return (
            f"{self.job:10} {self.concurrency:>5} {self.executions_per_s:>10.0f}"
            f" {self.tasks_per_s:>9.0f} {self.p50_ms:>9.1f} {self.p99_ms:>9.1f}"
            f" {self.cpu_s_per_1000_tasks:>10.2f}"
        )

    def facts(self) -> dict[str, object]:
        """Return the row as JSON."""
        return asdict(self)


HEADER = "job            c  executions/s  tasks/s    p50 ms    p99 ms  CPU-s/1000"
TASKS = {"glue": 5, "callback": 1, "fanout": 100}


def measure(base: str, job: str, concurrency: int, seconds: float, stack_pid: int) -> Row:
    """Keep executions under way for a while, after a warm-up, and count them."""
    return uvloop.run(_measure(base, job, concurrency, seconds, stack_pid))


async def _measure(base: str, job: str, concurrency: int, seconds: float, stack_pid: int) -> Row:
    took: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        await asyncio.gather(*(workloads.run(http, base, job) for _ in range(concurrency)))
        until = time.perf_counter() + seconds

        async def worker() -> None:
            while (begun := time.perf_counter()) < until:
                await workloads.run(http, base, job)
                took.append(time.perf_counter() - begun)

        cpu_before, begun = cpu_seconds(stack_pid), time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        elapsed, cpu_after = time.perf_counter() - begun, cpu_seconds(stack_pid)
    took.sort()
    tasks = len(took) * TASKS[job]
    return Row(
        job=job,
        concurrency=concurrency,
        executions_per_s=len(took) / elapsed,
        tasks_per_s=tasks / elapsed,
        p50_ms=statistics.median(took) * 1000,
        p99_ms=took[int(len(took) * 0.99)] * 1000,
        cpu_s_per_1000_tasks=(cpu_after - cpu_before) / tasks * 1000,
    )


def storm(base: str, count: int, concurrency: int) -> float:
    """Submit as fast as it goes and return submissions per second."""
    return uvloop.run(_storm(base, count, concurrency))


async def _storm(base: str, count: int, concurrency: int) -> float:
    left = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def worker() -> None:
            for _ in left:
                await workloads.submit(http, base, "glue")

        begun = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return count / (time.perf_counter() - begun)


def cpu_seconds(root_pid: int) -> float:
    """Return the processor time of a process and all its descendants so far."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])
            ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    return sum(count for pid, count in ticks.items() if _is_below(pid, root_pid, parents)) / 100


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == root:
            return True
        pid = parents.get(pid, 0)
    return False
