"""What a purge asks of PostgreSQL does not grow with what is stored, nor with what it removes."""

import asyncio
import json
from typing import Final

import asyncpg
import pytest

from rillflow.ids import ExecutionId
from rillflow.stores.postgres.purge import PURGEABLE, purge
from rillflow.stores.postgres.schema import PURGE_LOCK
from rillflow.stores.postgres.store import PostgresStore
from tests.contract.appends import close, id_of, submit
from tests.postgres_server import PostgresServer

FILL: Final = """
INSERT INTO executions (key, execution_id, business, feature, partition, definition_id,
    submitted_at_ms, dedicated, status, finished_at_ms, parent_id)
SELECT nextval('execution_keys'), 'shop:order_c_' || n, 'shop', 'order', 1, 'd', n, false,
    'SUCCEED', 1000 + n, CASE WHEN n % 2 = 0 THEN 'shop:order_c_' || n - 1 END
FROM generate_series({first}, {last}) AS n
"""
LATER_MS: Final = 1_000_000
LISTED: Final = 100


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


async def test_a_list_reads_what_it_lists_however_much_is_stored(
    url: str, other: asyncpg.Connection
) -> None:
    store = PostgresStore(url)
    await store.open()
    try:
        await other.execute(f"PREPARE list (bigint, bigint, bigint) AS {PURGEABLE}")
        await other.execute(FILL.format(first=1, last=1_000))
        before = await _blocks(other)
        await other.execute(FILL.format(first=1_001, last=20_000))
        # The 19,000 rows are some 400 blocks. One for each listed is what deeper indexes may add.
        assert await _blocks(other) <= before + LISTED
        assert len(await store.purgeable(ended_before_ms=LATER_MS, keep=0, limit=LISTED)) == LISTED
    finally:
        await store.close()


async def test_many_are_removed_by_as_many_statements_as_one(
    url: str, other: asyncpg.Connection
) -> None:
    store = PostgresStore(url)
    await store.open()
    try:
        for number in range(1, 42):
            await store.append([submit(number), close(number, 2, "SUCCEED")])
        await _statements(other, [id_of(1)])  # a new connection asks for types first
        assert await _statements(other, [id_of(2)]) == 3
        assert await _statements(other, [id_of(number) for number in range(3, 42)]) == 3
        assert await store.load(id_of(41)) is None
    finally:
        await store.close()


async def test_parts_of_a_large_execution_are_deleted_while_appends_go_on(
    url: str, other: asyncpg.Connection
) -> None:
    store = PostgresStore(url)
    await store.open()
    try:
        await store.append([submit(1, *[b"record"] * 20), close(1, 21, "SUCCEED")])
        assert await store.purge([id_of(1)], ended_before_ms=LATER_MS, most_records=10) == []
        async with other.transaction(), asyncio.timeout(20):
            # As an append has it, and as another removal would.
            await other.execute("SELECT pg_advisory_xact_lock($1)", PURGE_LOCK)
            while await store.purge_remains(most_bytes=50):
                pass
        assert await other.fetchval("SELECT count(*) FROM journal") == 0
    finally:
        await store.close()


async def _blocks(connection: asyncpg.Connection) -> int:
    """Return how many blocks of tables and indexes a list reads."""
    await connection.execute("ANALYZE")
    query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE list ({LATER_MS}, 0, {LISTED})"
    [explained] = json.loads(await connection.fetchval(query))
    plan = explained["Plan"]
    assert plan["Actual Rows"] == LISTED
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def _statements(connection: asyncpg.Connection, execution_ids: list[ExecutionId]) -> int:
    """Return how many statements it takes to remove executions."""
    sent: list[object] = []
    async with connection.transaction():
        with connection.query_logger(sent.append):
            assert await purge(connection, execution_ids, LATER_MS, 1_000) == []
    return len(sent)
