"""The PostgreSQL store outlives its connections, and its takes wait for appends under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from rillflow.errors import ConflictError, FencedError, StoreError
from rillflow.ports.storage.store import Append, ExecutionFilter
from rillflow.stores.postgres.database import FEW_CONNECTIONS, PostgresDatabase
from rillflow.stores.postgres.store import PostgresStore
from rillflow.stores.postgres.writer import PostgresWriter
from tests.contract.appends import PARTITION, close, follow, id_of, submit
from tests.postgres_server import PostgresServer

SILENCE_S = 1.0
IDLE_S = 0.2
LOOKS = 150
FULL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER no_space BEFORE INSERT ON executions EXECUTE FUNCTION fail();
CREATE FUNCTION fail_too() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$;
CREATE EVENT TRIGGER no_space_either ON ddl_command_start WHEN tag IN ('CREATE TABLE AS')
    EXECUTE FUNCTION fail_too();
"""
KEPT = """
SELECT attrelid::regclass::text, attstorage, attcompression FROM pg_attribute
WHERE (attrelid, attname::text) IN (
    ('journal'::regclass, 'record'), ('snapshots'::regclass, 'snapshot'),
    ('payloads'::regclass, 'value'))
"""
CONNECTED = """
SELECT count(*) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND datname = current_database()
"""
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND datname = current_database()
"""


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(url)
    await opened.open()
    yield opened
    await opened.close()


async def test_the_store_goes_on_after_its_connections_were_cut(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    await store.append([submit(1)])
    await other.execute(END_OTHERS)
    calls = (store.append([submit(2)]), store.load(id_of(1)))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(
        isinstance(outcome, StoreError) or not isinstance(outcome, Exception)
        for outcome in outcomes
    )
    await store.append([submit(3)])
    assert await store.load(id_of(3)) is not None


async def _connections_of(other: asyncpg.Connection) -> int:
    return int(await other.fetchval(CONNECTED))


async def _until_none(other: asyncpg.Connection) -> None:
    for _ in range(LOOKS):
        if await _connections_of(other) == 0:
            return
        await other.execute("SELECT pg_sleep($1)", IDLE_S)
    raise AssertionError("connections were not given back")


async def test_a_process_of_few_connections_takes_two_at_most_and_none_while_it_is_idle(
    url: str, other: asyncpg.Connection
) -> None:
    database = PostgresDatabase(url, few_connections=True, idle_s=IDLE_S)
    await database.open()
    try:
        for first in (1, 10):
            appends = (database.append([submit(first + each)]) for each in range(5))
            reads = (database.rows("SELECT pg_sleep(0.05)") for _ in range(5))
            used = asyncio.gather(*appends, *reads)
            most = 0
            while not used.done():
                most = max(most, await _connections_of(other))
                await asyncio.sleep(0)
            await used
            assert most == FEW_CONNECTIONS
            await _until_none(other)
    finally:
        await database.close()


async def test_a_probe_fails_while_the_writer_cannot_connect(
    store: PostgresStore, url: str, postgres_server: PostgresServer
) -> None:
    await store.load(id_of(1))  # by a connection that stays
    operator = await asyncpg.connect(postgres_server.new_database())
    try:
        allow = f"ALTER DATABASE {urlsplit(url).path[1:]} ALLOW_CONNECTIONS"
        await operator.execute(f"{allow} false")
        with pytest.raises(StoreError, match="not currently accepting connections"):
            await store.probe()
        await operator.execute(f"{allow} true")
        await store.probe()
    finally:
        await operator.close()


async def test_a_probe_fails_after_an_append_was_refused_for_want_of_space_until_there_is_some(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    await store.append([submit(1)])
    await other.execute(FULL)
    with pytest.raises(StoreError, match="no space left"):
        await store.append([submit(2)])
    with pytest.raises(StoreError, match="no space left"):
        await store.probe()
    await other.execute("DROP EVENT TRIGGER no_space_either; DROP TRIGGER no_space ON executions")
    await store.probe()
    await store.append([submit(2)])
    await store.probe()


async def test_a_store_tells_how_many_connections_all_processes_may_have(
    store: PostgresStore, url: str, other: asyncpg.Connection
) -> None:
    server = int(await other.fetchval("SHOW max_connections"))
    reserved = int(await other.fetchval("SHOW superuser_reserved_connections"))
    assert await store.connections() == server - reserved
    await other.execute(f"ALTER DATABASE {urlsplit(url).path[1:]} CONNECTION LIMIT 40")
    assert await store.connections() == 40


async def test_appends_to_a_server_that_falls_silent_fail_and_the_next_ones_are_written(
    store: PostgresStore, url: str, other: asyncpg.Connection
) -> None:
    assert await store.load(id_of(1)) is None
    writer = PostgresWriter(url, silence_s=SILENCE_S)
    await writer.append([submit(1)])
    held = other.transaction()
    await held.start()
    # As long as this transaction lives, nothing comes back from there.
    await other.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
    async with asyncio.timeout(60):
        with pytest.raises(StoreError):
            await writer.append([submit(2)])
    await held.rollback()
    await writer.append([submit(3)])
    await writer.stop()


async def test_a_read_from_a_server_that_falls_silent_fails_and_the_next_one_does_well(
    store: PostgresStore, url: str, other: asyncpg.Connection
) -> None:
    await store.append([submit(1)])
    database = PostgresDatabase(url, longest_read_s=SILENCE_S)
    await database.open()
    async with other.transaction(), asyncio.timeout(60):
        await other.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError):
            await _count_records(database)
    assert await _count_records(database) == 1
    await database.close()


async def refusal_of(store: PostgresStore, append: Append) -> StoreError | None:
    try:
        await store.append([append])
    except StoreError as error:
        return error
    return None


async def renewed(store: PostgresStore) -> bool:
    """Tell whether a lease could be renewed."""
    try:
        return await store.renew_owner_lease("owner", "a")
    except StoreError:
        return False


class Relay:
    """Carries connections to a server, until it drops what they say, as a firewall does."""

    def __init__(self, folder: str) -> None:
        self._socket = f"{folder}/.s.PGSQL.5432"
        self._opened = 0
        self._silent_below: float = 0
        self._writers: list[asyncio.StreamWriter] = []

    def fall_silent(self) -> None:
        """Carry nothing of any connection from now on."""
        self._silent_below = float("inf")

    def carry_new_ones(self) -> None:
        """Carry connections that are opened from now on."""
        self._silent_below = self._opened + 1

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection."""
        self._opened += 1
        there, back = await asyncio.open_unix_connection(self._socket)
        self._writers += (writer, back)
        await asyncio.gather(
            self._pump(self._opened, reader, back), self._pump(self._opened, there, writer)
        )

    async def _pump(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if number >= self._silent_below:
                    writer.write(data)
        writer.close()

    async def close(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def test_a_lease_is_renewed_by_a_new_connection_seconds_after_the_old_one_fell_silent(
    url: str,
) -> None:
    """A server that others have replaced confirms nothing, not even that it has cancelled."""
    address = urlsplit(url)
    relay = Relay(parse_qs(address.query)["host"][0])
    server = await asyncio.start_server(relay.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = PostgresStore(f"postgresql://{address.username}@127.0.0.1:{port}{address.path}")
    async with asyncio.timeout(60):
        await store.open()
        await store.take_owner_lease("owner", "a")
        while not await renewed(store):
            pass
        relay.fall_silent()
        assert not await renewed(store)
        relay.carry_new_ones()
        # A machine that is busy may need more than the three seconds of one try.
        while not await renewed(store):
            pass
        await store.close()
    server.close()
    await relay.close()


async def test_a_writer_whose_connection_was_cut_asks_what_the_database_has(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    """It may have come back older, from a standby that was behind."""
    epoch = await store.take_scopes([PARTITION])
    await store.append([submit(1, epoch=epoch)])
    await store.append([follow(1, 2, b"second", epoch=epoch)])
    await other.execute(END_OTHERS)
    await other.execute("DELETE FROM journal")
    await other.execute("DELETE FROM executions")
    refusal: StoreError | None = None
    async with asyncio.timeout(60):
        while not isinstance(refusal, ConflictError):  # it may have to notice first that it was cut
            refusal = await refusal_of(store, follow(1, 3, b"third", epoch=epoch))
            assert refusal is not None, "a record of an execution that is not there was written"
    assert await other.fetchval("SELECT count(*) FROM journal") == 0


async def _count_records(database: PostgresDatabase) -> int:
    async with database.transaction() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM journal")
        return count


async def test_a_take_waits_for_an_append_that_has_passed_the_check(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    old = await store.take_scopes([PARTITION])
    await store.append([submit(1, epoch=old)])
    held = other.transaction()
    await held.start()
    # Holds the append of the old owner between its check and its commit: a record is in its way.
    await other.execute("INSERT INTO journal SELECT key, 2, 'other' FROM executions")
    appending = asyncio.create_task(store.append([follow(1, 2, b"old", epoch=old)]))
    await _until_blocked(other, 1)
    taking = asyncio.create_task(store.take_scopes([PARTITION]))
    await _until_blocked(other, 2)
    assert not taking.done()
    await held.rollback()
    await appending
    await taking
    with pytest.raises(FencedError):
        await store.append([follow(1, 3, b"late", epoch=old)])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert loaded.records == (b"submitted", b"old")


async def test_a_purge_waits_for_appends_under_way_and_soon_gives_up(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    await store.append([submit(1), close(1, 2, "FAILED")])
    async with other.transaction():
        await other.execute("LOCK TABLE journal IN EXCLUSIVE MODE")
        redo = asyncio.create_task(store.append([follow(1, 3, b"redo", status="RUNNING")]))
        await _until_blocked(other, 1)
        with pytest.raises(StoreError, match="lock timeout"):
            await store.purge([id_of(1)], ended_before_ms=10_000, most_records=10)
    await redo
    assert await store.purge([id_of(1)], ended_before_ms=10_000, most_records=10) == []
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert loaded.records == (b"submitted", b"ended", b"redo")


async def test_reads_go_on_while_a_commit_waits(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    await store.append([submit(1)])
    async with other.transaction():
        await other.execute("LOCK TABLE journal IN EXCLUSIVE MODE")
        appending = asyncio.create_task(store.append([submit(2)]))
        await _until_blocked(other, 1)
        assert await store.count_executions(ExecutionFilter()) == {"RUNNING": 1}
        assert await store.load(id_of(1)) is not None
    await appending


async def test_no_value_of_an_execution_is_compressed_by_the_slow_method(
    store: PostgresStore, other: asyncpg.Connection
) -> None:
    assert await store.load(id_of(1)) is None
    kept = await other.fetch(KEPT)
    assert len(kept) == 3
    for place, storage, compression in kept:
        assert storage == b"e" or compression == b"l", place


async def test_a_text_that_cannot_be_stored_fails_its_caller_alone(store: PostgresStore) -> None:
    outcomes = await asyncio.gather(
        store.append([submit(1)]),
        store.append([submit(2, status="\ud800")]),
        store.append([submit(3, status="\0")]),
        store.append([submit(4, submitted_at_ms=2**80)]),
        store.append([submit(5)]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        StoreError,
        StoreError,
        StoreError,
        type(None),
    ]
    assert await store.unfinished([PARTITION]) == [id_of(1), id_of(5)]


async def _until_blocked(connection: asyncpg.Connection, backends: int) -> None:
    """Wait until as many backends of this database wait for a lock."""
    query = """SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()"""
    async with asyncio.timeout(60):
        while await connection.fetchval(query) < backends:
            # Within a transaction the view shows its first answer again and again.
            await connection.execute("SELECT pg_stat_clear_snapshot()")
