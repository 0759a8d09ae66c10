"""Park executions that wait for callbacks, on one host with SQLite, then complete them all.

    python -m tests.bench.parking [--executions N] [--hot N] [--store URL]
    python -m tests.bench.parking --stored N [--hot N] [--sample N]

Prints the memory of each parked execution and the growth of the whole process over what
it took when it was idle (PSS), and how many succeed in what time once their callbacks come.
The way over HTTP is measured by ``python -m tests.bench --only park``.

With ``--stored``, the executions are in the store already, put there by another process with
the records that a host writes. Prints how long a host takes to start on them, how much it
grows, and in what time a random sample of them succeeds.
"""

import argparse
import asyncio
import gc
import random
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from rillflow.core.events import CallbackReceived
from rillflow.ids import ExecutionId
from rillflow.jsontypes import encode_json
from rillflow.ports.executions import Call, Delivery, Submission
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import ExecutionFilter, Store
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores import open_store
from tests.bench.growing import fill_apart
from tests.bench.references import apart
from tests.bench.submitting import numbered_id, stored_submission

WAITING = """
workspace: bench
dagName: parked
type: flow
tasks:
  - name: wait
    category: function
    pattern: task_async
    resourceName: http://127.0.0.1:1/work
    inputMappings: [{ source: $.context.order, target: $.input.order }]
    outputMappings: [{ source: $.output.n, target: $.context.n }]
"""
ITEM = {"id": 4711, "customer": "Bob", "items": ["a", "b", "c"], "paid": True}
AT_ONCE = 256
SEED = 4711
LOOK_S = 0.2


