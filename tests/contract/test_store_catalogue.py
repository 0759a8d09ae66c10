"""Every store keeps the catalogue's promises, whatever it is made of (spec 5.4, 5.5)."""

from rillflow.ports.storage.aliases import MOST_ALIASES, AliasName, AliasRow, ListedVersion
from rillflow.ports.storage.store import Store, VersionRow
from rillflow.stores.postgres.store import PostgresStore
from rillflow.stores.sqlite.store import SqliteStore

ADDRESS = ("shop", "order", "release")


async def youngest(store: Store) -> list[AliasRow]:
    """Return all aliases, the youngest creation first, and check that by name they are the same."""
    rows, total = await store.youngest_aliases(limit=1_000)
    assert total == len(rows)
    by_name = await store.alias_rows(AliasName(), limit=1_000)
    assert by_name == sorted(rows, key=lambda row: row.name)
    return rows


async def test_a_text_is_kept_under_its_id_as_it_first_was(store: Store) -> None:
    text = "workspace: shop\n# 注文 \U0001f600\n" * 10_000
    await store.put_definition_text("a" * 32, text)
    await store.put_definition_text("a" * 32, "something else")
    assert await store.definition_text("a" * 32) == text
    assert await store.definition_text("b" * 32) is None


async def test_the_newest_version_is_the_last_one_added(store: Store) -> None:
    assert await store.newest_version(*ADDRESS) is None
    for version, at_ms in (("a", 10), ("b", 20), ("c", 5)):
        await store.add_version(*ADDRESS, version, f"text {version}", at_ms=at_ms)
    assert await store.newest_version(*ADDRESS) == "c"
    assert await store.versions(*ADDRESS) == [
        VersionRow(version="c", created_at_ms=5),
        VersionRow(version="b", created_at_ms=20),
        VersionRow(version="a", created_at_ms=10),
    ]
    assert await store.definition_text("b") == "text b"


async def test_adding_a_version_again_makes_it_the_newest(store: Store) -> None:
    for version, at_ms in (("a", 10), ("b", 20), ("a", 30)):
        await store.add_version(*ADDRESS, version, "text", at_ms=at_ms)
    assert await store.versions(*ADDRESS) == [
        VersionRow(version="a", created_at_ms=30),
        VersionRow(version="b", created_at_ms=20),
    ]


async def test_aliases_have_versions_of_their_own(store: Store) -> None:
    await store.add_version("shop", "order", "release", "a", "text", at_ms=1)
    await store.add_version("shop", "order", "beta", "b", "text", at_ms=2)
    await store.add_version("shop", "refund", "release", "c", "text", at_ms=3)
    assert await store.newest_version("shop", "order", "release") == "a"
    assert await store.newest_version("shop", "order", "beta") == "b"
    assert await store.newest_version("shop", "order", "none") is None


async def test_only_the_newest_300_versions_stay_listed(store: Store) -> None:
    for number in range(303):
        await store.add_version(*ADDRESS, f"v{number}", "text", at_ms=number)
    listed = [row.version for row in await store.versions(*ADDRESS)]
    assert listed == [f"v{number}" for number in range(302, 2, -1)]


async def test_a_version_that_is_no_longer_listed_is_still_known(store: Store) -> None:
    for number in range(4):
        await store.add_version(*ADDRESS, f"v{number}", f"text {number}", at_ms=number, keep=2)
    assert [row.version for row in await store.versions(*ADDRESS)] == ["v3", "v2"]
    assert await store.has_version("shop", "order", "v0")
    assert await store.definition_text("v0") == "text 0"
    assert not await store.has_version("shop", "refund", "v0")
    assert not await store.has_version("shop", "order", "v9")
    assert await store.has_version("shop", None, "v0")
    assert not await store.has_version("bank", None, "v0")
    assert not await store.has_version("shop", None, "v9")


async def test_listings_of_aliases_show_the_youngest_creation_first(store: Store) -> None:
    await store.add_version("shop", "order", "release", "a", "text", at_ms=10)
    await store.add_version("shop", "order", "beta", "b", "text", at_ms=20)
    await store.add_version("shop", "order", "release", "c", "text", at_ms=30)
    await store.add_version("bank", "order", "beta", "d", "text", at_ms=20)
    await store.register("shop", "order", "empty")
    assert await youngest(store) == [
        _row("bank", "beta", "d", 20, 20),
        _row("shop", "beta", "b", 20, 20),
        _row("shop", "release", "c", 10, 30),
    ]


async def test_listings_of_aliases_leave_out_what_is_off_its_listing(store: Store) -> None:
    await store.add_version("shop", "order", "release", "a", "text", at_ms=10)
    await store.add_version("shop", "order", "beta", "b", "text", at_ms=20)
    await store.add_version("bank", "order", "beta", "d", "text", at_ms=30)
    await store.unregister("shop", "order", "beta")
    await store.unregister("bank")
    assert await youngest(store) == [_row("shop", "release", "a", 10, 10)]
    await store.unregister("shop", "order")
    assert await youngest(store) == []
    await store.register("bank")
    await store.register("shop", "order", "beta")
    assert await youngest(store) == [
        _row("bank", "beta", "d", 30, 30),
        _row("shop", "beta", "b", 20, 20),
        _row("shop", "release", "a", 10, 10),
    ]


