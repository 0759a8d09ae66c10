"""Task templates in the PostgreSQL store.

Used by `stores/postgres/store.py`.
"""

from rillflow.ports.storage.templates import TaskTemplate, TemplateChange, TemplateFilter
from rillflow.stores.postgres.database import PostgresDatabase
from rillflow.stores.sql.searching import numbered
from rillflow.stores.sql.stored_rows import task_template
from rillflow.stores.sql.templates import (
    COUNT,
    CREATE,
    NAMESAKE,
    change_statement,
    create_values,
    list_statement,
)


class PostgresTemplates:
    """Task templates; see the ``Templates`` port."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def create_template(self, template: TaskTemplate, *, at_ms: int) -> int | None:
        """Store a template under a new id; None if the name is taken."""
        async with self._database.transaction() as connection:
            found = await connection.fetchval(numbered(CREATE), *create_values(template, at_ms))
            return None if found is None else int(found)

    async def change_template(
        self, template_id: int, change: TemplateChange, *, at_ms: int
    ) -> bool | None:
        """Change a template; False if there is none, None if the new name is taken."""
        statement, values = change_statement(template_id, change, at_ms)
        async with self._database.transaction() as connection:
            if await connection.fetchval(numbered(NAMESAKE), change.name, template_id) is not None:
                return None
            return await connection.fetchval(numbered(statement), *values) is not None

    async def list_templates(
        self, wanted: TemplateFilter, *, limit: int, offset: int = 0
    ) -> list[TaskTemplate]:
        """List templates by id."""
        statement, values = list_statement(wanted, "strpos(name, ?) > 0", limit, offset)
        return [
            task_template(row) for row in await self._database.scan(numbered(statement), *values)
        ]

    async def count_templates(self) -> int:
        """Count all templates."""
        ((count,),) = await self._database.rows(COUNT)
        return int(count)
