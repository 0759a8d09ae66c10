"""What is written beside a SQLite file leaves its disk space, and the ``-wal`` file stays short."""

import asyncio
import io
import os
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from rillflow.cli.commands.moving import _export
from rillflow.errors import StoreError
from rillflow.stores.purge_plan import BYTES_PER_RECORD
from rillflow.stores.sqlite import backup as sqlite_backup
from rillflow.stores.sqlite.connection import WAL_KEPT_BYTES
from rillflow.stores.sqlite.file_space import LEAST_LEFT_BYTES, BackupSpace
from rillflow.stores.sqlite.file_use import wal_path
from rillflow.stores.sqlite.store import SqliteStore
from rillflow.stores.sqlite.writer import SqliteWriter
from tests.contract.appends import close, id_of, submit

EXECUTIONS = 20
KEYS = False
LATER_MS = 1 << 50


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "rillflow.db"


@pytest.fixture(name="store")
async def _store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def put_payload(number: int, value: bytes, connection: sqlite3.Connection) -> None:
    """Write a row of any length."""
    row = (number, value)
    connection.execute("INSERT OR REPLACE INTO payloads VALUES (?, x'00', 0, ?)", row)


async def test_large_commits_do_not_make_the_wal_long(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    writer = SqliteWriter(path)
    writer.start()
    longest = 0
    try:
        for number in range(24):
            await writer.do(partial(put_payload, number, os.urandom(4 << 20)))
            longest = max(longest, wal_path(path).stat().st_size)
    finally:
        writer.stop()
        await store.close()
    assert longest < 2 * WAL_KEPT_BYTES


async def test_a_backup_leaves_a_server_that_uses_the_disk_its_space(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    await store.append([submit(number) for number in range(EXECUTIONS)])
    target = tmp_path / "backup.db"
    size = sum(os.stat(each).st_size for each in (path, wal_path(path)))  # noqa: PTH116

    def back_up(free: int) -> None:
        sqlite_backup.backup(path, target, lambda *_: None, lambda _: free)

    least = size + LEAST_LEFT_BYTES
    with pytest.raises(StoreError, match=r"128 MiB must stay free .* another disk"):
        await asyncio.to_thread(back_up, least - 1)
    assert not target.exists()
    await asyncio.to_thread(back_up, least)
    assert target.exists()
    BackupSpace(path, Path("/proc"), lambda _: 0).require(size)
    with pytest.raises(StoreError, match="128 MiB"):
        BackupSpace(path, tmp_path, lambda _: LEAST_LEFT_BYTES - 1).require()
    await store.close()
    BackupSpace(path, tmp_path, lambda _: 0).require(size)


async def test_an_export_is_given_up_where_the_server_needs_the_space(
    store: SqliteStore, path: Path
) -> None:
    await store.append([submit(number) for number in range(EXECUTIONS)])
    target, asked = io.BytesIO(), 0

    def room() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise StoreError("there is no room")

    with pytest.raises(StoreError, match="no room"):
        await _export(f"sqlite:///{path}", target, None, KEYS, lambda *_: None, room)
    assert asked == 2


async def test_one_removal_takes_no_more_records_than_it_has_bytes_for(store: SqliteStore) -> None:
    long = b"r" * (12 * BYTES_PER_RECORD)
    ids = [id_of(number) for number in range(3)]
    for number in range(3):
        await store.append([submit(number, long), close(number, 2, "SUCCEED")])
    purge = partial(store.purge, ended_before_ms=LATER_MS, most_records=20)
    assert await purge(ids) == ids[1:], "a record of each, and as much as 12 records have"
    assert await purge(ids[1:]) == ids[2:]
    assert await purge(ids[2:]) == []
    assert [await store.load(each) for each in ids] == [None] * 3
