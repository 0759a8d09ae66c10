"""What a store writes on disk is for its owner only, whatever umask and folder it meets."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rillflow.stores import open_store, upgrade_schema
from rillflow.stores.archive import Archive
from tests.contract.appends import submit

FILES = ("a.db", "a.db-wal", "a.db-shm", "a.db-lock", "a.db-write")


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
    store = open_store(f"sqlite://{folder}/a.db")
    await store.open()
    await store.append([submit(1)])
    assert _modes(folder) == dict.fromkeys(FILES, 0o600)
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
    await Archive(folder).append([b"{}"], at_ms=0)
    assert _modes(folder) == {"executions-1970-01-01.jsonl": 0o600}
