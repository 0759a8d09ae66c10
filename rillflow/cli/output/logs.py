"""The logs of tasks, as their functions have printed them.

Used by `cli/commands/flows.py`.
"""

from collections.abc import Iterator
from typing import Any

from rillflow.cli.visible import say
from rillflow.client.executions import Execution


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
        say(f"there is no log of {about}: it is kept of functions that Ray calls", err=True)
    return has_any


_TITLES = {"out": "output", "err": "error"}


def _print(line: str, stream: dict[str, Any]) -> None:
    say(line, err=stream["name"] == "err")


def _with_log(execution: Execution) -> Iterator[str]:
    for name, task in execution.tasks().items():
        if isinstance(task, dict) and "log" in task:
            yield name
