"""References: the same five calls without a workflow engine, and a server that does nothing.

What they measure is the machine and the libraries, so a figure of the stack divided by
its reference says the same on a fast machine and on a slow one.
"""

import asyncio
import multiprocessing
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
import msgspec
import uvloop
import yarl

from tests.bench.figures import Figure
from tests.bench.measuring import Sample, sampled
from tests.bench.stacks import HERE
from tests.cluster.processes import announced

T = TypeVar("T")

STEPS: Final = 5
CONCURRENCIES: Final = (1, 16, 64, 256)


def apart(function: Callable[..., T], *arguments: object) -> T:
    """Call a function of a module in a fresh process, and return what it returns."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(function, *arguments).result()


def references(functions_url: str, seconds: float) -> Iterator[Figure]:
    """Measure bare asyncio and aiohttp, the same with a journal, and plain uvicorn."""
    yield from yardstick(functions_url, seconds)
    for concurrency in CONCURRENCIES:
        if concurrency != 64:
            sample = apart(bare, functions_url, concurrency, seconds)
            yield Figure(f"bare c={concurrency}", "executions/s", sample.per_s)
        sample = apart(journaled, functions_url, concurrency, seconds)
        yield Figure(f"bare with a journal c={concurrency}", "executions/s", sample.per_s)
    with announced(str(HERE / "plain_server.py")) as line:
        sample = apart(posts, f"http://{line.split()[1]}/", 64, seconds)
    yield Figure("plain uvicorn c=64", "requests/s", sample.per_s)


def yardstick(functions_url: str, seconds: float) -> Iterator[Figure]:
    """Measure what figures of different machines are compared by."""
    sample = apart(bare, functions_url, 64, seconds)
    yield Figure("bare c=64", "executions/s", sample.per_s)


def bare(functions_url: str, concurrency: int, seconds: float) -> Sample:
    """Make the calls of glue one after the other, and remember nothing."""
    return uvloop.run(_bare(functions_url, concurrency, seconds))


def journaled(functions_url: str, concurrency: int, seconds: float) -> Sample:
    """Make the calls of glue, each after the output before it is on disk."""
    return uvloop.run(_journaled(functions_url, concurrency, seconds))


def posts(url: str, concurrency: int, seconds: float) -> Sample:
    """Post to a server that answers at once."""
    return uvloop.run(_posts(url, concurrency, seconds))


async def _bare(functions_url: str, concurrency: int, seconds: float) -> Sample:
    url = yarl.URL(f"{functions_url}/step/bare")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def once() -> None:
            n = 0
            for _ in range(STEPS):
                n = await _step(http, url, n)

        return await sampled(once, concurrency, seconds)


async def _journaled(functions_url: str, concurrency: int, seconds: float) -> Sample:
    url = yarl.URL(f"{functions_url}/step/bare")
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        journal = _Journal(Path(folder) / "journal.db")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

            async def once() -> None:
                n = 0
                await journal.append(n)
                for _ in range(STEPS):
                    n = await _step(http, url, n)
                    await journal.append(n)

            return await sampled(once, concurrency, seconds)


async def _posts(url: str, concurrency: int, seconds: float) -> Sample:
    where = yarl.URL(url)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def once() -> None:
            async with http.post(where, data=b'{"n":0}') as response:
                await response.read()

        return await sampled(once, concurrency, seconds)


async def _step(http: aiohttp.ClientSession, url: yarl.URL, n: int) -> int:
    async with http.post(url, data=msgspec.json.encode({"n": n})) as response:
        output: int = msgspec.json.decode(await response.read())["n"]
    return output


class _Journal:
    """Rows in SQLite with ``synchronous=FULL``; those of one moment share a commit."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, n INTEGER)")
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def append(self, n: int) -> None:
        """Return once the row is on disk."""
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((n, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await asyncio.to_thread(self._write, [(n,) for n, _ in batch])
            for _, written in batch:
                written.set_result(None)
        self._writing = None

    def _write(self, rows: list[tuple[int]]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT INTO records (n) VALUES (?)", rows)
        self._database.execute("COMMIT")
