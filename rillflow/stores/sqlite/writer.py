"""The writer: the one thread of a process that writes to the SQLite file.

Appends that arrive while a commit is under way are committed together by the next one, but for
large ones, which take turns; an idle writer commits at once. A caller waits on a future that is
settled after the commit, so cancelling the caller changes nothing on disk.

Used by `stores/sqlite/database.py`.
"""

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar, cast

from rillflow.errors import ConflictError, StoreError
from rillflow.ports.storage.store import Append
from rillflow.stores.append_plan import Totals
from rillflow.stores.commit_order import CommitOrder
from rillflow.stores.sqlite.connection import WriteGate, connect, is_busy, transaction
from rillflow.stores.sqlite.file_use import truncate_wal, wal_path
from rillflow.stores.sqlite.rows import plan_for, write_plan

T = TypeVar("T")

WAL_MAX_BYTES: Final = 64 * 1024 * 1024
"""Length of the ``-wal`` file above which the writer empties it between two commits."""

_COMMITS_BETWEEN_CHECKPOINTS: Final = 32
"""As many groups of commits under load write some 1,000 pages."""
_BYTES_BETWEEN_CHECKPOINTS: Final = 8 * 1024 * 1024
"""Large ones write more, by which the ``-wal`` file grows."""
_SWITCH_INTERVAL_S: Final = 0.0005


