"""The logs of tasks, as their functions have printed them.

Used by `cli/commands/flows.py`.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

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
        task: Only this one; without it, each line begins with the name of its task.
        pause: Waits until the next look.

    Returns:
        Whether any has printed something.
    """
    seen: dict[tuple[str, str], str] = {}
    while True:
        is_over = execution.status() in _ENDED  # what is printed before the end is seen after it
        for name in list(_with_log(execution)) if task is None else [task]:
            for stream in execution.log(name) or []:
                key = name, str(stream["name"])
                text = str(stream["text"])
                whole = text if is_over else text[: text.rfind("\n") + 1]
                for line in added_text(seen.get(key, ""), whole).splitlines():
                    _print(line if task else f"{name}: {line}", stream)
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
    """Print the log of a task, or of all tasks that have one; return whether there was any."""
    names = list(_with_log(execution)) if task is None else [task]
    has_any = False
    for name in names:
        streams = execution.log(name) or []
        for stream in streams:
            if task is None:
                _print(f"-- {name}, standard {_TITLES[str(stream['name'])]}", stream)
            if stream["is_cut"]:
                _print("... earlier lines are left out", stream)
            for line in str(stream["text"]).splitlines():
                _print(line, stream)
        has_any = has_any or bool(streams)
    if not has_any:
        about = "this task" if task else "any task"
        kept = "it is kept of functions that Ray calls, or that post it"
        say(f"there is no log of {about}: {kept}", err=True)
    return has_any


_TITLES = {"out": "output", "err": "error"}


def _print(line: str, stream: dict[str, Any]) -> None:
    say(line, err=stream["name"] == "err")


def _with_log(execution: Execution) -> Iterator[str]:
    for name, task in execution.tasks().items():
        if isinstance(task, dict) and "log" in task:
            yield name
