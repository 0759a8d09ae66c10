"""The statuses of the console, for tasks, groups and executions.

They differ from Rill Flow's in telling apart what RUNNING means: a call is under way, or something
outside, a time, or a limit is waited for.

Used by `core/inspection`.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from typing import Final

from rillflow.core import status as core
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, GroupState, TaskState
from rillflow.core.status import COMPLETED, DAG_COMPLETED, DagStatus


class Status(StrEnum):
    """A status as the console shows it (docs/console-api.md)."""

    SUCCEEDED = "succeeded"
    RUNNING = "running"
    WAITING = "waiting"
    DELAYED = "delayed"
    HELD = "held"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_STARTED = "not_started"
    CANCELLED = "cancelled"


UNFINISHED: Final = (Status.RUNNING, Status.WAITING, Status.DELAYED, Status.HELD)
"""The statuses of what has started and not ended; of several, the first one that holds counts."""
MOST_READ: Final = 2_000
"""How many groups and instances are read for statuses; what holds more counts as running."""

_ENDED: Final = {
    core.SUCCEED: Status.SUCCEEDED,
    core.FAILED: Status.FAILED,
    core.SKIPPED: Status.SKIPPED,
}
_LETTERS: Final = dict(zip(Status, "srwdhfknc", strict=True))


def letter(status: Status) -> str:
    """Return the character that stands for a status in a strip."""
    return _LETTERS[status]


class Statuses:
    """The statuses of one state; those of groups are read from their members, within a limit."""

    def __init__(self, plan: Plan, state: ExecutionState, most_read: int = MOST_READ) -> None:
        self._plan = plan
        self._state = state
        self._left = most_read
        self._is_over = DAG_COMPLETED[state.status]
        self._unended = Status.CANCELLED if state.cancelled else Status.NOT_STARTED
        self._groups: dict[str, Status] = {}

    @cached_property
    def _parked(self) -> frozenset[str]:
        return frozenset(self._state.parked)

    def of_execution(self) -> Status:
        """Return the status of the execution."""
        state = self._state
        if self._is_over:
            if state.cancelled:
                return Status.CANCELLED
            return Status.SUCCEEDED if state.status is DagStatus.SUCCEED else Status.FAILED
        tasks = (state.tasks[name] for name in self._plan.level.tasks if name in state.tasks)
        active = self._most_active(tasks, Status.HELD if state.paused else Status.RUNNING)
        return Status.HELD if state.paused and active is not Status.RUNNING else active

    def of_task(self, task: TaskState) -> Status:  # noqa: PLR0911 - one return for each case
        """Return the status of an instance."""
        ended = _ENDED.get(task.status)
        if ended is not None:
            return ended
        if self._is_over:
            return self._unended
        if task.status is core.NOT_STARTED:
            return Status.NOT_STARTED
        if task.in_flight:
            return Status.RUNNING
        if task.delay_due_ms is not None:
            return Status.DELAYED
        if task.status is core.READY:
            return Status.HELD if task.name in self._parked else Status.RUNNING
        if self._plan.by_name[task.base].branches:
            return self._of_groups(task)
        return Status.WAITING

    def of_group(self, group: GroupState) -> Status:
        """Return the status of one iteration or branch."""
        known = self._groups.get(group.route)
        if known is None:
            known = self._groups[group.route] = self._of_group(group)
        return known

    def _of_group(self, group: GroupState) -> Status:
        ended = _ENDED.get(group.status)
        if ended is not None:
            return ended
        if self._is_over:
            return self._unended
        if group.status in {core.NOT_STARTED, core.READY}:
            return Status.NOT_STARTED
        members = (self._state.tasks[name] for name in group.members)
        return self._most_active(members, Status.RUNNING)

    def _of_groups(self, task: TaskState) -> Status:
        """Return the status of a foreach or choice by those of its groups that run."""
        found: set[Status] = set()
        for route in task.routes:
            self._left -= 1
            if self._left < 0 or Status.RUNNING in found:
                return Status.RUNNING
            group = self._state.groups[route]
            if not COMPLETED[group.status] and group.status is not core.READY:
                found.add(self.of_group(group))
        return first_of(found, otherwise=Status.RUNNING)

    def _most_active(self, tasks: Iterator[TaskState], otherwise: Status) -> Status:
        found: set[Status] = set()
        for task in tasks:
            self._left -= 1
            if self._left < 0:
                return Status.RUNNING
            if not COMPLETED[task.status] and task.status is not core.NOT_STARTED:
                found.add(self.of_task(task))
                if Status.RUNNING in found:
                    return Status.RUNNING
        return first_of(found, otherwise=otherwise)


def first_of(found: Iterable[Status], *, otherwise: Status) -> Status:
    """Return the first of the statuses of unfinished things that occurs."""
    found = set(found)
    return next((status for status in UNFINISHED if status in found), otherwise)
