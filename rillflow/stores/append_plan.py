"""The append plan: which rows a group of appends writes, and which appends are refused.

Pure, and the same for every adapter: inside the transaction, an adapter reads what it knows about
the partitions and executions concerned, passes each caller's appends to an `AppendPlan`, and writes
its rows. A refused caller changes nothing in the plan, so the others are written.

Used by `stores/memory/journal.py`, `stores/postgres/writer.py` and `stores/sqlite/rows.py`.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from rillflow.errors import ConflictError, FencedError, QuotaError
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.storage.store import Append, NewExecution

INITIAL_STATUS: Final = "RUNNING"
EXECUTION_BYTES: Final = 8 * 1024
"""What each execution counts, and what is written of one before its bytes are written down."""
MOST_NOTED: Final = 50_000
"""How many executions with fewer bytes are noted; each takes some 100 bytes of memory."""

PIECES_MARK: Final = b"\xfe"
"""First byte of a record without its large values; format numbers of the journal are far lower."""
Payloads: TypeAlias = dict[bytes, bytes]
"""Values by their SHA-256."""
RecordRow: TypeAlias = tuple[int, int, bytes]
KeyOfFeature: TypeAlias = tuple[str, str, str]
"""A workspace, its feature, and an idempotency key of it."""


class SlimAppend(Append, frozen=True, kw_only=True):
    """An append without its large values, and these values with their positions."""

    of_records: Payloads
    of_snapshot: Payloads


def are_small(appends: Sequence[Append], limit: int) -> bool:
    """Tell whether there is nothing to take out of appends, as of nearly all."""
    for append in appends:
        for record in append.records:
            if len(record) > limit or record.startswith(PIECES_MARK):
                return False
        snapshot = append.snapshot
        if snapshot is not None and (len(snapshot) > limit or snapshot.startswith(PIECES_MARK)):
            return False
    return True


class Place(NamedTuple):
    """The position of an execution in the journal: its row's key and its last record."""

    key: int
    last_seq: int


class Family(NamedTuple):
    """An execution by its row's key, and the number of its sub-flows, at all levels."""

    key: int
    descendants: int


class Outcome(NamedTuple):
    """Status of an execution in listings; without ``finished_at_ms`` it is unfinished."""

    status: str
    code: str | None
    finished_at_ms: int | None


class ExecutionRow(NamedTuple):
    """One new row of executions, in the order of the table's columns."""

    key: int
    execution_id: ExecutionId
    business: str
    feature: str
    listing_partition: int
    definition_id: str
    submitted_at_ms: int
    dedicated: bool
    parent_id: ExecutionId | None
    idempotency_key: str | None
    request_digest: str | None
    status: str
    code: str | None
    finished_at_ms: int | None
    rests: bool


EXECUTION_COLUMNS: Final = ", ".join(ExecutionRow._fields).replace("listing_", "")
"""The columns of such a row. Statements name them, since a later release may have added others."""


class PayloadRow(NamedTuple):
    """One large value of an execution; ``in_record`` is whether a record refers to it."""

    key: int
    sha256: bytes
    in_record: bool
    value: bytes


