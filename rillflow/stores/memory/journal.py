"""The journal half of the memory store, and what opens and closes each part of it.

Used by `stores/memory`.
"""

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count, islice
from typing import Any, Final

from rillflow.errors import StoreError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import (
    DEATHS_KEPT_MS,
    Append,
    Death,
    ExecutionFilter,
    ExecutionSummary,
    StoredExecution,
)
from rillflow.stores.append_plan import (
    AppendPlan,
    ExecutionRow,
    Family,
    Outcome,
    Place,
    StoredTotal,
    Totals,
    ancestors_of,
    are_small,
    total_of,
)
from rillflow.stores.large_values import (
    LARGE_VALUE_BYTES,
    CutAhead,
    ReadLimit,
    joined,
    references,
    slimmed,
)
from rillflow.stores.sql.execution_filters import IS_NULL, conditions_of

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "IN": lambda mine, wanted: mine in wanted,
    ">=": operator.ge,
    "<=": operator.le,
    IS_NULL: lambda mine, _: mine is None,
}


class MemoryLifecycle:
    """The state that the two halves of the memory store share."""

    def __init__(self) -> None:
        self._is_open = False

    async def open(self) -> None:
        """Allow calls; data from before a ``close()`` are still there."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse calls from now on."""
        self._is_open = False

    async def probe(self) -> None:
        """Refuse when closed; otherwise memory accepts every write."""
        self._check_open()

    def take_turns(self, reader: Callable[[], str]) -> None:
        """Do nothing: reads wait for nobody."""

    async def connections(self) -> int | None:
        """Return None: nobody connects."""
        return None

    async def size_bytes(self) -> int:
        """Return 0: nothing is on disk."""
        self._check_open()
        return 0

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreError("the store is closed")


class _Stored:
    """One execution: its row, its last snapshot with its seq, all records, and large values.

    ``in_records`` are the hashes of the values that records refer to, ``descendants`` how
    many sub-flows are counted for it, ``search_values`` by which it is found, ``stored_bytes`` what
    is counted of it.
    """

    __slots__ = (
        "descendants",
        "in_records",
        "payloads",
        "records",
        "row",
        "search_values",
        "snapshot",
        "snapshot_seq",
        "stored_bytes",
    )

    def __init__(self, row: ExecutionRow) -> None:
        self.row = row
        self.records: list[bytes] = []
        self.snapshot: bytes | None = None
        self.snapshot_seq = 0
        self.payloads: dict[bytes, bytes] = {}
        self.in_records: set[bytes] = set()
        self.descendants = 0
        self.search_values: dict[str, str] = {}
        self.stored_bytes: StoredTotal | None = None


