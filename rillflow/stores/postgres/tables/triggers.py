"""Triggers in the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from collections.abc import Collection, Sequence
from typing import Final

import asyncpg
import msgspec

from rillflow.ports.triggers import (
    KEPT_REMOVED_MS,
    TriggerProgress,
    TriggerRow,
    TriggerUse,
)
from rillflow.stores.postgres.database import OWN, PostgresDatabase
from rillflow.stores.sql.searching import numbered
from rillflow.stores.sql.stored_rows import trigger_row, trigger_with_context
from rillflow.stores.sql.triggers import (
    CHANGED,
    COLUMNS,
    COUNT_WITHIN,
    DECLARED,
    FORGET,
    NEXT_REVISION,
    ONE,
    PAUSE,
    PROGRESS,
    PUT,
    REMOVE,
    REMOVE_WITHIN,
    REVISION,
    REVISIONS,
    gone,
    is_same,
    list_statement,
    may_put,
    pause_values,
    put_values,
    use_statement,
    use_values,
    within_values,
)

_SEVERAL: Final = f"""
SELECT {COLUMNS}, context FROM triggers WHERE id = ANY($1::text[]) AND NOT is_removed
"""  # noqa: S608 - names of fields

_USE: Final = numbered(use_statement("octet_length(id || descriptor_id || spec || context)"))


class PostgresTriggers:
    """Triggers; see the ``Triggers`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def put_trigger(
        self, trigger: TriggerRow, context: str, *, replace: bool
    ) -> TriggerRow | None:
        """Store a trigger; None if there is one of this id, and it may not be replaced."""
        async with self._database.transaction() as connection:
            # First, so that whoever else adds one waits for the lock of this row.
            revision, number = await _next_revision(connection, new_ids=0 if trigger.id else 1)
            found = await connection.fetchrow(numbered(ONE), trigger.id) if trigger.id else None
            stored = None if found is None else trigger_row(tuple(found)[:-1])
            if not may_put(stored, trigger, replace=replace):
                return None
            while not trigger.id and await connection.fetchrow(numbered(ONE), str(number)):
                revision, number = await _next_revision(connection, new_ids=1)
            row = msgspec.structs.replace(trigger, id=trigger.id or str(number), revision=revision)
            values = put_values(row, context, row.created_at_ms)
            await connection.execute(numbered(PUT), *values)
            await connection.execute(numbered(FORGET), row.created_at_ms - KEPT_REMOVED_MS)
            return row

    async def sync_triggers(
        self, owner: str, triggers: Sequence[tuple[TriggerRow, str]], *, at_ms: int
    ) -> list[str]:
        """Make these the triggers of a definition; return ids that others have taken."""
        async with self._database.transaction() as connection:
            await _next_revision(connection)
            taken = []
            for row, _ in triggers:
                found = await connection.fetchrow(numbered(ONE), row.id)
                if found is not None and trigger_row(tuple(found)[:-1]).owner != owner:
                    taken.append(row.id)
            if not taken:
                await _write_declared(connection, owner, triggers, at_ms)
            return taken

    async def remove_declared_triggers(self, *names: str, at_ms: int) -> None:
        """Remove all triggers that definitions of a business, or of its feature, declare."""
        within = within_values(names)
        count = numbered(COUNT_WITHIN)
        async with self._database.transaction(reader=names[0]) as connection:
            if not await connection.fetchval(count, *within):
                return  # and nobody has waited for the lock
            await _next_revision(connection)
            number = await connection.fetchval(count, *within)
            revision = await connection.fetchval(numbered(REVISIONS), number)
            values = (True, revision - number, at_ms, *within)
            await connection.execute(numbered(REMOVE_WITHIN), *values)

    async def pause_trigger(self, trigger_id: str, *, is_paused: bool, at_ms: int) -> bool:
        """Pause or resume a trigger; False if there is none."""
        async with self._database.transaction() as connection:
            revision, _ = await _next_revision(connection)
            values = pause_values(trigger_id, revision, is_paused=is_paused, at_ms=at_ms)
            return await connection.fetchval(numbered(PAUSE), *values) is not None

    async def remove_trigger(self, trigger_id: str, *, at_ms: int) -> bool:
        """Remove a trigger; False if there was none."""
        async with self._database.transaction() as connection:
            return await _remove(connection, trigger_id, at_ms)

    async def trigger(self, trigger_id: str) -> tuple[TriggerRow, str] | None:
        """Read a trigger with its context; None if there is none."""
        rows = await self._database.rows_promptly(numbered(ONE), trigger_id)
        return trigger_with_context(rows[0]) if rows else None

    async def triggers_now(self, ids: Sequence[str]) -> dict[str, tuple[TriggerRow, str]]:
        """Read triggers with their contexts."""
        found = map(trigger_with_context, await self._database.rows(_SEVERAL, list(ids)))
        return {row.id: (row, context) for row, context in found}

    async def list_triggers(
        self,
        *,
        kind: str | None = None,
        owner: str | None = None,
        workspaces: Collection[str] = (),
        after: str = "",
        limit: int,
    ) -> list[TriggerRow]:
        """List triggers by id, beginning after one."""
        statement, values = list_statement(kind, owner, workspaces, after, limit)
        return [trigger_row(row) for row in await self._database.scan(numbered(statement), *values)]

    async def newest_trigger_revision(self) -> int:
        """Return the revision of the last change of any trigger."""
        ((revision,),) = await self._database.rows_promptly(REVISION)
        return int(revision)

    async def changed_triggers(self, after_revision: int, *, limit: int) -> list[TriggerRow]:
        """List triggers that were changed, also removed ones, by revision."""
        rows = await self._database.rows(numbered(CHANGED), after_revision, limit, reader=OWN)
        return [trigger_row(row) for row in rows]

    async def note_trigger_progress(self, progress: Sequence[TriggerProgress]) -> None:
        """Store how far triggers have come; a position that is further is kept."""
        # In one order, so that two owners do not wait for each other's rows.
        rows = [
            (each.progress, each.position_ms, each.id, each.position_ms)
            for each in sorted(progress, key=lambda each: each.id)
        ]
        async with self._database.transaction() as connection:
            await connection.executemany(numbered(PROGRESS), rows)

    async def trigger_use(self, workspace: str = "", *, besides: str = "") -> TriggerUse:
        """Return what all triggers take, and those of a workspace."""
        values = use_values(workspace, besides)
        rows = await self._database.scan(_USE, *values, reader=workspace or None)
        return TriggerUse(**dict(zip(TriggerUse.__struct_fields__, map(int, rows[0]), strict=True)))


async def _next_revision(connection: asyncpg.Connection, *, new_ids: int = 0) -> tuple[int, int]:
    revision, number = await connection.fetchrow(numbered(NEXT_REVISION), new_ids)
    return int(revision), int(number)


async def _remove(connection: asyncpg.Connection, trigger_id: str, at_ms: int) -> bool:
    revision, _ = await _next_revision(connection)
    values = (True, revision, at_ms, trigger_id)
    return await connection.fetchval(numbered(REMOVE), *values) is not None


async def _write_declared(
    connection: asyncpg.Connection,
    owner: str,
    triggers: Sequence[tuple[TriggerRow, str]],
    at_ms: int,
) -> None:
    rows = await connection.fetch(numbered(DECLARED), owner)
    found = [trigger_with_context(tuple(row)) for row in rows]
    stored = {row.id: (row, context) for row, context in found}
    for trigger_id in gone([row for row, _ in found], [row.id for row, _ in triggers]):
        await _remove(connection, trigger_id, at_ms)
    for row, context in triggers:
        if row.id in stored and is_same(*stored[row.id], row, context):
            continue
        revision, _ = await _next_revision(connection)
        new = msgspec.structs.replace(row, revision=revision)
        await connection.execute(numbered(PUT), *put_values(new, context, at_ms))
