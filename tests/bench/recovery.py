"""How soon executions go on after a kill -9: of their actor, and of the whole server.

    python -m tests.bench.recovery [--kills N] [--running N]

Executions of many steps of 0.1 s are under way. An execution has gone on when a call of a
later step than before the kill arrives at its function (after a kill of the whole server:
a call at all, since what made calls before is gone).
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.bench import workloads
from tests.bench.lean_http import lean_client
from tests.bench.stacks import Scene, functions
from tests.cluster.processes import OwnStack, kill, workers
from tests.loopback import closed_port

APART: Final = 1000
"""Executions count their steps from multiples of this, so that calls tell whose they are."""
ACTOR_GOAL_S: Final = 1.0
SERVER_GOAL_S: Final = 5.0
UNDER_LOAD: Final = 64
LATE_S: Final = 0.05
"""What arrives so soon after the kill of an actor had left it before."""
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.3
RUN_S: Final = 0.5
CALLERS: Final = 32
FIRST_OF_SERVER: Final = 100_000
"""Far above the numbers of the executions before, so that these are not taken for others."""
Calls = Sequence[tuple[int, float]]


def main() -> None:
    """Measure both and print a table."""
    chosen = _parse()
    print(f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores before")
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder, functions() as url:
        stack = OwnStack(Path(folder) / "data", closed_port())
        stage = Scene(stack, url, up_s=0, seconds=0, full=False)
        try:
            stack.start()
            asyncio.run(workloads.add_all(stage.base, url))
            print("| what is killed | of that | goal | first goes on | all have gone on |")
            print("|---|---|---|---|---|")
            _report_actor([_kill_actor(stage, number) for number in range(chosen.kills)])
            _report_server(chosen.running, *_kill_server(stage, chosen.running))
        finally:
            stack.stop()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-recovery, or python -m tests.bench.recovery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=5, help="kills of the actor (5)")
    parser.add_argument(
        "--running", type=int, default=1000, help="executions that run when the server dies (1000)"
    )
    return parser.parse_args()


def _report_actor(took: Sequence[tuple[float, float]]) -> None:
    first, everything = (statistics.median(each) for each in zip(*took, strict=True))
    each = ", ".join(f"{all_s:.2f}" for _, all_s in took)
    print(
        f"| an execution actor under load | {UNDER_LOAD} running, median of {len(took)}"
        f" | {ACTOR_GOAL_S:.1f} s | {first:.2f} s | {everything:.2f} s ({each}) |",
        flush=True,
    )


def _report_server(running: int, first_s: float, all_s: float, up_s: float) -> None:
    print(
        f"| the whole server, from its first answer | {running:,} running"
        f" | {SERVER_GOAL_S:.1f} s | {first_s:.2f} s | {all_s:.2f} s |"
        f"\n\nthe new server's first answer came {up_s:.2f} s after its start"
    )


def _kill_actor(stage: Scene, number: int) -> tuple[float, float]:
    """Return after how many seconds the first, and the last, execution has gone on."""
    stage.notes(forget=True)
    numbers = range(number * UNDER_LOAD, (number + 1) * UNDER_LOAD)
    _submit(stage, numbers)
    _await_all(stage, numbers, first_calls)
    time.sleep(RUN_S)
    [pid] = workers(stage.stack.pid, "ExecutionActor")
    killed_s = time.monotonic()
    kill(pid)
    gone_on = _await_all(stage, numbers, lambda calls: later_steps(calls, killed_s + LATE_S))
    _await_all(stage, numbers, last_steps)
    return min(gone_on) - killed_s, max(gone_on) - killed_s


def _kill_server(stage: Scene, running: int) -> tuple[float, float, float]:
    """Return when the first, and the last, execution has gone on, and how long the start took.

    The first two are seconds after the new server's first answer.
    """
    stage.notes(forget=True)
    numbers = range(FIRST_OF_SERVER, FIRST_OF_SERVER + running)
    _submit(stage, numbers)
    _await_all(stage, numbers, first_calls)
    stage.stack.kill()
    stage.notes(forget=True)
    begun_s = time.monotonic()
    stage.stack.start()
    answered_s = time.monotonic()
    gone_on = _await_all(stage, numbers, first_calls)
    return (
        max(0.0, min(gone_on) - answered_s),
        max(0.0, max(gone_on) - answered_s),
        answered_s - begun_s,
    )


def first_calls(calls: Calls) -> dict[int, float]:
    """Return when each execution was first called for."""
    found: dict[int, float] = {}
    for n, at_s in calls:
        found.setdefault(n // APART, at_s)
    return found


def later_steps(calls: Calls, after_s: float) -> dict[int, float]:
    """Return when each execution, after some time, came to a step that it had not reached."""
    reached: dict[int, int] = {}
    found: dict[int, float] = {}
    for n, at_s in calls:
        execution, step = divmod(n, APART)
        if at_s <= after_s:
            reached[execution] = max(step, reached.get(execution, 0))
        elif step > reached.get(execution, -1):
            found.setdefault(execution, at_s)
    return found


def last_steps(calls: Calls) -> dict[int, float]:
    """Return when each execution that is done came to its last step."""
    return {n // APART: at_s for n, at_s in calls if n % APART == workloads.SLOW_STEPS - 1}


def _submit(stage: Scene, numbers: Sequence[int]) -> None:
    asyncio.run(_submit_all(stage, numbers))


async def _submit_all(stage: Scene, numbers: Sequence[int]) -> None:
    left = iter(numbers)
    async with lean_client(stage.base) as http:

        async def worker() -> None:
            for number in left:
                await workloads.submit(http, "slow", b'{"n":%d}' % (number * APART))

        await asyncio.gather(*(worker() for _ in range(CALLERS)))


def _await_all(
    stage: Scene, numbers: Sequence[int], when: Callable[[Calls], Mapping[int, float]]
) -> list[float]:
    """Wait until something is true of every execution, and return when it became so."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        found = when(stage.notes()["calls"])
        times = [found[number] for number in numbers if number in found]
        if len(times) == len(numbers):
            return times
        if time.monotonic() > give_up:
            raise SystemExit(f"only {len(times)} of {len(numbers)} executions go on")
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
