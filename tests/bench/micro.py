"""Single parts on one core: the core, the owner, the language, the journal, the dispatcher."""

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

import uvloop

from rillflow.core import machine
from rillflow.core.commands import DispatchTask
from rillflow.core.events import DispatchAnswered
from rillflow.core.inspection.history.traces import Trace
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.jsontypes import JsonValue
from rillflow.language.expressions import compile_expression
from rillflow.language.jsonpath.paths import compile_path
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.storage.store import Append, NewExecution, Store
from rillflow.runtime.dispatch.pool import DispatchPool
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores import open_store
from tests.bench import counting, owning
from tests.bench.bare_server import BareServer, request_to
from tests.bench.figures import Figure
from tests.bench.references import apart
from tests.bench.submitting import submitted_event
from tests.bench.workloads import glue

RECORD: Final = bytes(range(256)) + b"." * 44
"""300 bytes, about what an event with a small output takes."""
CONTEXT: Final[JsonValue] = {
    "order": {"items": [{"price": price, "name": "tea"} for price in range(10)]}
}
AT_ONCE: Final = 1000


def micro(seconds: float) -> Iterator[Figure]:
    """Measure every part, each in a fresh process."""
    yield Figure("core", "events/s", apart(core_events, seconds))
    yield Figure("traces", "spans/s", apart(derived_spans, seconds))
    for at_once in (64, 5_000):
        rate = apart(owning.executions, at_once, seconds)
        yield Figure(f"owner, {at_once:,} at once", "executions/s", rate)
    yield Figure("owner, foreach item", "opcodes", apart(counting.of_foreach_item))
    yield Figure("owner, glue step", "opcodes", apart(counting.of_glue_step))
    yield Figure("dispatcher, call", "opcodes", apart(counting.of_call))
    yield Figure("dispatcher, waiting call", "opcodes", apart(counting.of_waiting_call))
    yield Figure("path", "reads/s", apart(path_reads, seconds))
    yield Figure("path with a filter", "reads/s", apart(filter_reads, seconds))
    yield Figure("expression", "evaluations/s", apart(evaluations, seconds))
    for callers in (1, 64, 256):
        rate = apart(journal_appends, callers, seconds)
        yield Figure(f"journal, {callers} callers", "appends/s", rate)
    yield Figure("dispatcher c=64", "requests/s", apart(dispatcher_requests, 64, seconds))


def _rate(thousand_times: Callable[[], object], seconds: float) -> float:
    thousand_times()
    done, begun = 0, time.process_time()
    while (took := time.process_time() - begun) < seconds:
        thousand_times()
        done += AT_ONCE
    return done / took


def core_events(seconds: float) -> float:
    """Return how many events of glue the core handles in a second of processor time."""
    text = glue("http://127.0.0.1:1")
    submitted = submitted_event("glue", text, b'{"n":0}')
    plan = Plan(parse_definition(text), submitted.definition_id)

    def thousand_events() -> None:
        handled = 0
        while handled < AT_ONCE:
            state, begun = machine.submit(plan, submitted)
            commands = begun.commands
            handled += 1
            while call := next((c for c in commands if isinstance(c, DispatchTask)), None):
                event = DispatchAnswered(
                    at_ms=submitted.at_ms,
                    task=call.task,
                    attempt=1,
                    body=b'{"n":1}',
                    http_status=200,
                )
                commands = machine.handle(plan, state, event).commands
                handled += 1

    return _rate(thousand_events, seconds)


