"""A scenario: the state machine of one workflow, driven by a test.

For specifications, examples and "what if" questions. A scenario has a clock of its own that moves
only when told to. No function is called: every step returns the commands of the execution, and a
later step answers them.

Used by `testing`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TypedDict, Unpack

from rillflow.core import machine, view
from rillflow.core.agenda import EXECUTION_MAX_TASKS, REMAINING, TURN_MAX_TASK_STEPS
from rillflow.core.commands import (
    Announce,
    Command,
    DispatchTask,
    SetTimer,
)
from rillflow.core.encoding import codec
from rillflow.core.events import (
    CallbackReceived,
    CancelRequested,
    CompletionRequested,
    DegradeRequested,
    DispatchAnswered,
    Event,
    ExecutionSettings,
    ExecutionSubmitted,
    NoticeDelivered,
    ParentLink,
    PauseRequested,
    ProgressReported,
    RedoRequested,
    ResumeRequested,
    RouteStep,
    SubFlowNotice,
    TimerFired,
    WakeUpReceived,
)
from rillflow.core.machine import Handled
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.tasks import polling
from rillflow.definition import WorkflowDefinition, expand_sugar, parse_definition
from rillflow.errors import RillflowError
from rillflow.jsontypes import (
    JsonObject,
    JsonValue,
    ReadonlyJsonObject,
    encode_json,
)
from rillflow.language.budget import TURN_MAX_BYTES, TURN_MAX_STEPS
from rillflow.language.versions import CURRENT
from rillflow.testing.replay import JournalReplay, check_outstanding
from rillflow.testing.wants import Dispatch, Want, wants_of

EXECUTION_ID = "demo:scenario_c_00000000-0000-7000-8000-000000000000"
HOST = "http://rillflow.test"


class AnswerDetails(TypedDict, total=False):
    """What an answer to a call may tell besides its body, as in ``DispatchAnswered``."""

    http_status: int
    retry_after_s: float
    poll_url: str
    resource_name: str
    hint: str
    is_outcome: bool


class CallbackDetails(TypedDict, total=False):
    """What a callback may say besides its outcome, as in ``CallbackReceived``."""

    msg: str
    code: str
    attempt: int
    will_retry: bool
    key_succeeded: bool
    trigger: bool
    sub_flow: SubFlowNotice
    log: str


class Scenario:
    """One execution of a workflow.

    Every step returns what it made the execution want: calls as ``Dispatch``, and timers,
    notices to a parent and cancellations as they are. Announcements are in ``announced``.
    A refused step raises what the machine raises. Statuses are texts (``"SUCCEED"``).

    Args:
        definition: YAML text, or a map with Rill Flow's keys; or a definition that was
            read already, and is taken as it is.
        execution_id: The execution's id.
        parent: The task that started this execution as a sub-flow; its chain of
            executions is ``route``, outermost first.
        expected_callback_s: When a callback is overdue, as in the settings.
        turn_max_steps: What all evaluations of one event may take, as in the settings.
        turn_max_bytes: What they may make.
        turn_max_task_steps: How many tasks and groups one event makes, starts and ends; the
            events with the rest follow by themselves.
        execution_max_tasks: How many tasks the execution may have.
        check: Whether every step also proves that the journal can be replayed, that
            a step that was refused or counted for nothing changed nothing, and that
            no attempt is called twice.
    """

    def __init__(  # noqa: PLR0913 - what a submission may have
        self,
        definition: str | ReadonlyJsonObject | WorkflowDefinition,
        *,
        execution_id: str = EXECUTION_ID,
        parent: ParentLink | None = None,
        route: Sequence[RouteStep] = (),
        expected_callback_s: float | None = None,
        turn_max_steps: int = TURN_MAX_STEPS,
        turn_max_bytes: int = TURN_MAX_BYTES,
        turn_max_task_steps: int = TURN_MAX_TASK_STEPS,
        execution_max_tasks: int = EXECUTION_MAX_TASKS,
        check: bool = False,
    ) -> None:
        self.plan = Plan(_read(definition), "scenario")
        self.now_ms = 0
        self.changed = False
        self.journal: list[Event] = []
        self.commands: list[Command] = []
        self._called: set[tuple[str, str, int]] = set()
        self._execution_id = execution_id
        self._parent = parent
        self._route = tuple(route)
        self._settings = ExecutionSettings(
            expected_callback_s=None if expected_callback_s is None else float(expected_callback_s),
            turn_max_steps=turn_max_steps,
            turn_max_bytes=turn_max_bytes,
            turn_max_task_steps=turn_max_task_steps,
            execution_max_tasks=execution_max_tasks,
            foreach_in_portions=True,
        )
        self._check = check
        self._replay = JournalReplay(self.plan)
        self._timers: dict[tuple[str, str], SetTimer] = {}
        self._state: ExecutionState | None = None

    # -- steps ----------------------------------------------------------------------

    def submit(
        self, data: JsonObject | None = None, *, callback: JsonObject | None = None
    ) -> list[Want]:
        """Start the execution."""
        event = ExecutionSubmitted(
            at_ms=self.now_ms,
            execution_id=self._execution_id,
            definition_id=self.plan.definition_id,
            data=encode_json(data or {}),
            host=HOST,
            callback=encode_json(callback) if callback is not None else None,
            parent=self._parent,
            route=self._route,
            language=CURRENT,
            **self._settings,
        )
        self._state, handled = machine.submit(self.plan, event)
        return self._took(event, handled) + self._take_remaining()

    def answer(
        self,
        task: str,
        body: JsonValue = None,
        *,
        error: str | None = None,
        **details: Unpack[AnswerDetails],
    ) -> list[Want]:
        """Let the call of the attempt under way return; text is returned as it is."""
        return self.take(
            DispatchAnswered(
                at_ms=self.now_ms,
                task=task,
                attempt=self._attempt_of(task),
                body=_body(body),
                error=error,
                **details,
            )
        )

    def finish(
        self,
        task: str,
        output: JsonValue = None,
        *,
        succeeded: bool | None = True,
        early: bool = False,
        ext: JsonObject | None = None,
        **details: Unpack[CallbackDetails],
    ) -> list[Want]:
        """Call back with an outcome; None leaves it to conditions and ``result_type``.

        A call that has not returned yet returns with nothing first, unless the
        callback is to come ``early``.
        """
        wanted: list[Want] = []
        known = self.state.tasks.get(task)
        if known is not None and known.in_flight and not early:
            wanted += self.answer(task)
        event = CallbackReceived(
            at_ms=self.now_ms,
            task=task,
            succeeded=succeeded,
            output=encode_json({} if output is None else output),
            ext=encode_json(ext) if ext is not None else None,
            **details,
        )
        return wanted + self.take(event)

    def trigger(
        self, task: str, body: JsonValue = None, *, succeeded: bool | None = None
    ) -> list[Want]:
        """Call back, or wake a suspense task up, by ``trigger.json``."""
        return self.finish(task, body, succeeded=succeeded, trigger=True)

    def wake(self, task: str, data: JsonObject | None = None) -> list[Want]:
        """Signal a suspense task."""
        return self.take(WakeUpReceived(at_ms=self.now_ms, task=task, data=encode_json(data or {})))

    def redo(
        self, *tasks: str, data: JsonObject | None = None, failed_only: bool = False
    ) -> list[Want]:
        """Run tasks again; without names, everything unfinished, or all that failed."""
        event = RedoRequested(
            at_ms=self.now_ms,
            tasks=tasks,
            data=encode_json(data or {}),
            failed_only=failed_only,
        )
        return self.take(event)

    def advance(self, seconds: float) -> list[Want]:
        """Let time pass; what comes due on the way is fired in order."""
        return self._advance_to(self.now_ms + round(seconds * 1000))

    def timeout(self, task: str = "") -> list[Want]:
        """Let time pass until a task's time is out; without a name, the execution's."""
        kind = "timeout" if task else "dag"
        for timer in self.timers:
            if (timer.kind, timer.task) == (kind, task):
                return self._advance_to(timer.due_ms)
        raise LookupError(f"{task or 'the execution'} has no time-out")

    def degrade(self, task: str, *, current: bool = False, followings: bool = False) -> list[Want]:
        """Set the degrade switches of a task."""
        return self.take(
            DegradeRequested(at_ms=self.now_ms, task=task, current=current, followings=followings)
        )

    def complete(self, *, success: bool) -> list[Want]:
        """End the execution by hand."""
        return self.take(CompletionRequested(at_ms=self.now_ms, success=success))

    def cancel(self) -> list[Want]:
        """Cancel the execution."""
        return self.take(CancelRequested(at_ms=self.now_ms))

    def pause(self) -> list[Want]:
        """Start nothing more until resumed."""
        return self.take(PauseRequested(at_ms=self.now_ms))

    def resume(self) -> list[Want]:
        """Go on after a pause."""
        return self.take(ResumeRequested(at_ms=self.now_ms))

    def progress(self, task: str, fraction: float | None = None, message: str = "") -> list[Want]:
        """Report the progress of a task."""
        return self.take(
            ProgressReported(at_ms=self.now_ms, task=task, fraction=fraction, message=message)
        )

    def deliver(self, kind: str) -> list[Want]:
        """Report a notice as delivered: ``parent`` or ``completion``."""
        return self.take(NoticeDelivered(at_ms=self.now_ms, kind=kind))

    def take(self, event: Event) -> list[Want]:
        """Take any event; ``changed`` tells afterwards whether it counted."""
        before = codec.encode_state(self.state) if self._check else b""
        try:
            handled = machine.handle(self.plan, self.state, event)
        except RillflowError:
            self._check_untouched(before, "refused")
            raise
        if not handled.changed:
            self._check_untouched(before, "worth nothing")
        wanted = self._took(event, handled) + self._take_remaining()
        if handled.refusal is not None:
            raise handled.refusal
        return wanted

    # -- what became of it ----------------------------------------------------------

    @property
    def state(self) -> ExecutionState:
        """The state itself, to look at."""
        if self._state is None:
            raise LookupError("nothing was submitted yet")
        return self._state

    @property
    def status(self) -> str:
        """Status of the execution."""
        return self.state.status.name

    @property
    def statuses(self) -> dict[str, str]:
        """Status of every instance, also inside groups."""
        return {name: task.status.name for name, task in self.state.tasks.items()}

    @property
    def context(self) -> JsonObject:
        """The context, without ``flow_execution_id``, which every one has."""
        return {key: value for key, value in self.state.context.items() if key != _OWN_ID}

    @property
    def dispatched(self) -> list[Dispatch]:
        """All calls so far, in order."""
        return [want for want in wants_of(self.commands) if isinstance(want, Dispatch)]

    @property
    def announced(self) -> list[str]:
        """All announcements so far, in order: ``TASK_FINISH A``, ``DAG_SUCCEED``."""
        return [
            f"{command.kind} {command.task}".rstrip()
            for command in self.commands
            if isinstance(command, Announce)
        ]

    @property
    def events(self) -> Counter[str]:
        """How often each kind of announcement was made."""
        return Counter(announcement.split()[0] for announcement in self.announced)

    @property
    def wanted(self) -> list[Want]:
        """What nobody has answered yet."""
        return wants_of(machine.outstanding(self.plan, self.state))

    @property
    def timers(self) -> list[SetTimer]:
        """The timers that still mean something, the first one due first."""
        outstanding = machine.outstanding(self.plan, self.state)
        timers = [command for command in outstanding if isinstance(command, SetTimer)]
        return sorted(timers, key=lambda timer: timer.due_ms)

    @property
    def process(self) -> int:
        """Progress in percent."""
        return view.progress(self.plan, self.state, self.now_ms)

    def task(self, name: str) -> TaskState:
        """One instance, to look at."""
        return self.state.tasks[name]

    def groups(self, task: str) -> list[str]:
        """Status of every group of an instance, by index."""
        return [self.state.groups[route].status.name for route in self.task(task).routes]

    def group_contexts(self, task: str) -> list[JsonObject]:
        """Context of every group of an instance, by index."""
        return [self.state.groups[route].context for route in self.task(task).routes]

    # -- inside ---------------------------------------------------------------------

    def _attempt_of(self, task: str) -> int:
        known = self.state.tasks.get(task)
        return known.attempt if known is not None else 0

    def _advance_to(self, end_ms: int) -> list[Want]:
        wanted: list[Want] = []
        while due := [timer for timer in self._timers.values() if timer.due_ms <= end_ms]:
            first = min(due, key=lambda timer: timer.due_ms)
            del self._timers[first.kind, first.task]
            self.now_ms = max(self.now_ms, first.due_ms)
            wanted += self.take(
                TimerFired(at_ms=self.now_ms, kind=first.kind, task=first.task, due_ms=first.due_ms)
            )
        self.now_ms = end_ms
        return wanted

    def _take_remaining(self) -> list[Want]:
        """Take what the last event has left to others, as an owner does at once."""
        wanted: list[Want] = []
        while self.state.remaining is not None:
            due_ms = self.state.remaining.due_ms
            event = TimerFired(at_ms=self.now_ms, kind=REMAINING, task="", due_ms=due_ms)
            wanted += self._took(event, machine.handle(self.plan, self.state, event))
        return wanted

    def _took(self, event: Event, handled: Handled) -> list[Want]:
        self.changed = handled.changed
        if handled.changed:
            self.journal.append(event)
        self.commands += handled.commands
        for command in handled.commands:
            if isinstance(command, SetTimer) and command.kind != REMAINING:
                self._timers[command.kind, command.task] = command
        if self._check:
            self._replay.check(self.state, self.journal)
            check_outstanding(self.plan, self.state, self.commands)
            self._check_dispatched_once(event, handled)
        return wants_of(handled.commands)

    def _check_untouched(self, before: bytes, what: str) -> None:
        if self._check and codec.encode_state(self.state) != before:
            raise AssertionError(f"an event that was {what} changed something")

    def _check_dispatched_once(self, event: Event, handled: Handled) -> None:
        """Only what begins it anew orders again what was under way when it had ended."""
        keys = [
            command.key
            for command in handled.commands
            if isinstance(command, DispatchTask) and command.pattern != polling.PATTERN
        ]
        twice = [] if begins_anew(event) else self._called.intersection(keys)
        if twice or len(set(keys)) < len(keys):
            raise AssertionError(f"called more than once: {twice or keys}")
        self._called.update(keys)


def begins_anew(event: Event) -> bool:
    """Tell whether an event may begin an execution that has ended again."""
    if isinstance(event, CallbackReceived):
        return event.sub_flow is not None and event.sub_flow.redone
    return isinstance(event, RedoRequested)


_OWN_ID = "flow_execution_id"


def _read(definition: str | ReadonlyJsonObject | WorkflowDefinition) -> WorkflowDefinition:
    if isinstance(definition, WorkflowDefinition):
        return definition
    text = definition if isinstance(definition, str) else encode_json(definition)
    return expand_sugar(parse_definition(text))


def _body(value: JsonValue) -> bytes | None:
    if value is None or isinstance(value, str):
        return value.encode() if value is not None else None
    return encode_json(value)
