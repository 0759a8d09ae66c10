"""Executions in memory: activated by their first call, replayed from the journal."""

import asyncio
from collections import OrderedDict
from typing import Final

from rillflow.core import machine, timing
from rillflow.core.commands import Command, DispatchTask, SetTimer
from rillflow.core.ending import owes_notice
from rillflow.core.machine import Handled
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import DAG_COMPLETED
from rillflow.core.tasks import polling
from rillflow.definition.model import FunctionTask
from rillflow.errors import UnknownDescriptorError
from rillflow.gateways.messages.threads import computed
from rillflow.ports.store import Catalogue
from rillflow.runtime.definitions.catalogue import parse_stored

SMALL_BYTES: Final = 64 * 1024
"""What is known to be no larger is encoded at once, without a thread."""
MOST_TASKS: Final = 256
"""Nor has it more tasks, whose definitions are shown, too."""
STEPS_PER_EVENT: Final = 100
"""What handling an event takes besides its evaluations."""
_BYTES_PER_STEP: Final = 64
SNAPSHOT_BYTES_PER_STEP: Final = 8
"""A snapshot is written after one step of work for so many bytes of it, at least."""


class Plans:
    """Definitions ready to run, by md5, kept for as long as the process lives."""

    def __init__(self, catalogue: Catalogue, *, most: int = 1000) -> None:
        self._catalogue = catalogue
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._most = most

    def ready(self, definition_id: str) -> Plan | None:
        """Return a plan that is in memory."""
        return self._plans.get(definition_id)

    async def get(self, definition_id: str) -> Plan:
        """Return a plan, read from the catalogue on first use.

        Raises:
            StoreError: The catalogue could not be read.
            UnknownDescriptorError: No such text is stored.
            DefinitionError: The stored text is no longer valid.
        """
        plan = self._plans.get(definition_id)
        if plan is not None:
            return plan
        text = await self._catalogue.definition_text(definition_id)
        if text is None:
            raise UnknownDescriptorError(f"definition {definition_id} is not stored")
        plan = await computed(len(text), lambda: Plan(parse_stored(text), definition_id))
        self._plans[definition_id] = plan
        while len(self._plans) > self._most:
            self._plans.popitem(last=False)
        return plan


class ActiveExecution:
    """One execution in memory.

    ``written`` counts the journal records handed to the store. ``pending`` counts the
    appends under way, the last of which is ``append_under_way``; ``borrowers`` the calls
    about to be taken. While there are any, the execution does not leave memory.
    ``encoded_bytes`` is how long all that was read and written of it is. ``replay_steps`` is
    what replaying it from its last snapshot takes, and ``snapshot_bytes`` how long that
    snapshot is. ``lacks_snapshot`` tells that one is to be written beside the event loop.
    ``is_new`` is true until its submission is durable. ``noted_as_resting`` is
    what the store says, None for one that was read while that may have been about to change.
    ``gone`` is there once memory cannot be trusted, and done when the execution is forgotten.
    """

    __slots__ = (
        "append_under_way",
        "borrowers",
        "counted_bytes",
        "encoded_bytes",
        "gone",
        "is_new",
        "lacks_snapshot",
        "noted_as_resting",
        "pending",
        "plan",
        "replay_steps",
        "snapshot_bytes",
        "state",
        "written",
    )

    def __init__(
        self, plan: Plan, state: ExecutionState, written: int, encoded_bytes: int = 0
    ) -> None:
        self.plan = plan
        self.state = state
        self.written = written
        self.encoded_bytes = encoded_bytes
        self.replay_steps = 0
        self.snapshot_bytes = 0
        self.lacks_snapshot = False
        self.counted_bytes = 0
        self.pending = 0
        self.borrowers = 0
        self.append_under_way: asyncio.Future[None] | None = None
        self.gone: asyncio.Future[None] | None = None
        self.is_new = written == 0
        self.noted_as_resting: bool | None = False

    def note_event(self, record: bytes, handled: Handled) -> None:
        """Count an event that was handled: the journal gets one record more."""
        self.written += 1
        self.encoded_bytes += len(record)
        self.replay_steps += STEPS_PER_EVENT + handled.steps + len(record) // _BYTES_PER_STEP

    def note_snapshot(self, snapshot: bytes, saved_steps: int | None = None) -> None:
        """Note that a replay will begin with this snapshot, which saves it all steps or so many."""
        left = 0 if saved_steps is None else max(self.replay_steps - saved_steps, 0)
        self.replay_steps, self.snapshot_bytes = left, len(snapshot)
        self.lacks_snapshot = False

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

    @property
    def in_use(self) -> bool:
        """Tell whether somebody counts on this very object."""
        return bool(self.borrowers or self.pending or self.is_new) or self.gone is not None

    @property
    def can_be_borrowed(self) -> bool:
        """Tell whether calls may build on what memory says.

        Nothing may follow a submission that is not durable: should it be refused because
        the execution exists, what follows would fit the other one's number of records.
        """
        return self.gone is None and not self.is_new

    @property
    def over(self) -> bool:
        """Tell whether the execution has ended."""
        return DAG_COMPLETED[self.state.status]

    @property
    def settled(self) -> bool:
        """Tell whether the execution has ended and owes nobody a notice."""
        return self.over and not owes_notice(self.state)

    def awaits(self, command: DispatchTask) -> bool:
        """Tell whether the answer of a dispatch would still be taken."""
        if not command.task:
            state = self.state
            return state.completion is not None and state.completion_attempt == command.attempt
        task = self.state.tasks.get(command.task)
        return (
            not self.over
            and task is not None
            and task.in_flight
            and task.attempt == command.attempt
            and polling.under_way(task) == command.poll
        )

    @property
    def rests(self) -> bool:
        """Tell whether it waits for others only: nothing would be done for it at a start."""
        return next(machine.outstanding(self.plan, self.state), None) is None

    def resource_of(self, task: TaskState) -> str | None:
        """Return the function that a task called last, None when it calls none."""
        chosen = (task.invoke.ext or {}).get("calculated_resource_name")
        spec = self.plan.by_name[task.base].spec
        named = spec.resource_name if isinstance(spec, FunctionTask) else None
        return chosen if isinstance(chosen, str) else named

    def longest_wait_s(self, timer: SetTimer) -> float:
        """Tell for how long a timer that is outstanding was set, or somewhat longer."""
        return timing.longest_wait_ms(self.state, timer) / 1000

    def outstanding(self) -> list[Command]:
        """Return the commands that no event has answered."""
        return list(machine.outstanding(self.plan, self.state))
