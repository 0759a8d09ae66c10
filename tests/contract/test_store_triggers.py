"""A store keeps triggers with their contexts, tells owners what changed, and never goes back."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from rillflow.ports.storage.store import Store
from rillflow.ports.triggers import KEPT_REMOVED_MS, TriggerProgress, TriggerRow

CONTEXT = '{"a":1}'


def row(trigger_id: str = "", **fields: Any) -> TriggerRow:
    given: dict[str, Any] = {"type": "cron", "descriptor_id": "shop:order", "created_at_ms": 1_000}
    given |= fields
    return TriggerRow(id=trigger_id, **given)


async def put(store: Store, trigger_id: str = "", **fields: Any) -> TriggerRow:
    stored = await store.put_trigger(row(trigger_id, **fields), CONTEXT, replace=True)
    assert stored is not None
    return stored


async def test_a_trigger_is_read_as_it_was_added(store: Store) -> None:
    given = row("n", spec='{"cron":"x"}', is_paused=True, position_ms=7, progress='{"fired":2}')
    stored = await store.put_trigger(given, CONTEXT, replace=False)
    assert stored == replace(given, revision=1)
    assert await store.trigger("n") == (stored, CONTEXT)
    assert await store.triggers_now(["n", "m"]) == {"n": (stored, CONTEXT)}
    assert await store.trigger("m") is None
    assert await store.put_trigger(given, "{}", replace=False) is None
    assert await store.trigger("n") == (stored, CONTEXT)
    again = await store.put_trigger(row("n"), "{}", replace=True)
    assert again is not None
    assert await store.trigger("n") == (again, "{}")


async def test_a_trigger_without_an_id_gets_the_next_number(store: Store) -> None:
    added = await asyncio.gather(*(put(store) for _ in range(5)))
    assert sorted(each.id for each in added) == ["1", "2", "3", "4", "5"]
    await store.remove_trigger("5", at_ms=2)
    assert (await put(store)).id == "6"
    assert (await put(store, "named")).id == "named"
    assert (await put(store)).id == "7"


async def test_a_number_that_is_taken_is_left_out(store: Store) -> None:
    for number in ("1", "2", "4"):
        await put(store, number)
    assert [(await put(store)).id for _ in range(2)] == ["3", "5"]
    assert [each.id for each in await store.list_triggers(limit=9)] == ["1", "2", "3", "4", "5"]


async def test_of_several_with_one_id_one_is_added(store: Store) -> None:
    added = await asyncio.gather(
        *(store.put_trigger(row("one"), CONTEXT, replace=False) for _ in range(5))
    )
    assert sum(each is not None for each in added) == 1


async def test_a_trigger_replaces_none_of_another_workspace(store: Store) -> None:
    theirs = await put(store, "one", descriptor_id="shop:order")
    evil = row("one", descriptor_id="evil:order")
    assert await store.put_trigger(evil, "{}", replace=True) is None
    assert await store.trigger("one") == (theirs, CONTEXT)
    assert (await put(store, "one", descriptor_id="shop:other")).descriptor_id == "shop:other"
    await store.remove_trigger("one", at_ms=2)
    assert (await put(store, "one", descriptor_id="evil:order")).descriptor_id == "evil:order"


async def test_what_changed_is_told_in_order(store: Store) -> None:
    assert await store.newest_trigger_revision() == 0
    await put(store, "a")
    await put(store, "b")
    await put(store, "c")
    assert await store.pause_trigger("a", is_paused=True, at_ms=5)
    assert await store.remove_trigger("b", at_ms=6)
    changed = await store.changed_triggers(0, limit=10)
    assert [each.id for each in changed] == ["c", "a", "b"]
    assert [each.revision for each in changed] == sorted({each.revision for each in changed})
    assert [each.is_removed for each in changed] == [False, False, True]
    assert changed[-1].revision == await store.newest_trigger_revision()
    assert await store.changed_triggers(changed[0].revision, limit=1) == [changed[1]]
    assert await store.changed_triggers(changed[-1].revision, limit=9) == []


async def test_a_removed_trigger_is_found_no_more_and_forgotten_after_a_day(store: Store) -> None:
    await put(store, "a")
    assert await store.remove_trigger("a", at_ms=2_000)
    assert not await store.remove_trigger("a", at_ms=2_000)
    assert not await store.pause_trigger("a", is_paused=False, at_ms=2_000)
    assert await store.trigger("a") is None
    assert await store.list_triggers(limit=9) == []
    await put(store, "b", created_at_ms=2_000 + KEPT_REMOVED_MS)
    assert [each.id for each in await store.changed_triggers(0, limit=9)] == ["a", "b"]
    await put(store, "c", created_at_ms=2_001 + KEPT_REMOVED_MS)
    assert [each.id for each in await store.changed_triggers(0, limit=9)] == ["b", "c"]
    await put(store, "a")
    assert await store.trigger("a") is not None


async def test_a_resumed_trigger_has_dealt_with_the_times_of_its_pause(store: Store) -> None:
    await put(store, "a", position_ms=50)
    assert await store.pause_trigger("a", is_paused=True, at_ms=60)
    assert await store.pause_trigger("a", is_paused=False, at_ms=90)
    [found] = await store.list_triggers(limit=9)
    assert (found.is_paused, found.position_ms) == (False, 90)
    assert await store.pause_trigger("a", is_paused=False, at_ms=10)
    [found] = await store.list_triggers(limit=9)
    assert found.position_ms == 90
    assert not await store.pause_trigger("b", is_paused=True, at_ms=1)


async def test_what_was_fired_before_a_pause_is_noted_after_it(store: Store) -> None:
    await put(store, "a", position_ms=50)
    assert await store.pause_trigger("a", is_paused=True, at_ms=70)
    await store.note_trigger_progress([TriggerProgress(id="a", position_ms=60, progress="{}")])
    [found] = await store.list_triggers(limit=9)
    assert (found.position_ms, found.progress) == (60, "{}")


async def test_progress_never_goes_back(store: Store) -> None:
    await put(store, "a")
    await put(store, "b")
    before = await store.newest_trigger_revision()
    await store.note_trigger_progress(
        [
            TriggerProgress(id="b", position_ms=9, progress="later"),
            TriggerProgress(id="a", position_ms=5, progress="first"),
            TriggerProgress(id="a", position_ms=4, progress="earlier"),
            TriggerProgress(id="unknown", position_ms=4, progress="none"),
        ]
    )
    found = {each.id: (each.position_ms, each.progress) for each in await _all(store)}
    assert found == {"a": (5, "first"), "b": (9, "later")}
    assert await store.newest_trigger_revision() == before, "an owner learns nothing from it"


async def test_a_list_comes_in_pages_by_id(store: Store) -> None:
    for name in ("b", "a", "d", "c"):
        await put(store, name, type="webhook" if name == "c" else "cron", owner=f"o{name}")
    assert [each.id for each in await store.list_triggers(limit=2)] == ["a", "b"]
    assert [each.id for each in await store.list_triggers(limit=2, after="b")] == ["c", "d"]
    assert [each.id for each in await store.list_triggers(kind="webhook", limit=9)] == ["c"]
    assert [each.id for each in await store.list_triggers(owner="oa", limit=9)] == ["a"]


async def test_a_list_has_the_triggers_of_workspaces(store: Store) -> None:
    names = {"a": "shop:order", "b": "shopping:order", "c": "video:order", "d": "shop:other"}
    for name, descriptor_id in names.items():
        await put(store, name, descriptor_id=descriptor_id)
    expected = {("shop",): ["a", "d"], ("video", "shop"): ["a", "c", "d"], ("none",): []}
    for workspaces, ids in expected.items():
        found = await store.list_triggers(workspaces=workspaces, limit=9)
        assert [each.id for each in found] == ids
    [second] = await store.list_triggers(workspaces=("shop",), kind="cron", after="a", limit=1)
    assert second.id == "d"


async def test_a_definition_has_the_triggers_that_it_declares(store: Store) -> None:
    owner = "shop:order:release"

    async def sync(*declared: TriggerRow) -> list[str]:
        return await store.sync_triggers(owner, [(each, CONTEXT) for each in declared], at_ms=50)

    first, second = row("x/first", owner=owner), row("x/second", owner=owner)
    assert await sync(first, second) == []
    await store.note_trigger_progress(
        [TriggerProgress(id="x/first", position_ms=7, progress="far")]
    )
    await store.pause_trigger("x/second", is_paused=True, at_ms=8)
    changed = replace(second, spec='{"cron":"other"}')
    assert await sync(first, changed) == []
    [one, two] = await store.list_triggers(owner=owner, limit=9)
    assert (one.position_ms, one.progress) == (7, "far")
    assert (two.spec, two.is_paused) == ('{"cron":"other"}', False)
    assert await sync(first) == []
    assert [each.id for each in await store.list_triggers(limit=9)] == ["x/first"]
    assert await sync() == []
    assert await store.list_triggers(limit=9) == []


async def test_all_that_is_declared_within_a_business_or_a_feature_is_removed(
    store: Store,
) -> None:
    owners = [
        *("shop:order:release", "shop:order:beta", "shop:orders:release", "shop:refund:release"),
        *("shopping:order:release", ""),
    ]
    for number, owner in enumerate(owners):
        await put(store, f"t{number}", owner=owner)

    async def left() -> list[str]:
        return [each.id for each in await store.list_triggers(limit=9)]

    await store.remove_declared_triggers("shop", "order", at_ms=2)
    assert await left() == ["t2", "t3", "t4", "t5"]
    await store.remove_declared_triggers("shop", at_ms=3)
    assert await left() == ["t4", "t5"]
    newest = await store.newest_trigger_revision()
    await store.remove_declared_triggers("shop", at_ms=4)
    assert await store.newest_trigger_revision() == newest
    changed = await store.changed_triggers(len(owners), limit=9)
    assert [(each.id, each.is_removed, each.spec) for each in changed] == [
        (each, True, "{}") for each in ("t0", "t1", "t2", "t3")
    ]
    assert len({each.revision for each in changed}) == len(changed)
    assert changed[-1].revision == newest
    await put(store, "t0")
    assert (await store.changed_triggers(newest, limit=9))[0].id == "t0"


async def test_a_definition_takes_no_id_of_others(store: Store) -> None:
    await put(store, "taken")
    mine = [(row(name, owner="o"), CONTEXT) for name in ("free", "taken")]
    assert await store.sync_triggers("o", mine, at_ms=1) == ["taken"]
    assert [each.id for each in await store.list_triggers(limit=9)] == ["taken"]


async def test_the_use_counts_what_is_there(store: Store) -> None:
    assert (await store.trigger_use()).triggers == 0
    await put(store, "a", spec="1234")
    await put(store, "b", spec="1234")
    await store.remove_trigger("b", at_ms=1)
    use = await store.trigger_use()
    assert (use.triggers, use.bytes) == (1, len("a" + "shop:order" + "1234" + CONTEXT))


async def test_the_use_of_one_workspace_counts_bytes_and_leaves_out_an_alias(store: Store) -> None:
    await put(store, "a", spec="äö", descriptor_id="shop:order")
    await put(store, "b", spec="12", descriptor_id="shop:order:x", owner="shop:order:x")
    await put(store, "c", spec="12", descriptor_id="shopping:order")
    size = len("a" + "shop:order" + CONTEXT)
    use = await store.trigger_use("shop")
    assert (use.triggers, use.bytes) == (3, 8 + 3 * size + len(":x") + len("ping"))
    assert (use.triggers_of_one, use.bytes_of_one) == (2, 6 + 2 * size + len(":x"))
    use = await store.trigger_use("shop", besides="shop:order:x")
    assert (use.triggers, use.bytes) == (2, 6 + 2 * size + len("ping"))
    assert (use.triggers_of_one, use.bytes_of_one) == (1, 4 + size)
    assert (await store.trigger_use("sho")).triggers_of_one == 0


async def test_triggers_outlive_the_process(new_store: Callable[[], Store]) -> None:
    store = new_store()
    await store.open()
    stored = await put(store, "a")
    await store.close()
    again = new_store()
    await again.open()
    assert await again.trigger("a") == (stored, CONTEXT)
    assert await again.newest_trigger_revision() == 1
    await again.close()


async def _all(store: Store) -> list[TriggerRow]:
    return await store.list_triggers(limit=100)
