"""Every store counts executions by the partition of their owners."""

from rillflow.ports.storage.store import ExecutionFilter, Store
from tests.contract.appends import PARTITION, close, submit


async def test_executions_are_counted_by_partition(store: Store) -> None:
    assert await store.count_partitions(ExecutionFilter()) == {}
    await store.append([submit(1), submit(2), submit(3, partition=PARTITION + 1)])
    await store.append([close(2, 2, "failed")])
    assert await store.count_partitions(ExecutionFilter()) == {PARTITION: 2, PARTITION + 1: 1}
    unfinished = ExecutionFilter(statuses=("RUNNING",))
    assert await store.count_partitions(unfinished) == {PARTITION: 1, PARTITION + 1: 1}
