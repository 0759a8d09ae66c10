"""An import: frames of a file, checked and written into a database.

A file is not trusted: what does not fit is refused with its place. What is written
together is written as a whole, so an import that ends early has written whole executions, and may
be repeated.

Used by `cli/commands`.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rillflow.core.encoding.codec import check_event, check_state
from rillflow.core.status import DagStatus
from rillflow.definition.checks.search_keys import LONGEST_VALUE, MOST_SEARCH_KEYS, is_key_name
from rillflow.errors import ConflictError, StoreError
from rillflow.ids import is_execution_id, listing_partition, service_of
from rillflow.stores.append_plan import PIECES_MARK
from rillflow.stores.large_values import references_in
from rillflow.stores.transfer.rows import ExecutionRow, MovedExecution
from rillflow.stores.transfer.session import Session
from rillflow.stores.transfer.tables import API_KEYS
from rillflow.stores.transfer.writing import Place, Writer
from rillflow.transfer.frames import (
    End,
    ExecutionFrame,
    Frame,
    FrameReader,
    PayloadFrame,
    RecordsFrame,
    SnapshotFrame,
    TableFrame,
)
from rillflow.transfer.import_lease import ImportLease
from rillflow.transfer.moved_rows import rows_of

TOGETHER_BYTES: Final = 8 * 1024 * 1024
TOGETHER: Final = 500
"""How much is written with one commit."""
STATUSES: Final = frozenset(status.name.lower() for status in DagStatus) | {"RUNNING"}


class Imported(msgspec.Struct):
    """What an import has written.

    Attributes:
        executions: Executions that are new, or that have gone on.
        unchanged: Executions that were there already, as far or farther.
        rows: Rows of tables.
    """

    executions: int = 0
    unchanged: int = 0
    rows: int = 0


class Import:
    """Reads a file into a database.

    Attributes:
        imported: What was written by commits so far.
    """

    def __init__(
        self, session: Session, reader: FrameReader, *, with_keys: bool, lease: ImportLease
    ) -> None:
        self._session = session
        self._reader = reader
        self._with_keys = with_keys
        self._lease = lease
        self._writer = Writer(session, updates=reader.header.since_ms is not None)
        self._seen = 0
        self._ended = False
        self.imported = Imported()

    async def run(self, progress: Callable[[int], None]) -> Imported:
        """Import everything; ``progress`` is called with the number of executions so far.

        Raises:
            ConflictError: The database has something else under the same key.
            StoreError: The file or the database cannot be read or written.
        """
        while not self._ended:
            try:
                group = Imported()
                await self._lease.renew()
                async with self._session.transaction():
                    await self._take_group(group)
                    await self._lease.check()
            except StoreError as error:
                raise self._told(error) from error
            self.imported.executions += group.executions
            self.imported.unchanged += group.unchanged
            self.imported.rows += group.rows
            progress(self._seen)
        return self.imported

    def _told(self, error: StoreError) -> StoreError:
        """Return an error that says what is in the database in spite of it."""
        done = self.imported
        kept = (
            f"{done.executions:,} executions and {done.rows:,} rows were imported before, and"
            " stay; import again once that is mended, which goes on from there"
            if done.executions or done.rows
            else "nothing was imported"
        )
        kind = ConflictError if isinstance(error, ConflictError) else StoreError
        return kind(f"{error} (near frame {self._reader.frames}): {kept}")

    async def _take_group(self, group: Imported) -> None:
        """Take whole executions and rows for one commit."""
        size_bytes = units = 0
        before = self._writer.changed
        if not self._seen and not self.imported.rows:
            await self._writer.count_triggers(self._reader.header.next_trigger_id)
        while size_bytes < TOGETHER_BYTES and units < TOGETHER and not self._ended:
            start = self._reader.total_bytes
            await self._take(self._reader.next(), group)
            size_bytes += self._reader.total_bytes - start
            units += 1
        group.rows = self._writer.changed - before

    async def _take(self, frame: Frame, group: Imported) -> None:
        if isinstance(frame, End):
            if frame.executions != self._seen:
                raise StoreError(
                    f"the file has {self._seen:,} executions, and says {frame.executions:,}"
                )
            self._ended = True
        elif isinstance(frame, TableFrame):
            if frame.table != API_KEYS or self._with_keys:
                await self._writer.put_rows(frame.table, rows_of(frame))
        elif isinstance(frame, ExecutionFrame):
            is_new = await self._execution(frame.execution)
            self._seen += 1
            group.executions += is_new
            group.unchanged += not is_new
        else:
            raise StoreError("the file has a part of an execution outside of one")

    async def _execution(self, moved: MovedExecution) -> bool:
        """Take an execution with its parts; return whether something of it was new."""
        execution_id = refuse_wrong(moved)
        if not await self._writer.has_definition(moved.row.definition_id):
            raise StoreError(f"{execution_id}: its definition is not in the file")
        place = await self._writer.begin(moved)
        payloads = await self._payloads(place, execution_id)
        await self._records(place, moved, payloads)
        snapshot = None
        if moved.snapshot_seq:
            snapshot = self._snapshot(execution_id, payloads)
        return await self._writer.end(place, moved, snapshot)

    async def _payloads(self, place: Place, execution_id: str) -> set[bytes]:
        found: set[bytes] = set()
        while isinstance(frame := self._reader.next(), PayloadFrame):
            if hashlib.sha256(frame.value).digest() != frame.sha256:
                raise StoreError(f"{execution_id}: a large value is not that of its SHA-256")
            found.add(frame.sha256)
            await self._writer.payload(place, frame.sha256, frame.value, in_record=frame.in_record)
        self._reader.give_back(frame)
        return found

    async def _records(self, place: Place, moved: MovedExecution, payloads: set[bytes]) -> None:
        execution_id, seq = moved.row.execution_id, 1
        while seq <= moved.last_seq:
            frame = self._reader.next()
            if not isinstance(frame, RecordsFrame):
                raise StoreError(f"{execution_id}: record {seq} of {moved.last_seq} is missing")
            for number, record in enumerate(frame.records, start=seq):
                with_place(f"{execution_id}: record {number}", record, payloads, check_event)
            await self._writer.records(place, execution_id, seq, frame.records)
            seq += len(frame.records)
        if seq != moved.last_seq + 1:
            raise StoreError(f"{execution_id}: there are more records than {moved.last_seq}")

    def _snapshot(self, execution_id: str, payloads: set[bytes]) -> bytes:
        frame = self._reader.next()
        if not isinstance(frame, SnapshotFrame):
            raise StoreError(f"{execution_id}: its snapshot is missing")
        with_place(f"{execution_id}: its snapshot", frame.snapshot, payloads, check_state)
        return frame.snapshot


def refuse_wrong(moved: MovedExecution) -> str:
    """Refuse a row that no release writes; return its id.

    Raises:
        StoreError: It is one.
    """
    row = moved.row
    if not is_execution_id(row.execution_id):
        raise StoreError(f"{row.execution_id[:200]!r} is no id of an execution")
    wrong = _wrong_in_row(row)
    if moved.last_seq < 1 or not 0 <= moved.snapshot_seq <= moved.last_seq:
        wrong = f"it has {moved.last_seq} records and a snapshot of record {moved.snapshot_seq}"
    elif not _are_search_values(moved.search_values):
        wrong = "it has values of search keys that no execution has"
    if wrong:
        raise StoreError(f"{row.execution_id}: {wrong}")
    return row.execution_id


def _wrong_in_row(row: ExecutionRow) -> str:
    """Return what is wrong in a row whose id is one; empty if nothing is."""
    if (row.business, row.feature) != service_of(row.execution_id):
        return f"it is none of the workflow {row.business[:40]!r}:{row.feature[:40]!r}"
    if row.partition != listing_partition(row.execution_id):
        return f"it is not of the partition {row.partition}"
    if row.parent_id is not None and not is_execution_id(row.parent_id):
        return "its parent has no id of an execution"
    return "" if row.status in STATUSES else f"{row.status[:40]!r} is no status"


def _are_search_values(values: Sequence[tuple[str, str]]) -> bool:
    names = {name for name, _ in values}
    return (
        len(names) == len(values) <= MOST_SEARCH_KEYS
        and all(map(is_key_name, names))
        and all(value.isprintable() and 0 < len(value) <= LONGEST_VALUE for _, value in values)
    )


def with_place(
    place: str, data: bytes, payloads: set[bytes], check: Callable[[bytes], object]
) -> None:
    """Check that what is stored of an execution can be read, as far as it is no large value.

    Raises:
        StoreError: It cannot; the message begins with the place.
    """
    missing = False
    try:
        if not data.startswith(PIECES_MARK):
            check(data)
        else:
            missing = not references_in((data,)) <= payloads
    except (StoreError, msgspec.MsgspecError, ValueError, RecursionError, IndexError) as error:
        raise StoreError(f"{place} cannot be read: {error}") from error
    if missing:
        raise StoreError(f"{place} refers to a large value that is missing")
