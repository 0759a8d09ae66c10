"""Rows of many executions, put straight into a store, for measurements of searches.

Used by `tests/bench/console.py` and `tests/bench/searching.py`.
"""

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from rillflow.core.encoding import codec
from rillflow.core.events import CompletionRequested
from rillflow.ids import ExecutionId, listing_partition, new_execution_id
from rillflow.ports.storage.store import Store
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.stores import open_store
from tests.bench.submitting import stored_submission

BUSINESSES: Final = {"bench": 12, "other": 12, "many": 60}
"""How many workflows each workspace has."""
RARE: Final = "many"
RARELY: Final = 0.01
"""How many of the executions are in that workspace."""
VERSIONS: Final = 4
REGIONS: Final = ("eu", "us", "asia", "africa")
TIERS: Final = ("gold", "silver")
"""Of those who are not from Asia."""
USERS: Final = 100_000
SPAN_MS: Final = 30 * 86_400_000
FAILED: Final = 0.01
UNFINISHED: Final = 0.01
SUB_FLOWS: Final = 0.05
_AT_ONCE: Final = 20_000
_SEED: Final = 4711
_DEFINITION: Final = """
workspace: {0}
dagName: {1}
type: flow
version: {2}
searchKeys: [$.context.user, $.context.region, $.context.tier]
tasks:
  - name: wait
    category: suspense
    conditions: ['$.input.[?(@.go == true)]']
    inputMappings: [{{source: $.context.go, target: $.input.go}}]
"""


class Row(NamedTuple):
    """One execution: its row, the values of its search keys, and the records of its journal."""

    execution: tuple[Any, ...]
    values: tuple[tuple[Any, ...], ...]
    records: tuple[tuple[int, int, bytes], ...]


class Known(NamedTuple):
    """What searches may look for: an execution in the middle, a version of it, and a parent."""

    execution_id: ExecutionId
    definition_id: str
    flow: str
    parent_id: ExecutionId
    versions: tuple[str, ...]


async def fill(url: str, count: int, now_ms: int, *, are_shown: bool = False) -> Known:
    """Put executions into a new store, as they would be after ``count`` submissions of a month.

    Unfinished ones have their journal. The others have it if they ``are_shown``: an owner is asked
    for summaries of those that a list shows.
    """
    store = open_store(url)
    await store.open()
    versions = await _add_definitions(store, now_ms)
    await store.close()
    rows = _rows(count, now_ms, versions, are_shown=are_shown)
    if url.startswith("sqlite:"):
        return _into_sqlite(url, rows)
    return await _into_postgres(url, rows)


async def _add_definitions(store: Store, now_ms: int) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for business, features in BUSINESSES.items():
        for number in range(features):
            feature = f"flow{number}"
            for version in range(VERSIONS):
                text = _DEFINITION.format(business, feature, version)
                added = await add_descriptor(
                    store, business, feature, "release", text, at_ms=now_ms
                )
                found.setdefault((business, feature), []).append(added.version or "")
    return found


