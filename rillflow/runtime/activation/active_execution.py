"""One execution in memory: its state, its stage, and the leases and appends that hold it there.

``NEXT`` is the table of stages and of the events that lead from one stage to the next. Only the
activation cache (``cache``, ``hot_executions``, ``loading``) moves an activation through them and
takes leases and appends on it. An activation's fields are written by its own methods only.

Used by `runtime/activation`, `runtime/commands` and `runtime/owner`.
"""

import asyncio
from collections import OrderedDict
from enum import IntEnum, auto
from typing import Final

from rillflow.core.ending import owes_notice
from rillflow.core.events import Event
from rillflow.core.machine import Handled
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, copied
from rillflow.core.status import DAG_COMPLETED
from rillflow.definition.checks.search_keys import SearchValues
from rillflow.ids import ExecutionId
from rillflow.jsontypes import LIGHT_BYTES, most_weight_of, weight_ahead
from rillflow.ports.executions import text_in

SMALL_BYTES: Final = 64 * 1024
"""A state up to this size is encoded at once, without a thread."""
SMALL_MADE_BYTES: Final = 4 * SMALL_BYTES
"""A state that has made more is not tried to be encoded at once, for its snapshot.

Of what is made, about a fifth is in the snapshot; all of it would be encoded within 3 ms.
"""
MOST_TASKS: Final = 256
"""A state with more tasks is encoded in a thread, because their definitions are encoded, too."""
STEPS_PER_EVENT: Final = 100
"""The steps that handling an event costs besides its evaluations."""
_BYTES_PER_STEP: Final = 64
SNAPSHOT_BYTES_PER_STEP: Final = 2
"""A replay must cost one step for so many bytes of its last snapshot, before another is written."""
_REPLAY_STEPS_PER_TASK: Final = 160
"""As above, for each task: encoding one takes as long as 40 steps of a replay."""


class Stage(IntEnum):
    """The stage of an activation."""

    NEW = auto()
    """Its submission is being written: no call may build on it yet."""
    ACTIVE = auto()
    """Memory is valid, and ahead of the store by the appends under way."""
    SETTLED = auto()
    """It has ended and owes no notice, and both are durable."""
    DISTRUSTED = auto()
    """Memory may be wrong: no call gets it, and it is dropped after its last append."""
    GONE = auto()
    """It has left memory; the store, or another object, is valid now."""


class ActivationEvent(IntEnum):
    """What moves an activation from one stage to the next."""

    CREATED = auto()
    """Its submission is durable."""
    REACHED_REST = auto()
    """It has settled, no append is under way, and no call has a lease."""
    REVIVED = auto()
    """A redo has restarted it."""
    DOUBTED = auto()
    """An append, or the handling of an event, has failed: memory may differ from the store."""
    LEFT = auto()
    """It was evicted or folded; when it is needed again it is another object."""
    FORGOTTEN = auto()
    """It was distrusted, and its last append is over."""


NEXT: Final = {
    # A submission that may be stored differently is read again, like any other execution.
    (Stage.NEW, ActivationEvent.CREATED): Stage.ACTIVE,
    (Stage.NEW, ActivationEvent.DOUBTED): Stage.DISTRUSTED,
    # A redo may arrive while the end is being written, or even while the submission is.
    (Stage.NEW, ActivationEvent.REVIVED): Stage.NEW,
    (Stage.ACTIVE, ActivationEvent.REVIVED): Stage.ACTIVE,
    (Stage.ACTIVE, ActivationEvent.REACHED_REST): Stage.SETTLED,
    (Stage.ACTIVE, ActivationEvent.DOUBTED): Stage.DISTRUSTED,
    (Stage.ACTIVE, ActivationEvent.LEFT): Stage.GONE,
    (Stage.SETTLED, ActivationEvent.REVIVED): Stage.ACTIVE,
    (Stage.SETTLED, ActivationEvent.DOUBTED): Stage.DISTRUSTED,
    (Stage.SETTLED, ActivationEvent.LEFT): Stage.GONE,
    # Appends under way continue; whatever their result, memory stays distrusted.
    (Stage.DISTRUSTED, ActivationEvent.DOUBTED): Stage.DISTRUSTED,
    (Stage.DISTRUSTED, ActivationEvent.FORGOTTEN): Stage.GONE,
    # A later call of the batch that failed is refused, and its refusal may be appended too.
    (Stage.GONE, ActivationEvent.DOUBTED): Stage.GONE,
}
"""A transition that is not listed is a defect, such as evicting a new or distrusted execution."""


