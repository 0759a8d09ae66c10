"""The listings of aliases in the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from typing import Final

from rillflow.jsontypes import encode_json
from rillflow.ports.storage.aliases import MOST_ALIASES, AliasName, AliasRow, ListedVersion
from rillflow.stores.sql.stored_rows import alias_row, listed_versions
from rillflow.stores.sqlite.database import SqliteDatabase

_LATEST: Final = (1 << 62, "")
BY_NAME: Final = """
SELECT names.business, names.feature, names.alias, newest.version,
    (SELECT min(created_at_ms) FROM versions WHERE versions.business = names.business
        AND versions.feature = names.feature AND versions.alias = names.alias),
    newest.created_at_ms
FROM names CROSS JOIN versions AS newest ON newest.position = (
    SELECT max(position) FROM versions WHERE versions.business = names.business
        AND versions.feature = names.feature AND versions.alias = names.alias)
WHERE (names.business, names.feature, names.alias) >= (?, ?, ?) AND names.alias <> ''
    AND EXISTS (SELECT 1 FROM names AS above WHERE above.business = names.business
        AND above.feature = '' AND above.alias = '')
    AND EXISTS (SELECT 1 FROM names AS above WHERE above.business = names.business
        AND above.feature = names.feature AND above.alias = '')
ORDER BY names.business, names.feature, names.alias LIMIT ?
"""
# Three look-ups by key for each alias; one condition with OR would read all names for each.
YOUNGEST: Final = """
SELECT versions.business, versions.feature, versions.alias, version, oldest_at_ms, created_at_ms,
    count(*) OVER ()
FROM versions JOIN (
    SELECT max(position) AS position, min(created_at_ms) AS oldest_at_ms
    FROM versions GROUP BY business, feature, alias) USING (position)
WHERE ?1 IN ('', versions.business) AND ?2 IN ('', versions.feature)
    AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
        AND names.feature = '' AND names.alias = '')
    AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
        AND names.feature = versions.feature AND names.alias = '')
    AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
        AND names.feature = versions.feature AND names.alias = versions.alias)
ORDER BY oldest_at_ms DESC, versions.business, versions.feature, versions.alias LIMIT ?3 OFFSET ?4
"""
_LISTED: Final = """
WITH listed AS (
    SELECT version, alias, created_at_ms,
        position = max(position) OVER (PARTITION BY alias) AS is_newest
    FROM versions WHERE business = ?1 AND feature = ?2
        AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
            AND names.feature = versions.feature AND names.alias = versions.alias))
"""
_VERSIONS: Final = f"""{_LISTED}
SELECT version, max(created_at_ms) AS at_ms, count(*) FROM listed GROUP BY version
HAVING (at_ms, version) < (?3, ?4) ORDER BY at_ms DESC, version DESC LIMIT ?5
"""  # noqa: S608 - own texts
_ALIASES: Final = f"""{_LISTED}
SELECT version, alias, is_newest FROM (
    SELECT version, alias, is_newest, row_number() OVER (
        PARTITION BY version ORDER BY is_newest DESC, alias <> 'release', alias) AS number
    FROM listed WHERE version IN (SELECT value FROM json_each(?3)))
WHERE number <= ?4
"""  # noqa: S608 - own texts
_WITH_VERSION: Final = """
SELECT min(alias) FROM versions WHERE business = ?1 AND feature = ?2 AND version = ?3
    AND EXISTS (SELECT 1 FROM names WHERE names.business = versions.business
        AND names.feature = versions.feature AND names.alias = versions.alias)
"""


class SqliteAliases:
    """The listings of aliases; see the ``AliasListings`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def alias_rows(self, first: AliasName, *, limit: int) -> list[AliasRow]:
        """List the registered aliases that have a version, by name, from ``first`` on."""
        return await self._database.scan(
            lambda connection: list(map(alias_row, connection.execute(BY_NAME, (*first, limit))))
        )

    async def youngest_aliases(
        self, business: str = "", feature: str = "", *, limit: int, offset: int = 0
    ) -> tuple[list[AliasRow], int]:
        """List the same aliases, the youngest creation first, and count all of them."""

        def read(connection: sqlite3.Connection) -> tuple[list[AliasRow], int]:
            rows = connection.execute(YOUNGEST, (business, feature, limit, offset)).fetchall()
            # Beyond the last there is no row to tell the number.
            told = rows or connection.execute(YOUNGEST, (business, feature, 1, 0)).fetchall()
            return [alias_row(row[:-1]) for row in rows], told[0][-1] if told else 0

        return await self._database.scan(read, reader=business or None)

    async def listed_versions(
        self, business: str, feature: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[ListedVersion]:
        """List the versions that the registered aliases of a feature have, newest first."""

        def read(connection: sqlite3.Connection) -> list[ListedVersion]:
            names = business, feature
            page = (*names, *(before or _LATEST), limit)
            versions = connection.execute(_VERSIONS, page).fetchall()
            wanted = encode_json([version for version, *_ in versions]).decode()
            aliases = connection.execute(_ALIASES, (*names, wanted, MOST_ALIASES))
            return listed_versions(versions, aliases)

        return await self._database.scan(read, reader=business or None)

    async def alias_with_version(self, business: str, feature: str, version: str) -> str | None:
        """Return the first registered alias of a feature, by name, that lists a version."""

        def read(connection: sqlite3.Connection) -> str | None:
            ((alias,),) = connection.execute(_WITH_VERSION, (business, feature, version))
            return None if alias is None else str(alias)

        return await self._database.scan(read, reader=business)
