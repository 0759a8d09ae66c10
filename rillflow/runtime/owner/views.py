"""Views of executions: a small one is sent at once, a large one is encoded apart and sent in parts.

For a large view the caller gets a name. A thread encodes the state of that moment, and the caller
asks first for its size and then for its parts. Readers of the same state share one encoding, and
the memory of all encodings is limited, so that reading costs the owner little. Once it is encoded,
a view keeps nothing of its execution in memory.

Used by `runtime/local.py`, `runtime/owner/call_handling.py` and `runtime/owner/execution_owner.py`.
"""

import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Final, NamedTuple
from weakref import ReferenceType, WeakKeyDictionary, ref

from rillflow.core.inspection.views import SUMMARY
from rillflow.errors import (
    CrashedError,
    RequestError,
    RillflowError,
    UnavailableError,
    UnreadAnswersError,
)
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.ids import ExecutionId, workspace_of
from rillflow.jsontypes import JsonObject, encoded_parts
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Query, Reply, ViewPart, reply_to_error
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.owner import queries
from rillflow.runtime.process.crash_log import log_crash

PART_BYTES: Final = 1 << 20
WHOLE_BYTES: Final = 256 * 1024
"""The answer for a view of this size contains the size already."""
VIEWS_MAX_BYTES: Final = 256 << 20
MOST_UNDER_WAY: Final = 64
"""How many views may wait to be encoded."""
MOST_COPIES: Final = 4
"""How many states are kept for further views of them; a large one takes tens of megabytes."""
KEPT_S: Final = 10.0
"""How long a view is kept after it was last read."""
_SHOWN_FOR_MS: Final = 5_000
"""How long the view of a running execution may be reused."""
_NEVER_LARGE: Final = frozenset({"status", "route", "log", SUMMARY})

# One thread is enough: it competes with the event loop for the interpreter lock.
_FOR_VIEWS: Final = FairThread(most=sys.maxsize, most_of_one=sys.maxsize, name="views")


class _Key(NamedTuple):
    """What a view shows, and the state of it."""

    execution: ReferenceType[ActiveExecution]
    seq: int
    period: int
    kind: str
    parent: str
    group: int
    inspected: tuple[tuple[str, str], ...] | None
    quarantine: str | None


class _View:
    """A large view: its encoding, when it expires, and whether a reader has read all of it."""

    __slots__ = (
        "encoding",
        "execution_id",
        "forgetting",
        "is_kept",
        "is_under_way",
        "key",
        "size_bytes",
    )

    def __init__(
        self, key: _Key, execution_id: ExecutionId, encoding: "asyncio.Future[bytes]"
    ) -> None:
        self.key = key
        self.execution_id = execution_id
        self.encoding = encoding
        self.is_kept = self.is_under_way = True
        self.size_bytes = 0
        self.forgetting: asyncio.TimerHandle | None = None


class _Totals:
    """How many views are being encoded, and the bytes of those that are: of all, and by workspace.

    They are counted as views come and go: an owner keeps hundreds of views of executions that have
    ended, and each new one asks.
    """

    def __init__(self) -> None:
        self.under_way = 0
        self.held_bytes = 0
        self._under_way_of = Counter[str]()
        self._held_bytes_of = Counter[str]()

    def of(self, workspace: str) -> tuple[int, int]:
        """Return the same of one workspace."""
        return self._under_way_of[workspace], self._held_bytes_of[workspace]

    def add(self, workspace: str, *, under_way: int = 0, held_bytes: int = 0) -> None:
        """Count so many more, or fewer."""
        self.under_way += under_way
        self.held_bytes += held_bytes
        for counts, more in (
            (self._under_way_of, under_way),
            (self._held_bytes_of, held_bytes),
        ):
            if more:
                counts[workspace] += more
                if not counts[workspace]:
                    del counts[workspace]


