"""The writer: the one task of a process that appends to the journal in PostgreSQL.

Appends that arrive while a commit is under way are committed together by the next one, but for
large ones, which take turns; an idle writer commits at once. A caller waits on a future that is
settled after the commit, so cancelling the caller changes nothing on disk.

The writing transaction locks the rows of its partitions (``FOR SHARE``). A ``take_scopes``
waits for it, and it waits for a ``take_scopes``: no append of an old owner commits after
``take_scopes`` has returned.

Used by `stores/postgres/database.py`.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import asyncpg

from rillflow.errors import ConflictError, StoreError
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Append
from rillflow.stores.append_plan import (
    AppendPlan,
    Family,
    KeyOfFeature,
    Place,
    Totals,
    ancestors_of,
    first_stored,
    idempotency_keys_of,
    with_late_snapshots,
)
from rillflow.stores.commit_order import CommitOrder
from rillflow.stores.postgres.append_statements import (
    columns_of,
    create_statement,
    fenced_arguments,
    fenced_statement,
    is_of_one_statement,
    plain_statement,
    rows_of,
)
from rillflow.stores.postgres.known_places import KnownPlaces
from rillflow.stores.postgres.schema import (
    CONNECTION_ERRORS,
    PURGE_LOCK,
    VERSION,
    read_status,
)
from rillflow.stores.postgres.session_settings import WRITER_SETTINGS

SILENCE_S: Final = 30.0
"""After this a silent connection is cut; its host may have disappeared."""

_MOST_TRIES: Final = 3
"""So often is a group written anew because other writers have taken keys meanwhile."""
_KEYS_AT_ONCE: Final = 512
"""Keys of executions are fetched from the database in lots of so many."""

_OF_DATA: Final = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,  # a value is too long for an index
)
# A missing row could not be locked, so the partition gets one with the oldest epoch.
_ENSURE_OWNERS: Final = """
INSERT INTO owners (partition, epoch)
SELECT partition, 0 FROM unnest($1::bigint[]) AS partition ORDER BY partition
ON CONFLICT DO NOTHING
"""
# The advisory lock keeps executions from being purged between here and the commit.
_LOCK_OWNERS: Final = """
WITH shared AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared($2))
SELECT partition, epoch FROM shared, owners WHERE partition = ANY($1::bigint[])
ORDER BY partition FOR SHARE OF owners
"""
_PLACES: Final = """
SELECT execution_id, key, coalesce(
    (SELECT max(seq) FROM journal WHERE execution = key),
    (SELECT seq FROM snapshots WHERE execution = key), 0), finished_at_ms IS NULL
FROM executions WHERE execution_id = ANY($1::text[])
"""
_ANCESTORS: Final = "SELECT execution_id, key FROM executions WHERE execution_id = ANY($1::text[])"
# One writer at a time counts a family. Rows are created and locked in one order.
_ENSURE_FAMILIES: Final = """
INSERT INTO descendants (execution, started)
SELECT key, 0 FROM unnest($1::bigint[]) AS key ORDER BY key
ON CONFLICT DO NOTHING
"""
_LOCK_FAMILIES: Final = """
SELECT execution, started FROM descendants WHERE execution = ANY($1::bigint[])
ORDER BY execution FOR UPDATE
"""
_NEW_KEYS: Final = """
SELECT (SELECT version FROM rillflow_schema),
    ARRAY(SELECT nextval('execution_keys') FROM generate_series(1, $1)),
    ARRAY(SELECT number
        FROM unnest($2::text[], $3::text[], $4::text[])
            WITH ORDINALITY AS wanted (workspace, flow, wanted_key, number)
        WHERE EXISTS (SELECT FROM executions WHERE business = workspace AND feature = flow
            AND idempotency_key = wanted_key))
"""
_MORE_KEYS: Final = "SELECT nextval('execution_keys') FROM generate_series(1, $1::bigint)"
_SNAPSHOT_SEQS: Final = """
SELECT execution_id, seq FROM executions JOIN snapshots ON execution = key
WHERE execution_id = ANY($1::text[])
"""
# A row that was inserted, and not changed, has no earlier version.
_PUT_PAYLOAD: Final = """
INSERT INTO payloads (execution, sha256, in_record, value) VALUES ($1, $2, $3, $4)
ON CONFLICT (execution, sha256) DO UPDATE SET in_record = true
WHERE excluded.in_record AND NOT payloads.in_record
RETURNING xmax = 0
"""
_DROP_PAYLOADS: Final = """
WITH dropped AS (
    DELETE FROM payloads WHERE execution = $1 AND NOT in_record AND sha256 <> ALL($2::bytea[])
    RETURNING length(value) AS bytes
) SELECT coalesce(sum(bytes), 0)::bigint FROM dropped
"""
# A snapshot replaces an earlier one, which has been counted.
_COUNT_BYTES: Final = """
INSERT INTO stored_bytes (execution, workspace, elsewhere, bytes) VALUES ($1, $2, $3, $4)
ON CONFLICT (execution) DO UPDATE SET bytes = stored_bytes.bytes + excluded.bytes
    - CASE WHEN $5 THEN
        coalesce((SELECT length(snapshot) FROM snapshots WHERE execution = $1), 0) ELSE 0 END
