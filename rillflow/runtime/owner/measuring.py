"""What an owner counts and measures of its executions, for the metrics.

`execution_owner.py` tells it of each batch once the batch is on disk, its callers are answered and
its commands are carried out. This is done for every event, so it does little for each.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rillflow.core.commands import Announce, Command, DispatchTask
from rillflow.core.state import InvokeMsg, TaskState
from rillflow.ids import ExecutionId, workflow_of, workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.storage.store import NewExecution
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.owner.call_handling import CallOutcome
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import (
    MOST_CODES,
    MOST_TASKS,
    NO_SINGLE_TASKS,
    BoundedNames,
    Meters,
    Observations,
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


class _Ends(NamedTuple):
    """What is noted of the tasks of one category that end in one way; ``run`` not if skipped."""

    taken: Observations
    run: Observations | None
    is_success: bool


class _WorkflowMeters:
    """What is noted of one workflow, looked up once: an event takes a third of the time then."""

    __slots__ = ("ends", "engine", "prefix", "workflow")

    def __init__(self, workflow: str) -> None:
        self.workflow = workflow
        self.prefix = f"{workflow}_c_"
        self.engine: Observations | None = None
        self.ends: dict[tuple[str, str], _Ends] = {}


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
        self._other = _WorkflowMeters(OTHER)
        self._series = {OTHER: self._other}
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
        name, workspace = workflow_of(execution_id), workspace_of(execution_id)
        workflow = self._workflows.shown(name, workspace)
        code = self._codes.shown(type(error).__name__, workspace)
        self._errors.add((workflow, SERVER, code))

    def append_failed(self) -> None:
        """Note an append that was not written."""
        self._append_failures.add()

    def carried_out(  # noqa: C901 - a call for each event would be slow
        self, written: Sequence[CallOutcome], times: BatchTimes, durable_s: float
    ) -> None:
        """Note an append: its outcomes are on disk since ``durable_s``, their commands leave."""
        began_s, computed_s, append_s = times
        self._append.observe(append_s)
        self._appended.add((), len(written))
        calls_s = self.now_s() - began_s
        share_s = computed_s / len(written)
        last: ActiveExecution | None = None
        series, events = self._other, 0
        for outcome in written:
            append, execution = outcome.append, outcome.execution
            if append is None or execution is None:
                continue
            if execution is not last:
                last = execution
                if not append.execution_id.startswith(series.prefix):
                    self._note_events(series, events, share_s)
                    series, events = self._of(append.execution_id), 0
            events += 1
            if append.new is not None:
                self._note_submission(series, append.new, durable_s - began_s)
            for command in outcome.commands:
                if command.__class__ is Announce:
                    self._note_end(execution, series, command, outcome.at_ms, share_s)
            if outcome.is_callback and any(map(_is_call, outcome.commands)):
                self._next_call.observe(calls_s)
        self._note_events(series, events, share_s)

    def _of(self, execution_id: ExecutionId) -> "_WorkflowMeters":
        """Return what is noted of the workflow of an execution, or of all beyond the limit."""
        name = execution_id.partition("_c_")[0]
        found = self._series.get(name)
        if found is None:
            workflow = self._workflows.shown(name, workspace_of(execution_id))
            found = self._series.get(workflow)
            if found is None:
                found = self._series[workflow] = _WorkflowMeters(workflow)
        return found

    def _note_submission(
        self, series: "_WorkflowMeters", new: NewExecution, taken_s: float
    ) -> None:
        origin = "client" if new.parent_id is None else "parent"
        self._submissions.add((series.workflow, origin))
        self._durable.observe(taken_s)

    def _note_events(self, series: "_WorkflowMeters", events: int, share_s: float) -> None:
        """Note events of a workflow in a batch, each of which has taken so long."""
        if not events:
            return
        if series.engine is None:
            series.engine = self._engine.of((series.workflow,))
        series.engine.add_all(share_s, events)
        if self._profile is not None:
            for _ in range(events):
                self._profile.note(ENGINE, series.workflow, share_s)

    def _note_end(
        self,
        execution: ActiveExecution,
        series: "_WorkflowMeters",
        announced: Announce,
        at_ms: int,
        share_s: float,
    ) -> None:
        """Note what has ended, by an event that took so long."""
        name, kind = announced.task, announced.kind
        if not name:
            self._note_execution(execution, series.workflow, kind, at_ms)
            return
        task: TaskState | None = execution.state.tasks.get(name)
        if task is None:  # its group has been dropped since
            self._ends_of(series, OTHER, kind).taken.add(0.0)
            return
        planned = execution.plan.by_name.get(task.base)
        category = OTHER if planned is None else planned.category
        ends = series.ends.get((category, kind)) or self._ends_of(series, category, kind)
        taken_s, run_s = _times_of(task, at_ms, share_s)
        ends.taken.add(taken_s)
        run = ends.run
        if run is not None:
            run.add(run_s)
            if self._measures_single:
                self._note_single(execution, task, (series.workflow, category), taken_s, at_ms)
        if self._profile is not None:
            self._profile.note(COMPLETE, f"{category}_{series.workflow}", taken_s)
        code = task.invoke.code
        if code is not None and not ends.is_success:
            workspace = workspace_of(execution.state.execution_id)
            self._task_codes.add((series.workflow, self._codes.shown(code, workspace)))

    def _note_execution(
        self, execution: ActiveExecution, workflow: str, kind: str, at_ms: int
    ) -> None:
        status = _STATUSES.get(kind)
        if status is None:
            return
        self._ended.add((workflow, status))
        taken_s = _since_start_s(execution.state.invoke, -1, at_ms)
        self._duration.observe(taken_s, (workflow,))
        if self._profile is not None:
            self._profile.note(COMPLETE, workflow, taken_s)

    def _ends_of(self, series: "_WorkflowMeters", category: str, kind: str) -> "_Ends":
        """Return what is noted of the tasks of a category that end in one way."""
        found = series.ends.get((category, kind))
        if found is None:
            outcome = _OUTCOMES.get(kind, OTHER)
            found = series.ends[category, kind] = _Ends(
                self._tasks.of((series.workflow, category, outcome)),
                None if outcome == "skipped" else self._runs.of((series.workflow, category)),
                outcome == "succeeded",
            )
        return found

    def _note_single(
        self,
        execution: ActiveExecution,
        task: TaskState,
        of: tuple[str, str],
        taken_s: float,
        at_ms: int,
    ) -> None:
        """Note a task of a workflow and a category by its name, where that is wanted."""
        workflow, category = of
        workspace = workspace_of(execution.state.execution_id)
        shown = self._names.shown(f"{workflow}/{task.base}", workspace)
        name = shown.removeprefix(f"{workflow}/")
        infos = task.invoke.time_infos
        if self._measured.by_name:
            self._named.observe((workflow, name, "complete"), taken_s)
            if infos and infos[-1].attempt:
                _, run_s = _times_of(task, at_ms, 0.0)
                self._named.observe((workflow, name, "submit"), run_s)
        expected_ms = infos[-1].expected_cost if infos else None
        if self._measured.compliance and expected_ms is not None and 0 < expected_ms < MOST_COST_MS:
            cost_ms = _since_start_s(task.invoke, -1, at_ms) * 1000
            told = "reached" if cost_ms <= expected_ms else "not_reached"
            self._compliance.add((workflow, category, name, told))
            self._cost.observe((workflow, category, name), cost_ms / expected_ms)


def _is_call(command: Command) -> bool:
    return isinstance(command, DispatchTask)


def _times_of(task: TaskState, at_ms: int, share_s: float) -> tuple[float, float]:
    """Return the time since the first attempt of a task, and how long its last call took.

    Without a call, the latter is what the event took.
    """
    infos = task.invoke.time_infos
    if not infos:
        return 0.0, share_s
    last, number = infos[-1], task.spent
    start_ms = infos[number].start_ms if number < len(infos) else last.start_ms
    taken_ms = at_ms - start_ms if start_ms else 0
    if last.attempt:
        ended_ms = last.answered_ms or last.end_ms or at_ms
        share_s = max((ended_ms - (last.called_ms or last.start_ms)) / 1000, 0.0)
    return max(taken_ms / 1000, 0.0), share_s


def _since_start_s(invoke: InvokeMsg, number: int, at_ms: int) -> float:
    """Return the time since the start of an attempt, or of the last one."""
    infos = invoke.time_infos
    if not infos:
        return 0.0
    start_ms = infos[number if number < len(infos) else -1].start_ms
    return max((at_ms - (start_ms or at_ms)) / 1000, 0.0)
