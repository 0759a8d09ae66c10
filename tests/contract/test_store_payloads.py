"""Large values are stored once for each execution, apart from records and snapshots."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest

from rillflow.core.encoding.codec import decode_state, encode_event
from rillflow.core.events import DispatchAnswered
from rillflow.errors import DamagedError, FencedError
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonValue, encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import Closing, Store, StoredExecution
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores import open_store
from tests.contract.appends import PARTITION, follow, id_of, submit
from tests.contract.tables import run_sql
from tests.postgres_server import PostgresServer

LIMIT = 100
ENDED = Closing(status="SUCCEED", code=None, finished_at_ms=500)
LATER_MS = 10_000
LONG = "long " * 100


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store of each kind in which values over 100 bytes are large."""
    url = "memory:" if request.param == "memory" else _url(request, request.param)
    opened = open_store(url, large_value_bytes=LIMIT)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return _url(request, request.param)


@pytest.fixture
async def durable(url: str) -> AsyncIterator[Store]:
    opened = open_store(url, large_value_bytes=LIMIT)
    await opened.open()
    yield opened
    await opened.close()


def _url(request: pytest.FixtureRequest, kind: str) -> str:
    if kind == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


def answer(value: JsonValue) -> bytes:
    body = encode_json({"value": value})
    return encode_event(DispatchAnswered(at_ms=1, task="t", attempt=1, body=body))


def snapshot(*held: JsonValue) -> bytes:
    return b"\x01" + encode_json({"context": {f"v{n}": each for n, each in enumerate(held)}})


async def loaded(store: Store, number: int) -> StoredExecution:
    return await loaded_id(store, id_of(number))


async def loaded_id(store: Store, execution_id: ExecutionId) -> StoredExecution:
    stored = await store.load(execution_id)
    assert stored is not None
    return stored


async def payloads(url: str) -> list[Any]:
    rows = await run_sql(url, "SELECT length(value) FROM payloads ORDER BY 1")
    return [length for (length,) in rows]


async def longest_row(url: str) -> int:
    query = """SELECT max(length(row)) FROM (
        SELECT record AS row FROM journal UNION ALL SELECT snapshot FROM snapshots) AS rows"""
    [(length,)] = await run_sql(url, query)
    return int(length)


async def test_records_and_snapshots_come_back_as_they_were(store: Store) -> None:
    records = (b"submitted", answer(LONG), answer([LONG, LONG + "!"]), b"x" * 1_000)
    await store.append([submit(1, *records)])
    assert (await loaded(store, 1)).records == records
    whole, late = snapshot(LONG, 1.0, [LONG]), answer(LONG)
    await store.append([follow(1, 5, b"ended", snapshot=whole, snapshot_seq=5)])
    await store.append([follow(1, 6, late)])
    found = await loaded(store, 1)
    assert (found.snapshot, found.snapshot_seq, found.records) == (whole, 5, (late,))


async def test_what_looks_like_pieces_and_is_none_comes_back(store: Store) -> None:
    records = (b"\xfe", b"\xfe" + b"x" * 200, b"\xfe\x91\xc4\x01x", b"")
    await store.append([submit(1, *records)])
    assert (await loaded(store, 1)).records == records


async def test_a_value_is_stored_once_for_each_execution(durable: Store, url: str) -> None:
    for number in (1, 2):
        await durable.append([submit(number, answer(LONG)), follow(number, 2, answer([LONG, 1]))])
        ended = follow(
            number, 3, answer(LONG), closing=ENDED, snapshot=snapshot(LONG, LONG), snapshot_seq=3
        )
        await durable.append([ended])
    assert await payloads(url) == [len(LONG) + 2] * 2
    assert await longest_row(url) < 150


async def test_one_commit_may_bring_a_value_many_times(store: Store) -> None:
    appends = [submit(1, *[answer(LONG)] * 3)]
    appends += [follow(1, 4 + n, answer(LONG), snapshot=snapshot(LONG)) for n in range(3)]
    await asyncio.gather(store.append(appends), store.append([submit(2, answer(LONG))]))
    assert (await loaded(store, 1)).records == (answer(LONG),) * 6
    assert (await loaded(store, 2)).records == (answer(LONG),)


async def test_what_the_limit_was_makes_no_difference_to_reading(url: str) -> None:
    for number, limit in enumerate([10, 1_000_000, 600, LIMIT], start=1):
        store = open_store(url, large_value_bytes=limit)
        await store.open()
        await store.append([submit(number, answer(LONG), snapshot=snapshot(LONG))])
        for each in range(1, number + 1):
            found = await loaded(store, each)
            assert (found.snapshot, found.records) == (snapshot(LONG), (answer(LONG),))
        await store.close()


async def test_values_that_only_an_older_snapshot_held_go_with_it(durable: Store, url: str) -> None:
    first, second = "first" * 100, "second" * 100
    await durable.append([submit(1, answer(LONG), snapshot=snapshot(LONG, first))])
    again = follow(1, 2, b"redo", snapshot=snapshot(second, second, first + "!"), snapshot_seq=2)
    await durable.append([again])
    lengths = [len(each) + 2 for each in (LONG, first + "!", second)]
    assert await payloads(url) == sorted(lengths)
    found = await loaded(durable, 1)
    assert (found.snapshot, found.records) == (again.snapshot, ())


async def test_a_value_that_a_record_brings_later_outlives_the_snapshot(store: Store) -> None:
    await store.append([submit(1, snapshot=snapshot(LONG))])
    await store.append([follow(1, 2, answer(LONG))])
    await store.append([follow(1, 3, b"end", snapshot=snapshot("other" * 50), snapshot_seq=1)])
    assert (await loaded(store, 1)).records == (answer(LONG), b"end")