class Views:
    """The views of the executions of one owner."""

    def __init__(
        self,
        clock: Clock,
        most_bytes: int = VIEWS_MAX_BYTES,
        holder: JsonObject | None = None,
    ) -> None:
        """Return no larger views at once, and keep no more bytes of large views.

        ``holder`` says where the executions are held that have not ended.
        """
        self._clock = clock
        self._holder = holder
        self._most = most_bytes
        self._life = uuid.uuid4().hex
        self._numbers = count(1)
        self._views: dict[str, _View] = {}
        self._names: dict[_Key, str] = {}
        self._totals = _Totals()
        self._read: dict[str, None] = {}
        """The views that a reader has read to their end, in that order."""
        self._of_execution = Counter[ReferenceType[ActiveExecution]]()
        # A copy has the values of its execution, so it stays in memory no longer than that.
        self._copies: WeakKeyDictionary[ActiveExecution, ActiveExecution] = WeakKeyDictionary()

    def answer(
        self, query: Query, execution: ActiveExecution | None, quarantine: str | None
    ) -> Reply:
        """Answer a query: with the view, or with its name.

        Raises:
            UnreadAnswersError: Too many large ones are being read.
        """
        at_ms = self._clock.now_ms()
        if execution is None or query.kind in _NEVER_LARGE or not execution.may_show_much:
            return queries.answer_query(
                query, execution, at_ms, quarantine=quarantine, holder=self._holder
            )
        period = 0 if execution.over else at_ms // _SHOWN_FOR_MS
        key = _Key(
            ref(execution),
            execution.state.seq,
            period,
            query.kind,
            query.parent,
            query.index,
            query.inspected,
            quarantine,
        )
        name = self._names.get(key)
        if name is None:
            name = self._begin(key, query, execution, at_ms)
        self._keep(name)
        return Reply(changed=False, view=name)

    def shown_with_end(self, execution: ActiveExecution | None, kind: str) -> bytes | None:
        """Return the view of this kind for the news of an end; None if no watcher asked for it.

        A view that fails or may be large is omitted: a watcher that misses it queries it, and gets
        the error. A view of an execution that a redo has restarted meanwhile is omitted, too.
        """
        if execution is None or not kind or not execution.over or execution.may_show_much:
            return None
        query = Query(execution_id=execution.state.execution_id, kind=kind)
        try:
            return queries.answer_query(query, execution, self._clock.now_ms()).body
        except Exception as error:  # noqa: BLE001 - others wait for the same news
            log_crash("end_not_shown", execution.state.execution_id, error)
            return None

    async def part(self, asked: ViewPart) -> Reply:
        """Return a part of a view, or its size.

        Raises:
            UnavailableError: It has expired; query it again.
        """
        view = self._views.get(asked.view)
        if view is None:
            raise UnavailableError("what was to be read is kept no longer; it is asked for again")
        self._keep(asked.view)
        try:
            body = await asyncio.shield(view.encoding)
        except RillflowError as error:
            return reply_to_error(error)
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            log_crash("not_shown", view.execution_id, error)
            return reply_to_error(CrashedError("internal server error"))
        if not body:
            return Reply(changed=False)
        start, end = max(asked.offset, 0), max(asked.offset, 0) + PART_BYTES
        is_wanted = asked.offset >= 0 or len(body) <= WHOLE_BYTES
        if is_wanted and end >= len(body) and view.is_kept:
            self._read[asked.view] = None
        return Reply(
            changed=False, body=body[start:end] if is_wanted else None, size_bytes=len(body)
        )

    async def encoded(self, name: str) -> None:
        """Wait until a view is encoded, or has failed; not for an unknown one."""
        view = self._views.get(name)
        if view is not None:
            await asyncio.wait({view.encoding})

    async def stop(self) -> None:
        """Drop all views."""
        for name in list(self._views):
            self._forget(name)

    def _begin(self, key: _Key, query: Query, execution: ActiveExecution, at_ms: int) -> str:
        workspace = workspace_of(execution.state.execution_id)
        self._make_room()
        self._check_room(workspace)
        name = f"{self._life}/{next(self._numbers)}"
        kept = self._copy_of(execution)
        work = partial(self._encoded, query, kept, at_ms, key.quarantine)
        encoding = _FOR_VIEWS.begin(workspace, work)
        view = self._views[name] = _View(key, execution.state.execution_id, encoding)
        self._totals.add(workspace, under_way=1)
        self._of_execution[key.execution] += 1
        encoding.add_done_callback(partial(self._is_encoded, view))
        self._names[key] = name
        return name

    def _is_encoded(self, view: _View, encoding: "asyncio.Future[bytes]") -> None:
        """Count a view whose encoding is over, unless it was dropped before."""
        # The exception is asked for also if no caller waits for it.
        has_failed = encoding.cancelled() or encoding.exception() is not None
        if view.is_kept:
            view.is_under_way = False
            view.size_bytes = 0 if has_failed else len(encoding.result())
            self._totals.add(
                workspace_of(view.execution_id), under_way=-1, held_bytes=view.size_bytes
            )

    def _check_room(self, workspace: str) -> None:
        """Refuse one more view of a workspace that has half of what may be, or where all is taken.

        What may be is a half of the bytes, and all of them for a workspace that has none: one of
        another may be larger than a half.

        Raises:
            UnreadAnswersError: It is refused.
        """
        under_way, held_bytes = self._totals.of(workspace)
        most_bytes = self._most // 2 if held_bytes else self._most
        if (
            max(2 * under_way, self._totals.under_way) >= MOST_UNDER_WAY
            or max(2 * held_bytes, self._totals.held_bytes) > most_bytes
        ):
            raise UnreadAnswersError("too many large executions are being read; try again later")

    def _copy_of(self, execution: ActiveExecution) -> ActiveExecution:
        """Have a state for all views of it; copying one holds the event loop for a moment."""
        kept = self._copies.get(execution)
        if kept is None or kept.state.seq != execution.state.seq:
            self._copies.pop(execution, None)
            kept = ActiveExecution(execution.plan, execution.state_to_read())
            self._copies[execution] = kept
            if len(self._copies) > MOST_COPIES:
                del self._copies[next(iter(self._copies))]
        return kept

    def _encoded(
        self, query: Query, execution: ActiveExecution, at_ms: int, quarantine: str | None
    ) -> bytes:
        """Return the view as JSON, empty for what does not exist; runs in a thread."""
        return b"".join(self._parts(query, execution, at_ms, quarantine))

    def _parts(
        self, query: Query, execution: ActiveExecution, at_ms: int, quarantine: str | None
    ) -> Iterator[bytes]:
        value = queries.value_of(query, execution, at_ms, quarantine, self._holder)
        if value is None:
            return
        left = self._most
        for part in encoded_parts(value):
            left -= len(part)
            if left < 0:
                raise RequestError(
                    f"what would be shown is larger than {self._most} bytes, as answers_max_bytes"
                    " (RILLFLOW_ANSWERS_MAX_BYTES) says; ask for a part of it",
                )
            yield part

    @property
    def bytes(self) -> int:
        """The bytes of the views that are kept."""
        return self._totals.held_bytes

    def _make_room(self) -> None:
        """Drop views that were read to their end, those first that were read first."""
        excess = self.bytes - self._most // 4
        while excess > 0 and self._read:
            name = next(iter(self._read))
            excess -= self._views[name].size_bytes
            self._forget(name)

    def _keep(self, name: str) -> None:
        view = self._views[name]
        if view.forgetting is not None:
            view.forgetting.cancel()
        view.forgetting = asyncio.get_running_loop().call_later(KEPT_S, self._forget, name)

    def _forget(self, name: str) -> None:
        view = self._views.pop(name)
        view.is_kept = False
        self._names.pop(view.key, None)
        self._read.pop(name, None)
        self._totals.add(
            workspace_of(view.execution_id),
            under_way=-view.is_under_way,
            held_bytes=-view.size_bytes,
        )
        self._of_execution[view.key.execution] -= 1
        if not self._of_execution[view.key.execution]:
            del self._of_execution[view.key.execution]
            execution = view.key.execution()
            if execution is not None:
                self._copies.pop(execution, None)
        if view.forgetting is not None:
            view.forgetting.cancel()
