"""The executions in memory: folding, and eviction of the least recently used of a workspace.

Folding serialises an execution that is not in use, into about a quarter of the memory. Only
`cache.py` uses this module.
"""

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from rillflow.core.encoding import codec
from rillflow.core.plan import Plan
from rillflow.ids import ExecutionId, workspace_of
from rillflow.runtime.activation.active_execution import (
    ActivationEvent,
    ActiveExecution,
    Stage,
    WorkspaceMemory,
)

MOST_UNFOLDED: Final = 4_000
"""More executions than this are folded. An ordinary one takes 3 to 5 KB, and a quarter when folded.

Folding and unfolding takes 15 us together. Where more than this are in use in turn, each of their
events takes that and twice as much.
"""
LARGEST_FOLDED: Final = 4_096
"""Executions whose events are longer together are not folded: it would hold the event loop."""
MOST_MADE_FOLDED: Final = 2 * LARGEST_FOLDED
"""Nor are those that have made more of their events: a shared value is written each time."""
MOST_TASKS_FOLDED: Final = 64
"""Executions with more tasks are not folded either, however short their events are."""
LEAST_BYTES: Final = 1_000
"""The memory of an execution besides its values."""
BYTES_PER_ENCODED: Final = 12
"""The memory for one byte of the weight of an execution in the worst case, many small values."""
LEAST_LOOKED_AT: Final = 16
"""Of so many executions it is seen at a time whether they may leave."""
MOST_IN_USE: Final = 4
"""A workspace with so many in use among the least recently used is passed over for the moment."""
WORKSPACES_PER_EVICTION: Final = 16
"""For each execution that leaves, so many workspaces are looked at, to find who takes most."""

LARGE_WEIGHT: Final = 1 << 20
"""Executions from this weight on are freed in portions."""
PORTION_S: Final = 0.005
"""How long the event loop frees values at a time; a single one is never divided."""


class _Folded(NamedTuple):
    """A folded execution, in about a quarter of the memory."""

    plan: Plan
    state: bytes
    stage: Stage
    position: tuple[int, int, int, int]
    counted_bytes: int
    noted_as_resting: bool | None
    workspace: WorkspaceMemory


