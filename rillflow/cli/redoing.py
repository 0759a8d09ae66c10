"""Which tasks `rillflow redo` runs again; unknown names are refused.

Used by `cli/commands/control.py` and `cli/commands/signalling.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rillflow.cli.remote import unknown_task
from rillflow.errors import RequestError
from rillflow.jsontypes import JsonObject, JsonValue

if TYPE_CHECKING:
    from rillflow.client.executions import Execution

FAILED: Final = "FAILED"
SUCCEEDED: Final = "SUCCEED"


def redo_failed(
    execution: "Execution", named: Sequence[str], data: JsonObject, *, only: bool
) -> bool:
    """Run what failed again, or the named instances.

    Of several executions that failed, a parent may run again already since its sub-flow does:
    where only what failed is meant, that is no mistake.

    Args:
        execution: The execution.
        named: The instances that somebody named, by their full names.
        data: What joins the context before.
        only: Whether of those, too, only what failed is meant.

    Returns:
        False where nothing has failed in an execution that runs, and only that was meant.

    Raises:
        RequestError: There is nothing to run again, or a name is not that of a task.
    """
    shown = execution.get()
    if not named and only and shown.get("dag_status") == "RUNNING" and not _any_failed(shown):
        return False
    if not named:
        _refuse_if_nothing_failed(shown)
    for name in named:
        task = execution.task(name)
        if task is None:
            raise unknown_task(execution.tasks(), name)
        _refuse_unstarted(name, str(task.get("status")))
        if only and not _has_failed(task):
            raise RequestError(f"nothing in the task {name} has failed")
    execution.redo(named or None, data)
    return True


def _any_failed(shown: JsonObject) -> bool:
    return any(map(_has_failed, _tasks(shown).values()))


def _refuse_if_nothing_failed(shown: JsonObject) -> None:
    top = _statuses(shown)
    if shown.get("dag_status") == SUCCEEDED:
        raise RequestError(f"it has succeeded; name a task with --task: {', '.join(top)}")
    # What ended badly goes on in any case, even if no task of it has failed.
    if shown.get("dag_status") != FAILED and not _any_failed(shown):
        names = ", ".join(top)
        raise RequestError(f"nothing has failed; name a task with --task ({names}), or use --whole")


def _has_failed(task: Mapping[str, JsonValue]) -> bool:
    """Tell whether something failed in a task that is not through, as it is shown."""
    groups = task.get("sub_group_index_to_status")
    inside = groups.values() if isinstance(groups, dict) else ()
    return task.get("status") == FAILED or (task.get("status") == "RUNNING" and FAILED in inside)


def tasks_to_redo_whole(shown: JsonObject, named: Sequence[str]) -> tuple[str, ...]:
    """Name the tasks of the top level to run again as a whole; none for all unfinished ones.

    Args:
        shown: The execution as ``get.json`` shows it.
        named: The tasks that the user named.

    Raises:
        RequestError: There is nothing to run again, or a name is not that of a task.
    """
    statuses = _statuses(shown)
    # Of one that was cancelled it is the rest that goes on, even if no task is unfinished.
    if not named and shown.get("dag_status") == SUCCEEDED:
        raise RequestError(f"it has succeeded; name a task with --task: {', '.join(statuses)}")
    for name in named:
        base = name.partition("_")[0]
        status = statuses.get(base)
        if status is None:
            raise unknown_task(statuses, name)
        if base != name:
            raise RequestError(
                f"--whole takes tasks of the top level: {base} runs again with all its groups,"
                f" {name} alone without --whole"
            )
        _refuse_unstarted(name, status)
    return tuple(named)


def tasks_with_kept_groups(shown: JsonObject, named: Sequence[str]) -> tuple[str, ...]:
    """Name the tasks of the top level whose groups a redo of failed parts keeps.

    Args:
        shown: The execution as ``get.json`` shows it.
        named: The instances that the user named; empty is all that failed.
    """
    grouped = [
        name for name, task in _tasks(shown).items() if task.get("sub_group_index_to_status")
    ]
    if not named:
        return tuple(grouped)
    inside = {name.partition("_")[0] for name in named if "-" in name}
    return tuple(name for name in grouped if name in inside)


def _refuse_unstarted(name: str, status: str) -> None:
    if status == "NOT_STARTED":
        raise RequestError(f"the task {name} has not started, so it cannot be done again")


def refuse_unknown(tasks: Mapping[str, object], name: str) -> None:
    """Check that an execution has a task.

    Raises:
        RequestError: It has not.
    """
    if name not in tasks:
        raise unknown_task(tasks, name)


def _statuses(shown: JsonObject) -> dict[str, str]:
    return {name: str(task.get("status")) for name, task in _tasks(shown).items()}


def _tasks(shown: JsonObject) -> dict[str, JsonObject]:
    return dict(_each_task(shown.get("tasks")))


def _each_task(tasks: JsonValue) -> Iterator[tuple[str, JsonObject]]:
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        if isinstance(task, dict):
            yield name, task
