"""A process goes on writing after a later release has upgraded the database, if that is additive.

`tests/contract/later_schemas.py` has the later releases. What is not additive is refused by
processes of this release, whether they run already or are about to start. The whole contract of
stores is tested on such a database too (`new_store` of `conftest.py`).
"""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import pytest

from rillflow.errors import FencedError, StoreError
from rillflow.stores import open_store, schema_status, upgrade_schema
from rillflow.stores.schema_status import (
    MIGRATIONS,
    UNRECORDED,
    Migration,
    SchemaStatus,
    compatible_from,
)
from rillflow.stores.sqlite import backup as sqlite_backup
from rillflow.stores.sqlite import schema as sqlite_schema
from rillflow.stores.transfer import postgres as postgres_transfer
from serve.stack.cluster_check import NodeReport, findings
from serve.stack.node_probe import probe
from tests.contract.appends import PARTITION, close, follow, id_of, submit
from tests.contract.later_schemas import (
    AFTER_NEXT,
    COLUMN,
    NEXT,
    leave_earlier,
    tables,
    upgrade_to,
)
from tests.contract.tables import run_sql
from tests.postgres_server import PostgresServer

VERSION: Final = len(MIGRATIONS)
POSITIONAL: Final = re.compile(r"INSERT (?:OR \w+ )?INTO \w+\s+(?:VALUES|SELECT)")
ALL_COLUMNS: Final = re.compile(r"SELECT \*\s+FROM (?!\{given\}|\()")
STATEMENTS: Final = Path(sqlite_schema.__file__).parents[1]


async def test_a_process_goes_on_after_an_additive_migration(durable_url: str) -> None:
    store = open_store(durable_url)
    await store.open()
    epoch = await store.take_scopes([PARTITION])
    await store.append([submit(1, epoch=epoch)])

    assert (await upgrade_to(durable_url, NEXT)).found == VERSION
    assert await schema_status(durable_url) == SchemaStatus(VERSION + 1, VERSION, VERSION)
    for number in (2, 3):
        await store.append([submit(number, epoch=epoch), follow(1, number, b"next", epoch=epoch)])
    await store.append([msgspec.structs.replace(close(2, 2, "SUCCEED"), epoch=epoch)])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert loaded.records == (b"submitted", b"next", b"next")

    another = open_store(durable_url)  # as one that is started again while the deployment rolls
    await another.open()
    taken = await another.take_scopes([PARTITION])
    await another.append([submit(4, epoch=taken)])
    with pytest.raises(FencedError):
        await store.append([submit(5, epoch=epoch)])
    await asyncio.gather(store.close(), another.close())


async def test_a_process_refuses_after_a_migration_that_is_not_additive(durable_url: str) -> None:
    store = open_store(durable_url)
    await store.open()
    await store.append([submit(1)])
    await upgrade_to(durable_url, NEXT)
    await store.append([submit(2)])

    assert (await upgrade_to(durable_url, AFTER_NEXT)).found == VERSION + 1
    oldest = (await schema_status(durable_url)).compatible_from
    assert oldest == VERSION + 2
    for append in (submit(3), follow(1, 2, b"next")):
        with pytest.raises(StoreError, match=f"schema version {VERSION + 2} meanwhile"):
            await store.append([append])
    assert await store.load(id_of(3)) is None
    with pytest.raises(StoreError, match="use the release that upgraded it"):
        await open_store(durable_url).open()
    with pytest.raises(StoreError, match="use the release that upgraded it"):
        await upgrade_schema(durable_url)
    await store.close()


async def test_what_a_later_release_has_written_stays_where_this_one_changes_rows(
    durable_url: str,
) -> None:
    store = open_store(durable_url)
    await store.open()
    await store.append([submit(1), submit(2)])
    await upgrade_to(durable_url, NEXT)
    await run_sql(durable_url, f"UPDATE executions SET {COLUMN} = 'theirs'")  # noqa: S608 - own text
    await store.append([follow(1, 2, b"next", status="WAITING"), close(2, 2, "SUCCEED"), submit(3)])
    await store.close()
    found = await run_sql(
        durable_url,
        f"SELECT submitted_at_ms, {COLUMN} FROM executions ORDER BY 1",  # noqa: S608 - own text
    )
    assert found == [(1, "theirs"), (2, "theirs"), (3, None)]


async def test_going_back_changes_nothing_of_the_schema(durable_url: str) -> None:
    await upgrade_to(durable_url, NEXT)
    before = await schema_status(durable_url)
    for _ in range(2):
        store = open_store(durable_url)
        await store.open()
        await store.close()
    await upgrade_schema(durable_url)
    assert await schema_status(durable_url) == before
    await upgrade_to(durable_url, NEXT)  # the later release, once more
    assert await schema_status(durable_url) == before


