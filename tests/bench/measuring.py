"""Measurements on a running stack: rates, waiting times, and what its processes cost."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple

import uvloop

from tests.bench import workloads
from tests.bench.figures import Figure
from tests.bench.lean_http import lean_client
from tests.bench.stacks import Scene

RELAYS_PER_S: Final = 200
RETRIES_PER_WAVE: Final = 600
STORM: Final = 10_000
PARKED: Final = 10_000
MANY_PARKED: Final = 100_000
CALLERS: Final = 64
PATIENCE_S: Final = 90.0
MOST_COMPLETING_S: Final = 600.0
WARM_UP_S: Final = 1.0


class Sample(NamedTuple):
    """Executions that ended within a measurement, and how long each took, sorted."""

    took_s: list[float]
    elapsed_s: float

    @property
    def per_s(self) -> float:
        """Executions per second."""
        return len(self.took_s) / self.elapsed_s

    def percentile_ms(self, percent: int) -> float:
        """Return how long that many percent of them took at most."""
        return percentile(self.took_s, percent) * 1000


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that so many percent of the sorted values do not exceed."""
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


async def sampled(once: Callable[[], Awaitable[None]], concurrency: int, seconds: float) -> Sample:
    """Do something over and over, so many at once, after a warm-up."""
    took: list[float] = []
    warm = time.perf_counter() + WARM_UP_S

    async def worker(until: float, into: list[float]) -> None:
        while (begun := time.perf_counter()) < until:
            await once()
            into.append(time.perf_counter() - begun)

    await asyncio.gather(*(worker(warm, []) for _ in range(concurrency)))
    begun = time.perf_counter()
    await asyncio.gather(*(worker(begun + seconds, took) for _ in range(concurrency)))
    return Sample(sorted(took), time.perf_counter() - begun)


def measure(scene: Scene, job: str, concurrency: int) -> Sample:
    """Keep executions of a job under way for a while."""

    async def keep() -> Sample:
        async with lean_client(scene.base) as http:
            return await sampled(lambda: workloads.run(http, job), concurrency, scene.seconds)

    return uvloop.run(keep())


def up(scene: Scene) -> Iterator[Figure]:
    """Measure how long the start took, and the memory of the stack before any load."""
    yield Figure("up to first answer", "s", scene.up_s)
    yield Figure("idle stack", "MB", scene.memory_bytes() / 1e6)


def glue(scene: Scene) -> Iterator[Figure]:
    """Measure five synchronous tasks in a row."""
    for concurrency in (1, 16, 64, 256):
        name = f"glue c={concurrency}"
        cpu_s = scene.cpu_s()
        sample = measure(scene, "glue", concurrency)
        cpu_s = scene.cpu_s() - cpu_s
        yield Figure(name, "executions/s", sample.per_s)
        yield Figure(f"{name} p50", "ms", sample.percentile_ms(50))
        yield Figure(f"{name} p99", "ms", sample.percentile_ms(99))
        if concurrency == 64:
            # The warm-up is in the processor time too, so it is in the tasks.
            tasks = sample.per_s * (sample.elapsed_s + WARM_UP_S) * 5
            yield Figure(f"{name}, 1,000 tasks", "CPU-s", cpu_s / tasks * 1000)


def callback(scene: Scene) -> Iterator[Figure]:
    """Measure one asynchronous task that calls back at once."""
    for concurrency in (1, 64):
        sample = measure(scene, "callback", concurrency)
        yield Figure(f"callback c={concurrency}", "executions/s", sample.per_s)
        yield Figure(f"callback c={concurrency} p50", "ms", sample.percentile_ms(50))


def latency(scene: Scene) -> Iterator[Figure]:
    """Measure from a callback's sending to the next call's arrival, 200 times a second."""
    count = int(RELAYS_PER_S * max(scene.seconds, 2))
    for measured in (False, True):
        scene.notes(forget=True)
        uvloop.run(_submit_paced(scene, "relay", RELAYS_PER_S, count if measured else RELAYS_PER_S))
        found = _await_notes(scene, "next_after_s", count if measured else RELAYS_PER_S)
    yield Figure("callback to next call p50", "ms", percentile(found, 50) * 1000)
    yield Figure("callback to next call p99", "ms", percentile(found, 99) * 1000)


def fanout(scene: Scene) -> Iterator[Figure]:
    """Measure a foreach over 100 and over 10,000 items, ten at once and all at once."""
    for job, at_once, concurrency in (
        ("fanout", "10", 1),
        ("fanout", "10", 16),
        ("fanoutAll", "all", 16),
        ("wide", "10", 1),
        ("wideAll", "all", 1),
    ):
        items = workloads.JOBS[job].calls
        sample = measure(scene, job, concurrency)
        name = f"fanout of {items:,}, {at_once} at once, c={concurrency}"
        yield Figure(name, "items/s", sample.per_s * items)


