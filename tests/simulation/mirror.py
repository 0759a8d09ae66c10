"""What is durable of one execution, followed record by record, with its own promises."""

from typing import Final, NamedTuple

from rillflow.core import machine
from rillflow.core.commands import Command, DispatchTask, SetTimer
from rillflow.core.encoding import codec
from rillflow.core.ending import owes_notice
from rillflow.core.events import Event, ExecutionSubmitted, NoticeDelivered, TimerFired
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.status import COMPLETED, DAG_COMPLETED, TaskStatus
from rillflow.core.tasks import polling
from rillflow.testing.scenario import begins_anew
from tests.simulation.surroundings import JUMPS_S, START_MS
from tests.simulation.virtual_loop import Life

EARLY_S: Final = 0.002
"""How early a timer may fire: milliseconds are whole."""
SLOWEST_S: Final = 30.0
"""How long it may take an event to become durable."""


class Armed(NamedTuple):
    """When, and by which life of the owner, a timer was set."""

    life: Life | None
    at_s: float
    wait_s: float


class Mirror:
    """An execution as its journal tells it.

    ``ordered`` holds the attempts that the journal has ordered, ``records`` what it has
    accepted, ``redone`` whether a redo may have set something back, ``unwanted_until_s`` until
    when nobody wanted an attempt that was ordered before. What is wrong with a record is told to
    whoever applies it.
    """

    def __init__(self, plan: Plan, record: bytes, life: Life | None, at_s: float) -> None:
        event = codec.decode_event(record)
        assert isinstance(event, ExecutionSubmitted)
        self.plan = plan
        self.records = {codec.encode_event(event)}
        self._history = [record]
        self.redone = False
        self.ordered: dict[tuple[str, str, int, int], float] = {}
        self.over_at_s: dict[tuple[str, int, int], float] = {}
        self.unwanted_until_s: dict[tuple[str, int], float] = {}
        self._armed: dict[tuple[str, str, int], Armed] = {}
        self.submitted = event
        self.state, handled = machine.submit(plan, event)
        self._remember(handled.commands, event, life, at_s)

    @property
    def over(self) -> bool:
        """Tell whether the execution has ended."""
        return DAG_COMPLETED[self.state.status]

    @property
    def settled(self) -> bool:
        """Tell whether it has ended and owes nobody a notice."""
        return self.over and not owes_notice(self.state)

    def apply(self, record: bytes, life: Life | None, at_s: float) -> str | None:
        """Take a record; return the promise that it breaks, if any."""
        event = codec.decode_event(record)
        before = {name: task.status for name, task in self.state.tasks.items()}
        attempts = {name: task.attempt for name, task in self.state.tasks.items()}
        self.records.add(codec.encode_event(event))  # another release writes other fields
        self._history.append(record)
        for name, attempt in attempts.items():
            if self.has_ordered(name, attempt) and not self.wants(name, attempt):
                self.unwanted_until_s[name, attempt] = at_s
        awaited = [
            (name, task.attempt, polling.under_way(task))
            for name, task in self.state.tasks.items()
            if task.in_flight
        ]
        handled = machine.handle(self.plan, self.state, event)
        for each in awaited:
            if not self.waits_for(*each):
                self.over_at_s[each] = at_s
        if not handled.changed:
            return f"the journal took an event that counts for nothing: {event}"
        if isinstance(event, TimerFired) and (early := self._too_early(event, life, at_s)):
            return early
        self._remember(handled.commands, event, life, at_s)
        if begins_anew(event) or (isinstance(event, NoticeDelivered) and event.kind == "redo"):
            # The last one starts a sub-flow anew that is gone.
            self.redone = True
            return None
        return self._changed_wrongly(before, attempts, event)

    def state_after(self, seq: int) -> ExecutionState:
        """Return the state as the first ``seq`` records give it."""
        if seq == len(self._history):
            return self.state
        state, _ = machine.submit(self.plan, self.submitted)
        for record in self._history[1:seq]:
            machine.handle(self.plan, state, codec.decode_event(record))
        return state

    def forget_timers(self) -> None:
        """Note that the owner reads its timers again, as if an earlier life had set them."""
        self._armed = {key: armed._replace(life=None) for key, armed in self._armed.items()}

    def waits_for(self, task: str, attempt: int, poll: int) -> bool:
        """Tell whether the answer of this very call is still awaited."""
        found = self.state.tasks.get(task)
        return (
            found is not None
            and found.in_flight
            and found.attempt == attempt
            and polling.under_way(found) == poll
        )

    def has_ordered(self, task: str, attempt: int) -> bool:
        """Tell whether the journal has ordered an attempt."""
        return (self.state.execution_id, task, attempt, 0) in self.ordered

    def wants(self, task: str, attempt: int) -> bool:
        """Tell whether the outcome of an attempt would be accepted.

        In an execution that has ended, a task may still be in flight; its outcome is not accepted.
        """
        return not self.over and self.waits_for(task, attempt, 0)

    def would_take(self, event: Event) -> bool:
        """Tell whether an event would change what is durable."""
        copy = codec.decode_state(codec.encode_state(self.state))
        return machine.handle(self.plan, copy, event).changed

    def why_waiting(self) -> str:
        """Say what an execution that has not settled waits for."""
        state: ExecutionState = self.state
        tasks = [
            f"{task.name} {task.status.name} #{task.attempt}"
            + (" in flight" if task.in_flight else "")
            + (" held" if task.held else "")
            for task in state.tasks.values()
            if task.status is not TaskStatus.NOT_STARTED and not COMPLETED[task.status]
        ]
        owes = [
            name
            for name, due in (("parent", state.parent_notice), ("completion", state.completion))
            if due is not None
        ]
        return f"{state.status.name} paused={state.paused} {tasks} owes {owes}"

    def _remember(
        self, commands: list[Command], event: Event, life: Life | None, at_s: float
    ) -> None:
        for command in commands:
            if isinstance(command, DispatchTask):
                self.ordered.setdefault(command.call, at_s)
            elif isinstance(command, SetTimer):
                wait_s = (command.due_ms - event.at_ms) / 1000
                key = (command.kind, command.task, command.due_ms)
                # One that an earlier life has set with the same due time may be restored.
                before = self._armed.get(key)
                if before is None or before.life is life:
                    self._armed[key] = Armed(life, _happened_s(event, at_s), wait_s)

    def _too_early(self, event: TimerFired, life: Life | None, at_s: float) -> str | None:
        """A timer that one life set and fired waited for its time, whatever the clock did."""
        armed = self._armed.get((event.kind, event.task, event.due_ms))
        if armed is None or armed.life is not life:
            return None
        if at_s - armed.at_s < armed.wait_s - EARLY_S:
            return f"{event.kind} of {event.task} fired {armed.wait_s - at_s + armed.at_s} s early"
        return None

    def _changed_wrongly(
        self, before: dict[str, TaskStatus], attempts: dict[str, int], event: Event
    ) -> str | None:
        for name, status in before.items():
            task = self.state.tasks.get(name)
            if task is None:
                return f"{name} vanished by {event}"
            if COMPLETED[status] and task.status is not status:
                return f"{name} had ended {status.name} and is {task.status.name} by {event}"
            if COMPLETED[status] and task.attempt != attempts[name]:
                return f"{name} had ended and was called again by {event}"
            if task.attempt < attempts[name]:
                return f"attempts of {name} went back by {event}"
        return None


def waits_in_vain(parent: ExecutionState, child: ExecutionState) -> bool:
    """Tell whether a task still waits for the outcome that its sub-flow need not tell again.

    A task that had failed took no notice of the outcome, and a redo since has it wait again: its
    request makes the sub-flow tell the outcome once more, unless the sub-flow has taken it already.
    """
    link = child.parent
    notice = None if child.parent_notice is None else child.parent_notice.sub_flow
    task = None if link is None else parent.tasks.get(link.task)
    if link is None or notice is None or notice.running or task is None:
        return False
    will_tell_again = task.redoing_child and task.child_redos > child.redo_order
    return (
        not DAG_COMPLETED[parent.status]
        and task.status is TaskStatus.RUNNING
        and task.held is None
        and task.attempt == link.attempt
        and task.told < notice.position
        and not will_tell_again
    )


def _happened_s(event: Event, at_s: float) -> float:
    """Tell when an event really happened, whose clock may be wrong by one of the jumps."""
    said_s = (event.at_ms - START_MS) / 1000
    candidates = (said_s - jump_s for jump_s in (0.0, *JUMPS_S))
    return next((each for each in candidates if 0 <= at_s - each <= SLOWEST_S), at_s)
