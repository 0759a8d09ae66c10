"""The SQL of triggers, for the SQL adapters.

Values are marked with ``?``; PostgreSQL numbers them (`stores/sql/searching.py`). A change of
any trigger takes the next revision from the one row of ``trigger_counter``, whose lock puts changes
in the order of their commits.

Used by `stores/postgres/tables/triggers.py` and `stores/sqlite/tables/triggers.py`.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from rillflow.ports.triggers import TriggerRow

COLUMNS: Final = ", ".join(TriggerRow.__struct_fields__)
NEXT_REVISION: Final = """
UPDATE trigger_counter SET revision = revision + 1, next_id = next_id + ?
RETURNING revision, next_id - 1
"""
REVISION: Final = "SELECT revision FROM trigger_counter"
PUT: Final = """
INSERT INTO triggers (id, type, descriptor_id, owner, spec, is_paused, is_removed, revision,
    created_at_ms, position_ms, progress, context, changed_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET type = excluded.type, descriptor_id = excluded.descriptor_id,
    owner = excluded.owner, spec = excluded.spec, is_paused = excluded.is_paused,
    is_removed = excluded.is_removed, revision = excluded.revision,
    created_at_ms = excluded.created_at_ms, position_ms = excluded.position_ms,
    progress = excluded.progress, context = excluded.context,
    changed_at_ms = excluded.changed_at_ms
"""
PAUSE: Final = """
UPDATE triggers SET is_paused = ?, revision = ?, changed_at_ms = ?,
    position_ms = CASE WHEN position_ms > ? THEN position_ms ELSE ? END
WHERE id = ? AND NOT is_removed RETURNING id
"""
REMOVE: Final = """
UPDATE triggers SET is_removed = ?, revision = ?, changed_at_ms = ?, context = '', spec = '{}'
WHERE id = ? AND NOT is_removed RETURNING id
"""
FORGET: Final = "DELETE FROM triggers WHERE is_removed AND changed_at_ms < ?"
PROGRESS: Final = (
    "UPDATE triggers SET progress = ?, position_ms = ? WHERE id = ? AND position_ms <= ?"
)
CHANGED: Final = f"SELECT {COLUMNS} FROM triggers WHERE revision > ? ORDER BY revision LIMIT ?"  # noqa: S608 - names of fields
ONE: Final = f"SELECT {COLUMNS}, context FROM triggers WHERE id = ? AND NOT is_removed"  # noqa: S608 - names of fields
DECLARED: Final = f"SELECT {COLUMNS}, context FROM triggers WHERE owner = ? AND NOT is_removed"  # noqa: S608 - names of fields
_WITHIN: Final = """owner <> '' AND NOT is_removed
    AND substr(owner, 1, length(CAST(? AS text))) = CAST(? AS text)"""
COUNT_WITHIN: Final = f"SELECT count(*) FROM triggers WHERE {_WITHIN}"  # noqa: S608 - own text
REVISIONS: Final = "UPDATE trigger_counter SET revision = revision + ? RETURNING revision"
REMOVE_WITHIN: Final = f"""
UPDATE triggers SET is_removed = ?, revision = CAST(? AS bigint) + number, changed_at_ms = ?,
    context = '', spec = '{{}}'
FROM (SELECT id AS removed, row_number() OVER (ORDER BY id) AS number
    FROM triggers WHERE {_WITHIN}) AS within
WHERE id = removed
"""  # noqa: S608 - own text


def within_values(names: Sequence[str]) -> tuple[str, str]:
    """Return the values of ``COUNT_WITHIN``, the last ones of ``REMOVE_WITHIN`` too.

    The owner of a declared trigger is its alias, ``business:feature:alias``.
    """
    beginning = f"{':'.join(names)}:"
    return beginning, beginning


_IS_OF: Final = "substr(descriptor_id, 1, length(CAST(? AS text))) = CAST(? AS text)"
"""Whether a trigger starts what is in a workspace; its values are ``business:``, twice."""


def may_put(stored: TriggerRow | None, trigger: TriggerRow, *, replace: bool) -> bool:
    """Tell whether a trigger may be stored where there is one of its id, or none."""
    if stored is None:
        return True
    workspaces = {each.descriptor_id.partition(":")[0] for each in (stored, trigger)}
    return replace and len(workspaces) == 1


def pause_values(
    trigger_id: str, revision: int, *, is_paused: bool, at_ms: int
) -> tuple[bool, int, int, int, int, str]:
    """Return the values of ``PAUSE``, which deals with the times before a resumption.

    A pause moves no position: what was fired before it may still be noted.
    """
    dealt_with_ms = 0 if is_paused else at_ms
    return is_paused, revision, at_ms, dealt_with_ms, dealt_with_ms, trigger_id


def put_values(row: TriggerRow, context: str, at_ms: int) -> tuple[Any, ...]:
    """Return the values of ``PUT``."""
    return (*(getattr(row, name) for name in TriggerRow.__struct_fields__), context, at_ms)


def use_statement(bytes_of_row: str) -> str:
    """Return the statement that adds up triggers; its values are ``use_values``.

    Args:
        bytes_of_row: The expression for the bytes of all columns whose length callers choose.
    """
    return f"""
SELECT count(*), coalesce(sum(size), 0), coalesce(sum(own), 0), coalesce(sum(own * size), 0)
FROM (
    SELECT {bytes_of_row} AS size,
        CASE WHEN {_IS_OF} THEN 1 ELSE 0 END AS own
    FROM triggers WHERE NOT is_removed AND (owner = '' OR owner <> ?)
) AS used
"""  # noqa: S608 - names of columns


def use_values(workspace: str, besides: str) -> tuple[str, str, str]:
    """Return the values of ``use_statement``."""
    return f"{workspace}:", f"{workspace}:", besides


def list_statement(
    kind: str | None, owner: str | None, workspaces: Collection[str], after: str, limit: int
) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that lists triggers, and its values."""
    conditions, values = ["NOT is_removed", "id > ?"], [after]
    for column, value in (("type", kind), ("owner", owner)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if workspaces:
        conditions.append(f"({' OR '.join([_IS_OF] * len(workspaces))})")
        values += [f"{each}:" for each in workspaces for _ in range(2)]
    found = " AND ".join(conditions)
    statement = f"SELECT {COLUMNS} FROM triggers WHERE {found} ORDER BY id LIMIT ?"  # noqa: S608 - own text
    return statement, (*values, limit)


def is_same(stored: TriggerRow, context: str, row: TriggerRow, new_context: str) -> bool:
    """Tell whether a declared trigger is the one that is stored already."""
    return (stored.type, stored.descriptor_id, stored.spec, context) == (
        row.type,
        row.descriptor_id,
        row.spec,
        new_context,
    )


def gone(declared: Sequence[TriggerRow], wanted: Sequence[str]) -> list[str]:
    """Return the ids of declared triggers that are not wanted any more."""
    return [each.id for each in declared if each.id not in wanted]
