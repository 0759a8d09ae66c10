"""Why something that has not ended waits: one reason for each task, and one for an execution.

Used by `core/inspection`.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from rillflow.core import status as core
from rillflow.core.inspection.statuses import MOST_READ, Status, Statuses
from rillflow.core.plan import Plan, TaskPlan
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import COMPLETED, DAG_COMPLETED, SATISFIED
from rillflow.core.tasks.function_tasks import FLOW_PATTERNS
from rillflow.core.tasks.waiting import resource_of
from rillflow.core.view import invoke_view
from rillflow.definition.addresses import RAY_PROTOCOLS, without_user_info
from rillflow.definition.model import FunctionTask, SuspenseTask
from rillflow.jsontypes import JsonObject, JsonValue, decode_json
from rillflow.plain_words import task_message_in_plain_words

MOST_NAMED: Final = 20
MOST_COMPARED: Final = 100
"""How many waits are compared for the longest one of an execution; later ones are not read."""
_MOST_CONDITIONS: Final = 10
_LONGEST_TEXT: Final = 500


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """What something that has not ended waits for; ``task`` is empty for the execution.

    ``kind`` is a code of docs/console-api.md, ``until_ms`` when the wait ends by itself, and
    ``actions`` are the routes that would end it.
    """

    task: str
    base: str
    status: Status
    kind: str
    since_ms: int | None = None
    until_ms: int | None = None
    detail: JsonObject = {}
    actions: tuple[str, ...] = ()


class Waits:
    """The waits of one state."""

    def __init__(self, plan: Plan, state: ExecutionState, statuses: Statuses | None = None) -> None:
        self._plan = plan
        self._state = state
        self.statuses = statuses or Statuses(plan, state)

    def all(self) -> Iterator[Wait]:
        """Yield the wait of the execution, if it has one of its own, and those of all tasks."""
        own = self._of_whole()
        if own is not None:
            yield own
        if DAG_COMPLETED[self._state.status]:
            return
        for task in self._state.tasks.values():
            found = self.of_task(task)
            if found is not None:
                yield found

    def of_execution(self) -> Wait | None:
        """Return the wait that says most about an execution: what it waits for longest."""
        own = self._of_whole()
        if own is not None or DAG_COMPLETED[self._state.status]:
            return own
        wanted = self.statuses.of_execution()
        return self._longest(self._plan.level.tasks, wanted)

    def of_task(self, task: TaskState) -> Wait | None:  # noqa: PLR0911 - one for each case
        """Return the wait of an instance, None if it has ended."""
        if COMPLETED[task.status] or DAG_COMPLETED[self._state.status]:
            return None
        plan = self._plan.by_name[task.base]
        if task.status is core.NOT_STARTED:
            return self._not_started(task, plan)
        if task.in_flight:
            return self._call(task, plan)
        if task.delay_due_ms is not None:
            return self._delay(task, plan)
        if task.status is core.READY:
            is_parked = self.statuses.of_task(task) is Status.HELD
            if not is_parked:
                return self._wait(task, "steps")
            detail = by_whom(self._state.paused_by)
            return self._wait(task, "paused", detail=detail, actions=("resume",))
        if plan.branches:
            return self._groups(task)
        return self._outside(task, plan)

    def _of_whole(self) -> Wait | None:
        """Return what an execution itself waits for: the end of a pause, or to tell its end."""
        state = self._state
        status = self.statuses.of_execution()
        if DAG_COMPLETED[state.status]:
            owed = (
                (state.parent_notice is not None, "parent"),
                (state.completion is not None, "completion"),
                (bool(state.uncancelled), "sub_flow"),
            )
            to: list[JsonValue] = [name for is_owed, name in owed if is_owed]
            if not to:
                return None
            infos = state.invoke.time_infos
            since_ms = infos[-1].end_ms if infos else None
            return Wait(
                task="", base="", status=status, kind="notice", since_ms=since_ms, detail={"to": to}
            )
        if state.paused and status is Status.HELD:
            return Wait(
                task="",
                base="",
                status=status,
                kind="paused",
                since_ms=state.paused_ms,
                detail=by_whom(state.paused_by),
                actions=("resume",),
            )
        if state.remaining is not None:
            since_ms = state.remaining.due_ms
            return Wait(task="", base="", status=status, kind="steps", since_ms=since_ms)
        return None

    def _longest(self, names: Iterable[str], wanted: Status) -> Wait | None:
        """Return the wait with a status that began first, that of a group's member if there is one.

        A wait with an end of its own comes after one without. Of a wide execution only the first
        tasks and groups are read, so that a summary costs no more than that of a narrow one.
        """
        waits = list(islice(self._with_status(names, wanted), MOST_COMPARED))
        if not waits:
            return None
        first = min(waits, key=lambda wait: (wait.until_ms is not None, wait.since_ms or 0))
        if first.kind != "groups":
            return first
        for route in islice(self._state.tasks[first.task].routes, MOST_READ):
            group = self._state.groups[route]
            is_running = not COMPLETED[group.status] and group.status is not core.READY
            if is_running and self.statuses.of_group(group) is wanted:
                return self._longest(group.members, wanted) or first
        return first

    def _with_status(self, names: Iterable[str], wanted: Status) -> Iterator[Wait]:
        """Yield the waits that have a status, of the first instances."""
        for name in islice(names, MOST_READ):
            task = self._state.tasks.get(name)
            if task is None or task.status is core.NOT_STARTED:
                continue
            if self.statuses.of_task(task) is wanted:
                wait = self.of_task(task)
                if wait is not None:
                    yield wait

    def _wait(  # noqa: PLR0913 - the fields of a wait
        self,
        task: TaskState,
        kind: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        detail: JsonObject | None = None,
        actions: tuple[str, ...] = (),
    ) -> Wait:
        infos = task.invoke.time_infos
        began_ms = infos[-1].start_ms if infos else None
        return Wait(
            task=task.name,
            base=task.base,
            status=self.statuses.of_task(task),
            kind=kind,
            since_ms=began_ms if since_ms is None else since_ms,
            until_ms=until_ms,
            detail=detail or {},
            actions=actions,
        )

    def _not_started(self, task: TaskState, plan: TaskPlan) -> Wait:
        prefix = f"{task.route}-" if task.route else ""
        if task.route:
            group = self._state.groups[task.route]
            parent = self._state.tasks[group.parent]
            if group.status is core.READY and parent.most_groups is not None:
                running = parent.group_counts[core.RUNNING]
                limit: JsonObject = {"most_groups": parent.most_groups, "running": running}
                return self._wait(task, "group_limit", detail=limit)
        needed = (self._state.tasks[prefix + name] for name in plan.dependencies)
        names: list[JsonValue] = [each.name for each in needed if not SATISFIED[each.status]]
        return self._wait(
            task, "dependencies", detail={"tasks": names[:MOST_NAMED], "total": len(names)}
        )

    def _call(self, task: TaskState, plan: TaskPlan) -> Wait:
        resource = resource_of(self._plan, self._state, task.name)
        detail: JsonObject = {"attempt": task.attempt}
        if resource:
            detail["resource"] = without_user_info(resource)[:_LONGEST_TEXT]
            is_ray = resource.partition("://")[0] in RAY_PROTOCOLS
            if is_ray and plan.ray_options is not None:
                detail["ray_options"] = decode_json(plan.ray_options)
        if task.poll_url is not None:
            return self._wait(task, "poll_call", detail={**detail, "polls": task.polls})
        return self._wait(task, "call", until_ms=task.timeout_due_ms, detail=detail)

    def _delay(self, task: TaskState, plan: TaskPlan) -> Wait:
        infos = task.invoke.time_infos
        detail: JsonObject = {}
        kind = "delay"
        if infos and infos[-1].end_ms is not None:
            kind = "retry"
            spec = plan.spec
            retry = spec.retry if isinstance(spec, FunctionTask) else None
            detail = {
                "attempt": task.invoke.attempts + 1,
                "most_attempts": task.spent + 1 + ((retry and retry.max_retries) or 0),
                "error": infos[-1].error,
            }
        return self._wait(
            task, kind, since_ms=task.armed_ms, until_ms=task.delay_due_ms, detail=detail
        )

    def _groups(self, task: TaskState) -> Wait:
        counts = task.group_counts
        detail: JsonObject = {
            "total": task.group_count,
            "done": sum(counts[status] for status in core.TaskStatus if COMPLETED[status]),
            "running": counts[core.RUNNING],
            "failed": counts[core.FAILED],
            "most_groups": task.most_groups,
        }
        return self._wait(task, "groups", until_ms=task.timeout_due_ms, detail=detail)

    def _outside(self, task: TaskState, plan: TaskPlan) -> Wait:
        """Return the wait of a task that has been started, and goes on by an event from outside."""
        spec = plan.spec
        if isinstance(spec, SuspenseTask):
            conditions: list[JsonValue] = [
                each[:_LONGEST_TEXT] for each in (spec.conditions or ())[:_MOST_CONDITIONS]
            ]
            return self._wait(
                task,
                "wake_up",
                until_ms=task.timeout_due_ms,
                detail={"conditions": conditions},
                actions=("wakeup",),
            )
        detail: JsonObject = {"attempt": task.attempt}
        resource = resource_of(self._plan, self._state, task.name)
        if resource:
            detail["resource"] = without_user_info(resource)[:_LONGEST_TEXT]
        if isinstance(spec, FunctionTask) and spec.pattern in FLOW_PATTERNS:
            detail["execution_id"] = task.invoke.referenced_execution_id
            return self._wait(task, "sub_flow", until_ms=task.timeout_due_ms, detail=detail)
        is_polled = isinstance(spec, FunctionTask) and spec.completion == "poll"
        if is_polled:
            detail["polls"] = task.polls
            return self._wait(
                task,
                "poll",
                since_ms=task.poll_armed_ms,
                until_ms=task.poll_due_ms,
                detail=detail,
            )
        detail["overdue_ms"] = task.poll_due_ms
        infos = task.invoke.time_infos
        called_ms = task.poll_armed_ms or (infos[-1].start_ms if infos else None)
        return self._wait(
            task,
            "callback",
            since_ms=called_ms,
            until_ms=task.timeout_due_ms,
            detail=detail,
            actions=("finish",),
        )


def by_whom(key: str) -> JsonObject:
    """Return the detail that names the key with which something was requested, if it has a name."""
    return {"by": key} if key else {}


def failure_of(task: TaskState) -> JsonObject:
    """Return the last failure of an instance, as far as it is known.

    ``sentence`` is its message in plain words, None where that is none of Rill Flow's.
    """
    shown = invoke_view(task.invoke, with_ours=True)
    infos = task.invoke.time_infos
    message = task.invoke.msg or (infos[-1].error if infos else None)
    return {
        "task": task.name,
        "base": task.base,
        "code": task.invoke.code,
        "message": message if message is None else message[:_LONGEST_TEXT],
        "hint": shown.get("hint"),
        "sentence": None if message is None else task_message_in_plain_words(message),
    }
