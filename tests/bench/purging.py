"""How fast retention removes ended executions: ``make bench-retention``.

    python -m tests.bench.purging [executions [seconds]]

A PostgreSQL of its own has so many ended executions (100,000), each with three records of 200
bytes, a snapshot of 1 kB and a search key. First all of them are too old, then all but half of what
is left are too many, and for some seconds (10) each the sweep of retention runs as in an execution
actor, with its pauses. A row has how many executions were removed in a second, how long the lists
of a thousand took and how long their removal, and what a thousand took of the server's processor.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg
import uvloop

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import ExecutionSummary
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.retention import Retention
from rillflow.stores.postgres.store import PostgresStore
from tests.bench.stacks import cpu_s
from tests.cluster.processes import descendants
from tests.postgres_server import PostgresServer

EXECUTIONS: Final = 100_000
SECONDS: Final = 10.0
HEAD: Final = (
    "| limit | stored | removed | executions/s | lists of 1,000 | removal | CPU of the server |",
    "|---|---|---|---|---|---|---|",
)
_FILL: Final = (
    """
    INSERT INTO executions (key, execution_id, business, feature, partition, definition_id,
        submitted_at_ms, dedicated, status, finished_at_ms)
    SELECT nextval('execution_keys'), 'bench:purged_c_' || n, 'bench', 'purged', n % 64, 'd',
        1600000000000 + n, false, 'SUCCEED', 1600000001000 + n
    FROM generate_series(1, {count}) AS n
    """,
    """
    INSERT INTO journal SELECT key, seq, convert_to(repeat('r', 200), 'UTF8')
    FROM executions, generate_series(1, 3) AS seq
    """,
    "INSERT INTO snapshots SELECT key, 3, convert_to(repeat('s', 1000), 'UTF8') FROM executions",
    """
    INSERT INTO search_keys SELECT key, 'user', 'u' || key, business, feature, status,
        submitted_at_ms, definition_id FROM executions
    """,
    "VACUUM ANALYZE",
)
_COUNT: Final = "SELECT count(*) FROM executions"


class TimedStore(PostgresStore):
    """A store that knows how long lists and removals have taken."""

    list_s = 0.0
    removal_s = 0.0

    async def purgeable(
        self, *, ended_before_ms: int, keep: int, limit: int
    ) -> list[ExecutionSummary]:
        """List, and count the time."""
        begun_s = time.monotonic()
        found = await super().purgeable(ended_before_ms=ended_before_ms, keep=keep, limit=limit)
        self.list_s += time.monotonic() - begun_s
        return found

    async def purge(
        self, execution_ids: Sequence[ExecutionId], *, ended_before_ms: int, most_records: int
    ) -> list[ExecutionId]:
        """Remove, and count the time."""
        begun_s = time.monotonic()
        left = await super().purge(
            execution_ids, ended_before_ms=ended_before_ms, most_records=most_records
        )
        self.removal_s += time.monotonic() - begun_s
        return left


async def measure(server: PostgresServer, executions: int, seconds: float) -> None:
    """Fill a database, sweep by age and by number, and print a row for each."""
    url = server.new_database()
    store = TimedStore(url)
    await store.open()
    connection = await asyncpg.connect(url)
    for statement in _FILL:
        await connection.execute(statement.format(count=executions))
    for limit in ("age", "number"):
        stored = await connection.fetchval(_COUNT)
        limits: dict[str, Any] = {"keep_s": 60.0, "keep_count": None}
        if limit == "number":
            limits = {"keep_s": None, "keep_count": stored // 2}
        retention = Retention(store, SystemClock(), **limits)
        store.list_s = store.removal_s = 0.0
        spent_s, begun_s = _server_cpu_s(server), time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await retention.sweep()
        took_s, spent_s = time.monotonic() - begun_s, _server_cpu_s(server) - spent_s
        removed = stored - await connection.fetchval(_COUNT)
        times_s = (store.list_s, store.removal_s, spent_s)
        figures = (
            *(limit, f"{stored:,}", f"{removed:,}", f"{removed / took_s:,.0f}"),
            *(f"{each_s * 1e6 / removed:.0f} ms" for each_s in times_s),
        )
        print(f"| {' | '.join(figures)} |", flush=True)
    await connection.close()
    await store.close()


def _server_cpu_s(server: PostgresServer) -> float:
    return sum(map(cpu_s, [server.pid, *descendants(server.pid)]))


def main() -> None:
    """Measure, and print a table."""
    executions = int(sys.argv[1]) if len(sys.argv) > 1 else EXECUTIONS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    server = PostgresServer()
    try:
        print("\n".join(HEAD))
        uvloop.run(measure(server, executions, seconds))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
