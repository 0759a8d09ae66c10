"""The catalogue half of the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from collections.abc import Sequence
from typing import Final

from rillflow.ports.storage.store import CatalogueUse, VersionRow
from rillflow.stores.postgres.database import PostgresDatabase
from rillflow.stores.sql.name_rows import NAMES_AT_ONCE, all_names, name_rows
from rillflow.stores.sql.stored_rows import catalogue_use, version_row

_PUT_TEXT: Final = """
INSERT INTO definitions (definition_id, text) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_PUT_NAME: Final = """
INSERT INTO names (business, feature, alias) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""
_PUT_KNOWN_VERSION: Final = """
INSERT INTO known_versions (business, feature, version, bytes) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
_DEFINITION_BYTES: Final = """
SELECT coalesce(sum(bytes), 0)::bigint FROM known_versions WHERE business = $1
"""
_USE: Final = """
SELECT 0, count(*), coalesce(sum(length(business) + length(feature) + length(alias)), 0)::bigint
FROM names WHERE business = $1
UNION ALL SELECT 1, count(*), coalesce(
    sum(octet_length(subject) + octet_length(name) + octet_length(rule)), 0)::bigint
FROM rules WHERE kind IN ('gray', 'ab') AND business = $1 ORDER BY 1
"""
# Additions to one alias are serialized, so that positions are in the order of commits.
_LOCK_ALIAS: Final = """
SELECT FROM names WHERE business = $1 AND feature = $2 AND alias = $3 FOR UPDATE
"""
_PUT_VERSION: Final = """
INSERT INTO versions (position, business, feature, alias, version, created_at_ms)
VALUES (nextval('version_positions'), $1, $2, $3, $4, $5)
ON CONFLICT (business, feature, alias, version)
DO UPDATE SET position = excluded.position, created_at_ms = excluded.created_at_ms
"""
_TRIM_VERSIONS: Final = """
DELETE FROM versions WHERE position IN (
    SELECT position FROM versions WHERE business = $1 AND feature = $2 AND alias = $3
    ORDER BY position DESC OFFSET $4)
"""
_KNOWN_VERSION: Final = "SELECT version FROM known_versions WHERE business = $1 AND version = $2"
_HAS_NAME: Final = "SELECT 1 FROM names WHERE business = $1 AND feature = $2 AND alias = $3"
_NAMES: Final = """
SELECT coalesce(json_agg({column} ORDER BY {column}), '[]')::text FROM (
    SELECT {column} FROM names WHERE {condition} AND {column} > $1
    ORDER BY {column} LIMIT $2) AS page
"""
_SCOPES: Final = """
SELECT coalesce(json_agg(subject ORDER BY subject), '[]')::text FROM (
    SELECT DISTINCT subject FROM rules WHERE kind = $3 AND business = $4 AND subject > $1
    ORDER BY subject LIMIT $2) AS page
"""
_VERSIONS: Final = """
SELECT version, created_at_ms FROM versions
WHERE business = $1 AND feature = $2 AND alias = $3 ORDER BY position DESC
"""
_PUT_RULE: Final = """
INSERT INTO rules (kind, business, subject, name, rule) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (kind, business, subject, name) DO UPDATE SET rule = excluded.rule
"""


