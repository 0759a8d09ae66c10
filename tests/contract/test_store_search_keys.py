"""Every store finds executions by the values of their search keys, as they were written last."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from rillflow.ports.storage.execution_search import Place, Wanted
from rillflow.ports.storage.store import Append, Closing, ExecutionFilter, Store
from rillflow.stores import open_store
from rillflow.stores.sql.searching import page_statement, parts_of
from tests.contract.appends import follow, id_of, submit

BOB = (("user", "bob"),)
EVE = (("user", "eve"),)
BOTH = (("user", "bob"), ("city", "Bonn"))


async def fill(store: Store) -> None:
    """Store eight orders: the odd ones are bob's, 4 and 8 are from Bonn, and 1, 5, 9 are both."""
    appends: list[Append] = []
    for number in range(1, 10):
        user = "bob" if number % 2 else "eve"
        city = (("city", "Bonn"),) if number % 4 < 2 else ()
        appends.append(submit(number, search_values=(("user", user), *city)))
    await store.append(appends)


async def numbers(store: Store, wanted: Wanted, before: Place | None = None) -> list[int]:
    found = await store.search_executions(wanted, before=before, limit=100)
    by_id = {id_of(number): number for number in range(1, 300)}
    return [by_id[each.execution_id] for each in found]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(keys=BOB), [9, 7, 5, 3, 1]),
        (Wanted(keys=EVE, business="shop"), [8, 6, 4, 2]),
        (Wanted(keys=BOTH), [9, 5, 1]),
        (Wanted(keys=(*BOTH[1:], *BOTH[:1])), [9, 5, 1]),
        (Wanted(keys=BOB, from_ms=3, to_ms=7), [7, 5, 3]),
        (Wanted(keys=BOB, business="shop", feature="order"), [9, 7, 5, 3, 1]),
        (Wanted(keys=BOB, business="shop", feature="pay"), []),
        (Wanted(keys=BOB, business="zoo"), []),
        (Wanted(keys=BOB, definition_id="0" * 32), [9, 7, 5, 3, 1]),
        (Wanted(keys=BOTH, definition_id="1" * 32), []),
        (Wanted(keys=BOB, execution_id=id_of(3)), [3]),
        (Wanted(keys=EVE, execution_id=id_of(3)), []),
        (Wanted(keys=(("user", "Bob"),)), []),
        (Wanted(keys=(("bob", "user"),)), []),
        (Wanted(keys=(("user", "bob' OR 1=1"),)), []),
        (Wanted(keys=BOB, statuses=("failed",)), []),
    ],
)
async def test_executions_are_found_by_the_values_of_their_keys(
    store: Store, wanted: Wanted, expected: list[int]
) -> None:
    await fill(store)
    assert await numbers(store, wanted) == expected
    counts = await store.count_by_time(wanted, [0, 10_000])
    assert sum(counts[0].values()) == len(expected)
    newest = await store.count_newest(wanted, 100)
    assert newest.oldest_ms == (min(expected) if expected else None)


async def test_pages_begin_after_a_place(store: Store) -> None:
    await fill(store)
    first = await store.search_executions(Wanted(keys=BOB), limit=2)
    assert await numbers(store, Wanted(keys=BOB), before=first[-1].place) == [5, 3, 1]


async def test_values_that_change_are_found_and_those_before_are_not(store: Store) -> None:
    await fill(store)
    await store.append([follow(3, 2, b"changed", search_values=(("user", "eve"),))])
    assert await numbers(store, Wanted(keys=BOB)) == [9, 7, 5, 1]
    assert 3 in await numbers(store, Wanted(keys=EVE))
    await store.append([follow(3, 3, b"not of keys")])
    assert 3 in await numbers(store, Wanted(keys=EVE))
    await store.append([follow(3, 4, b"changed", search_values=())])
    assert 3 not in await numbers(store, Wanted(keys=EVE))


async def test_an_end_and_a_redo_are_found_under_their_status(store: Store) -> None:
    await fill(store)
    closing = Closing(status="failed", code="E1", finished_at_ms=1_000)
    await store.append([follow(5, 2, b"ended", closing=closing, search_values=BOB)])
    assert await numbers(store, Wanted(keys=BOB, statuses=("failed",))) == [5]
    assert await numbers(store, Wanted(keys=BOB, statuses=("RUNNING",))) == [9, 7, 3, 1]
    await store.append([follow(5, 3, b"redone", status="running", search_values=BOB)])
    assert await numbers(store, Wanted(keys=BOB, statuses=("failed",))) == []
    assert await numbers(store, Wanted(keys=BOB, statuses=("running",))) == [5]


