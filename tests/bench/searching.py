"""How long pages of the list, searches, counts and histograms take among many executions.

    python -m tests.bench.searching [--executions 1000000] [--only sqlite] [--requests 40]

Fills each kind of store with rows (no execution is run), serves the API in this process, and asks
it over HTTP, one request after the other. Prints the median and the 95th percentile of each search
in milliseconds and marks those over 150 ms, and the processor time of one: of this process, which
holds client, API and SQLite, and of PostgreSQL.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.stores import open_store
from tests.api.serving import Api, served
from tests.bench.many_executions import Known, fill
from tests.bench.stacks import cpu_s
from tests.cluster.processes import descendants
from tests.postgres_server import PostgresServer

V1: Final = "/flow/console/v1/"
GOAL_MS: Final = 150.0
STORES: Final = ("sqlite", "postgres")
_servers: Final[list[int]] = []
"""The first process of each PostgreSQL, which is no child of this one."""


def searches(known: Known) -> dict[str, str]:
    """Return the searches of the search box, by what they are."""
    uuid = known.execution_id.partition("_c_")[2]
    return {
        "everything": "",
        "failed": "status:failed",
        "succeeded": "status:succeeded",
        "unfinished": "status:unfinished",
        "waiting (asks owners)": "status:waiting",
        "held (asks owners)": "status:held",
        "a workspace": "flow:bench",
        "a workspace of many flows": "flow:many",
        "a workspace of many flows, failed": "flow:many status:failed",
        "a flow": f"flow:{known.flow}",
        "a flow, failed": f"flow:{known.flow} status:failed",
        "the last hour": "since:1h",
        "an hour two weeks ago": "since:15d until:14d",
        "failed two weeks ago": "since:15d until:14d status:failed",
        "an id": f"id:{known.execution_id}",
        "a UUID": f"id:{uuid}",
        "sub-flows of one": f"parent:{known.parent_id}",
        "a version": f"version:{known.definition_id}",
        "a version, failed": f"version:{known.definition_id} status:failed",
        "a version of a flow": f"version:{known.definition_id} flow:{known.flow}",
        "a rare value": "context.user:user4711",
        "a value of a quarter": "context.region:eu",
        "a value of a quarter, failed": "context.region:eu status:failed",
        "a value of a quarter, last hour": "context.region:eu since:1h",
        "a value of a quarter, a workspace": "context.region:eu flow:bench",
        "a value of a quarter, a flow": f"context.region:eu flow:{known.flow}",
        "a value of a quarter, a version": f"context.region:eu version:{known.definition_id}",
        "two values": "context.region:eu context.user:user4711",
        "two values that many have": "context.region:eu context.tier:gold",
        "two values that many have, never together": "context.region:eu context.tier:asian",
        "two values that many have, a workspace": "context.region:eu context.tier:gold flow:bench",
        "a value that nobody has": "context.region:mars",
    }


async def middle_of(api: Api) -> str:
    """Return the cursor of a page in the middle of all executions."""
    page = await api.get(f"{V1}executions.json", q="until:15d", limit=1)
    return str(page["next"])


async def measure(api: Api, requests: int, known: Known) -> None:
    """Ask for everything, and print how long it took."""
    middle = await middle_of(api)
    pages = {"a page in the middle": {"cursor": middle}}
    await shown(
        api,
        "versions of a flow counted",
        "version_counts.json",
        requests,
        {"flow": known.flow, "versions": ",".join(known.versions)},
    )
    for what, query in pages.items():
        await shown(api, what, "executions.json", requests, query)
    for what, text in searches(known).items():
        await shown(api, what, "executions.json", requests, {"q": text})
        await shown(api, f"{what}: counts", "counts.json", requests, {"q": text})


async def shown(api: Api, what: str, path: str, requests: int, query: dict[str, Any]) -> None:
    """Print how long a request takes."""
    took: list[float] = []
    begun_cpu_s = spent_s()
    for _ in range(requests):
        begun_s = time.perf_counter()
        await api.get(f"{V1}{path}", **query)
        took.append((time.perf_counter() - begun_s) * 1000)
    cpu_ms = (spent_s() - begun_cpu_s) * 1000 / requests
    took.sort()
    p95 = took[min(len(took) * 95 // 100, len(took) - 1)]
    mark = "  <-- over 150 ms" if p95 > GOAL_MS else ""
    print(f"{what:46}{took[len(took) // 2]:9.1f}{p95:9.1f}{cpu_ms:9.1f}{mark}", flush=True)


def spent_s() -> float:
    """Return the processor time of this process, of PostgreSQL, and of those below them."""
    below = [pid for root in (os.getpid(), *_servers) for pid in descendants(root)]
    return time.process_time() + sum(map(cpu_s, below))


@contextmanager
def database(kind: str) -> Iterator[str]:
    """A new database of a kind of store."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
            yield f"sqlite://{folder}/search.db"
        return
    server = PostgresServer()
    _servers.append(server.pid)
    try:
        yield server.new_database()
    finally:
        _servers.remove(server.pid)
        server.stop()


async def run(kind: str, count: int, requests: int) -> None:
    """Fill a store and measure it."""
    with database(kind) as url:
        begun_s = time.perf_counter()
        known = await fill(url, count, time.time_ns() // 1_000_000)
        print(f"\n{kind}: {count:,} executions, written in {time.perf_counter() - begun_s:.0f} s")
        print(f"{'':46}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms':>9}")
        async with served(store=open_store(url)) as api:
            await measure(api, requests, known)


def main() -> None:
    """Measure the kinds of stores that were chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--only", choices=STORES, action="append")
    chosen = parser.parse_args()
    tune_gc()
    for kind in chosen.only or STORES:
        asyncio.run(run(kind, chosen.executions, chosen.requests))


if __name__ == "__main__":
    main()
