"""Schemas of other releases: of later ones, as their first process would leave a database.

The next release has a column more in every table, a table and an index of its own, of which this
release knows nothing. The one after it gives a column another meaning, which this release would not
keep.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from rillflow.stores.postgres import schema as postgres_schema
from rillflow.stores.schema_status import MIGRATIONS, Migration, SchemaStatus
from rillflow.stores.sqlite import schema as sqlite_schema

NEXT: Final = (*MIGRATIONS, Migration("a column more in every table", is_additive=True))
AFTER_NEXT: Final = (*NEXT, Migration("another meaning of a column", is_additive=False))
COLUMN: Final = "of_the_next_release"
_TABLE: Final = "CREATE TABLE of_the_next_release (name TEXT PRIMARY KEY)"
_INDEX: Final = f"CREATE INDEX of_the_next_release_too ON executions ({COLUMN})"
_MEANING: Final = "UPDATE executions SET status = lower(status)"


def tables() -> list[str]:
    """Return the names of the tables that this release makes in both stores."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        sqlite_schema.migrate(connection)
        names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        return [name for (name,) in connection.execute(names)]


async def upgrade_to(url: str, described: tuple[Migration, ...]) -> SchemaStatus:
    """Upgrade a database as the first process of a later release does."""
    added = [f"ALTER TABLE {name} ADD COLUMN {COLUMN} TEXT" for name in tables()]
    later = ((*added, _TABLE, _INDEX), (_MEANING,))[: len(described) - len(MIGRATIONS)]
    if not url.startswith("sqlite:"):
        texts = (";\n".join(statements) for statements in later)
        return await postgres_schema.upgrade(url, (*postgres_schema.MIGRATIONS, *texts), described)
    path = Path(url.removeprefix("sqlite://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return sqlite_schema.migrate(connection, (*sqlite_schema.MIGRATIONS, *later), described)


async def leave_earlier(url: str, version: int) -> None:
    """Make a new database as the last process of a release with an earlier version left it."""
    steps = MIGRATIONS[:version]
    if not url.startswith("sqlite:"):
        await postgres_schema.upgrade(url, postgres_schema.MIGRATIONS[:version], steps)
        return
    path = Path(url.removeprefix("sqlite://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        sqlite_schema.migrate(connection, sqlite_schema.MIGRATIONS[:version], steps)
