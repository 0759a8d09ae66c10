"""The schema version of a database, compared with what this release needs.

A server refuses a database that another version has written; only a command upgrades one.

Used by `stores/sqlite/schema.py`, `stores/postgres/schema.py` and `cli/commands/database.py`.
"""

from typing import Final, NamedTuple

from rillflow.errors import StoreError

MIGRATIONS: Final = (
    "the journal of executions",
    "the catalogue of definitions",
    "an index of ended executions",
    "large values apart from the journal",
    "a mark for executions that rest",
    "a count of the sub-flows of an execution",
    "deaths of owners, by what they were handling",
    "the wanted state of the deployment",
    "indexes of executions by status",
    "the lease of the deployment that runs on the store",
    "task templates",
    "triggers",
    "sessions of the console that were ended",
    "API keys by name",
    "the audit",
    "search keys, and an index of executions by version",
    "the leases of execution actors",
    "bytes of executions that have many",
    "bytes of definitions",
    "a quick compression of values",
)
"""What each migration adds; every adapter has these, under the same numbers."""


class SchemaStatus(NamedTuple):
    """Version of a database's tables, and the version that this release works with.

    ``found`` is 0 for a database without tables.
    """

    found: int
    wanted: int

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to upgrade."""
        return self.found == self.wanted

    @property
    def missing(self) -> list[tuple[int, str]]:
        """What an upgrade adds, with its numbers; nothing for a newer database."""
        return list(enumerate(MIGRATIONS, start=1))[self.found : self.wanted]

    def refuse_newer(self) -> None:
        """Refuse a database that a later release has upgraded.

        Raises:
            StoreError: The database is newer than this release.
        """
        if self.found > self.wanted:
            raise StoreError(
                f"the database is at schema version {self.found} and this release of Rillflow "
                f"knows versions up to {self.wanted}: use the release that upgraded it, or a later"
            )
