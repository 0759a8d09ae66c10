"""Conversion of SQL rows into the port's structures, for the SQL adapters.

Used by `stores/postgres` and `stores/sqlite`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec

from rillflow.errors import DamagedError, LargeExecutionError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.aliases import MOST_ALIASES, AliasRow, ListedVersion
from rillflow.ports.storage.execution_search import FoundExecution
from rillflow.ports.storage.store import (
    CatalogueUse,
    Death,
    ExecutionSummary,
    StoredExecution,
    VersionRow,
)
from rillflow.ports.storage.templates import TaskTemplate
from rillflow.ports.triggers import TriggerRow

_Struct = TypeVar("_Struct", bound=msgspec.Struct)

COUNTED: Final = """
SELECT (SELECT count(*) FROM executions WHERE business = {0})
    - (SELECT count(*) FROM stored_bytes WHERE elsewhere = {0}),
    (SELECT coalesce(sum(bytes), 0) FROM stored_bytes WHERE workspace = {0})
"""
"""SQL of every adapter: how many executions a workspace has, and the bytes beyond them."""


@contextmanager
def damage_told(
    execution_id: ExecutionId,
    failures: tuple[type[Exception], ...],
    damage: Callable[[Exception], str | None],
) -> Iterator[None]:
    """Separate damage of one execution from failures of the store.

    ``failures`` are what a store raises that cannot be read; ``damage`` returns for one of them
    what is wrong with the rows, None if they are not the cause. Any other exception was raised
    while the rows were decoded. Reasons contain no values.

    Raises:
        DamagedError: The body failed because of what is stored of the execution.
        LargeExecutionError: The body raised it.
    """
    try:
        yield
    except (DamagedError, LargeExecutionError):
        raise
    except failures as error:
        reason = damage(error)
        if reason is None:
            raise
        raise DamagedError(f"{execution_id}: {reason}") from error
    except Exception as error:
        reason = f"its rows cannot be decoded ({type(error).__name__})"
        raise DamagedError(f"{execution_id}: {reason}") from error


def death_of(row: Sequence[Any]) -> Death:
    """Build a death from columns in the order of its fields."""
    return _struct(Death, row)


def stored_execution(row: Sequence[Any]) -> StoredExecution:
    """Build an execution from columns in the order of its fields."""
    fields = dict(zip(StoredExecution.__struct_fields__, row, strict=True))
    # SQLite has no booleans, and asyncpg reads arrays as lists.
    booleans = {name: bool(fields[name]) for name in ("dedicated", "rests")}
    return StoredExecution(**(fields | booleans | {"records": tuple(fields["records"])}))


def execution_summary(row: Sequence[Any]) -> ExecutionSummary:
    """Build a line of a listing from columns in the order of its fields."""
    return _struct(ExecutionSummary, row)


def found_execution(row: Sequence[Any]) -> FoundExecution:
    """Build a row of a search from columns in the order of its fields."""
    fields = dict(zip(FoundExecution.__struct_fields__, row, strict=True))
    return FoundExecution(**(fields | {"dedicated": bool(fields["dedicated"])}))


def alias_row(row: Sequence[Any]) -> AliasRow:
    """Build a line of the aliases from columns in the order of its fields."""
    return _struct(AliasRow, row)


def version_row(row: Sequence[Any]) -> VersionRow:
    """Build a line of an alias's versions from columns in the order of its fields."""
    return _struct(VersionRow, row)


def catalogue_use(rows: Sequence[Sequence[Any]]) -> CatalogueUse:
    """Build what a catalogue takes from a row of its names and one of its rules."""
    (_, names, of_names), (_, rules, of_rules) = rows
    return CatalogueUse(int(names), int(rules), int(of_names) + int(of_rules))


def task_template(row: Sequence[Any]) -> TaskTemplate:
    """Build a task template from columns in the order of its fields."""
    return _struct(TaskTemplate, row)


def trigger_row(row: Sequence[Any]) -> TriggerRow:
    """Build a trigger from columns in the order of its fields."""
    fields = dict(zip(TriggerRow.__struct_fields__, row, strict=True))
    # SQLite has no booleans.
    booleans = {name: bool(fields[name]) for name in ("is_paused", "is_removed")}
    return TriggerRow(**(fields | booleans))


def trigger_with_context(row: Sequence[Any]) -> tuple[TriggerRow, str]:
    """Build a trigger from columns in the order of its fields, and its context after them."""
    return trigger_row(row[:-1]), row[-1]


def _struct(kind: type[_Struct], row: Sequence[Any]) -> _Struct:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))


def listed_versions(
    versions: Iterable[Sequence[Any]], aliases: Iterable[Sequence[Any]]
) -> list[ListedVersion]:
    """Build versions from rows (version, time, number of aliases) and those of their aliases.

    These are (version, alias, whether it is the newest), in the order in which they are listed.
    """
    by_version: dict[str, list[tuple[str, bool]]] = {}
    for version, alias, is_newest in aliases:
        by_version.setdefault(version, []).append((alias, bool(is_newest)))
    return [
        ListedVersion(
            version=version,
            created_at_ms=at_ms,
            aliases=tuple(sorted(alias for alias, _ in by_version.get(version, ()))),
            newest_of=tuple(
                sorted(alias for alias, is_newest in by_version.get(version, ()) if is_newest)
            ),
            more_aliases=max(number - MOST_ALIASES, 0),
        )
        for version, at_ms, number in versions
    ]
