"""A dry run: which calls a definition would make, with given data and given answers.

The state machine runs as for a real execution, with a clock of its own that moves from one delay to
the next. Nobody is called and nothing is kept. A task without an answer stays as it is, or is
answered with an empty object.

Used by `serve/routes/console_api`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from rillflow.core import machine
from rillflow.core import status as core
from rillflow.core.agenda import REMAINING
from rillflow.core.commands import Command, DispatchTask, SetTimer
from rillflow.core.events import (
    CallbackReceived,
    DispatchAnswered,
    Event,
    ExecutionSettings,
    ExecutionSubmitted,
    TimerFired,
    WakeUpReceived,
)
from rillflow.core.inspection.cutting import Sizes, cut
from rillflow.core.inspection.graphs import level
from rillflow.core.inspection.overview import header
from rillflow.core.inspection.waits import Waits
from rillflow.core.plan import Plan
from rillflow.core.redaction import redacted
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import COMPLETED, DAG_COMPLETED
from rillflow.core.tasks.function_tasks import FLOW_PATTERNS
from rillflow.definition.addresses import without_user_info
from rillflow.definition.model import FunctionTask, SuspenseTask
from rillflow.errors import RillflowError
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json, memory_of
from rillflow.language.versions import CURRENT

EXECUTION: Final = "dry:run_c_00000000-0000-7000-8000-000000000000"
"""The id of every execution that is only tried."""
MOST_EVENTS: Final = 5_000
MOST_TASKS: Final = 2_000
MOST_STEPS: Final = 2_000_000
MOST_MADE_BYTES: Final = 64 << 20
"""How much memory data may take that rules make, and that answers hold once they are decoded."""
MOST_CALLS: Final = 300
"""How many calls an answer lists; the others are counted."""
MOST_LEVELS: Final = 40
MOST_NODES: Final = 1_000
"""How many tasks the graphs of an answer have together, about."""
_MOST_WAITING: Final = 100
_LONGEST_TEXT: Final = 500
_INPUT_BYTES: Final = 2 * 1024


class Answer(NamedTuple):
    """What a call, or a task that waits to be woken up, gets: JSON text, or an error."""

    output: bytes = b"{}"
    error: str | None = None
    source: str = "given"


class Call(msgspec.Struct):
    """A call that would have been made; ``answer`` says what it got."""

    command: DispatchTask
    at_ms: int
    answer: str = "awaited"
    error: str | None = None


class DryRun:
    """One try. ``is_over`` is asked before each event whether its time is over.

    Args:
        plan: The definition.
        answers: By the name of an instance, or of a task; one for each attempt, of which the last
            one is for all further ones.
        assumes: Whether what has no answer succeeds with an empty object.
        settings: Limits and switches of an execution; those of a try are lower.
        at_ms: When it begins.
        is_over: Whether its time is over.
    """

    def __init__(  # noqa: PLR0913 - what a try may have
        self,
        plan: Plan,
        answers: Mapping[str, Sequence[Answer]],
        *,
        assumes: bool,
        settings: ExecutionSettings,
        at_ms: int,
        is_over: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._answers = answers
        self._assumes = assumes
        self._settings = _lowered(settings)
        self._is_over = is_over
        self._begun_ms = self._now_ms = at_ms
        self._queue: deque[DispatchTask] = deque()
        self._timers: dict[tuple[str, str], SetTimer] = {}
        self._woken: dict[str, int] = {}
        self.calls: list[Call] = []
        self.stopped: str | None = None
        self._events = self._steps = self._answered_bytes = 0
        self._state: ExecutionState | None = None

    @property
    def state(self) -> ExecutionState:
        """The state that the run has come to."""
        if self._state is None:
            raise LookupError("the run has not begun")
        return self._state

    def run(self, data: JsonObject) -> None:
        """Run until nothing is left to do without an answer, or a limit is reached.

        Raises:
            ExecutionError: Such data cannot be submitted.
        """
        event = ExecutionSubmitted(
            at_ms=self._now_ms,
            execution_id=EXECUTION,
            definition_id=self._plan.definition_id,
            data=encode_json(data),
            host="http://rillflow.example",
            language=CURRENT,
            **self._settings,
        )
        self._state, handled = machine.submit(self._plan, event)
        self._took(handled.commands, handled.steps)
        while self.stopped is None and self._step():
            self.stopped = self._limit()

    def _step(self) -> bool:
        """Take the next event; return whether there was one."""
        remaining = self.state.remaining
        if remaining is not None:
            self._take(self._timer_event(REMAINING, "", remaining.due_ms))
            return True
        if self._queue:
            self._answer(self._queue.popleft())
            return True
        return self._wake() or self._pass_time()

    def _limit(self) -> str | None:
        if self._is_over():
            return "time"
        if self._events >= MOST_EVENTS:
            return "events"
        if self._steps >= MOST_STEPS:
            return "steps"
        return "memory" if self._is_full() else None

    def _is_full(self) -> bool:
        return self.state.made_bytes + self._answered_bytes >= MOST_MADE_BYTES

    def _answer(self, command: DispatchTask) -> None:
        call = Call(command, self._now_ms)
        self.calls.append(call)
        if not command.task:
            call.answer = "notice"
            return
        answer = self._answer_of(command.task, command.attempt)
        if answer is None:
            return
        call.answer, call.error = answer.source, answer.error
        is_sync = command.pattern == "task_sync"
        if answer.error is not None and not self._is_flow(command):
            self._answered(command, None, answer.error)
            return
        if is_sync:
            self._answered(command, answer.output, None)
            return
        body = encode_json({"execution_id": EXECUTION}) if self._is_flow(command) else None
        self._answered(command, body, None)
        if command.pattern != "flow_async":
            self._called_back(command, answer)

    @staticmethod
    def _is_flow(command: DispatchTask) -> bool:
        return command.pattern in FLOW_PATTERNS

    def _answered(self, command: DispatchTask, body: bytes | None, error: str | None) -> None:
        self._take(
            DispatchAnswered(
                at_ms=self._now_ms,
                task=command.task,
                attempt=command.attempt,
                body=body,
                error=error,
                is_outcome=error is not None,
            ),
            body,
        )

    def _called_back(self, command: DispatchTask, answer: Answer) -> None:
        self._take(
            CallbackReceived(
                at_ms=self._now_ms,
                task=command.task,
                succeeded=answer.error is None,
                output=answer.output,
                msg=answer.error,
            ),
            answer.output,
        )

    def _answer_of(self, name: str, attempt: int) -> Answer | None:
        """Return the answer for an attempt: that of the instance, else that of the task."""
        task = self.state.tasks.get(name)
        listed = self._answers.get(name) or (task and self._answers.get(task.base))
        if listed:
            return listed[min(max(attempt, 1), len(listed)) - 1]
        return Answer(source="assumed") if self._assumes else None

    def _wake(self) -> bool:
        """Wake up a task that waits for it and has an answer; each answer is used once."""
        for task in self._suspended():
            listed = self._answers.get(task.name) or self._answers.get(task.base) or ()
            used = self._woken.get(task.name, 0)
            if used < len(listed):
                self._woken[task.name] = used + 1
                data = listed[used].output
                event = WakeUpReceived(at_ms=self._now_ms, task=task.name, data=data)
                self._take(event, data)
                return True
        return False

    def _suspended(self) -> Iterator[TaskState]:
        for task in self.state.tasks.values():
            is_open = task.status is core.RUNNING and not DAG_COMPLETED[self.state.status]
            if is_open and isinstance(self._plan.by_name[task.base].spec, SuspenseTask):
                yield task

    def _pass_time(self) -> bool:
        """Let the time pass until the next delay is over; time-outs are not waited for."""
        if not self._timers:
            return False
        first = min(self._timers.values(), key=lambda timer: timer.due_ms)
        del self._timers[first.kind, first.task]
        self._now_ms = max(self._now_ms, first.due_ms)
        self._take(self._timer_event(first.kind, first.task, first.due_ms))
        return True

    def _timer_event(self, kind: str, task: str, due_ms: int) -> TimerFired:
        return TimerFired(at_ms=self._now_ms, kind=kind, task=task, due_ms=due_ms)

    def _take(self, event: Event, text: bytes | None = None) -> None:
        """Handle an event, unless the text of an answer holds more than there is room for.

        Each task decodes its answer for itself and keeps it, though several have the same text.
        """
        self._events += 1
        self._answered_bytes += memory_of(text) if text else 0
        if self._is_full():
            return
        try:
            handled = machine.handle(self._plan, self.state, event)
        except RillflowError as error:
            if self.calls:
                self.calls[-1].error = str(error)
            return
        if handled.refusal is not None and self.calls:
            self.calls[-1].error = str(handled.refusal)
        self._took(handled.commands, handled.steps)

    def _took(self, commands: Sequence[Command], steps: int) -> None:
        self._steps += steps
        for command in commands:
            if isinstance(command, DispatchTask):
                self._queue.append(command)
            elif isinstance(command, SetTimer) and command.kind == "delay":
                self._timers[command.kind, command.task] = command

    def shown(self) -> JsonObject:
        """Return what would have happened: calls, statuses, context, and what is waited for."""
        state = self.state
        waits: list[JsonValue] = list(self._waiting())
        sizes = Sizes()
        return {
            "status": header(self._plan, state, self._now_ms)["status"],
            "stopped": self.stopped,
            "took_ms": self._now_ms - self._begun_ms,
            "events": self._events + 1,
            "message": cut(state.invoke.msg, _LONGEST_TEXT),
            "calls": [self._shown_call(call, sizes) for call in self.calls[:MOST_CALLS]],
            "more_calls": max(len(self.calls) - MOST_CALLS, 0),
            "waiting": waits[:_MOST_WAITING],
            "more_waiting": max(len(waits) - _MOST_WAITING, 0),
            "context": cut(_own(state.context), sizes=sizes),
            "mapping_warnings": state.mapping_warnings,
            "levels": self._levels(),
        }

    def _levels(self) -> JsonObject:
        """Return the graphs of the first levels, by their routes."""
        levels: JsonObject = {}
        room = MOST_NODES
        for route in islice(["", *self.state.groups], MOST_LEVELS):
            shown = level(
                self._plan, self.state, self._now_ms, route=route, offset=0, limit=max(room, 1)
            )
            levels[route] = shown
            nodes = None if shown is None else shown["nodes"]
            room -= len(nodes) if isinstance(nodes, list) else 0
            if room <= 0:
                break
        return levels

    def _waiting(self) -> Iterator[JsonObject]:
        waits = Waits(self._plan, self.state)
        for task in self.state.tasks.values():
            is_open = not COMPLETED[task.status] and task.status is not core.NOT_STARTED
            plan = self._plan.by_name[task.base]
            if is_open and isinstance(plan.spec, FunctionTask | SuspenseTask):
                wait = waits.of_task(task)
                kind = None if wait is None else wait.kind
                yield {"task": task.name, "base": task.base, "kind": kind}

    def _shown_call(self, call: Call, sizes: Sizes) -> JsonObject:
        command = call.command
        task = self.state.tasks.get(command.task)
        return {
            "task": command.task,
            "base": task.base if task else command.task,
            "attempt": command.attempt,
            "at_ms": call.at_ms - self._begun_ms,
            "pattern": command.pattern,
            "resource": without_user_info(command.resource_name)[:_LONGEST_TEXT],
            "input": redacted(cut(decode_json(command.input), _INPUT_BYTES, sizes=sizes)),
            "answer": call.answer,
            "error": None if call.error is None else call.error[:_LONGEST_TEXT],
        }


def answers_of(plan: Plan, state: ExecutionState) -> dict[str, list[Answer]]:
    """Return what the functions of an execution have answered, by the names of the instances."""
    found: dict[str, list[Answer]] = {}
    for task in state.tasks.values():
        spec = plan.by_name[task.base].spec
        if not isinstance(spec, FunctionTask) or not COMPLETED[task.status]:
            continue
        if task.status is core.SUCCEED:
            found[task.name] = [Answer(encode_json(task.invoke.output or {}), source="past")]
        elif task.invoke.time_infos:
            error = task.invoke.msg or "it failed"
            found[task.name] = [Answer(error=error, source="past")]
    return found


def _lowered(settings: ExecutionSettings) -> ExecutionSettings:
    tasks = settings.get("execution_max_tasks") or MOST_TASKS
    steps = settings.get("turn_max_steps") or MOST_STEPS
    made_bytes = settings.get("turn_max_bytes") or MOST_MADE_BYTES
    lowered = settings.copy()
    lowered["execution_max_tasks"] = min(tasks, MOST_TASKS)
    lowered["turn_max_steps"] = min(steps, MOST_STEPS)
    lowered["turn_max_bytes"] = min(made_bytes, MOST_MADE_BYTES)
    return lowered


def _own(context: JsonObject) -> JsonValue:
    return {key: value for key, value in context.items() if key != "flow_execution_id"}
