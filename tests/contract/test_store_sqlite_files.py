"""A SQLite store that is closed is complete in its one file; a file that lacks commits is refused.

Commits go to the ``-wal`` file first. What a backup holds, and what is noticed of a copy that
was made by hand, is told here.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from rillflow.core.encoding.codec import encode_event
from rillflow.core.events import CancelRequested
from rillflow.errors import StoreError
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.stores import schema_status
from rillflow.stores.sqlite import backup as sqlite_backup
from rillflow.stores.sqlite.connection import WAL_KEPT_BYTES
from rillflow.stores.sqlite.file_use import (
    FileUse,
    close_after_kill,
    hold_alone,
    lock_path,
    refuse_incomplete,
    wal_path,
)
from rillflow.stores.sqlite.schema import migrate_file
from rillflow.stores.sqlite.store import SqliteStore
from rillflow.stores.sqlite.writer import SqliteWriter
from tests.contract.appends import follow, id_of, submit

EXECUTIONS = 20
PAGE_BYTES = 4_096
KILLED_RESTORE = """
import os, signal, sys
from pathlib import Path
from rillflow.stores.sqlite import backup as sqlite_backup

def kill_at(event, arguments):
    if event == f"os.{sys.argv[3]}" or (sys.argv[3] == "replace" and event == "os.rename"
            and str(arguments[0]).endswith(".partial")):
        if sys.argv[3] != "rename" or str(arguments[0]).endswith("-wal"):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill_at)
sqlite_backup.restore(Path(sys.argv[1]), Path(sys.argv[2]), lambda done, total: None)
"""
DEFINITION = """
workspace: shop
dagName: order
type: flow
tasks: [{name: A, category: pass}]
"""
RECORD = encode_event(CancelRequested(at_ms=1))
WRITER = """
import asyncio, os, signal, sys
from pathlib import Path
from rillflow.stores.sqlite.store import SqliteStore
from tests.contract.appends import submit
from tests.contract.test_store_sqlite_files import DEFINITION, RECORD

async def run() -> None:
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    await store.put_definition_text("0" * 32, DEFINITION)
    for number in range(int(sys.argv[2])):
        await store.append([submit(number, RECORD)])
    {end}

asyncio.run(run())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rillflow.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(path)
    await opened.open()
    yield opened
    await opened.close()


def nothing(done: int, total: int) -> None:
    """Take progress and show nothing."""


