"""Which parts of an execution a redo with scope ``failed`` runs again.

Used by `core/redo/names.py`, `core/redo/reopening.py` and `core/redo/requested.py`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rillflow.core.state import GroupState, TaskState
from rillflow.core.status import COMPLETED, TaskStatus
from rillflow.core.turn import Turn
from rillflow.definition.model import FunctionTask

_UNFINISHED = (TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)


@dataclass(slots=True)
class Parts:
    """Names of instances, by what the redo does with them."""

    again: list[str] = field(default_factory=list)
    """Instances that run again, with all that follows them in their scope."""
    children: list[str] = field(default_factory=list)
    """Tasks that wait for their sub-flow again, whose failed parts are redone."""
    opened: list[str] = field(default_factory=list)
    """Foreaches or choices that failed by themselves: their groups go on, or they end again."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.again or self.children or self.opened)

    def targets(self) -> list[str]:
        """Return all names."""
        return [*self.again, *self.children, *self.opened]


def failed_parts(turn: Turn, names: Iterable[str]) -> Parts:
    """Find the failed instances among some instances and inside them.

    After the end this includes tasks that were waiting then, since an outcome for them may have
    been refused after it.
    """
    parts = Parts()
    waiting = list(names)[::-1]
    while waiting:
        task = turn.task(waiting.pop())
        if task.status is not TaskStatus.FAILED and task.status not in _UNFINISHED:
            continue
        if task.routes:
            waiting.extend(_look_inside(turn, task, parts)[::-1])
        elif waits_for_child(turn, task):
            if task.status is TaskStatus.FAILED or (turn.over and not task.in_flight):
                parts.children.append(task.name)
        elif task.status is TaskStatus.FAILED or _was_interrupted(turn, task):
            parts.again.append(task.name)
    return parts


def _look_inside(turn: Turn, task: TaskState, parts: Parts) -> list[str]:
    """Record a failed task none of whose groups failed, and return the members to look at."""
    groups = [turn.state.groups[route] for route in task.routes]
    if task.status is TaskStatus.FAILED and (task.abandoned or not any(map(_failed, groups))):
        parts.opened.append(task.name)
    begun = (group for group in groups if _failed(group) or group.status is TaskStatus.RUNNING)
    return [name for group in begun for name in group.members]


def _failed(group: GroupState) -> bool:
    return group.status is TaskStatus.FAILED


def waits_for_child(turn: Turn, task: TaskState) -> bool:
    """Tell whether the outcome of an instance is that of a sub-flow that was started."""
    return is_sub_flow(turn, task) and task.invoke.referenced_execution_id is not None


def is_sub_flow(turn: Turn, task: TaskState) -> bool:
    """Tell whether the outcome of an instance is that of a sub-flow."""
    spec = turn.plan_of(task).spec
    return isinstance(spec, FunctionTask) and spec.pattern == "flow_sync"


def _was_interrupted(turn: Turn, task: TaskState) -> bool:
    """Tell whether an outcome for an instance may have arrived, and been refused, after the end.

    A call under way and a poll continue without a redo.
    """
    return turn.over and not task.in_flight and task.poll_url is None


def named_parts(turn: Turn, names: Iterable[str]) -> Parts:
    """Resolve named instances: to what failed inside them, or else to themselves.

    Names of unknown instances, or of instances that have not started, are ignored.
    """
    parts = Parts()
    for name in dict.fromkeys(name.strip() for name in names):
        task = turn.state.tasks.get(name)
        if task is None or task.status is TaskStatus.NOT_STARTED or was_left_out(turn, task):
            continue
        inside = failed_parts(turn, [name])
        parts.again += inside.again if inside else [name]
        parts.children += inside.children
        parts.opened += inside.opened
    return parts


def was_left_out(turn: Turn, task: TaskState) -> bool:
    """Tell whether an instance is in a branch that was not chosen."""
    skipped = TaskStatus.SKIPPED
    return any(group.status is skipped for group in groups_around(turn, task))


def groups_around(turn: Turn, task: TaskState) -> Iterator[GroupState]:
    """Yield the groups that an instance is in, the innermost first."""
    route = task.route
    while route:
        group = turn.state.groups[route]
        yield group
        route = turn.task(group.parent).route


def has_ended_well(task: TaskState) -> bool:
    """Tell whether the tasks that follow an instance have started after it."""
    return COMPLETED[task.status] and task.status is not TaskStatus.FAILED
