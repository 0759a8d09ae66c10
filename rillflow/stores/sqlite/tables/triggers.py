"""Triggers in the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from rillflow.ports.triggers import (
    KEPT_REMOVED_MS,
    TriggerProgress,
    TriggerRow,
    TriggerUse,
)
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
from rillflow.stores.sqlite.database import SqliteDatabase
from rillflow.stores.sqlite.reading import OWN

_SEVERAL: Final = f"""
SELECT {COLUMNS}, context FROM triggers
WHERE id IN (SELECT value FROM json_each(?)) AND NOT is_removed
"""  # noqa: S608 - names of fields

_USE: Final = use_statement("length(CAST(id || descriptor_id || spec || context AS BLOB))")


class SqliteTriggers:
    """Triggers; see the ``Triggers`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def put_trigger(
        self, trigger: TriggerRow, context: str, *, replace: bool
    ) -> TriggerRow | None:
        """Store a trigger; None if there is one of this id, and it may not be replaced."""

        def put(connection: sqlite3.Connection) -> TriggerRow | None:
            found = connection.execute(ONE, (trigger.id,)).fetchone() if trigger.id else None
            stored = None if found is None else trigger_row(found[:-1])
            if not may_put(stored, trigger, replace=replace):
                return None
            revision, number = _next_revision(connection, new_ids=0 if trigger.id else 1)
            while not trigger.id and connection.execute(ONE, (str(number),)).fetchone():
                revision, number = _next_revision(connection, new_ids=1)
            row = msgspec.structs.replace(trigger, id=trigger.id or str(number), revision=revision)
            connection.execute(PUT, put_values(row, context, row.created_at_ms))
            connection.execute(FORGET, (row.created_at_ms - KEPT_REMOVED_MS,))
            return row

        return await self._database.write(put)

    async def sync_triggers(
        self, owner: str, triggers: Sequence[tuple[TriggerRow, str]], *, at_ms: int
    ) -> list[str]:
        """Make these the triggers of a definition; return ids that others have taken."""

        def sync(connection: sqlite3.Connection) -> list[str]:
            taken = [
                row.id
                for row, _ in triggers
                for found in connection.execute(ONE, (row.id,)).fetchall()
                if trigger_row(found[:-1]).owner != owner
            ]
            if not taken:
                _write_declared(connection, owner, triggers, at_ms)
            return taken

        return await self._database.write(sync)

    async def remove_declared_triggers(self, *names: str, at_ms: int) -> None:
        """Remove all triggers that definitions of a business, or of its feature, declare."""
        within = within_values(names)

        def remove(connection: sqlite3.Connection) -> None:
            ((number,),) = connection.execute(COUNT_WITHIN, within)
            if number:
                ((revision,),) = connection.execute(REVISIONS, (number,)).fetchall()
                connection.execute(REMOVE_WITHIN, (True, revision - number, at_ms, *within))

        await self._database.write(remove)

    async def pause_trigger(self, trigger_id: str, *, is_paused: bool, at_ms: int) -> bool:
        """Pause or resume a trigger; False if there is none."""

        def pause(connection: sqlite3.Connection) -> bool:
            revision, _ = _next_revision(connection)
            values = pause_values(trigger_id, revision, is_paused=is_paused, at_ms=at_ms)
            return bool(connection.execute(PAUSE, values).fetchall())

        return await self._database.write(pause)

    async def remove_trigger(self, trigger_id: str, *, at_ms: int) -> bool:
        """Remove a trigger; False if there was none."""
        return await self._database.write(lambda connection: _remove(connection, trigger_id, at_ms))

    async def trigger(self, trigger_id: str) -> tuple[TriggerRow, str] | None:
        """Read a trigger with its context; None if there is none."""
        rows = await self._database.glance_promptly(ONE, trigger_id)
        return trigger_with_context(rows[0]) if rows else None

    async def triggers_now(self, ids: Sequence[str]) -> dict[str, tuple[TriggerRow, str]]:
        """Read triggers with their contexts."""
        named = msgspec.json.encode(list(ids)).decode()
        rows = await self._database.look_up(
            lambda connection: connection.execute(_SEVERAL, (named,)).fetchall()
        )
        found = map(trigger_with_context, rows)
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
        rows = await self._database.scan(
            lambda connection: connection.execute(statement, values).fetchall()
        )
        return [trigger_row(row) for row in rows]

    async def newest_trigger_revision(self) -> int:
        """Return the revision of the last change of any trigger."""
        ((revision,),) = await self._database.glance_promptly(REVISION)
        return int(revision)

    async def changed_triggers(self, after_revision: int, *, limit: int) -> list[TriggerRow]:
        """List triggers that were changed, also removed ones, by revision."""
        rows = await self._database.look_up(
            lambda connection: connection.execute(CHANGED, (after_revision, limit)).fetchall(),
            reader=OWN,
        )
        return [trigger_row(row) for row in rows]

    async def note_trigger_progress(self, progress: Sequence[TriggerProgress]) -> None:
        """Store how far triggers have come; a position that is further is kept."""
        rows = [(each.progress, each.position_ms, each.id, each.position_ms) for each in progress]

        def note(connection: sqlite3.Connection) -> None:
            connection.executemany(PROGRESS, rows)

        await self._database.write(note)

    async def trigger_use(self, workspace: str = "", *, besides: str = "") -> TriggerUse:
        """Return what all triggers take, and those of a workspace."""
        values = use_values(workspace, besides)
        rows = await self._database.scan(
            lambda connection: connection.execute(_USE, values).fetchall(),
            reader=workspace or None,
        )
        return TriggerUse(**dict(zip(TriggerUse.__struct_fields__, map(int, rows[0]), strict=True)))


def _next_revision(connection: sqlite3.Connection, *, new_ids: int = 0) -> tuple[int, int]:
    ((revision, number),) = connection.execute(NEXT_REVISION, (new_ids,)).fetchall()
    return int(revision), int(number)


def _remove(connection: sqlite3.Connection, trigger_id: str, at_ms: int) -> bool:
    revision, _ = _next_revision(connection)
    return bool(connection.execute(REMOVE, (True, revision, at_ms, trigger_id)).fetchall())


def _write_declared(
    connection: sqlite3.Connection,
    owner: str,
    triggers: Sequence[tuple[TriggerRow, str]],
    at_ms: int,
) -> None:
    rows = connection.execute(DECLARED, (owner,)).fetchall()
    stored = {row.id: (row, context) for row, context in map(trigger_with_context, rows)}
    for trigger_id in gone([row for row, _ in stored.values()], [row.id for row, _ in triggers]):
        _remove(connection, trigger_id, at_ms)
    for row, context in triggers:
        if row.id in stored and is_same(*stored[row.id], row, context):
            continue
        revision, _ = _next_revision(connection)
        new = msgspec.structs.replace(row, revision=revision)
        connection.execute(PUT, put_values(new, context, at_ms))
