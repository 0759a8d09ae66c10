"""Executions that ended lately are listed, for whoever must tell of their ends again."""

from rillflow.ports.storage.store import Store
from tests.contract.appends import close, id_of, submit


async def test_executions_that_ended_lately_are_listed_the_last_first(store: Store) -> None:
    for number, partition in enumerate((1, 2, 1, 3, 2)):
        await store.append([submit(number, partition=partition)])
    for number in (3, 0, 1, 2):
        await store.append([close(number, 2, "SUCCEED")])
    assert await store.ended_since([1, 2], since_ms=1_001, limit=9) == [
        (id_of(2), 1_002),
        (id_of(1), 1_001),
    ]
    assert await store.ended_since([1, 2], since_ms=0, limit=1) == [(id_of(2), 1_002)]
    assert await store.ended_since([], since_ms=0, limit=9) == []
