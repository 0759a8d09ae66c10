"""The SQL of task templates, for the SQL adapters.

Values are marked with ``?``; PostgreSQL numbers them (`stores/sql/searching.py`).

Used by `stores/postgres/tables/templates.py` and `stores/sqlite/tables/templates.py`.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rillflow.ports.storage.templates import TaskTemplate, TemplateChange, TemplateFilter

COLUMNS: Final = ", ".join(TaskTemplate.__struct_fields__)
CREATE: Final = """
INSERT INTO task_templates
    (name, type, category, icon, task_yaml, schema, output, enable, created_at_ms, updated_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING RETURNING id
"""
NAMESAKE: Final = "SELECT id FROM task_templates WHERE name = ? AND id <> ?"
COUNT: Final = "SELECT count(*) FROM task_templates"

_CONDITIONS: Final[Mapping[str, str]] = {
    "id": "id = ?",
    "category": "category = ?",
    "type": "type = ?",
    "enable": "enable = ?",
}


def create_values(template: TaskTemplate, at_ms: int) -> tuple[Any, ...]:
    """Return the values of ``CREATE``."""
    fields = msgspec.structs.astuple(template)
    return (*fields[1:], at_ms, at_ms)


def change_statement(
    template_id: int, change: TemplateChange, at_ms: int
) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that changes a template, and its values; it returns the id."""
    given = {
        name: value for name, value in msgspec.structs.asdict(change).items() if value is not None
    } | {"updated_at_ms": at_ms}
    settings = ", ".join(f"{name} = ?" for name in given)
    statement = f"UPDATE task_templates SET {settings} WHERE id = ? RETURNING id"  # noqa: S608 - names of fields
    return statement, (*given.values(), template_id)


def list_statement(
    wanted: TemplateFilter, contains: str, limit: int, offset: int
) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that lists templates, and its values.

    ``contains`` is the condition that holds if the name contains a value.
    """
    conditions, values = ["0 = 0"], []
    for field, condition in (*_CONDITIONS.items(), ("name", contains)):
        value = getattr(wanted, field)
        if value is not None:
            conditions.append(condition)
            values.append(value)
    found = " AND ".join(conditions)
    statement = f"SELECT {COLUMNS} FROM task_templates WHERE {found} ORDER BY id LIMIT ? OFFSET ?"  # noqa: S608 - own text
    return statement, (*values, limit, offset)
