"""What a store has acknowledged outlives the process, and processes share one storage."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from itertools import count
from pathlib import Path

from rillflow.errors import FencedError
from rillflow.ports.storage.store import Store
from rillflow.stores import open_store
from tests.contract.appends import PARTITION, follow, id_of, submit

ROOT = Path(__file__).parents[2]


async def test_every_acknowledged_record_is_there_after_a_kill(durable_url: str) -> None:
    child = await _start("append", durable_url)
    assert child.stdout is not None
    lines = [await child.stdout.readline() for _ in range(500)]
    child.kill()
    lines += (await child.stdout.read()).splitlines()
    await child.wait()
    acknowledged = Counter(int(line.split()[0]) for line in lines if line.strip())

    store = open_store(durable_url)
    await store.open()
    assert len(acknowledged) == 16
    for number, records in acknowledged.items():
        loaded = await store.load(id_of(number))
        assert loaded is not None
        assert len(loaded.records) in {records, records + 1}
        assert [record.split(b"-")[:2] for record in loaded.records] == [
            [b"%d" % number, b"%d" % seq] for seq in range(1, len(loaded.records) + 1)
        ]
    await store.close()


async def test_several_processes_may_open_a_new_store_at_once(durable_url: str) -> None:
    children = [await _start("open", durable_url, str(number)) for number in range(6)]
    assert [await child.wait() for child in children] == [0] * 6
    store = open_store(durable_url)
    await store.open()
    assert await store.unfinished([PARTITION]) == [id_of(number) for number in range(6)]
    await store.close()


async def test_an_old_owner_writes_nothing_once_the_take_has_returned(durable_url: str) -> None:
    stores = (open_store(durable_url), open_store(durable_url))
    for store in stores:
        await store.open()
    epoch = await stores[1].take_scopes([PARTITION])
    await stores[1].append([submit(1, epoch=epoch)])
    written = 1
    for turn in range(20):
        new_owner, old_owner = stores[turn % 2], stores[(turn + 1) % 2]
        old_writes = asyncio.create_task(_append_until_fenced(old_owner, written + 1, epoch))
        epoch = await new_owner.take_scopes([PARTITION])
        loaded = await new_owner.load(id_of(1))
        assert loaded is not None
        written += await old_writes
        assert len(loaded.records) == written
    for store in stores:
        await store.close()


async def test_a_full_disk_fails_the_appends_that_meet_it_and_no_others(sqlite_url: str) -> None:
    child = await _start("full", sqlite_url)
    assert child.stdout is not None
    assert (await child.stdout.read()).split() == [b"4", b"4"]
    assert await child.wait() == 0
    store = open_store(sqlite_url)
    await store.open()
    assert await store.unfinished([PARTITION]) == [id_of(1), id_of(9)]
    await store.close()


async def _append_until_fenced(store: Store, first_seq: int, epoch: int) -> int:
    """Append one record after the other, and count those that were acknowledged."""
    for written in count():
        try:
            await store.append([follow(1, first_seq + written, b"old", epoch=epoch)])
        except FencedError:
            break
    return written


async def _start(task: str, *arguments: str) -> Process:
    module = "tests.contract.journal_child"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, task, *arguments, stdout=PIPE, cwd=ROOT
    )