class WorkspaceMemory:
    """The part of one workspace in the memory for executions.

    Attributes:
        order: Its executions there, the least recently used first.
        size_bytes: What they take, each of their plans once: the cache of plans may not have it.
    """

    __slots__ = ("_users", "name", "order", "size_bytes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.order: OrderedDict[ExecutionId, None] = OrderedDict()
        self.size_bytes = 0
        self._users: dict[Plan, int] = {}

    def add(self, execution_id: ExecutionId, plan: Plan) -> int:
        """Add an execution that is counted with 0 bytes; return the memory that its plan takes."""
        self.order[execution_id] = None
        users = self._users
        if plan in users:
            users[plan] += 1
            return 0
        users[plan] = 1
        self.size_bytes += plan.size_bytes
        return plan.size_bytes

    def remove(self, execution_id: ExecutionId, plan: Plan, counted_bytes: int) -> int:
        """Remove an execution; return what it took, with its plan if it was the last one of it."""
        del self.order[execution_id]
        users = self._users[plan] - 1
        freed_bytes = counted_bytes
        if users:
            self._users[plan] = users
        else:
            del self._users[plan]
            freed_bytes += plan.size_bytes
        self.size_bytes -= freed_bytes
        return freed_bytes

    def part_of(self, *, in_bytes: bool) -> int:
        """Return what it takes, in bytes or in executions."""
        return self.size_bytes if in_bytes else len(self.order)


class ActiveExecution:
    """One execution in memory.

    Attributes:
        plan: Its definition, prepared for running.
        state: Its state in the core.
        stage: Its stage in memory; see ``NEXT``.
        written: How many journal records were handed to the store.
        encoded_bytes: What everything weighs that was read and written of it, its length or more;
            see ``jsontypes.most_weight_of``.
        replay_steps: What a replay from its last snapshot costs.
        snapshot_bytes: The length of that snapshot.
        is_shared: Whether readers outside the event loop have its state; see ``state_to_read``.
        lacks_snapshot: Whether a snapshot is to be written beside the event loop.
        counted_bytes: The memory that is counted for it.
        pending: How many appends are under way, the last of which is ``append_under_way``.
        leases: How many calls use it. With a lease or an append it does not leave memory.
        forgotten: Done when it is dropped; set while it is distrusted.
        noted_as_resting: What the store says, None if it was read while that may have
            been about to change.
        noted_search_values: What the store has as values of its search keys, None if that is not
            known.
        workspace: The part of its workspace in the memory of which it is counted; there is none
            before it is put there.
    """

    workspace: WorkspaceMemory
    __slots__ = (
        "__weakref__",
        "append_times_ms",
        "append_under_way",
        "counted_bytes",
        "encoded_bytes",
        "forgotten",
        "is_shared",
        "lacks_snapshot",
        "leases",
        "noted_as_resting",
        "noted_search_values",
        "pending",
        "plan",
        "replay_steps",
        "snapshot_bytes",
        "stage",
        "state",
        "workspace",
        "written",
    )

    def __init__(self, plan: Plan, state: ExecutionState, stage: Stage = Stage.ACTIVE) -> None:
        self.plan = plan
        self.state = state
        self.stage = stage
        self.written = 0
        self.encoded_bytes = 0
        self.replay_steps = 0
        self.snapshot_bytes = 0
        self.lacks_snapshot = False
        self.is_shared = False
        self.counted_bytes = 0
        self.pending = 0
        self.leases = 0
        self.append_times_ms: list[tuple[int, int]] = []
        self.append_under_way: asyncio.Future[None] | None = None
        self.forgotten: asyncio.Future[None] | None = None
        self.noted_as_resting: bool | None = False
        self.noted_search_values: SearchValues | None = None

    # -- queries ----------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Tell whether the execution has ended."""
        return DAG_COMPLETED[self.state.status]

    @property
    def settled(self) -> bool:
        """Tell whether the execution has ended and owes no notice."""
        return DAG_COMPLETED[self.state.status] and not owes_notice(self.state)

    @property
    def is_distrusted(self) -> bool:
        """Tell whether memory may be wrong."""
        return self.forgotten is not None

    @property
    def may_leave(self) -> bool:
        """Tell whether no call and no append holds this object."""
        return not self.leases and not self.pending and self.stage in _STEADY

    @property
    def can_be_leased(self) -> bool:
        """Tell whether calls may build on the state in memory.

        No event may follow a submission that is not durable: if the store refuses it because the
        execution exists, the following record would fit the other execution's sequence.
        """
        return self.stage in _STEADY

    @property
    def blocked_by(self) -> "asyncio.Future[None] | None":
        """Return what must end before calls may build on the state in memory."""
        return self.forgotten or (self.append_under_way if self.stage is Stage.NEW else None)

    @property
    def weight_bytes(self) -> int:
        """What its values weigh: those that came with its events, or those that it has made.

        A short event can make a large context. Of what is made, texts are a larger part than of
        what is read, so it weighs half as much.
        """
        return max(self.encoded_bytes, self.state.made_bytes // 2)

    @property
    def may_be_large(self) -> bool:
        """Tell whether encoding it for a reader might hold the event loop."""
        state = self.state
        kept_bytes = self.encoded_bytes + state.outputs_bytes + state.made_bytes
        return kept_bytes > SMALL_BYTES or len(state.tasks) > MOST_TASKS

    @property
    def may_have_large_snapshot(self) -> bool:
        """Tell whether encoding its snapshot might hold the event loop."""
        state = self.state
        return (
            self.encoded_bytes + state.outputs_bytes > SMALL_BYTES
            or state.made_bytes > SMALL_MADE_BYTES
            or len(state.tasks) > MOST_TASKS
        )

    @property
    def may_show_much(self) -> bool:
        """Tell whether encoding a view of it might hold the event loop: its definition counts."""
        return self.may_be_large or self.plan.shown_bytes > SMALL_BYTES

    def owes_snapshot(self, snapshot_steps: int) -> bool:
        """Tell whether a replay costs more than this, and four times as much as a snapshot."""
        return self.replay_steps > max(
            snapshot_steps,
            self.snapshot_bytes // SNAPSHOT_BYTES_PER_STEP,
            len(self.state.tasks) * _REPLAY_STEPS_PER_TASK,
        )

    # -- readers outside the event loop -------------------------------------------------

    def state_to_read(self) -> ExecutionState:
        """Return the state of this moment, for a thread; it does not change while it is read.

        The state of an execution that has ended is copied only when an event comes nevertheless.
        """
        if not self.over:
            return copied(self.state)
        self.is_shared = True
        return self.state

    def have_own_state(self) -> None:
        """Copy a state that readers may have, before an event changes it."""
        self.state, self.is_shared = copied(self.state), False

    # -- the journal ------------------------------------------------------------------

    def note_event(self, record: bytes, handled: Handled, event: Event | None = None) -> None:
        """Count an event that was handled: the journal gets one more record.

        What its text weighs is counted where that is known, else what the record weighs.
        """
        length = weight = len(record)
        if length > LIGHT_BYTES:
            known = 0 if event is None else weight_ahead(text_in(event))
            weight = max(known, length) if known else most_weight_of(record)
        self.written += 1
        self.encoded_bytes += weight
        self.replay_steps += STEPS_PER_EVENT + handled.steps + length // _BYTES_PER_STEP

    def note_lack_of_snapshot(self) -> None:
        """Note that a snapshot is to be written beside the event loop."""
        self.lacks_snapshot = True

    def note_snapshot(self, snapshot: bytes, saved_steps: int | None = None) -> None:
        """Note that a replay will start from this snapshot, which saves all steps, or this many."""
        left = 0 if saved_steps is None else max(self.replay_steps - saved_steps, 0)
        self.replay_steps, self.snapshot_bytes = left, len(snapshot)
        self.lacks_snapshot = False

    @property
    def position(self) -> tuple[int, int, int, int]:
        """Return the counters of its journal, for ``go_on_from``."""
        return self.written, self.encoded_bytes, self.replay_steps, self.snapshot_bytes

    def go_on_from(self, position: tuple[int, int, int, int]) -> None:
        """Continue counting from these counters, after the state was read again unchanged."""
        self.written, self.encoded_bytes, self.replay_steps, self.snapshot_bytes = position

    def take_append_times(self) -> list[tuple[int, int]]:
        """Return when its appends began and ended, in milliseconds, and forget it."""
        times_ms, self.append_times_ms = self.append_times_ms, []
        return times_ms

    def note_rest(self, *, rests: bool | None) -> None:
        """Note whether the store lists the execution as resting."""
        self.noted_as_resting = rests

    def note_search_values(self, values: SearchValues) -> None:
        """Note the values of search keys that the store gets."""
        self.noted_search_values = values

    # -- stages: for the activation cache only -----------------------------------------

    def move(self, event: ActivationEvent) -> None:
        """Move to the next stage.

        Raises:
            RuntimeError: The move is not in the table, which is a defect.
        """
        following = NEXT.get((self.stage, event))
        if following is None:
            raise RuntimeError(f"an activation is {self.stage.name} when {event.name}")
        self.stage = following

    def distrust(self) -> None:
        """Note that memory may be wrong; ``forgotten`` is set from now on."""
        self.move(ActivationEvent.DOUBTED)
        if self.forgotten is None:
            self.forgotten = asyncio.get_running_loop().create_future()

    def begin_lease(self) -> None:
        """Note that a call uses it."""
        self.leases += 1

    def end_lease(self) -> None:
        """Note that a call no longer uses it."""
        self.leases -= 1

    def begin_append(self, append: "asyncio.Future[None]") -> None:
        """Note that an append is under way."""
        self.pending += 1
        self.append_under_way = append

    def end_append(self, append: "asyncio.Future[None]") -> None:
        """Note that an append is over."""
        self.pending -= 1
        if self.append_under_way is append:
            self.append_under_way = None

    def join(self, workspace: WorkspaceMemory) -> None:
        """Have its memory counted with that of its workspace."""
        self.workspace = workspace

    def count(self, size_bytes: int) -> int:
        """Count this much memory for it from now on; return the difference."""
        more, self.counted_bytes = size_bytes - self.counted_bytes, size_bytes
        return more


_STEADY: Final = (Stage.ACTIVE, Stage.SETTLED)
