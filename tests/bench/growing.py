"""One host in one process with SQLite, given more and more of one thing.

Every point is measured in a process of its own. Functions answer at once, without a
network. Time is processor time: the disk's share is the same for every commit, and on a
busy machine it would be all that is seen.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import uvloop

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import DispatchAnswered
from rillflow.core.plan import Plan
from rillflow.definition import canonical_text, expand_sugar, parse_definition, version_of
from rillflow.ids import PARTITIONS, new_execution_id, partition_of
from rillflow.ports.executions import Query, Submission
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import Append, Closing, NewExecution, Store
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores import open_store
from tests.bench import workloads
from tests.bench.references import apart
from tests.bench.submitting import stored_submission

NOWHERE: Final = "http://127.0.0.1:1"
LARGEST_TEXT: Final = 1 << 26
LOAD: Final = 500
AT_ONCE: Final = 64
BATCH: Final = 1000
FUNCTION_ANSWER: Final = b'{"n":1}'


class Point(NamedTuple):
    """What a size cost: processor time, and by how much the process was larger at its largest."""

    size: int
    seconds: float
    grown_bytes: float


class InstantGateway:
    """Answers every call at once."""

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Answer."""
        return DispatchAnswer(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            body=FUNCTION_ANSWER,
            http_status=200,
        )

    async def close(self) -> None:
        """Nothing is open."""


class Subject:
    """The host under measurement."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.executions = LocalExecutions(
            store=store, gateway=InstantGateway(), clock=SystemClock()
        )

    async def run(self, definition_id: str, data: bytes) -> None:
        """Run one execution to its end, which must be a success."""
        call = submission(definition_id, data)
        (await self.executions.call(call)).raise_for_error()
        if not await self.executions.wait(call.execution_id, 600):
            raise SystemExit(f"{call.execution_id} does not end")
        brief = await self.executions.call(Query(execution_id=call.execution_id, kind="brief"))
        if json.loads(brief.body or b"{}").get("dag_status") != "SUCCEED":
            raise SystemExit(f"{call.execution_id} ended otherwise: {brief.body!r}")


def tasks_in_a_row(size: int) -> Point:
    """Run an execution of so many tasks in a row."""
    return _on_a_new_store(size, workloads.chain("row", NOWHERE, size), b'{"n":0}')


def items(size: int) -> Point:
    """Run an execution with a foreach over so many items, one task each."""
    data = json.dumps({"items": list(range(size))}).encode()
    return _on_a_new_store(size, workloads.fanout("items", None, NOWHERE), data)


def context(size: int) -> Point:
    """Run an execution of five tasks whose context has so many bytes."""
    data = b'{"n":0,"text":"%s"}' % (b"x" * size)
    return _on_a_new_store(size, workloads.chain("context", NOWHERE, 5), data)


def stored(size: int) -> Point:
    """Run executions in a store that holds so many that have ended."""
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        fill_apart(folder, size, "ended")
        return apart(_load_on, folder, size)


def waiting(size: int) -> Point:
    """Start in a store that holds so many executions that wait for a callback."""
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        fill_apart(folder, size, "waiting")
        return apart(_start_on, folder, size)


def submission(definition_id: str, data: bytes) -> Submission:
    """Return the submission of a new execution."""
    at_ms = SystemClock().now_ms()
    execution_id = new_execution_id("bench", "growth", at_ms=at_ms, entropy=os.urandom(10))
    event = stored_submission(execution_id, definition_id, data, host=NOWHERE)
    return Submission(business="bench", feature="growth", event=event)


async def add(store: Store, text: str) -> str:
    """Keep a definition, however long, and return its id."""
    canonical = canonical_text(expand_sugar(parse_definition(text, max_bytes=LARGEST_TEXT)))
    definition_id = version_of(canonical)
    await store.put_definition_text(definition_id, canonical)
    return definition_id


@asynccontextmanager
async def _subject(folder: str) -> AsyncIterator[Subject]:
    store = open_store(f"sqlite://{folder}/growth.db")
    await store.open()
    subject = Subject(store)
    try:
        yield subject
    finally:
        await subject.executions.stop()
        await store.close()


def _forget_largest() -> int:
    """Let the kernel measure the largest size from now on; return the present one, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _largest_bytes()


def _largest_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _on_a_new_store(size: int, text: str, data: bytes) -> Point:
    return apart(_run_on_a_new_store, size, text, data)


def _run_on_a_new_store(size: int, text: str, data: bytes) -> Point:
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        return uvloop.run(_run_once_warm(folder, size, text, data))


