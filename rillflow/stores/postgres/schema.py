"""The tables of the PostgreSQL store, as numbered migrations.

The table ``rillflow_schema`` has the number of the last migration, and the oldest version whose
processes may write. All missing migrations are one transaction under an advisory lock. Released
migrations are never edited: a change is a new one at the end.

Used by `stores` and `stores/postgres`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from rillflow.errors import StoreError
from rillflow.stores.schema_status import MIGRATIONS as DESCRIBED
from rillflow.stores.schema_status import UNRECORDED, Migration, SchemaStatus, compatible_from
from rillflow.stores.sql.first_rows import ALIYUN_ROW

_UPGRADE_LOCK: Final = 0x52494C4C
"""Key of the advisory lock that one upgrading process holds at a time."""
PURGE_LOCK: Final = 0x52494C4D
"""Key of the advisory lock that appends share, and that a purge holds alone."""

_JOURNAL: Final = """
    -- The epoch of the last take; a row, not a sequence, so that takes are in line.
    CREATE TABLE epochs (newest bigint NOT NULL);
    INSERT INTO epochs VALUES (0);
    CREATE TABLE owners (partition bigint PRIMARY KEY, epoch bigint NOT NULL);
    CREATE SEQUENCE execution_keys;
    CREATE TABLE executions (
        key bigint PRIMARY KEY,
        execution_id text COLLATE "C" NOT NULL UNIQUE,
        business text COLLATE "C" NOT NULL,
        feature text COLLATE "C" NOT NULL,
        partition bigint NOT NULL,
        definition_id text COLLATE "C" NOT NULL,
        submitted_at_ms bigint NOT NULL,
        dedicated boolean NOT NULL,
        parent_id text COLLATE "C",
        idempotency_key text COLLATE "C",
        request_digest text COLLATE "C",
        status text COLLATE "C" NOT NULL,
        code text COLLATE "C",
        finished_at_ms bigint
    );
    CREATE INDEX executions_listed ON executions (business, feature, submitted_at_ms);
    CREATE INDEX executions_unfinished ON executions (partition, submitted_at_ms)
        WHERE finished_at_ms IS NULL;
    CREATE UNIQUE INDEX executions_idempotent
        ON executions (business, feature, idempotency_key) WHERE idempotency_key IS NOT NULL;
    CREATE INDEX executions_children ON executions (parent_id, submitted_at_ms)
        WHERE parent_id IS NOT NULL;
    CREATE TABLE journal (
        execution bigint NOT NULL,
        seq bigint NOT NULL,
        record bytea NOT NULL,
        PRIMARY KEY (execution, seq)
    );
    CREATE TABLE snapshots (
        execution bigint PRIMARY KEY,
        seq bigint NOT NULL,
        snapshot bytea NOT NULL
    );
"""

_CATALOGUE: Final = """
    CREATE TABLE definitions (definition_id text COLLATE "C" PRIMARY KEY, text text NOT NULL);
    CREATE SEQUENCE version_positions;
    CREATE TABLE versions (
        position bigint NOT NULL UNIQUE,
        business text COLLATE "C" NOT NULL,
        feature text COLLATE "C" NOT NULL,
        alias text COLLATE "C" NOT NULL,
        version text COLLATE "C" NOT NULL,
        created_at_ms bigint NOT NULL,
        PRIMARY KEY (business, feature, alias, version)
    );
    CREATE INDEX versions_newest ON versions (business, feature, alias, position);
    -- Every version ever added; the table above forgets all but the newest of an alias.
    CREATE TABLE known_versions (
        business text COLLATE "C" NOT NULL,
        feature text COLLATE "C" NOT NULL,
        version text COLLATE "C" NOT NULL,
        PRIMARY KEY (business, feature, version)
    );
    -- One row per listed name; what is below the name is the empty string.
    CREATE TABLE names (
        business text COLLATE "C" NOT NULL,
        feature text COLLATE "C" NOT NULL,
        alias text COLLATE "C" NOT NULL,
        PRIMARY KEY (business, feature, alias)
    );
    CREATE TABLE rules (
        kind text COLLATE "C" NOT NULL,
        business text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        rule text NOT NULL,
        PRIMARY KEY (kind, business, subject, name)
    );
"""

_RETENTION: Final = """
    CREATE INDEX executions_finished ON executions (finished_at_ms, key)
        WHERE finished_at_ms IS NOT NULL;
"""

_PAYLOADS: Final = """
    -- Values that records and snapshots refer to.
    CREATE TABLE payloads (
        execution bigint NOT NULL,
        sha256 bytea NOT NULL,
        in_record boolean NOT NULL,
        value bytea NOT NULL,
        PRIMARY KEY (execution, sha256)
    );
"""

_RESTS: Final = """
    ALTER TABLE executions ADD COLUMN rests boolean NOT NULL DEFAULT false;
    DROP INDEX executions_unfinished;
    CREATE INDEX executions_unfinished ON executions (partition, submitted_at_ms)
        WHERE finished_at_ms IS NULL AND NOT rests;