async def test_an_append_that_is_refused_leaves_no_value(durable: Store, url: str) -> None:
    await durable.take_scopes([PARTITION])
    with pytest.raises(FencedError):
        await durable.append([submit(1, answer(LONG), epoch=0)])
    assert await payloads(url) == []


async def test_a_missing_value_concerns_its_execution_only(durable: Store, url: str) -> None:
    await durable.append([submit(1, answer(LONG)), submit(2, answer(LONG))])
    await run_sql(
        url,
        "DELETE FROM payloads WHERE execution ="
        " (SELECT key FROM executions ORDER BY execution_id LIMIT 1)",
    )
    with pytest.raises(DamagedError, match=rf"{id_of(1)}: .* [0-9a-f]{{64}} is missing"):
        await durable.load(id_of(1))
    assert (await loaded(durable, 2)).records == (answer(LONG),)
    await durable.append([follow(1, 2, answer(LONG))])
    assert (await loaded(durable, 1)).records == (answer(LONG), answer(LONG))


async def test_values_go_with_their_execution(durable: Store, url: str) -> None:
    for number in (1, 2):
        await durable.append([submit(number, answer(LONG))])
        await durable.append(
            [follow(number, 2, b"x", closing=ENDED, snapshot=snapshot("s" * 200), snapshot_seq=2)]
        )
    assert await durable.purge([id_of(1)], ended_before_ms=LATER_MS, most_records=10) == []
    assert await payloads(url) == [202, len(LONG) + 2]
    assert (await loaded(durable, 2)).snapshot == snapshot("s" * 200)
    assert await durable.purge([id_of(2)], ended_before_ms=LATER_MS, most_records=10) == []
    assert await payloads(url) == []


async def test_many_large_executions_go_in_several_steps(durable: Store, url: str) -> None:
    ids = [id_of(number) for number in range(6)]
    for number in range(6):
        value = "x" * 40_000
        ended = follow(number, 2, b"x", closing=ENDED, snapshot=snapshot(value), snapshot_seq=2)
        await durable.append([submit(number, answer(value)), ended])
    left: Sequence[ExecutionId] = ids
    steps = []
    async with asyncio.timeout(60):
        while left:
            left = await durable.purge(left, ended_before_ms=LATER_MS, most_records=30)
            steps.append(len(left))
    assert steps == [4, 2, 0]
    assert await payloads(url) == []


async def test_reading_while_it_is_purged_finds_it_whole_or_not_at_all(store: Store) -> None:
    for number in range(20):
        ended = follow(number, 2, b"x", closing=ENDED, snapshot=snapshot(LONG), snapshot_seq=2)
        await store.append([submit(number, answer(LONG)), ended])
    reads = [store.load(id_of(number)) for number in range(20)]
    purges = [
        store.purge([id_of(number)], ended_before_ms=LATER_MS, most_records=10)
        for number in range(20)
    ]
    mixed = [each for pair in zip(reads, purges, strict=True) for each in pair]
    for found in (await asyncio.gather(*mixed))[::2]:
        assert found is None or (isinstance(found, StoredExecution) and found.snapshot)


FLOW: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: write
    category: function
    pattern: task_sync
    resourceName: http://functions.test/write
    outputMappings: [{ source: $.output.text, target: $.context.text }]
    next: read
  - name: read
    category: function
    pattern: task_sync
    resourceName: http://functions.test/read
    inputMappings: [{ source: $.context.text, target: $.input.text }]
"""
MEGABYTE: Final = "a word " * 150_000


class Writer:
    """Answers a megabyte to the first task, as Python spells it."""

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        text = MEGABYTE if request.task == "write" else ""
        return DispatchAnswer(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            body=json.dumps({"text": text, "more": [1, 2]}).encode(),
            http_status=200,
        )

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_megabyte_in_output_context_and_input_is_one_payload(url: str) -> None:
    store, clock = open_store(url), SystemClock()
    await store.open()
    empty = await bytes_of_rows(url)
    await add_descriptor(store, "shop", "order", "release", FLOW, at_ms=1)
    executions = LocalExecutions(store=store, gateway=Writer(), clock=clock)
    await executions.start()
    submissions = Submissions(Settings(), store=store, executions=executions, clock=clock)
    execution_id = await submissions.submit("shop:order", b"{}", Options())
    assert await executions.wait(execution_id, 20)
    await executions.stop()

    assert await payloads(url) == [len(MEGABYTE) + 2]
    assert await longest_row(url) < 2_000
    assert await bytes_of_rows(url) - empty < 50_000
    state = decode_state((await loaded_id(store, execution_id)).snapshot or b"")
    assert state.context["text"] == MEGABYTE
    assert state.tasks["write"].invoke.output == {"text": MEGABYTE, "more": [1, 2]}
    assert state.tasks["read"].invoke.input == {"text": MEGABYTE}
    await store.close()


async def bytes_of_rows(url: str) -> int:
    """Return how many bytes of disk the tables take, without those of the one payload."""
    if url.startswith("sqlite:"):
        [(whole,)] = await run_sql(
            url, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        )
        [(payload,)] = await run_sql(url, "SELECT coalesce(sum(length(value)), 0) FROM payloads")
        return int(whole) - int(payload)
    query = "SELECT pg_total_relation_size('journal') + pg_total_relation_size('snapshots')"
    [(size,)] = await run_sql(url, query)
    return int(size)


async def test_a_record_that_looks_like_pieces_comes_back_as_it_was(store: Store) -> None:
    records = (b"\xfe\x81", b"\xfe", b"plain")
    await store.append([submit(1, *records)])
    stored = await store.load(id_of(1))
    assert stored is not None
    assert stored.records == records