def kill_a_writer(path: Path) -> None:
    """Have a process write executions to a database, and die by SIGKILL."""
    assert run_a_writer(path, "os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL


def run_a_writer(path: Path, end: str) -> int:
    """Have a process write executions and do a last thing without closing; return its exit code."""
    program = WRITER.replace("{end}", end)
    command = [sys.executable, "-c", program, str(path), str(EXECUTIONS)]
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(  # noqa: S603 - this interpreter
        command, check=False, cwd=root, stderr=subprocess.DEVNULL
    )
    return ended.returncode


async def executions_in(path: Path) -> int:
    store = SqliteStore(path)
    await store.open()
    try:
        return sum((await store.count_executions(ExecutionFilter())).values())
    finally:
        await store.close()


def put_payload(number: int, value: bytes, connection: sqlite3.Connection) -> None:
    """Write a row of any length."""
    row = (number, value)
    connection.execute("INSERT OR REPLACE INTO payloads VALUES (?, x'00', 0, ?)", row)


def copy_alone(path: Path, folder: Path) -> Path:
    """Copy a database file without the files beside it."""
    folder.mkdir()
    return Path(shutil.copy(path, folder / path.name))


async def test_the_file_alone_is_the_whole_store_once_it_was_closed(
    path: Path, tmp_path: Path
) -> None:
    first, second = SqliteStore(path), SqliteStore(path)
    await first.open()
    await second.open()
    await first.append([submit(number) for number in range(EXECUTIONS)])
    await first.close()
    await second.append([submit(EXECUTIONS)])
    await second.close()
    assert not wal_path(path).exists()
    assert await executions_in(copy_alone(path, tmp_path / "copy")) == EXECUTIONS + 1


async def test_what_was_killed_is_complete_once_it_was_closed_for_it(
    path: Path, tmp_path: Path
) -> None:
    kill_a_writer(path)
    assert wal_path(path).stat().st_size > 0
    close_after_kill(path)
    assert not wal_path(path).exists()
    assert await executions_in(copy_alone(path, tmp_path / "copy")) == EXECUTIONS


async def test_nothing_is_closed_for_a_process_that_still_uses_the_file(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    await store.append([submit(1)])
    close_after_kill(path)
    with pytest.raises(StoreError, match="is incomplete"):
        await executions_in(copy_alone(path, tmp_path / "copy"))


@pytest.mark.parametrize("killed", ["before it closes", "before it begins"])
async def test_sqlite_removes_no_wal_of_a_marked_file(path: Path, killed: str) -> None:
    """Whoever held the file when a process looked may have been killed when it closes."""
    if killed == "before it begins":
        kill_a_writer(path)
        use = FileUse(path)
        use.begin()
        migrate_file(path)
    else:
        use = FileUse(path)
        use.begin()
        migrate_file(path)
        use.mark()
        lock = os.open(lock_path(path), os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_SH)
        use.end()
        os.close(lock)
    assert wal_path(path).exists()
    refuse_incomplete(path)
    use.end()


async def test_after_a_kill_the_store_opens_with_everything(path: Path) -> None:
    kill_a_writer(path)
    assert await executions_in(path) == EXECUTIONS


async def test_a_copy_of_a_file_in_use_without_its_wal_is_refused_and_says_what_to_do(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    await store.append([submit(1)])
    copy = copy_alone(path, tmp_path / "copy")
    with pytest.raises(StoreError, match="is incomplete") as caught:
        await SqliteStore(copy).open()
    assert "rillflow db restore FILE" in str(caught.value)
    assert "rillflow.db-wal" in str(caught.value)
    assert not wal_path(copy).exists()
    with pytest.raises(StoreError, match="is incomplete"):
        await asyncio.to_thread(sqlite_backup.verify, copy, nothing)


async def test_a_copy_with_its_wal_is_taken(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    await store.append([submit(1)])
    copy = copy_alone(path, tmp_path / "copy")
    shutil.copy(wal_path(path), wal_path(copy))
    assert await executions_in(copy) == 1


async def test_a_missing_wal_can_be_accepted(path: Path, tmp_path: Path) -> None:
    kill_a_writer(path)
    copy = copy_alone(path, tmp_path / "copy")
    with pytest.raises(StoreError):
        await executions_in(copy)
    sqlite_backup.accept_missing_wal(copy)
    assert await executions_in(copy) < EXECUTIONS


async def test_a_file_of_a_release_before_this_mark_is_taken(path: Path) -> None:
    kill_a_writer(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE file_use")
        connection.commit()
    assert not wal_path(path).exists()
    assert await executions_in(path) == EXECUTIONS


async def test_another_copy_is_not_taken_for_the_file_that_the_wal_belongs_to(
    path: Path, tmp_path: Path
) -> None:
    assert await executions_in(path) == 0
    older = copy_alone(path, tmp_path / "older")
    assert await executions_in(path) == 0
    kill_a_writer(path)
    shutil.copy(older, path)
    with pytest.raises(StoreError, match="another copy was put in its place"):
        await executions_in(path)


@pytest.mark.parametrize("end", ["pass", "del store", "raise SystemExit", "1 / 0"])
async def test_a_process_that_exits_without_closing_leaves_a_complete_file(
    path: Path, end: str
) -> None:
    run_a_writer(path, end)
    assert await executions_in(path) == EXECUTIONS


async def test_a_backup_of_this_use_is_not_taken_for_the_file_that_the_wal_belongs_to(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "backup.db"
    await asyncio.to_thread(sqlite_backup.backup, path, target, nothing)
    await store.append([submit(1)])
    await asyncio.to_thread(shutil.copy, target, path)
    with pytest.raises(StoreError, match="another copy was put in its place"):
        await asyncio.to_thread(sqlite_backup.verify, path, nothing)
    for each in (wal_path(path), lock_path(path)):
        await asyncio.to_thread(shutil.copy, each, tmp_path / f"elsewhere{each.name[11:]}")
    elsewhere = tmp_path / "elsewhere"
    await asyncio.to_thread(shutil.copy, target, elsewhere)
    with pytest.raises(StoreError, match="another copy was put in its place"):
        await executions_in(elsewhere)


async def test_processes_that_open_and_close_at_once_leave_a_complete_file(path: Path) -> None:
    async def use(number: int) -> None:
        store = SqliteStore(path)
        await store.open()
        await store.append([submit(number)])
        await store.close()

    await asyncio.gather(*(use(number) for number in range(12)))
    assert not wal_path(path).exists()
    assert await executions_in(path) == 12


async def test_the_wal_is_emptied_once_no_reader_needs_it(path: Path) -> None:
    limit_bytes = 256 * 1024
    store = SqliteStore(path)
    await store.open()
    writer = SqliteWriter(path, wal_max_bytes=limit_bytes)
    writer.start()
    value = os.urandom(64 * 1024)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM executions").fetchone()
            await writer.do(lambda connection: connection.execute("SELECT 1"))
            for number in range(16):
                await writer.do(partial(put_payload, number, value))
            assert wal_path(path).stat().st_size > limit_bytes
            reader.execute("ROLLBACK")
        for number in range(64):
            await writer.do(partial(put_payload, number, b""))
        assert wal_path(path).stat().st_size < limit_bytes
    finally:
        writer.stop()
        await store.close()
    assert limit_bytes < WAL_KEPT_BYTES


async def test_a_backup_of_a_store_in_use_is_complete_by_itself(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    await store.append([submit(number) for number in range(EXECUTIONS)])
    told: list[tuple[int, int]] = []
    target = tmp_path / "backup.db"
    await asyncio.to_thread(
        sqlite_backup.backup, path, target, lambda *progress: told.append(progress)
    )
    assert told[-1][0] == told[-1][1] > 0
    assert target.stat().st_mode & 0o777 == 0o600
    await store.append([submit(EXECUTIONS)])
    assert await executions_in(copy_alone(target, tmp_path / "elsewhere")) == EXECUTIONS
    assert not (tmp_path / "backup.db.partial").exists()


async def test_a_backup_replaces_no_file_and_needs_a_database(path: Path, tmp_path: Path) -> None:
    await executions_in(path)
    target = tmp_path / "backup.db"
    target.write_bytes(b"of yesterday")
    with pytest.raises(StoreError, match="exists already"):
        sqlite_backup.backup(path, target, nothing)
    assert target.read_bytes() == b"of yesterday"
    with pytest.raises(StoreError, match="no such file"):
        sqlite_backup.backup(tmp_path / "none.db", tmp_path / "new.db", nothing)
    assert not (tmp_path / "new.db").exists()


async def test_a_restore_brings_back_the_backup_and_keeps_what_was_there(
    path: Path, tmp_path: Path
) -> None:
    kill_a_writer(path)
    target = tmp_path / "backup.db"
    sqlite_backup.backup(path, target, nothing)
    store = SqliteStore(path)
    await store.open()
    await store.append([submit(EXECUTIONS)])
    with pytest.raises(StoreError, match="is in use: stop the server first"):
        sqlite_backup.restore(target, path, nothing)
    await store.close()
    moved = sqlite_backup.restore(target, path, nothing)
    assert moved == tmp_path / "rillflow.db.before-restore-1"
    assert await executions_in(path) == EXECUTIONS
    assert await executions_in(moved) == EXECUTIONS + 1


async def test_a_restore_needs_no_store_in_its_place(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    await executions_in(path)
    sqlite_backup.backup(path, target, nothing)
    new = tmp_path / "elsewhere" / "rillflow.db"
    assert sqlite_backup.restore(target, new, nothing) is None
    assert (await schema_status(f"sqlite://{new}")).is_current
    assert await executions_in(new) == 0


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("DELETE FROM definitions", f"its definition {'0' * 32} is missing"),
        ("UPDATE definitions SET text = '['", f"definition {'0' * 32} cannot be read"),
        (
            "INSERT INTO versions VALUES (1, 'shop', 'order', 'release', 'abc', 0)",
            "shop:order:release: its version abc is missing",
        ),
    ],
)
def test_definitions_are_verified(path: Path, damage: str, told: str) -> None:
    kill_a_writer(path)
    close_after_kill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    assert any(told in problem for problem in sqlite_backup.verify(path, nothing).problems)


@pytest.mark.parametrize("step", ["link", "rename", "replace"])
async def test_a_restore_that_fails_on_the_way_leaves_a_store(
    path: Path, tmp_path: Path, step: str
) -> None:
    """The steps are those that the system is asked for; a child process has one of them fail."""
    kill_a_writer(path)
    target = tmp_path / "backup.db"
    sqlite_backup.backup(path, target, nothing)
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_RESTORE, str(target), str(path), step
    )
    assert await killed.wait() == -signal.SIGKILL
    if step == "replace":
        with pytest.raises(StoreError, match="is incomplete"):
            await executions_in(path)
        shutil.move(wal_path(tmp_path / "rillflow.db.before-restore-1"), wal_path(path))
    assert await executions_in(path) == EXECUTIONS


async def test_a_damaged_backup_is_not_restored(path: Path, tmp_path: Path) -> None:
    kill_a_writer(path)
    target = tmp_path / "backup.db"
    sqlite_backup.backup(path, target, nothing)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("UPDATE journal SET record = x'00' WHERE execution = 3")
        connection.commit()
    with pytest.raises(StoreError, match="is damaged and was not restored"):
        sqlite_backup.restore(target, path, nothing)
    assert await executions_in(path) == EXECUTIONS


async def test_a_verification_names_every_execution_that_cannot_be_read(
    store: SqliteStore, path: Path
) -> None:
    large = b"[" + b'"' + b"x" * 100_000 + b'"' + b"]"
    await store.append([submit(number, RECORD, RECORD) for number in range(6)])
    await store.append([follow(0, 3, RECORD)])
    assert not sqlite_backup.verify(path, nothing).is_clean
    await store.put_definition_text("0" * 32, DEFINITION)
    assert sqlite_backup.verify(path, nothing).is_clean
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM journal WHERE execution = 1 AND seq = 2")
        other.execute("DELETE FROM journal WHERE execution = 2")
        other.execute("UPDATE journal SET record = ? WHERE execution = 3 AND seq = 1", (large,))
        other.execute("INSERT INTO snapshots VALUES (4, 2, x'01')")
        other.commit()
    found = sqlite_backup.verify(path, nothing)
    assert found.executions == 6
    told = dict(each.split(": ", 1) for each in found.problems)
    assert list(told) == [id_of(number) for number in range(4)]
    assert told[id_of(0)] == "1 of 3 records are missing"
    assert told[id_of(1)] == "it has neither records nor a snapshot"


def test_a_page_that_is_overwritten_is_told(path: Path) -> None:
    kill_a_writer(path)
    close_after_kill(path)
    with closing(sqlite3.connect(path)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'journal'")
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(bytes(range(200)))
    assert any("SQLite: " in each for each in sqlite_backup.verify(path, nothing).problems)


async def test_a_file_that_is_held_alone_cannot_be_opened(path: Path) -> None:
    assert await executions_in(path) == 0
    lock = hold_alone(path)
    try:
        opening = asyncio.create_task(executions_in(path))
        await asyncio.wait([opening], timeout=0.05)
        assert not opening.done()
    finally:
        os.close(lock)
    assert await opening == 0
    assert lock_path(path).stat().st_mode & 0o777 == 0o600
