"""An execution filter as SQL conditions; each adapter adds its own placeholders.

Used by `stores/memory/journal.py`, `stores/postgres/journal.py` and `stores/sqlite/journal.py`.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from rillflow.ports.storage.store import ExecutionFilter

IS_NULL: Final = "IS NULL"


HAS_VALUE: Final = "IN (SELECT key FROM search_keys WHERE name = {} AND value = {})"
"""An operator of the column ``key``; its value is the name of a search key and its value."""


class Condition(NamedTuple):
    """One comparison of a column with one value (a tuple of them for ``IN``).

    The value of ``IS_NULL`` means nothing.
    """

    column: str
    operator: str
    value: object


def conditions_of(wanted: ExecutionFilter) -> Iterator[Condition]:
    """Yield the conditions of a filter, none if it selects everything."""
    given = (
        Condition("execution_id", "=", wanted.execution_id),
        Condition("business", "=", wanted.business),
        Condition("feature", "=", wanted.feature),
        Condition("status", "IN", wanted.statuses),
        Condition("code", "=", wanted.code),
        Condition("submitted_at_ms", ">=", wanted.from_ms),
        Condition("submitted_at_ms", "<=", wanted.to_ms),
        Condition("parent_id", IS_NULL, True if wanted.roots_only else None),
    )
    yield from (condition for condition in given if condition.value is not None)
    yield from (Condition("key", HAS_VALUE, key) for key in wanted.keys)
