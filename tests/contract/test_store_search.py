"""Every store finds executions by status, flow and time, newest first, page by page."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rillflow.ports.storage.execution_search import FoundExecution, Place, Wanted
from rillflow.ports.storage.store import Store
from rillflow.stores import open_store
from rillflow.stores.sql.searching import MOST_PARTS, Part, page_statement, parts_of
from tests.contract.appends import close, follow, id_of, submit

ANY = Wanted()
TEN = range(1, 11)
SORT = "USE TEMP B-TREE FOR ORDER BY"


async def fill(store: Store) -> None:
    """Store ten orders; the even ones have ended, and every fourth of all failed."""
    await store.append([submit(number, submitted_at_ms=number // 2 * 100) for number in TEN])
    await store.append(
        [close(number, 2, "failed" if number % 4 == 0 else "succeed", "E1") for number in TEN[1::2]]
    )


async def numbers(store: Store, wanted: Wanted, limit: int = 100) -> list[int]:
    found = await store.search_executions(wanted, limit=limit)
    by_id = {id_of(number): number for number in range(1, 200)}
    return [by_id[each.execution_id] for each in found]


async def test_a_row_tells_what_the_store_knows_of_an_execution(store: Store) -> None:
    await store.append(
        [submit(1, definition_id="f" * 32, dedicated=True, parent_id=id_of(9), submitted_at_ms=70)]
    )
    await store.append([close(1, 2, "failed", "E1")])
    [found] = await store.search_executions(ANY, limit=10)
    assert found == FoundExecution(
        key=found.key,
        execution_id=id_of(1),
        business="shop",
        feature="order",
        status="failed",
        code="E1",
        definition_id="f" * 32,
        submitted_at_ms=70,
        finished_at_ms=1_001,
        parent_id=id_of(9),
        dedicated=True,
    )
    assert found.place == Place(70, found.key)


async def test_the_newest_come_first_also_those_of_one_millisecond(store: Store) -> None:
    await fill(store)
    assert await numbers(store, ANY) == list(reversed(TEN))


async def test_the_keys_of_executions_are_told(store: Store) -> None:
    await store.append(
        [
            submit(1, idempotency_key="order-1", request_digest="d"),
            submit(2),
            submit(3, idempotency_key="trigger/x/1", request_digest="d"),
        ]
    )
    asked = [id_of(number) for number in (1, 2, 3, 99)]
    assert await store.idempotency_keys(asked) == {id_of(1): "order-1", id_of(3): "trigger/x/1"}
    assert await store.idempotency_keys([]) == {}


@pytest.mark.parametrize("size", [1, 3, 10])
async def test_pages_show_each_execution_once_while_others_are_added(
    store: Store, size: int
) -> None:
    await fill(store)
    seen: list[str] = []
    before: Place | None = None
    added = 20
    while page := await store.search_executions(ANY, before=before, limit=size):
        seen += [each.execution_id for each in page]
        before = page[-1].place
        await store.append([submit(added, submitted_at_ms=10_000)])
        added += 1
    assert seen == [id_of(number) for number in reversed(TEN)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(statuses=("failed",)), [8, 4]),
        (Wanted(statuses=("failed", "succeed", "failed")), [10, 8, 6, 4, 2]),
        (Wanted(statuses=()), []),
        (Wanted(statuses=("unheard of",)), []),
        (Wanted(from_ms=200, to_ms=300), [7, 6, 5, 4]),
        (Wanted(business="shop", feature="order", statuses=("failed",), to_ms=300), [4]),
        (Wanted(business="shop"), list(reversed(TEN))),
        (Wanted(business="shop", feature="pay"), []),
        (Wanted(business="zoo"), []),
        (Wanted(feature="pay"), list(reversed(TEN))),
        (Wanted(execution_id=id_of(4)), [4]),
        (Wanted(execution_id=id_of(4), statuses=("succeed",)), []),
        (Wanted(execution_id=id_of(4), business="zoo"), []),
        (Wanted(execution_id=id_of(199)), []),
        (Wanted(definition_id="0" * 32, statuses=("failed",)), [8, 4]),
        (Wanted(definition_id="1" * 32), []),
    ],
)
async def test_all_conditions_of_a_search_hold_together(
    store: Store, wanted: Wanted, expected: list[int]
) -> None:
    await fill(store)
    assert await numbers(store, wanted) == expected
    counts = await store.count_by_time(wanted, [0, 10_000])
    assert sum(counts[0].values()) == len(expected)
    newest = await store.count_newest(wanted, 100)
    assert sum(newest.counts.values()) == len(expected)
    assert newest.oldest_ms == (min(expected) // 2 * 100 if expected else None)


@pytest.mark.parametrize("flows", [4, MOST_PARTS + 1])
async def test_a_business_is_searched_in_all_of_its_flows(store: Store, flows: int) -> None:
    await store.append(
        [submit(each, feature=f"f{each}", submitted_at_ms=each) for each in range(1, flows + 1)]
        + [submit(999, business="zoo", submitted_at_ms=3)]
    )
    wanted = Wanted(business="shop", from_ms=2)
    first = await store.search_executions(wanted, limit=3)
    assert [each.submitted_at_ms for each in first] == [flows, flows - 1, flows - 2]
    assert await store.count_by_time(wanted, [0, 3, 999]) == [
        {"RUNNING": 1},
        {"RUNNING": flows - 2},
    ]
    assert (await store.count_newest(wanted, 9_999)).oldest_ms == 2


async def test_the_sub_flows_of_an_execution_are_found(store: Store) -> None:
    await store.append([submit(1), submit(2, parent_id=id_of(1)), submit(3, parent_id=id_of(1))])
    assert await numbers(store, Wanted(parent_id=id_of(1))) == [3, 2]
    assert await numbers(store, Wanted(parent_id=id_of(1)), limit=1) == [3]


async def test_executions_are_counted_in_spans_that_begin_with_their_first_edge(
    store: Store,
) -> None:
    await fill(store)
    assert await store.count_by_time(ANY, [0, 100, 300, 500, 501]) == [
        {"RUNNING": 1},
        {"RUNNING": 2, "succeed": 1, "failed": 1},
        {"RUNNING": 2, "succeed": 1, "failed": 1},
        {"succeed": 1},
    ]
    assert await store.count_by_time(ANY, [0]) == []


async def test_an_execution_that_runs_again_is_found_by_its_new_status(store: Store) -> None:
    await fill(store)
    await store.append([follow(4, 3, b"redone", status="running")])
    assert await numbers(store, Wanted(statuses=("running",))) == [4]
    assert await numbers(store, Wanted(statuses=("failed",))) == [8]


async def test_the_journal_is_read_in_pages_also_before_a_snapshot(store: Store) -> None:
    records = [b"record %d" % number for number in TEN]
    await store.append([submit(1, *records)])
    await store.append([follow(1, 11, b"last", snapshot=b"all", snapshot_seq=11)])
    read: list[bytes] = []
    while page := await store.read_journal(id_of(1), after_seq=len(read), limit=4):
        assert len(page) <= 4
        read += page
    assert read == [*records, b"last"]
    assert await store.read_journal(id_of(2), after_seq=0, limit=4) == []


async def test_large_values_of_the_journal_are_back_in_their_places(store: Store) -> None:
    large = b'\x01{"film": "' + b"x" * 100_000 + b'"}'
    await store.append([submit(1, b"first", large)])
    await store.append([follow(1, 3, large)])
    assert await store.read_journal(id_of(1), after_seq=1, limit=10) == [large, large]


@pytest.mark.parametrize(
    "wanted",
    [
        ANY,
        Wanted(statuses=("failed",)),
        Wanted(business="shop", feature="order"),
        Wanted(business="shop", feature="order", from_ms=100, to_ms=10_000),
    ],
)
async def test_a_search_sorts_no_more_than_its_page(sqlite_url: str, wanted: Wanted) -> None:
    store = open_store(sqlite_url)
    await store.open()
    await fill(store)
    path = Path(sqlite_url.removeprefix("sqlite://"))
    parts = [part for _, part in parts_of(wanted, ("RUNNING", "failed", "succeed"))]
    with closing(sqlite3.connect(path)) as connection:
        for part in parts:
            assert not plan_of(connection, [part], Place(500, 3)) & {"SCAN executions", SORT}
        assert any("executions_by_" in step for step in plan_of(connection, parts, None))
    await store.close()


def plan_of(connection: sqlite3.Connection, parts: list[Part], before: Place | None) -> set[str]:
    """Return what SQLite does inside the parts of a statement."""
    statement, values = page_statement(parts, before, 10)
    if len(parts) == 1:
        statement = statement.partition("SELECT * FROM (")[2].partition(") AS part")[0]
        values = values[:-1]
    return {row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)}
