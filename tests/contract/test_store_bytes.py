"""Every store tells about how many bytes it keeps for a workspace, by what its rows have."""

from collections.abc import Callable
from typing import Any, Final

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Append, CatalogueUse, Store
from rillflow.stores.append_plan import EXECUTION_BYTES, MOST_NOTED
from tests.contract.appends import close, follow, id_of, submit

LATER_MS: Final = 10_000
LARGE: Final = b"\x01" + b'{"a":"' + b"x" * 300_000 + b'"}'
"""Larger than values that stay in their records."""


def sub_flow(number: int, above: ExecutionId, **facts: Any) -> Append:
    """Make the n-th execution a sub-flow."""
    return submit(number, ancestors=(above,), parent_id=above, max_descendants=9, **facts)


async def test_an_execution_counts_eight_kilobytes_however_small(store: Store) -> None:
    assert await store.stored_bytes("shop") == 0
    await store.append([submit(1), submit(2), submit(3, business="other")])
    await store.append([close(1, 2, "succeed")])
    assert await store.stored_bytes("shop") == 2 * EXECUTION_BYTES
    assert await store.stored_bytes("other") == EXECUTION_BYTES


async def test_many_small_records_count_as_what_they_have_together(store: Store) -> None:
    await store.append([submit(1)])
    for seq in range(2, 12):
        await store.append([follow(1, seq, b"\x01" * 5_000)])
    counted = await store.stored_bytes("shop")
    assert 50_000 <= counted <= 50_000 + 2 * EXECUTION_BYTES


async def test_a_large_value_counts_once_however_often_it_is_referred_to(store: Store) -> None:
    await store.append([submit(1, LARGE)])
    first = await store.stored_bytes("shop")
    assert 300_000 < first < 320_000
    await store.append([follow(1, 2, LARGE)])
    assert first <= await store.stored_bytes("shop") < first + 2 * EXECUTION_BYTES
    await store.append([follow(1, 3, LARGE.replace(b"x", b"y"))])
    assert await store.stored_bytes("shop") > first + 300_000


async def test_a_snapshot_takes_the_place_of_the_last_one(store: Store) -> None:
    await store.append([submit(1), submit(2)])
    for number in range(5):
        letter = b"abcde"[number : number + 1]
        many_small = b'\x01{"a":[' + b",".join([b'"' + letter * 100 + b'"'] * 400) + b"]}"
        for execution, snapshot in ((1, LARGE.replace(b"x", letter)), (2, many_small)):
            seq = 2 + number
            append = follow(execution, seq, b"more", snapshot=snapshot, snapshot_seq=seq)
            await store.append([append])
    counted = await store.stored_bytes("shop")
    assert 340_000 < counted < 340_000 + 4 * EXECUTION_BYTES


async def test_sub_flows_count_for_who_started_them(store: Store) -> None:
    await store.append([submit(1, business="evil")])
    root = id_of(1, "evil")
    await store.append([sub_flow(2, root), sub_flow(3, root, business="evil")])
    assert await store.stored_bytes("shop") == 0
    assert 0 <= await store.stored_bytes("evil") - 3 * EXECUTION_BYTES < 100
    await store.append([follow(2, 2, LARGE)])
    assert await store.stored_bytes("shop") == 0
    assert await store.stored_bytes("evil") > 3 * EXECUTION_BYTES + 300_000


async def test_what_is_removed_is_given_back(store: Store) -> None:
    await store.append([submit(1, LARGE), submit(2, b"\x01" * 40_000)])
    await store.append([close(1, 2, "succeed"), close(2, 2, "succeed")])
    assert await store.stored_bytes("shop") > 340_000
    left = [id_of(1), id_of(2)]
    while left:
        left = await store.purge(left, ended_before_ms=LATER_MS, most_records=100)
    assert await store.stored_bytes("shop") == 0


async def test_a_new_process_goes_on_counting(new_store: Callable[[], Store]) -> None:
    store = new_store()
    await store.open()
    await store.append([submit(1, LARGE), submit(2)])
    before = await store.stored_bytes("shop")
    await store.close()
    store = new_store()
    await store.open()
    assert await store.stored_bytes("shop") == before
    await store.append([follow(1, 2, LARGE.replace(b"x", b"y"))])
    assert await store.stored_bytes("shop") > before + 300_000
    await store.close()


def test_what_is_noted_in_memory_has_a_limit() -> None:
    assert MOST_NOTED * EXECUTION_BYTES < 1 << 29


async def test_versions_of_definitions_count_for_their_workspace_once(store: Store) -> None:
    assert await store.definition_bytes("shop") == 0
    for alias in ("release", "beta"):
        await store.add_version("shop", "order", alias, "0" * 32, "é" * 100, at_ms=1)
    await store.add_version("shop", "order", "release", "1" * 32, "x" * 50, at_ms=2, keep=1)
    await store.add_version("other", "order", "release", "1" * 32, "x" * 50, at_ms=2)
    assert await store.definition_bytes("shop") == 250
    assert await store.definition_bytes("other") == 50


async def test_names_and_rules_are_counted_by_workspace(store: Store) -> None:
    assert await store.catalogue_use("shop") == CatalogueUse(0, 0, 0)
    await store.register("shop", "order", "beta")
    await store.set_rule("gray", ("shop", "order"), "beta", "é == 1")
    await store.set_rule("ab", ("shop", "key"), "http://h/", "default")
    await store.set_rule("ab", ("shop", "key"), "http://h/", "short")
    await store.set_rule("ab", ("other", "key"), "http://h/", "default")
    names = len("shop") * 3 + len("order") * 2 + len("beta")
    rules = len("order" + "beta" + "é == 1") + 1 + len("key" + "http://h/" + "short")
    assert await store.catalogue_use("shop") == CatalogueUse(3, 2, names + rules)
    await store.remove_rule("ab", ("shop", "key"), "http://h/")
    await store.unregister("shop", "order", "beta")
    assert (await store.catalogue_use("shop"))[:2] == (2, 1)
