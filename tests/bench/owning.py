"""An owner of executions on one core: the work of its process besides sockets and the disk."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import msgspec
import uvloop

from rillflow.core.events import ExecutionSubmitted
from rillflow.ids import PARTITIONS
from rillflow.ports.executions import Call, Reply, Submission
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.stores import open_store
from tests.bench.submitting import WORKSPACE, numbered_id, submitted_event
from tests.bench.workloads import glue

BATCH: Final = 64
"""How many submissions, or answers, come together."""


class Work(NamedTuple):
    """A workflow of ``WORKSPACE``: its name, its definition, and the event of a submission."""

    name: str
    text: str
    submitted: ExecutionSubmitted

    def submissions(self, numbers: Iterable[int]) -> list[Submission]:
        """Return submissions with these numbers, each of which is another execution."""
        return [self._submission(number) for number in numbers]

    def _submission(self, number: int) -> Submission:
        execution_id = numbered_id(self.name, number, self.submitted.at_ms)
        event = msgspec.structs.replace(self.submitted, execution_id=execution_id)
        return Submission(business=WORKSPACE, feature=self.name, event=event)


class Calls:
    """Gathers the calls of functions; nobody makes any to other executions."""

    def __init__(self) -> None:
        """Begin without any."""
        self.waiting: list[DispatchRequest] = []

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        """Take calls that an owner has sent."""
        self.waiting.extend(requests)

    async def call(self, call: Call) -> Reply:
        """Refuse a call to another execution."""
        raise AssertionError(call)

    async def ask_all(self, call: Call) -> list[Reply]:
        """Refuse a call to all owners."""
        raise AssertionError(call)


def executions(at_once: int, seconds: float) -> float:
    """Return how many executions of glue an owner handles in a second of processor time.

    So many are under way ``at_once``; their tasks end in turn.
    """
    text = glue("http://127.0.0.1:1")
    work = Work("glue", text, submitted_event("glue", text, b'{"n":0}'))
    return uvloop.run(_executions(work, at_once, seconds))


async def _executions(work: Work, at_once: int, seconds: float) -> float:
    calls = Calls()
    async with started(work, calls) as owner:
        tune_gc()
        done, spent_s = 0, 0.0
        while spent_s < seconds or not done:
            submissions = work.submissions(range(done, done + at_once))
            begun = time.process_time()
            await run(owner, calls, submissions)
            spent_s += time.process_time() - begun
            done += at_once
    return done / spent_s


@asynccontextmanager
async def started(
    work: Work, calls: Calls, turns: FairTurns | None = None
) -> AsyncIterator[ExecutionOwner]:
    """Run an owner of all partitions of a store in memory, which has the definition."""
    store, clock = open_store("memory:"), SystemClock()
    await store.open()
    await add_descriptor(store, WORKSPACE, work.name, "release", work.text, at_ms=clock.now_ms())
    owner = ExecutionOwner(
        store=store,
        clock=clock,
        dispatcher=calls,
        executions=calls,
        callback_host="http://127.0.0.1:1",
        partitions=range(PARTITIONS),
        turns=turns,
    )
    await owner.start()
    yield owner
    await owner.stop()
    await store.close()


async def run(owner: ExecutionOwner, calls: Calls, submissions: Sequence[Submission]) -> None:
    """Run executions to their ends; their calls are answered in batches."""
    for start in range(0, len(submissions), BATCH):
        for reply in await owner.call_many(submissions[start : start + BATCH]):
            reply.raise_for_error()
    await asyncio.sleep(0)  # Commands are carried out after the answer.
    while calls.waiting:
        some, calls.waiting = calls.waiting[:BATCH], calls.waiting[BATCH:]
        await owner.answers_arrived([_answer_to(request) for request in some])
        await asyncio.sleep(0)
    if owner.active:
        raise SystemExit(f"{owner.active} executions have not ended")


def _answer_to(request: DispatchRequest) -> DispatchAnswer:
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=b'{"n":1}',
        http_status=200,
    )
