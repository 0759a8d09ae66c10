"""The catalogue half of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from rillflow.ports.storage.store import CatalogueUse, VersionRow
from rillflow.stores.sql.name_rows import name_rows
from rillflow.stores.sql.stored_rows import catalogue_use, version_row
from rillflow.stores.sqlite.database import SqliteDatabase

_PUT_TEXT: Final = "INSERT OR IGNORE INTO definitions (definition_id, text) VALUES (?, ?)"
_PUT_NAME: Final = "INSERT OR IGNORE INTO names (business, feature, alias) VALUES (?, ?, ?)"
_PUT_KNOWN_VERSION: Final = """
INSERT OR IGNORE INTO known_versions (business, feature, version, bytes) VALUES (?, ?, ?, ?)
"""
# Replacing the row gives it a new position, which makes the version the newest again.
_PUT_VERSION: Final = """
INSERT OR REPLACE INTO versions (business, feature, alias, version, created_at_ms)
VALUES (?, ?, ?, ?, ?)
"""
_TRIM_VERSIONS: Final = """
DELETE FROM versions WHERE position IN (
    SELECT position FROM versions WHERE business = ? AND feature = ? AND alias = ?
    ORDER BY position DESC LIMIT -1 OFFSET ?)
"""
_DEFINITION_BYTES: Final = "SELECT coalesce(sum(bytes), 0) FROM known_versions WHERE business = ?"
_USE: Final = """
SELECT 0, count(*), coalesce(sum(length(business) + length(feature) + length(alias)), 0)
FROM names WHERE business = ?1
UNION ALL SELECT 1, count(*), coalesce(sum(length(CAST(subject || name || rule AS BLOB))), 0)
FROM rules WHERE kind IN ('gray', 'ab') AND business = ?1 ORDER BY 1
"""
_KNOWN_VERSION: Final = "SELECT version FROM known_versions WHERE business = ? AND version = ?"
_VERSIONS: Final = """
SELECT version, created_at_ms FROM versions
WHERE business = ? AND feature = ? AND alias = ? ORDER BY position DESC
"""


class SqliteCatalogue:
    """Definitions, aliases, versions and rules; see the ``Catalogue`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def put_definition_text(self, definition_id: str, text: str) -> None:
        """Keep a canonical text under its md5; keeping it again changes nothing."""
        await self._execute(_PUT_TEXT, definition_id, text)

    async def definition_text(self, definition_id: str) -> str | None:
        """Read a canonical text."""
        return await self._value(
            "SELECT text FROM definitions WHERE definition_id = ?", definition_id
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
        size_bytes = len(text.encode())

        def add(connection: sqlite3.Connection) -> None:
            address = (business, feature, alias)
            connection.execute(_PUT_TEXT, (definition_id, text))
            connection.executemany(_PUT_NAME, name_rows(*address))
            connection.execute(_PUT_VERSION, (*address, definition_id, at_ms))
            connection.execute(_PUT_KNOWN_VERSION, (business, feature, definition_id, size_bytes))
            connection.execute(_TRIM_VERSIONS, (*address, keep))

        await self._database.write(add)

    async def definition_bytes(self, business: str) -> int:
        """Return how long all versions of a business are together."""
        return int(await self._value(_DEFINITION_BYTES, business) or 0)

    async def catalogue_use(self, business: str) -> CatalogueUse:
        """Return what the names and rules of a business take."""
        rows = await self._database.scan(
            lambda connection: connection.execute(_USE, (business,)).fetchall()
        )
        return catalogue_use(rows)

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        """Return the newest version of an alias, None if it has none."""
        return await self._glanced(f"{_VERSIONS} LIMIT 1", business, feature, alias)

    async def has_version(self, business: str, feature: str | None, version: str) -> bool:
        """Tell whether a version was ever added to a feature; None is any of the business."""
        if feature is None:
            found = await self._glanced(f"{_KNOWN_VERSION} LIMIT 1", business, version)
        else:
            found = await self._glanced(
                f"{_KNOWN_VERSION} AND feature = ?", business, version, feature
            )
        return found is not None

    async def versions(self, business: str, feature: str, alias: str) -> list[VersionRow]:
        """List the versions of an alias, newest first."""
        rows = await self._rows(_VERSIONS, business, feature, alias)
        return [version_row(row) for row in rows]

    async def register(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> None:
        """Add names to the listings, together with the names above them."""
        names = name_rows(business, feature, alias)

        def add(connection: sqlite3.Connection) -> None:
            connection.executemany(_PUT_NAME, names)

        await self._database.write(add)

    async def unregister(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> None:
        """Remove the lowest given name from its listing; nothing else is removed."""
        await self._execute(
            "DELETE FROM names WHERE business = ? AND feature = ? AND alias = ?",
            *name_rows(business, feature, alias)[-1],
        )

    async def businesses(self) -> list[str]:
        """List registered businesses by name."""
        return await self._column(
            "SELECT business FROM names WHERE feature = '' AND alias = '' ORDER BY business"
        )

    async def features(self, business: str) -> list[str]:
        """List registered features of a business by name."""
        return await self._column(
            """SELECT feature FROM names WHERE business = ? AND feature <> '' AND alias = ''
            ORDER BY feature""",
            business,
        )

    async def aliases(self, business: str, feature: str) -> list[str]:
        """List registered aliases of a feature by name."""
        return await self._column(
            """SELECT alias FROM names WHERE business = ? AND feature = ? AND alias <> ''
            ORDER BY alias""",
            business,
            feature,
        )

    async def set_rule(self, kind: str, scope: Sequence[str], name: str, rule: str) -> None:
        """Set a rule: kind ``gray`` (scope business, feature) or ``ab`` (business, key)."""
        business, subject = scope
        await self._execute(
            "INSERT OR REPLACE INTO rules (kind, business, subject, name, rule)"
            " VALUES (?, ?, ?, ?, ?)",
            kind,
            business,
            subject,
            name,
            rule,
        )

    async def remove_rule(self, kind: str, scope: Sequence[str], name: str) -> None:
        """Remove a rule; a missing one is no error."""
        business, subject = scope
        await self._execute(
            "DELETE FROM rules WHERE kind = ? AND business = ? AND subject = ? AND name = ?",
            kind,
            business,
            subject,
            name,
        )

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        """Return the rules of a scope, sorted by name."""
        business, subject = scope
        rows = await self._database.glance(
            """SELECT name, rule FROM rules WHERE kind = ? AND business = ? AND subject = ?
            ORDER BY name""",
            kind,
            business,
            subject,
        )
        return dict(rows)

    async def rule_beginnings(
        self, kind: str, scope: Sequence[str], *, characters: int, limit: int
    ) -> dict[str, str]:
        """Return the first rules of a scope by name, of each the first characters."""
        business, subject = scope
        rows = await self._database.glance(
            """SELECT name, substr(rule, 1, ?) FROM rules
            WHERE kind = ? AND business = ? AND subject = ? ORDER BY name LIMIT ?""",
            characters,
            kind,
            business,
            subject,
            limit,
        )
        return dict(rows)

    async def rule_scopes(self, kind: str, business: str) -> list[str]:
        """List second parts of the scopes of a business that have rules, by name."""
        return await self._column(
            "SELECT DISTINCT subject FROM rules WHERE kind = ? AND business = ? ORDER BY subject",
            kind,
            business,
        )

    async def _execute(self, statement: str, *values: object) -> None:
        def execute(connection: sqlite3.Connection) -> None:
            connection.execute(statement, values)

        await self._database.write(execute)

    async def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return await self._database.look_up(
            lambda connection: connection.execute(query, values).fetchall()
        )

    async def _glanced(self, query: str, *values: object) -> str | None:
        rows = await self._database.glance(query, *values)
        return rows[0][0] if rows else None

    async def _column(self, query: str, *values: object) -> list[str]:
        return [value for (value, *_) in await self._rows(query, *values)]

    async def _value(self, query: str, *values: object) -> str | None:
        return next(iter(await self._column(query, *values)), None)
