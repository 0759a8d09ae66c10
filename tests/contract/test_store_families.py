"""A sub-flow is stored only while its family is smaller than it may be, however it is submitted."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rillflow.errors import ConflictError, QuotaError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Append, ExecutionFilter, Store
from tests.contract.appends import close, id_of, submit

ANY = ExecutionFilter()
LATER_MS = 10_000


def sub_flow(number: int, *above: int, most: int = 3, **facts: Any) -> Append:
    """Make the n-th execution a sub-flow of others, outermost first."""
    ancestors = tuple(map(id_of, above))
    return submit(
        number, ancestors=ancestors, parent_id=ancestors[-1], max_descendants=most, **facts
    )


async def stored(store: Store) -> int:
    return sum((await store.count_executions(ANY)).values())


async def test_sub_flows_of_all_levels_count_for_the_outermost(store: Store) -> None:
    await store.append([submit(1)])
    await store.append([sub_flow(2, 1)])
    await store.append([sub_flow(3, 1, 2)])
    await store.append([sub_flow(4, 1, 2, 3)])
    for above in [(1,), (1, 2), (1, 2, 3, 4)]:
        with pytest.raises(QuotaError, match=rf"{id_of(1)} has 3 .* setting max_descendants"):
            await store.append([sub_flow(5, *above)])
    assert await store.load(id_of(5)) is None


async def test_families_are_counted_apart(store: Store) -> None:
    await store.append([submit(1), submit(2)])
    await store.append([sub_flow(3, 1, most=1), sub_flow(4, 2, most=1)])
    with pytest.raises(QuotaError):
        await store.append([sub_flow(5, 1, most=1)])
    await store.append([sub_flow(5, 1, most=2)])


async def test_what_is_repeated_counts_once(store: Store) -> None:
    await store.append([submit(1)])
    await store.append([sub_flow(2, 1, most=2)])
    for _ in "repeat":
        with pytest.raises(ConflictError):
            await store.append([sub_flow(2, 1, most=2)])
    await store.append([sub_flow(3, 1, most=2)])


async def test_a_repetition_of_the_last_that_was_taken_is_a_repetition(store: Store) -> None:
    await store.append([submit(1)])
    await store.append([sub_flow(2, 1, most=1)])
    with pytest.raises(ConflictError):
        await store.append([sub_flow(2, 1, most=1)])


async def test_what_is_refused_counts_for_nothing_and_takes_its_batch_along(store: Store) -> None:
    await store.append([submit(1)])
    with pytest.raises(QuotaError):
        await store.append([sub_flow(number, 1, most=2) for number in (2, 3, 4)])
    assert await stored(store) == 1
    await store.append([sub_flow(2, 1, most=2), sub_flow(3, 1, most=2)])


async def test_many_writers_together_store_no_more_than_one_would(
    new_store: Callable[[], Store],
) -> None:
    writers = [new_store() for _ in "two"]
    for writer in writers:
        await writer.open()
    await writers[0].append([submit(1), submit(2)])
    appends = [
        # Half of the batches count the families in another order.
        [sub_flow(10 + 2 * n + turn, 1 + (n + turn) % 2, most=7, partition=n) for turn in (0, 1)]
        for n in range(20)
    ]
    outcomes = await asyncio.gather(
        *(writers[n % len(writers)].append(each) for n, each in enumerate(appends)),
        return_exceptions=True,
    )
    refused = [each for each in outcomes if each is not None]
    assert {type(each) for each in refused} == {QuotaError}
    assert await stored(writers[0]) == 2 + 2 * 7
    for writer in writers:
        await writer.close()


async def test_the_count_outlives_the_process(new_store: Callable[[], Store]) -> None:
    store = new_store()
    await store.open()
    await store.append([submit(1)])
    await store.append([sub_flow(2, 1, most=1)])
    await store.close()
    again = new_store()
    await again.open()
    with pytest.raises(QuotaError):
        await again.append([sub_flow(3, 1, most=1)])
    await again.close()


async def test_once_the_outermost_is_removed_the_next_counts_for_the_rest(store: Store) -> None:
    await store.append([submit(1)])
    await store.append([sub_flow(2, 1, most=2)])
    await store.append([close(1, 2, "SUCCEED"), close(2, 2, "SUCCEED")])
    await store.append([sub_flow(3, 1, 2, most=2)])
    assert await _purge(store, 1) == []
    assert await store.load(id_of(1)) is None
    await store.append([sub_flow(4, 1, 2, 3, most=1)])
    with pytest.raises(QuotaError, match=f"{id_of(2)} has 1 "):
        await store.append([sub_flow(5, 1, 2, 3, most=1)])


async def _purge(store: Store, number: int) -> list[ExecutionId]:
    return await store.purge([id_of(number)], ended_before_ms=LATER_MS, most_records=100)


async def test_sub_flows_can_be_left_out(store: Store) -> None:
    await store.append([submit(1), submit(2, parent_id=id_of(1)), submit(3)])
    for wanted, number in ((ExecutionFilter(), 3), (ExecutionFilter(roots_only=True), 2)):
        assert len(await store.list_executions(wanted, limit=9)) == number
        assert sum((await store.count_executions(wanted)).values()) == number
