"""The schema version of a database, compared with what this release needs.

The first process of a later release upgrades a database. Processes of the release before go on
writing if all that was added is additive, so that a deployment rolls to the later release, and
back, while executions run. Beside its version, a database has the oldest version whose processes
may write to it; processes of an older one refuse it.

Used by `stores/sqlite/schema.py`, `stores/postgres/schema.py` and `cli/commands/database.py`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rillflow.errors import StoreError


class Migration(NamedTuple):
    """What a migration adds, and whether processes that do not know it may go on writing.

    An additive one adds tables, nullable columns at the end, indexes and storage options. Whoever
    knows them reads rows of a process that does not: there is null in a new column, or what was
    there before, and no row in a new table. Where that would be wrong, it is not additive.
    """

    what: str
    is_additive: bool


MIGRATIONS: Final = (
    Migration("the journal of executions", is_additive=False),
    Migration("the catalogue of definitions", is_additive=True),
    Migration("an index of ended executions", is_additive=True),
    Migration("large values apart from the journal", is_additive=False),
    Migration("a mark for executions that rest", is_additive=False),
    Migration("a count of the sub-flows of an execution", is_additive=False),
    Migration("deaths of owners, by what they were handling", is_additive=True),
    Migration("the wanted state of the deployment", is_additive=True),
    Migration("indexes of executions by status", is_additive=True),
    Migration("the lease of the deployment that runs on the store", is_additive=False),
    Migration("task templates", is_additive=True),
    Migration("triggers", is_additive=True),
    Migration("sessions of the console that were ended", is_additive=False),
    Migration("API keys by name", is_additive=True),
    Migration("the audit", is_additive=False),
    Migration("search keys, and an index of executions by version", is_additive=False),
    Migration("the leases of execution actors", is_additive=False),
    Migration("bytes of executions that have many", is_additive=False),
    Migration("bytes of definitions", is_additive=False),
    Migration("a quick compression of values", is_additive=True),
)
"""What each migration adds; every adapter has these, under the same numbers."""
UNRECORDED: Final = 20
"""Up to this version only processes of the same version may write, and nothing is recorded."""


def compatible_from(version: int, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Return the oldest version whose processes may write to the tables of a version."""
    oldest = version
    while oldest > UNRECORDED and migrations[oldest - 1].is_additive:
        oldest -= 1
    return oldest


class SchemaStatus(NamedTuple):
    """Version of a database's tables, and the version that this release works with.

    ``found`` is 0 for a database without tables. ``compatible_from`` is the oldest version whose
    processes may write; it is read from a database of a later release, None if it has none.
    """

    found: int
    wanted: int
    compatible_from: int | None = None

    @property
    def is_current(self) -> bool:
        """Whether the database is of the version that this release works with."""
        return self.found == self.wanted

    @property
    def is_writable(self) -> bool:
        """Whether this release may write to the tables as they are."""
        oldest = self.compatible_from
        is_compatible = oldest is not None and oldest <= self.wanted < self.found
        return self.is_current or is_compatible

    @property
    def missing(self) -> list[tuple[int, str]]:
        """What an upgrade adds, with its numbers; nothing for a newer database."""
        steps = enumerate(MIGRATIONS[self.found : self.wanted], start=self.found + 1)
        return [(number, step.what) for number, step in steps]

    @property
    def keeps_writers(self) -> bool:
        """Whether processes of the version found go on writing after an upgrade."""
        return 0 < compatible_from(self.wanted) <= self.found

    @property
    def warning(self) -> str:
        """What an upgrade of tables in use costs, in a sentence; nothing if it stops no writer."""
        if not self.found or self.found >= self.wanted or self.keeps_writers:
            return ""
        return (
            f"the store is at schema version {self.found}, and the first replica of this code"
            f" upgrades it to {self.wanted}: from then on execution actors of the earlier code"
            " write nothing until they are replaced, and the earlier code refuses the store. Back"
            " it up before; `rillflow db status` tells what is added"
        )

    def refuse_newer(self) -> None:
        """Refuse a database that a later release has upgraded, if this release may not write to it.

        Raises:
            StoreError: The database is newer than this release, and not compatible with it.
        """
        if not self.is_writable:
            self.refuse_unknown()

    def refuse_unknown(self) -> None:
        """Refuse every database of a later release: this one does not know all that is in it.

        Raises:
            StoreError: The database is newer than this release.
        """
        if self.found > self.wanted:
            raise StoreError(
                f"the database is at schema version {self.found} and this release of Rillflow "
                f"knows versions up to {self.wanted}: use the release that upgraded it, or a later"
            )

    def refuse_upgraded(self) -> None:
        """Refuse to write to a database whose version has changed since it was opened.

        Raises:
            StoreError: This release may not write to it.
        """
        if not self.is_writable:
            raise StoreError(f"the database was upgraded to schema version {self.found} meanwhile")