class _Ticket:
    """The work of a caller, its result, and the future on which the caller waits."""

    def __init__(
        self,
        appends: Sequence[Append] = (),
        work: Callable[[sqlite3.Connection], object] | None = None,
        *,
        is_large: bool = False,
    ) -> None:
        self.appends = tuple(appends)
        self.work = work
        self.is_large = is_large
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: object = None
        self.error: StoreError | None = None

    def settle(self) -> None:
        """Give the caller the result, in the caller's loop; a cancelled caller gets none."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class SqliteWriter:
    """Commits the work of callers of any event loop, that of one execution as it arrives."""

    def __init__(
        self, path: Path, *, wal_max_bytes: int = WAL_MAX_BYTES, gives_way: bool = False
    ) -> None:
        """Write to the file at ``path``; ``gives_way`` is told by ``WriteGate``."""
        self._path = path
        self._wal = wal_path(path)
        self._wal_max_bytes = wal_max_bytes
        self._gate = WriteGate(path, gives_way=gives_way)
        self._commits = 0
        self._wal_bytes = 0
        self._totals = Totals()
        self._tickets: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._order: CommitOrder[_Ticket] = CommitOrder()
        self._is_last = False
        self._lock = threading.Lock()
        self._stopped = False
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="rillflow-writer", daemon=True)

    def start(self) -> None:
        """Start the thread; it connects with its first group.

        A busy event loop that polls more often than the interpreter's switch interval (5 ms) can
        keep the interpreter lock from another thread for seconds: a commit of 2 ms was seen to take
        3.9 s. So this process gets a shorter interval.
        """
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        self._thread.start()

    def stop(self) -> None:
        """Refuse new work, finish accepted work, and wait for the thread to end."""
        with self._lock:
            self._stopped = True
            self._tickets.put(None)
        self._thread.join()

    async def append(self, appends: Sequence[Append]) -> None:
        """Write the appends of one caller, all or none, together with other callers'.

        Raises:
            FencedError: Some scope has a newer owner; nothing was written.
            StoreError: The appends were refused, or the commit failed.
        """
        await self._hand_in(_Ticket(appends=appends))

    async def do(self, work: Callable[[sqlite3.Connection], T], *, is_large: bool = False) -> T:
        """Run other writing work in a transaction of its own, and return its result.

        Work that is said to be large takes turns with large appends, as theirs do.

        Raises:
            StoreError: The work or its commit failed; nothing was written.
        """
        return cast("T", await self._hand_in(_Ticket(work=work, is_large=is_large)))

    def _hand_in(self, ticket: _Ticket) -> asyncio.Future[Any]:
        with self._lock:
            if self._stopped:
                raise StoreError(f"{self._path}: the store is closed")
            self._tickets.put(ticket)
        return ticket.future

    def _run(self) -> None:
        while group := self._next_group():
            begun_s = time.monotonic()
            done = 0
            for is_work, some in groupby(group, key=lambda ticket: ticket.work is not None):
                tickets = list(some)
                done += len(tickets)
                if is_work:
                    for ticket in tickets:
                        self._do(ticket)
                elif not self._commit(tickets):
                    self._order.divide(tickets, after=group[done:])
                    break
            self._checkpoint()  # others wait for that of a large commit, too
            now_s = time.monotonic()
            self._order.took(group, now_s - begun_s, now_s)
        self._disconnect()
        self._gate.close()

    def _next_group(self) -> list[_Ticket]:
        """Wait for the tickets of the next commit; empty once stopped and done."""
        order = self._order
        while True:
            self._take_arrived()
            now_s = time.monotonic()
            if self._is_last:
                order.end_rest()
            group = order.take(now_s)
            if group or self._is_last:
                return group
            with suppress(Empty):
                self._arrived(self._tickets.get(timeout=order.pause_s(now_s)))

    def _take_arrived(self) -> None:
        with suppress(Empty):
            while True:
                self._arrived(self._tickets.get_nowait())

    def _arrived(self, ticket: _Ticket | None) -> None:
        if ticket is None:
            self._is_last = True
        else:
            self._order.add(ticket)

    def _commit(self, tickets: list[_Ticket]) -> bool:
        """Commit a group; tell whether its tickets are settled, or it is to be divided."""
        try:
            with self._transaction() as connection:
                plan = plan_for(connection, [each for ticket in tickets for each in ticket.appends])
                for ticket in tickets:
                    try:
                        plan.add(ticket.appends)
                    except StoreError as error:
                        # Its traceback would hold this frame, and the ticket in it, in a cycle.
                        ticket.error = error.with_traceback(None)
                write_plan(connection, plan, self._totals)
        except Exception as error:  # noqa: BLE001 - the thread survives whatever a group brings
            if len(tickets) > 1 and not isinstance(error, sqlite3.OperationalError):
                for ticket in tickets:
                    ticket.error = None
                return False
            self._fail(tickets, error)
        _settle(tickets)
        return True

    def _do(self, ticket: _Ticket) -> None:
        assert ticket.work is not None  # noqa: S101 - told apart by _run
        try:
            with self._transaction() as connection:
                ticket.result = ticket.work(connection)
        except Exception as error:  # noqa: BLE001 - the thread survives whatever the work does
            self._fail([ticket], error)
        _settle([ticket])

    def _fail(self, tickets: list[_Ticket], cause: Exception) -> None:
        for ticket in tickets:
            if ticket.error is None:
                refused = isinstance(cause, sqlite3.IntegrityError)
                kind = ConflictError if refused else StoreError
                ticket.error = kind(f"{self._path}: {cause}")
                ticket.error.__cause__ = cause

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold a transaction; after a failure of disk or file, connect anew next time."""
        try:
            if self._connection is None:
                self._connection = connect(self._path)
            with self._gate.held(), transaction(self._connection):
                yield self._connection
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                self._disconnect()
            raise

    def _checkpoint(self) -> None:
        """Move commits into the database at times, while nobody commits.

        SQLite restarts the ``-wal`` file by itself once all of it is moved and nobody reads from
        it. With many processes there may always be a reader, so one that has grown too long is
        emptied, as far as readers allow.
        """
        self._commits += 1
        if self._connection is None:
            return
        with suppress(OSError, sqlite3.Error):
            wal_bytes = self._wal.stat().st_size
            has_grown = wal_bytes >= self._wal_bytes + _BYTES_BETWEEN_CHECKPOINTS
            if self._commits % _COMMITS_BETWEEN_CHECKPOINTS and not has_grown:
                self._wal_bytes = min(self._wal_bytes, wal_bytes)
                return
            self._wal_bytes = wal_bytes
            with self._gate.held():
                if wal_bytes > self._wal_max_bytes:
                    truncate_wal(self._connection)
                else:
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _settle(tickets: Sequence[_Ticket]) -> None:
    """Wake the callers, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Ticket]] = {}
    for ticket in tickets:
        by_loop.setdefault(ticket.loop, []).append(ticket)
    for loop, theirs in by_loop.items():
        # The callers of a closed loop are gone.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_in_loop, theirs)


def _settle_in_loop(tickets: list[_Ticket]) -> None:
    for ticket in tickets:
        ticket.settle()
