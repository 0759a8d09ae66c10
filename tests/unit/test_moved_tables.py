"""Every table and column of a store is moved by an export, or stays for a reason that is known.

Who adds one decides which; a table that nobody thought of would be lost on the way.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest

from rillflow.stores.append_plan import ExecutionRow as PlannedRow
from rillflow.stores.sqlite.schema import migrate
from rillflow.stores.transfer.rows import COLUMNS
from rillflow.stores.transfer.tables import TABLES, TRIGGERS, VERSIONS

WITH_EXECUTIONS: Final = {
    *("executions", "journal", "snapshots", "payloads", "descendants", "search_keys"),
    "stored_bytes",  # counted anew
}
IN_THE_HEADER: Final = {"trigger_counter"}
STAY: Final = {
    *("epochs", "owners", "owner_leases", "deployment", "lease"),  # each store has its own
    *("audit", "ended_sessions"),  # what was done on this server
    "sqlite_sequence",
}
OWN_COLUMNS: Final = {
    VERSIONS: {"position"},
    TRIGGERS: {"revision"},
    "known_versions": {"bytes"},  # of what was added here
}
"""Columns that count within one store."""


@pytest.fixture(name="database")
def _database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def columns_of(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def test_every_table_is_moved_or_stays(database: sqlite3.Connection) -> None:
    found = {
        name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    assert found == {*TABLES, *WITH_EXECUTIONS, *IN_THE_HEADER, *STAY}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_a_table_is_moved(database: sqlite3.Connection, table: str) -> None:
    own = OWN_COLUMNS.get(table, set())
    assert columns_of(database, table) - own == set(TABLES[table].names)


def test_every_column_of_an_execution_is_moved(database: sqlite3.Connection) -> None:
    planned = {"partition" if name == "listing_partition" else name for name in PlannedRow._fields}
    assert columns_of(database, "executions") == {"key", *COLUMNS} == planned