async def test_aliases_come_in_pages_by_name(store: Store) -> None:
    names = [("bank", "a", "x"), ("bank", "b", "w"), ("shop", "a", "v"), ("shop", "a", "w")]
    for name in reversed(names):
        await store.add_version(*name, "a", "text", at_ms=1)
    read, first = [], AliasName()
    for _ in names:
        [row, *more] = await store.alias_rows(first, limit=2)
        read.append(tuple(row.name))
        first = more[0].name if more else AliasName("zoo")
    assert read == names
    assert await store.alias_rows(first, limit=2) == []


async def test_youngest_aliases_come_in_pages_of_a_selection_with_their_number(
    store: Store,
) -> None:
    for number in range(5):
        await store.add_version("shop", "order", f"a{number}", "a", "text", at_ms=number)
    await store.add_version("shop", "refund", "a", "a", "text", at_ms=9)
    await store.add_version("bank", "order", "a", "a", "text", at_ms=9)
    rows, total = await store.youngest_aliases("shop", "order", limit=2, offset=1)
    assert ([row.alias for row in rows], total) == (["a3", "a2"], 5)
    assert (await store.youngest_aliases("shop", limit=1))[1] == 6
    assert (await store.youngest_aliases(feature="order", limit=1))[1] == 6
    assert await store.youngest_aliases("shop", limit=1, offset=99) == ([], 6)
    assert await store.youngest_aliases("none", limit=1) == ([], 0)


async def test_versions_of_all_aliases_are_listed_newest_first_each_once(store: Store) -> None:
    for alias, version, at_ms in (
        *(("release", "a", 10), ("beta", "a", 20), ("release", "b", 20), ("beta", "c", 30)),
        *(("old", "d", 40), ("release", "a", 50)),
    ):
        await store.add_version("shop", "order", alias, version, "text", at_ms=at_ms)
    await store.unregister("shop", "order", "old")
    listed = [
        _listed("a", 50, ("beta", "release"), ("release",)),
        _listed("c", 30, ("beta",), ("beta",)),
        _listed("b", 20, ("release",), ()),
    ]
    assert await store.listed_versions("shop", "order", limit=9) == listed
    assert await store.listed_versions("shop", "order", limit=1) == listed[:1]
    rest = await store.listed_versions("shop", "order", before=(50, "a"), limit=9)
    assert rest == listed[1:]
    assert await store.listed_versions("shop", "refund", limit=9) == []


async def test_of_many_aliases_of_a_version_those_that_matter_are_listed(store: Store) -> None:
    for number in range(MOST_ALIASES + 5):
        await store.add_version("shop", "order", f"a{number:03}", "a", "text", at_ms=1)
    await store.add_version("shop", "order", "release", "a", "text", at_ms=1)
    await store.add_version("shop", "order", "a000", "b", "text", at_ms=2)
    [_, version] = await store.listed_versions("shop", "order", limit=9)
    assert version.more_aliases == 6
    assert len(version.aliases) == len(version.newest_of) == MOST_ALIASES
    assert "release" in version.newest_of
    assert "a000" not in version.aliases


def _listed(
    version: str, at_ms: int, aliases: tuple[str, ...], newest_of: tuple[str, ...]
) -> ListedVersion:
    return ListedVersion(
        version=version,
        created_at_ms=at_ms,
        aliases=aliases,
        newest_of=newest_of,
        more_aliases=0,
    )


async def test_adding_a_version_registers_the_names(store: Store) -> None:
    await store.add_version(*ADDRESS, "a", "text", at_ms=1)
    assert await store.businesses() == ["shop"]
    assert await store.features("shop") == ["order"]
    assert await store.aliases("shop", "order") == ["release"]


async def test_registering_a_name_registers_those_above_it(store: Store) -> None:
    await store.register("shop", "order", "release")
    await store.register("shop", "order", "Beta")
    await store.register("shop", "Refund")
    await store.register("Bank")
    await store.register("Bank")
    assert await store.businesses() == ["Bank", "shop"]
    assert await store.features("shop") == ["Refund", "order"]
    assert await store.features("Bank") == []
    assert await store.aliases("shop", "order") == ["Beta", "release"]
    assert await store.aliases("shop", "Refund") == []


async def test_unregistering_takes_one_name_off_its_listing_only(store: Store) -> None:
    await store.add_version(*ADDRESS, "a", "text", at_ms=1)
    await store.unregister("shop")
    assert await store.businesses() == []
    assert await store.features("shop") == ["order"]
    await store.unregister("shop", "order")
    assert await store.features("shop") == []
    assert await store.aliases("shop", "order") == ["release"]
    await store.unregister("shop", "order", "release")
    await store.unregister("shop", "order", "release")
    assert await store.aliases("shop", "order") == []
    assert await store.newest_version(*ADDRESS) == "a"


