"""Which tasks to run again: a name that would be passed over without a word is refused."""

from collections.abc import Mapping, Sequence
from typing import Final

from rillflow.errors import RequestError
from rillflow.jsontypes import JsonObject

SUCCEEDED: Final = "SUCCEED"


def tasks_to_redo(shown: JsonObject, named: Sequence[str], *, failed: bool) -> tuple[str, ...]:
    """Name the tasks to run again; none for all unfinished ones.

    Args:
        shown: The execution as ``get.json`` shows it.
        named: The tasks that somebody named; a member of a group stands for its task.
        failed: Whether those that failed are meant.

    Raises:
        RequestError: There is nothing to run again, or a name is not that of a task.
    """
    statuses = _statuses(shown)
    if named:
        return _checked(statuses, named)
    found = tuple(name for name, status in statuses.items() if failed and status == "FAILED")
    if failed and not found:
        raise RequestError(f"no task has failed; name one with --task: {', '.join(statuses)}")
    # Of one that was cancelled it is the rest that goes on, even if no task is unfinished.
    if not failed and shown.get("dag_status") == SUCCEEDED:
        raise RequestError(f"it has succeeded; name a task with --task: {', '.join(statuses)}")
    return found


def refuse_unknown(tasks: Mapping[str, object], name: str) -> None:
    """Check that an execution has a task.

    Raises:
        RequestError: It has not.
    """
    if name not in tasks:
        raise RequestError(f"there is no task {name}; there are {', '.join(tasks) or 'none'}")


def _checked(statuses: dict[str, str], named: Sequence[str]) -> tuple[str, ...]:
    for name in named:
        status = statuses.get(name.partition("_")[0])
        if status is None:
            raise RequestError(f"there is no task {name}; there are {', '.join(statuses)}")
        if status == "NOT_STARTED":
            raise RequestError(f"the task {name} has not started, so it cannot be done again")
    return tuple(named)


def _statuses(shown: JsonObject) -> dict[str, str]:
    tasks = shown.get("tasks")
    if not isinstance(tasks, dict):
        return {}
    return {name: str(task.get("status")) for name, task in tasks.items() if isinstance(task, dict)}