async def _run_once_warm(folder: str, size: int, text: str, data: bytes) -> Point:
    """Run executions for a second, at least one; the first reads the definition."""
    async with _subject(folder) as subject:
        await subject.executions.start()
        definition_id = await add(subject.store, text)
        plan_first = b'{"n":0,"items":[1]}'
        await subject.run(definition_id, plan_first)
        before, begun, runs = _forget_largest(), time.process_time(), 0
        while runs == 0 or time.process_time() - begun < 1:
            await subject.run(definition_id, data)
            runs += 1
        took_s = (time.process_time() - begun) / runs
        return Point(size, took_s, _largest_bytes() - before)


def _load_on(folder: str, size: int) -> Point:
    return uvloop.run(_load(folder, size))


async def _load(folder: str, size: int) -> Point:
    before = _forget_largest()
    async with _subject(folder) as subject:
        await subject.executions.start()
        definition_id = await add(subject.store, workloads.glue(NOWHERE))
        await subject.run(definition_id, b'{"n":0}')
        left = iter(range(LOAD))

        async def worker() -> None:
            for _ in left:
                await subject.run(definition_id, b'{"n":0}')

        begun = time.process_time()
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        took_s = (time.process_time() - begun) / LOAD
    return Point(size, took_s, _largest_bytes() - before)


def _start_on(folder: str, size: int) -> Point:
    return uvloop.run(_start(folder, size))


async def _start(folder: str, size: int) -> Point:
    before = _forget_largest()
    async with _subject(folder) as subject:
        begun = time.process_time()
        await subject.executions.start()
        await subject.executions.host.recovered()
        took_s = time.process_time() - begun
        return Point(size, took_s, _largest_bytes() - before)


def fill_apart(folder: str, count: int, stage: str) -> str:
    """Do ``fill`` in a process of its own; return the URL of the store."""
    apart(_fill, folder, count, stage)
    return f"sqlite://{folder}/growth.db"


def _fill(folder: str, count: int, stage: str) -> None:
    uvloop.run(fill(folder, count, stage))


async def fill(folder: str, count: int, stage: str) -> None:
    """Put executions into a new store as a host would have written them.

    ``stage`` is ``ended``, ``waiting``, or ``resting``: waiting, and no longer in memory.
    """
    ended = stage == "ended"
    store = open_store(f"sqlite://{folder}/growth.db")
    await store.open()
    epoch = await store.take_scopes(range(PARTITIONS))
    text = (workloads.glue if ended else workloads.parked)(NOWHERE)
    definition_id = await add(store, text)
    plan = Plan(parse_definition(text), definition_id)
    for first in range(0, count, BATCH):
        appends = [
            _ended(plan, epoch) if ended else _waiting(plan, epoch, rests=stage == "resting")
            for _ in range(min(BATCH, count - first))
        ]
        await store.append(appends)
    await store.close()


def _ended(plan: Plan, epoch: int) -> Append:
    """Return the whole history of an execution of glue."""
    call = submission(plan.definition_id, b'{"n":0}')
    state, _ = machine.submit(plan, call.event)
    records = [codec.encode_event(call.event)]
    for number in range(1, 6):
        event = _answer(call.event.at_ms, f"step{number}", FUNCTION_ANSWER)
        machine.handle(plan, state, event)
        records.append(codec.encode_event(event))
    closing = Closing(status="succeed", code=None, finished_at_ms=call.event.at_ms)
    snapshot = codec.encode_state(state)
    return _append(call, epoch, records, closing=closing, snapshot=snapshot)


def _waiting(plan: Plan, epoch: int, *, rests: bool) -> Append:
    """Return the history of an execution that waits for a callback."""
    call = submission(plan.definition_id, b'{"n":0}')
    accepted = _answer(call.event.at_ms, "step", None)
    records = [codec.encode_event(call.event), codec.encode_event(accepted)]
    return msgspec.structs.replace(_append(call, epoch, records), rests=rests)


def _answer(at_ms: int, task: str, body: bytes | None) -> DispatchAnswered:
    return DispatchAnswered(at_ms=at_ms, task=task, attempt=1, body=body, http_status=200)


def _append(
    call: Submission,
    epoch: int,
    records: list[bytes],
    *,
    closing: Closing | None = None,
    snapshot: bytes | None = None,
) -> Append:
    new = NewExecution(
        execution_id=call.execution_id,
        business="bench",
        feature="growth",
        listing_partition=partition_of(call.execution_id),
        definition_id=call.event.definition_id,
        submitted_at_ms=call.event.at_ms,
    )
    return Append(
        execution_id=call.execution_id,
        fencing_scope=new.listing_partition,
        epoch=epoch,
        first_seq=1,
        records=tuple(records),
        new=new,
        status=None if closing else "running",
        closing=closing,
        snapshot=snapshot,
        snapshot_seq=len(records) if snapshot else 0,
    )
