"""Appends to PostgreSQL take one statement where their writer knows what is stored.

It knows the executions that it has written to, until they have ended or somebody has taken their
partition. Whatever it does not know it reads first, and so nothing is written that another owner
must not find.
"""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from rillflow.errors import ConflictError, FencedError
from rillflow.ports.storage.store import Append
from rillflow.stores.postgres.append_statements import fenced_statement
from rillflow.stores.postgres.known_places import MOST_KNOWN, KnownPlaces
from rillflow.stores.postgres.session_settings import WRITER_SETTINGS
from rillflow.stores.postgres.store import PostgresStore
from tests.contract.appends import PARTITION, close, follow, id_of, submit
from tests.postgres_server import PostgresServer

LAST_STATEMENT = """
SELECT query FROM pg_stat_activity
WHERE application_name = 'rillflow writer' AND datname = current_database()
ORDER BY query_start DESC LIMIT 1
"""
BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
TABLES = ("executions", "records", "descendants", "changes", "snapshots")


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


async def _opened(url: str) -> PostgresStore:
    store = PostgresStore(url)
    await store.open()
    return store


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    opened = await _opened(url)
    yield opened
    await opened.close()


async def _is_one_statement(other: asyncpg.Connection) -> bool:
    """Tell whether the last append was one statement; any other ends with a commit."""
    last: str = await other.fetchval(LAST_STATEMENT)
    return last.lstrip().startswith("WITH held")


async def _records(store: PostgresStore, number: int) -> tuple[bytes, ...]:
    loaded = await store.load(id_of(number))
    assert loaded is not None
    return loaded.records


@pytest.mark.parametrize(
    "append",
    [
        submit(2),
        follow(1, 2, b"next"),
        follow(1, 2, b"next", status="WAITING"),
        follow(1, 2, b"next", rests=True, status="WAITING"),
        follow(1, 2, b"next", snapshot=b"state", snapshot_seq=2),
        close(1, 2, "SUCCEED"),
    ],
    ids=["new", "records", "status", "status and rests", "snapshot", "end"],
)
async def test_what_its_writer_knows_is_appended_by_one_statement(
    store: PostgresStore, other: asyncpg.Connection, append: Append
) -> None:
    await store.append([submit(1)])
    await store.append([append])
    assert await _is_one_statement(other)
    loaded = await store.load(append.execution_id)
    assert loaded is not None
    assert (loaded.snapshot, loaded.rests) == (append.snapshot, bool(append.rests))
    told = append.closing.status if append.closing else append.status or "RUNNING"
    assert loaded.status == told
    assert loaded.records[len(loaded.records) - 1 :] == (() if append.snapshot else append.records)


async def test_what_another_writer_has_written_is_read_first(
    url: str, store: PostgresStore, other: asyncpg.Connection
) -> None:
    await store.append([submit(1)])
    next_owner = await _opened(url)
    await next_owner.append([follow(1, 2, b"two")])
    assert not await _is_one_statement(other)
    await next_owner.append([follow(1, 3, b"three")])
    with pytest.raises(ConflictError, match="does not follow record 3"):
        await store.append([follow(1, 2, b"late")])
    await store.append([follow(1, 4, b"four")])
    assert await _records(store, 1) == (b"submitted", b"two", b"three", b"four")
    await next_owner.close()


