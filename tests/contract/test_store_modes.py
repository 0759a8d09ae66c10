"""What a store writes on disk is for its owner only, whatever umask and folder it meets."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rillflow.stores import open_store, upgrade_schema
from rillflow.stores.archive import Archive
from tests.contract.appends import submit

FILES = ("a.db", "a.db-wal", "a.db-shm", "a.db-lock", "a.db-write")
TURN = "a.db-write-turn"


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is open to everybody, while whatever is made is as well."""
    tmp_path.chmod(0o777)
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


def _modes(folder: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}


async def test_the_files_of_a_new_database_are(folder: Path) -> None:
    store = open_store(f"sqlite://{folder}/a.db", few_connections=True)
    await store.open()
    await store.append([submit(1)])
    assert _modes(folder) == dict.fromkeys((*FILES, TURN), 0o600)
    await store.close()


async def test_those_that_were_open_are_closed_when_they_are_used(folder: Path) -> None:
    url = f"sqlite://{folder}/a.db"
    await upgrade_schema(url)
    files = [folder / name for name in FILES]
    for file in files:
        file.touch()
        file.chmod(0o666)
    store = open_store(url)
    await store.open()
    await store.append([submit(1)])
    assert _modes(folder) == dict.fromkeys((file.name for file in files), 0o600)
    await store.close()


async def test_lines_of_the_archive_are(folder: Path) -> None:
    await Archive(folder).append([[b"{}"]], at_ms=0)
    assert _modes(folder) == {"executions-1970-01-01.jsonl": 0o600}


CLOSE_AS_ANOTHER: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
connection.close()
"""


async def test_a_second_use_of_a_file_in_a_process_takes_no_lock_of_the_first_away(
    folder: Path,
) -> None:
    """Another process would take itself for the last one, and remove the latest commits."""
    url, wal = f"sqlite://{folder}/a.db", folder / "a.db-wal"
    first = open_store(url)
    await first.open()
    await first.append([submit(1)])
    before = wal.stat()
    for mode in (0o600, 0o666):
        for name in FILES:
            (folder / name).chmod(mode)
        second = open_store(url)
        await second.open()
        await second.close()
        command = [sys.executable, "-c", CLOSE_AS_ANOTHER, str(folder / "a.db")]
        assert await asyncio.to_thread(subprocess.call, command) == 0
        assert wal.exists()
        assert os.path.samestat(wal.stat(), before)
    await first.close()
