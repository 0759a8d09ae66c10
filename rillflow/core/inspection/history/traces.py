"""The spans of an execution, by the times that its journal gives: a trace.

They are derived from the state, which a replay of the journal gives again. So every owner derives
the same spans with the same ids, also of what went on before it began. What a span tells beside
its times names the parts of the execution, and holds no input, output, address or message.

Used by `core/inspection` and `runtime/owner`.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from rillflow.core.inspection.statuses import Status, Statuses
from rillflow.core.plan import Plan, TaskPlan
from rillflow.core.state import ExecutionState, TaskState, TimeInfo
from rillflow.core.tasks.function_tasks import FLOW_PATTERNS
from rillflow.core.tasks.waiting import resource_of
from rillflow.definition.model import FunctionTask, SuspenseTask
from rillflow.ids import is_execution_id, workflow_of
from rillflow.jsontypes import JsonObject
from rillflow.telemetry.spans import ATTEMPT, EXECUTION, TASK, WAIT, Facts, Span
from rillflow.telemetry.trace_context import (
    TraceParent,
    attempt_id,
    root_id,
    span_id_of,
    task_id,
    trace_id_of,
)
from rillflow.url_parts import split_url

MOST_TASKS: Final = 1_000
"""How many tasks of an execution have spans; the others are counted."""
MOST_SPANS: Final = 2_000
"""How many spans a trace has; the owner makes them in one turn of its event loop."""
MOST_ATTEMPTS: Final = 20
"""How many of the last attempts of a task have spans."""
_LONGEST_ERROR: Final = 500
_CODE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_PROTOCOL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+._-]{0,31}")


class Trace:
    """The spans of one round of an execution: from its submission, or a redo, to its end."""

    def __init__(self, plan: Plan, state: ExecutionState) -> None:
        """Take the last round of a state."""
        self._plan = plan
        self._state = state
        self._statuses = Statuses(plan, state)
        self.number = state.invoke.attempts
        self._round = state.invoke.time_infos[-1]
        self._tasks = {task.name: task for task in islice(self._begun(), MOST_TASKS)}
        self.left_out = sum(1 for _ in self._begun()) - len(self._tasks)

    def spans(self) -> Iterator[Span]:
        """Yield the span of the execution, and those of its tasks after it, within a limit."""
        return islice(self._all(), MOST_SPANS)

    def _all(self) -> Iterator[Span]:
        yield self._root()
        for task in self._tasks.values():
            yield from self._of_task(task)

    def _begun(self) -> Iterator[TaskState]:
        """Yield the instances that did something in this round."""
        for task in self._state.tasks.values():
            infos = task.invoke.time_infos
            if infos and self._is_of_round(infos[-1]):
                yield task

    def _is_of_round(self, info: TimeInfo) -> bool:
        begun_ms = self._round.start_ms
        return info.start_ms >= begun_ms or info.end_ms is None or info.end_ms > begun_ms

    def _start_of(self, info: TimeInfo) -> int:
        """Return when an attempt began in this round: an end may have interrupted it before."""
        return max(info.start_ms, self._round.start_ms)

    def _end_of(self, info: TimeInfo) -> int | None:
        """Return when an attempt ended; what still lasts ends with the round."""
        return self._round.end_ms if info.end_ms is None else info.end_ms

    def _root(self) -> Span:
        state, trace = self._state, self._state.trace
        execution_id = state.execution_id
        workflow = workflow_of(execution_id)
        status = self._statuses.of_execution()
        facts: dict[str, str | int | bool] = {
            "rillflow.execution_id": execution_id,
            "rillflow.workflow": workflow,
            "rillflow.definition_id": state.definition_id,
            "rillflow.status": status,
            "rillflow.round": self.number,
        }
        if state.parent is not None:
            facts["rillflow.parent_execution_id"] = state.parent.execution_id
            facts["rillflow.parent_task"] = state.parent.task
        if self.left_out:
            facts["rillflow.tasks_left_out"] = self.left_out
        if status is Status.FAILED:
            facts |= _error_type(state.invoke.code)
        return Span(
            span_id=root_id(execution_id, self.number),
            parent_id="" if trace is None or self.number > 1 else trace.parent_id,
            kind=EXECUTION,
            name=workflow,
            start_ms=self._round.start_ms,
            end_ms=self._round.end_ms,
            status=status,
            error=state.invoke.msg if status is Status.FAILED else None,
            facts=facts,
            links=tuple(self._links_of_root()),
        )

    def _links_of_root(self) -> Iterator[TraceParent]:
        """Yield the span that has started a sub-flow, and that of the round before a redo."""
        trace = self._state.trace
        if trace is None:
            return
        if self.number > 1:
            before = root_id(self._state.execution_id, self.number - 1)
            yield TraceParent(trace.trace_id, before, trace.is_sampled)
        elif trace.link is not None:
            yield trace.link

    def _parent_of(self, task: TaskState) -> str:
        """Return the span above a task: that of the foreach or choice around it, if it has one."""
        group = self._state.groups.get(task.route) if task.route else None
        if group is not None and group.parent in self._tasks:
            return task_id(self._state.execution_id, group.parent, self.number)
        return root_id(self._state.execution_id, self.number)

    def _of_task(self, task: TaskState) -> Iterator[Span]:
        plan = self._plan.by_name[task.base]
        infos = [info for info in task.invoke.time_infos if self._is_of_round(info)]
        status = self._statuses.of_task(task)
        execution_id = self._state.execution_id
        span_id = task_id(execution_id, task.name, self.number)
        facts: dict[str, str | int | bool] = {
            "rillflow.execution_id": execution_id,
            "rillflow.task": task.name,
            "rillflow.category": plan.category,
            "rillflow.status": status,
        }
        if status is Status.FAILED:
            facts |= _error_type(task.invoke.code)
        yield Span(
            span_id=span_id,
            parent_id=self._parent_of(task),
            kind=TASK,
            name=task.base,
            start_ms=self._start_of(infos[0]),
            end_ms=self._end_of(infos[-1]) if status not in _LASTING else self._round.end_ms,
            status=status,
            task=task.name,
            error=task.invoke.msg if status is Status.FAILED else None,
            facts=facts,
        )
        if isinstance(plan.spec, FunctionTask):
            yield from self._of_attempts(task, plan, infos, span_id)
        elif isinstance(plan.spec, SuspenseTask):
            wait = self._start_of(infos[-1]), self._end_of(infos[-1])
            yield self._wait(task, "wake-up", wait, span_id, infos[-1].sender)

    def _of_attempts(
        self, task: TaskState, plan: TaskPlan, infos: list[TimeInfo], parent_id: str
    ) -> Iterator[Span]:
        before: TimeInfo | None = None
        facts = self._facts_of_call(task, plan)
        for info in infos[-MOST_ATTEMPTS:]:
            start_ms = self._start_of(info)
            if before is not None and before.end_ms is not None and start_ms > before.end_ms:
                yield self._wait(task, "retry", (before.end_ms, start_ms), parent_id)
            if info.called_ms is not None and info.called_ms > start_ms:
                yield self._wait(task, "delay", (start_ms, info.called_ms), parent_id)
                start_ms = info.called_ms
            if info.attempt:
                yield from self._of_attempt(task, plan, info, start_ms, parent_id, facts)
            before = info
        due_ms = task.delay_due_ms
        if before is not None and due_ms is not None and self._round.end_ms is None:
            waits_since_ms = before.start_ms if before.end_ms is None else before.end_ms
            yield self._wait(task, "retry", (waits_since_ms, None), parent_id)

    def _of_attempt(  # noqa: PLR0913, PLR0917 - what an attempt is made of
        self,
        task: TaskState,
        plan: TaskPlan,
        info: TimeInfo,
        start_ms: int,
        parent_id: str,
        facts: Facts,
    ) -> Iterator[Span]:
        is_last = info is task.invoke.time_infos[-1]
        has_failed = info.error is not None and (
            not is_last or self._statuses.of_task(task) is not Status.SUCCEEDED
        )
        end_ms = self._end_of(info)
        status = Status.FAILED if has_failed else Status.SUCCEEDED
        if info.end_ms is None:
            status = self._statuses.of_task(task)
        span_id = attempt_id(self._state.execution_id, task.name, info.attempt)
        # A function may send back the header that it was called with.
        is_other = info.sender is not None and info.sender.span_id != span_id
        links = (info.sender,) if info.sender is not None and is_other else ()
        yield Span(
            span_id=span_id,
            parent_id=parent_id,
            kind=ATTEMPT,
            name=f"{task.base} attempt {info.attempt}",
            start_ms=start_ms,
            end_ms=end_ms,
            status=status,
            task=task.name,
            attempt=info.attempt,
            error=info.error if has_failed else None,
            facts={
                **facts,
                "rillflow.attempt": info.attempt,
                **(_error_type(task.invoke.code if is_last else None) if has_failed else {}),
            },
            links=links,
        )
        if info.answered_ms is not None:
            child = self._child_of(task) if is_last else None
            waited = info.answered_ms, end_ms
            yield self._wait(task, _awaited(plan), waited, span_id, child, info.attempt)

    def _wait(  # noqa: PLR0913, PLR0917 - what a wait is made of
        self,
        task: TaskState,
        what: str,
        times: tuple[int, int | None],
        parent_id: str,
        link: TraceParent | None = None,
        attempt: int = 0,
    ) -> Span:
        start_ms, end_ms = times
        is_over = end_ms is not None
        return Span(
            span_id=span_id_of(self._state.execution_id, WAIT, what, task.name, start_ms),
            parent_id=parent_id,
            kind=WAIT,
            name=f"wait: {what}",
            start_ms=start_ms,
            end_ms=end_ms,
            status=Status.SUCCEEDED if is_over else Status.WAITING,
            task=task.name,
            attempt=attempt,
            facts={
                "rillflow.execution_id": self._state.execution_id,
                "rillflow.task": task.name,
                "rillflow.wait": what,
            },
            links=() if link is None else (link,),
        )

    def _child_of(self, task: TaskState) -> TraceParent | None:
        """Return the first span of the sub-flow that a task has started."""
        child = task.invoke.referenced_execution_id
        plan = self._plan.by_name[task.base]
        is_flow = isinstance(plan.spec, FunctionTask) and plan.spec.pattern in FLOW_PATTERNS
        trace = self._state.trace
        if trace is None or not is_flow or not child or not is_execution_id(child):
            return None
        return TraceParent(trace_id_of(child), root_id(child, 1), trace.is_sampled)

    def _facts_of_call(self, task: TaskState, plan: TaskPlan) -> Facts:
        facts: dict[str, str | int | bool] = {
            "rillflow.execution_id": self._state.execution_id,
            "rillflow.task": task.name,
        }
        spec = plan.spec
        address = resource_of(self._plan, self._state, task.name) or ""
        protocol = getattr(spec, "resource_protocol", None) or address.partition("://")[0]
        if _PROTOCOL.fullmatch(protocol):
            facts["rillflow.protocol"] = protocol
        host = _host_of(address)
        if host:
            facts["server.address"] = host
        return facts


_LASTING: Final = (Status.RUNNING, Status.WAITING, Status.DELAYED, Status.HELD)


def _awaited(plan: TaskPlan) -> str:
    spec = plan.spec
    if isinstance(spec, FunctionTask):
        if spec.pattern in FLOW_PATTERNS:
            return "sub-flow"
        if spec.completion == "poll":
            return "poll"
    return "callback"


def _error_type(code: str | None) -> Facts:
    """Return the kind of a failure; a function may send any text as its code."""
    is_known = code is not None and _CODE.fullmatch(code)
    return {"error.type": code if is_known and code else "failed"}


def _host_of(address: str) -> str | None:
    """Return the host of an address, without the user, the port or anything that follows."""
    if not address.startswith(("http://", "https://")):
        return None
    try:
        host = split_url(address).hostname or ""
    except ValueError:
        return None
    return host if _HOST.fullmatch(host) else None


def trace(plan: Plan, state: ExecutionState, at_ms: int) -> JsonObject:
    """Return the spans of the last round of an execution, for people who may see it."""
    found = Trace(plan, state)
    kept = state.trace
    return {
        "execution_id": state.execution_id,
        "trace_id": kept.trace_id if kept is not None and kept.is_sampled else None,
        "seq": state.seq,
        "at_ms": at_ms,
        "round": found.number,
        "tasks_left_out": found.left_out,
        "spans": [_shown(span) for span in found.spans()],
    }


def _shown(span: Span) -> JsonObject:
    return {
        "id": span.span_id,
        "parent": span.parent_id,
        "kind": span.kind,
        "name": span.name,
        "task": span.task,
        "attempt": span.attempt,
        "from_ms": span.start_ms,
        "to_ms": span.end_ms,
        "status": span.status,
        "error": span.error[:_LONGEST_ERROR] if span.error else None,
        "facts": {**span.facts},
    }
