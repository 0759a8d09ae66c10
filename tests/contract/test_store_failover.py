"""A standby that follows synchronously takes over, and nothing that was acknowledged is lost."""

import asyncio
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from rillflow.errors import StoreError
from rillflow.stores import open_store
from rillflow.stores.postgres.store import PostgresStore
from tests.contract.appends import PARTITION, follow, id_of, submit
from tests.postgres_server import PostgresServer

WRITERS: Final = 8
SOME: Final = 100
WITHIN_S: Final = 120.0
FOLLOWS: Final = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    server = PostgresServer(standby_of=primary)
    yield server
    server.stop()


class Load:
    """Appends to executions of its own, one writer beside the other, whatever fails meanwhile."""

    def __init__(self, store: PostgresStore, epoch: int) -> None:
        self._store, self._epoch = store, epoch
        self._next = 0
        self.acknowledged: list[int] = []
        self.failed = 0
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Append, two records to each execution, until cancelled."""

        async def write() -> None:
            while True:
                self._next += 1
                await self._append(self._next)

        await asyncio.gather(*(write() for _ in range(WRITERS)))

    async def until_acknowledged(self, more: int) -> None:
        """Wait until so many more executions are acknowledged."""
        wanted = len(self.acknowledged) + more
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.acknowledged) >= wanted)

    async def until_refused(self) -> None:
        """Wait until nobody answers any more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.failed >= WRITERS)

    async def _append(self, number: int) -> None:
        try:
            await self._store.append([submit(number, epoch=self._epoch)])
            await self._store.append([follow(number, 2, b"next", epoch=self._epoch)])
        except StoreError:
            self.failed += 1
        else:
            self.acknowledged.append(number)
        async with self._changed:
            self._changed.notify_all()


async def _follow_synchronously(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await connection.execute("SELECT pg_reload_conf()")
    while not await connection.fetchval(FOLLOWS):
        await connection.execute("SELECT pg_sleep(0.05)")
    await connection.close()


@pytest.mark.long
async def test_what_was_acknowledged_is_there_after_a_standby_was_promoted_under_load(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    url = primary.new_database()
    database = urlsplit(url).path
    homes = f"{primary.home},{standby.home}"
    both = f"postgresql://rillflow@{database}?host={homes}&target_session_attrs=primary"
    store = open_store(both)
    assert isinstance(store, PostgresStore)
    async with asyncio.timeout(WITHIN_S):
        await store.open()
        await _follow_synchronously(url)
        epoch = await store.take_scopes([PARTITION])
        load = Load(store, epoch)
        running = asyncio.create_task(load.run())
        await load.until_acknowledged(SOME)
        await asyncio.to_thread(primary.kill)
        await load.until_refused()
        await asyncio.to_thread(standby.promote)
        await load.until_acknowledged(SOME)
        running.cancel()
        for number in load.acknowledged:
            loaded = await store.load(id_of(number))
            assert loaded is not None, number
            assert loaded.records == (b"submitted", b"next")
        assert await store.newest_epoch([PARTITION]) == epoch
        await store.close()
