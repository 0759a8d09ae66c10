"""A ``-wal`` file damaged before its last commit is refused; one that was cut off is taken."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rillflow.errors import StoreError
from rillflow.stores.sqlite import backup as sqlite_backup
from rillflow.stores.sqlite.file_use import wal_path
from rillflow.stores.sqlite.lost_commits import lost_commits
from rillflow.stores.sqlite.store import SqliteStore
from tests.contract.test_store_sqlite_files import (
    EXECUTIONS,
    PAGE_BYTES,
    copy_alone,
    executions_in,
    kill_a_writer,
    nothing,
)

FRAME_HEAD_BYTES = 24
SALT = slice(16, 24)
"""Where the head of the file says which log it is."""


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "rillflow.db"


@pytest.mark.parametrize("damage", ["head", "early", "middle"])
async def test_a_damaged_wal_before_the_last_commit_is_refused(
    damage: str, path: Path, tmp_path: Path
) -> None:
    kill_a_writer(path)
    copy = copy_alone(path, tmp_path / "copy")
    shutil.copy(wal_path(path), wal_path(copy))
    size = wal_path(copy).stat().st_size
    place = {"head": 0, "early": PAGE_BYTES * 2, "middle": size // 2}[damage]
    with wal_path(copy).open("r+b") as file:
        file.seek(place)
        file.write(b"\1" * 32)
    before = [each.read_bytes() for each in (copy, wal_path(copy))]
    with pytest.raises(StoreError, match=r"rillflow.db-wal is damaged: \d+ commits"):
        await asyncio.to_thread(sqlite_backup.verify, copy, nothing)
    with pytest.raises(StoreError, match="is damaged"):
        await SqliteStore(copy).open()
    assert [each.read_bytes() for each in (copy, wal_path(copy))] == before
    sqlite_backup.accept_missing_wal(copy)
    assert await executions_in(copy) < EXECUTIONS


@pytest.mark.parametrize(
    "cut",
    ["in the last page", "in the last commit", "by a page of zeros", "by one before the last"],
)
async def test_what_the_end_of_a_machine_leaves_of_the_last_commit_is_taken(
    cut: str, path: Path
) -> None:
    kill_a_writer(path)
    wal = wal_path(path)
    size = wal.stat().st_size
    if cut.startswith("by"):
        last = size - PAGE_BYTES
        page = last if cut == "by a page of zeros" else last - FRAME_HEAD_BYTES - PAGE_BYTES
        with wal.open("r+b") as file:
            file.seek(page - FRAME_HEAD_BYTES + 4)
            assert any(file.read(4)) == (page == last), "only the last one ends the commit"
            file.seek(page)
            file.write(bytes(PAGE_BYTES))
    else:
        os.truncate(
            wal, size - (10 if cut == "in the last page" else PAGE_BYTES + FRAME_HEAD_BYTES)
        )
    assert (await asyncio.to_thread(sqlite_backup.verify, path, nothing)).is_clean
    assert await executions_in(path) == EXECUTIONS - 1


async def test_pages_of_an_earlier_log_behind_the_last_commit_are_taken(path: Path) -> None:
    kill_a_writer(path)
    before = wal_path(path).read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("CREATE TABLE later (number INTEGER)")
        left = wal_path(path).read_bytes()
    kept = path.with_name("kept")
    kept.write_bytes(left)
    assert left[SALT] != before[SALT], "it begins another log"
    assert left[-10 * PAGE_BYTES :] == before[-10 * PAGE_BYTES :]
    assert lost_commits(kept, PAGE_BYTES) == 0