async def test_a_name_is_listed_from_its_registration_on_until_it_is_taken_off(
    store: Store,
) -> None:
    names = [("shop",), ("shop", "order"), ADDRESS]
    assert [await store.is_listed(*each) for each in names] == [False, False, False]
    await store.register("shop", "order")
    assert [await store.is_listed(*each) for each in names] == [True, True, False]
    await store.register(*ADDRESS)
    await store.unregister("shop", "order")
    assert [await store.is_listed(*each) for each in names] == [True, False, True]
    assert not await store.is_listed("Shop")


async def test_names_are_listed_whole_however_many_pages_they_take(
    store: Store,
) -> None:
    if isinstance(store, SqliteStore | PostgresStore):
        store.names_at_once = 2
    names: list[str] = []
    for name in ("b", "A", "ä", '"', "a"):
        await store.register("shop", "order", name)
        await store.register("shop", name)
        await store.set_rule("ab", ("shop", name), "x", "default")
        names = sorted([*names, name])
        assert await store.aliases("shop", "order") == names
        assert await store.features("shop") == sorted([*names, "order"])
        assert await store.rule_scopes("ab", "shop") == names
        await store.register(name)
        assert await store.businesses() == sorted([*names, "shop"])


async def test_of_a_version_the_first_registered_alias_that_lists_it_is_told(store: Store) -> None:
    for alias, version in (("c", "v"), ("b", "v"), ("b", "w"), ("a", "w"), ("a", "x")):
        await store.add_version("shop", "order", alias, version, version, at_ms=1, keep=2)
    await store.add_version("shop", "refund", "a", "v", "v", at_ms=1)
    await store.add_version("other", "order", "a", "v", "v", at_ms=1)
    assert await store.alias_with_version("shop", "order", "v") == "b"
    await store.unregister("shop", "order", "b")
    assert await store.alias_with_version("shop", "order", "v") == "c"
    assert await store.alias_with_version("shop", "order", "w") == "a"
    await store.add_version("shop", "order", "a", "y", "y", at_ms=1, keep=2)
    assert await store.alias_with_version("shop", "order", "w") is None


async def test_rules_are_kept_by_scope_and_sorted_by_name(store: Store) -> None:
    await store.set_rule("gray", ("shop", "order"), "beta", "uid > 1")
    await store.set_rule("gray", ("shop", "order"), "Alpha", "uid > 2")
    await store.set_rule("gray", ("shop", "order"), "beta", "uid > 3")
    await store.set_rule("ab", ("shop", "order"), "https://a/b?c=1", "default")
    rules = await store.rules("gray", ("shop", "order"))
    assert list(rules.items()) == [("Alpha", "uid > 2"), ("beta", "uid > 3")]
    assert await store.rules("ab", ("shop", "order")) == {"https://a/b?c=1": "default"}
    assert await store.rules("gray", ("shop", "refund")) == {}


async def test_hundreds_of_rules_are_read_whole_and_what_is_set_next_is_seen(store: Store) -> None:
    names = [f"r{number:03}" for number in range(120)]
    for name in names:
        await store.set_rule("gray", ("shop", "order"), name, "uid > 1")
    assert list(await store.rules("gray", ("shop", "order"))) == names
    await store.set_rule("gray", ("shop", "order"), "s", "uid > 1")
    assert list(await store.rules("gray", ("shop", "order"))) == [*names, "s"]


async def test_of_long_rules_the_beginnings_are_read(store: Store) -> None:
    for name in ("c", "a", "b"):
        await store.set_rule("gray", ("shop", "order"), name, f"{name} é" + "x" * 30_000)
    await store.set_rule("gray", ("shop", "refund"), "z", "uid")
    found = await store.rule_beginnings("gray", ("shop", "order"), characters=5, limit=2)
    assert list(found.items()) == [("a", "a éxx"), ("b", "b éxx")]
    assert await store.rule_beginnings("gray", ("bank", "order"), characters=5, limit=2) == {}


async def test_removing_a_rule_that_is_not_there_is_no_error(store: Store) -> None:
    await store.remove_rule("gray", ("shop", "order"), "beta")
    await store.set_rule("gray", ("shop", "order"), "beta", "true")
    await store.remove_rule("ab", ("shop", "order"), "beta")
    assert await store.rules("gray", ("shop", "order")) == {"beta": "true"}
    await store.remove_rule("gray", ("shop", "order"), "beta")
    assert await store.rules("gray", ("shop", "order")) == {}


async def test_scopes_with_rules_are_listed_by_name(store: Store) -> None:
    for subject in ("video", "Audio", "gone"):
        await store.set_rule("ab", ("shop", subject), "default", "default")
        await store.set_rule("ab", ("shop", subject), "other", "true")
    await store.set_rule("gray", ("shop", "order"), "beta", "true")
    for name in ("default", "other"):
        await store.remove_rule("ab", ("shop", "gone"), name)
    assert await store.rule_scopes("ab", "shop") == ["Audio", "video"]
    assert await store.rule_scopes("ab", "bank") == []


def _row(business: str, alias: str, version: str, created: int, updated: int) -> AliasRow:
    return AliasRow(
        business=business,
        feature="order",
        alias=alias,
        version=version,
        created_at_ms=created,
        updated_at_ms=updated,
    )