class MemoryJournal(MemoryLifecycle):
    """Executions, their records, and who owns them; see the ``Journal`` port."""

    def __init__(self, *, large_value_bytes: int = LARGE_VALUE_BYTES) -> None:
        super().__init__()
        self._large_value_bytes = large_value_bytes
        self._newest_epoch = 0
        self._epochs: dict[int, int] = {}
        self._keys = count(1)
        self._by_id: dict[ExecutionId, _Stored] = {}
        self._by_key: dict[int, _Stored] = {}
        self._deaths: dict[tuple[ExecutionId, str], Death] = {}
        self._idempotent: dict[tuple[str, str, str], _Stored] = {}
        self._totals = Totals()

    async def take_scopes(self, scopes: Sequence[int]) -> int:
        """Become the owner of fencing scopes; return the new epoch, greater than any before."""
        self._check_open()
        self._newest_epoch += 1
        self._epochs.update(dict.fromkeys(scopes, self._newest_epoch))
        return self._newest_epoch

    async def newest_epoch(self, scopes: Sequence[int]) -> int:
        """Return the newest epoch under which any of some scopes was taken, 0 for none."""
        self._check_open()
        return max((self._epochs.get(each, 0) for each in scopes), default=0)

    async def append(self, appends: Sequence[Append]) -> None:
        """Write all appends or none of them."""
        self._check_open()
        touched = {append.execution_id for append in appends}
        known = [self._by_id[each] for each in touched if each in self._by_id]
        plan = AppendPlan(
            epochs=self._epochs,
            places={
                stored.row.execution_id: Place(stored.row.key, len(stored.records))
                for stored in known
            },
            keys=self._keys,
            families={
                each: Family(stored.row.key, stored.descendants)
                for each in ancestors_of(appends)
                if (stored := self._by_id.get(each)) is not None
            },
            snapshot_seqs={stored.row.execution_id: stored.snapshot_seq for stored in known},
            taken_keys=self._idempotent,
        )
        limit = self._large_value_bytes
        plan.add(appends if are_small(appends, limit) else slimmed(appends, limit))
        self._write(plan)

    def cut_ahead(self, texts: Sequence[bytes]) -> CutAhead:
        """Find the large values of texts before they are appended."""
        return CutAhead(texts, self._large_value_bytes)

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        """Read an execution with its snapshot and later records; None when unknown."""
        self._check_open()
        stored = self._by_id.get(execution_id)
        if stored is None:
            return None
        row = stored.row
        found = StoredExecution(
            execution_id=execution_id,
            business=row.business,
            feature=row.feature,
            listing_partition=row.listing_partition,
            definition_id=row.definition_id,
            submitted_at_ms=row.submitted_at_ms,
            dedicated=row.dedicated,
            parent_id=row.parent_id,
            status=row.status,
            rests=row.rests,
            snapshot=stored.snapshot,
            snapshot_seq=stored.snapshot_seq,
            records=tuple(stored.records[stored.snapshot_seq :]),
        )
        limit = ReadLimit(execution_id, most_bytes)
        for text in (*found.records, found.snapshot or b""):
            limit.count(len(text))
        for sha256, times in references(found).items():
            limit.count(len(stored.payloads.get(sha256, b"")) * times)
        return joined(found, stored.payloads)

    async def unfinished(self, listings: Sequence[int]) -> list[ExecutionId]:
        """List unfinished executions of these partitions that do not rest, oldest first."""
        self._check_open()
        wanted = set(listings)
        return [
            row.execution_id
            for row in self._oldest_first()
            if row.listing_partition in wanted and row.finished_at_ms is None and not row.rests
        ]

    async def ended_since(
        self, partitions: Sequence[int], *, since_ms: int, limit: int
    ) -> list[tuple[ExecutionId, int]]:
        """List executions of partitions that ended at a time or later, and when, the last first."""
        self._check_open()
        wanted = set(partitions)
        found = [
            (row.execution_id, row.finished_at_ms)
            for row in self._oldest_first()
            if row.finished_at_ms is not None and row.listing_partition in wanted
        ]
        lately = [each for each in found if each[1] >= since_ms]
        return sorted(lately, key=lambda each: each[1], reverse=True)[:limit]

    async def note_death(self, death: Death) -> None:
        """Keep a death; keeping it again changes nothing."""
        self._check_open()
        self._deaths.setdefault((death.execution_id, death.life), death)
        oldest_ms = death.at_ms - DEATHS_KEPT_MS
        self._keep_deaths(lambda each: each.at_ms >= oldest_ms or each.execution_id in self._by_id)

    async def deaths(self) -> list[Death]:
        """List the deaths that are kept, in no order; there are few."""
        self._check_open()
        return list(self._deaths.values())

    async def forget_deaths(self, execution_id: ExecutionId, step: str | None = None) -> None:
        """Forget the deaths of an execution, or only those in one step."""
        self._check_open()
        self._keep_deaths(
            lambda each: each.execution_id != execution_id or step not in {None, each.step}
        )

    def _keep_deaths(self, wanted: Callable[[Death], bool]) -> None:
        self._deaths = {key: each for key, each in self._deaths.items() if wanted(each)}

    async def find_by_idempotency_key(
        self, business: str, feature: str, key: str
    ) -> tuple[ExecutionId, str] | None:
        """Return the execution submitted under a key, with the digest of its request."""
        self._check_open()
        stored = self._idempotent.get((business, feature, key))
        if stored is None:
            return None
        return stored.row.execution_id, stored.row.request_digest or ""

    async def list_executions(
        self, wanted: ExecutionFilter, *, limit: int, offset: int = 0
    ) -> list[ExecutionSummary]:
        """List executions, newest submit time first."""
        self._check_open()
        rows = list(reversed(self._matching(wanted)))[offset : offset + limit]
        return [_summary(row) for row in rows]

    async def count_executions(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count executions by status."""
        self._check_open()
        return dict(Counter(row.status for row in self._matching(wanted)))

    async def count_partitions(self, wanted: ExecutionFilter) -> dict[int, int]:
        """Count executions by partition."""
        self._check_open()
        return dict(Counter(row.listing_partition for row in self._matching(wanted)))

    async def stored_bytes(self, workspace: str) -> int:
        """Return about how many bytes are stored for a workspace."""
        self._check_open()
        kept = [each.stored_bytes for each in self._by_id.values() if each.stored_bytes]
        executions = sum(each.row.business == workspace for each in self._by_id.values())
        executions -= sum(each.elsewhere == workspace for each in kept)
        more_bytes = sum(each.size_bytes for each in kept if each.workspace == workspace)
        return total_of(executions, more_bytes)

    async def count_codes(self, wanted: ExecutionFilter) -> dict[str, int]:
        """Count ended executions by failure code; those without a code are left out."""
        self._check_open()
        ended = (row for row in self._matching(wanted) if row.finished_at_ms is not None)
        return dict(Counter(row.code for row in ended if row.code is not None))

    async def children(self, parent_id: ExecutionId) -> list[ExecutionId]:
        """List sub-flow executions started by an execution, oldest first."""
        self._check_open()
        return [row.execution_id for row in self._oldest_first() if row.parent_id == parent_id]

    async def stored_parents(
        self, execution_ids: Sequence[ExecutionId]
    ) -> dict[ExecutionId, ExecutionId]:
        """Return the parents of executions, of those whose parents are stored."""
        self._check_open()
        rows = [self._by_id[each].row for each in execution_ids if each in self._by_id]
        return {
            row.execution_id: row.parent_id
            for row in rows
            if row.parent_id is not None and row.parent_id in self._by_id
        }

    async def purgeable(
        self, *, ended_before_ms: int, keep: int, limit: int
    ) -> list[ExecutionSummary]:
        """List ended executions that nothing unfinished needs, the longest ended first."""
        self._check_open()
        ended = [
            (row.finished_at_ms, row.key, row)
            for row in self._oldest_first()
            if row.finished_at_ms is not None
        ]
        old = sorted(ended)[: max(len(ended) - keep, 0)]
        free = (row for at_ms, _, row in old if at_ms < ended_before_ms and self._is_free(row))
        return [_summary(row) for row in islice(free, limit)]

    async def purge(
        self, execution_ids: Sequence[ExecutionId], *, ended_before_ms: int, most_records: int
    ) -> list[ExecutionId]:
        """Remove executions with all that is stored of them; memory needs no small steps."""
        del most_records
        self._check_open()
        known = (each for each in dict.fromkeys(execution_ids) if each in self._by_id)
        rows = [self._by_id[each].row for each in known]
        gone = [
            row
            for row in rows
            if row.finished_at_ms is not None
            and row.finished_at_ms < ended_before_ms
            and self._is_free(row)
        ]
        for row in gone:
            del self._by_id[row.execution_id], self._by_key[row.key]
            key = _idempotency_of(row)
            if key is not None:
                del self._idempotent[key]
        ids = {row.execution_id for row in gone}
        self._keep_deaths(lambda each: each.execution_id not in ids)
        return []

    async def purge_remains(self, *, most_bytes: int) -> bool:
        """Return False: nothing remains of what is removed."""
        del most_bytes
        self._check_open()
        return False

    def _is_free(self, ended: ExecutionRow) -> bool:
        """Tell whether neither the parent nor a child of an ended execution is unfinished."""
        parent = None if ended.parent_id is None else self._by_id.get(ended.parent_id)
        children = (
            each.row for each in self._by_id.values() if each.row.parent_id == ended.execution_id
        )
        relatives = [*children, *([parent.row] if parent is not None else [])]
        return all(row.finished_at_ms is not None for row in relatives)

    def _write(self, plan: AppendPlan) -> None:
        for row in plan.executions:
            stored = _Stored(row)
            self._by_id[row.execution_id] = self._by_key[row.key] = stored
            key = _idempotency_of(row)
            if key is not None:
                self._idempotent[key] = stored
        for execution, _, record in plan.records:
            self._by_key[execution].records.append(record)
        for execution, descendants in plan.descendants.items():
            self._by_key[execution].descendants = descendants
        for execution, outcome in plan.outcomes.items():
            stored = self._by_key[execution]
            stored.row = _with_outcome(stored.row, outcome)
        for execution, rests in plan.rests.items():
            stored = self._by_key[execution]
            stored.row = stored.row._replace(rests=rests)
        self._write_beside_rows(plan)

    def _write_beside_rows(self, plan: AppendPlan) -> None:
        for execution, values in plan.search_values.items():
            self._by_key[execution].search_values = dict(values)
        payload_bytes = self._write_payloads(plan)
        for row in self._totals.rows(plan, payload_bytes):
            stored = self._by_key[row.key]
            before = stored.stored_bytes or row._replace(size_bytes=0)
            size_bytes = before.size_bytes + row.size_bytes
            if stored.stored_bytes is not None and row.key in plan.snapshots:
                size_bytes -= len(stored.snapshot or b"")
            stored.stored_bytes = before._replace(size_bytes=size_bytes)
        for execution, (seq, snapshot) in plan.snapshots.items():
            stored = self._by_key[execution]
            stored.snapshot_seq, stored.snapshot = seq, snapshot

    def _write_payloads(self, plan: AppendPlan) -> dict[int, int]:
        """Write the large values of a plan; return by how many bytes each execution has grown."""
        grown = Counter[int]()
        for execution, sha256, in_record, value in plan.payloads:
            stored = self._by_key[execution]
            if sha256 not in stored.payloads:
                stored.payloads[sha256] = value
                grown[execution] += len(value)
            if in_record:
                stored.in_records.add(sha256)
        for execution, kept in plan.snapshot_payloads.items():
            stored = self._by_key[execution]
            for sha256 in stored.payloads.keys() - stored.in_records - set(kept):
                grown[execution] -= len(stored.payloads.pop(sha256))
        return grown

    def _oldest_first(self) -> list[ExecutionRow]:
        rows = (stored.row for stored in self._by_id.values())
        return sorted(rows, key=lambda row: (row.submitted_at_ms, row.key))

    def _matching(self, wanted: ExecutionFilter) -> list[ExecutionRow]:
        keys = set(wanted.keys)
        conditions = [each for each in conditions_of(wanted) if each.operator in _COMPARE]
        return [
            row
            for row in self._oldest_first()
            if keys <= self._by_key[row.key].search_values.items()
            and all(
                _COMPARE[each.operator](getattr(row, each.column), each.value)
                for each in conditions
            )
        ]


def _summary(row: ExecutionRow) -> ExecutionSummary:
    return ExecutionSummary(
        execution_id=row.execution_id,
        business=row.business,
        feature=row.feature,
        status=row.status,
        code=row.code,
        submitted_at_ms=row.submitted_at_ms,
        finished_at_ms=row.finished_at_ms,
    )


def _idempotency_of(row: ExecutionRow) -> tuple[str, str, str] | None:
    key = row.idempotency_key
    return None if key is None else (row.business, row.feature, key)


def _with_outcome(row: ExecutionRow, outcome: Outcome) -> ExecutionRow:
    return row._replace(
        status=outcome.status, code=outcome.code, finished_at_ms=outcome.finished_at_ms
    )