def derived_spans(seconds: float) -> float:
    """Return how many spans an owner derives in a second, of executions of glue that have begun."""
    submitted = submitted_event("glue", glue("http://127.0.0.1:1"), b'{"n":0}')
    plan = Plan(parse_definition(glue("http://127.0.0.1:1")), submitted.definition_id)
    state, _ = machine.submit(plan, submitted)
    size = len(list(Trace(plan, state).spans()))

    def thousand_spans() -> None:
        for _ in range(AT_ONCE // size):
            list(Trace(plan, state).spans())

    return _rate(thousand_spans, seconds)


def path_reads(seconds: float) -> float:
    """Return how often a second a path of names and an index is read."""
    find = compile_path("$.order.items[2].price").find
    return _rate(lambda: [find(CONTEXT) for _ in range(AT_ONCE)], seconds)


def filter_reads(seconds: float) -> float:
    """Return how often a second a filter goes over ten items."""
    find = compile_path("$.order.items[?(@.price > 6)].name").find
    return _rate(lambda: [find(CONTEXT) for _ in range(AT_ONCE)], seconds)


def evaluations(seconds: float) -> float:
    """Return how often a second a short expression with a call is evaluated."""
    evaluate = compile_expression("n > 3 ? string.length(name) + n * 2 : n + 1").evaluate
    variables: dict[str, JsonValue] = {"n": 5, "name": "quick brown fox"}
    return _rate(lambda: [evaluate(variables) for _ in range(AT_ONCE)], seconds)


def journal_appends(callers: int, seconds: float) -> float:
    """Return how many records a second become durable, each caller waiting for its own."""
    with tempfile.TemporaryDirectory(prefix="rillflow-bench-") as folder:
        return uvloop.run(appends(f"sqlite://{folder}/journal.db", 0, callers, seconds))


async def appends(url: str, partition: int, callers: int, seconds: float) -> float:
    """Return the same for a store that is given, all in one partition."""
    store = open_store(url)
    await store.open()
    epoch = await store.take_scopes([partition])
    at = _Place(partition, epoch)
    begun = time.monotonic()
    written = await asyncio.gather(
        *(_append_until(store, number, at, begun + seconds) for number in range(callers))
    )
    took_s = time.monotonic() - begun
    await store.close()
    return sum(written) / took_s


class _Place(NamedTuple):
    """A partition, and the epoch of its owner."""

    partition: int
    epoch: int


async def _append_until(store: Store, number: int, at: _Place, until_s: float) -> int:
    """Append one record at a time, twelve to an execution, and count them."""
    written = 0
    for execution in count():
        for seq in range(1, 13):
            ids = f"{number:08d}-{at.partition:04d}-{at.epoch % 10_000:04d}-8000-{execution:012d}"
            await store.append([_append(f"bench:journal_c_{ids}", seq, at)])
            written += 1
        if time.monotonic() > until_s:
            break
    return written


def _append(name: str, seq: int, at: _Place) -> Append:
    new = NewExecution(
        execution_id=name,
        business="bench",
        feature="journal",
        listing_partition=at.partition,
        definition_id="d41d8cd98f00b204e9800998ecf8427e",
        submitted_at_ms=seq,
    )
    return Append(
        execution_id=name,
        fencing_scope=at.partition,
        epoch=at.epoch,
        first_seq=seq,
        records=(RECORD,),
        new=new if seq == 1 else None,
    )


def dispatcher_requests(concurrency: int, seconds: float) -> float:
    """Return how many calls a second a dispatcher's pool makes to a bare server."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run_server, args=(there,))
    process.start()
    try:
        url = f"http://127.0.0.1:{here.recv()}/function/work"
        return uvloop.run(_dispatcher_requests(url, concurrency, seconds))
    finally:
        process.kill()
        process.join()


async def _dispatcher_requests(url: str, concurrency: int, seconds: float) -> float:
    """Keep so many requests in the pool: each answer brings the next one."""
    made = count()
    answered = 0
    failures: list[str] = []

    async def take(answers: list[DispatchAnswer]) -> None:
        nonlocal answered
        answered += len(answers)
        failures.extend(answer.error for answer in answers if answer.error)
        if not failures:
            pool.send([request_to(url, next(made)) for _ in answers])

    pool = DispatchPool(HttpGateway(HttpSettings(), SystemClock()), take)
    pool.send([request_to(url, next(made)) for _ in range(concurrency)])
    await asyncio.sleep(min(1.0, seconds / 4))
    before, begun = answered, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (answered - before) / (time.perf_counter() - begun)
    if failures:
        raise SystemExit(f"a call to the bare server failed: {failures[0]}")
    await pool.close()
    return rate


def _run_server(ready: Connection) -> None:
    uvloop.run(_serve(ready))


async def _serve(ready: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(BareServer, "127.0.0.1", 0)
    ready.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()
