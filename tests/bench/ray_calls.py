"""Calls of Python functions on Ray: tasks of nothing beside plain Ray, and a fan-out in batches."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import ray

from tests.bench import functions_on_ray, workloads
from tests.bench.figures import Figure
from tests.bench.measuring import Sample, measure, sampled
from tests.bench.references import apart
from tests.bench.stacks import scene

CONCURRENCY: Final = 64


def ray_calls(functions_url: str, *, seconds: float, full: bool, **parts: str) -> Iterator[Figure]:
    """Measure a stack whose tasks call functions on Ray, and plain Ray before it."""
    sample = apart(plain, CONCURRENCY, seconds)
    yield Figure(f"plain Ray c={CONCURRENCY}", "tasks/s", sample.per_s)
    callable_modules = {
        "RILLFLOW_RAY_MODULES": Path(functions_on_ray.__file__).stem,
        "RILLFLOW_RAY_PATH": str(Path(functions_on_ray.__file__).parent),
    }
    with scene(functions_url, seconds=seconds, full=full, **parts, **callable_modules) as stage:
        # The workers of functions start with the first calls; those of plain Ray are there before.
        measure(stage, "rayTask", CONCURRENCY)
        sample = measure(stage, "rayTask", CONCURRENCY)
        yield Figure(f"ray task c={CONCURRENCY}", "tasks/s", sample.per_s)
        job = workloads.JOBS["rayBatch"]
        sample = measure(stage, "rayBatch", 1)
        yield Figure(f"fanout of {job.calls:,} in batches", "items/s", sample.per_s * job.calls)


def plain(concurrency: int, seconds: float) -> Sample:
    """Make Ray tasks by a script."""
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    function: Any = ray.remote(functions_on_ray.step)

    async def once() -> None:
        await function.remote(n=0)

    try:
        return asyncio.run(sampled(once, concurrency, seconds))
    finally:
        ray.shutdown()