async def test_what_is_written_together_is_found_by_what_was_last(store: Store) -> None:
    closing = Closing(status="succeed", code=None, finished_at_ms=1_000)
    await store.append(
        [
            submit(1, search_values=BOB),
            follow(1, 2, b"ended", closing=closing, search_values=EVE),
        ]
    )
    assert await numbers(store, Wanted(keys=BOB)) == []
    assert await numbers(store, Wanted(keys=EVE, statuses=("succeed",))) == [1]


async def test_another_workspace_never_finds_a_value(store: Store) -> None:
    await fill(store)
    await store.append([submit(20, business="zoo", search_values=BOB)])
    assert 20 not in await numbers(store, Wanted(keys=BOB, business="shop"))
    found = await store.search_executions(Wanted(keys=BOB, business="zoo"), limit=10)
    assert [each.business for each in found] == ["zoo"]


async def test_a_list_has_those_with_all_values(store: Store) -> None:
    await fill(store)
    wanted = ExecutionFilter(business="shop", keys=BOTH)
    found = await store.list_executions(wanted, limit=10)
    assert [each.execution_id for each in found] == [id_of(9), id_of(5), id_of(1)]
    assert sum((await store.count_executions(wanted)).values()) == 3


async def test_a_search_by_two_values_that_many_have_looks_at_a_part_at_a_time(
    durable_url: str,
) -> None:
    store = open_store(durable_url)
    await store.open()
    both = {1, 30, 60}
    await store.append(
        [
            submit(
                number,
                search_values=(("user", "bob"), ("city", "Bonn" if number in both else "Ulm")),
            )
            for number in range(1, 61)
        ]
        + [submit(number, search_values=BOTH[1:]) for number in range(100, 200)]
    )
    wanted = Wanted(keys=BOTH)
    assert await store.window_of(wanted, most=100) is None
    assert await store.window_of(Wanted(keys=BOB), most=10) is None
    assert await store.window_of(Wanted(keys=BOTH, execution_id=id_of(1)), most=10) is None
    found: list[int] = []
    windows = 0
    before: Place | None = None
    while (since_ms := await store.window_of(wanted, before=before, most=10)) is not None:
        part = structs.replace(wanted, from_ms=since_ms)
        # The rarer value is looked at: bob has 60, and Bonn has 103.
        looked = await numbers(store, structs.replace(part, keys=BOB), before)
        assert len(looked) == 11
        found += await numbers(store, part, before)
        before = Place(since_ms, 0)
        windows += 1
    found += await numbers(store, wanted, before)
    assert (found, windows) == ([60, 30, 1], 5)
    await store.close()


async def test_removed_executions_leave_no_values(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    await store.open()
    closing = Closing(status="succeed", code=None, finished_at_ms=1_000)
    await store.append([submit(1, closing=closing, search_values=BOTH)])
    await store.purge([id_of(1)], ended_before_ms=2_000, most_records=100)
    assert await numbers(store, Wanted(keys=BOB)) == []
    await store.close()
    with closing_file(sqlite_url) as connection:
        assert connection.execute("SELECT count(*) FROM search_keys").fetchone() == (0,)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(keys=BOB),
        Wanted(keys=BOB, business="shop", feature="order"),
        Wanted(keys=BOTH, business="shop", feature="order", from_ms=1, to_ms=9),
        Wanted(keys=BOB, definition_id="0" * 32),
        Wanted(definition_id="0" * 32),
        Wanted(definition_id="0" * 32, business="shop", feature="order"),
    ],
)
async def test_a_search_reads_its_part_of_an_index_in_order(
    sqlite_url: str, wanted: Wanted
) -> None:
    store = open_store(sqlite_url)
    await store.open()
    await fill(store)
    await store.close()
    with closing_file(sqlite_url) as connection:
        for _, part in parts_of(wanted, ("RUNNING", "failed")):
            statement, values = page_statement([part], Place(5, 3), 10)
            inner = statement.partition("SELECT * FROM (")[2].partition(") AS part")[0]
            steps = connection.execute(f"EXPLAIN QUERY PLAN {inner}", values[:-1]).fetchall()
            assert not [row[3] for row in steps if "SCAN" in row[3] or "TEMP B-TREE" in row[3]]


def closing_file(url: str) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(Path(url.removeprefix("sqlite://"))))
