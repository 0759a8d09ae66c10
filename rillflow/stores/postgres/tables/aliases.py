"""The listings of aliases in the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from functools import partial
from typing import Final

from rillflow.ports.storage.aliases import MOST_ALIASES, AliasName, AliasRow, ListedVersion
from rillflow.stores.postgres.database import PostgresDatabase
from rillflow.stores.sql.stored_rows import alias_row, listed_versions

_LATEST: Final = (1 << 62, "")
_BY_NAME: Final = """
SELECT names.business, names.feature, names.alias, newest.version,
    (SELECT min(created_at_ms) FROM versions WHERE versions.business = names.business
        AND versions.feature = names.feature AND versions.alias = names.alias),
    newest.created_at_ms
FROM names CROSS JOIN LATERAL (
    SELECT version, created_at_ms FROM versions WHERE versions.business = names.business
        AND versions.feature = names.feature AND versions.alias = names.alias
    ORDER BY position DESC LIMIT 1) AS newest
WHERE (names.business, names.feature, names.alias) >= ($1, $2, $3) AND names.alias <> ''
    AND EXISTS (SELECT 1 FROM names AS above WHERE above.business = names.business
        AND above.feature = '' AND above.alias = '')
    AND EXISTS (SELECT 1 FROM names AS above WHERE above.business = names.business
        AND above.feature = names.feature AND above.alias = '')
ORDER BY names.business, names.feature, names.alias LIMIT $4
"""
# Three look-ups by key for each alias; one condition with OR would read all names for each.
_YOUNGEST: Final = """
SELECT versions.business, versions.feature, versions.alias, version, oldest_at_ms, created_at_ms,
    count(*) OVER ()
FROM versions JOIN (
    SELECT max(position) AS position, min(created_at_ms) AS oldest_at_ms
    FROM versions GROUP BY business, feature, alias) AS ages USING (position)
WHERE $1 IN ('', versions.business) AND $2 IN ('', versions.feature)
    AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
        AND names.feature = '' AND names.alias = '')
    AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
        AND names.feature = versions.feature AND names.alias = '')
    AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
        AND names.feature = versions.feature AND names.alias = versions.alias)
ORDER BY oldest_at_ms DESC, versions.business, versions.feature, versions.alias LIMIT $3 OFFSET $4
"""
_LISTED: Final = """
WITH listed AS (
    SELECT version, alias, created_at_ms,
        position = max(position) OVER (PARTITION BY alias) AS is_newest
    FROM versions WHERE business = $1 AND feature = $2
        AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
            AND names.feature = versions.feature AND names.alias = versions.alias))
"""
_VERSIONS: Final = f"""{_LISTED}
SELECT version, max(created_at_ms), count(*) FROM listed GROUP BY version
HAVING (max(created_at_ms), version) < ($3, $4)
ORDER BY max(created_at_ms) DESC, version DESC LIMIT $5
"""  # noqa: S608 - own texts
_ALIASES: Final = f"""{_LISTED}
SELECT version, alias, is_newest FROM (
    SELECT version, alias, is_newest, row_number() OVER (
        PARTITION BY version ORDER BY is_newest DESC, alias <> 'release', alias) AS number
    FROM listed WHERE version = ANY($3)) AS numbered
WHERE number <= $4
"""  # noqa: S608 - own texts
_WITH_VERSION: Final = """
SELECT min(alias) FROM versions WHERE business = $1 AND feature = $2 AND version = $3
    AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
        AND names.feature = versions.feature AND names.alias = versions.alias)
"""


class PostgresAliases:
    """The listings of aliases; see the ``AliasListings`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def alias_rows(self, first: AliasName, *, limit: int) -> list[AliasRow]:
        """List the registered aliases that have a version, by name, from ``first`` on."""
        return list(map(alias_row, await self._database.scan(_BY_NAME, *first, limit)))

    async def youngest_aliases(
        self, business: str = "", feature: str = "", *, limit: int, offset: int = 0
    ) -> tuple[list[AliasRow], int]:
        """List the same aliases, the youngest creation first, and count all of them."""
        scan = partial(self._database.scan, _YOUNGEST, business, feature, reader=business or None)
        rows = await scan(limit, offset)
        # Beyond the last there is no row to tell the number.
        told = rows or await scan(1, 0)
        return [alias_row(row[:-1]) for row in rows], told[0][-1] if told else 0

    async def listed_versions(
        self, business: str, feature: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[ListedVersion]:
        """List the versions that the registered aliases of a feature have, newest first."""
        names = business, feature
        page = (*names, *(before or _LATEST), limit)
        versions = await self._database.scan(_VERSIONS, *page, reader=business)
        wanted = [version for version, *_ in versions]
        aliases = await self._database.scan(_ALIASES, *names, wanted, MOST_ALIASES, reader=business)
        return listed_versions(versions, aliases)

    async def alias_with_version(self, business: str, feature: str, version: str) -> str | None:
        """Return the first registered alias of a feature, by name, that lists a version."""
        values = business, feature, version
        ((alias,),) = await self._database.scan(_WITH_VERSION, *values, reader=business)
        return None if alias is None else str(alias)
