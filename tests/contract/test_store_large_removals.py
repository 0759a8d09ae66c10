"""A large execution that is removed is gone at once; what it had goes some bytes at a time."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from rillflow.errors import ConflictError
from rillflow.ports.storage.store import Closing, Store
from rillflow.stores import open_store
from rillflow.stores.append_plan import EXECUTION_BYTES
from rillflow.stores.purge_plan import MOST_WHOLE_BYTES, PARTS_AT_ONCE
from rillflow.stores.sqlite.file_use import wal_path
from tests.contract.appends import close, follow, id_of, submit
from tests.contract.tables import run_sql

LATER_MS: Final = 10_000
MOST_BYTES: Final = 1 << 20
VALUES: Final = 6
VALUE_BYTES: Final = 600_000
ENDED: Final = Closing(status="SUCCEED", code=None, finished_at_ms=500)
_LEFT: Final = """
SELECT (SELECT coalesce(sum(length(value)), 0) FROM payloads)
    + (SELECT coalesce(sum(length(record)), 0) FROM journal)
    + (SELECT coalesce(sum(length(snapshot)), 0) FROM snapshots)
"""


@pytest.fixture
async def store(durable_url: str) -> AsyncIterator[Store]:
    opened = open_store(durable_url)
    await opened.open()
    yield opened
    await opened.close()


def large_value(letter: str) -> bytes:
    return b'{"a":"%b"}' % (letter.encode() * VALUE_BYTES)


async def add_large(store: Store, number: int) -> None:
    """Store an ended execution with some megabytes in records and in its snapshot."""
    await store.append([submit(number, idempotency_key=f"k{number}", parent_id=id_of(99))])
    for seq in range(2, 2 + VALUES):
        record = b"\x01" + large_value("abcdefgh"[seq])
        await store.append([follow(number, seq, record)])
    seq = 2 + VALUES
    whole = b"\x01" + large_value("z")
    await store.append(
        [follow(number, seq, b"end", closing=ENDED, snapshot=whole, snapshot_seq=seq)]
    )


async def bytes_left(url: str) -> int:
    [(left,)] = await run_sql(url, _LEFT)
    return int(left)


async def purge(store: Store, number: int) -> None:
    assert await store.purge([id_of(number)], ended_before_ms=LATER_MS, most_records=2_000) == []


async def purge_remains(store: Store, most_bytes: int = MOST_BYTES) -> None:
    async with asyncio.timeout(60):
        while await store.purge_remains(most_bytes=most_bytes):
            pass


async def test_no_transaction_of_a_removal_deletes_more_than_it_may(
    store: Store, durable_url: str
) -> None:
    await add_large(store, 1)
    left = [await bytes_left(durable_url)]
    assert left[0] > VALUES * VALUE_BYTES > MOST_WHOLE_BYTES
    await purge(store, 1)
    left.append(await bytes_left(durable_url))
    async with asyncio.timeout(60):
        while await store.purge_remains(most_bytes=MOST_BYTES):
            left.append(await bytes_left(durable_url))
    assert left[-1] == 0
    assert max(b - a for b, a in pairwise(left)) <= MOST_BYTES
    assert await run_sql(durable_url, "SELECT * FROM stored_bytes") == []
    assert not await store.purge_remains(most_bytes=MOST_BYTES)


async def test_a_value_that_is_longer_goes_alone(store: Store, durable_url: str) -> None:
    await add_large(store, 1)
    await purge(store, 1)
    before = await bytes_left(durable_url)
    assert await store.purge_remains(most_bytes=1)
    assert 0 < before - await bytes_left(durable_url) < 2 * VALUE_BYTES
    await purge_remains(store, most_bytes=1)
    assert await bytes_left(durable_url) == 0


async def test_nobody_finds_it_while_parts_of_it_remain(store: Store, durable_url: str) -> None:
    await add_large(store, 1)
    await purge(store, 1)
    assert await bytes_left(durable_url) > VALUES * VALUE_BYTES
    assert await store.load(id_of(1)) is None
    assert await store.children(id_of(99)) == []
    assert await store.find_by_idempotency_key("shop", "order", "k1") is None
    assert await store.read_journal(id_of(1), after_seq=0, limit=10) == []
    assert await store.purgeable(ended_before_ms=LATER_MS, keep=0, limit=10) == []
    assert await store.stored_bytes("shop") == 0
    with pytest.raises(ConflictError):
        await store.append([follow(1, 3 + VALUES, b"redo", status="RUNNING")])


async def test_a_removal_that_was_interrupted_goes_on_in_another_process(
    store: Store, durable_url: str
) -> None:
    for number in (1, 2):
        await add_large(store, number)
        await purge(store, number)
    assert await store.purge_remains(most_bytes=MOST_BYTES)
    await store.close()
    other = open_store(durable_url)
    await other.open()
    try:
        await purge_remains(other)
    finally:
        await other.close()
    assert await bytes_left(durable_url) == 0


async def test_what_begins_meanwhile_keeps_what_it_has(store: Store, durable_url: str) -> None:
    # The one that is removed was the newest.
    await add_large(store, 1)
    await purge(store, 1)
    await add_large(store, 1)
    whole = await store.load(id_of(1))
    assert await store.stored_bytes("shop") > VALUES * VALUE_BYTES + EXECUTION_BYTES
    await purge_remains(store)
    assert await store.load(id_of(1)) == whole
    await purge(store, 1)
    await purge_remains(store)
    assert await bytes_left(durable_url) == 0


async def test_a_long_journal_goes_some_records_at_a_time(store: Store, durable_url: str) -> None:
    many = tuple(b"%d" % seq for seq in range(3 * PARTS_AT_ONCE))
    await store.append([submit(1, *many)])
    await store.append([close(1, len(many) + 1, "SUCCEED")])
    assert await store.purge([id_of(1)], ended_before_ms=LATER_MS, most_records=100) == []
    assert await store.load(id_of(1)) is None
    counts = []
    async with asyncio.timeout(60):
        while await store.purge_remains(most_bytes=MOST_BYTES):
            [(count,)] = await run_sql(durable_url, "SELECT count(*) FROM journal")
            counts.append(count)
    assert counts == [2 * PARTS_AT_ONCE + 1, PARTS_AT_ONCE + 1, 1, 0]


async def test_no_two_large_ones_are_removed_at_once(store: Store, durable_url: str) -> None:
    for number in (1, 2):
        await add_large(store, number)
    await store.append([submit(3), close(3, 2, "SUCCEED"), submit(4)])
    left, found = [id_of(number) for number in (1, 2, 3, 4)], list[list[bool]]()
    async with asyncio.timeout(60):
        while left:
            left = await store.purge(left, ended_before_ms=LATER_MS, most_records=2_000)
            found.append([await store.load(id_of(n)) is not None for n in (1, 2, 3, 4)])
    assert found == [
        [False, True, True, True],
        [False, False, True, True],
        [False, False, False, True],
    ]
    await purge_remains(store)
    [(records,)] = await run_sql(durable_url, "SELECT count(*) FROM journal")
    assert records == 1, "that of the one that has not ended"


async def test_what_is_removed_is_not_written_to_the_disk_again(tmp_path: Path) -> None:
    path = tmp_path / "rillflow.db"
    store = open_store(f"sqlite://{path}")
    await store.open()
    try:
        text = os.urandom(2 << 20).hex().encode()
        await store.append([submit(1, b"\x01" + b'"%b"' % text), close(1, 2, "SUCCEED")])
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        await purge(store, 1)
        await purge_remains(store)
        assert wal_path(path).stat().st_size < len(text) / 8
    finally:
        await store.close()
