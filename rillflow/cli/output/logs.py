"""The logs of tasks, as their functions have printed them.

Used by `cli/commands/flows.py`.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from rillflow.cli.remote import unknown_task
from rillflow.cli.visible import say
from rillflow.client.executions import Execution

LOOK_S: Final = 1.0
"""The time between two looks at what functions have printed."""
_OVERLAP: Final = 400
"""Characters by which the end of a log that was cut is found again."""
_ENDED: Final = ("SUCCEED", "FAILED")


def follow_logs(execution: Execution, task: str | None, pause: Callable[[], object]) -> bool:
    """Print what functions print, while they do, until the execution has ended.

    Args:
        execution: Whose functions.
        task: Only this one, or those of this name in groups; each line of another task begins with
            its name.
        pause: Waits until the next look.

    Returns:
        Whether any has printed something.

    Raises:
        RequestError: There is no such task, and none of this name in groups can come.
    """
    if task is not None:
        _refuse_unknown(execution, task, may_come=True)
    seen: dict[tuple[str, str], str] = {}
    while True:
        is_over = execution.status() in _ENDED  # what is printed before the end is seen after it
        for name in _asked_for(execution, task):
            for stream in execution.log(name) or []:
                key = name, str(stream["name"])
                text = str(stream["text"])
                whole = text if is_over else text[: text.rfind("\n") + 1]
                for line in added_text(seen.get(key, ""), whole).splitlines():
                    _print(line if name == task else f"{name}: {line}", stream)
                seen[key] = whole
        if is_over:
            return any(seen.values())
        pause()


def added_text(before: str, now: str) -> str:
    """Return what a log has more than before; of a long one the server shows only the end."""
    if now.startswith(before):
        return now[len(before) :]
    end = before[-_OVERLAP:]
    at = now.find(end)
    return now if at < 0 else now[at + len(end) :]


def print_logs(execution: Execution, task: str | None) -> bool:
    """Print the log of a task, or of all tasks that have one; return whether there was any.

    Of a task in groups it is that of all its instances.

    Raises:
        RequestError: There is no such task.
    """
    has_any = False
    for name in _asked_for(execution, task):
        streams = execution.log(name) or []
        for stream in streams:
            if name != task:
                _print(f"-- {name}, standard {_TITLES[str(stream['name'])]}", stream)
            if stream["is_cut"]:
                _print("... earlier lines are left out", stream)
            for line in str(stream["text"]).splitlines():
                _print(line, stream)
        has_any = has_any or bool(streams)
    if not has_any:
        if task is not None:
            _refuse_unknown(execution, task, may_come=False)
        about = "this task" if task else "any task"
        kept = "it is kept of functions that Ray calls, or that post it"
        say(f"there is no log of {about}: {kept}", err=True)
    return has_any


_TITLES = {"out": "output", "err": "error"}


def _print(line: str, stream: dict[str, Any]) -> None:
    say(line, err=stream["name"] == "err")


def _asked_for(execution: Execution, task: str | None) -> list[str]:
    if task is not None and execution.log(task):
        return [task]
    found = list(_with_log(execution))
    if task is None:
        return found
    return [name for name in found if name.endswith(f"-{task}")] or [task]


def _with_log(execution: Execution) -> Iterator[str]:
    for name, task in execution.tasks().items():
        if isinstance(task, dict) and "log" in task:
            yield name


def _refuse_unknown(execution: Execution, task: str, *, may_come: bool) -> None:
    """Refuse a name that no instance has, and no task in groups by its own name.

    ``may_come`` accepts the full name of one in a group that has not begun.
    """
    tasks = execution.tasks()
    if any(name == task or name.endswith(f"-{task}") for name in tasks):
        return
    own_name = task.rpartition("-")[2] if may_come else task
    definitions = (_field(one, "task") for one in tasks.values())
    if own_name not in chain.from_iterable(map(_names_within, definitions)):
        raise unknown_task(tasks, task)


def _names_within(definition: Any) -> Iterator[str]:
    """Name the tasks in the groups of a task, by its definition."""
    for part in (*_list_in(definition, "tasks"), *_list_in(definition, "choices")):
        name = _field(part, "name")
        if isinstance(name, str):
            yield name
        yield from _names_within(part)


def _list_in(value: Any, key: str) -> list[Any]:
    found = _field(value, key)
    return found if isinstance(found, list) else []


def _field(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
