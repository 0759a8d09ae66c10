"""Rows as the SQL adapters read them, turned into the port's structures."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from rillflow.ports.store import AliasRow, ExecutionSummary, StoredExecution, VersionRow

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def stored_execution(row: Sequence[Any]) -> StoredExecution:
    """Build an execution from columns in the order of its fields."""
    fields = dict(zip(StoredExecution.__struct_fields__, row, strict=True))
    # SQLite has no booleans, and asyncpg reads arrays as lists.
    booleans = {name: bool(fields[name]) for name in ("dedicated", "rests")}
    return StoredExecution(**(fields | booleans | {"records": tuple(fields["records"])}))


def execution_summary(row: Sequence[Any]) -> ExecutionSummary:
    """Build a line of a listing from columns in the order of its fields."""
    return _struct(ExecutionSummary, row)


def alias_row(row: Sequence[Any]) -> AliasRow:
    """Build a line of the aliases from columns in the order of its fields."""
    return _struct(AliasRow, row)


def version_row(row: Sequence[Any]) -> VersionRow:
    """Build a line of an alias's versions from columns in the order of its fields."""
    return _struct(VersionRow, row)


def _struct(kind: type[_Struct], row: Sequence[Any]) -> _Struct:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))
