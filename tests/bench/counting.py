"""How many bytecodes an item of a foreach and a step of glue take an owner, a call a dispatcher.

Processor time of a machine that others use differs by a tenth from one minute to the next; what
the interpreter carries out does not. It is counted for an owner without sockets and disk, as in
``owning``, whose turns never fill: each batch is handled as a whole; and for a dispatcher's pool
and gateway, without what its connections parse. A call of a function written in C is one bytecode,
however much it does, so a figure here is set beside one of ``owning`` or ``micro``.
"""

import asyncio
import gc
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, Final

import uvloop

from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.ports.gateway import DispatchAnswer
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.dispatch.pool import DispatchPool
from rillflow.runtime.process.clock import SystemClock
from tests.bench import owning
from tests.bench.bare_server import BareServer, request_to
from tests.bench.submitting import submitted_event
from tests.bench.workloads import JOBS, Job, fanout

HOST: Final = "http://127.0.0.1:1"
ITEMS: Final = 10 * owning.BATCH
GLUE: Final = JOBS["glue"]
CALLS: Final = 64
WAITING: Final = 1_600
"""As many as a foreach of 100 has in 16 executions; a host has slots for an eighth of them."""
LONG_S: Final = 3_600.0
_ASIDE: Final = ("/asyncio/", "/tests/bench/")
"""Where functions are that are not an owner's."""
_is_counted: Final = ContextVar("_is_counted", default=False)
"""Not of the tasks that began before, such as those that look at something every few seconds."""


def of_foreach_item() -> float:
    """Return how many bytecodes an item of a foreach takes that calls one function."""
    data = b'{"items":[%s]}' % b",".join(b"%d" % number for number in range(ITEMS))
    text = fanout("item", None, HOST)
    return sum(counted("item", Job(lambda _: text, data), executions=1).values()) / ITEMS


def of_glue_step() -> float:
    """Return how many bytecodes a step of glue takes, with its share of the submission."""
    executions = owning.BATCH
    steps = executions * GLUE.calls
    return sum(counted("glue", GLUE, executions).values()) / steps


def of_call() -> float:
    """Return how many bytecodes a call takes, of 64 at once to a bare server."""
    return sum(counted_calls().values()) / CALLS


def of_waiting_call() -> float:
    """Return how many bytecodes a call takes, of so many that most wait for a slot."""
    return sum(counted_calls(WAITING).values()) / WAITING


def counted_calls(calls: int = CALLS) -> Counter[CodeType]:
    """Return the bytecodes of a dispatcher, by function, for calls that are ordered at once."""
    return uvloop.run(_counted_calls(calls))


async def _counted_calls(calls: int) -> Counter[CodeType]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(BareServer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/function/work"
    left, done = 0, asyncio.Event()

    async def take(answers: list[DispatchAnswer]) -> None:
        nonlocal left
        left -= len(answers)
        if not left:
            done.set()

    async def make(numbers: range) -> None:
        nonlocal left
        left = len(numbers)
        done.clear()
        pool.send([request_to(url, number) for number in numbers])
        await done.wait()

    # Counting takes seconds, on a busy machine more than connections are kept.
    gateway = HttpGateway(HttpSettings(keep_alive_s=LONG_S), SystemClock())
    pool = DispatchPool(gateway, take, queues=gateway)
    # The first calls open the connections, whose callbacks are not counted, and fill caches.
    await make(range(calls))
    with counting() as opcodes:
        await make(range(calls, 2 * calls))
    await pool.close()
    server.close()
    return opcodes


def counted(name: str, job: Job, executions: int) -> Counter[CodeType]:
    """Return the bytecodes of an owner, by function, for executions that go on side by side."""
    text = job.define(HOST)
    submitted = submitted_event(name, text, job.data)
    return uvloop.run(_counted(owning.Work(name, text, submitted), executions))


async def _counted(work: owning.Work, executions: int) -> Counter[CodeType]:
    turns, calls = FairTurns(cpu_s=float, clock_s=float), owning.Calls()
    async with owning.started(work, calls, turns) as owner:
        # The first executions compile the definition and fill the process's caches.
        await owning.run(owner, calls, work.submissions(range(2)))
        submissions = work.submissions(range(2, 2 + executions))
        with counting() as opcodes:
            await owning.run(owner, calls, submissions)
    return opcodes


@contextmanager
def counting() -> Iterator[Counter[CodeType]]:
    """Count the bytecodes of this task, and of what it has the event loop run, by function."""
    opcodes: Counter[CodeType] = Counter()

    def enter(frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ARG001 - of the interpreter
        code = frame.f_code
        if not _is_counted.get() or any(folder in code.co_filename for folder in _ASIDE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def step(_: FrameType, event: str, arg: Any) -> Any:  # noqa: ARG001 - of the interpreter
            if event == "opcode":
                opcodes[code] += 1
            return step

        return step

    inspect.currentframe().f_trace_opcodes = True  # type: ignore[union-attr]  # else 3.12 tells none
    gc.collect()
    gc.disable()  # finalizers of what others have left are not counted
    before, outside = sys.gettrace(), _is_counted.set(True)
    sys.settrace(enter)
    try:
        yield opcodes
    finally:
        sys.settrace(before)
        _is_counted.reset(outside)
        gc.enable()
