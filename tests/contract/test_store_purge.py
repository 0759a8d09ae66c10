"""Ended executions that nothing needs can be removed, with all that is stored of them."""

import asyncio
from collections.abc import Sequence

import pytest

from rillflow.errors import ConflictError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Closing, ExecutionFilter, Store
from tests.contract.appends import close, follow, id_of, submit

ANY = ExecutionFilter()
LATER_MS = 10_000


async def _purgeable(
    store: Store, *, ended_before_ms: int = LATER_MS, keep: int = 0, limit: int = 100
) -> list[ExecutionId]:
    found = await store.purgeable(ended_before_ms=ended_before_ms, keep=keep, limit=limit)
    return [each.execution_id for each in found]


async def _purge(store: Store, *numbers: int, most_records: int = 1_000) -> None:
    """Purge to the end, which is near."""
    left: Sequence[ExecutionId] = [id_of(number) for number in numbers]
    async with asyncio.timeout(60):
        while left:
            left = await store.purge(left, ended_before_ms=LATER_MS, most_records=most_records)


async def test_those_that_ended_first_are_purgeable_first(store: Store) -> None:
    for number in (3, 1, 2):
        await store.append([submit(number), close(number, 2, "SUCCEED")])
    await store.append([submit(4)])
    assert await _purgeable(store) == [id_of(1), id_of(2), id_of(3)]
    assert await _purgeable(store, limit=2) == [id_of(1), id_of(2)]
    assert await _purgeable(store, ended_before_ms=1_002) == [id_of(1)]
    assert await _purgeable(store, keep=1) == [id_of(1), id_of(2)]
    assert await _purgeable(store, keep=1, ended_before_ms=1_002) == [id_of(1)]
    assert await _purgeable(store, keep=9) == []
    [first] = await store.purgeable(ended_before_ms=LATER_MS, keep=2, limit=9)
    assert (first.status, first.submitted_at_ms, first.finished_at_ms) == ("SUCCEED", 1, 1_001)


async def test_nothing_is_left_of_what_was_purged(store: Store) -> None:
    await store.append(
        [
            submit(1, idempotency_key="k", parent_id=id_of(9)),
            follow(1, 2, b"ended", closing=_closing(), snapshot=b"1", snapshot_seq=2),
            submit(2),
        ]
    )
    await _purge(store, 1)
    assert await store.load(id_of(1)) is None
    assert await store.children(id_of(9)) == []
    assert await store.find_by_idempotency_key("shop", "order", "k") is None
    assert await store.count_executions(ANY) == {"RUNNING": 1}
    with pytest.raises(ConflictError):
        await store.append([follow(1, 3, b"late")])
    await store.append([submit(1, b"anew", idempotency_key="k")])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert (loaded.snapshot, loaded.records) == (None, (b"anew",))


async def test_an_unfinished_execution_is_never_purged(store: Store) -> None:
    await store.append([submit(1), submit(2), close(2, 2, "FAILED")])
    await store.append([follow(2, 3, b"redo", status="RUNNING")])
    assert await _purgeable(store) == []
    await _purge(store, 1, 2)
    assert await store.count_executions(ANY) == {"RUNNING": 2}


async def test_one_that_has_ended_anew_meanwhile_is_not_purged(store: Store) -> None:
    await store.append([submit(1), close(1, 2, "FAILED"), submit(2), close(2, 2, "FAILED")])
    await store.append([follow(1, 3, b"redo", status="RUNNING")])
    again = Closing(status="SUCCEED", code=None, finished_at_ms=LATER_MS)
    await store.append([follow(1, 4, b"ended", closing=again)])
    await _purge(store, 1, 2)
    assert await store.count_executions(ANY) == {"SUCCEED": 1}


async def test_children_of_unfinished_parents_stay_and_so_do_parents_of_unfinished_children(
    store: Store,
) -> None:
    await store.append([submit(1), submit(2, parent_id=id_of(1)), close(2, 2, "SUCCEED")])
    await store.append([submit(3), submit(4, parent_id=id_of(3)), close(3, 2, "SUCCEED")])
    assert await _purgeable(store) == []
    await _purge(store, 2, 3)
    assert await store.load(id_of(2)) is not None
    assert await store.load(id_of(3)) is not None
    await store.append([close(1, 2, "SUCCEED"), close(4, 2, "SUCCEED")])
    assert await _purgeable(store) == [id_of(1), id_of(2), id_of(3), id_of(4)]
    await _purge(store, 1, 2, 3, 4)
    assert await store.count_executions(ANY) == {}


async def test_a_child_whose_parent_was_purged_goes_as_well(store: Store) -> None:
    await store.append([submit(1), submit(2, parent_id=id_of(1))])
    await store.append([close(1, 2, "SUCCEED"), close(2, 2, "SUCCEED")])
    await _purge(store, 1)
    assert await _purgeable(store) == [id_of(2)]
    await _purge(store, 2)
    assert await store.load(id_of(2)) is None


async def test_parents_that_are_stored_are_told_whatever_there_is_of_them(store: Store) -> None:
    await store.append([submit(1), submit(2, parent_id=id_of(1)), submit(3, parent_id=id_of(9))])
    wanted = [id_of(number) for number in range(1, 5)]
    assert await store.stored_parents(wanted) == {id_of(2): id_of(1)}
    assert await store.stored_parents([]) == {}


async def test_unknown_executions_are_as_good_as_purged(store: Store) -> None:
    assert await store.purge([id_of(1)], ended_before_ms=LATER_MS, most_records=10) == []
    assert await store.purge([], ended_before_ms=LATER_MS, most_records=10) == []


async def test_a_journal_without_a_snapshot_goes_as_a_whole(store: Store) -> None:
    await store.append([submit(1, *[b"x"] * 50), follow(1, 51, b"y", closing=_closing())])
    assert await store.purge([id_of(1)], ended_before_ms=LATER_MS, most_records=20) == []
    assert await store.load(id_of(1)) is None


async def test_appends_and_purges_at_once_leave_an_execution_whole_or_not_at_all(
    store: Store,
) -> None:
    numbers = range(40)
    for number in numbers:
        await store.append([submit(number), close(number, 2, "FAILED")])
    redone = (store.append([follow(n, 3, b"redo", status="RUNNING")]) for n in numbers)
    purged = (store.purge([id_of(n)], ended_before_ms=LATER_MS, most_records=100) for n in numbers)
    mixed = [each for pair in zip(redone, purged, strict=True) for each in pair]
    outcomes = await asyncio.gather(*mixed, return_exceptions=True)
    for number, redo in zip(numbers, outcomes[::2], strict=True):
        loaded = await store.load(id_of(number))
        if redo is None:
            assert loaded is not None
            assert loaded.records == (b"submitted", b"ended", b"redo")
        else:
            assert isinstance(redo, ConflictError)
            assert loaded is None
    assert [each for each in outcomes[1::2] if each != []] == []


def _closing() -> Closing:
    return Closing(status="SUCCEED", code=None, finished_at_ms=500)