async def test_many_that_upgrade_at_once_record_it_once(durable_url: str) -> None:
    await upgrade_schema(durable_url)
    await asyncio.gather(*(asyncio.to_thread(_upgrade, durable_url) for _ in range(4)))
    assert await schema_status(durable_url) == SchemaStatus(VERSION + 1, VERSION, VERSION)


def _upgrade(url: str) -> None:
    asyncio.run(upgrade_to(url, NEXT))


async def test_appends_are_one_statement_again_after_the_first_one(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.new_database()
    store = open_store(url)
    await store.open()
    await store.append([submit(1)])
    await upgrade_to(url, NEXT)
    starts = []
    for number in (2, 3, 4):
        await store.append([follow(1, number, b"next")])
        ((query,),) = await run_sql(
            url,
            "SELECT query FROM pg_stat_activity WHERE application_name = 'rillflow writer'"
            " AND datname = current_database() ORDER BY query_start DESC LIMIT 1",
        )
        starts.append(query.lstrip().startswith("WITH held"))
    assert starts == [False, True, True]
    await store.close()


async def test_nothing_is_moved_or_restored_that_this_release_does_not_know(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    path = tmp_path / "rillflow.db"
    await upgrade_to(f"sqlite://{path}", NEXT)
    with pytest.raises(StoreError, match="use the release that upgraded it"):
        sqlite_backup.verify(path, lambda *_: None)
    url = postgres_server.new_database()
    await upgrade_to(url, NEXT)
    with pytest.raises(StoreError, match="use the release that upgraded it"):
        await postgres_transfer.connected(url, writes=False)


async def test_the_oldest_version_is_not_read_of_a_table_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "rillflow.db"
    await upgrade_to(f"sqlite://{path}", NEXT)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE schema_compatibility")
        connection.execute("CREATE TABLE schema_compatibility (compatible_from)")
        connection.execute("INSERT INTO schema_compatibility VALUES (1)")
    assert await schema_status(f"sqlite://{path}") == SchemaStatus(VERSION + 1, VERSION)
    with pytest.raises(StoreError, match="use the release that upgraded it"):
        await open_store(f"sqlite://{path}").open()


async def test_a_database_of_this_release_is_as_the_release_before_made_it(
    durable_url: str,
) -> None:
    await upgrade_schema(durable_url)
    if durable_url.startswith("sqlite:"):
        assert "schema_compatibility" not in tables()
        return
    connection = await asyncpg.connect(durable_url)
    [row] = await connection.fetch("SELECT * FROM rillflow_schema")
    await connection.close()
    assert dict(row) == {"version": VERSION}


@pytest.mark.parametrize(
    ("kinds", "oldest"), [("", 0), ("a", 0), ("aa", 0), ("an", 2), ("na", 1), ("nn", 2)]
)
def test_a_version_is_compatible_back_to_the_last_one_that_was_not_additive(
    kinds: str, oldest: int
) -> None:
    later = [Migration("a step", is_additive=each == "a") for each in kinds]
    every = (*MIGRATIONS[:UNRECORDED], *later)
    assert compatible_from(len(every), every) == UNRECORDED + oldest


def test_statements_name_the_columns_that_they_write_and_read() -> None:
    found = [
        f"{path.name}: {text}"
        for path in sorted(STATEMENTS.rglob("*.py"))
        if path.name != "schema.py"  # the migrations, each of which knows its tables
        for text in (*POSITIONAL.findall(path.read_text()), *ALL_COLUMNS.findall(path.read_text()))
    ]
    assert found == []


async def test_a_check_of_a_deployment_warns_of_an_upgrade_that_stops_writers(
    durable_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLFLOW_STORE", durable_url)

    async def warnings() -> list[str]:
        facts = await asyncio.to_thread(probe, "serve.app:app")
        assert "problem" not in facts
        return [each.sentence for each in findings([NodeReport("10.0.0.1", facts)], "127.0.0.1")]

    before = await warnings()
    assert "schema version" not in str(before), "nobody writes to a store that is not there"
    await leave_earlier(durable_url, VERSION - 1)
    [told] = [each for each in await warnings() if each not in before]
    assert told.startswith(f"the store is at schema version {VERSION - 1}, and the first replica")
    assert f"upgrades it to {VERSION}: from then on execution actors of the earlier code" in told
    assert (await schema_status(durable_url)).found == VERSION - 1, "a check changes nothing"

    await upgrade_schema(durable_url)
    assert await warnings() == before
    await upgrade_to(durable_url, NEXT)
    assert await warnings() == before, "back to this code, which goes on writing"