class AcceptingGateway:
    """Accepts every call, as a function does that calls back later."""

    def __init__(self) -> None:
        self._taken = 0
        self._changed = asyncio.Condition()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Accept the call."""
        async with self._changed:
            self._taken += 1
            self._changed.notify_all()
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def called(self, count: int) -> None:
        """Wait until so many calls have come."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._taken >= count)

    async def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    """Park, measure, complete, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--hot", type=int, default=20_000, help="how many stay in memory")
    parser.add_argument("--hot-bytes", type=int, default=1 << 29, help="memory that these take")
    parser.add_argument("--data-bytes", type=int, default=80, help="size of the data of each")
    parser.add_argument("--store", help="URL of an empty store; SQLite in a new folder by default")
    parser.add_argument("--stored", type=int, default=0, help="how many wait before the start")
    parser.add_argument("--sample", type=int, default=20_000, help="how many of these complete")
    parser.add_argument("--folder", help="where these are kept; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rillflow-park-", dir=options.folder) as folder:
        if options.stored:
            _measure_stored(folder, options)
            return
        store_url = options.store or f"sqlite:///{folder}/rillflow.db"
        asyncio.run(_measure(store_url, options))


async def _measure(store_url: str, options: argparse.Namespace) -> None:
    store = open_store(store_url)
    await store.open()
    found = await add_descriptor(store, "bench", "parked", "release", WAITING, at_ms=1)
    gateway = AcceptingGateway()
    executions = LocalExecutions(
        store=store,
        gateway=gateway,
        clock=SystemClock(),
        most_hot=options.hot,
        hot_bytes=options.hot_bytes,
    )
    await executions.start()
    ids = [numbered_id("parked", number, 1) for number in range(options.executions)]
    version, data = found.version or "", _data(options.data_bytes)
    await _all(executions, [_submission(ids.pop(), version, data)])
    idle = memory_bytes()

    begun = time.perf_counter()
    await _all(executions, (_submission(each, version, data) for each in ids))
    await gateway.called(options.executions)
    parked_s, grown = time.perf_counter() - begun, memory_bytes() - idle
    print(f"parked {len(ids):,} in {parked_s:.1f} s, of which {executions.host.active:,} are hot")
    print(f"memory: {grown / 1e6:.1f} MB over idle, {grown / len(ids):,.0f} bytes each")

    begun = time.perf_counter()
    await _all(executions, (_callback(each) for each in ids))
    counts = await _counts(store, len(ids))
    ended_s, grown = time.perf_counter() - begun, memory_bytes() - idle
    print(f"completed in {ended_s:.1f} s: {counts}; then {grown / 1e6:.1f} MB over idle")
    await executions.stop()
    await store.close()


def _measure_stored(folder: str, options: argparse.Namespace) -> None:
    begun = time.perf_counter()
    hot = min(options.hot, options.stored)
    fill_apart(folder, options.stored - hot, "resting")
    store_url = fill_apart(folder, hot, "waiting")
    print(f"stored {options.stored:,} in {time.perf_counter() - begun:.0f} s")
    chosen = apart(_choose, store_url, min(options.sample, options.stored))
    asyncio.run(_start_on(store_url, chosen, options))


def _choose(store_url: str, count: int) -> list[ExecutionId]:
    """Choose executions at random; in a process of its own, which may be large."""

    async def stored() -> list[ExecutionId]:
        store = open_store(store_url)
        await store.open()
        try:
            listed = await store.list_executions(ExecutionFilter(), limit=1 << 40)
        finally:
            await store.close()
        return [each.execution_id for each in listed]

    return random.Random(SEED).sample(asyncio.run(stored()), count)  # noqa: S311 - no secret


async def _start_on(store_url: str, chosen: list[ExecutionId], options: argparse.Namespace) -> None:
    store = open_store(store_url)
    await store.open()
    executions = LocalExecutions(
        store=store,
        gateway=AcceptingGateway(),
        clock=SystemClock(),
        most_hot=options.hot,
        hot_bytes=options.hot_bytes,
    )
    idle = memory_bytes()

    begun, worked = time.perf_counter(), time.process_time()
    await executions.start()
    print(f"takes calls after {time.perf_counter() - begun:.1f} s")
    await executions.host.recovered()
    took_s, worked_s = time.perf_counter() - begun, time.process_time() - worked
    print(f"all go on after {took_s:.1f} s ({worked_s:.1f} s of processor time)")
    print(f"memory: {(memory_bytes() - idle) / 1e6:.1f} MB over idle", end=", ")
    print(f"{executions.host.active:,} executions are hot")

    begun = time.perf_counter()
    await _all(executions, (_callback(each, "step") for each in chosen))
    counts = await _counts(store, len(chosen))
    ended_s, grown = time.perf_counter() - begun, memory_bytes() - idle
    print(f"completed {len(chosen):,} in {ended_s:.1f} s: {counts}; {grown / 1e6:.1f} MB over idle")
    await executions.stop()
    await store.close()


async def _counts(store: Store, succeeded: int) -> dict[str, int]:
    """Wait until so many have succeeded."""
    while True:
        counts = await store.count_executions(ExecutionFilter())
        if counts.get("succeed", 0) >= succeeded:
            return counts
        await asyncio.sleep(LOOK_S)


async def _all(executions: LocalExecutions, calls: Iterable[Call]) -> None:
    """Make calls in batches, two of which are under way at once, as from a batcher."""
    left = iter(calls)

    async def worker() -> None:
        while batch := list(islice(left, AT_ONCE)):
            for reply in await executions.host.call_many(batch):
                reply.raise_for_error()

    await asyncio.gather(worker(), worker())


def _data(size: int) -> bytes:
    """Make data of about so many bytes, with many small values."""
    items = max(size // len(encode_json(ITEM)), 1)
    return encode_json({"order": [ITEM] * items})


def _submission(execution_id: ExecutionId, definition_id: str, data: bytes) -> Submission:
    event = stored_submission(execution_id, definition_id, data, host="http://127.0.0.1:8080")
    return Submission(business="bench", feature="parked", event=event)


def _callback(execution_id: ExecutionId, task: str = "wait") -> Delivery:
    at_ms = time.time_ns() // 1_000_000
    event = CallbackReceived(at_ms=at_ms, task=task, output=b'{"n": 1}', attempt=1)
    return Delivery(execution_id=execution_id, event=event)


def memory_bytes() -> int:
    """Return the memory of this process; pages that it shares count by its share."""
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    [size] = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
    return int(size) * 1024


if __name__ == "__main__":
    main()
