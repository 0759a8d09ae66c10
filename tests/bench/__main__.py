"""Measure the whole path on this machine and print a table; ``--help`` explains it."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.bench import figures, measuring, micro, options, postgres, readers, references
from tests.bench.cluster import cluster
from tests.bench.figures import Figure
from tests.bench.ray_calls import ray_calls
from tests.bench.stacks import Scene, functions, scene, store_of
from tests.bench.tracing import traces

ON_A_STACK: Final[dict[str, Callable[[Scene], Iterator[Figure]]]] = {
    "up": measuring.up,
    "glue": measuring.glue,
    "callback": measuring.callback,
    "latency": measuring.latency,
    "fanout": measuring.fanout,
    "storm": measuring.storm,
    "timers": measuring.timers,
}


def main() -> None:
    """Measure, print, and write the results."""
    chosen = options.parse()
    load_before = os.getloadavg()[0]
    _say(f"{os.cpu_count()} cores, load {load_before:.2f} before")
    runs = []
    for number in range(1, chosen.runs + 1):
        _say(f"run {number} of {chosen.runs}: {', '.join(chosen.only)}")
        runs.append(list(_run(chosen)))
    found = figures.with_ratios(figures.medians(runs))
    committed = _read(options.HERE / "committed.json")
    print(figures.HEADER)
    for row in figures.rows(found, committed):
        print(figures.shown(row))
    load_after = os.getloadavg()[0]
    print(f"medians of {chosen.runs}; load {load_before:.2f} before, {load_after:.2f} after")
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": round(load_before, 2),
        "load_after": round(load_after, 2),
        "runs": chosen.runs,
        "seconds": chosen.seconds,
        "parts": options.environment(chosen),
        "date": time.strftime("%Y-%m-%d"),
    }
    text = json.dumps(figures.document(runs, found, machine), indent=1) + "\n"
    for path in filter(None, (chosen.json, chosen.commit)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _run(chosen: argparse.Namespace) -> Iterator[Figure]:
    """Measure everything once; the yardstick is always among it."""
    with functions() as functions_url:
        if "references" in chosen.only:
            yield from _telling(references.references(functions_url, chosen.seconds))
        else:
            yield from _telling(references.yardstick(functions_url, chosen.seconds))
        wanted = [ON_A_STACK[name] for name in chosen.only if name in ON_A_STACK]
        if wanted:
            with _stage(functions_url, chosen) as stage:
                for measure in wanted:
                    yield from _telling(measure(stage))
        if "park" in chosen.only:
            # Memory that other jobs have left would be used first, and not be seen.
            with _stage(functions_url, chosen) as stage:
                yield from _telling(measuring.park(stage))
        if "ray" in chosen.only:
            with store_of(options.environment(chosen)) as parts:
                found = ray_calls(functions_url, seconds=chosen.seconds, full=chosen.full, **parts)
                yield from _telling(found)
        if "traces" in chosen.only:
            with store_of(options.environment(chosen)) as parts:
                found = traces(functions_url, seconds=chosen.seconds, full=chosen.full, **parts)
                yield from _telling(found)
        if "cluster" in chosen.only:
            yield from _telling(cluster(functions_url, chosen.seconds))
    yield from _apart(chosen)


def _apart(chosen: argparse.Namespace) -> Iterator[Figure]:
    """Measure what needs no functions."""
    if "postgres" in chosen.only:
        yield from _telling(postgres.postgres(chosen.seconds / 2))
    if "micro" in chosen.only:
        yield from _telling(micro.micro(chosen.seconds / 2))
    if "readers" in chosen.only:
        yield from _telling(readers.readers())


@contextmanager
def _stage(functions_url: str, chosen: argparse.Namespace) -> Iterator[Scene]:
    """Run the stack that was chosen."""
    with (
        store_of(options.environment(chosen)) as environment,
        scene(functions_url, seconds=chosen.seconds, full=chosen.full, **environment) as stage,
    ):
        yield stage


def _telling(found: Iterator[Figure]) -> Iterator[Figure]:
    """Say each figure as soon as it is there."""
    for figure in found:
        _say(f"  {figure.name}: {figure.value:,.2f} {figure.unit}")
        yield figure


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    main()
