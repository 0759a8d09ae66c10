"""An execution of 10,000 events and items, with 5 MB of context, is shown in bounded answers.

No answer has more than 1 MiB, and none holds the event loop for 50 ms, also of the past.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest

from rillflow.core import machine
from rillflow.core.agenda import REMAINING
from rillflow.core.commands import Command, DispatchTask, SetTimer
from rillflow.core.encoding import codec
from rillflow.core.events import DispatchAnswered, Event, ExecutionSubmitted, TimerFired
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.ids import ID_KEY_BYTES, ExecutionId, listing_partition, new_execution_id
from rillflow.jsontypes import encode_json
from rillflow.language.versions import CURRENT
from rillflow.ports.storage.store import Append, Closing, NewExecution, Store
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.submission.intake import execution_settings
from rillflow.settings import Settings
from rillflow.stores import open_store
from tests.api.serving import Api, served
from tests.api.turns_of_loop import Loop

V1: Final = "/flow/console/v1/"
ITEMS: Final = 10_000
FILM_BYTES: Final = 5_000_000
MOST_BYTES: Final = 1 << 20
PATIENCE_S: Final = 120
DEFINITION: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: each
    category: foreach
    iterationMapping: { collection: $.input.items, item: item }
    inputMappings: [{ source: $.context.items, target: $.input.items }]
    tasks:
      - name: work
        category: function
        pattern: task_sync
        resourceName: http://127.0.0.1:1/work
        inputMappings: [{ source: $.context.item, target: $.input.item }]
        outputMappings: [{ source: $.output.n, target: $.context.n }]
    next: last
  - { name: last, category: pass }
"""
PRESENT: Final[list[tuple[str, dict[str, Any]]]] = [
    ("execution", {}),
    ("graph", {}),
    ("graph", {"route": "each_9999"}),
    ("items", {"task": "each", "limit": 500, "offset": 9_500}),
    ("task", {"task": "each"}),
    ("task", {"task": "each_5000-work"}),
    ("timeline", {}),
    ("timeline", {"offset": 9_000}),
    ("trace", {}),
    ("waits", {"limit": 500}),
    ("context", {}),
    ("context", {"path": "/film", "offset": 4_999_000}),
    ("events", {"limit": 500}),
    ("events", {"limit": 500, "order": "desc"}),
    ("events", {"limit": 500, "task": "work"}),
    ("event", {"seq": 1}),
    ("event", {"seq": ITEMS}),
    ("writes", {"limit": 200}),
    ("writes", {"limit": 200, "cursor": str(ITEMS // 2)}),
    ("changes", {"seq": 1}),
    ("changes", {"seq": ITEMS}),
]
OF_THE_PAST: Final = ("execution", "graph", "items", "timeline", "waits", "context", "task")


async def fill(store: Store) -> ExecutionId:
    """Store the execution, as an owner would have written it."""
    now_ms = time.time_ns() // 1_000_000
    await store.open()
    found = await add_descriptor(store, "shop", "order", "release", DEFINITION, at_ms=now_ms)
    definition_id = found.version or ""
    plan = Plan(parse_definition(DEFINITION), definition_id)
    execution_id = new_execution_id("shop", "order", at_ms=now_ms, entropy=bytes(10))
    data = {"items": list(range(ITEMS)), "film": "x" * FILM_BYTES}
    submitted = ExecutionSubmitted(
        at_ms=now_ms,
        execution_id=execution_id,
        definition_id=definition_id,
        data=encode_json(data),
        host="http://127.0.0.1:1",
        id_key=os.urandom(ID_KEY_BYTES),
        language=CURRENT,
        **execution_settings(Settings()),
    )
    records = [codec.encode_event(each) for each in happened(plan, submitted)]
    partition = listing_partition(execution_id)
    new = NewExecution(
        execution_id=execution_id,
        business="shop",
        feature="order",
        listing_partition=partition,
        definition_id=definition_id,
        submitted_at_ms=now_ms,
    )
    append = Append(
        execution_id=execution_id,
        fencing_scope=partition,
        epoch=0,
        first_seq=1,
        records=tuple(records),
        new=new,
        closing=Closing(status="succeed", code=None, finished_at_ms=now_ms + len(records)),
    )
    await store.append([append])
    return execution_id


def happened(plan: Plan, submitted: ExecutionSubmitted) -> Iterator[Event]:
    """Yield the events of the execution, whose calls are answered in the order of their begin."""
    state, handled = machine.submit(plan, submitted)
    yield submitted
    outstanding = deque(handled.commands)
    at_ms = submitted.at_ms
    while outstanding:
        at_ms += 1
        event = answer_to(outstanding.popleft(), at_ms)
        if event is None:
            continue
        later = machine.handle(plan, state, event)
        if later.changed:
            outstanding += later.commands
            yield event


def answer_to(command: Command, at_ms: int) -> Event | None:
    """Return what answers a command; time-outs come to nothing."""
    if isinstance(command, DispatchTask):
        return DispatchAnswered(
            at_ms=at_ms,
            task=command.task,
            attempt=command.attempt,
            body=b'{"n":7}',
            http_status=200,
        )
    if isinstance(command, SetTimer) and command.kind == REMAINING:
        return TimerFired(at_ms=at_ms, kind=REMAINING, task="", due_ms=command.due_ms)
    return None


@asynccontextmanager
async def large() -> AsyncIterator[tuple[Api, ExecutionId]]:
    """Serve the execution."""
    store = open_store("memory:")
    execution_id = await fill(store)
    async with served(store=store) as api:
        yield api, execution_id


async def read(api: Api, name: str, asked: dict[str, Any]) -> None:
    """Read an answer, once the journal has been read as far as it needs; check its size."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await api.client.get(f"{V1}{name}.json", params=asked)
            if answer.status_code != 503:
                break
    assert answer.status_code == 200, (name, asked, answer.text[:300])
    assert len(answer.content) <= MOST_BYTES, (name, asked, len(answer.content))


@pytest.mark.long
async def test_every_view_is_bounded_in_bytes_and_holds_no_loop() -> None:
    async with large() as (api, execution_id), Loop.measured() as loop:
        for name, asked in PRESENT:
            query = {"execution_id": execution_id, **asked}
            await loop.of(f"{name} {asked}", partial(read, api, name, query))
        last = (await api.get(f"{V1}execution.json", execution_id=execution_id))["seq"]
        assert last > ITEMS
        loop.note_nothing()
        for seq in (1, 5_000, last - 1, 4_999):
            for name in OF_THE_PAST:
                more = {"task": "each"} if name in {"items", "task"} else {}
                query = {"execution_id": execution_id, "event": seq, **more}
                await loop.of(f"{name} after {seq}", partial(read, api, name, query))
        summaries = partial(api.get, f"{V1}summaries.json", ids=execution_id)
        await loop.of("summaries", summaries)
        loop.assert_free()
