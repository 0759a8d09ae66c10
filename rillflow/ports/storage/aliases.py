"""The listings of aliases and their versions, in pages: there may be very many.

Used by `ports/storage/store.py`, `serve` and `stores`.
"""

from typing import Final, NamedTuple, Protocol

import msgspec

MOST_ALIASES: Final = 200
"""How many aliases of one version are listed."""


class AliasName(NamedTuple):
    """The name of an alias, by which listings are sorted."""

    business: str = ""
    feature: str = ""
    alias: str = ""


class AliasRow(msgspec.Struct, frozen=True, kw_only=True):
    """One alias of the catalogue with its newest version and its times."""

    business: str
    feature: str
    alias: str
    version: str
    created_at_ms: int
    updated_at_ms: int

    @property
    def name(self) -> AliasName:
        """Its name."""
        return AliasName(self.business, self.feature, self.alias)


class ListedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a feature, with the registered aliases that list it.

    ``created_at_ms`` is the last time at which it was added to one of them. At most
    ``MOST_ALIASES`` aliases are listed: first those of which it is the newest, and of these
    ``release``.
    """

    version: str
    created_at_ms: int
    aliases: tuple[str, ...]
    newest_of: tuple[str, ...]
    more_aliases: int


class AliasListings(Protocol):
    """Pages of the catalogue."""

    async def alias_rows(self, first: AliasName, *, limit: int) -> list[AliasRow]:
        """List the registered aliases that have a version, by name, from ``first`` on.

        The names above them are registered too.
        """
        ...

    async def youngest_aliases(
        self, business: str = "", feature: str = "", *, limit: int, offset: int = 0
    ) -> tuple[list[AliasRow], int]:
        """List the same aliases, the youngest creation first, and count all of them.

        An alias was created with the oldest of its listed versions, and updated with the newest.
        An empty business or feature selects all.
        """
        ...

    async def listed_versions(
        self, business: str, feature: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[ListedVersion]:
        """List the versions that the registered aliases of a feature have, newest first.

        Versions that were added at the same time are sorted by their names, downwards. ``before``
        are the time and the name of the last version of the page before.
        """
        ...

    async def alias_with_version(self, business: str, feature: str, version: str) -> str | None:
        """Return the first registered alias of a feature, by name, that lists a version."""
        ...
