"""Statuses of tasks, groups and executions (spec 3.1, 3.2).

The tables below say what a status implies; code never derives it from the order of the members.

Used by `actors`, `client`, `core`, `runtime`, `serve` and `transfer`.
"""

from enum import IntEnum
from typing import Final


class TaskStatus(IntEnum):
    """Status of a task instance or of a group."""

    NOT_STARTED = 0
    READY = 1
    RUNNING = 2
    STASHED = 3
    KEY_SUCCEED = 4
    SUCCEED = 5
    FAILED = 6
    SKIPPED = 7


class DagStatus(IntEnum):
    """Status of an execution."""

    NOT_STARTED = 0
    RUNNING = 1
    KEY_SUCCEED = 2
    SUCCEED = 3
    FAILED = 4


# Reading an enumeration member takes ten times as long as reading a module constant, and each turn
# reads many.
NOT_STARTED: Final = TaskStatus.NOT_STARTED
READY: Final = TaskStatus.READY
RUNNING: Final = TaskStatus.RUNNING
STASHED: Final = TaskStatus.STASHED
KEY_SUCCEED: Final = TaskStatus.KEY_SUCCEED
SUCCEED: Final = TaskStatus.SUCCEED
FAILED: Final = TaskStatus.FAILED
SKIPPED: Final = TaskStatus.SKIPPED


def _table(*members: TaskStatus) -> tuple[bool, ...]:
    return tuple(status in members for status in TaskStatus)


_T = TaskStatus
COMPLETED: Final = _table(_T.SUCCEED, _T.FAILED, _T.SKIPPED)
SATISFIED: Final = _table(_T.SUCCEED, _T.SKIPPED)
SATISFIED_IN_KEY_MODE: Final = _table(_T.SUCCEED, _T.SKIPPED, _T.KEY_SUCCEED)
ACTIVE: Final = _table(_T.READY, _T.RUNNING)
STARTED: Final = tuple(status is not _T.NOT_STARTED for status in TaskStatus)
DAG_COMPLETED: Final = tuple(
    status in (DagStatus.SUCCEED, DagStatus.FAILED) for status in DagStatus
)
UNFINISHED: Final = tuple(status.name.lower() for status in DagStatus if not DAG_COMPLETED[status])
"""The statuses of executions that have not ended, as stores have them."""
