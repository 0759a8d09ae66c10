"""The store of clusters: a PostgreSQL database that every node reaches.

Used by `stores`.
"""

from collections.abc import Callable

from rillflow.stores.large_values import LARGE_VALUE_BYTES
from rillflow.stores.postgres.database import PostgresDatabase
from rillflow.stores.postgres.journal import PostgresJournal
from rillflow.stores.postgres.tables.access import PostgresApiKeys, PostgresAudit
from rillflow.stores.postgres.tables.aliases import PostgresAliases
from rillflow.stores.postgres.tables.catalogue import PostgresCatalogue
from rillflow.stores.postgres.tables.deployments import PostgresDeployments
from rillflow.stores.postgres.tables.leases import PostgresLeases, PostgresOwnerLeases
from rillflow.stores.postgres.tables.searching import PostgresSearch
from rillflow.stores.postgres.tables.sessions import PostgresSessions
from rillflow.stores.postgres.tables.templates import PostgresTemplates
from rillflow.stores.postgres.tables.triggers import PostgresTriggers


class PostgresStore(
    PostgresJournal,
    PostgresSearch,
    PostgresCatalogue,
    PostgresAliases,
    PostgresDeployments,
    PostgresLeases,
    PostgresOwnerLeases,
    PostgresTemplates,
    PostgresTriggers,
    PostgresSessions,
    PostgresApiKeys,
    PostgresAudit,
):
    """The ``Store`` port on PostgreSQL (asyncpg, ``synchronous_commit=on``, group commit).

    If the connection breaks during a commit, its result is unknown and the callers get a
    StoreError: they must load again before they continue. The next call connects again.
    """

    def __init__(
        self,
        url: str,
        *,
        large_value_bytes: int = LARGE_VALUE_BYTES,
        few_connections: bool = False,
    ) -> None:
        """Connect when it is opened; see ``open_store``."""
        database = PostgresDatabase(url, few_connections=few_connections)
        PostgresJournal.__init__(self, database, large_value_bytes)
        PostgresSearch.__init__(self, database)
        PostgresCatalogue.__init__(self, database)
        PostgresAliases.__init__(self, database)
        PostgresDeployments.__init__(self, database)
        PostgresLeases.__init__(self, database)
        PostgresOwnerLeases.__init__(self, database)
        PostgresTemplates.__init__(self, database)
        PostgresTriggers.__init__(self, database)
        PostgresSessions.__init__(self, database)
        PostgresApiKeys.__init__(self, database)
        PostgresAudit.__init__(self, database)

    async def open(self) -> None:
        """Create or upgrade the tables, then connect.

        Raises:
            StoreError: The database belongs to a newer release, or cannot be reached.
        """
        await self._database.open()

    async def probe(self) -> None:
        """Write the row with the schema version again.

        Raises:
            StoreError: The database accepts no writes.
        """
        await self._database.probe()

    def take_turns(self, reader: Callable[[], str]) -> None:
        """Have reads of different readers take turns from now on."""
        self._database.reader = reader

    async def connections(self) -> int | None:
        """Return how many connections the database allows all processes of this user together."""
        return await self._database.connections()

    async def size_bytes(self) -> int:
        """Return the bytes of the whole database."""
        size = await self._database.value("SELECT pg_database_size(current_database())::text")
        return int(size or 0)

    async def close(self) -> None:
        """Finish the writes under way and disconnect."""
        await self._database.close()