def storm(scene: Scene) -> Iterator[Figure]:
    """Measure how fast submissions are taken."""
    begun = time.perf_counter()
    submitted = uvloop.run(_submit_all(scene, "glue", STORM))
    yield Figure("submit storm", "submissions/s", len(submitted) / (time.perf_counter() - begun))
    _settle(scene)


def park(scene: Scene) -> Iterator[Figure]:
    """Measure what executions that wait for a callback take beside half as many others."""
    parked = uvloop.run(_submit_all(scene, "parked", PARKED // 2))
    _settle(scene)
    before = scene.memory_bytes()
    parked += uvloop.run(_submit_all(scene, "parked", PARKED))
    _settle(scene)
    grown = scene.memory_bytes() - before
    yield Figure("parked execution", "KB", grown / PARKED / 1000)
    if scene.full:
        yield from _park_many(scene, parked)


def _park_many(scene: Scene, parked: list[str]) -> Iterator[Figure]:
    """Go on to 100,000, then call all of them back."""
    before = scene.memory_bytes()
    fewer = len(parked)
    parked += uvloop.run(_submit_all(scene, "parked", MANY_PARKED - fewer))
    _settle(scene)
    grown = scene.memory_bytes() - before
    name = f"growth from {fewer:,} to {MANY_PARKED:,} parked executions"
    yield Figure(name, "MB", grown / 1e6)
    begun = time.perf_counter()
    uvloop.run(_call_back_all(scene, parked))
    while (left := len(parked) - scene.ended("parked")) > 0:
        if time.perf_counter() - begun > MOST_COMPLETING_S:
            raise SystemExit(f"{left} of {len(parked)} parked executions have not ended")
        time.sleep(0.1)
    took_s = time.perf_counter() - begun
    yield Figure(
        "parked executions that were called back and ended", "executions/s", len(parked) / took_s
    )


def timers(scene: Scene) -> Iterator[Figure]:
    """Measure how late retries come that are all due in the same second."""
    for count in (1_000, 10_000):
        scene.notes(forget=True)
        uvloop.run(_submit_retries(scene, count))
        late_s = _await_notes(scene, "late_s", count)
        for percent in (50, 99):
            name = f"{count:,} retries in a second, late p{percent}"
            yield Figure(name, "ms", percentile(late_s, percent) * 1000)


async def _submit_all(scene: Scene, job: str, count: int) -> list[str]:
    left = iter(range(count))
    submitted: list[str] = []
    async with lean_client(scene.base) as http:

        async def worker() -> None:
            submitted.extend([await workloads.submit(http, job) for _ in left])

        await asyncio.gather(*(worker() for _ in range(CALLERS)))
    return submitted


async def _call_back_all(scene: Scene, execution_ids: list[str]) -> None:
    left = iter(execution_ids)
    async with lean_client(scene.base) as http:

        async def worker() -> None:
            for execution_id in left:
                await workloads.call_back(http, execution_id)

        await asyncio.gather(*(worker() for _ in range(CALLERS)))


async def _submit_paced(
    scene: Scene, job: str, per_s: float, count: int, *, first: int = 0
) -> None:
    """Submit at a steady rate, whatever becomes of it; ``n`` counts up from ``first``."""
    begun = time.perf_counter()
    async with lean_client(scene.base) as http, asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(begun + number / per_s - time.perf_counter())
            data = b'{"n":%d}' % (first + number)
            group.create_task(workloads.submit(http, job, data))


async def _submit_retries(scene: Scene, count: int) -> None:
    """Submit executions that fail once, in waves a second apart, all due at the same time."""
    waves = math.ceil(count / RETRIES_PER_WAVE)
    begun = time.perf_counter()
    for wave in range(waves):
        await asyncio.sleep(begun + wave - time.perf_counter())
        first = wave * RETRIES_PER_WAVE
        in_wave = min(RETRIES_PER_WAVE, count - first)
        job = f"retry{waves - wave + 1}"
        await _submit_paced(scene, job, RETRIES_PER_WAVE * 1.1, in_wave, first=first)


def _await_notes(scene: Scene, kind: str, count: int) -> list[float]:
    give_up = time.monotonic() + PATIENCE_S
    while len(found := scene.notes()[kind]) < count:
        if time.monotonic() > give_up:
            raise SystemExit(f"only {len(found)} of {count} calls came (see {kind} of the notes)")
        time.sleep(0.2)
    return sorted(found)


def _settle(scene: Scene) -> None:
    """Wait until the stack has done what it was given: until it hardly uses the processors."""
    give_up = time.monotonic() + PATIENCE_S
    idle = 0
    while idle < 3 and time.monotonic() < give_up:
        before = scene.cpu_s()
        time.sleep(0.5)
        idle = idle + 1 if scene.cpu_s() - before < 0.1 else 0