def _rows(
    count: int, now_ms: int, versions: dict[tuple[str, str], list[str]], *, are_shown: bool
) -> Iterator[tuple[Row, Known | None]]:
    chance = random.Random(_SEED)  # noqa: S311 - no secret
    by_rarity: dict[bool, list[tuple[str, str]]] = {False: [], True: []}
    for each in versions:
        by_rarity[each[0] == RARE].append(each)
    parent: ExecutionId | None = None
    for number in range(1, count + 1):
        at_ms = now_ms - SPAN_MS + SPAN_MS * number // count
        business, feature = flow = chance.choice(by_rarity[chance.random() < RARELY])
        age = min(number * VERSIONS // count, VERSIONS - 1)
        definition_id = versions[flow][age]
        execution_id = new_execution_id(
            business, feature, at_ms=at_ms, entropy=chance.randbytes(10)
        )
        fate = chance.random()
        status = "failed" if fate < FAILED else "succeed"
        if fate > 1 - UNFINISHED:
            status = "running"
        is_running = status == "running"
        of_parent = parent if chance.random() < SUB_FLOWS else None
        code = "30303" if status == "failed" else None
        ended_ms = None if is_running else at_ms + 1_000
        identity = (number, execution_id, business, feature, listing_partition(execution_id))
        facts = (definition_id, at_ms, False, of_parent, None, None)
        execution = (*identity, *facts, status, code, ended_ms, is_running)
        region = chance.choice(REGIONS)
        tier = "asian" if region == "asia" else chance.choice(TIERS)
        user = f"user{chance.randrange(USERS)}"
        keys = (("user", user), ("region", region), ("tier", tier))
        values = tuple(
            (number, *key, business, feature, status, at_ms, definition_id) for key in keys
        )
        records: tuple[tuple[int, int, bytes], ...] = ()
        if is_running or are_shown:
            records = tuple(_records(number, execution_id, definition_id, status, at_ms))
        known = None
        if number == count // 2:
            above = parent or execution_id
            known = Known(execution_id, definition_id, ":".join(flow), above, tuple(versions[flow]))
        if parent is None or chance.random() < 0.001:
            parent = execution_id
        yield Row(execution, values, records), known


def _records(
    number: int, execution_id: ExecutionId, definition_id: str, status: str, at_ms: int
) -> Iterator[tuple[int, int, bytes]]:
    """Yield the records of an execution that waits, or was completed by hand."""
    event = stored_submission(execution_id, definition_id, b'{"user":"bob"}', host="http://x")
    yield number, 1, codec.encode_event(msgspec.structs.replace(event, at_ms=at_ms))
    if status != "running":
        completed = CompletionRequested(at_ms=at_ms + 1_000, success=status == "succeed")
        yield number, 2, codec.encode_event(completed)


def _into_sqlite(url: str, rows: Iterator[tuple[Row, Known | None]]) -> Known:
    tables = ("executions", "search_keys", "journal")
    with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as connection:
        marks = ", ".join(f"'{table}'" for table in tables)
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master"  # noqa: S608 - names of our tables
            f" WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({marks})"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        known = None
        while some := list(islice(rows, _AT_ONCE)):
            for table, found in zip(tables, _by_table(row for row, _ in some), strict=True):
                if found:
                    values = ", ".join("?" * len(found[0]))
                    statement = f"INSERT INTO {table} VALUES ({values})"  # noqa: S608 - see above
                    connection.executemany(statement, found)
            known = next((each for _, each in some if each), known)
            connection.commit()
        for _, statement in indexes:
            connection.execute(statement)
        connection.commit()
    if known is None:
        raise RuntimeError("there are no executions")
    return known


async def _into_postgres(url: str, rows: Iterator[tuple[Row, Known | None]]) -> Known:
    tables = ("executions", "search_keys", "journal")
    connection = await asyncpg.connect(url)
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE tablename = ANY($1::text[]) AND indexdef NOT LIKE '%UNIQUE%'",
        list(tables),
    )
    for name, _ in indexes:
        await connection.execute(f"DROP INDEX {name}")
    known = None
    while some := list(islice(rows, _AT_ONCE)):
        for table, found in zip(tables, _by_table(row for row, _ in some), strict=True):
            await connection.copy_records_to_table(table, records=found)
        known = next((each for _, each in some if each), known)
    for _, statement in indexes:
        await connection.execute(statement)
    # What autovacuum does by itself some minutes after so many rows were written.
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    if known is None:
        raise RuntimeError("there are no executions")
    return known


def _by_table(rows: Iterable[Row]) -> tuple[list[Any], list[Any], list[Any]]:
    kept = list(rows)
    values = [value for row in kept for value in row.values]
    records = [record for row in kept for record in row.records]
    return [row.execution for row in kept], values, records
