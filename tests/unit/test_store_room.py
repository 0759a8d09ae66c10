"""What is new, orders and the archive leave the disk of the store some space, each its own part."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from rillflow.errors import OverloadedError
from rillflow.runtime.backpressure.store_room import (
    FRESH_S,
    LEAST_FRESH_S,
    WRITING_BYTES_S,
    WRITTEN_TIMES,
    ArchiveRoom,
    StoreRoom,
)
from rillflow.settings import Settings
from rillflow.stores.sqlite.file_space import file_space_of
from rillflow.stores.sqlite.file_use import wal_path
from rillflow.stores.sqlite.writer import WAL_MAX_BYTES
from tests.loopback import ManualClock

LEAST: Final = 100 << 20


class Disk:
    """A disk with so much free space that a store in a file is on."""

    def __init__(self, folder: Path, least_bytes: int = LEAST) -> None:
        self.free = 0
        self.readings = 0
        self.settings = Settings(
            data_dir=folder,
            store=f"sqlite:///{folder}/store.db",
            store_min_free_bytes=least_bytes,
        )
        self.store = folder / "store.db"
        self.clock = ManualClock()
        self.room = StoreRoom(self.settings, self.clock, self.free_of)
        self.archive = ArchiveRoom(self.settings, self.free_of)

    def free_of(self, _: Path) -> int:
        self.readings += 1
        return self.free

    def refuses(self, more_bytes: int = 0) -> bool:
        try:
            self.room.require(more_bytes)
        except OverloadedError:
            return True
        return False

    def refuses_orders(self) -> bool:
        self.clock.forward(FRESH_S)
        try:
            self.room.require_for_order()
        except OverloadedError:
            return True
        return False

    def refuses_archive(self, more_bytes: int = 0) -> bool:
        try:
            self.archive.require(self.store.parent, more_bytes)
        except OSError as error:
            return error.errno == errno.ENOSPC and "store_min_free_bytes" in str(error)
        return False


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_orders_and_the_archive_stop_at_a_half_beyond_what_the_wal_may_take(disk: Disk) -> None:
    found: list[tuple[bool, bool, bool]] = []
    for space in (LEAST, LEAST - 1, LEAST // 2, LEAST // 2 - 1):
        disk.free = WAL_MAX_BYTES + space
        disk.clock.forward(FRESH_S)
        found.append((disk.refuses(), disk.refuses_orders(), disk.refuses_archive()))
    assert found == [
        (False, False, False),
        (True, False, False),
        (True, False, False),
        (True, True, True),
    ]
    disk.free = WAL_MAX_BYTES + LEAST
    assert not disk.refuses_archive(LEAST // 2)
    assert disk.refuses_archive(LEAST // 2 + 1)


def test_a_wal_that_is_longer_is_counted_as_what_will_be_in_the_database(disk: Disk) -> None:
    disk.store.touch()
    with wal_path(disk.store).open("wb") as wal:
        wal.truncate(3 * WAL_MAX_BYTES)
    disk.free = 3 * WAL_MAX_BYTES + LEAST - 1
    assert disk.refuses()
    wal_path(disk.store).unlink()
    disk.clock.forward(FRESH_S)
    assert not disk.refuses()


def test_without_the_setting_nothing_is_kept_free(tmp_path: Path) -> None:
    none = Disk(tmp_path, 0)
    assert not none.refuses(1 << 60)
    assert not none.refuses_archive(1 << 60)
    assert none.readings == 0


def test_an_archive_on_another_disk_needs_no_space_for_the_wal(disk: Disk) -> None:
    elsewhere = Path("/proc")
    assert elsewhere.stat().st_dev != disk.store.parent.stat().st_dev
    disk.free = LEAST // 2
    disk.archive.require(elsewhere, 0)
    with pytest.raises(OSError, match="store_min_free_bytes"):
        disk.archive.require(elsewhere, 1)


def test_what_was_admitted_and_is_not_written_yet_counts(disk: Disk) -> None:
    disk.free = WAL_MAX_BYTES + LEAST + 10 * WRITTEN_TIMES
    assert [disk.refuses(4) for _ in range(3)] == [False, False, True]
    assert not disk.refuses(2)
    disk.clock.forward(FRESH_S)
    assert disk.refuses(1), "it may not be written for another second"
    disk.clock.forward(FRESH_S)
    assert not disk.refuses(10), "it is written, and the disk says what is free"


def test_the_disk_is_read_the_more_often_the_less_is_free(disk: Disk) -> None:
    disk.free = WAL_MAX_BYTES + LEAST + WRITING_BYTES_S
    for _ in range(100):
        assert not disk.refuses()
        disk.clock.forward(FRESH_S / 10 + 1e-9)
    assert disk.readings == 10
    disk.free, disk.readings = WAL_MAX_BYTES + LEAST, 0
    disk.clock.forward(FRESH_S)
    for _ in range(100):
        assert not disk.refuses()
        disk.clock.forward(LEAST_FRESH_S)
    assert disk.readings == 100


def test_pages_in_no_use_are_room_for_a_half(disk: Disk) -> None:
    with closing(sqlite3.connect(disk.store)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE kept (value BLOB)")
        connection.executemany(
            "INSERT INTO kept VALUES (?)", [(os.urandom(1 << 20),) for _ in range(8)]
        )
        connection.commit()
        assert file_space_of(disk.store).unused_bytes == 0
        connection.execute("DELETE FROM kept")
        connection.commit()
        unused, moved = file_space_of(disk.store)
        assert unused > 7 << 20
        disk.free = WAL_MAX_BYTES + LEAST - unused - moved
        assert not disk.refuses()
        assert not disk.room.is_full()
        disk.free -= 1
        disk.clock.forward(FRESH_S)
        assert disk.refuses()
        assert disk.room.is_full()
    assert file_space_of(disk.store) == (unused, 0), "the file is closed, and has no -wal file"
    small = Disk(disk.store.parent, unused)
    small.free = WAL_MAX_BYTES + unused // 2 - 1
    assert small.refuses(), "not everything is written to these pages"
    small.clock.forward(FRESH_S)
    small.free = WAL_MAX_BYTES + unused - unused // 2
    assert not small.refuses()


def test_what_the_wal_has_is_not_counted_twice_once_it_is_in_the_database(disk: Disk) -> None:
    with closing(sqlite3.connect(disk.store)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE kept (value BLOB)")
        connection.execute("INSERT INTO kept VALUES (?)", (os.urandom(4 << 20),))
        connection.commit()
        length = wal_path(disk.store).stat().st_size
        assert file_space_of(disk.store).moved_bytes < length // 10
        disk.free = WAL_MAX_BYTES + LEAST - length
        assert disk.refuses()
        connection.execute("PRAGMA wal_checkpoint")
        assert file_space_of(disk.store) == (0, length)
        disk.clock.forward(FRESH_S)
        assert not disk.refuses()
        disk.free -= 1
        disk.clock.forward(FRESH_S)
        assert disk.refuses()


def test_a_file_that_cannot_be_read_has_no_space(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    assert file_space_of(store) == (0, 0)
    store.write_text("no database" * 1000)
    assert file_space_of(store) == (0, 0)
