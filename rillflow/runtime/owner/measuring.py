"""What an owner counts and measures of its executions, for the metrics.

`execution_owner.py` tells it of each batch once the batch is on disk, its callers are answered and
its commands are carried out. This is done for every event, so it does little for each.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from rillflow.core.commands import Announce, DispatchTask
from rillflow.core.state import InvokeMsg, TaskState
from rillflow.ids import ExecutionId, workflow_of
from rillflow.ports.clock import Clock
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.owner.call_handling import CallOutcome
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import (
    MOST_CODES,
    MOST_TASKS,
    NO_SINGLE_TASKS,
    BoundedNames,
    Meters,
)
from rillflow.telemetry.metrics import OTHER, SERVER
from rillflow.telemetry.profile import COMPLETE, ENGINE

MOST_COST_MS: Final = 1 << 63
"""An ``expected_cost`` is less; a much larger number has no ratio."""
_STATUSES: Final = {"DAG_SUCCEED": "succeed", "DAG_FAILED": "failed"}
_OUTCOMES: Final = {
    "TASK_FINISH": "succeeded",
    "TASK_FAILED": "failed",
    "TASK_SKIPPED": "skipped",
}


class BatchTimes(NamedTuple):
    """When the calls of a batch arrived, and what they have taken in memory and to append."""

    began_s: float
    computed_s: float
    append_s: float


class OwnerMeters:
    """The meters of one owner; times of latencies are monotonic seconds."""

    def __init__(self, meters: Meters, clock: Clock) -> None:
        self.now_s = clock.monotonic_s
        self._profile = meters.profile
        self._workflows = meters.workflows
        self._codes = BoundedNames(MOST_CODES)
        self._submissions = meters.counter(metrics.SUBMISSIONS)
        self._ended = meters.counter(metrics.EXECUTIONS_ENDED)
        self._duration = meters.histogram(metrics.EXECUTION_DURATION)
        self._tasks = meters.summary(metrics.TASK_DURATION)
        self._runs = meters.summary(metrics.TASK_RUN)
        self._task_codes = meters.counter(metrics.TASK_CODES)
        self._measured = meters.tasks
        self._measures_single = meters.tasks != NO_SINGLE_TASKS
        self._names = BoundedNames(MOST_TASKS)
        self._compliance = meters.counter(metrics.TASK_COMPLIANCE)
        self._cost = meters.summary(metrics.TASK_COST)
        self._named = meters.summary(metrics.NAMED_TASKS)
        self._errors = meters.counter(metrics.ERRORS)
        self._engine = meters.summary(metrics.ENGINE)
        self._durable = meters.histogram(metrics.SUBMIT_TO_DURABLE)
        self._next_call = meters.histogram(metrics.CALLBACK_TO_CALL)
        self._append = meters.histogram(metrics.APPEND)
        self._appended = meters.counter(metrics.APPENDED)
        self._append_failures = meters.counter(metrics.APPEND_FAILURES)
        self.timer_lateness = meters.histogram(metrics.TIMER_LATENESS)

    def failed(self, execution_id: ExecutionId, error: Exception) -> None:
        """Count an unexpected failure to handle an execution."""
        workflow = self._workflows.shown(workflow_of(execution_id))
        self._errors.add((workflow, SERVER, self._codes.shown(type(error).__name__)))

    def append_failed(self) -> None:
        """Note an append that was not written."""
        self._append_failures.add()

    def carried_out(
        self, written: Sequence[CallOutcome], times: BatchTimes, durable_s: float
    ) -> None:
        """Note an append: its outcomes are on disk since ``durable_s``, their commands leave."""
        began_s, computed_s, append_s = times
        self._append.observe(append_s)
        self._appended.add((), len(written))
        calls_s = self.now_s() - began_s
        share_s = computed_s / len(written)
        last: ActiveExecution | None = None
        workflow = OTHER
        for outcome in written:
            append, execution = outcome.append, outcome.execution
            if append is None or execution is None:
                continue
            if execution is not last:
                last, workflow = execution, self._workflows.shown(workflow_of(append.execution_id))
            self._engine.observe((workflow,), share_s)
            if self._profile is not None:
                self._profile.note(ENGINE, workflow, share_s)
            if append.new is not None:
                origin = "client" if append.new.parent_id is None else "parent"
                self._submissions.add((workflow, origin))
                self._durable.observe(durable_s - began_s)
            if outcome.commands:
                sends_calls = self._note_ends(execution, workflow, outcome, share_s)
                if sends_calls and outcome.is_callback:
                    self._next_call.observe(calls_s)

    def _note_ends(
        self, execution: ActiveExecution, workflow: str, outcome: CallOutcome, share_s: float
    ) -> bool:
        """Note what has ended, by an event that took so long; return whether calls are sent."""
        sends_calls = False
        for command in outcome.commands:
            kind = command.__class__
            if kind is DispatchTask:
                sends_calls = True
            elif kind is Announce:
                announced = cast("Announce", command)
                self._note_end(execution, workflow, announced, outcome.at_ms, share_s)
        return sends_calls

    def _note_end(
        self,
        execution: ActiveExecution,
        workflow: str,
        announced: Announce,
        at_ms: int,
        share_s: float,
    ) -> None:
        if announced.task:
            self._note_task(execution, workflow, announced, at_ms, share_s)
        elif status := _STATUSES.get(announced.kind):
            self._ended.add((workflow, status))
            taken_s = _since_start_s(execution.state.invoke, -1, at_ms)
            self._duration.observe(taken_s, (workflow,))
            if self._profile is not None:
                self._profile.note(COMPLETE, workflow, taken_s)

    def _note_task(
        self,
        execution: ActiveExecution,
        workflow: str,
        announced: Announce,
        at_ms: int,
        share_s: float,
    ) -> None:
        outcome = _OUTCOMES.get(announced.kind, OTHER)
        task: TaskState | None = execution.state.tasks.get(announced.task)
        if task is None:  # its group has been dropped since
            self._tasks.observe((workflow, OTHER, outcome), 0.0)
            return
        planned = execution.plan.by_name.get(task.base)
        category = OTHER if planned is None else planned.category
        taken_s = _since_start_s(task.invoke, task.spent, at_ms)
        self._tasks.observe((workflow, category, outcome), taken_s)
        if self._profile is not None:
            self._profile.note(COMPLETE, f"{category}_{workflow}", taken_s)
        if outcome != "skipped":
            self._runs.observe((workflow, category), _run_s(task.invoke, at_ms, share_s))
            if self._measures_single:
                self._note_single(task, workflow, category, taken_s, at_ms)
        code = task.invoke.code
        if code is not None and outcome != "succeeded":
            self._task_codes.add((workflow, self._codes.shown(code)))

    def _note_single(
        self, task: TaskState, workflow: str, category: str, taken_s: float, at_ms: int
    ) -> None:
        """Note a task by its name, where that is wanted."""
        name = self._names.shown(f"{workflow}/{task.base}").removeprefix(f"{workflow}/")
        infos = task.invoke.time_infos
        if self._measured.by_name:
            self._named.observe((workflow, name, "complete"), taken_s)
            if infos and infos[-1].attempt:
                self._named.observe((workflow, name, "submit"), _run_s(task.invoke, at_ms, 0.0))
        expected_ms = infos[-1].expected_cost if infos else None
        if self._measured.compliance and expected_ms is not None and 0 < expected_ms < MOST_COST_MS:
            cost_ms = _since_start_s(task.invoke, -1, at_ms) * 1000
            told = "reached" if cost_ms <= expected_ms else "not_reached"
            self._compliance.add((workflow, category, name, told))
            self._cost.observe((workflow, category, name), cost_ms / expected_ms)


def _run_s(invoke: InvokeMsg, at_ms: int, share_s: float) -> float:
    """Return how long the last call of a task took; without one, what the event took."""
    last = invoke.time_infos[-1] if invoke.time_infos else None
    if last is None or not last.attempt:
        return share_s
    begun_ms = last.called_ms or last.start_ms
    return max(((last.answered_ms or last.end_ms or at_ms) - begun_ms) / 1000, 0.0)


def _since_start_s(invoke: InvokeMsg, number: int, at_ms: int) -> float:
    """Return the time since the start of an attempt, or of the last one."""
    infos = invoke.time_infos
    if not infos:
        return 0.0
    start_ms = infos[number if number < len(infos) else -1].start_ms
    return max((at_ms - (start_ms or at_ms)) / 1000, 0.0)