async def test_a_take_under_way_is_waited_for_and_nothing_is_written_after_it(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    old = await store.take_scopes([PARTITION])
    await store.append([submit(1, epoch=old)])
    taking = other.transaction()
    await taking.start()
    await other.execute("UPDATE owners SET epoch = epoch + 1 WHERE partition = $1", PARTITION)
    appending = asyncio.create_task(store.append([follow(1, 2, b"late", epoch=old)]))
    async with asyncio.timeout(60):
        while not await other.fetchval(BLOCKED):
            # Within a transaction the view shows its first answer again and again.
            await other.execute("SELECT pg_stat_clear_snapshot()")
    await taking.commit()
    with pytest.raises(FencedError):
        await appending
    assert await _records(store, 1) == (b"submitted",)


async def test_an_owner_that_has_the_partition_again_reads_first(
    url: str, store: PostgresStore, other: asyncpg.Connection
) -> None:
    first = await store.take_scopes([PARTITION])
    await store.append([submit(1, epoch=first)])
    between = await _opened(url)
    second = await between.take_scopes([PARTITION])
    await between.append([follow(1, 2, b"two", epoch=second)])
    await between.close()
    again = await store.take_scopes([PARTITION])
    await store.append([follow(1, 3, b"three", epoch=again)])
    assert not await _is_one_statement(other)
    assert await _records(store, 1) == (b"submitted", b"two", b"three")


async def test_an_execution_that_has_ended_may_have_been_removed(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    await store.append([submit(1)])
    await store.append([close(1, 2, "SUCCEED")])
    await store.append([follow(1, 3, b"late")])
    assert await store.purge([id_of(1)], ended_before_ms=10_000, most_records=10) == []
    with pytest.raises(ConflictError, match="no such execution"):
        await store.append([follow(1, 4, b"later")])
    assert await other.fetchval("SELECT count(*) FROM journal") == 0


async def test_an_execution_that_goes_on_after_its_end_is_known_again(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    await store.append([submit(1)])
    await store.append([close(1, 2, "FAILED")])
    await store.append([follow(1, 3, b"redo", status="RUNNING")])
    assert not await _is_one_statement(other)
    await store.append([follow(1, 4, b"on")])
    assert await _is_one_statement(other)
    assert await store.unfinished([PARTITION]) == [id_of(1)]


async def test_what_is_created_and_ends_in_one_group_has_ended(store: PostgresStore) -> None:
    await store.append([submit(9)])
    await asyncio.gather(
        store.append([submit(1)]),
        store.append([close(1, 2, "SUCCEED")]),
        store.append([follow(9, 2, b"next")]),
    )
    assert await store.unfinished([PARTITION]) == [id_of(9)]
    assert await _records(store, 1) == (b"submitted", b"ended")


async def test_what_is_taken_fails_its_caller_alone(store: PostgresStore) -> None:
    await store.append([submit(1, idempotency_key="k", request_digest="d")])
    outcomes = await asyncio.gather(
        store.append([follow(1, 2, b"next")]),
        store.append([submit(2, idempotency_key="k", request_digest="d")]),
        store.append([submit(3)]),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [type(None), ConflictError, type(None)]
    assert await _records(store, 1) == (b"submitted", b"next")
    assert await store.load(id_of(2)) is None
    assert await _records(store, 3) == (b"submitted",)


async def test_no_statement_of_a_writer_reads_a_whole_table_however_small_it_is(
    store: PostgresStore, url: str
) -> None:
    """A plan is kept while the tables grow."""
    await store.append([submit(1)])
    connection = await asyncpg.connect(url, server_settings=WRITER_SETTINGS)
    statement = await connection.prepare(fenced_statement(TABLES))
    nothing = ", ".join("NULL" for _ in statement.get_parameters())
    await connection.execute(f"PREPARE it AS {fenced_statement(TABLES)}")
    lines = await connection.fetch(f"EXPLAIN EXECUTE it ({nothing})")
    plan = "\n".join(line for (line,) in lines)
    assert "Index Scan using executions_pkey" in plan
    assert "Index Scan using owners_pkey" in plan
    for table in ("executions", "owners", "journal", "descendants"):
        assert f"Seq Scan on {table}" not in plan
    await connection.close()


def test_a_bounded_number_of_executions_is_known() -> None:
    known = KnownPlaces()
    for number in range(MOST_KNOWN + 2):
        append = submit(number)
        planned = known.plan_for([append], iter([number]))
        assert planned is not None
        plan, _ = planned
        plan.add([append])
        known.keep([append], plan)
    assert known.plan_for([follow(1, 2, b"x")], iter([])) is None
    assert known.plan_for([follow(2, 2, b"x")], iter([])) is not None