class PostgresCatalogue:
    """Definitions, aliases, versions and rules; see the ``Catalogue`` port.

    Attributes:
        names_at_once: How many names of a list are read at a time.
    """

    names_at_once = NAMES_AT_ONCE

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def put_definition_text(self, definition_id: str, text: str) -> None:
        """Keep a canonical text under its md5; keeping it again changes nothing."""
        await self._database.execute(_PUT_TEXT, definition_id, text)

    async def definition_text(self, definition_id: str) -> str | None:
        """Read a canonical text."""
        return await self._database.value(
            "SELECT text FROM definitions WHERE definition_id = $1", definition_id
        )

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
        address = (business, feature, alias)
        async with self._database.transaction() as connection:
            await connection.execute(_PUT_TEXT, definition_id, text)
            await connection.executemany(_PUT_NAME, name_rows(*address))
            await connection.execute(_LOCK_ALIAS, *address)
            await connection.execute(_PUT_VERSION, *address, definition_id, at_ms)
            await connection.execute(
                _PUT_KNOWN_VERSION, business, feature, definition_id, len(text.encode())
            )
            await connection.execute(_TRIM_VERSIONS, *address, keep)

    async def definition_bytes(self, business: str) -> int:
        """Return how long all versions of a business are together."""
        ((size_bytes,),) = await self._database.scan(_DEFINITION_BYTES, business, reader=business)
        return int(size_bytes)

    async def catalogue_use(self, business: str) -> CatalogueUse:
        """Return what the names and rules of a business take."""
        return catalogue_use(await self._database.scan(_USE, business, reader=business))

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        """Return the newest version of an alias, None if it has none."""
        return await self._promptly(f"{_VERSIONS} LIMIT 1", business, feature, alias)

    async def has_version(self, business: str, feature: str | None, version: str) -> bool:
        """Tell whether a version was ever added to a feature; None is any of the business."""
        if feature is None:
            found = await self._promptly(f"{_KNOWN_VERSION} LIMIT 1", business, version)
        else:
            found = await self._promptly(
                f"{_KNOWN_VERSION} AND feature = $3", business, version, feature
            )
        return found is not None

    async def versions(self, business: str, feature: str, alias: str) -> list[VersionRow]:
        """List the versions of an alias, newest first."""
        rows = await self._database.scan(_VERSIONS, business, feature, alias, reader=business)
        return [version_row(row) for row in rows]

    async def register(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> None:
        """Add names to the listings, together with the names above them."""
        async with self._database.transaction() as connection:
            await connection.executemany(_PUT_NAME, name_rows(business, feature, alias))

    async def unregister(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> None:
        """Remove the lowest given name from its listing; nothing else is removed."""
        await self._database.execute(
            "DELETE FROM names WHERE business = $1 AND feature = $2 AND alias = $3",
            *name_rows(business, feature, alias)[-1],
        )

    async def is_listed(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> bool:
        """Tell whether the lowest given name is registered."""
        row = name_rows(business, feature, alias)[-1]
        return bool(await self._database.rows(_HAS_NAME, *row, reader=business))

    async def businesses(self) -> list[str]:
        """List registered businesses by name."""
        return await self._names("business", "feature = '' AND alias = ''")

    async def features(self, business: str) -> list[str]:
        """List registered features of a business by name."""
        return await self._names("feature", "business = $3 AND alias = ''", business)

    async def aliases(self, business: str, feature: str) -> list[str]:
        """List registered aliases of a feature by name."""
        return await self._names("alias", "business = $3 AND feature = $4", business, feature)

    async def _names(self, column: str, condition: str, *values: str) -> list[str]:
        statement = _NAMES.format(column=column, condition=condition)
        return await self._pages(statement, *values, reader=values[0] if values else None)

    async def _pages(self, statement: str, *values: str, reader: str | None) -> list[str]:
        async def read(after: str, limit: int) -> str:
            rows = await self._database.scan(statement, after, limit, *values, reader=reader)
            return str(rows[0][0])

        return await all_names(read, self.names_at_once)

    async def set_rule(self, kind: str, scope: Sequence[str], name: str, rule: str) -> None:
        """Set a rule: kind ``gray`` (scope business, feature) or ``ab`` (business, key)."""
        business, subject = scope
        await self._database.execute(
            _PUT_RULE,
            kind,
            business,
            subject,
            name,
            rule,
        )

    async def remove_rule(self, kind: str, scope: Sequence[str], name: str) -> None:
        """Remove a rule; a missing one is no error."""
        business, subject = scope
        await self._database.execute(
            "DELETE FROM rules WHERE kind = $1 AND business = $2 AND subject = $3 AND name = $4",
            kind,
            business,
            subject,
            name,
        )

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        """Return the rules of a scope, sorted by name."""
        business, subject = scope
        rows = await self._database.rows(
            """SELECT name, rule FROM rules WHERE kind = $1 AND business = $2 AND subject = $3
            ORDER BY name""",
            kind,
            business,
            subject,
            reader=business,
        )
        return dict(rows)

    async def rule_beginnings(
        self, kind: str, scope: Sequence[str], *, characters: int, limit: int
    ) -> dict[str, str]:
        """Return the first rules of a scope by name, of each the first characters."""
        business, subject = scope
        rows = await self._database.rows(
            """SELECT name, left(rule, $1) FROM rules
            WHERE kind = $2 AND business = $3 AND subject = $4 ORDER BY name LIMIT $5""",
            characters,
            kind,
            business,
            subject,
            limit,
            reader=business,
        )
        return dict(rows)

    async def rule_scopes(self, kind: str, business: str) -> list[str]:
        """List second parts of the scopes of a business that have rules, by name."""
        return await self._pages(_SCOPES, kind, business, reader=business)

    async def _promptly(self, query: str, *values: object) -> str | None:
        rows = await self._database.rows_promptly(query, *values)
        return rows[0][0] if rows else None
