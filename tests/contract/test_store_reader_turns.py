"""Who reads much makes others wait for one read, and what every request needs waits for none."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeAlias, TypeVar

import asyncpg
import pytest

from rillflow.ids import ExecutionId
from rillflow.ports.storage.access import ApiKey
from rillflow.ports.storage.aliases import AliasName
from rillflow.ports.storage.sessions import EndedSession
from rillflow.ports.storage.store import ExecutionFilter, Store
from rillflow.stores import open_store
from rillflow.stores.postgres.database import PostgresDatabase
from rillflow.stores.postgres.store import PostgresStore
from rillflow.stores.reader_turns import ReaderTurns
from rillflow.stores.sqlite.database import GLANCED_SHORT_ROWS, SqliteDatabase
from rillflow.stores.sqlite.reading import ReadingThread
from rillflow.stores.sqlite.store import SqliteStore
from tests.postgres_server import PostgresServer

T = TypeVar("T")
Durable: TypeAlias = SqliteStore | PostgresStore
Read: TypeAlias = Callable[[Store], Awaitable[object]]

MANY = 32
LONG_S = 60.0
HELD = "SELECT pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1)"
HELD_UP = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
EXECUTION = ExecutionId("evil:f:md5_" + "0" * 32 + "-1700000000000-1")
READER = ContextVar("reader", default="")
PROMPT: dict[str, Read] = {
    "idempotency key": lambda store: store.find_by_idempotency_key("victim", "f", "k"),
    "keys": lambda store: store.api_keys(),
    "sessions": lambda store: store.ended_sessions(),
    "newest version": lambda store: store.newest_version("", "", ""),
    "known version": lambda store: store.has_version("victim", "f", "0" * 32),
    "epoch": lambda store: store.newest_epoch([1]),
    "lease": lambda store: store.lease(),
    "deployment": lambda store: store.deployment(),
    "one trigger": lambda store: store.trigger("victim:f:a/t"),
    "changes of triggers": lambda store: store.newest_trigger_revision(),
    "probe": lambda store: store.probe(),
}
OF_A_WORKSPACE: dict[str, Read] = {
    "load": lambda store: store.load(EXECUTION),
    "children": lambda store: store.children(EXECUTION),
    "journal": lambda store: store.read_journal(EXECUTION, after_seq=0, limit=1),
    "bytes": lambda store: store.stored_bytes("evil"),
    "features": lambda store: store.features("evil"),
    "aliases": lambda store: store.aliases("evil", "f"),
    "versions": lambda store: store.versions("evil", "f", "a"),
    "scopes of rules": lambda store: store.rule_scopes("ab", "evil"),
    "use of the catalogue": lambda store: store.catalogue_use("evil"),
    "bytes of definitions": lambda store: store.definition_bytes("evil"),
    "youngest aliases": lambda store: store.youngest_aliases("evil", limit=1),
    "listed versions": lambda store: store.listed_versions("evil", "f", limit=1),
    "alias with a version": lambda store: store.alias_with_version("evil", "f", "0" * 32),
    "use of triggers": lambda store: store.trigger_use("evil"),
}
OF_WHO_ASKS: dict[str, Read] = {
    "businesses": lambda store: store.businesses(),
    "aliases of all": lambda store: store.alias_rows(AliasName(), limit=1),
    "executions": lambda store: store.list_executions(ExecutionFilter(), limit=1),
    "counts": lambda store: store.count_executions(ExecutionFilter()),
    "text": lambda store: store.definition_text("0" * 32),
    "triggers": lambda store: store.list_triggers(limit=1),
    "some triggers": lambda store: store.triggers_now(["evil:f:a/t"]),
}
OF_THE_STACK: dict[str, Read] = {
    "unfinished": lambda store: store.unfinished([1]),
    "ended": lambda store: store.ended_since([1], since_ms=0, limit=1),
    "deaths": lambda store: store.deaths(),
    "purgeable": lambda store: store.purgeable(ended_before_ms=1, keep=0, limit=1),
    "changed triggers": lambda store: store.changed_triggers(0, limit=1),
}


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Durable]:
    url = f"sqlite://{tmp_path}/rillflow.db"
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.new_database()
    opened = open_store(url)
    assert isinstance(opened, SqliteStore | PostgresStore)
    opened.take_turns(READER.get)
    await opened.open()
    yield opened
    await opened.close()


@contextmanager
def reading_as(reader: str) -> Iterator[None]:
    token = READER.set(reader)
    try:
        yield
    finally:
        READER.reset(token)


def stuck_reads(store: Durable) -> AbstractAsyncContextManager[None]:
    """Reads of ``evil``, long and short ones, that do not end before the block does."""
    database = store._database
    if isinstance(database, SqliteDatabase):
        return _stuck_in_threads(database)
    return _stuck_in_connections(database)


@asynccontextmanager
async def _stuck_in_threads(database: SqliteDatabase) -> AsyncIterator[None]:
    loop, begun, end = asyncio.get_running_loop(), asyncio.Queue[None](), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(begun.put_nowait, None)
        assert end.wait(LONG_S)

    with reading_as("evil"):
        reads = [
            asyncio.create_task(read(wait))
            for read in (database.scan, database.look_up)
            for _ in range(MANY)
        ]
    for _ in range(2):  # the one in each of the threads
        await begun.get()
    try:
        yield
    finally:
        end.set()
        await asyncio.gather(*reads)


@asynccontextmanager
async def _stuck_in_connections(database: PostgresDatabase) -> AsyncIterator[None]:
    other = await asyncpg.connect(database._url)
    await other.execute("SELECT pg_advisory_lock(1)")
    with reading_as("evil"):
        reads = [
            asyncio.create_task(read(HELD))
            for read in (database.scan, database.rows)
            for _ in range(MANY)
        ]
    while await other.fetchval(HELD_UP) < 3:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0)
    try:
        yield
    finally:
        await other.close()
        await asyncio.gather(*reads)


@pytest.mark.parametrize("what", PROMPT)
async def test_what_every_request_needs_waits_for_no_reads_of_others(
    store: Durable, what: str
) -> None:
    async with stuck_reads(store), asyncio.timeout(LONG_S / 2):
        await PROMPT[what](store)


async def test_more_keys_and_sessions_than_are_read_at_once_wait_for_no_reads_of_others(
    store: Durable,
) -> None:
    names = [f"key{number:04}" for number in range(GLANCED_SHORT_ROWS + 1)]
    await store.end_sessions([EndedSession(name, 1 << 50) for name in names])
    keys = [ApiKey(name=each, key_id=each, digest=each, role="viewer") for each in names]
    await asyncio.gather(*(store.add_api_key(key, most=len(keys)) for key in keys))
    async with stuck_reads(store), asyncio.timeout(LONG_S / 2):
        assert await store.api_keys() == keys
        assert len(await store.ended_sessions()) == len(names)


async def test_reads_of_a_workspace_leave_another_one_a_connection(
    postgres_server: PostgresServer,
) -> None:
    database = PostgresDatabase(postgres_server.new_database())
    database.reader = READER.get
    await database.open()
    async with _stuck_in_connections(database), asyncio.timeout(LONG_S / 2):
        with reading_as("victim"):
            assert await database.scan("SELECT 1") == [(1,)]
            assert await database.rows("SELECT 1") == [(1,)]
            await database.execute("SELECT 1")
            async with database.transaction() as connection:
                assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_read_in_a_thread_waits_for_one_of_each_other_workspace(tmp_path: Path) -> None:
    database, begins, read = SqliteDatabase(tmp_path / "file"), threading.Event(), list[str]()
    await database.open()

    def query_of(reader: str) -> Callable[[sqlite3.Connection], None]:
        def query(_: sqlite3.Connection) -> None:
            assert begins.wait(LONG_S)
            read.append(reader)

        return query

    come = [*("evil" for _ in range(MANY)), "victim", "third"]
    reads = [asyncio.create_task(database.scan(query_of(each), reader=each)) for each in come]
    await asyncio.sleep(0)
    begins.set()
    await asyncio.gather(*reads)
    assert read[:5] == ["evil", "evil", "victim", "third", "evil"]
    assert len(read) == MANY + 2
    await database.close()


async def test_a_read_whose_caller_has_left_is_not_made(tmp_path: Path) -> None:
    database, begins, read = SqliteDatabase(tmp_path / "file"), threading.Event(), list[int]()
    await database.open()

    def query_of(number: int) -> Callable[[sqlite3.Connection], None]:
        def query(_: sqlite3.Connection) -> None:
            assert begins.wait(LONG_S)
            read.append(number)

        return query

    first, left, last = (asyncio.create_task(database.scan(query_of(each))) for each in range(3))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    begins.set()
    await asyncio.gather(first, last)
    assert read == [0, 2]
    await database.close()


class NotingThread(ReadingThread):
    """A reading thread that notes for whom it is asked."""

    def __init__(self, readers: set[str]) -> None:
        super().__init__(Path(), "noting")
        self._readers = readers
        self.inside: ReadingThread

    def stop(self) -> None:
        self.inside.stop()
        super().stop()

    async def read(self, query: Callable[[sqlite3.Connection], T], reader: str = "prompt") -> T:
        self._readers.add(reader)
        return await self.inside.read(query, reader)


class NotingTurns(ReaderTurns):
    """Turns that note for whom they are asked."""

    def __init__(self, readers: set[str]) -> None:
        super().__init__(1, most_of_one=1)
        self._readers = readers

    @asynccontextmanager
    async def place(self, reader: str) -> AsyncIterator[None]:
        self._readers.add(reader)
        async with super().place(reader):
            yield


@pytest.fixture
def readers(store: Durable) -> set[str]:
    """For whom threads and connections were asked."""
    told: set[str] = set()
    database = store._database
    if isinstance(database, PostgresDatabase):
        database._places, database._scans = NotingTurns(told), NotingTurns(told)
        return told
    parts = database._open_parts()
    for name in ("prompt", "lookups", "scans"):
        noting = NotingThread(told)
        noting.inside = getattr(parts, name)
        setattr(parts, name, noting)
    return told


@pytest.mark.parametrize("what", OF_A_WORKSPACE)
async def test_a_read_of_what_a_workspace_has_is_a_read_of_that(
    store: Durable, readers: set[str], what: str
) -> None:
    with reading_as("somebody"):
        await OF_A_WORKSPACE[what](store)
    assert readers == {"evil"}


@pytest.mark.parametrize("what", OF_WHO_ASKS)
async def test_another_read_is_one_of_who_asks(
    store: Durable, readers: set[str], what: str
) -> None:
    with reading_as("somebody"):
        await OF_WHO_ASKS[what](store)
    assert readers == {"somebody"}


@pytest.mark.parametrize("what", OF_THE_STACK)
async def test_what_the_stack_reads_for_all_counts_for_nobody(
    store: Durable, readers: set[str], what: str
) -> None:
    with reading_as("somebody"):
        await OF_THE_STACK[what](store)
    assert readers == {""}
