"""What PostgreSQL takes from one execution actor, and from two that write at once."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import uvloop

from tests.bench.figures import Figure
from tests.bench.micro import appends
from tests.postgres_server import PostgresServer

CALLERS: Final = 64
WRITERS: Final = (1, 2)


def postgres(seconds: float) -> Iterator[Figure]:
    """Measure appends, each of 64 callers of a writer waiting for its own."""
    server = PostgresServer()
    try:
        for writers in WRITERS:
            rate = appends_at_once(server.new_database(), writers, CALLERS, seconds)
            yield Figure(f"PostgreSQL, writers: {writers}", "appends/s", rate)
    finally:
        server.stop()


def appends_at_once(url: str, writers: int, callers: int, seconds: float) -> float:
    """Return how many records a second become durable, from as many processes as writers.

    Each writes to a partition of its own, as execution actors do.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(writers, mp_context=spawn) as processes:
        # Every process is there before the first one begins.
        list(processes.map(_open, [url] * writers, range(writers)))
        begun = [
            processes.submit(_appends, url, partition, callers, seconds)
            for partition in range(writers)
        ]
        return sum(each.result() for each in begun)


def _open(url: str, partition: int) -> float:
    """Make the tables, and find out that the store can be written."""
    return _appends(url, partition, 1, 0.0)


def _appends(url: str, partition: int, callers: int, seconds: float) -> float:
    return uvloop.run(appends(url, partition, callers, seconds))
