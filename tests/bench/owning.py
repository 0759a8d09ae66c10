"""An owner of executions on one core: the work of its process besides sockets and the disk."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import uvloop

from rillflow.core.events import ExecutionSubmitted
from rillflow.ids import PARTITIONS, new_execution_id
from rillflow.ports.executions import Call, Reply, Submission
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.stores import open_store
from tests.bench.submitting import WORKSPACE, submitted_event
from tests.bench.workloads import glue

BATCH: Final = 64
"""How many submissions, or answers, come together."""
JOB: Final = "glue"


def executions(at_once: int, seconds: float) -> float:
    """Return how many executions of glue an owner handles in a second of processor time.

    So many are under way ``at_once``; their tasks end in turn.
    """
    text = glue("http://127.0.0.1:1")
    return uvloop.run(_executions(text, submitted_event(JOB, text, b'{"n":0}'), at_once, seconds))


async def _executions(
    text: str, submitted: ExecutionSubmitted, at_once: int, seconds: float
) -> float:
    store, clock, calls = open_store("memory:"), SystemClock(), _Calls()
    await store.open()
    await add_descriptor(store, WORKSPACE, JOB, "release", text, at_ms=clock.now_ms())
    owner = ExecutionOwner(
        store=store,
        clock=clock,
        dispatcher=calls,
        executions=calls,
        callback_host="http://127.0.0.1:1",
        partitions=range(PARTITIONS),
    )
    await owner.start()
    tune_gc()
    done, spent_s = 0, 0.0
    while spent_s < seconds or not done:
        submissions = [_submission(submitted, done + number) for number in range(at_once)]
        begun = time.process_time()
        await _run(owner, calls, submissions)
        spent_s += time.process_time() - begun
        done += at_once
    await owner.stop()
    await store.close()
    return done / spent_s


async def _run(owner: ExecutionOwner, calls: "_Calls", submissions: Sequence[Submission]) -> None:
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


def _submission(submitted: ExecutionSubmitted, number: int) -> Submission:
    execution_id = new_execution_id(
        WORKSPACE, JOB, at_ms=submitted.at_ms, entropy=number.to_bytes(10)
    )
    event = msgspec.structs.replace(submitted, execution_id=execution_id)
    return Submission(business=WORKSPACE, feature=JOB, event=event)


def _answer_to(request: DispatchRequest) -> DispatchAnswer:
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=b'{"n":1}',
        http_status=200,
    )


class _Calls:
    """Gathers the calls of functions; nobody makes any to other executions."""

    def __init__(self) -> None:
        self.waiting: list[DispatchRequest] = []

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        self.waiting.extend(requests)

    async def call(self, call: Call) -> Reply:
        raise AssertionError(call)

    async def ask_all(self, call: Call) -> list[Reply]:
        raise AssertionError(call)
