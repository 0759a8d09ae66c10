"""A reader may say how much it takes: what is larger is told, and is not read."""

import pytest

from rillflow.core.encoding.codec import encode_event
from rillflow.core.events import DispatchAnswered
from rillflow.errors import LargeExecutionError
from rillflow.jsontypes import encode_json
from rillflow.ports.storage.store import Store
from rillflow.stores.large_values import LARGE_VALUE_BYTES
from tests.contract.appends import follow, id_of, submit


async def test_what_is_too_large_is_not_read(store: Store) -> None:
    large, small = b"r" * 5_000, b"s" * 500
    await store.append([submit(1, small, small)])
    assert await store.load(id_of(1), 1_000) == await store.load(id_of(1))
    with pytest.raises(LargeExecutionError):
        await store.load(id_of(1), 999)
    await store.append([submit(2, large)])
    with pytest.raises(LargeExecutionError):
        await store.load(id_of(2), 4_000)
    await store.append([follow(2, 2, small, snapshot=large, snapshot_seq=2)])
    with pytest.raises(LargeExecutionError):
        await store.load(id_of(2), 4_000)
    loaded = await store.load(id_of(2), 5_000)
    assert loaded is not None
    assert (loaded.snapshot, loaded.records) == (large, ())
    assert await store.load(id_of(3), 0) is None


async def test_a_value_counts_as_often_as_it_is_put_back(store: Store) -> None:
    body = encode_json({"value": "v" * (2 * LARGE_VALUE_BYTES)})
    record = encode_event(DispatchAnswered(at_ms=1, task="t", attempt=1, body=body))
    await store.append([submit(1, record, record, record)])
    loaded = await store.load(id_of(1), 8 * LARGE_VALUE_BYTES)
    assert loaded is not None
    assert loaded.records == (record,) * 3
    with pytest.raises(LargeExecutionError):
        await store.load(id_of(1), 5 * LARGE_VALUE_BYTES)


@pytest.mark.parametrize("large", [b"r" * 5_000, b"v" * (2 * LARGE_VALUE_BYTES)])
async def test_what_is_read_after_a_refused_read_is_what_is_stored_then(
    store: Store, large: bytes
) -> None:
    """SQLite shows a connection the state of before while a statement of the refused read lasts."""
    record = encode_event(
        DispatchAnswered(at_ms=1, task="t", attempt=1, body=encode_json(large.decode()))
    )
    await store.append([submit(1, *[record] * 9)])
    with pytest.raises(LargeExecutionError) as refused:
        await store.load(id_of(1), 2 * len(record))
    await store.append([follow(1, 10, b"later")])
    loaded = await store.load(id_of(1))
    assert loaded is not None
    assert loaded.records[-1] == b"later"
    assert refused.value.__traceback__ is not None
