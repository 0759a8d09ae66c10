"""A replay that notes what each event changed, and how long each task did what.

Used by `core/inspection` and `runtime/histories`.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from rillflow.core import machine
from rillflow.core import status as core
from rillflow.core.commands import Command
from rillflow.core.encoding import codec
from rillflow.core.events import (
    CallbackReceived,
    DispatchAnswered,
    Event,
    ExecutionSubmitted,
    NoticeDelivered,
    TimerFired,
    WakeUpReceived,
)
from rillflow.core.inspection.history.journal import facts_of, kind_of, sentence_of, task_of
from rillflow.core.inspection.history.writes import RecordedTurn, Write, lasting
from rillflow.core.inspection.statuses import Status
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import COMPLETED, DAG_COMPLETED
from rillflow.core.tasks.function_tasks import FLOW_PATTERNS
from rillflow.definition.model import FunctionTask
from rillflow.errors import StoreError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.versions import unknown_rules

MOST_CHANGES: Final = 50
MOST_SEGMENTS: Final = 100
"""How many of the first and of the last segments of a task are kept."""
MOST_MARKS: Final = 64
"""How many of the last events that changed a task are kept."""
_NARROW: Final = (
    *(DispatchAnswered, CallbackReceived, TimerFired, WakeUpReceived, NoticeDelivered),
    ExecutionSubmitted,
)
"""Events whose consequences spread from one task; others may change any of them."""
_ENDED: Final = {
    core.SUCCEED: Status.SUCCEEDED,
    core.FAILED: Status.FAILED,
    core.SKIPPED: Status.SKIPPED,
}


class Segment(msgspec.Struct, array_like=True):
    """What an attempt did from one time to another; ``to_ms`` is None while it lasts."""

    kind: str
    attempt: int
    from_ms: int
    to_ms: int | None = None
    error: str | None = None


class Segments(msgspec.Struct):
    """The segments of one task: the first, the last, and how many between them are left out."""

    first: list[Segment]
    last: "deque[Segment] | None" = None
    left_out: int = 0

    def add(self, segment: Segment) -> None:
        """Add a segment after the others."""
        if len(self.first) < MOST_SEGMENTS:
            self.first.append(segment)
            return
        if self.last is None:
            self.last = deque(maxlen=MOST_SEGMENTS)
        if len(self.last) == MOST_SEGMENTS:
            self.left_out += 1
        self.last.append(segment)

    def all(self) -> Iterator[Segment]:
        """Yield the segments that are kept, in their order."""
        yield from self.first
        yield from self.last or ()


class Recorder:
    """An execution that is replayed event by event."""

    def __init__(self, plan: Plan, state: ExecutionState | None = None) -> None:
        """Begin with the first event, or after the events that a state has had."""
        self.plan = plan
        self.at_ms = 0
        self.segments: dict[str, Segments] = {}
        self.writes: list[Write] = []
        """What the last event wrote into contexts, in the order in which it was written."""
        self.marks: dict[str, list[int]] = {}
        """The numbers of the last events that changed the status of each instance."""
        self._state = state
        self._open: dict[str, Segment] = {}
        self._known: dict[str, Status] = {}
        if state is not None:
            self._known = {name: self._phase(task) for name, task in state.tasks.items()}

    @property
    def seq(self) -> int:
        """The number of events so far."""
        return 0 if self._state is None else self._state.seq

    @property
    def state(self) -> ExecutionState:
        """The state after these events.

        Raises:
            StoreError: There was none.
        """
        if self._state is None:
            raise StoreError("the journal is empty")
        return self._state

    def take(self, record: bytes) -> JsonObject:
        """Handle an event, and return it as the console lists it.

        Raises:
            StoreError: The journal does not begin with a submission, or cannot be read.
        """
        event = codec.decode_event(record)
        before_status = None if self._state is None else self._state.status
        contexts = self._contexts(event)
        commands = self._handle(event)
        state = self.state
        self.at_ms = event.at_ms
        changed = self._changes(event, commands)
        for name, before, _ in changed:
            has_run = before is not None and before is not Status.NOT_STARTED
            self._turn_segment(state.tasks.get(name), name, has_run=has_run)
            self._mark(name, state.seq)
        is_new = before_status is None or before_status is not state.status
        return {
            "seq": state.seq,
            "at_ms": event.at_ms,
            "kind": kind_of(event),
            "task": task_of(event),
            "attempt": getattr(event, "attempt", None),
            "bytes": len(record),
            "facts": facts_of(event),
            "sentence": sentence_of(event),
            "effect": {
                "changed": [
                    {"task": name, "from": before, "to": after}
                    for name, before, after in changed[:MOST_CHANGES]
                ],
                "more": max(len(changed) - MOST_CHANGES, 0) + max(len(commands) - MOST_CHANGES, 0),
                "status": state.status.name if is_new else None,
                "commands": [_command(command) for command in commands[:MOST_CHANGES]],
                "context": list(self._changed_keys(contexts))[:MOST_CHANGES],
            },
        }

    def _mark(self, name: str, seq: int) -> None:
        marks = self.marks.setdefault(name, [])
        if len(marks) >= MOST_MARKS:
            del marks[0]
        marks.append(seq)

    def _handle(self, event: Event) -> list[Command]:
        turns: list[RecordedTurn] = []

        def noted(plan: Plan, state: ExecutionState, at_ms: int) -> RecordedTurn:
            turns.append(RecordedTurn(plan, state, at_ms))
            return turns[-1]

        given: list[Write] = []
        if self._state is not None:
            handled = machine.handle(self.plan, self._state, event, noted)
        elif isinstance(event, ExecutionSubmitted):
            if unknown := unknown_rules(event.language):
                raise StoreError(unknown)
            self._state, handled = machine.submit(self.plan, event, noted)
            given = [Write("", "", {}, turns[0].first_context)]
        else:
            raise StoreError("the journal begins with no submission")
        self.writes = [*given, *lasting(turns[0].writes, self._state)]
        return handled.commands

    def _changes(
        self, event: Event, commands: list[Command]
    ) -> list[tuple[str, Status | None, Status | None]]:
        """Find the tasks whose status has changed, and remember their new one."""
        state, known = self.state, self._known
        names = self._candidates(event, commands)
        changed: list[tuple[str, Status | None, Status | None]] = []
        seen: set[str] = set()
        while names:
            name = names.popleft()
            if name in seen:
                continue
            seen.add(name)
            task = state.tasks.get(name)
            before = known.get(name)
            after = None if task is None else self._phase(task)
            if after is None:
                known.pop(name, None)
            else:
                known[name] = after
            if before is not after and not (before is None and after is Status.NOT_STARTED):
                changed.append((name, before, after))
                names.extend(() if task is None else self._near(task))
        return changed

    def _candidates(self, event: Event, commands: list[Command]) -> deque[str]:
        """Return the instances that an event may have changed, or from which it spread."""
        state, known = self.state, self._known
        if not isinstance(event, _NARROW) or DAG_COMPLETED[state.status]:
            return deque(dict.fromkeys([*known, *state.tasks]))
        names = deque(filter(None, [task_of(event), *map(_task_of, commands)]))
        if len(state.tasks) > len(known):
            names.extend(islice(state.tasks, len(known), None))
        return names

    def _near(self, task: TaskState) -> Iterator[str]:
        """Yield the instances that may change because of one."""
        prefix = f"{task.route}-" if task.route else ""
        yield from (prefix + name for name in self.plan.by_name[task.base].successors)
        if task.route:
            group = self.state.groups[task.route]
            yield group.parent
            yield from group.members
            parent = self.state.tasks[group.parent]
            if parent.next_group < len(parent.routes) or parent.most_groups is not None:
                started = parent.routes[max(parent.next_group - 1, 0)]
                yield from self.state.groups[started].members

    def _phase(self, task: TaskState) -> Status:
        """Return the status of an instance without a look at its groups."""
        state = self.state if self._state is None else self._state
        ended = _ENDED.get(task.status)
        if ended is not None:
            return ended
        if DAG_COMPLETED[state.status]:
            return Status.CANCELLED if state.cancelled else Status.NOT_STARTED
        if task.status is core.NOT_STARTED:
            return Status.NOT_STARTED
        if task.delay_due_ms is not None:
            return Status.DELAYED
        if task.status is core.READY:
            return Status.HELD if state.paused else Status.RUNNING
        return Status.RUNNING if task.in_flight else Status.WAITING

    def _turn_segment(self, task: TaskState | None, name: str, *, has_run: bool) -> None:
        """End the segment of a task, and begin the next one if the task has not ended.

        A task that has begun and ended in one event has a segment of no length.
        """
        segment = self._open.pop(name, None)
        infos = () if task is None else task.invoke.time_infos
        if segment is not None:
            segment.to_ms = self.at_ms
            if infos and infos[-1].end_ms == self.at_ms:
                segment.error = infos[-1].error
        if task is None or task.status is core.NOT_STARTED:
            return
        attempt = max(task.attempt, 1)
        if not COMPLETED[task.status]:
            self._open[name] = self._add(name, Segment(self._kind_of(task), attempt, self.at_ms))
        elif not has_run and task.status is not core.SKIPPED:
            error = infos[-1].error if infos else None
            self._add(name, Segment("steps", attempt, self.at_ms, self.at_ms, error))

    def _add(self, name: str, segment: Segment) -> Segment:
        self.segments.setdefault(name, Segments([])).add(segment)
        return segment

    def _kind_of(self, task: TaskState) -> str:
        phase = self._phase(task)
        if phase is Status.RUNNING:
            return "calling" if task.in_flight else "steps"
        if phase is Status.DELAYED:
            return "delay"
        if phase is Status.HELD:
            return "held"
        plan = self.plan.by_name[task.base]
        if plan.branches:
            return "groups"
        spec = plan.spec
        if isinstance(spec, FunctionTask) and spec.pattern in FLOW_PATTERNS:
            return "sub_flow"
        return "poll" if task.poll_url is not None else "callback"

    def _contexts(self, event: Event) -> list[tuple[str, JsonObject]]:
        """Return the contexts that an event may change, with the route of each."""
        state = self._state
        if state is None:
            return [("", {})]
        task = state.tasks.get(task_of(event))
        found = [("", state.context)]
        if task is not None and task.route:
            found.append((task.route, state.groups[task.route].context))
        return found

    def _changed_keys(self, contexts: list[tuple[str, JsonObject]]) -> Iterator[JsonValue]:
        for route, before in contexts:
            group = self.state.groups.get(route)
            after = self.state.context if not route else (group.context if group else {})
            if after is before:
                continue
            for key in {**before, **after}:
                if before.get(key) is not after.get(key) and before.get(key) != after.get(key):
                    yield f"{route}/{key}"[:200] if route else key[:200]


def _task_of(command: Command) -> str:
    task = getattr(command, "task", "")
    return task if isinstance(task, str) else ""


def _command(command: Command) -> JsonObject:
    shown: JsonObject = {"kind": _NAMES[type(command).__name__]}
    for name in ("task", "attempt", "poll", "due_ms", "order", "execution_id"):
        value = getattr(command, name, None)
        if value not in {None, ""}:
            shown[name] = value
    kind = getattr(command, "kind", None)
    if kind is not None:
        shown["what"] = kind
    return shown


_NAMES: Final = {
    "DispatchTask": "dispatch_task",
    "SetTimer": "set_timer",
    "NotifyParent": "notify_parent",
    "CancelChild": "cancel_child",
    "RedoChild": "redo_child",
    "Announce": "announce",
}
