"""Reads of the SQLite store do not wait for commits, and its commits wait for their turn."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from rillflow.errors import StoreError
from rillflow.ports.storage.aliases import AliasName
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.stores.sqlite.connection import is_busy, when_free
from rillflow.stores.sqlite.store import SqliteStore
from rillflow.stores.sqlite.tables.aliases import BY_NAME, YOUNGEST
from tests.contract.appends import PARTITION, id_of, submit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rill flow?#%20.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(path)
    await opened.open()
    yield opened
    await opened.close()


async def test_every_probe_reaches_the_disk(store: SqliteStore, path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    lengths = [log.stat().st_size]
    for _ in range(3):
        await store.probe()
        lengths.append(log.stat().st_size)
    assert lengths == sorted(set(lengths)), "each has written more"


async def test_a_listing_of_aliases_looks_each_name_up_by_its_key(
    store: SqliteStore, path: Path
) -> None:
    assert await store.alias_rows(AliasName(), limit=1) == []
    with closing(sqlite3.connect(path)) as other:
        plans = {
            statement: [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            for statement, values in ((YOUNGEST, ("", "", 1, 0)), (BY_NAME, ("", "", "", 1)))
        }
    names = [step for step in plans[YOUNGEST] if "names" in step]
    assert len(names) == 3
    assert all("(business=? AND feature=? AND alias=?)" in step for step in names)
    # From the place on, in the order of the key, and no more than are asked for.
    [first, *others] = [step for step in plans[BY_NAME] if step.startswith("SEARCH")]
    assert first.startswith("SEARCH names USING PRIMARY KEY ((business,feature,alias)>(?,?,?))")
    assert all("feature=? AND alias=?" in step or "(rowid=?)" in step for step in others)
    assert not any("TEMP B-TREE" in step or "SCAN" in step for step in plans[BY_NAME])


async def test_reads_go_on_while_another_process_writes(store: SqliteStore, path: Path) -> None:
    await store.append([submit(1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.append([submit(2)]))
        assert await store.load(id_of(1)) is not None
        assert await store.load(id_of(2)) is None
        assert await store.count_executions(ExecutionFilter()) == {"RUNNING": 1}
        assert not waiting.done()
        other.execute("ROLLBACK")
    await waiting
    assert await store.unfinished([PARTITION]) == [id_of(1), id_of(2)]


async def test_a_caller_cancelled_while_it_waits_leaves_its_record_whole(
    store: SqliteStore, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        calls = [asyncio.create_task(store.append([submit(n)])) for n in range(3)]
        await asyncio.wait(calls, timeout=0)
        calls[1].cancel()
        other.execute("ROLLBACK")
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        asyncio.CancelledError,
        type(None),
    ]
    assert await store.unfinished([PARTITION]) == [id_of(0), id_of(1), id_of(2)]


async def test_a_database_that_stays_locked_is_given_up_on(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection,
            pytest.raises(sqlite3.OperationalError) as caught,
        ):
            when_free(lambda: connection.execute("BEGIN IMMEDIATE"), busy_s=0.01)
    assert is_busy(caught.value)


async def test_a_text_that_cannot_be_stored_fails_its_caller_alone(store: SqliteStore) -> None:
    outcomes = await asyncio.gather(
        store.append([submit(1)]),
        store.append([submit(2, status="\ud800")]),
        store.append([submit(3)]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), StoreError, type(None)]
    assert await store.unfinished([PARTITION]) == [id_of(1), id_of(3)]


async def test_the_writer_survives_a_failure_of_the_database(
    store: SqliteStore, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TABLE epochs")
    with pytest.raises(StoreError, match="no such table"):
        await store.take_scopes([PARTITION])
    await store.append([submit(1)])
    assert await store.load(id_of(1)) is not None


async def test_callers_of_two_event_loops_share_one_store(store: SqliteStore) -> None:
    def from_another_loop() -> None:
        asyncio.run(store.append([submit(2)]))

    await asyncio.gather(store.append([submit(1)]), asyncio.to_thread(from_another_loop))
    assert await store.unfinished([PARTITION]) == [id_of(1), id_of(2)]


async def test_a_store_whose_disk_is_full_takes_no_writes(tmp_path: Path) -> None:
    """Room within the file lets a small write succeed, and keeps no execution going."""
    store = SqliteStore(tmp_path / "db", least_free_bytes=1 << 62)
    await store.open()
    with pytest.raises(StoreError, match=r"the disk has \d+ bytes left"):
        await store.probe()
    await store.close()


async def test_a_store_whose_folder_is_gone_takes_no_writes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    store = SqliteStore(folder / "db")
    await store.open()
    shutil.rmtree(folder)
    with pytest.raises(StoreError, match="No such file or directory"):
        await store.probe()
    await store.close()
