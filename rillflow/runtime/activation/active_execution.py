"""One execution in memory: what it is, how far it has come, and who counts on it.

The states of an activation, and what leads from one to the next, stand in ``NEXT``. Only the
activation cache (``cache`` and ``hot_executions``) leads an activation through them, and takes
leases and appends on it; its fields are written by its own methods.
"""

import asyncio
from enum import IntEnum, auto
from typing import Final

from rillflow.core.ending import owes_notice
from rillflow.core.machine import Handled
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.status import DAG_COMPLETED

SMALL_BYTES: Final = 64 * 1024
"""What is known to be no larger is encoded at once, without a thread."""
MOST_TASKS: Final = 256
"""Nor has it more tasks, whose definitions are shown, too."""
STEPS_PER_EVENT: Final = 100
"""What handling an event takes besides its evaluations."""
_BYTES_PER_STEP: Final = 64
SNAPSHOT_BYTES_PER_STEP: Final = 8
"""A snapshot is written after one step of work for so many bytes of it, at least."""


class Stage(IntEnum):
    """Where an activation is in its life."""

    NEW = auto()
    """Its submission is being written: nothing may build on it yet."""
    ACTIVE = auto()
    """Memory is right, and ahead of the store by the appends under way."""
    SETTLED = auto()
    """It has ended and owes nobody a notice, as the store knows."""
    DISTRUSTED = auto()
    """Memory may be wrong: nobody gets it, and it goes once its last append is over."""
    GONE = auto()
    """It is not in memory any more; the store knows better, or another object does."""


class ActivationEvent(IntEnum):
    """What leads an activation from one stage to the next."""

    CREATED = auto()
    """Its submission is durable."""
    REACHED_REST = auto()
    """It has settled, nothing is being written, and nobody has a lease."""
    REVIVED = auto()
    """A redo has begun it anew."""
    DOUBTED = auto()
    """An append has failed, or handling an event has: nobody knows what is right."""
    LEFT = auto()
    """It makes room, or was folded up; what comes back is another object."""
    FORGOTTEN = auto()
    """It was doubted, and its last append is over."""


NEXT: Final = {
    # A submission that may be stored differently is read again, like any other.
    (Stage.NEW, ActivationEvent.CREATED): Stage.ACTIVE,
    (Stage.NEW, ActivationEvent.DOUBTED): Stage.DISTRUSTED,
    # A redo may come while the end is being written, and even with the submission.
    (Stage.NEW, ActivationEvent.REVIVED): Stage.NEW,
    (Stage.ACTIVE, ActivationEvent.REVIVED): Stage.ACTIVE,
    (Stage.ACTIVE, ActivationEvent.REACHED_REST): Stage.SETTLED,
    (Stage.ACTIVE, ActivationEvent.DOUBTED): Stage.DISTRUSTED,
    (Stage.ACTIVE, ActivationEvent.LEFT): Stage.GONE,
    (Stage.SETTLED, ActivationEvent.REVIVED): Stage.ACTIVE,
    (Stage.SETTLED, ActivationEvent.DOUBTED): Stage.DISTRUSTED,
    (Stage.SETTLED, ActivationEvent.LEFT): Stage.GONE,
    # Appends that are under way go on; whatever becomes of them, memory stays doubtful.
    (Stage.DISTRUSTED, ActivationEvent.DOUBTED): Stage.DISTRUSTED,
    (Stage.DISTRUSTED, ActivationEvent.FORGOTTEN): Stage.GONE,
    # A later call of the batch that made it doubtful is refused, which may be appended too.
    (Stage.GONE, ActivationEvent.DOUBTED): Stage.GONE,
}
"""What is not here must not happen: one that is new or distrusted never makes room, for example."""