class HotExecutions:
    """Executions in memory.

    ``most`` limits their number, and ``most_bytes`` their memory, with that of their plans. The
    memory is estimated by what their events weigh and what these have made, which grows with every
    event, and is too high rather than too low.
    Where there is no room, the workspace that takes most gives way: its least recently used ones
    are evicted. One that takes no more than its part, which is the same for all that have
    executions here, keeps them.
    Executions that were not used recently are folded while no call uses them: half of ``most``, and
    all beyond ``MOST_UNFOLDED``. A folded execution that is looked up becomes another object with
    the same state, so a user of an object needs a lease on it or an append under way.
    """

    def __init__(
        self,
        most: int,
        most_bytes: int,
        evicted: Callable[[ActiveExecution], None] | None = None,
        *,
        folds: bool = True,
    ) -> None:
        """Tell ``evicted`` of each that was evicted; ``folds`` is whether any are folded up."""
        self._most = most
        self._most_bytes = most_bytes
        self._most_unfolded = max(min(most // 2, MOST_UNFOLDED), 1) if folds else sys.maxsize
        self._evicted = evicted
        self._bytes = 0
        self._are_many = False
        """Whether there may be more than the limit says: those that were in use have not left."""
        self._unfolded: OrderedDict[ExecutionId, ActiveExecution] = OrderedDict()
        self._folded: dict[ExecutionId, ActiveExecution | _Folded] = {}
        self._workspaces: dict[str, WorkspaceMemory] = {}
        self._gives_way: WorkspaceMemory | None = None
        self._times_chosen = 0
        self._reserving: WorkspaceMemory | None = None
        self._staying: set[ExecutionId] = set()
        """Those that leave after a time only, for which reading them anew would be too dear."""
        self.still_too_much: Callable[[ActiveExecution], None] | None = None
        """Is told of an execution that was weighed, where no others could give way to it."""

    def __len__(self) -> int:
        return len(self._unfolded) + len(self._folded)

    def __contains__(self, execution_id: ExecutionId) -> bool:
        return execution_id in self._unfolded or execution_id in self._folded

    def missing(self, execution_ids: Iterable[ExecutionId]) -> set[ExecutionId]:
        """Return those of some executions that are not here."""
        unfolded, folded = self._unfolded, self._folded
        return {each for each in execution_ids if each not in unfolded and each not in folded}

    def get(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Return an execution that is in memory, and note its use."""
        execution = self._unfolded.get(execution_id)
        if execution is not None:
            self._unfolded.move_to_end(execution_id)
            execution.workspace.order.move_to_end(execution_id)
            return execution
        folded = self._folded.pop(execution_id, None)
        if folded is None:
            return None
        execution = self._unfolded[execution_id] = _unfold(folded)
        execution.workspace.order.move_to_end(execution_id)
        self._fold_least_recently_used()
        return execution

    def peek(self, execution_id: ExecutionId) -> ActiveExecution | None:
        """Return an execution that is not folded; this does not count as a use."""
        each = self._unfolded.get(execution_id) or self._folded.get(execution_id)
        return each if isinstance(each, ActiveExecution) else None

    def put(self, execution_id: ExecutionId, execution: ActiveExecution) -> None:
        """Add an execution; the least recently used ones that are not in use are evicted."""
        unfolded, folded = self._unfolded, self._folded
        if execution_id in unfolded or execution_id in folded:
            self.drop(execution_id)
        unfolded[execution_id] = execution
        name = workspace_of(execution_id)
        workspace = self._workspaces.get(name)
        if workspace is None:
            workspace = self._workspaces[name] = WorkspaceMemory(name)
        execution.join(workspace)
        self._bytes += workspace.add(execution_id, execution.plan)
        if len(unfolded) > self._most_unfolded:
            self._fold_least_recently_used()
        if len(unfolded) + len(folded) > self._most:
            self._are_many = True
        self.weigh(execution)

    def grown(self, execution: ActiveExecution) -> None:
        """Weigh an execution again that was in use, unless it is not this one that is in memory."""
        if self._unfolded.get(execution.state.execution_id) is execution:
            self.weigh(execution)

    def weigh(self, execution: ActiveExecution) -> None:
        """Note the present size of an execution, and evict others if needed."""
        more = execution.count(LEAST_BYTES + BYTES_PER_ENCODED * execution.weight_bytes)
        self._bytes += more
        workspace = execution.workspace
        workspace.size_bytes += more
        if self._are_many or self._bytes > self._most_bytes:
            self._make_room(execution)

    @property
    def is_full(self) -> bool:
        """Tell whether the executions take so much memory that a large one more evicts others."""
        return self._bytes > self._most_bytes // 2

    @property
    def is_over(self) -> bool:
        """Tell whether the executions take more memory than they may."""
        return self._bytes > self._most_bytes

    def stay(self, execution_id: ExecutionId) -> None:
        """Have an execution give way to no others, until it is dropped, or ``let_go``."""
        if execution_id in self:
            self._staying.add(execution_id)

    def let_go(self, execution_id: ExecutionId) -> None:
        """Have an execution give way again."""
        self._staying.discard(execution_id)

    @contextmanager
    def reserved(self, name: str, size_bytes: int) -> Iterator[None]:
        """Count memory that is about to be taken for a workspace, once at a time.

        Others give way to it before.
        """
        workspace = self._workspaces.setdefault(name, WorkspaceMemory(name))
        self._reserving = workspace
        self._bytes += size_bytes
        workspace.size_bytes += size_bytes
        try:
            self._evict_others()
            yield
        finally:
            self._bytes -= size_bytes
            workspace.size_bytes -= size_bytes
            self._reserving = None
            self._leave_out(workspace)

    def evict(self, execution_id: ExecutionId) -> bool:
        """Evict an execution that is not folded, and tell whether that was possible."""
        each = self._unfolded.get(execution_id)
        if each is None or not each.may_leave:
            return False
        self._evict(execution_id, each)
        return True

    def drop(self, execution_id: ExecutionId) -> None:
        """Drop an execution from memory."""
        each = self._unfolded.pop(execution_id, None) or self._folded.pop(execution_id, None)
        if each is None:
            return
        self._staying.discard(execution_id)
        workspace = each.workspace
        self._bytes -= workspace.remove(execution_id, each.plan, each.counted_bytes)
        if not workspace.order:
            self._leave_out(workspace)
        if isinstance(each, ActiveExecution):
            each.count(0)

    def _leave_out(self, workspace: WorkspaceMemory) -> None:
        """Forget a workspace that has nothing here any more."""
        if workspace.order or workspace is self._reserving:
            return
        del self._workspaces[workspace.name]
        if workspace is self._gives_way:
            self._gives_way = None

    def _fold_least_recently_used(self) -> None:
        # Two are folded for each one that comes, so that executions in use do not stop the folding.
        for _ in range(min(len(self._unfolded) - self._most_unfolded, 2)):
            execution_id, execution = self._unfolded.popitem(last=False)
            if execution.may_leave:
                self._folded[execution_id] = _fold(execution)
            else:
                self._unfolded[execution_id] = execution

    def _make_room(self, execution: ActiveExecution) -> None:
        """Evict others than this execution."""
        execution.begin_lease()
        self._evict_others()
        execution.end_lease()
        if self._bytes > self._most_bytes and self.still_too_much is not None:
            self.still_too_much(execution)

    def _evict_others(self) -> None:
        in_use: dict[WorkspaceMemory, int] = {}
        for _ in range(LEAST_LOOKED_AT + 4 * max(len(self) - self._most, 0)):
            workspace = self._who_gives_way(in_use)
            if workspace is None:
                break
            execution_id = next(iter(workspace.order))
            each = self._folded.get(execution_id) or self._unfolded[execution_id]
            may_leave = isinstance(each, _Folded) or each.may_leave
            if may_leave and execution_id not in self._staying:
                self._evict(execution_id, each)
            else:
                workspace.order.move_to_end(execution_id)
                in_use[workspace] = in_use.get(workspace, 0) + 1
        self._are_many = len(self) > self._most

    def _who_gives_way(self, in_use: dict[WorkspaceMemory, int]) -> WorkspaceMemory | None:
        """Return the workspace that takes most of what there is too much of, if there is any.

        It is looked for anew after a number of evictions that grows with that of the workspaces.
        Those with many ``in_use`` are passed over. Nobody who takes no more than its part gives
        way: all of these together leave room for those that take more.
        """
        in_bytes = self._bytes > self._most_bytes
        if not in_bytes and len(self) <= self._most:
            return None
        workspaces = self._workspaces
        part = (self._most_bytes if in_bytes else self._most) // len(workspaces)
        chosen = self._gives_way
        self._times_chosen -= 1
        if (
            chosen is None
            or self._times_chosen <= 0
            or in_use
            or not chosen.order
            or chosen.part_of(in_bytes=in_bytes) <= part
        ):
            others = (
                each
                for each in workspaces.values()
                if each.order and in_use.get(each, 0) < MOST_IN_USE
            )
            size = partial(WorkspaceMemory.part_of, in_bytes=in_bytes)
            chosen = self._gives_way = max(others, key=size, default=None)
            self._times_chosen = len(workspaces) // WORKSPACES_PER_EVICTION
        if chosen is None or chosen.part_of(in_bytes=in_bytes) <= part:
            return None
        return chosen

    def _evict(self, execution_id: ExecutionId, each: ActiveExecution | _Folded) -> None:
        self.drop(execution_id)
        if self._evicted is None and isinstance(each, _Folded):
            return
        execution = _unfold(each)
        execution.move(ActivationEvent.LEFT)
        if self._evicted is not None:
            self._evicted(execution)


def _fold(execution: ActiveExecution) -> ActiveExecution | _Folded:
    """Fold an execution; a large one stays as it is."""
    state = execution.state
    if (
        execution.encoded_bytes > LARGEST_FOLDED
        or state.made_bytes > MOST_MADE_FOLDED
        or len(state.tasks) > MOST_TASKS_FOLDED
    ):
        return execution
    packed = codec.pack_state(state)
    if packed is None:
        return execution
    folded = _Folded(
        execution.plan,
        packed,
        execution.stage,
        execution.position,
        execution.counted_bytes,
        execution.noted_as_resting,
        execution.workspace,
    )
    execution.move(ActivationEvent.LEFT)
    return folded


def _unfold(folded: ActiveExecution | _Folded) -> ActiveExecution:
    if isinstance(folded, ActiveExecution):
        return folded
    execution = ActiveExecution(folded.plan, codec.unpack_state(folded.state), folded.stage)
    execution.go_on_from(folded.position)
    execution.count(folded.counted_bytes)
    execution.note_rest(rests=folded.noted_as_resting)
    execution.join(folded.workspace)
    return execution


def memory_of(weight_bytes: int) -> int:
    """Return the memory that is counted for an execution whose values weigh so much."""
    return LEAST_BYTES + BYTES_PER_ENCODED * weight_bytes


def free_in_portions(
    execution: ActiveExecution, clock_s: Callable[[], float] = time.perf_counter
) -> None:
    """Keep the values of a large execution that leaves until they are freed, one after the other.

    Python frees at once what only the execution refers to: for 30 MB that takes a third of a
    second. Whoever calls this refers to it no longer when the event loop has its next turn.
    """
    if execution.weight_bytes < LARGE_WEIGHT:
        return
    state = execution.state
    values: list[object] = [*state.context.values()]
    for group in state.groups.values():
        values += group.context.values()
    for task in state.tasks.values():
        values += (task.invoke.input, task.invoke.output)
    asyncio.get_running_loop().call_soon(_free, values, clock_s)


def _free(values: list[object], clock_s: Callable[[], float]) -> None:
    end_s = clock_s() + PORTION_S
    while values and clock_s() < end_s:
        values.pop()
    if values:
        asyncio.get_running_loop().call_soon(_free, values, clock_s)
