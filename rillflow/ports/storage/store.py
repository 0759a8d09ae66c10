"""The store port: the journal of executions and the catalogue of definitions.

To add a store, implement ``Store`` beside `rillflow/stores/sqlite`; `tests/contract` tests it.
Acknowledged means durable: a method that writes returns only once the write is on disk. Writers
group what arrives while a commit is under way.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

import msgspec

from rillflow.ids import ExecutionId
from rillflow.ports.deployment import Deployments
from rillflow.ports.storage.access import ApiKeys, Audit
from rillflow.ports.storage.aliases import AliasListings
from rillflow.ports.storage.execution_search import ExecutionSearch
from rillflow.ports.storage.lease import Leases, OwnerLeases
from rillflow.ports.storage.sessions import EndedSessions
from rillflow.ports.storage.templates import Templates
from rillflow.ports.triggers import Triggers

LATEST_MS: Final = 253_402_300_800_000
"""The latest time in a filter: the end of the year 9999."""


class NewExecution(msgspec.Struct, frozen=True, kw_only=True):
    """The row that creates an execution; written with its first journal record.

    ``listing_partition`` is that under which ``Journal.unfinished`` lists it (see
    `rillflow/ids.py`). ``definition_id`` is the md5 of the canonical text that the
    execution runs. ``ancestors`` are the executions above a sub-flow, outermost first: the first of
    them that is stored may have started ``max_descendants`` sub-flows, counted at all levels below
    it.
    """

    execution_id: ExecutionId
    business: str
    feature: str
    listing_partition: int
    definition_id: str
    submitted_at_ms: int
    dedicated: bool = False
    parent_id: ExecutionId | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None
    ancestors: tuple[ExecutionId, ...] = ()
    max_descendants: int = 0


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an execution that has ended (or ended again after a redo)."""

    status: str
    code: str | None
    finished_at_ms: int


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """Journal records of one execution, all or nothing.

    ``first_seq`` is the sequence number of the first record, counted from 1 and without gaps. An
    append without records writes no event: accepting it confirms that the execution has exactly the
    records before ``first_seq``. ``epoch`` is the owner's; the store refuses the append if it has a
    newer epoch for ``fencing_scope``, a partition or one dedicated execution. ``status`` replaces
    the execution's status in listings if it is given; ``snapshot`` (with ``snapshot_seq``, the last
    record it contains) replaces the stored one. An append of nothing but a snapshot may come after
    later records, and is refused after a newer snapshot; its caller knows that the records up to
    ``snapshot_seq`` are stored. ``rests`` says whether the execution waits for others only, so that
    a new owner need not read it; None keeps the stored value. ``search_values`` replace those by
    which the execution is found (names of search keys with values, each name once); None keeps
    them, and may be given together with a status only where there are none.
    """

    execution_id: ExecutionId
    fencing_scope: int
    epoch: int
    first_seq: int
    records: tuple[bytes, ...]
    new: NewExecution | None = None
    status: str | None = None
    closing: Closing | None = None
    snapshot: bytes | None = None
    snapshot_seq: int = 0
    rests: bool | None = None
    search_values: tuple[tuple[str, str], ...] | None = None


class StoredExecution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as loaded: its row, last snapshot, and the records after it."""

    execution_id: ExecutionId
    business: str
    feature: str
    listing_partition: int
    definition_id: str
    submitted_at_ms: int
    dedicated: bool
    parent_id: ExecutionId | None
    status: str
    rests: bool = False
    snapshot: bytes | None
    snapshot_seq: int
    records: tuple[bytes, ...]


class ExecutionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a listing."""

    execution_id: ExecutionId
    business: str
    feature: str
    status: str
    code: str | None
    submitted_at_ms: int
    finished_at_ms: int | None


class ExecutionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions to list or count; None selects any. Times are submit times, inclusive.

    With ``roots_only`` sub-flows are left out. ``keys`` are names and values of search keys.
    """

    execution_id: ExecutionId | None = None
    business: str | None = None
    feature: str | None = None
    statuses: tuple[str, ...] | None = None
    code: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    roots_only: bool = False
    keys: tuple[tuple[str, str], ...] = ()


DEATHS_KEPT_MS: Final = 7 * 86_400_000
"""How long deaths of owners are kept for executions that were never stored."""


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of an owner was handling, and for which execution, when it died.

    ``life`` is different for every process, so that a death that is noted twice counts once.
    """

    execution_id: ExecutionId
    life: str
    step: str
    at_ms: int


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version under an alias; the alias refers to the newest."""

    version: str
    created_at_ms: int


class CatalogueUse(NamedTuple):
    """What the names and rules of a business take.

    Attributes:
        names: How many features and aliases are listed, and the business itself.
        rules: How many gray and A/B rules are set.
        bytes: How long these are together.
    """

    names: int
    rules: int
    bytes: int


class Journal(Protocol):
    """Executions, their records, and their owners."""

    async def take_scopes(self, scopes: Sequence[int]) -> int:
        """Become the owner of fencing scopes; return the new epoch, greater than all before.

        A scope is a partition, or stands for one dedicated execution (see
        `runtime/activation/journal.py`). From here on, appends to them under an older epoch raise
        FencedError.
        """
        ...

    async def newest_epoch(self, scopes: Sequence[int]) -> int:
        """Return the newest epoch under which one of some scopes was taken, 0 for none."""
        ...

    async def append(self, appends: Sequence[Append]) -> None:
        """Write all appends in one transaction, durably.

        A large value that occurs again in later records or the snapshot of the same execution is
        stored once. Calls of one process are written in the order in which they were made.

        Raises:
            FencedError: Some scope has a newer owner; nothing was written.
            ConflictError: An append does not follow what is stored, or creates an execution
                that exists; nothing was written.
            QuotaError: An append creates a sub-flow beyond the limit of its family;
                nothing was written.
            StoreError: The write failed. Whether it was written is unknown; if so, it was
                written completely.
        """
        ...

    def cut_ahead(self, texts: Sequence[bytes]) -> AbstractContextManager[None]:
        """Do what storing large JSON texts takes of computation; in a thread, perhaps.

        Appends of their events, or of a snapshot that is such a text, within the context find it
        done, and hold the event loop no longer than the copies of their bytes take.
        """
        ...

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        """Read an execution with its snapshot and later records; None if unknown.

        Raises:
            DamagedError: A part of it is missing, or cannot be read; other executions can.
            LargeExecutionError: It has more than ``most_bytes``, of which little more was read.
            StoreError: The store could not be read.
        """
        ...

    async def unfinished(self, listings: Sequence[int]) -> list[ExecutionId]:
        """List unfinished executions that do not rest, by ``listing_partition``, oldest first."""
        ...

    async def ended_since(
        self, partitions: Sequence[int], *, since_ms: int, limit: int
    ) -> list[tuple[ExecutionId, int]]:
        """List executions of partitions that ended at a time or later, and when, the last first."""
        ...

    async def note_death(self, death: Death) -> None:
        """Store a death, durably; storing it again changes nothing.

        Deaths for executions that are not stored are removed after a week.
        """
        ...

    async def deaths(self) -> list[Death]:
        """List the stored deaths in any order; there are few."""
        ...

    async def forget_deaths(self, execution_id: ExecutionId, step: str | None = None) -> None:
        """Remove the deaths of an execution, or only those in one step."""
        ...

    async def find_by_idempotency_key(
        self, business: str, feature: str, key: str
    ) -> tuple[ExecutionId, str] | None:
        """Return the execution submitted under a key, with the digest of its request."""
        ...

    async def list_executions(
        self, wanted: ExecutionFilter, *, limit: int, offset: int = 0
    ) -> list[ExecutionSummary]:
        """List executions, newest submit time first."""
        ...

    async def count_executions(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count executions by status."""
        ...

    async def count_partitions(self, wanted: ExecutionFilter) -> dict[int, int]:
        """Count executions by partition; those without any are omitted."""
        ...

    async def stored_bytes(self, workspace: str) -> int:
        """Return about how many bytes are stored for the executions of a workspace.

        Sub-flows count for the workspace of their outermost execution. An execution counts 8 KiB,
        and what it has beyond.
        """
        ...

    async def count_codes(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count ended executions by failure code; those without a code are omitted."""
        ...

    async def children(self, parent_id: ExecutionId) -> list[ExecutionId]:
        """List sub-flow executions started by an execution, oldest first."""
        ...

    async def stored_parents(
        self, execution_ids: Sequence[ExecutionId]
    ) -> dict[ExecutionId, ExecutionId]:
        """Return the parents of executions, of those whose parents are stored; reads no values."""
        ...

    async def purgeable(
        self, *, ended_before_ms: int, keep: int, limit: int
    ) -> list[ExecutionSummary]:
        """List ended executions that no unfinished one needs, the longest ended first.

        The ``keep`` that ended last are omitted, and so are children of unfinished parents (whose
        recovery would start them anew) and parents of unfinished children.
        """
        ...

    async def purge(
        self, execution_ids: Sequence[ExecutionId], *, ended_before_ms: int, most_records: int
    ) -> list[ExecutionId]:
        """Remove executions and what is stored of them, in one transaction of a few megabytes.

        Deaths for them are removed, too. One call removes at most about ``most_records`` journal
        records. An execution that is not ``purgeable`` (any more) is kept, also if a redo has given
        it a later end. A removed execution is not found any more, by nobody; of a large one, parts
        remain for ``purge_remains``.

        Returns:
            Those that are left to remove: call again with them.
        """
        ...

    async def purge_remains(self, *, most_bytes: int) -> bool:
        """Delete what remains of a large execution that was removed, in one transaction.

        It deletes ``most_bytes`` at most, or one value that has more.

        Returns:
            Whether there was anything: call again then.
        """
        ...


class Catalogue(Protocol):
    """Definitions, their aliases and versions, gray rules and AB rules (spec 5.4, 5.5)."""

    async def put_definition_text(self, definition_id: str, text: str) -> None:
        """Store a canonical text under its md5; storing it again changes nothing."""
        ...

    async def definition_text(self, definition_id: str) -> str | None:
        """Read a canonical text."""
        ...

    async def add_version(  # noqa: PLR0913 - one row of the catalogue
        self,
        business: str,
        feature: str,
        alias: str,
        definition_id: str,
        text: str,
        *,
        at_ms: int,
        keep: int = 300,
    ) -> None:
        """Store a text and make it the newest version of an alias.

        Registers business, feature and alias; only the newest ``keep`` versions of
        the alias stay listed. Adding a version again makes it the newest.
        """
        ...

    async def definition_bytes(self, business: str) -> int:
        """Return how long all versions that were ever added to a business are, in bytes."""
        ...

    async def catalogue_use(self, business: str) -> CatalogueUse:
        """Return what the names and rules of a business take."""
        ...

    async def newest_version(self, business: str, feature: str, alias: str) -> str | None:
        """Return the newest version of an alias, None if it has none."""
        ...

    async def has_version(self, business: str, feature: str | None, version: str) -> bool:
        """Tell whether a version was ever added to a feature; None is any of the business."""
        ...

    async def versions(self, business: str, feature: str, alias: str) -> list[VersionRow]:
        """List the versions of an alias, newest first."""
        ...

    async def register(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> None:
        """Add names to the listings, together with the names above them."""
        ...

    async def unregister(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> None:
        """Remove the lowest given name from its listing; nothing else is removed."""
        ...

    async def is_listed(
        self, business: str, feature: str | None = None, alias: str | None = None
    ) -> bool:
        """Tell whether the lowest given name is registered."""
        ...

    async def businesses(self) -> list[str]:
        """List registered businesses by name."""
        ...

    async def features(self, business: str) -> list[str]:
        """List registered features of a business by name."""
        ...

    async def aliases(self, business: str, feature: str) -> list[str]:
        """List registered aliases of a feature by name."""
        ...

    async def set_rule(self, kind: str, scope: Sequence[str], name: str, rule: str) -> None:
        """Set a rule: kind ``gray`` (scope business, feature) or ``ab`` (business, key)."""
        ...

    async def remove_rule(self, kind: str, scope: Sequence[str], name: str) -> None:
        """Remove a rule; a missing one is no error."""
        ...

    async def rules(self, kind: str, scope: Sequence[str]) -> dict[str, str]:
        """Return the rules of a scope, sorted by name."""
        ...

    async def rule_beginnings(
        self, kind: str, scope: Sequence[str], *, characters: int, limit: int
    ) -> dict[str, str]:
        """Return the first rules of a scope by name, of each the first characters."""
        ...

    async def rule_scopes(self, kind: str, business: str) -> list[str]:
        """List second parts of the scopes of a business that have rules, by name."""
        ...


class Store(
    Journal,
    ExecutionSearch,
    Catalogue,
    AliasListings,
    Deployments,
    Leases,
    OwnerLeases,
    Templates,
    Triggers,
    EndedSessions,
    ApiKeys,
    Audit,
    Protocol,
):
    """All that a store keeps, with a life cycle."""

    async def open(self) -> None:
        """Create or check the schema; safe to call from several processes at once.

        Raises:
            StoreError: The database belongs to a newer release, or cannot be opened.
        """
        ...

    async def probe(self) -> None:
        """Write something durably, as an append does, that changes nothing.

        Raises:
            StoreError: The store accepts no writes.
        """
        ...

    def take_turns(self, reader: Callable[[], str]) -> None:
        """Have reads of different readers take turns from now on.

        Reads of what belongs to a workspace are told apart by that, others by the reader.

        Args:
            reader: Tells for whom the present task reads; empty is the stack itself.
        """
        ...

    async def connections(self) -> int | None:
        """Return how many connections all processes together may have; None where none are needed.

        Raises:
            StoreError: It cannot be read.
        """
        ...

    async def size_bytes(self) -> int:
        """Return about how many bytes the store takes on disk; 0 where it keeps nothing there.

        Raises:
            StoreError: It cannot be read.
        """
        ...

    async def close(self) -> None:
        """Finish the writes under way and release the database."""
        ...
