"""How long pages of the list, searches, counts and histograms take among many executions.

    python -m tests.bench.searching [--executions 1000000] [--only sqlite] [--requests 40]
        [--keep FOLDER] [--matching TEXT]

Fills each kind of store with rows (no execution is run), serves the API in this process, and asks
it over HTTP, one request after the other. Prints the median and the 95th percentile of each search
in milliseconds and marks those over 150 ms, and the processor time of one: of this process, which
holds client, API and SQLite, and of PostgreSQL. Each request is made a few times before it is
measured. With ``--keep`` the rows stay in a folder and are written once, so that "the last hour"
has fewer later on.
"""

import argparse
import asyncio
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.stores import open_store
from tests.api.serving import Api, served
from tests.bench.many_executions import Known, fill
from tests.bench.stacks import cpu_s
from tests.cluster.processes import descendants
from tests.postgres_server import PostgresServer

V1: Final = "/flow/console/v1/"
GOAL_MS: Final = 150.0
WARMING: Final = 5
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


async def asked(api: Api, known: Known) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return all requests, as path and query, by what they are."""
    versions = {"flow": known.flow, "versions": ",".join(known.versions)}
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "versions of a flow counted": ("version_counts.json", versions),
        "a page in the middle": ("executions.json", {"cursor": await middle_of(api)}),
    }
    for what, text in searches(known).items():
        found[what] = "executions.json", {"q": text}
        found[f"{what}: counts"] = "counts.json", {"q": text}
    return found


async def measure(api: Api, requests: int, known: Known, matching: str) -> None:
    """Make all requests whose names match, and print how long they took."""
    for what, (path, query) in (await asked(api, known)).items():
        if re.search(matching, what):
            await shown(api, what, path, requests, query)


async def shown(api: Api, what: str, path: str, requests: int, query: dict[str, Any]) -> None:
    """Print how long a request takes once it has been made some times."""
    for _ in range(WARMING):
        await api.get(f"{V1}{path}", **query)
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
def database(kind: str, folder: Path, *, is_kept: bool) -> Iterator[str]:
    """A database of a kind of store, below a folder if it is kept."""
    if kind == "sqlite":
        yield f"sqlite://{folder}/search.db"
        return
    server = PostgresServer(kept=folder / kind if is_kept else None)
    _servers.append(server.pid)
    try:
        yield (
            server.url_of("test1")
            if (folder / f"{kind}.json").exists()
            else (server.new_database())
        )
    finally:
        _servers.remove(server.pid)
        server.stop()


def filled(url: str, count: int, told: Path) -> Known:
    """Fill a store that is not filled yet, and keep what is known of it in a file."""
    if told.exists():
        return msgspec.json.decode(told.read_bytes(), type=Known)
    begun_s = time.perf_counter()
    known = asyncio.run(fill(url, count, time.time_ns() // 1_000_000))
    print(f"{count:,} executions, written in {time.perf_counter() - begun_s:.0f} s")
    told.write_bytes(msgspec.json.encode(known))
    return known


async def serve_and_measure(url: str, known: Known, chosen: argparse.Namespace) -> None:
    """Serve the API on a filled store, and measure it."""
    async with served(store=open_store(url)) as api:
        await measure(api, chosen.requests, known, chosen.matching)


def run(kind: str, folder: Path, chosen: argparse.Namespace) -> None:
    """Fill a store, if it is not filled yet, and measure it."""
    with database(kind, folder, is_kept=chosen.keep is not None) as url:
        known = filled(url, chosen.executions, folder / f"{kind}.json")
        print(f"\n{kind:46}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms':>9}")
        asyncio.run(serve_and_measure(url, known, chosen))


def main() -> None:
    """Measure the kinds of stores that were chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--only", choices=STORES, action="append")
    parser.add_argument("--keep", type=Path, help="folder in which the rows stay")
    parser.add_argument("--matching", default="", help="only requests whose names match")
    chosen = parser.parse_args()
    tune_gc()
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as own:
        folder = chosen.keep or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in chosen.only or STORES:
            run(kind, folder, chosen)


if __name__ == "__main__":
    main()
