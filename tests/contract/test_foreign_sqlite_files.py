"""A SQLite file of somebody else is read within bounds, and nothing in its schema runs."""

import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from rillflow.core.encoding.codec import encode_event, encode_state
from rillflow.core.events import DispatchAnswered
from rillflow.definition import canonical_text, parse_definition
from rillflow.errors import StoreError
from rillflow.jsontypes import encode_json
from rillflow.stores import open_store
from rillflow.stores.sqlite import backup as sqlite_backup
from rillflow.stores.sqlite import foreign_file
from rillflow.stores.sqlite import schema as sqlite_schema
from rillflow.stores.sqlite.file_use import refuse_incomplete
from tests.contract.appends import submit
from tests.machine_speed import processor_time
from tests.spec.notation import pass_, scenario

PASS: Final = "workspace: shop\ndagName: order\ntype: flow\ntasks: [{name: A, category: pass}]\n"
ENDLESS: Final = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i"
COUNT_ENDLESS: Final = f"SELECT count(*) FROM ({ENDLESS} FROM n)"  # noqa: S608 - no input
HOSTILE: Final = {
    "a view without end": (
        "ALTER TABLE definitions RENAME TO d",
        f"CREATE VIEW definitions AS {ENDLESS} AS definition_id, 'x' AS text FROM n",
    ),
    "a view of a gigabyte": (
        "ALTER TABLE definitions RENAME TO d",
        "CREATE VIEW definitions AS SELECT 'x' AS definition_id, zeroblob(990000000) AS text",
    ),
    "a mark that is a view": (
        "DROP TABLE file_use",
        (
            f"CREATE VIEW file_use AS {ENDLESS} + zeroblob(1) AS in_use, 1 AS use_number FROM n"
            " WHERE i < 0"
        ),
    ),
    "a trigger": ("CREATE TRIGGER t AFTER UPDATE ON file_use BEGIN DELETE FROM executions; END",),
    "a virtual table": ("CREATE VIRTUAL TABLE v USING fts5(a)",),
    "a column that is computed": (
        "DROP TABLE definitions",
        (
            "CREATE TABLE definitions (definition_id TEXT PRIMARY KEY,"
            " text TEXT NOT NULL AS (zeroblob(990000000)))"
        ),
    ),
    "an index of expressions": (
        "CREATE INDEX i ON definitions (length(zeroblob(900000000) || text))",
    ),
    "an index of another form": (
        "DROP INDEX versions_newest",
        "CREATE INDEX versions_newest ON versions (business) WHERE length(zeroblob(9)) = 9",
    ),
    "another table": ("CREATE TABLE more (a)",),
}
SECONDS: Final = 10
"""None of the files is read for longer, on a busy machine too; each would take more for ever."""


def nothing(_: int, __: int) -> None:
    """Take no notice of progress."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rillflow.db"
    sqlite_schema.upgrade(path)
    return path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize(
    "read",
    [
        lambda path: sqlite_backup.verify(path, nothing),
        lambda path: sqlite_backup.restore(path, path.with_name("new.db"), nothing),
        lambda path: sqlite_backup.backup(path, path.with_name("copy.db"), nothing),
        sqlite_backup.accept_missing_wal,
    ],
)
def test_a_schema_that_no_release_makes_is_refused(
    path: Path, what: str, read: Callable[[Path], object]
) -> None:
    change(path, *HOSTILE[what])
    refused = r"which no release of Rillflow makes|as a release of"
    with processor_time(SECONDS), pytest.raises(StoreError, match=refused):
        read(path)
    assert not list(path.parent.glob("new.db*[!k]"))


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX mine ON executions (status)",
        'create  index IF NOT EXISTS "my own" on "executions" ("code" DESC, submitted_at_ms)',
        "CREATE INDEX mine ON versions (version COLLATE NOCASE ASC)",
    ],
)
def test_an_index_of_columns_that_an_operator_has_made_is_no_obstacle(
    path: Path, index: str
) -> None:
    change(path, index)
    copy = path.with_name("copy.db")
    sqlite_backup.backup(path, copy, nothing)
    assert sqlite_backup.verify(copy, nothing).is_clean
    sqlite_backup.restore(copy, path.with_name("new.db"), nothing)


@pytest.mark.parametrize(
    "index",
    [
        "CREATE UNIQUE INDEX mine ON executions (status)",
        "CREATE INDEX mine ON executions (status) WHERE finished_at_ms IS NULL",
        "CREATE INDEX mine ON executions (upper(status))",
        "CREATE INDEX mine ON executions (status || code)",
        "CREATE INDEX mine ON executions (status, (zeroblob(900000000)))",
        "CREATE INDEX mine ON executions (status /* why */)",
        "CREATE INDEX mine ON executions ('status')",
    ],
)
def test_an_index_in_which_something_is_computed_is_refused(path: Path, index: str) -> None:
    change(path, index)
    with pytest.raises(StoreError, match="may have columns only"):
        sqlite_backup.backup(path, path.with_name("copy.db"), nothing)


async def test_a_value_to_which_much_refers_is_in_memory_once(path: Path) -> None:
    long, times = "y" * 400_000, 60
    body = encode_json([long] * times)
    run = scenario(pass_("A"))
    run.submit({})
    context = {f"v{number}": long for number in range(times)}
    store = open_store(f"sqlite://{path}")
    await store.open()
    await store.put_definition_text("0" * 32, canonical_text(parse_definition(PASS)))
    record = encode_event(DispatchAnswered(at_ms=1, task="t", attempt=1, body=body))
    snapshot = encode_state(replace(run.state, context=context))
    await store.append([submit(1, *[record] * 8, snapshot=snapshot, snapshot_seq=1)])
    await store.close()
    assert path.stat().st_size < 2 * len(long)  # noqa: ASYNC240 - nothing else runs
    tracemalloc.start()
    found = sqlite_backup.verify(path, nothing)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.is_clean, found.problems
    # One record is put together at a time; all of them and the snapshot were at once.
    assert peak_bytes < 3.5 * len(body)


def test_a_mark_that_is_no_table_is_not_read(path: Path) -> None:
    change(path, *HOSTILE["a mark that is a view"])
    with processor_time(SECONDS):
        refuse_incomplete(path)


@pytest.mark.parametrize("version", range(1, sqlite_schema.VERSION + 1))
def test_the_schema_of_every_release_is_accepted(tmp_path: Path, version: int) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        sqlite_schema.migrate(connection, sqlite_schema.MIGRATIONS[:version])
        connection.execute("ANALYZE")
    with foreign_file.opened(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM executions")


def test_no_value_is_longer_than_its_file(path: Path) -> None:
    with (
        foreign_file.opened(path) as connection,
        pytest.raises(sqlite3.DataError, match="too big"),
    ):
        connection.execute("SELECT zeroblob(2000000)").fetchone()


def test_what_takes_too_long_for_the_size_of_its_file_is_given_up(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        foreign_file.harden(connection, path, least_time_s=0)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            connection.execute(COUNT_ENDLESS).fetchone()


def test_no_row_is_read_of_a_file_whose_pages_are_damaged(path: Path) -> None:
    """A table whose root is the root of another one has rows that SQLite counts twice."""
    change(path, "INSERT INTO definitions VALUES ('x', '[')")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema"
            " WHERE name = 'versions') WHERE name = 'executions'"
        )
    found = sqlite_backup.verify(path, nothing)
    assert (found.executions, found.definitions) == (0, 0)
    assert found.problems[0].startswith("SQLite: ")
    assert found.problems[-1].startswith("definitions and executions have not been read")
