"""The tables of the SQLite store, as numbered migrations.

``PRAGMA user_version`` has the number of the last migration. A migration is one transaction, so a
database is at one version or at the next, never between. Released migrations are never edited: a
change is a new one at the end. A table has the oldest version whose processes may write.

Used by `stores` and `stores/sqlite`.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from rillflow.errors import StoreError
from rillflow.stores.private_files import close_to_others, make_private
from rillflow.stores.schema_status import MIGRATIONS as DESCRIBED
from rillflow.stores.schema_status import UNRECORDED, Migration, SchemaStatus, compatible_from
from rillflow.stores.sql.first_rows import ALIYUN_ROW
from rillflow.stores.sqlite.connection import (
    connect,
    snapshot,
    store_errors,
    transaction,
    when_free,
)
from rillflow.stores.sqlite.file_use import FileUse, refuse_incomplete

APPLICATION_ID: Final = 0x52494C4C
"""``RILL`` in the file's header, so that another program's database is not touched."""

_JOURNAL: Final = (
    # The epoch of the last owner; it outlives the rows of owners, so it never decreases.
    "CREATE TABLE epochs (newest INTEGER NOT NULL)",
    "INSERT INTO epochs VALUES (0)",
    "CREATE TABLE owners (partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL)",
    """CREATE TABLE executions (
        key INTEGER PRIMARY KEY,
        execution_id TEXT NOT NULL UNIQUE,
        business TEXT NOT NULL,
        feature TEXT NOT NULL,
        partition INTEGER NOT NULL,
        definition_id TEXT NOT NULL,
        submitted_at_ms INTEGER NOT NULL,
        dedicated INTEGER NOT NULL,
        parent_id TEXT,
        idempotency_key TEXT,
        request_digest TEXT,
        status TEXT NOT NULL,
        code TEXT,
        finished_at_ms INTEGER
    )""",
    "CREATE INDEX executions_listed ON executions (business, feature, submitted_at_ms)",
    """CREATE INDEX executions_unfinished ON executions (partition, submitted_at_ms)
        WHERE finished_at_ms IS NULL""",
    """CREATE UNIQUE INDEX executions_idempotent
        ON executions (business, feature, idempotency_key) WHERE idempotency_key IS NOT NULL""",
    """CREATE INDEX executions_children ON executions (parent_id, submitted_at_ms)
        WHERE parent_id IS NOT NULL""",
    """CREATE TABLE journal (
        execution INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (execution, seq)
    ) WITHOUT ROWID""",
    # Apart from executions, so that a change of status does not rewrite the snapshot.
    """CREATE TABLE snapshots (
        execution INTEGER PRIMARY KEY,
        seq INTEGER NOT NULL,
        snapshot BLOB NOT NULL
    )""",
)

_CATALOGUE: Final = (
    "CREATE TABLE definitions (definition_id TEXT PRIMARY KEY, text TEXT NOT NULL)",
    """CREATE TABLE versions (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        business TEXT NOT NULL,
        feature TEXT NOT NULL,
        alias TEXT NOT NULL,
        version TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        UNIQUE (business, feature, alias, version)
    )""",
    "CREATE INDEX versions_newest ON versions (business, feature, alias, position)",
    # Every version ever added; the table above keeps only the newest of an alias.
    """CREATE TABLE known_versions (
        business TEXT NOT NULL,
        feature TEXT NOT NULL,
        version TEXT NOT NULL,
        PRIMARY KEY (business, feature, version)
    ) WITHOUT ROWID""",
    # One row per listed name; missing lower names are the empty string.
    """CREATE TABLE names (
        business TEXT NOT NULL,
        feature TEXT NOT NULL,
        alias TEXT NOT NULL,
        PRIMARY KEY (business, feature, alias)
    ) WITHOUT ROWID""",
    """CREATE TABLE rules (
        kind TEXT NOT NULL,
        business TEXT NOT NULL,
        subject TEXT NOT NULL,
        name TEXT NOT NULL,
        rule TEXT NOT NULL,
        PRIMARY KEY (kind, business, subject, name)
    ) WITHOUT ROWID""",
)

_RETENTION: Final = (
    """CREATE INDEX executions_finished ON executions (finished_at_ms, key)
        WHERE finished_at_ms IS NOT NULL""",
)

_PAYLOADS: Final = (
    # Values to which records and snapshots refer. The large column is the last one, so that the
    # others are read without it.
    """CREATE TABLE payloads (
        execution INTEGER NOT NULL,
        sha256 BLOB NOT NULL,
        in_record INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (execution, sha256)
    ) WITHOUT ROWID""",
)

_RESTS: Final = (
    "ALTER TABLE executions ADD COLUMN rests INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX executions_unfinished",
    """CREATE INDEX executions_unfinished ON executions (partition, submitted_at_ms)
        WHERE finished_at_ms IS NULL AND NOT rests""",
)

_DESCENDANTS: Final = (
    # The number of an execution's sub-flows, at all levels; only those of the outermost are
    # counted.
    """CREATE TABLE descendants (
        execution INTEGER PRIMARY KEY,
        started INTEGER NOT NULL
    )""",
)

_DEATHS: Final = (
    # An execution that was never stored may have killed its owner's process, too.
    """CREATE TABLE deaths (
        execution_id TEXT NOT NULL,
        life TEXT NOT NULL,
        step TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        PRIMARY KEY (execution_id, life)
    ) WITHOUT ROWID""",
)

_DEPLOYMENT: Final = (
    # What should run on this store; one row.
    """CREATE TABLE deployment (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        version INTEGER NOT NULL,
        wanted TEXT NOT NULL
    )""",
)

_BY_STATUS: Final = (
    # In the order of submit times for each status, of all executions and of one flow.
    "CREATE INDEX executions_by_status ON executions (status, submitted_at_ms)",
    """CREATE INDEX executions_by_flow
        ON executions (business, feature, status, submitted_at_ms)""",
)

_LEASE: Final = (
    # Which deployment may run on this store; one row.
    """CREATE TABLE lease (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        turn INTEGER NOT NULL,
        lease TEXT NOT NULL,
        renewed_s REAL NOT NULL
    )""",
)

_TEMPLATES: Final = (
    """CREATE TABLE task_templates (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        type INTEGER NOT NULL,
        category TEXT NOT NULL,
        icon TEXT NOT NULL,
        task_yaml TEXT NOT NULL,
        schema TEXT NOT NULL,
        output TEXT NOT NULL,
        enable INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL
    )""",
    ALIYUN_ROW,
)

_TRIGGERS: Final = (
    # What starts executions. A removed one stays for a day, so that its owner learns of it.
    """CREATE TABLE triggers (
        id TEXT PRIMARY KEY,
        type TEXT NOT NULL,
        descriptor_id TEXT NOT NULL,
        owner TEXT NOT NULL,
        spec TEXT NOT NULL,
        is_paused INTEGER NOT NULL,
        is_removed INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        position_ms INTEGER NOT NULL,
        progress TEXT NOT NULL,
        context TEXT NOT NULL,
        changed_at_ms INTEGER NOT NULL
    )""",
    "CREATE INDEX triggers_changed ON triggers (revision)",
    "CREATE INDEX triggers_declared ON triggers (owner) WHERE owner <> ''",
    # The last revision of any trigger, and the number of the next one; one row.
    "CREATE TABLE trigger_counter (revision INTEGER NOT NULL, next_id INTEGER NOT NULL)",
    "INSERT INTO trigger_counter VALUES (0, 1)",
)

_SESSIONS: Final = (
    # Sessions of the console that a person has ended, until they would have ended by themselves.
    """CREATE TABLE ended_sessions (
        session_id TEXT PRIMARY KEY,
        ends_ms INTEGER NOT NULL
    ) WITHOUT ROWID""",
)

_API_KEYS: Final = (
    # As JSON, without the keys; those that were revoked stay.
    "CREATE TABLE api_keys (name TEXT PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID",
)

_AUDIT: Final = (
    # Who changed what, as JSON.
    """CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        workspace TEXT NOT NULL,
        entry TEXT NOT NULL
    )""",
    "CREATE INDEX audit_by_time ON audit (at_ms)",
    "CREATE INDEX audit_by_workspace ON audit (workspace, number)",
)

_SEARCH_KEYS: Final = (
    # Values by which executions are found, with what the rows of the executions say.
    """CREATE TABLE search_keys (
        key INTEGER NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        business TEXT NOT NULL,
        feature TEXT NOT NULL,
        status TEXT NOT NULL,
        submitted_at_ms INTEGER NOT NULL,
        definition_id TEXT NOT NULL,
        PRIMARY KEY (key, name)
    ) WITHOUT ROWID""",
    """CREATE INDEX search_keys_of_all
        ON search_keys (name, value, status, submitted_at_ms, key, definition_id)""",
    """CREATE INDEX search_keys_of_flow ON search_keys
        (business, feature, name, value, status, submitted_at_ms, key, definition_id)""",
    # With what a count of a version needs besides, so that it reads no rows.
    """CREATE INDEX executions_by_version
        ON executions (definition_id, status, submitted_at_ms, key, business, feature)""",
)

_OWNER_LEASES: Final = (
    # Which process of an execution actor runs, and how often it has said so.
    """CREATE TABLE owner_leases (
        name TEXT PRIMARY KEY,
        life TEXT NOT NULL,
        renewals INTEGER NOT NULL
    ) WITHOUT ROWID""",
)

_STORED_BYTES: Final = (
    # Bytes of executions that have many, and for which workspace they count.
    """CREATE TABLE stored_bytes (
        execution INTEGER PRIMARY KEY,
        workspace TEXT NOT NULL,
        elsewhere TEXT,
        bytes INTEGER NOT NULL
    )""",
    "CREATE INDEX stored_bytes_by_workspace ON stored_bytes (workspace, bytes)",
    "CREATE INDEX stored_bytes_elsewhere ON stored_bytes (elsewhere) WHERE elsewhere IS NOT NULL",
    # Of what was stored before, large values alone: the rest would be read whole.
    """INSERT INTO stored_bytes
        SELECT execution, business, NULL, sum(length(value))
        FROM payloads JOIN executions ON key = execution GROUP BY execution""",
)

_DEFINITION_BYTES: Final = (
    # How long the text of a version is, for the workspace that has added it.
    "ALTER TABLE known_versions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
    """UPDATE known_versions SET bytes = coalesce(
        (SELECT length(text) FROM definitions WHERE definition_id = version), 0)""",
)

_COMPRESSION: Final[tuple[str, ...]] = ()  # SQLite compresses nothing.

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    _JOURNAL,
    _CATALOGUE,
    _RETENTION,
    _PAYLOADS,
    _RESTS,
    _DESCENDANTS,
    _DEATHS,
    _DEPLOYMENT,
    _BY_STATUS,
    _LEASE,
    _TEMPLATES,
    _TRIGGERS,
    _SESSIONS,
    _API_KEYS,
    _AUDIT,
    _SEARCH_KEYS,
    _OWNER_LEASES,
    _STORED_BYTES,
    _DEFINITION_BYTES,
    _COMPRESSION,
)
VERSION: Final = len(MIGRATIONS)
MAKE_COMPATIBILITY: Final = """
CREATE TABLE IF NOT EXISTS schema_compatibility (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    compatible_from INTEGER NOT NULL
)"""
_COMPATIBILITY_WORDS: Final = MAKE_COMPATIBILITY.replace(" IF NOT EXISTS", "").split()
_COMPATIBILITY_SQL: Final = (
    "SELECT sql FROM sqlite_master WHERE name = 'schema_compatibility' AND type = 'table'"
)
_SET_COMPATIBLE: Final = (
    "INSERT OR REPLACE INTO schema_compatibility (only, compatible_from) VALUES (1, ?)"
)


def schema_status(path: Path) -> SchemaStatus:
    """Return the version of a database file without changing it.

    Raises:
        StoreError: The file cannot be read, lacks commits, or belongs to another program.
    """
    if not path.exists():
        return SchemaStatus(0, VERSION)
    with store_errors(path):
        # Before SQLite opens it, which leaves an empty -wal file.
        refuse_incomplete(path)
        with closing(connect(path, mode="ro")) as connection:
            return when_free(lambda: _read_status(connection, VERSION))


def upgrade(path: Path) -> SchemaStatus:
    """Create the database file if there is none, and upgrade its tables.

    Returns:
        The status before the upgrade.

    Raises:
        StoreError: The database belongs to a newer release or to another
            program, lacks commits, or cannot be written; it is as it was.
    """
    use = FileUse(path)
    use.begin()
    try:
        before = migrate_file(path)
        use.mark()
    finally:
        use.end()
    return before


def migrate_file(path: Path) -> SchemaStatus:
    """Create or upgrade a file whose use has begun (`FileUse.begin`).

    Returns:
        The status before the upgrade.

    Raises:
        StoreError: As for ``upgrade``.
    """
    with store_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(path)
        # SQLite gives its other files the mode of the database; these may be there already.
        close_to_others(path.with_name(path.name + end) for end in ("", "-wal", "-shm"))
        with closing(connect(path, mode="rwc")) as connection:
            return migrate(connection)


def migrate(
    connection: sqlite3.Connection,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
    described: Sequence[Migration] = DESCRIBED,
) -> SchemaStatus:
    """Apply the migrations that the database lacks, one transaction each.

    Safe while other processes do the same: the process that gets the write lock first applies a
    migration.

    Returns:
        The status before the first migration.

    Raises:
        StoreError: The database belongs to a newer release or to another program.
        sqlite3.Error: A migration failed; the database is as before that one.
    """
    wanted = len(migrations)
    before = when_free(lambda: _read_status(connection, wanted))
    before.refuse_newer()
    # The switch fails at once while others make it, without waiting as other statements do.
    when_free(lambda: connection.execute("PRAGMA journal_mode = WAL"))
    version = before.found
    while version < wanted:
        with transaction(connection):
            found = _status(connection, wanted)
            found.refuse_newer()
            if found.found == version:
                _apply(connection, migrations[version], version + 1)
                _record(connection, version + 1, described)
        version = max(found.found, version + 1)
    return before


def rewrite_version(connection: sqlite3.Connection) -> None:
    """Write the schema version again; unlike a row, it is written to disk each time."""
    ((version,),) = connection.execute("PRAGMA user_version")
    connection.execute(f"PRAGMA user_version = {version}")


def _apply(connection: sqlite3.Connection, statements: Sequence[str], version: int) -> None:
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _record(connection: sqlite3.Connection, version: int, described: Sequence[Migration]) -> None:
    if version > UNRECORDED:
        connection.execute(MAKE_COMPATIBILITY)
        connection.execute(_SET_COMPATIBLE, (compatible_from(version, described),))


def refuse_upgraded(connection: sqlite3.Connection) -> None:
    """Refuse to write to a database that was upgraded, unless this release may go on.

    Raises:
        StoreError: It may not.
        sqlite3.Error: The version could not be read.
    """
    _status(connection, VERSION).refuse_upgraded()


def _read_status(connection: sqlite3.Connection, wanted: int) -> SchemaStatus:
    with snapshot(connection):
        return _status(connection, wanted)


def _status(connection: sqlite3.Connection, wanted: int) -> SchemaStatus:
    ((version,),) = connection.execute("PRAGMA user_version")
    ((application_id,),) = connection.execute("PRAGMA application_id")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    if application_id != APPLICATION_ID and (version or tables):
        raise StoreError("the file is a database of another program")
    return SchemaStatus(version, wanted, _oldest(connection) if version > wanted else None)


def _oldest(connection: sqlite3.Connection) -> int | None:
    """Return the oldest version whose processes may write, if the table of it is as it is made."""
    found = connection.execute(_COMPATIBILITY_SQL).fetchone()
    if found is None or str(found[0]).split() != _COMPATIBILITY_WORDS:
        return None
    row = connection.execute("SELECT compatible_from FROM schema_compatibility").fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else None
