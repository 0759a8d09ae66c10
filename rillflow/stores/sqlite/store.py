"""The embedded store: one SQLite file, shared by the processes of one machine.

Used by `stores`.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rillflow.errors import StoreError
from rillflow.stores.large_values import LARGE_VALUE_BYTES
from rillflow.stores.sqlite.database import SqliteDatabase
from rillflow.stores.sqlite.journal import SqliteJournal
from rillflow.stores.sqlite.schema import rewrite_version
from rillflow.stores.sqlite.tables.access import SqliteApiKeys, SqliteAudit
from rillflow.stores.sqlite.tables.aliases import SqliteAliases
from rillflow.stores.sqlite.tables.catalogue import SqliteCatalogue
from rillflow.stores.sqlite.tables.deployments import SqliteDeployments
from rillflow.stores.sqlite.tables.leases import SqliteLeases, SqliteOwnerLeases
from rillflow.stores.sqlite.tables.searching import SqliteSearch
from rillflow.stores.sqlite.tables.sessions import SqliteSessions
from rillflow.stores.sqlite.tables.templates import SqliteTemplates
from rillflow.stores.sqlite.tables.triggers import SqliteTriggers

LEAST_FREE_BYTES: Final = 4 << 20
"""With less free space the file does not take what executions that run write."""


class SqliteStore(
    SqliteJournal,
    SqliteSearch,
    SqliteCatalogue,
    SqliteAliases,
    SqliteDeployments,
    SqliteLeases,
    SqliteOwnerLeases,
    SqliteTemplates,
    SqliteTriggers,
    SqliteSessions,
    SqliteApiKeys,
    SqliteAudit,
):
    """The ``Store`` port on SQLite (WAL, ``synchronous=FULL``, group commit).

    Any number of processes may open the same file; it must not be on a network file system. A
    process that is stopped (SIGSTOP) in the millisecond in which it holds the write lock keeps it:
    writes of the others then fail with StoreError after 10 s, until it is continued or killed.
    """

    def __init__(
        self,
        path: Path,
        *,
        large_value_bytes: int = LARGE_VALUE_BYTES,
        least_free_bytes: int = LEAST_FREE_BYTES,
        gives_way: bool = False,
    ) -> None:
        """Use the file at ``path``.

        With ``gives_way`` this is one of many processes of which one at a time asks to write.
        """
        database = SqliteDatabase(path, gives_way=gives_way)
        self._folder, self._least_free_bytes = path.parent, least_free_bytes
        SqliteJournal.__init__(self, database, large_value_bytes)
        SqliteSearch.__init__(self, database)
        SqliteCatalogue.__init__(self, database)
        SqliteAliases.__init__(self, database)
        SqliteDeployments.__init__(self, database)
        SqliteLeases.__init__(self, database)
        SqliteOwnerLeases.__init__(self, database)
        SqliteTemplates.__init__(self, database)
        SqliteTriggers.__init__(self, database)
        SqliteSessions.__init__(self, database)
        SqliteApiKeys.__init__(self, database)
        SqliteAudit.__init__(self, database)

    async def open(self) -> None:
        """Create or upgrade the file, then start this process's threads.

        Raises:
            StoreError: The file belongs to a newer release or to another
                program, or cannot be opened.
        """
        await self._database.open()

    async def probe(self) -> None:
        """Write the page with the schema version again.

        A small write may succeed on a full disk, where there is space left within the file.

        Raises:
            StoreError: The file accepts no writes, or the disk has no space for more.
        """
        try:
            free_bytes = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}") from error
        if free_bytes < self._least_free_bytes:
            raise StoreError(f"{self._folder}: the disk has {free_bytes} bytes left")
        await self._database.write(rewrite_version)

    def take_turns(self, reader: Callable[[], str]) -> None:
        """Have reads of different readers take turns from now on."""
        self._database.reader = reader

    async def connections(self) -> int | None:
        """Return None: the file bounds no connections."""
        return None

    async def size_bytes(self) -> int:
        """Return the bytes of the file, and of the commits that are not moved into it yet."""
        return await self._database.size_bytes()

    async def close(self) -> None:
        """Finish the writes under way and release the file."""
        await self._database.close()