class ActiveExecution:
    """One execution in memory.

    Attributes:
        plan: Its definition, ready to run.
        state: What the core knows of it.
        stage: Where it is in its life in memory; see ``NEXT``.
        written: How many journal records were handed to the store.
        encoded_bytes: How long all that was read and written of it is.
        replay_steps: What replaying it from its last snapshot takes.
        snapshot_bytes: How long that snapshot is.
        lacks_snapshot: Whether one is to be written beside the event loop.
        counted_bytes: What it counts for in the memory of executions.
        pending: How many appends are under way, the last of which is ``append_under_way``.
        leases: How many calls count on it. With a lease or an append it does not leave memory.
        forgotten: Done when it is forgotten; there while it is distrusted.
        noted_as_resting: What the store says, None for one that was read while that may have
            been about to change.
    """

    __slots__ = (
        "append_under_way",
        "counted_bytes",
        "encoded_bytes",
        "forgotten",
        "lacks_snapshot",
        "leases",
        "noted_as_resting",
        "pending",
        "plan",
        "replay_steps",
        "snapshot_bytes",
        "stage",
        "state",
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
        self.counted_bytes = 0
        self.pending = 0
        self.leases = 0
        self.append_under_way: asyncio.Future[None] | None = None
        self.forgotten: asyncio.Future[None] | None = None
        self.noted_as_resting: bool | None = False

    # -- questions --------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Tell whether the execution has ended."""
        return DAG_COMPLETED[self.state.status]

    @property
    def settled(self) -> bool:
        """Tell whether the execution has ended and owes nobody a notice."""
        return DAG_COMPLETED[self.state.status] and not owes_notice(self.state)

    @property
    def is_distrusted(self) -> bool:
        """Tell whether memory may be wrong."""
        return self.forgotten is not None

    @property
    def may_leave(self) -> bool:
        """Tell whether nobody counts on this very object."""
        return not self.leases and not self.pending and self.stage in _STEADY

    @property
    def can_be_leased(self) -> bool:
        """Tell whether calls may build on what memory says.

        Nothing may follow a submission that is not durable: should it be refused because
        the execution exists, what follows would fit the other one's number of records.
        """
        return self.stage in _STEADY

    @property
    def blocked_by(self) -> "asyncio.Future[None] | None":
        """Return what must be over before calls may build on what memory says."""
        return self.forgotten or (self.append_under_way if self.stage is Stage.NEW else None)

    @property
    def may_be_large(self) -> bool:
        """Tell whether encoding it, to be shown or stored, might hold the event loop."""
        state = self.state
        kept_bytes = self.encoded_bytes + state.outputs_bytes + state.made_bytes
        return kept_bytes > SMALL_BYTES or len(state.tasks) > MOST_TASKS

    def owes_snapshot(self, snapshot_steps: int) -> bool:
        """Tell whether replaying takes more than this, and more than a snapshot costs."""
        return self.replay_steps > max(
            snapshot_steps, self.snapshot_bytes // SNAPSHOT_BYTES_PER_STEP
        )

    # -- the journal ------------------------------------------------------------------

    def note_event(self, record: bytes, handled: Handled) -> None:
        """Count an event that was handled: the journal gets one record more."""
        self.written += 1
        self.encoded_bytes += len(record)
        self.replay_steps += STEPS_PER_EVENT + handled.steps + len(record) // _BYTES_PER_STEP

    def note_lack_of_snapshot(self) -> None:
        """Note that a snapshot is to be written beside the event loop."""
        self.lacks_snapshot = True

    def note_snapshot(self, snapshot: bytes, saved_steps: int | None = None) -> None:
        """Note that a replay will begin with this snapshot, which saves it all steps or so many."""
        left = 0 if saved_steps is None else max(self.replay_steps - saved_steps, 0)
        self.replay_steps, self.snapshot_bytes = left, len(snapshot)
        self.lacks_snapshot = False

    @property
    def position(self) -> tuple[int, int, int, int]:
        """Return what is counted of its journal, for ``go_on_from``."""
        return self.written, self.encoded_bytes, self.replay_steps, self.snapshot_bytes

    def go_on_from(self, position: tuple[int, int, int, int]) -> None:
        """Count on from here, where the state was read as it was."""
        self.written, self.encoded_bytes, self.replay_steps, self.snapshot_bytes = position

    def note_rest(self, *, rests: bool | None) -> None:
        """Note what the store says about whether it waits for others only."""
        self.noted_as_resting = rests

    # -- life in memory: for the activation cache only --------------------------------

    def move(self, event: ActivationEvent) -> None:
        """Go on to the next stage.

        Raises:
            RuntimeError: That must not happen in this stage, which is a defect.
        """
        following = NEXT.get((self.stage, event))
        if following is None:
            raise RuntimeError(f"an activation is {self.stage.name} when {event.name}")
        self.stage = following

    def distrust(self) -> None:
        """Note that memory may be wrong; ``forgotten`` is there from now on."""
        self.move(ActivationEvent.DOUBTED)
        if self.forgotten is None:
            self.forgotten = asyncio.get_running_loop().create_future()

    def begin_lease(self) -> None:
        """Note that a call counts on it."""
        self.leases += 1

    def end_lease(self) -> None:
        """Note that a call counts on it no more."""
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

    def count(self, size_bytes: int) -> int:
        """Count for so much memory from now on; return by how much that is more."""
        more, self.counted_bytes = size_bytes - self.counted_bytes, size_bytes
        return more


_STEADY: Final = (Stage.ACTIVE, Stage.SETTLED)
