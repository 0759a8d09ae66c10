"""docs/postgresql.md tells what the connections ask of PostgreSQL, and its addresses are taken."""

from pathlib import Path
from typing import Final

import asyncpg

from rillflow.stores import open_store
from rillflow.stores.postgres.session_settings import POOL_SETTINGS, WRITER_SETTINGS
from rillflow.stores.postgres.store import PostgresStore
from tests.postgres_server import PostgresServer
from tests.spec.documented import blocks_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "postgresql.md"
INI, SQL, ADDRESS, TABLES = (
    block.text.strip() for block in blocks_of(PAGE.read_text(encoding="utf-8"))
)


def test_the_settings_that_a_pooler_must_let_through_are_those_that_are_sent() -> None:
    name, _, value = INI.partition(" = ")
    assert name == "ignore_startup_parameters"
    sent = {*WRITER_SETTINGS, *POOL_SETTINGS} - {"application_name"}
    assert sorted(value.split(",")) == sorted(sent)


async def test_the_settings_of_the_user_are_taken_and_are_the_same(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.new_database()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"BEGIN; {SQL}")
        kept = await connection.fetchval(
            "SELECT setconfig FROM pg_db_role_setting JOIN pg_roles ON oid = setrole"
            " WHERE rolname = current_user"
        )
        found = dict(each.split("=") for each in kept)
        assert found == {name: WRITER_SETTINGS[name] for name in found}
        assert len(found) == SQL.count("ALTER ROLE")
    finally:
        await connection.execute("ROLLBACK")
        await connection.close()


async def test_an_address_with_all_servers_finds_the_primary(
    postgres_server: PostgresServer,
) -> None:
    made = postgres_server.new_database()
    database = made.rpartition("@")[2].partition("?")[0]
    servers = f"/nowhere,{postgres_server.home}"
    url = ADDRESS.replace("@/rillflow?", f"@{database}?").replace("db1,db2", servers)
    store = open_store(url)
    assert isinstance(store, PostgresStore)
    await store.open()
    assert await store.deployment() is None
    await store.close()


async def test_the_tables_of_a_store_take_the_settings_for_retention(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.new_database()
    store = open_store(url)
    await store.open()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(TABLES)
        changed = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE reloptions::text LIKE '%scale_factor=0.02%'"
        )
        assert changed == TABLES.count("ALTER TABLE") == 4
    finally:
        await connection.close()
        await store.close()
