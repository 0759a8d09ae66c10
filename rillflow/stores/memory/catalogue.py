"""The catalogue half of the memory store.

Used by `stores/memory/store.py`.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

from rillflow.ports.storage.aliases import MOST_ALIASES, AliasName, AliasRow, ListedVersion
from rillflow.ports.storage.store import CatalogueUse, VersionRow
from rillflow.stores.memory.journal import MemoryLifecycle
from rillflow.stores.sql.name_rows import name_rows
from rillflow.stores.sql.stored_rows import listed_versions

_Address: TypeAlias = tuple[str, str, str]


class MemoryCatalogue(MemoryLifecycle):
    """Definitions, aliases, versions and rules; see the ``Catalogue`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, str] = {}
        # Versions of an alias with their times, oldest first.
        self._versions: dict[_Address, dict[str, int]] = {}
        self._known_versions: set[_Address] = set()
        self._names: set[_Address] = set()
        self._rules: dict[_Address, dict[str, str]] = {}

    async def put_definition_text(self, definition_id: str, text: str) -> None:
        """Keep a canonical text under its md5; keeping it again changes nothing."""
        self._check_open()
        self._texts.setdefault(definition_id, text)

    async def definition_text(self, definition_id: str) -> str | None:
        """Read a canonical text."""
        self._check_open()
        return self._texts.get(definition_id)

    async def add_version(  # noqa: PLR0913 - one row of the catalogue
        self,
        business: str,
        feature: str,
        alias: str,
        definition_id: str,
        text: str,
        *,
        at_ms: int,
        keep: int = 300,
    ) -> None:
        """Store a text and make it the newest version of an alias; keep the newest ones."""
        await self.put_definition_text(definition_id, text)
        self._names.update(name_rows(business, feature, alias))
        self._known_versions.add((business, feature, definition_id))
        versions = self._versions.setdefault((business, feature, alias), {})
        versions.pop(definition_id, None)
        versions[definition_id] = at_ms
        for oldest in list(versions)[: max(len(versions) - keep, 0)]:
            del versions[oldest]

    async def definition_bytes(self, business: str) -> int:
        """Return how long all versions of a business are together."""
        self._check_open()
        versions = [version for its, _, version in self._known_versions if its == business]
        return sum(len(self._texts[version].encode()) for version in versions)

    async def catalogue_use(self, business: str) -> CatalogueUse:
        """Return what the names and rules of a business take."""
        self._check_open()
        names = [each for each in self._names if each[0] == business]
        rules = [
            f"{subject}{name}{rule}"
            for (_, its, subject), kept in self._rules.items()
            if its == business
            for name, rule in kept.items()
        ]
        size = sum(map(len, chain.from_iterable(names))) + sum(len(each.encode()) for each in rules)
        return CatalogueUse(len(names), len(rules), size)

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        """Return the newest version of an alias, None if it has none."""
        self._check_open()
        return next(reversed(self._versions.get((business, feature, alias), {})), None)

    async def has_version(self, business: str, feature: str | None, version: str) -> bool:
        """Tell whether a version was ever added to a feature; None is any of the business."""
        self._check_open()
        if feature is None:
            return any((its, v) == (business, version) for its, _, v in self._known_versions)
        return (business, feature, version) in self._known_versions

    async def versions(self, business: str, feature: str, alias: str) -> list[VersionRow]:
        """List the versions of an alias, newest first."""
        self._check_open()
        listed = self._versions.get((business, feature, alias), {})
        return [
            VersionRow(version=version, created_at_ms=at_ms)
            for version, at_ms in reversed(listed.items())
        ]

    async def alias_rows(self, first: AliasName, *, limit: int) -> list[AliasRow]:
        """List the registered aliases that have a version, by name, from ``first`` on."""
        self._check_open()
        return [row for row in self._alias_rows() if row.name >= first][:limit]

    async def youngest_aliases(
        self, business: str = "", feature: str = "", *, limit: int, offset: int = 0
    ) -> tuple[list[AliasRow], int]:
        """List the same aliases, the youngest creation first, and count all of them."""
        self._check_open()
        rows = [
            row
            for row in self._alias_rows()
            if business in ("", row.business) and feature in ("", row.feature)
        ]
        rows.sort(key=lambda row: -row.created_at_ms)
        return rows[offset : offset + limit], len(rows)

    async def listed_versions(
        self, business: str, feature: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[ListedVersion]:
        """List the versions that the registered aliases of a feature have, newest first."""
        self._check_open()
        times: dict[str, int] = {}
        listed: dict[str, list[tuple[str, bool]]] = {}
        for alias in await self.aliases(business, feature):
            versions = self._versions.get((business, feature, alias), {})
            for version, at_ms in versions.items():
                times[version] = max(times.get(version, at_ms), at_ms)
                is_newest = version == next(reversed(versions))
                listed.setdefault(version, []).append((alias, is_newest))
        keys = sorted(((at_ms, version) for version, at_ms in times.items()), reverse=True)
        page = [key for key in keys if before is None or key < before][:limit]
        rows = [(version, at_ms, len(listed[version])) for at_ms, version in page]
        return listed_versions(
            rows,
            (
                (version, alias, is_newest)
                for version, *_ in rows
                for alias, is_newest in sorted(listed[version], key=_shown_first)[:MOST_ALIASES]
            ),
        )

    async def alias_with_version(self, business: str, feature: str, version: str) -> str | None:
        """Return the first registered alias of a feature, by name, that lists a version."""
        for alias in await self.aliases(business, feature):
            if version in self._versions.get((business, feature, alias), {}):
                return alias
        return None

    def _alias_rows(self) -> list[AliasRow]:
        rows = []
        for (business, feature, alias), versions in sorted(self._versions.items()):
            if not self._names.issuperset(name_rows(business, feature, alias)):
                continue
            newest, updated_at_ms = next(reversed(versions.items()))
            rows.append(
                AliasRow(
                    business=business,
                    feature=feature,
                    alias=alias,
                    version=newest,
                    created_at_ms=min(versions.values()),
                    updated_at_ms=updated_at_ms,
                )
            )
        return rows

    async def register(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> None:
        """Add names to the listings, together with the names above them."""
        self._check_open()
        self._names.update(name_rows(business, feature, alias))

    async def unregister(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> None:
        """Remove the lowest given name from its listing; nothing else is removed."""
        self._check_open()
        self._names.discard(name_rows(business, feature, alias)[-1])

    async def is_listed(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> bool:
        """Tell whether the lowest given name is registered."""
        self._check_open()
        return name_rows(business, feature, alias)[-1] in self._names

    async def businesses(self) -> list[str]:
        """List registered businesses by name."""
        self._check_open()
        return sorted(name for name, feature, _ in self._names if not feature)

    async def features(self, business: str) -> list[str]:
        """List registered features of a business by name."""
        self._check_open()
        return sorted(
            name for above, name, alias in self._names if above == business and name and not alias
        )

    async def aliases(self, business: str, feature: str) -> list[str]:
        """List registered aliases of a feature by name."""
        self._check_open()
        return sorted(name for *above, name in self._names if above == [business, feature] and name)

    async def set_rule(self, kind: str, scope: Sequence[str], name: str, rule: str) -> None:
        """Set a rule: kind ``gray`` (scope business, feature) or ``ab`` (business, key)."""
        self._check_open()
        business, subject = scope
        self._rules.setdefault((kind, business, subject), {})[name] = rule

    async def remove_rule(self, kind: str, scope: Sequence[str], name: str) -> None:
        """Remove a rule; a missing one is no error."""
        self._check_open()
        business, subject = scope
        self._rules.get((kind, business, subject), {}).pop(name, None)

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        """Return the rules of a scope, sorted by name."""
        self._check_open()
        business, subject = scope
        return dict(sorted(self._rules.get((kind, business, subject), {}).items()))

    async def rule_beginnings(
        self, kind: str, scope: Sequence[str], *, characters: int, limit: int
    ) -> dict[str, str]:
        """Return the first rules of a scope by name, of each the first characters."""
        rules = await self.rules(kind, scope)
        return {name: rules[name][:characters] for name in list(rules)[:limit]}

    async def rule_scopes(self, kind: str, business: str) -> list[str]:
        """List second parts of the scopes of a business that have rules, by name."""
        self._check_open()
        return sorted(
            subject
            for (each_kind, each_business, subject), rules in self._rules.items()
            if (each_kind, each_business) == (kind, business) and rules
        )


def _shown_first(listed: tuple[str, bool]) -> tuple[bool, bool, str]:
    alias, is_newest = listed
    return not is_newest, alias != "release", alias
