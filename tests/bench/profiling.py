"""Where the time of the glue benchmark goes, by process and by part of the code.

    python -m tests.bench.profiling [--seconds S] [--concurrency C]

py-spy looks a hundred times a second at the thread that runs Python code in a process,
while executions are under way. What it saw is summed up by the module that was at work,
and shares of that are shares of the processor time that the process used. What SQLite and
Ray do without holding Python's lock is spread over the other lines. py-spy needs to be
allowed to look at other processes: as root, or with ``kernel.yama.ptrace_scope`` 0.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tests.bench import measuring
from tests.bench.stacks import Scene, functions, scene
from tests.cluster.processes import workers

PER_S: Final = 100
PARTS: Final = {
    "execution actor": "ExecutionActor",
    "dispatcher actor": "DispatcherActor",
    "replica": "ServeReplica",
}
TOP: Final = 12
SMALLEST_SHOWN: Final = 0.002
OURS: Final = re.compile(r"(?:^|/)(?P<path>(?:rillflow|serve)/.*)$")
NOT_OURS: Final = re.compile(r"site-packages/|(?:^|/)ray/")
FRAME: Final = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
ROOMS: Final = {
    "sqlite": "SQLite (journal and look-ups)",
    "msgspec": "msgspec",
    "aiohttp": "aiohttp",
    "yarl": "yarl and multidict",
    "multidict": "yarl and multidict",
    "uvicorn": "uvicorn",
    "starlette": "Starlette",
    "ray/serve": "Ray Serve",
    "ray": "Ray",
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "concurrent/futures": "threads and their queues",
    "threading": "threads and their queues",
    "queue": "threads and their queues",
}


def part_of(stack: str) -> str:
    """Return the part of the code that a stack of frames, outermost first, is at work in.

    That is the innermost module of Rillflow when the work was begun by one and goes on in
    the standard library, and otherwise the library that is innermost.
    """
    frames = [frame for each in reversed(stack.split(";")) if (frame := FRAME.match(each))]
    for frame in frames:
        file = frame["file"]
        ours = OURS.search(file)
        if ours and not NOT_OURS.search(file):
            return ours["path"]
        room = _room(file)
        if room is not None:
            return room
    return "other"


def _room(file: str) -> str | None:
    inside = file.rpartition("site-packages/")[2].rpartition("/lib/")[2]
    path = re.sub(r"^python3\.\d+/", "", inside)
    for prefix in sorted(ROOMS, key=len, reverse=True):
        if path.startswith((f"{prefix}/", f"{prefix}.")):
            return ROOMS[prefix]
    return None


def summed_up(lines: Iterable[str]) -> Counter[str]:
    """Count samples by part, from lines of ``frame;frame;frame count``."""
    counts: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack and count.isdecimal():
            counts[part_of(stack)] += int(count)
    return counts


def table(counts: Counter[str], us_per_task: float) -> list[str]:
    """Return Markdown rows: each part's share of the time of a process, and of a task."""
    total = sum(counts.values()) or 1
    rows = ["| part | share | us per task |", "|---|---|---|"]
    for part, count in counts.most_common(TOP):
        share = count / total
        rows.append(f"| {part} | {share:.0%} | {share * us_per_task:.0f} |")
    return [*rows, f"| all | 100% | {us_per_task:.0f} |"]


def main() -> None:
    """Profile the three processes at once and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make bench-profile")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--keep", type=Path, help="folder for the stacks that were seen")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        functions() as url,
        scene(url, seconds=chosen.seconds + 3, full=False) as stage,
    ):
        kept = chosen.keep or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        spies = _start_spies(stage, chosen.seconds, kept)
        cpu_before = stage.cpu_s_by_process()
        sample = measuring.measure(stage, "glue", chosen.concurrency)
        cpu = {
            name: spent - cpu_before.get(name, 0)
            for name, spent in stage.cpu_s_by_process().items()
        }
        tasks = sample.per_s * 5 * (sample.elapsed_s + measuring.WARM_UP_S)
        print(f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
        print(f"glue c={chosen.concurrency}, while looked at: {sample.per_s:.0f} executions/s")
        print(*cpu_table(cpu, tasks), sep="\n")
        for name, spy in spies.items():
            spent_s = sum(s for title, s in cpu.items() if title.startswith(f"ray::{PARTS[name]}"))
            print(f"\n{name}:\n", *table(spy.counts(), spent_s / tasks * 1e6), sep="\n")


def cpu_table(cpu_s: Mapping[str, float], tasks: float) -> list[str]:
    """Return Markdown rows: what each process spends on 1,000 tasks."""
    rows = ["| process | CPU-s per 1,000 tasks |", "|---|---|"]
    for name, spent in sorted(cpu_s.items(), key=lambda item: -item[1]):
        if spent / tasks * 1000 >= SMALLEST_SHOWN:
            rows.append(f"| {name} | {spent / tasks * 1000:.3f} |")
    return [*rows, f"| all | {sum(cpu_s.values()) / tasks * 1000:.3f} |"]


def _start_spies(stage: Scene, seconds: int, folder: Path) -> dict[str, "_Spy"]:
    spies = {name: _Spy(stage, title, seconds, folder) for name, title in PARTS.items()}
    for spy in spies.values():
        threading.Timer(2.0, spy.start).start()
    return spies


class _Spy:
    """py-spy on one process of the stack."""

    def __init__(self, stage: Scene, title: str, seconds: int, folder: Path) -> None:
        [pid] = workers(stage.stack.pid, title)
        self._file = folder / f"{title}.txt"
        self._command = [
            *(
                str(Path(sys.executable).with_name("py-spy")),
                "record",
                "--pid",
                str(pid),
                "--format",
                "raw",
                "--rate",
                str(PER_S),
            ),
            *("--duration", str(seconds), "--output", str(self._file), "--gil"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def counts(self) -> Counter[str]:
        """Wait for its end and sum up what it saw."""
        if self._process is None or self._process.wait(60):
            raise SystemExit(
                "py-spy could not look at a process of the stack; run this as root, or with"
                " kernel.yama.ptrace_scope = 0"
            )
        return summed_up(self._file.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
