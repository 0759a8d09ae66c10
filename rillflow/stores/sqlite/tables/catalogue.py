"""The catalogue half of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from rillflow.ports.storage.store import CatalogueUse, VersionRow
from rillflow.stores.sql.name_rows import NAMES_AT_ONCE, all_names, name_rows
from rillflow.stores.sql.stored_rows import catalogue_use, version_row
from rillflow.stores.sqlite.database import SqliteDatabase

_PUT_TEXT: Final = "INSERT OR IGNORE INTO definitions (definition_id, text) VALUES (?, ?)"
_TEXT: Final = "SELECT text FROM definitions WHERE definition_id = ?"
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
_HAS_NAME: Final = "SELECT 1 FROM names WHERE business = ? AND feature = ? AND alias = ?"
# One row: at each row of a result the thread gives up the interpreter, and waits for it.
_NAMES: Final = """
SELECT json_group_array({column}) FROM (
    SELECT {column} FROM names WHERE {condition} AND {column} > ? ORDER BY {column} LIMIT ?)
"""
_SCOPES: Final = """
SELECT json_group_array(subject) FROM (
    SELECT DISTINCT subject FROM rules WHERE kind = ? AND business = ? AND subject > ?
    ORDER BY subject LIMIT ?)
"""
_VERSIONS: Final = """
SELECT version, created_at_ms FROM versions
WHERE business = ? AND feature = ? AND alias = ? ORDER BY position DESC
"""


class SqliteCatalogue:
    """Definitions, aliases, versions and rules; see the ``Catalogue`` port.

    Attributes:
        names_at_once: How many names of a list are read at a time.
    """

    names_at_once = NAMES_AT_ONCE

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def put_definition_text(self, definition_id: str, text: str) -> None:
        """Keep a canonical text under its md5; keeping it again changes nothing."""
        await self._execute(_PUT_TEXT, definition_id, text)

    async def definition_text(self, definition_id: str) -> str | None:
        """Read a canonical text."""
        rows = await self._database.look_up(
            lambda connection: connection.execute(_TEXT, (definition_id,)).fetchall()
        )
        return rows[0][0] if rows else None

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
        ((size_bytes,),) = await self._database.scan(
            lambda connection: connection.execute(_DEFINITION_BYTES, (business,)).fetchall(),
            reader=business,
        )
        return int(size_bytes)

    async def catalogue_use(self, business: str) -> CatalogueUse:
        """Return what the names and rules of a business take."""
        rows = await self._database.scan(
            lambda connection: connection.execute(_USE, (business,)).fetchall(), reader=business
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
        rows = await self._database.scan(
            lambda connection: connection.execute(_VERSIONS, (business, feature, alias)).fetchall(),
            reader=business,
        )
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

    async def is_listed(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> bool:
        """Tell whether the lowest given name is registered."""
        row = name_rows(business, feature, alias)[-1]
        return bool(await self._database.glance(_HAS_NAME, *row, reader=business))

    async def businesses(self) -> list[str]:
        """List registered businesses by name."""
        return await self._names("business", "feature = '' AND alias = ''")

    async def features(self, business: str) -> list[str]:
        """List registered features of a business by name."""
        return await self._names("feature", "business = ? AND alias = ''", business)

    async def aliases(self, business: str, feature: str) -> list[str]:
        """List registered aliases of a feature by name."""
        return await self._names("alias", "business = ? AND feature = ?", business, feature)

    async def _names(self, column: str, condition: str, *values: str) -> list[str]:
        statement = _NAMES.format(column=column, condition=condition)
        reader = values[0] if values else None

        async def read(after: str, limit: int) -> str:
            def page(connection: sqlite3.Connection) -> str:
                ((names,),) = connection.execute(statement, (*values, after, limit))
                return str(names)

            return await self._database.scan(page, reader=reader)

        return await all_names(read, self.names_at_once)

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
            reader=business,
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
            reader=business,
        )
        return dict(rows)

    async def rule_scopes(self, kind: str, business: str) -> list[str]:
        """List second parts of the scopes of a business that have rules, by name."""

        async def read(after: str, limit: int) -> str:
            def page(connection: sqlite3.Connection) -> str:
                ((subjects,),) = connection.execute(_SCOPES, (kind, business, after, limit))
                return str(subjects)

            return await self._database.scan(page, reader=business)

        return await all_names(read, self.names_at_once)

    async def _execute(self, statement: str, *values: object) -> None:
        def execute(connection: sqlite3.Connection) -> None:
            connection.execute(statement, values)

        await self._database.write(execute)

    async def _glanced(self, query: str, *values: object) -> str | None:
        rows = await self._database.glance_promptly(query, *values)
        return rows[0][0] if rows else None
