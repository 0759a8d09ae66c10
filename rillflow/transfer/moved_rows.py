"""Checks the rows of tables of a file: only what a server would have stored is imported.

Used by `transfer/importing.py`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rillflow.definition import MAX_TEXT_BYTES, parse_definition
from rillflow.errors import DefinitionError, StoreError
from rillflow.stores.transfer.tables import DEFINITIONS, TABLES, TRIGGERS, VERSIONS, Table
from rillflow.transfer.frames import TableFrame
from rillflow.transfer.moved_triggers import refuse_wrong_trigger
from rillflow.transfer.row_checks import refuse_wrong_row

_STORED_DEPTH: Final = 1_000
_STORED_BYTES: Final = 32 * MAX_TEXT_BYTES
"""What a server reads of a stored definition at most."""


def rows_of(frame: TableFrame) -> list[tuple[Any, ...]]:
    """Return rows whose columns have the types of their table.

    Raises:
        StoreError: The table is unknown, or a row is not one of it.
    """
    table = TABLES.get(frame.table)
    if table is None:
        raise StoreError(f"rows of the table {frame.table[:40]!r} are not imported")
    if not frame.rows:
        raise StoreError(f"a frame has no rows of the table {frame.table!r}")
    for row in frame.rows:
        if not _fits(table, row):
            raise StoreError(f"the table {frame.table} has no rows like {_shown(row)}")
    check = _CHECKS.get(frame.table)
    for row in frame.rows:
        if check is not None:
            check(row)
        refuse_wrong_row(frame.table, row)
    if frame.table == VERSIONS and len({row[:3] for row in frame.rows}) > 1:
        raise StoreError("the versions of two aliases are together")
    return list(frame.rows)


def _shown(row: tuple[object, ...]) -> str:
    return ", ".join(repr(value[:20] if isinstance(value, str) else value) for value in row)[:200]


def _fits(table: Table, row: tuple[object, ...]) -> bool:
    kinds = tuple(table.columns.values())
    return len(row) == len(kinds) and all(
        type(value) is kind for kind, value in zip(kinds, row, strict=True)
    )


def _refuse_wrong_text(row: Sequence[Any]) -> None:
    definition_id, text = map(str, row)
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    if digest != definition_id:
        raise StoreError(f"the definition {definition_id[:40]!r} has another text than its id says")
    try:
        parse_definition(text, max_depth=_STORED_DEPTH, max_bytes=_STORED_BYTES)
    except (DefinitionError, TypeError, ValueError) as error:
        raise StoreError(f"the definition {definition_id} cannot be read: {error}") from error


_CHECKS: Final[Mapping[str, Callable[[Sequence[Any]], None]]] = {
    DEFINITIONS: _refuse_wrong_text,
    TRIGGERS: refuse_wrong_trigger,
}