"""
_DROP_SEARCH_KEYS: Final = "DELETE FROM search_keys WHERE key = ANY($1::bigint[])"
_PUT_SEARCH_KEYS: Final = """
INSERT INTO search_keys
    (key, name, value, business, feature, status, submitted_at_ms, definition_id)
SELECT key, name, value, business, feature, status, submitted_at_ms, definition_id
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS given (key, name, value)
    JOIN executions USING (key)
"""


class _TakenMeanwhileError(ConflictError):
    """Another writer has taken an id or a key since this one has read which are taken."""


class _Ticket(NamedTuple):
    """One caller's appends, and the future that the caller waits on."""

    appends: tuple[Append, ...]
    future: asyncio.Future[None]
    is_large: bool = False

    def settle(self, error: Exception | None) -> None:
        """Give the caller the result; a cancelled caller gets none."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class PostgresWriter:
    """Commits the appends of callers on one connection, those of an execution as they arrive."""

    def __init__(
        self, url: str, *, silence_s: float = SILENCE_S, idle_s: float | None = None
    ) -> None:
        """Write to this database; a group that takes longer than ``silence_s`` has failed.

        With ``idle_s``, the connection is given back after so many seconds without an append.
        """
        self._url = url
        self._silence_s = silence_s
        self._idle_s = idle_s
        self._order: CommitOrder[_Ticket] = CommitOrder()
        self._wake = asyncio.Event()
        self._stopped = False
        self._connection: asyncpg.Connection | None = None
        self._connecting = asyncio.Lock()
        self.is_full = False
        """Whether the last group was refused for want of space on the disk of the server."""
        self._known_scopes: set[int] = set()
        # That of the tables: a later one than this release's if it was found to be compatible.
        self._version = VERSION
        self._known = KnownPlaces()
        self._totals = Totals()
        self._keys: deque[int] = deque()
        self._task = asyncio.create_task(self._run(), name="rillflow-writer")

    async def stop(self) -> None:
        """Refuse new work, finish accepted work, and disconnect."""
        self._stopped = True
        self._wake.set()
        await self._task

    async def append(self, appends: Sequence[Append]) -> None:
        """Write the appends of one caller, all or none, together with other callers'.

        Raises:
            FencedError: Some scope has a newer owner; nothing was written.
            StoreError: The appends were refused, or the commit failed.
        """
        if self._stopped:
            raise StoreError("PostgreSQL: the store is closed")
        future = asyncio.get_running_loop().create_future()
        self._order.add(_Ticket(tuple(appends), future))
        self._wake.set()
        try:
            await future
        finally:
            del future  # its error's traceback has this frame: the appends would be in a cycle

    async def _run(self) -> None:
        order = self._order
        while order or not self._stopped:
            if self._stopped:
                order.end_rest()
            begun_s = time.monotonic()
            group = order.take(begun_s)
            if group:
                await self._commit(group)
                now_s = time.monotonic()
                order.took(group, now_s - begun_s, now_s)
                continue
            await self._wait(order.pause_s(begun_s))
        await self._disconnect()

    async def _wait(self, pause_s: float | None) -> None:
        """Wait for an append, or until those that wait may go on."""
        is_idle = pause_s is None
        try:
            async with asyncio.timeout(self._idle_s if is_idle else pause_s):
                await self._wake.wait()
        except TimeoutError:
            if is_idle:
                await self._disconnect()
        self._wake.clear()

    async def _commit(self, tickets: list[_Ticket]) -> None:
        """Commit a group; one that fails for a reason that nobody knows is divided."""
        try:
            refusals = await self._write(tickets)
            self.is_full = False
        except Exception as error:  # noqa: BLE001 - the task survives whatever a group brings
            self._known.forget()
            self.is_full = isinstance(error, asyncpg.DiskFullError)
            if len(tickets) > 1 and not _is_outage(error):
                self._order.divide(tickets)
                return
            if _is_outage(error):
                await self._disconnect()
            refusals = [_failure(error) for _ in tickets]
        for ticket, refusal in zip(tickets, refusals, strict=True):
            ticket.settle(refusal)

    async def connect(self) -> asyncpg.Connection:
        """Return the connection, a new one where there is none that is open.

        Raises:
            asyncpg.PostgresError: The server lets nobody in; or an error of ``CONNECTION_ERRORS``.
        """
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                # The database may have come back as it was earlier.
                self._known.forget()
                self._keys.clear()
                self._known_scopes.clear()
                self._connection = await asyncpg.connect(
                    self._url, server_settings=WRITER_SETTINGS, timeout=self._silence_s
                )
            return self._connection

    async def _write(self, tickets: Sequence[_Ticket]) -> list[StoreError | None]:
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = await self.connect()
        # Cutting it wakes all waiting calls; a time-out would wait for a rollback again.
        loop = asyncio.get_running_loop()
        cut = loop.call_later(self._silence_s, connection.terminate)
        try:
            return await self._write_to(connection, tickets)
        finally:
            cut.cancel()

    async def _write_to(
        self, connection: asyncpg.Connection, tickets: Sequence[_Ticket]
    ) -> list[StoreError | None]:
        appends = [append for ticket in tickets for append in ticket.appends]
        await self._ensure_owners(connection, {append.fencing_scope for append in appends})
        refusals = await self._write_known(connection, tickets, appends)
        tries = 0
        while refusals is None:
            tries += 1
            try:
                refusals = await self._write_what_was_read(connection, tickets, appends)
            except _TakenMeanwhileError:
                if tries == _MOST_TRIES:
                    raise
        return refusals

    async def _write_what_was_read(
        self, connection: asyncpg.Connection, tickets: Sequence[_Ticket], appends: Sequence[Append]
    ) -> list[StoreError | None]:
        """Write a group by a transaction that reads first all that it needs."""
        async with connection.transaction():
            plan, unfinished = await self._plan_for(connection, appends)
            refusals = [_refusal(plan, ticket.appends) for ticket in tickets]
            await self._write_plan(connection, plan)
        answered = list(zip(tickets, refusals, strict=True))
        written = [each for ticket, refusal in answered if not refusal for each in ticket.appends]
        self._known.keep(written, plan, unfinished)
        self._known.forget_of(
            each for ticket, refusal in answered if refusal for each in ticket.appends
        )
        return refusals

    async def _write_known(
        self, connection: asyncpg.Connection, tickets: Sequence[_Ticket], appends: Sequence[Append]
    ) -> list[StoreError | None] | None:
        """Write a group by one statement, if all that it needs is known; None if it did not."""
        wanted = sum(append.new is not None for append in appends)
        if len(self._keys) < wanted:
            rows = await connection.fetch(_MORE_KEYS, max(wanted, _KEYS_AT_ONCE))
            self._keys.extend(key for (key,) in rows)
        known = self._known.plan_for(appends, iter(self._keys.popleft, None))
        if known is None:
            return None
        plan, epochs = known
        refusals = [_refusal(plan, ticket.appends) for ticket in tickets]
        if any(map(_may_be_mistaken, tickets, refusals)) or self._totals.is_to_be_written(plan):
            return None
        rows = rows_of(plan)
        if not rows or not is_of_one_statement(plan):
            return None
        statement = fenced_statement(tuple(rows))
        arguments = fenced_arguments(epochs, self._version, rows)
        try:
            is_written = await connection.fetchval(statement, *arguments)
        except asyncpg.IntegrityConstraintViolationError:
            # What is taken, by whom ever, is told by what reads first. Anybody can send a key that
            # is taken, so what is known of other executions stays.
            self._known.forget_of(appends)
            return None
        if is_written:
            self._totals.rows(plan)  # none: it notes them
            self._known.keep(appends, plan)
            return refusals
        self._known.forget()
        return None

    async def _plan_for(
        self, connection: asyncpg.Connection, appends: Sequence[Append]
    ) -> tuple[AppendPlan, list[ExecutionId]]:
        """Return an empty plan, and which of its executions have not ended."""
        partitions = list({append.fencing_scope for append in appends})
        owners = await connection.fetch(_LOCK_OWNERS, partitions, PURGE_LOCK)
        # A later statement sees what the owner before committed while this one waited.
        places = await connection.fetch(_PLACES, list({append.execution_id for append in appends}))
        keys, taken_keys = await self._new_keys(connection, appends)
        plan = AppendPlan(
            epochs=dict(owners),
            places={each: Place(key, last_seq) for each, key, last_seq, _ in places},
            keys=keys,
            taken_keys=taken_keys,
            families=await _families(connection, appends),
            snapshot_seqs=await _snapshot_seqs(connection, with_late_snapshots(appends)),
        )
        return plan, [each for each, _, _, is_unfinished in places if is_unfinished]

    async def _new_keys(
        self, connection: asyncpg.Connection, appends: Sequence[Append]
    ) -> tuple[Iterator[int], set[KeyOfFeature]]:
        """Return keys of new rows, and which of the idempotency keys are taken."""
        wanted = sum(append.new is not None for append in appends)
        sent = idempotency_keys_of(appends)
        columns = columns_of(sent) if sent else ([], [], [])
        version, keys, taken = await connection.fetchrow(_NEW_KEYS, wanted, *columns)
        if version != self._version:
            (await read_status(connection, VERSION)).refuse_upgraded()
            self._version = version
        return iter(keys), {sent[number - 1] for number in taken}

    async def _write_plan(self, connection: asyncpg.Connection, plan: AppendPlan) -> None:
        rows = rows_of(plan)
        new = rows.pop("executions", None)
        if new and len(await connection.fetch(create_statement(), *columns_of(new))) < len(new):
            raise _TakenMeanwhileError("PostgreSQL: an id or an idempotency key is taken")
        payload_bytes = await _write_payloads(connection, plan) if plan.payloads else None
        for row in self._totals.rows(plan, payload_bytes):
            await connection.execute(_COUNT_BYTES, *row, row.key in plan.snapshots)
        for name, some in rows.items():
            await connection.execute(plain_statement(name), *columns_of(some))
        if plan.search_values:
            await _put_search_values(connection, plan)

    async def _ensure_owners(self, connection: asyncpg.Connection, scopes: set[int]) -> None:
        """Create the rows to lock, in a transaction before the one that locks them.

        Inside that one, the new rows would be locked out of order, and a ``take_scopes`` of the
        same partitions could deadlock with it.
        """
        unknown = scopes - self._known_scopes
        if unknown:
            await connection.execute(_ENSURE_OWNERS, list(unknown))
            self._known_scopes |= unknown

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(asyncpg.PostgresError, *CONNECTION_ERRORS):
                await connection.close(timeout=1)


async def _snapshot_seqs(
    connection: asyncpg.Connection, wanted: Sequence[ExecutionId]
) -> dict[ExecutionId, int]:
    return dict(await connection.fetch(_SNAPSHOT_SEQS, wanted)) if wanted else {}


async def _families(
    connection: asyncpg.Connection, appends: Sequence[Append]
) -> dict[ExecutionId, Family]:
    ancestors = ancestors_of(appends)
    if not ancestors:
        return {}
    stored = dict(await connection.fetch(_ANCESTORS, ancestors))
    heads = {
        head: stored[head]
        for append in appends
        if append.new and (head := first_stored(append.new.ancestors, stored)) is not None
    }
    keys = list(heads.values())
    await connection.execute(_ENSURE_FAMILIES, keys)
    counted = dict(await connection.fetch(_LOCK_FAMILIES, keys))
    return {head: Family(key, counted[key]) for head, key in heads.items()}


async def _write_payloads(connection: asyncpg.Connection, plan: AppendPlan) -> dict[int, int]:
    """Write the large values of a plan; return by how many bytes each execution has grown."""
    grown = Counter[int]()
    for payload in plan.payloads:
        # One by one: together they may exceed the limit of a statement.
        if await connection.fetchval(_PUT_PAYLOAD, *payload):
            grown[payload.key] += len(payload.value)
    for key, kept in plan.snapshot_payloads.items():
        grown[key] -= await connection.fetchval(_DROP_PAYLOADS, key, list(kept))
    return grown


async def _put_search_values(connection: asyncpg.Connection, plan: AppendPlan) -> None:
    """Replace the values of search keys, with what the rows of their executions say now."""
    await connection.execute(_DROP_SEARCH_KEYS, list(plan.search_values))
    rows = [(key, *each) for key, values in plan.search_values.items() for each in values]
    if rows:
        await connection.execute(_PUT_SEARCH_KEYS, *columns_of(rows))


def _refusal(plan: AppendPlan, appends: Sequence[Append]) -> StoreError | None:
    try:
        plan.add(appends)
    except StoreError as error:
        # Its traceback would hold the appends, in a cycle with the caller's frame.
        return error.with_traceback(None)
    return None


def _may_be_mistaken(ticket: _Ticket, refusal: StoreError | None) -> bool:
    """Tell whether a refusal may come of what is known, and not of the others of its group.

    What is known is of executions that exist.
    """
    return refusal is not None and any(append.new is None for append in ticket.appends)


def _failure(cause: Exception) -> StoreError:
    if isinstance(cause, StoreError):
        return cause
    refused = isinstance(cause, asyncpg.IntegrityConstraintViolationError)
    kind = ConflictError if refused else StoreError
    error = kind(f"PostgreSQL: {cause or type(cause).__name__}")
    error.__cause__ = cause
    return error


def _is_outage(error: Exception) -> bool:
    """Tell whether the server, and not the data of a ticket, is the cause."""
    if isinstance(error, ValueError):
        return False  # asyncpg could not encode a value; also an InterfaceError
    if isinstance(error, asyncpg.PostgresError):
        return not isinstance(error, _OF_DATA)
    return isinstance(error, CONNECTION_ERRORS)
