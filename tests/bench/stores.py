"""SQLite and PostgreSQL in turns, on the same machine at the same time: ``make bench-stores``.

    python -m tests.bench.stores [rounds [callers]]

Two stacks run beside each other, one on each store, and callers submit executions of five calls of
glue to one of them for some seconds, then to the other, over and over. So what else the machine
does is the same for both. A row has, of the median turn of each store: executions in a second, and
the processor time of an execution, that of the stack and that of the PostgreSQL server. The last
line is what PostgreSQL makes of the rate of SQLite in the median of all pairs of turns.
"""

import statistics
import sys
from contextlib import ExitStack
from typing import Final, NamedTuple

from tests.bench.measuring import measure
from tests.bench.stacks import STORE, Scene, cpu_s, functions, scene
from tests.cluster.processes import descendants
from tests.postgres_server import PostgresServer

JOB: Final = "glue"
SECONDS: Final = 3.0
CALLERS: Final = 64
HEAD: Final = (
    "| store | executions/s | CPU ms of one: stack | PostgreSQL |",
    "|---|---|---|---|",
)


class Turn(NamedTuple):
    """What one store made of one turn."""

    per_s: float
    stack_ms: float
    server_ms: float


def main() -> None:
    """Measure, and print a table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    callers = int(sys.argv[2]) if len(sys.argv) > 2 else CALLERS
    turns: dict[str, list[Turn]] = {"SQLite": [], "PostgreSQL": []}
    with ExitStack() as ends:
        url = ends.enter_context(functions())
        server = PostgresServer()
        ends.callback(server.stop)
        stores: tuple[dict[str, str], ...] = ({}, {STORE: server.new_database()})
        stages = [
            ends.enter_context(scene(url, seconds=SECONDS, full=False, **environment))
            for environment in stores
        ]
        for _ in range(rounds):
            for stage, measured in zip(stages, turns.values(), strict=True):
                measured.append(turn(stage, server, callers))
    print("\n".join(HEAD))
    for name, measured in turns.items():
        per_s, stack_ms, server_ms = map(statistics.median, zip(*measured, strict=True))
        print(f"| {name} | {per_s:,.0f} | {stack_ms:.2f} | {server_ms:.2f} |")
    pairs = zip(*turns.values(), strict=True)
    parts = sorted(other.per_s / sqlite.per_s for sqlite, other in pairs)
    print(f"{statistics.median(parts):.2f} ({parts[0]:.2f} to {parts[-1]:.2f}) of SQLite")


def turn(stage: Scene, server: PostgresServer, callers: int) -> Turn:
    """Measure one store; what the warm-up costs counts, and so do the executions of it."""
    before, spent_s = stage.ended(JOB), (stage.cpu_s(), _cpu_s(server))
    per_s = measure(stage, JOB, callers).per_s
    ended = stage.ended(JOB) - before
    stack_s, server_s = stage.cpu_s() - spent_s[0], _cpu_s(server) - spent_s[1]
    return Turn(per_s, stack_s * 1000 / ended, server_s * 1000 / ended)


def _cpu_s(server: PostgresServer) -> float:
    return sum(map(cpu_s, [server.pid, *descendants(server.pid)]))


if __name__ == "__main__":
    main()
