"""Print how many journal records a second the SQLite store makes durable.

Run it as ``python tests/bench/bench_journal.py [seconds per figure]``.
"""

import asyncio
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from rillflow.ports.store import Append, NewExecution, Store
from rillflow.stores import open_store

RECORD = bytes(range(256)) + b"." * 44
"""300 bytes, about what an event with a small output takes."""


def _append(name: str, seq: int, epoch: int) -> Append:
    new = NewExecution(
        execution_id=name,
        business="bench",
        feature="journal",
        partition=0,
        definition_id="d41d8cd98f00b204e9800998ecf8427e",
        submitted_at_ms=seq,
    )
    return Append(
        execution_id=name,
        partition=0,
        epoch=epoch,
        first_seq=seq,
        records=(RECORD,),
        new=new if seq == 1 else None,
    )


async def _caller(store: Store, number: int, epoch: int, until_s: float) -> int:
    """Append one record at a time, twelve to an execution, and count them."""
    written = 0
    for execution in count():
        for seq in range(1, 13):
            name = f"bench:journal_c_{number:08d}-0000-7000-8000-{execution:012d}"
            await store.append([_append(name, seq, epoch)])
            written += 1
        if time.monotonic() > until_s:
            break
    return written


async def records_per_second(url: str, callers: int, seconds: float) -> float:
    """Measure with a number of concurrent callers, each waiting for its own append."""
    store = open_store(url)
    await store.open()
    epoch = await store.take_partitions([0])
    start_s = time.monotonic()
    until_s = start_s + seconds
    written = await asyncio.gather(
        *(_caller(store, number, epoch, until_s) for number in range(callers))
    )
    elapsed_s = time.monotonic() - start_s
    await store.close()
    return sum(written) / elapsed_s


def main() -> None:
    """Print one line for each number of callers."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    for callers in (1, 64, 256):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            url = f"sqlite:///{Path(folder).resolve()}/journal.db"
            rate = asyncio.run(records_per_second(url, callers, seconds))
        print(f"sqlite, {callers:3d} callers: {rate:8,.0f} records/s")


if __name__ == "__main__":
    main()
