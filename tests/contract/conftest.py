"""Every adapter of the Store port, on storage of its own for each test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from rillflow.ports.storage.store import Store
from rillflow.stores import open_store
from tests.contract.later_schemas import NEXT, upgrade_to
from tests.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
async def other(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of somebody else to the store's database."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store/rillflow.db"


@pytest.fixture(params=["sqlite", "postgres"])
def durable_url(request: pytest.FixtureRequest) -> str:
    """URL of storage that several processes share and that outlives them."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture(
    params=[
        *("memory", "sqlite", "postgres"),
        pytest.param("sqlite of the next release", marks=pytest.mark.long),
        pytest.param("postgres of the next release", marks=pytest.mark.long),
    ]
)
def new_store(request: pytest.FixtureRequest) -> Callable[[], Store]:
    """Return a function that makes a store, not yet open, on the same storage each time."""
    if request.param == "memory":
        memory = open_store("memory:")
        return lambda: memory
    kind, _, later = request.param.partition(" ")
    if kind == "sqlite":
        url = str(request.getfixturevalue("sqlite_url"))
    else:
        url = request.getfixturevalue("postgres_server").new_database()
    if later:
        with ThreadPoolExecutor(1) as thread:  # a test may have an event loop here
            thread.submit(asyncio.run, upgrade_to(url, NEXT)).result()
    return lambda: open_store(url)


@pytest.fixture
async def store(new_store: Callable[[], Store]) -> AsyncIterator[Store]:
    opened = new_store()
    await opened.open()
    yield opened
    await opened.close()