"""

_DESCENDANTS: Final = """
    -- How many sub-flows an execution has, at all levels; only those of the outermost are counted.
    CREATE TABLE descendants (execution bigint PRIMARY KEY, started bigint NOT NULL);
"""

_DEATHS: Final = """
    -- An execution that was never stored may have brought its owner's process down, too.
    CREATE TABLE deaths (
        execution_id text COLLATE "C" NOT NULL,
        life text COLLATE "C" NOT NULL,
        step text COLLATE "C" NOT NULL,
        at_ms bigint NOT NULL,
        PRIMARY KEY (execution_id, life)
    );
"""

_DEPLOYMENT: Final = """
    -- What should run on this store; one row.
    CREATE TABLE deployment (
        only_one bigint PRIMARY KEY CHECK (only_one = 1),
        version bigint NOT NULL,
        wanted text NOT NULL
    );
"""

_BY_STATUS: Final = """
    -- In the order of submit times for each status, of all executions and of one flow.
    CREATE INDEX executions_by_status ON executions (status, submitted_at_ms, key);
    CREATE INDEX executions_by_flow
        ON executions (business, feature, status, submitted_at_ms, key);
"""

_LEASE: Final = """
    -- Which deployment may run on this store; one row.
    CREATE TABLE lease (
        only_one bigint PRIMARY KEY CHECK (only_one = 1),
        turn bigint NOT NULL,
        lease text NOT NULL,
        renewed_s double precision NOT NULL
    );
"""

_TEMPLATES: Final = f"""
    CREATE TABLE task_templates (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        type bigint NOT NULL,
        category text COLLATE "C" NOT NULL,
        icon text NOT NULL,
        task_yaml text NOT NULL,
        schema text NOT NULL,
        output text NOT NULL,
        enable bigint NOT NULL,
        created_at_ms bigint NOT NULL,
        updated_at_ms bigint NOT NULL
    );
    {ALIYUN_ROW};
"""

_TRIGGERS: Final = """
    -- What starts executions. A removed one stays for a day, so that its owner learns of it.
    CREATE TABLE triggers (
        id text COLLATE "C" PRIMARY KEY,
        type text COLLATE "C" NOT NULL,
        descriptor_id text COLLATE "C" NOT NULL,
        owner text COLLATE "C" NOT NULL,
        spec text NOT NULL,
        is_paused boolean NOT NULL,
        is_removed boolean NOT NULL,
        revision bigint NOT NULL,
        created_at_ms bigint NOT NULL,
        position_ms bigint NOT NULL,
        progress text NOT NULL,
        context text NOT NULL,
        changed_at_ms bigint NOT NULL
    );
    CREATE INDEX triggers_changed ON triggers (revision);
    CREATE INDEX triggers_declared ON triggers (owner) WHERE owner <> '';
    -- The last revision of any trigger, and the number of the next one; one row.
    CREATE TABLE trigger_counter (revision bigint NOT NULL, next_id bigint NOT NULL);
    INSERT INTO trigger_counter VALUES (0, 1);
"""

_SESSIONS: Final = """
    -- Sessions of the console that a person has ended, until they would have ended by themselves.
    CREATE TABLE ended_sessions (
        session_id text COLLATE "C" PRIMARY KEY,
        ends_ms bigint NOT NULL
    );
"""

_API_KEYS: Final = """
    -- As JSON, without the keys; those that were revoked stay.
    CREATE TABLE api_keys (
        name text COLLATE "C" PRIMARY KEY,
        key text NOT NULL
    );
"""

_AUDIT: Final = """
    -- Who changed what, as JSON.
    CREATE TABLE audit (
        number bigserial PRIMARY KEY,
        at_ms bigint NOT NULL,
        workspace text COLLATE "C" NOT NULL,
        entry text NOT NULL
    );
    CREATE INDEX audit_by_time ON audit (at_ms);
    CREATE INDEX audit_by_workspace ON audit (workspace, number);
"""

_SEARCH_KEYS: Final = """
    -- Values by which executions are found, with what the rows of the executions say.
    CREATE TABLE search_keys (
        key bigint NOT NULL,
        name text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        business text COLLATE "C" NOT NULL,
        feature text COLLATE "C" NOT NULL,
        status text COLLATE "C" NOT NULL,
        submitted_at_ms bigint NOT NULL,
        definition_id text COLLATE "C" NOT NULL,
        PRIMARY KEY (key, name)
    );
    CREATE INDEX search_keys_of_all
        ON search_keys (name, value, status, submitted_at_ms, key) INCLUDE (definition_id);
    CREATE INDEX search_keys_of_flow
        ON search_keys (business, feature, name, value, status, submitted_at_ms, key)
        INCLUDE (definition_id);
    -- With what a count of a version needs besides, so that it reads no rows.
    CREATE INDEX executions_by_version
        ON executions (definition_id, status, submitted_at_ms, key) INCLUDE (business, feature);
"""

_OWNER_LEASES: Final = """
    -- Which process of an execution actor runs, and how often it has said so.
    CREATE TABLE owner_leases (
        name text COLLATE "C" PRIMARY KEY,
        life text NOT NULL,
        renewals bigint NOT NULL
    );
