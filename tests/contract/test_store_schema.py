"""A database is upgraded, or refused with the reason, and never harmed."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from rillflow.errors import StoreError
from rillflow.stores import open_store, schema_status, upgrade_schema
from rillflow.stores.postgres import schema as postgres_schema
from rillflow.stores.schema_status import MIGRATIONS, SchemaStatus
from rillflow.stores.sqlite import schema as sqlite_schema
from tests.contract.appends import PARTITION, id_of, submit
from tests.postgres_server import PostgresServer

COLUMNS = (
    "key, execution_id, business, feature, partition, definition_id, submitted_at_ms, dedicated,"
    " status"
)
NEWEST = SchemaStatus(sqlite_schema.VERSION, sqlite_schema.VERSION)


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "rillflow.db"


async def test_a_new_database_gets_the_newest_schema(durable_url: str) -> None:
    assert (await schema_status(durable_url)).found == 0
    before = await upgrade_schema(durable_url)
    assert (before.found, before.is_current) == (0, False)
    assert await schema_status(durable_url) == NEWEST
    assert await upgrade_schema(durable_url) == NEWEST


def test_the_adapters_have_the_same_migrations_and_each_has_a_name() -> None:
    wanted = len(MIGRATIONS)
    assert (wanted, wanted) == (sqlite_schema.VERSION, postgres_schema.VERSION)


def test_asking_for_the_status_makes_no_file(sqlite_file: Path) -> None:
    assert sqlite_schema.schema_status(sqlite_file) == SchemaStatus(0, sqlite_schema.VERSION)
    assert not sqlite_file.exists()


@pytest.mark.parametrize("version", range(1, sqlite_schema.VERSION))
async def test_an_old_sqlite_file_is_upgraded_with_what_it_holds(
    sqlite_file: Path, version: int
) -> None:
    with closing(_connect(sqlite_file)) as old:
        sqlite_schema.migrate(old, sqlite_schema.MIGRATIONS[:version])
        old.execute("UPDATE epochs SET newest = 41")
        old.execute(
            f"INSERT INTO executions ({COLUMNS}) VALUES"  # noqa: S608 - own text
            " (1, ?, 'shop', 'order', ?, 'd', 1, 0, 'RUNNING')",
            (id_of(1), PARTITION),
        )
        old.execute("INSERT INTO journal VALUES (1, 1, x'00')")
    assert sqlite_schema.schema_status(sqlite_file) == SchemaStatus(version, sqlite_schema.VERSION)
    await _check_upgraded(f"sqlite://{sqlite_file}")


@pytest.mark.parametrize("version", range(1, postgres_schema.VERSION))
async def test_an_old_postgres_database_is_upgraded_with_what_it_holds(
    postgres_server: PostgresServer, version: int
) -> None:
    url = postgres_server.new_database()
    await postgres_schema.upgrade(url, postgres_schema.MIGRATIONS[:version])
    old = await asyncpg.connect(url)
    await old.execute("UPDATE epochs SET newest = 41")
    await old.execute(
        f"""INSERT INTO executions ({COLUMNS}) VALUES (nextval('execution_keys'), '{id_of(1)}',
        'shop', 'order', {PARTITION}, 'd', 1, false, 'RUNNING')"""  # noqa: S608 - own values
    )
    await old.execute(r"INSERT INTO journal VALUES (1, 1, '\x00')")
    await old.close()
    assert await schema_status(url) == SchemaStatus(version, postgres_schema.VERSION)
    await _check_upgraded(url)


async def _check_upgraded(url: str) -> None:
    store = open_store(url)
    await store.open()
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert loaded.records == (b"\0",)
    assert await store.take_scopes([PARTITION]) == 42
    await store.append([submit(2, epoch=42)])
    await store.add_version("shop", "order", "release", "a" * 32, "text", at_ms=1)
    await store.close()
    assert await schema_status(url) == NEWEST


async def test_a_newer_database_is_refused_and_left_alone(durable_url: str) -> None:
    await upgrade_schema(durable_url)
    await _pretend_a_newer_release(durable_url)
    with pytest.raises(StoreError, match="schema version 99"):
        await open_store(durable_url).open()
    with pytest.raises(StoreError, match="use the release that upgraded it"):
        await upgrade_schema(durable_url)
    assert (await schema_status(durable_url)).found == 99


async def test_an_open_store_stops_writing_when_a_newer_release_upgrades(durable_url: str) -> None:
    store = open_store(durable_url)
    await store.open()
    await store.append([submit(1)])
    await _pretend_a_newer_release(durable_url)
    with pytest.raises(StoreError, match="schema version 99"):
        await store.append([submit(2)])
    assert await store.load(id_of(2)) is None
    await store.close()


async def test_many_openings_at_once_upgrade_once(durable_url: str) -> None:
    stores = [open_store(durable_url) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(each.append([submit(n)]) for n, each in enumerate(stores)))
    assert len(await stores[0].unfinished([PARTITION])) == 8
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_failed_migration_leaves_the_version_before(sqlite_file: Path) -> None:
    broken = (*sqlite_schema.MIGRATIONS, ("CREATE TABLE added (x)", "not SQL"))
    with closing(_connect(sqlite_file)) as connection, pytest.raises(sqlite3.Error):
        sqlite_schema.migrate(connection, broken)
    assert sqlite_schema.schema_status(sqlite_file) == NEWEST
    with closing(_connect(sqlite_file)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert ("added",) not in tables.fetchall()


def test_a_file_of_another_program_is_left_alone(sqlite_file: Path) -> None:
    with closing(_connect(sqlite_file)) as other:
        other.execute("CREATE TABLE theirs (x)")
    content = sqlite_file.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        asyncio.run(open_store(f"sqlite://{sqlite_file}").open())
    assert sqlite_file.read_bytes() == content


def test_a_file_that_is_no_database_is_left_alone(sqlite_file: Path) -> None:
    sqlite_file.write_text("dear diary, " * 1_000)
    with pytest.raises(StoreError, match="not a database"):
        asyncio.run(open_store(f"sqlite://{sqlite_file}").open())
    assert sqlite_file.read_text() == "dear diary, " * 1_000


async def test_a_place_that_cannot_be_written_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        await open_store(f"sqlite://{tmp_path}/file/rillflow.db").open()


async def test_a_server_that_is_not_there_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="PostgreSQL"):
        await open_store(f"postgresql://rillflow@/none?host={tmp_path}").open()


@pytest.mark.parametrize(
    "url",
    ["", "sqlite", "redis://localhost", "sqlite:rillflow.db", "sqlite://here.db", "sqlite:///"],
)
async def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError):
        open_store(url)
    with pytest.raises(StoreError):
        await schema_status(url)
    with pytest.raises(StoreError):
        await upgrade_schema(url)


async def _pretend_a_newer_release(url: str) -> None:
    if url.startswith("sqlite:"):
        with closing(_connect(Path(url.removeprefix("sqlite://")))) as connection:
            connection.execute("PRAGMA user_version = 99")
    else:
        server = await asyncpg.connect(url)
        await server.execute("UPDATE rillflow_schema SET version = 99")
        await server.close()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)
