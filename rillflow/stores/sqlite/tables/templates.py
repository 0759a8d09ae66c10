"""Task templates in the SQLite store.

Used by `stores/sqlite/store.py`.
"""

import sqlite3

from rillflow.ports.storage.templates import TaskTemplate, TemplateChange, TemplateFilter
from rillflow.stores.sql.stored_rows import task_template
from rillflow.stores.sql.templates import (
    COUNT,
    CREATE,
    NAMESAKE,
    change_statement,
    create_values,
    list_statement,
)
from rillflow.stores.sqlite.database import SqliteDatabase


class SqliteTemplates:
    """Task templates; see the ``Templates`` port."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def create_template(self, template: TaskTemplate, *, at_ms: int) -> int | None:
        """Store a template under a new id; None if the name is taken."""

        def create(connection: sqlite3.Connection) -> int | None:
            # All rows are read, so that the statement has ended before the commit.
            rows = connection.execute(CREATE, create_values(template, at_ms)).fetchall()
            return int(rows[0][0]) if rows else None

        return await self._database.write(create)

    async def change_template(
        self, template_id: int, change: TemplateChange, *, at_ms: int
    ) -> bool | None:
        """Change a template; False if there is none, None if the new name is taken."""

        def update(connection: sqlite3.Connection) -> bool | None:
            if connection.execute(NAMESAKE, (change.name, template_id)).fetchone():
                return None
            statement, values = change_statement(template_id, change, at_ms)
            return bool(connection.execute(statement, values).fetchall())

        return await self._database.write(update)

    async def list_templates(
        self, wanted: TemplateFilter, *, limit: int, offset: int = 0
    ) -> list[TaskTemplate]:
        """List templates by id."""
        statement, values = list_statement(wanted, "instr(name, ?) > 0", limit, offset)
        rows = await self._database.scan(
            lambda connection: connection.execute(statement, values).fetchall()
        )
        return [task_template(row) for row in rows]

    async def count_templates(self) -> int:
        """Count all templates."""
        ((count,),) = await self._database.glance(COUNT)
        return int(count)