"""

_STORED_BYTES: Final = """
    -- Bytes of executions that have many, and for which workspace they count.
    CREATE TABLE stored_bytes (
        execution bigint PRIMARY KEY,
        workspace text COLLATE "C" NOT NULL,
        elsewhere text COLLATE "C",
        bytes bigint NOT NULL
    );
    CREATE INDEX stored_bytes_by_workspace ON stored_bytes (workspace) INCLUDE (bytes);
    CREATE INDEX stored_bytes_elsewhere ON stored_bytes (elsewhere) WHERE elsewhere IS NOT NULL;
    -- Of what was stored before, large values alone: the rest would be read whole.
    INSERT INTO stored_bytes
        SELECT execution, business, NULL, sum(length(value))
        FROM payloads JOIN executions ON key = execution GROUP BY execution, business;
"""

_DEFINITION_BYTES: Final = """
    -- How long the text of a version is, for the workspace that has added it.
    ALTER TABLE known_versions ADD COLUMN bytes bigint NOT NULL DEFAULT 0;
    UPDATE known_versions SET bytes = coalesce(
        (SELECT octet_length(text) FROM definitions WHERE definition_id = version), 0);
"""

_COMPRESSION: Final = """
    -- By its own method a server compresses 7 MB in 300 to 1,100 ms, within the commit for which
    -- others wait; by lz4 in 20 ms. Without lz4 (before version 14, or built without) not at all.
    DO $$
    DECLARE it record;
    BEGIN
        FOR it IN SELECT * FROM (VALUES
            ('journal', 'record'), ('snapshots', 'snapshot'), ('payloads', 'value')
        ) AS names (place, kept) LOOP
            BEGIN
                EXECUTE format('ALTER TABLE %I ALTER %I SET COMPRESSION lz4', it.place, it.kept);
            EXCEPTION WHEN syntax_error OR feature_not_supported OR invalid_parameter_value THEN
                EXECUTE format('ALTER TABLE %I ALTER %I SET STORAGE EXTERNAL', it.place, it.kept);
            END;
        END LOOP;
    END $$;
"""

CONNECTION_ERRORS: Final = (
    asyncpg.InterfaceError,
    # What asyncpg raises on a connection that was cut while it was idle.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

MIGRATIONS: Final = (
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
_MAKE_COMPATIBILITY: Final = (
    "ALTER TABLE rillflow_schema ADD COLUMN IF NOT EXISTS compatible_from bigint"
)
# Databases up to a version have no such column.
_READ_VERSION: Final = """
SELECT version, (to_jsonb(found) ->> 'compatible_from')::bigint FROM rillflow_schema AS found
"""


@asynccontextmanager
async def store_errors() -> AsyncIterator[None]:
    """Raise errors of PostgreSQL, asyncpg and the network as StoreError.

    Raises:
        StoreError: The body raised one of those.
    """
    try:
        yield
    except (asyncpg.PostgresError, *CONNECTION_ERRORS) as error:
        raise StoreError(f"PostgreSQL: {error or type(error).__name__}") from error


async def schema_status(url: str) -> SchemaStatus:
    """Return the schema version of a database without changing it.

    Raises:
        StoreError: The database cannot be reached.
    """
    async with store_errors(), _connected(url) as connection:
        return await read_status(connection, VERSION)


async def upgrade(
    url: str,
    migrations: Sequence[str] = MIGRATIONS,
    described: Sequence[Migration] = DESCRIBED,
) -> SchemaStatus:
    """Apply the migrations that the database lacks, in one transaction.

    Returns:
        The status before the upgrade.

    Raises:
        StoreError: The database belongs to a newer release or cannot be written;
            it is as it was.
    """
    async with store_errors(), _connected(url) as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _UPGRADE_LOCK)
        wanted = len(migrations)
        before = await read_status(connection, wanted)
        before.refuse_newer()
        if before.found >= wanted:
            return before
        for migration in migrations[before.found :]:
            await connection.execute(migration)
        if before.found == 0:
            await connection.execute("CREATE TABLE rillflow_schema (version bigint NOT NULL)")
            await connection.execute("INSERT INTO rillflow_schema (version) VALUES (0)")
        await connection.execute("UPDATE rillflow_schema SET version = $1", wanted)
        if wanted > UNRECORDED:
            await connection.execute(_MAKE_COMPATIBILITY)
            oldest = compatible_from(wanted, described)
            await connection.execute("UPDATE rillflow_schema SET compatible_from = $1", oldest)
        return before


async def read_status(connection: asyncpg.Connection, wanted: int) -> SchemaStatus:
    """Read the version from the table that an upgrade leaves, 0 if it is missing."""
    if await connection.fetchval("SELECT to_regclass('rillflow_schema')") is None:
        return SchemaStatus(0, wanted)
    version, oldest = await connection.fetchrow(_READ_VERSION)
    return SchemaStatus(version, wanted, oldest if version > wanted else None)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
