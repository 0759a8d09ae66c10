"""Searches among the executions of the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.storage.execution_search import FoundExecution, NewestCount, Place, Wanted
from rillflow.stores.large_values import joined_records, references_in
from rillflow.stores.sql.newest_counts import (
    PartCount,
    common_window,
    needs_recount,
    newest_count,
    share_of,
)
from rillflow.stores.sql.searching import (
    FEATURES,
    KEY_COUNT,
    MOST_PARTS,
    STATUSES,
    Part,
    count_statement,
    is_sifted,
    needs_features,
    newest_statement,
    page_statement,
    parts_of,
    window_statement,
)
from rillflow.stores.sql.stored_rows import damage_told, found_execution
from rillflow.stores.sqlite.connection import damage
from rillflow.stores.sqlite.database import SqliteDatabase

_SPANS: Final = """(
    SELECT key AS number, json_extract(value, '$[0]') AS begins, json_extract(value, '$[1]') AS ends
    FROM json_each(?)) AS spans
"""
_FEATURES: Final = FEATURES.format("?1", "?2")
_KEY_COUNT: Final = KEY_COUNT.format("?", "?")
_KEY: Final = "SELECT key FROM executions WHERE execution_id = ?"
_KEYS: Final = """
SELECT execution_id, idempotency_key FROM executions
WHERE execution_id IN (SELECT value FROM json_each(?)) AND idempotency_key IS NOT NULL
"""
_RECORDS: Final = "SELECT record FROM journal WHERE execution = ? AND seq > ? ORDER BY seq LIMIT ?"
_PAYLOAD: Final = "SELECT value FROM payloads WHERE execution = ? AND sha256 = ?"


class SqliteSearch:
    """Searches; see the ``ExecutionSearch`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def search_executions(
        self, wanted: Wanted, *, before: Place | None = None, limit: int
    ) -> list[FoundExecution]:
        """List executions, newest submit time first, beginning after a place."""

        def search(connection: sqlite3.Connection) -> list[FoundExecution]:
            parts = [part for _, part in _parts(connection, wanted)]
            if not parts:
                return []
            rows = connection.execute(*page_statement(parts, before, limit))
            return [found_execution(row) for row in rows]

        return await self._database.scan(search)

    async def window_of(
        self, wanted: Wanted, *, before: Place | None = None, most: int
    ) -> int | None:
        """Return since which submit time a search by several values is to look, at one time."""
        if not is_sifted(wanted):
            return None

        def look(connection: sqlite3.Connection) -> int | None:
            rarest = _rarest_first(connection, wanted)
            first = msgspec.structs.replace(rarest, keys=rarest.keys[:1])
            parts = _parts(connection, first)
            if not parts:
                return None
            share = share_of(most, (status for status, _ in parts))
            statement = window_statement([part for _, part in parts], before, share)
            ((since,),) = connection.execute(*statement)
            return None if since is None else int(since)

        return await self._database.scan(look)

    async def count_by_time(self, wanted: Wanted, edges_ms: Sequence[int]) -> list[dict[str, int]]:
        """Count executions by status, in each span of submit times between two edges."""
        spans = msgspec.json.encode(list(pairwise(edges_ms))).decode()

        def count(connection: sqlite3.Connection) -> list[dict[str, int]]:
            counts: list[dict[str, int]] = [{} for _ in pairwise(edges_ms)]
            for status, part in _parts(connection, wanted):
                statement = count_statement(part, _SPANS)
                for number, found in connection.execute(statement, (*part.values, spans)):
                    if found:
                        counts[number][status] = counts[number].get(status, 0) + found
            return counts

        return await self._database.scan(count)

    async def count_newest(self, wanted: Wanted, most: int) -> NewestCount:
        """Count the newest executions that a search finds, by status."""

        def count(connection: sqlite3.Connection) -> NewestCount:
            parts = _parts(connection, wanted)
            share = share_of(most, (status for status, _ in parts))
            found = _newest(connection, parts, share)
            window = common_window(found, wanted, share)
            if needs_recount(found, window, wanted):
                found = _newest(connection, _parts(connection, window), share)
            return newest_count(found, window, wanted)

        return await self._database.scan(count)

    async def idempotency_keys(
        self, execution_ids: Sequence[ExecutionId]
    ) -> dict[ExecutionId, str]:
        """Return the keys with which executions were submitted; one without a key is left out."""
        wanted = msgspec.json.encode(execution_ids).decode()
        return await self._database.look_up(
            lambda connection: dict(connection.execute(_KEYS, (wanted,)).fetchall())
        )

    async def read_journal(
        self, execution_id: ExecutionId, *, after_seq: int, limit: int
    ) -> list[bytes]:
        """Read journal records of one execution in their order, also those before a snapshot."""

        def read(connection: sqlite3.Connection) -> list[bytes]:
            with damage_told(execution_id, (sqlite3.Error, OSError), damage):
                row = connection.execute(_KEY, (execution_id,)).fetchone()
                if row is None:
                    return []
                found = connection.execute(_RECORDS, (row[0], after_seq, limit))
                records = [record for (record,) in found]
                payloads = {
                    sha256: value
                    for sha256 in references_in(records)
                    for (value,) in connection.execute(_PAYLOAD, (row[0], sha256))
                }
                return joined_records(execution_id, records, payloads)

        return await self._database.scan(read, reader=workspace_of(execution_id))


def _newest(
    connection: sqlite3.Connection, parts: Iterable[tuple[str, Part]], most: int
) -> list[PartCount]:
    found = []
    for status, part in parts:
        ((count, oldest_ms),) = connection.execute(*newest_statement(part, most))
        found.append(PartCount(status, count, oldest_ms))
    return found


def _parts(connection: sqlite3.Connection, wanted: Wanted) -> tuple[tuple[str, Part], ...]:
    statuses = wanted.statuses
    if statuses is None:
        statuses = tuple(status for (status,) in connection.execute(STATUSES))
    features: tuple[str, ...] = ()
    wanted = _rarest_first(connection, wanted)
    if needs_features(wanted):
        values = (wanted.business, MOST_PARTS + 1)
        features = tuple(feature for (feature,) in connection.execute(_FEATURES, values))
    return parts_of(wanted, statuses, features)


def _rarest_first(connection: sqlite3.Connection, wanted: Wanted) -> Wanted:
    """Return a search with its search keys in the order of how many executions have them."""
    if len(wanted.keys) < 2:
        return wanted
    rare = sorted(wanted.keys, key=lambda each: connection.execute(_KEY_COUNT, each).fetchone())
    return msgspec.structs.replace(wanted, keys=tuple(rare))