class AppendPlan:
    """The rows to write, collected caller by caller.

    ``executions`` and ``records`` are rows to insert; ``outcomes``, ``snapshots`` and ``rests``
    replace what is stored, by execution key. A snapshot is (seq, bytes). ``payloads`` are to be
    inserted unless they exist. For the executions in ``snapshot_payloads``, payloads to which
    neither a record nor the new snapshot refers are to be deleted. ``descendants`` replaces the
    number of sub-flows of an execution, at all levels. ``search_values`` replace those of an
    execution; they are written after everything that its row says.

    ``grown`` has the bytes without large values of each execution that is written, ``payers`` the
    workspace for which a sub-flow that is created counts, if that is another one than its own.
    ``ended`` are those that have ended.

    The ``families`` are the stored ancestors of new executions. ``snapshot_seqs`` are the numbers
    of the stored snapshots of the executions that ``with_late_snapshots`` lists. ``taken_keys``
    has those of ``idempotency_keys_of`` that stored executions have.
    """

    def __init__(  # noqa: PLR0913 - all that an adapter reads
        self,
        *,
        epochs: Mapping[int, int],
        places: Mapping[ExecutionId, Place],
        keys: Iterator[int],
        families: Mapping[ExecutionId, Family] | None = None,
        snapshot_seqs: Mapping[ExecutionId, int] | None = None,
        taken_keys: Container[KeyOfFeature] = (),
    ) -> None:
        self._epochs = epochs
        self._places = dict(places)
        self._keys = keys
        self._families = dict(families or {})
        self._snapshot_seqs = snapshot_seqs or {}
        self._taken_keys = taken_keys
        self._new_keys: set[KeyOfFeature] = set()
        self.executions: list[ExecutionRow] = []
        self.records: list[RecordRow] = []
        self.outcomes: dict[int, Outcome] = {}
        self.snapshots: dict[int, tuple[int, bytes]] = {}
        self.payloads: list[PayloadRow] = []
        self.snapshot_payloads: dict[int, tuple[bytes, ...]] = {}
        self.rests: dict[int, bool] = {}
        self.descendants: dict[int, int] = {}
        self.search_values: dict[int, tuple[tuple[str, str], ...]] = {}
        self.grown: dict[int, int] = {}
        self.payers: dict[int, str] = {}
        self.ended: set[int] = set()

    def add(self, appends: Sequence[Append]) -> None:
        """Add the appends of one caller, all or none of them.

        Raises:
            FencedError: Some scope has a newer owner.
            ConflictError: An execution is unknown, or exists already, or has an
                idempotency key that is taken, or its records do not follow the last
                one, or a snapshot claims records that are not stored, or comes after
                a newer one.
            QuotaError: A sub-flow exceeds the limit of its family.
        """
        staged: dict[ExecutionId, Place] = {}
        new_keys: set[KeyOfFeature] = set()
        families: dict[ExecutionId, Family] = {}
        epochs, places = self._epochs, self._places
        for append in appends:
            execution_id, new = append.execution_id, append.new
            if epochs.get(append.fencing_scope, 0) > append.epoch:
                raise self._fenced(append)
            place = staged.get(execution_id) or places.get(execution_id)
            if place is None or new is not None:
                place = self._first_place(append, place)
            key, last_seq = place
            if append.first_seq != last_seq + 1 or append.snapshot is not None:
                _check_sequence(append, last_seq)
                self._check_snapshot(append, key)
            staged[execution_id] = Place(key, last_seq + len(append.records))
            if new is not None:
                self._take_key(new, new_keys)
                self._count_in(new, families)
        self._places.update(staged)
        self._new_keys |= new_keys
        self._families.update(families)
        self.descendants.update(families.values())
        for append in appends:
            self._take(append, staged[append.execution_id].key)

    def place_of(self, execution_id: ExecutionId) -> Place | None:
        """Return the place of an execution after what was added."""
        return self._places.get(execution_id)

    def executions_by_key(self) -> dict[int, ExecutionId]:
        """Return the executions that are written, by their keys."""
        return {place.key: execution_id for execution_id, place in self._places.items()}

    def _check_snapshot(self, append: Append, key: int) -> None:
        if not _is_late_snapshot(append):
            return
        stored_seq = self._snapshot_seqs.get(append.execution_id, 0)
        newest_seq = max(stored_seq, self.snapshots.get(key, (0, b""))[0])
        if append.snapshot_seq <= newest_seq:
            raise ConflictError(
                f"{append.execution_id}: a snapshot of record {append.snapshot_seq} is no newer"
                f" than that of record {newest_seq}"
            )

    def _fenced(self, append: Append) -> FencedError:
        return FencedError(
            f"{append.execution_id}: fencing scope {append.fencing_scope} is owned under epoch "
            f"{self._epochs[append.fencing_scope]}, so epoch {append.epoch} may not write"
        )

    def _first_place(self, append: Append, place: Place | None) -> Place:
        """Return the place of an append that creates its execution.

        Raises:
            ConflictError: It creates none, or there is one in ``place`` already.
        """
        execution_id, new = append.execution_id, append.new
        if new is None:
            raise ConflictError(f"{execution_id}: no such execution")
        if place is not None:
            raise ConflictError(f"{execution_id}: exists already")
        if new.execution_id != execution_id:
            raise ConflictError(f"{execution_id}: the new row names {new.execution_id}")
        return Place(next(self._keys), 0)

    def _take_key(self, new: NewExecution, staged: set[KeyOfFeature]) -> None:
        if new.idempotency_key is None:
            return
        wanted = (new.business, new.feature, new.idempotency_key)
        if wanted in staged or wanted in self._new_keys or wanted in self._taken_keys:
            raise ConflictError(f"{new.execution_id}: its idempotency key is taken")
        staged.add(wanted)

    def _count_in(self, new: NewExecution, staged: dict[ExecutionId, Family]) -> None:
        """Count a sub-flow in the family of its first stored ancestor."""
        if not new.ancestors:
            return
        head = first_stored(new.ancestors, self._families)
        if head is None:
            return
        key, descendants = staged.get(head) or self._families[head]
        if descendants >= new.max_descendants:
            raise QuotaError(
                f"{head} has {descendants} sub-flows, at all levels, and may have"
                f" {new.max_descendants}, as the setting max_descendants"
                " (RILLFLOW_MAX_DESCENDANTS) said when it was submitted"
            )
        staged[head] = Family(key, descendants + 1)

    def _take(self, append: Append, key: int) -> None:
        if append.new is not None:
            self._create(append, append.new, key)
        else:
            self._change(append, key)
        seq, size_bytes = append.first_seq, 0
        for record in append.records:
            self.records.append((key, seq, record))
            size_bytes += len(record)
            seq += 1
        if append.search_values is not None:
            self.search_values[key] = append.search_values
        if append.snapshot is not None:
            self.snapshots[key] = (append.snapshot_seq, append.snapshot)
            self.snapshot_payloads.pop(key, None)
            size_bytes += len(append.snapshot)
        self.grown[key] = self.grown.get(key, 0) + size_bytes
        if isinstance(append, SlimAppend):
            self._take_payloads(append, key)

    def _create(self, append: Append, new: NewExecution, key: int) -> None:
        self.executions.append(_row(key, new, outcome_of(append), rests=bool(append.rests)))
        if append.closing is not None:
            self.ended.add(key)
        payer = workspace_of(new.ancestors[0]) if new.ancestors else new.business
        if payer != new.business:
            self.payers[key] = payer

    def _change(self, append: Append, key: int) -> None:
        outcome = outcome_of(append)
        if outcome is not None:
            self.outcomes[key] = outcome
            if outcome.finished_at_ms is not None:
                self.ended.add(key)
        if append.rests is not None:
            self.rests[key] = append.rests

    def _take_payloads(self, append: SlimAppend, key: int) -> None:
        for sha256, value in append.of_records.items():
            self.payloads.append(PayloadRow(key, sha256, True, value))  # noqa: FBT003 - a row
        for sha256, value in append.of_snapshot.items():
            if sha256 not in append.of_records:
                self.payloads.append(PayloadRow(key, sha256, False, value))  # noqa: FBT003 - a row
        if append.of_snapshot:
            self.snapshot_payloads[key] = tuple(append.of_snapshot)


