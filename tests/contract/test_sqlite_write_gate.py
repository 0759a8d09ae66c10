"""Nobody commits while a process moves commits into the SQLite file, and nothing else moves them.

Up to 3.51.2, SQLite may lose commits where both happen at once.
"""

import asyncio
import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rillflow.stores import open_store
from rillflow.stores.sqlite.connection import WriteGate, connect
from tests.contract.appends import submit


async def test_a_commit_waits_while_another_process_holds_the_gate(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/a.db")
    await store.open()
    await store.append([submit(1)])
    other = os.open(tmp_path / "a.db-write", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    append = asyncio.create_task(store.append([submit(2)]))
    done, _ = await asyncio.wait({append}, timeout=0.2)
    assert not done
    os.close(other)
    await append
    await store.close()


async def test_of_those_that_give_way_one_at_a_time_asks_for_the_gate(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/a.db"
    one, many = open_store(url), open_store(url, few_connections=True)
    await one.open()
    await many.open()
    await many.append([submit(1)])
    turn = os.open(tmp_path / "a.db-write-turn", os.O_RDWR)
    fcntl.flock(turn, fcntl.LOCK_EX)
    append = asyncio.create_task(many.append([submit(2)]))
    done, _ = await asyncio.wait({append}, timeout=0.2)
    assert not done, "it is not its turn"
    await one.append([submit(3)])
    assert not append.done()
    fcntl.flock(turn, fcntl.LOCK_UN)
    await append
    gate = os.open(tmp_path / "a.db-write", os.O_RDWR)
    fcntl.flock(gate, fcntl.LOCK_EX)
    append = asyncio.create_task(many.append([submit(4)]))
    while _is_free(turn):
        await asyncio.wait({append}, timeout=0.01)
    os.close(gate)
    await append
    os.close(turn)
    await many.close()
    await one.close()


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True


def test_a_gate_is_free_again_after_an_error(tmp_path: Path) -> None:
    first, second = WriteGate(tmp_path / "a.db"), WriteGate(tmp_path / "a.db")
    with pytest.raises(ValueError, match="x"), first.held():
        raise ValueError("x")
    with second.held():
        pass
    first.close()
    second.close()


def test_no_connection_moves_commits_by_itself(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "a.db", mode="rwc")) as connection:
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchall() == [(0,)]


async def test_the_writer_moves_commits_at_times(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/a.db")
    await store.open()
    empty = (tmp_path / "a.db").stat().st_size
    for number in range(1, 101):
        await store.append([submit(number)])
    assert (tmp_path / "a.db").stat().st_size > empty
    with closing(sqlite3.connect(f"file:{tmp_path}/a.db?mode=ro", uri=True)) as reader:
        assert reader.execute("SELECT count(*) FROM executions").fetchall() == [(100,)]
    await store.close()
