"""Every store keeps the journal's promises, whatever it is made of."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable

import pytest

from rillflow.errors import ConflictError, FencedError, StoreError
from rillflow.ports.storage.store import ExecutionFilter, Store, StoredExecution
from tests.contract.appends import PARTITION, close, follow, id_of, submit

ANY = ExecutionFilter()


async def test_an_execution_is_loaded_as_it_was_appended(store: Store) -> None:
    await store.append(
        [
            submit(
                1,
                b"submitted",
                b"dispatched",
                definition_id="f" * 32,
                dedicated=True,
                parent_id=id_of(9),
                submitted_at_ms=1_700_000_000_000,
            )
        ]
    )
    assert await store.load(id_of(1)) == StoredExecution(
        execution_id=id_of(1),
        business="shop",
        feature="order",
        listing_partition=PARTITION,
        definition_id="f" * 32,
        submitted_at_ms=1_700_000_000_000,
        dedicated=True,
        parent_id=id_of(9),
        status="RUNNING",
        snapshot=None,
        snapshot_seq=0,
        records=(b"submitted", b"dispatched"),
    )


async def test_a_probe_writes_and_leaves_everything_as_it_was(store: Store) -> None:
    await store.append([submit(1, b"first")])
    before = await store.load(id_of(1))
    for _ in range(2):
        await store.probe()
    assert await store.load(id_of(1)) == before
    await store.append([follow(1, 2, b"second")])
    await store.close()
    with pytest.raises(StoreError):
        await store.probe()


async def test_a_durable_store_tells_how_much_it_takes_on_disk(store: Store) -> None:
    before = await store.size_bytes()
    await store.append([submit(1, b"x" * 3_000_000)])
    after = await store.size_bytes()
    if type(store).__name__ == "MemoryStore":
        assert (before, after) == (0, 0)
    else:
        assert 0 < before < after < before + 100_000_000


async def test_an_unknown_execution_is_none(store: Store) -> None:
    assert await store.load(id_of(1)) is None


async def test_records_come_back_in_the_order_of_their_numbers(store: Store) -> None:
    records = tuple(bytes([number]) * number for number in range(1, 200))
    await store.append([submit(1, b"first")])
    for seq, record in enumerate(records, start=2):
        await store.append([follow(1, seq, record)])
    assert await _records(store, 1) == (b"first", *records)


async def test_a_record_may_hold_any_bytes_of_any_length(store: Store) -> None:
    records = (b"", b"\0\xff", bytes(1_000_000))
    await store.append([submit(1, *records)])
    assert await _records(store, 1) == records


async def test_one_append_call_may_start_and_continue_several_executions(store: Store) -> None:
    await store.append([submit(1), follow(1, 2, b"second"), submit(2), close(2, 2, "SUCCEED")])
    assert await _records(store, 1) == (b"submitted", b"second")
    assert await _records(store, 2) == (b"submitted", b"ended")


@pytest.mark.parametrize("first_seq", [0, 1, 2, 4, 9])
async def test_a_gap_or_a_repetition_is_refused_and_nothing_is_written(
    store: Store, first_seq: int
) -> None:
    await store.append([submit(1, b"one", b"two")])
    with pytest.raises(StoreError):
        await store.append([submit(2), follow(1, first_seq, b"wrong", status="LOST")])
    assert await _records(store, 1) == (b"one", b"two")
    assert await store.count_executions(ANY) == {"RUNNING": 1}


async def test_an_execution_is_made_once(store: Store) -> None:
    await store.append([submit(1, b"first")])
    with pytest.raises(StoreError):
        await store.append([submit(2), submit(1, b"second")])
    assert await _records(store, 1) == (b"first",)
    assert await store.load(id_of(2)) is None


async def test_records_of_an_execution_that_was_not_made_are_refused(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.append([submit(2), follow(1, 1, b"orphan")])
    assert await store.load(id_of(1)) is None
    assert await store.load(id_of(2)) is None


async def test_a_snapshot_replaces_the_records_it_contains(store: Store) -> None:
    await store.append([submit(1, b"one", b"two", b"three")])
    await store.append([follow(1, 4, b"four", snapshot=b"1+2", snapshot_seq=2)])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert (loaded.snapshot, loaded.snapshot_seq) == (b"1+2", 2)
    assert loaded.records == (b"three", b"four")


async def test_the_last_snapshot_counts_and_may_come_without_records(store: Store) -> None:
    await store.append([submit(1, b"one", b"two", snapshot=b"1", snapshot_seq=1)])
    await store.append([follow(1, 3, snapshot=b"1+2", snapshot_seq=2)])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert (loaded.snapshot, loaded.snapshot_seq, loaded.records) == (b"1+2", 2, ())
    await store.append([follow(1, 3, b"three")])
    assert await _records(store, 1) == (b"three",)


async def test_a_snapshot_alone_may_come_after_later_records(store: Store) -> None:
    """While events came one after the other, none was ever written."""
    await store.append([submit(1, b"one", b"two", b"three")])
    await store.append([follow(1, 3, snapshot=b"1+2", snapshot_seq=2)])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert (loaded.snapshot, loaded.snapshot_seq, loaded.records) == (b"1+2", 2, (b"three",))


@pytest.mark.parametrize("seq", [1, 2])
async def test_a_snapshot_alone_replaces_no_newer_one(store: Store, seq: int) -> None:
    await store.append([submit(1, b"one", b"two", b"three", snapshot=b"1+2", snapshot_seq=2)])
    with pytest.raises(ConflictError, match="no newer"):
        await store.append([follow(1, seq + 1, snapshot=b"older", snapshot_seq=seq)])
    with pytest.raises(ConflictError):
        await store.append([follow(1, 5, snapshot=b"ahead", snapshot_seq=3)])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert (loaded.snapshot, loaded.records) == (b"1+2", (b"three",))


async def test_with_a_snapshot_alone_nothing_else_comes_late(store: Store) -> None:
    await store.append([submit(1, b"one", b"two", b"three")])
    with pytest.raises(ConflictError):
        await store.append([follow(1, 3, snapshot=b"1+2", snapshot_seq=2, rests=True)])
    assert await _records(store, 1) == (b"one", b"two", b"three")


async def test_what_is_refused_is_not_kept_in_memory(store: Store) -> None:
    """Its error held it in a cycle, which was collected after hours."""
    await store.append([submit(1, b"one")])
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for number in range(20):
            snapshot = b"%d" % number * 1_000_000
            with pytest.raises(ConflictError):
                await store.append([follow(1, 3, snapshot=snapshot, snapshot_seq=2)])
        del snapshot
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept_bytes < 5_000_000


async def test_a_snapshot_ahead_of_the_records_is_refused(store: Store) -> None:
    await store.append([submit(1, b"one")])
    with pytest.raises(StoreError):
        await store.append([follow(1, 2, b"two", snapshot=b"1+2+3", snapshot_seq=3)])
    assert await _records(store, 1) == (b"one",)


async def test_each_take_has_a_greater_epoch_than_any_before(store: Store) -> None:
    epochs = [await store.take_scopes(each) for each in ([1, 2], [3], [], [2, 2], [1])]
    assert epochs == sorted(set(epochs))
    assert epochs[0] > 0


async def test_the_old_owner_is_fenced_and_writes_nothing(store: Store) -> None:
    old = await store.take_scopes([PARTITION, 8])
    await store.append([submit(1, epoch=old)])
    new = await store.take_scopes([PARTITION])
    with pytest.raises(FencedError):
        await store.append(
            [submit(2, epoch=old, partition=8), follow(1, 2, b"late", epoch=old, status="LOST")]
        )
    assert await store.load(id_of(2)) is None
    await store.append([follow(1, 2, b"by the new owner", epoch=new)])
    assert await _records(store, 1) == (b"submitted", b"by the new owner")


async def test_a_partition_that_was_not_taken_keeps_its_owner(store: Store) -> None:
    epoch = await store.take_scopes([7, 8])
    await store.take_scopes([8])
    await store.append([submit(1, epoch=epoch, partition=7)])
    with pytest.raises(FencedError):
        await store.append([submit(2, epoch=epoch, partition=8)])


async def test_a_dedicated_execution_is_a_fencing_scope_of_its_own(store: Store) -> None:
    scope = 256 + 0xFFFF_FFFF
    old = await store.take_scopes([scope])
    await store.append([submit(1, epoch=old, partition=scope, dedicated=True)])
    await store.take_scopes([scope])
    with pytest.raises(FencedError):
        await store.append([follow(1, 2, b"late", epoch=old, partition=scope)])
    assert await store.unfinished([scope]) == [id_of(1)]


async def test_a_refused_caller_does_not_harm_those_committed_with_it(store: Store) -> None:
    old = await store.take_scopes([1])
    await store.take_scopes([1])
    await store.append([submit(0, idempotency_key="taken")])
    outcomes = await asyncio.gather(
        store.append([submit(1)]),
        store.append([submit(2, epoch=old, partition=1)]),
        store.append([submit(3)]),
        store.append([follow(9, 5, b"gap")]),
        store.append([submit(4), follow(4, 3, b"gap")]),
        store.append([submit(5, idempotency_key="taken")]),
        store.append([submit(6)]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        FencedError,
        type(None),
        ConflictError,
        ConflictError,
        ConflictError,
        type(None),
    ]
    assert await store.unfinished([1, PARTITION]) == [id_of(0), id_of(1), id_of(3), id_of(6)]


async def test_the_newest_epoch_of_partitions_tells_an_owner_of_its_successor(
    store: Store,
) -> None:
    assert await store.newest_epoch([1, 2]) == 0
    old = await store.take_scopes([1, 2, 3])
    assert await store.newest_epoch([1, 2]) == old
    new = await store.take_scopes([2])
    assert await store.newest_epoch([1, 3]) == old
    assert await store.newest_epoch([3, 2, 1]) == new
    assert await store.newest_epoch([]) == 0


async def test_an_append_without_records_confirms_owner_and_place_and_writes_nothing(
    store: Store,
) -> None:
    epoch = await store.take_scopes([PARTITION])
    await store.append([submit(1, b"one", b"two", epoch=epoch)])
    await store.append([follow(1, 3, epoch=epoch)])
    for wrong in (follow(1, 2, epoch=epoch), follow(1, 4, epoch=epoch), follow(2, 1, epoch=epoch)):
        with pytest.raises(ConflictError):
            await store.append([wrong])
    await store.take_scopes([PARTITION])
    with pytest.raises(FencedError):
        await store.append([follow(1, 3, epoch=epoch)])
    stored = await store.load(id_of(1))
    assert stored is not None
    assert stored.records == (b"one", b"two")


async def test_64_callers_append_at_once_and_each_record_is_there(store: Store) -> None:
    async def caller(number: int) -> None:
        await store.append([submit(number)])
        for seq in range(2, 12):
            await store.append([follow(number, seq, b"%d-%d" % (number, seq))])

    await asyncio.gather(*(caller(number) for number in range(64)))
    for number in range(64):
        expected = (b"submitted", *(b"%d-%d" % (number, seq) for seq in range(2, 12)))
        assert await _records(store, number) == expected


async def test_a_cancelled_caller_leaves_its_record_whole_or_not_at_all(store: Store) -> None:
    waiting = [
        asyncio.create_task(store.append([submit(number), follow(number, 2, b"second")]))
        for number in range(40)
    ]
    await asyncio.wait(waiting[:1], return_when=asyncio.FIRST_COMPLETED)
    for task in waiting[1::2]:
        task.cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await store.append([submit(99)])
    for number, outcome in enumerate(outcomes):
        loaded = await store.load(id_of(number))
        if outcome is None:
            assert loaded is not None
        assert loaded is None or loaded.records == (b"submitted", b"second")


async def test_unfinished_executions_are_listed_oldest_first(store: Store) -> None:
    await store.append(
        [
            submit(1, submitted_at_ms=30, partition=1),
            submit(2, submitted_at_ms=10, partition=2),
            submit(3, submitted_at_ms=20, partition=1),
            submit(4, submitted_at_ms=5, partition=3),
        ]
    )
    assert await store.unfinished([1, 2]) == [id_of(2), id_of(3), id_of(1)]
    assert await store.unfinished([]) == []


async def test_a_closed_execution_is_finished_until_it_goes_on(store: Store) -> None:
    await store.append([submit(1), close(1, 2, "FAILED", "TIMEOUT")])
    assert await store.unfinished([PARTITION]) == []
    await store.append([follow(1, 3, b"notice answered")])
    assert await store.unfinished([PARTITION]) == []
    await store.append([follow(1, 4, b"redo", status="RUNNING")])
    assert await store.unfinished([PARTITION]) == [id_of(1)]
    (listed,) = await store.list_executions(ANY, limit=1)
    assert (listed.status, listed.code, listed.finished_at_ms) == ("RUNNING", None, None)


async def test_a_status_without_closing_shows_in_listings_only(store: Store) -> None:
    await store.append([submit(1, status="NOT_STARTED")])
    await store.append([follow(1, 2, b"on", status="KEY_SUCCEED")])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert loaded.status == "KEY_SUCCEED"
    assert await store.unfinished([PARTITION]) == [id_of(1)]


async def test_an_idempotency_key_finds_its_execution_and_digest(store: Store) -> None:
    await store.append(
        [
            submit(1, idempotency_key="k", request_digest="d1"),
            submit(2, idempotency_key="k", request_digest="d2", feature="refund"),
            submit(3),
        ]
    )
    assert await store.find_by_idempotency_key("shop", "order", "k") == (id_of(1), "d1")
    found = await store.find_by_idempotency_key("shop", "refund", "k")
    assert found == (id_of(2, feature="refund"), "d2")
    assert await store.find_by_idempotency_key("shop", "order", "other") is None


async def test_an_idempotency_key_is_used_once_in_a_feature(store: Store) -> None:
    await store.append([submit(1, idempotency_key="k")])
    with pytest.raises(StoreError):
        await store.append([submit(2), submit(3, idempotency_key="k")])
    with pytest.raises(StoreError):
        await store.append([submit(4, idempotency_key="l"), submit(5, idempotency_key="l")])
    assert await store.unfinished([PARTITION]) == [id_of(1)]


async def test_children_are_listed_oldest_first(store: Store) -> None:
    parent = id_of(1)
    await store.append([submit(1), submit(2, submitted_at_ms=9, parent_id=parent)])
    await store.append([submit(3, submitted_at_ms=4, parent_id=parent), submit(4)])
    assert await store.children(parent) == [id_of(3), id_of(2)]
    assert await store.children(id_of(4)) == []


async def test_listings_show_the_newest_first_in_pages(store: Store) -> None:
    await store.append([submit(number) for number in (3, 1, 2)])
    await store.append([close(2, 2, "FAILED", "E1")])
    listed = await store.list_executions(ANY, limit=2)
    assert [each.execution_id for each in listed] == [id_of(3), id_of(2)]
    assert (listed[1].status, listed[1].code, listed[1].finished_at_ms) == ("FAILED", "E1", 1_002)
    assert (listed[1].business, listed[1].feature, listed[1].submitted_at_ms) == (
        "shop",
        "order",
        2,
    )
    rest = await store.list_executions(ANY, limit=2, offset=2)
    assert [each.execution_id for each in rest] == [id_of(1)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ExecutionFilter(), [1, 2, 3, 4, 5]),
        (ExecutionFilter(business="bank"), [5]),
        (ExecutionFilter(business="shop", feature="order"), [1, 2, 3]),
        (ExecutionFilter(statuses=("FAILED", "RUNNING")), [2, 3, 4, 5]),
        (ExecutionFilter(statuses=()), []),
        (ExecutionFilter(code="E1"), [2]),
        (ExecutionFilter(from_ms=2, to_ms=4), [2, 3, 4]),
        (ExecutionFilter(business="shop", statuses=("RUNNING",), from_ms=4), [4]),
    ],
)
async def test_listings_and_counts_take_the_same_filter(
    store: Store, wanted: ExecutionFilter, expected: list[int]
) -> None:
    await store.append([submit(1), submit(2), submit(3)])
    await store.append([submit(4, feature="refund"), submit(5, business="bank")])
    await store.append([close(1, 2, "SUCCEED"), close(2, 2, "FAILED", "E1")])
    await store.append([close(3, 2, "FAILED", "E2")])
    listed = await store.list_executions(wanted, limit=100)
    assert sorted(each.submitted_at_ms for each in listed) == expected
    counted = await store.count_executions(wanted)
    assert sum(counted.values()) == len(expected)
    assert counted.get("FAILED", 0) == len({2, 3} & set(expected))
    codes = await store.count_codes(wanted)
    assert codes == {f"E{number - 1}": 1 for number in (2, 3) if number in expected}


async def test_what_was_acknowledged_is_there_after_reopening(
    new_store: Callable[[], Store],
) -> None:
    first = new_store()
    await first.open()
    epoch = await first.take_scopes([PARTITION])
    await first.append([submit(1, b"one", b"two", epoch=epoch, snapshot=b"1", snapshot_seq=1)])
    await first.add_version("shop", "order", "release", "a" * 32, "text", at_ms=5)
    await first.set_rule("gray", ("shop", "order"), "beta", "uid > 1")
    await first.close()

    second = new_store()
    await second.open()
    loaded = await second.load(id_of(1))
    assert loaded is not None
    assert (loaded.snapshot, loaded.records) == (b"1", (b"two",))
    assert await second.newest_version("shop", "order", "release") == "a" * 32
    assert await second.definition_text("a" * 32) == "text"
    assert await second.rules("gray", ("shop", "order")) == {"beta": "uid > 1"}
    newer = await second.take_scopes([PARTITION])
    assert newer > epoch
    with pytest.raises(FencedError):
        await second.append([follow(1, 3, b"three", epoch=epoch)])
    await second.close()


async def test_closing_finishes_the_writes_under_way(new_store: Callable[[], Store]) -> None:
    first = new_store()
    await first.open()
    waiting = [asyncio.create_task(first.append([submit(number)])) for number in range(20)]
    await asyncio.wait(waiting, timeout=0)
    await first.close()
    await asyncio.gather(*waiting)
    second = new_store()
    await second.open()
    assert len(await second.unfinished([PARTITION])) == 20
    await second.close()


async def test_a_store_that_is_not_open_refuses_every_call(new_store: Callable[[], Store]) -> None:
    closed = new_store()
    for _ in range(2):
        with pytest.raises(StoreError, match="closed"):
            await closed.append([submit(1)])
        with pytest.raises(StoreError, match="closed"):
            await closed.load(id_of(1))
        with pytest.raises(StoreError, match="closed"):
            await closed.register("shop")
        await closed.open()
        await closed.close()
        await closed.close()


async def _records(store: Store, number: int) -> tuple[bytes, ...]:
    loaded = await store.load(id_of(number))
    assert loaded is not None
    return loaded.records


async def test_what_rests_is_not_listed_as_unfinished_until_something_happens(
    store: Store,
) -> None:
    await store.append([submit(1), submit(2), submit(3, rests=True)])
    await store.append([follow(1, 2, rests=True)])
    assert await store.unfinished([PARTITION]) == [id_of(2)]
    loaded = [await store.load(id_of(number)) for number in (1, 2, 3)]
    assert [each.rests for each in loaded if each] == [True, False, True]
    await store.append([follow(1, 2, b"event")])
    assert await store.unfinished([PARTITION]) == [id_of(2)], "nothing was said of it"
    await store.append([follow(1, 3, b"event", rests=False)])
    assert await store.unfinished([PARTITION]) == [id_of(1), id_of(2)]
    assert await store.count_executions(ANY) == {"RUNNING": 3}


async def test_a_note_of_rest_that_an_event_has_overtaken_is_refused(store: Store) -> None:
    await store.append([submit(1)])
    await store.append([follow(1, 2, b"event")])
    with pytest.raises(ConflictError):
        await store.append([follow(1, 2, rests=True)])
    assert await store.unfinished([PARTITION]) == [id_of(1)]
