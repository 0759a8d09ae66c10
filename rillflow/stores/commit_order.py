"""Which work the next commit takes: small appends together, large ones alone and in turns.

Removals of megabytes are large work, too, and have turns as a workspace has.

A commit of megabytes takes a tenth of a second, and nobody else commits meanwhile. So a small
append waits for one large append at most, workspaces with large ones take turns, and after each of
them others have the disk for a while, if they use it too.

Appends of one execution keep their order.

A group that failed for a reason that nobody knows is put back and divided (`divided_groups.py`);
small appends are committed between its halves, and large ones after them.

Used by `stores/postgres/writer.py` and `stores/sqlite/writer.py`.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import chain, count
from math import inf
from typing import Final, Generic

from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.storage.store import Append
from rillflow.stores.append_plan import SlimAppend
from rillflow.stores.divided_groups import AnyWork, DividedGroups, Work

LARGE_BYTES: Final = 256 * 1024
"""Appends of more bytes are committed alone."""
MOST_IN_GROUP: Final = 1_024
REST: Final = 1.0
"""How many times as long as a large commit took, others have the disk after it."""
SEEN_S: Final = 1.0
"""Another workspace counts as one that uses the disk for so long."""
_MOST_SEEN: Final = 1_000


class CommitOrder(Generic[AnyWork]):
    """The work that waits for the writer."""

    def __init__(self) -> None:
        self._small: deque[tuple[int, AnyWork]] = deque()
        self._large: OrderedDict[str, deque[tuple[int, AnyWork]]] = OrderedDict()
        self._divided: DividedGroups[AnyWork] = DividedGroups()
        self._behind: dict[ExecutionId, deque[int]] = {}
        """Executions whose further appends wait behind a large one, with the numbers of these."""
        self._numbers = count()
        self._first_number = 0
        self._was_small = False
        self._rests_until_s = -inf
        self._seen_s: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._small or self._large or self._divided)

    def add(self, work: AnyWork) -> None:
        """Add what has come last."""
        self._add(next(self._numbers), work)

    def divide(self, group: Sequence[AnyWork], after: Sequence[AnyWork] = ()) -> None:
        """Put back a group of two or more that was taken last, and failed as a whole.

        ``after`` was taken with it, and is to come after it.
        """
        self._divided.divide(group)
        waiting = sorted(chain(self._small, *self._large.values()), key=lambda each: each[0])
        self._small.clear()
        self._large.clear()
        self._behind.clear()
        self._first_number -= len(after)
        for number, work in chain(enumerate(after, self._first_number), waiting):
            self._add(number, work)

    def _add(self, number: int, work: AnyWork) -> None:
        appends, behind, divided = work.appends, self._behind, self._divided.executions
        is_large = _is_large(work)
        if not is_large and (behind or divided):
            is_large = any(
                each.execution_id in behind or each.execution_id in divided for each in appends
            )
        if not is_large:
            self._small.append((number, work))
            return
        for execution_id in {each.execution_id for each in appends}:
            behind.setdefault(execution_id, deque()).append(number)
        workspace = _turns_of(work)
        self._large.setdefault(workspace, deque()).append((number, work))

    def take(self, now_s: float) -> list[AnyWork]:
        """Return the work of the next commit; nothing if none is to begin yet."""
        if self._divided and (self._was_small or not self._small):
            self._was_small = False
            return self._divided.take()
        self._divided.took_another()
        if self._large and not self._divided and now_s >= self._rests_until_s:
            workspace = self._turn_of_large()
            if workspace is not None:
                self._was_small = False
                return [self._take_large(workspace)]
        self._was_small = True
        group = [self._small.popleft()[1] for _ in range(min(len(self._small), MOST_IN_GROUP))]
        self._see(group, now_s)
        return group

    def took(self, group: Sequence[AnyWork], took_s: float, now_s: float) -> None:
        """Note how long the commit of a group took that ends now."""
        if len(group) != 1 or not _is_large(group[0]):
            return
        workspace = _turns_of(group[0])
        others_s = (at_s for other, at_s in self._seen_s.items() if other != workspace)
        if max(others_s, default=-inf) > now_s - SEEN_S:
            self._rests_until_s = now_s + REST * took_s

    def pause_s(self, now_s: float) -> float | None:
        """Return in how many seconds work that waits may begin; None if there is none."""
        return max(self._rests_until_s - now_s, 0.0) if self else None

    def end_rest(self) -> None:
        """Have all that waits begin as soon as it can."""
        self._rests_until_s = -inf

    def _turn_of_large(self) -> str | None:
        """Return whose large work is next; None if a small one is, which came before."""
        if self._small and not self._was_small:
            return None
        for workspace, queue in self._large.items():
            number, work = queue[0]
            if self._small and number > self._small[0][0]:
                return None
            if all(self._behind[each.execution_id][0] == number for each in work.appends):
                return workspace
        return None

    def _take_large(self, workspace: str) -> AnyWork:
        queue = self._large[workspace]
        _, work = queue.popleft()
        if queue:
            self._large.move_to_end(workspace)
        else:
            del self._large[workspace]
        for execution_id in {each.execution_id for each in work.appends}:
            self._behind[execution_id].popleft()
            if not self._behind[execution_id]:
                del self._behind[execution_id]
        return work

    def _see(self, group: Sequence[AnyWork], now_s: float) -> None:
        if len(self._seen_s) > _MOST_SEEN:
            self._seen_s.clear()
        for work in group:
            for each in work.appends[:1]:
                self._seen_s[workspace_of(each.execution_id)] = now_s


def _is_large(work: Work) -> bool:
    return work.is_large or size_of(work.appends) > LARGE_BYTES


def _turns_of(work: Work) -> str:
    """Return the workspace among whose large work some is; that without appends is of none."""
    return workspace_of(work.appends[0].execution_id) if work.appends else ""


def size_of(appends: Sequence[Append]) -> int:
    """Return how many bytes appends write, about: those of records, snapshots and large values."""
    size_bytes = 0
    for each in appends:
        size_bytes += sum(map(len, each.records)) + len(each.snapshot or b"")
        if isinstance(each, SlimAppend):
            for payloads in (each.of_records, each.of_snapshot):
                size_bytes += sum(map(len, payloads.values()))
    return size_bytes
