"""A SQLite store whose disk is full at its end or its start is whole as soon as there is room.

What moves commits into the database file then stops halfway: the file says that it has more pages
than it has.
"""

import shutil
from pathlib import Path

import pytest

from rillflow.errors import StoreError
from rillflow.stores.sqlite.file_use import close_after_kill, lock_path, wal_path
from rillflow.stores.sqlite.store import SqliteStore
from tests.contract.appends import id_of, submit
from tests.full_disk import full_disk

EXECUTIONS = 50
LONG = b"r" * 20_000


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "rillflow.db"


async def filled(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    for number in range(EXECUTIONS):
        await store.append([submit(number, LONG)])
    return store


async def assert_whole(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    for number in range(EXECUTIONS):
        loaded = await store.load(id_of(number))
        assert loaded is not None
        assert loaded.records == (LONG,)
    await store.close()
    assert not wal_path(path).exists()


async def test_one_that_is_closed_on_a_full_disk_is_whole(path: Path) -> None:
    store = await filled(path)
    with full_disk():
        await store.close()
    assert wal_path(path).stat().st_size > EXECUTIONS * len(LONG)
    await assert_whole(path)


async def test_one_that_was_killed_and_is_opened_on_a_full_disk_is_whole(
    path: Path, tmp_path: Path
) -> None:
    store = await filled(path)
    killed = tmp_path / "killed" / path.name
    killed.parent.mkdir()
    for each in (path, wal_path(path), lock_path(path)):
        shutil.copy(each, killed.parent)
    await store.close()
    for _ in range(2):
        with full_disk():
            close_as_it_can(killed)
    await assert_whole(killed)


def close_as_it_can(path: Path) -> None:
    try:
        close_after_kill(path)
    except StoreError as error:
        assert "full" in str(error) or "I/O" in str(error)  # noqa: PT017 - it may also be closed


async def test_another_copy_is_still_refused(path: Path, tmp_path: Path) -> None:
    other = await filled(tmp_path / "other" / path.name)
    await other.close()
    store = await filled(path)
    with full_disk():
        await store.close()
    shutil.copy(tmp_path / "other" / path.name, path)
    with pytest.raises(StoreError, match="another copy was put in its place"):
        await SqliteStore(path).open()