class StoredTotal(NamedTuple):
    """What has been written of one execution, beyond what is counted for it already.

    Attributes:
        key: The key of its row.
        workspace: The workspace for which it counts, unless there is a row of it.
        elsewhere: Its own workspace, if it counts for another one.
        size_bytes: How many bytes.
    """

    key: int
    workspace: str
    elsewhere: str | None
    size_bytes: int


class Totals:
    """What one writer has written of executions, as far as no row of it is worth while.

    An execution counts 8 KiB, which most do not exceed, so that nothing is written for them. Each
    that has more has a row with its bytes beyond, which the transaction of an append writes
    together with what it counts. Rows go with their executions. What is forgotten, or lost with the
    process, is less than 8 KiB of an execution.

    Sub-flows count for the workspace of their outermost execution: whoever starts executions in
    another workspace pays for them.
    """

    def __init__(self) -> None:
        self._noted: dict[int, int] = {}

    def rows(
        self, plan: AppendPlan, payload_bytes: Mapping[int, int] | None = None
    ) -> list[StoredTotal]:
        """Return the rows to add to what is stored, and note the rest.

        Args:
            plan: What is written.
            payload_bytes: The bytes of large values by execution, less those that are dropped.
        """
        noted, large = self._noted, dict[int, int]()
        for key, added in plan.grown.items():
            size_bytes = noted.pop(key, 0) + added
            payloads = payload_bytes.get(key, 0) if payload_bytes else 0
            if size_bytes > EXECUTION_BYTES or payloads or key in plan.payers:
                large[key] = size_bytes + payloads
            elif key not in plan.ended:
                noted[key] = size_bytes
        if len(noted) > MOST_NOTED:
            for key in list(islice(noted, len(noted) - MOST_NOTED // 2)):
                del noted[key]
        if not large:
            return []
        ids = plan.executions_by_key()
        return [_total_row(plan, key, ids[key], size_bytes) for key, size_bytes in large.items()]

    def is_to_be_written(self, plan: AppendPlan) -> bool:
        """Tell whether a plan without large values has rows."""
        noted = self._noted
        return any(noted.get(key, 0) + added > EXECUTION_BYTES for key, added in plan.grown.items())


def _total_row(
    plan: AppendPlan, key: int, execution_id: ExecutionId, size_bytes: int
) -> StoredTotal:
    own = workspace_of(execution_id)
    payer = plan.payers.get(key)
    if payer is None:
        return StoredTotal(key, own, None, size_bytes)
    # What counts for the other workspace does not count as an execution of its own.
    return StoredTotal(key, payer, own, size_bytes + EXECUTION_BYTES)


def total_of(executions: int, more_bytes: int) -> int:
    """Return the bytes of a workspace of its executions, and of what they have beyond."""
    return executions * EXECUTION_BYTES + more_bytes


def ancestors_of(appends: Sequence[Append]) -> list[ExecutionId]:
    """List the executions above those that appends create, each once."""
    return list({each for append in appends if append.new for each in append.new.ancestors})


def idempotency_keys_of(appends: Sequence[Append]) -> list[KeyOfFeature]:
    """List the idempotency keys of the executions that appends create, each once."""
    return list(
        {
            (new.business, new.feature, new.idempotency_key)
            for append in appends
            if (new := append.new) is not None and new.idempotency_key is not None
        }
    )


def first_stored(
    ancestors: Sequence[ExecutionId], stored: Container[ExecutionId]
) -> ExecutionId | None:
    """Return the outermost ancestor that has not been removed, None if there is none."""
    return next((each for each in ancestors if each in stored), None)


def outcome_of(append: Append) -> Outcome | None:
    """Return what an append says about its execution's status, None for nothing.

    A closing ends the execution. A status alone means that it continues (also after a redo), so it
    is unfinished again.
    """
    closing = append.closing
    if closing is not None:
        return Outcome(closing.status, closing.code, closing.finished_at_ms)
    return None if append.status is None else Outcome(append.status, None, None)


def _row(key: int, new: NewExecution, outcome: Outcome | None, *, rests: bool) -> ExecutionRow:
    return ExecutionRow(
        key,
        new.execution_id,
        new.business,
        new.feature,
        new.listing_partition,
        new.definition_id,
        new.submitted_at_ms,
        new.dedicated,
        new.parent_id,
        new.idempotency_key,
        new.request_digest,
        *(outcome or Outcome(INITIAL_STATUS, None, None)),
        rests,
    )


def with_late_snapshots(appends: Sequence[Append]) -> list[ExecutionId]:
    """List the executions of which a snapshot is written alone, perhaps after later records."""
    return [append.execution_id for append in appends if _is_late_snapshot(append)]


def _is_late_snapshot(append: Append) -> bool:
    if append.snapshot is None or append.records:
        return False
    return append.closing is None and append.status is None and append.rests is None


def _check_sequence(append: Append, last_seq: int) -> None:
    may_be_late = append.first_seq <= last_seq and _is_late_snapshot(append)
    if append.first_seq != last_seq + 1 and not may_be_late:
        raise ConflictError(
            f"{append.execution_id}: record {append.first_seq} does not follow record {last_seq}"
        )
    if append.snapshot is not None and append.snapshot_seq > last_seq + len(append.records):
        raise ConflictError(
            f"{append.execution_id}: a snapshot of record {append.snapshot_seq} "
            f"is ahead of record {last_seq + len(append.records)}"
        )
