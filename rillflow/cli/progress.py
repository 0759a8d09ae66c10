"""An execution while it runs: a table that changes, or a line for each change."""

import sys
import time
from collections.abc import Callable, Generator
from typing import Final, TypeAlias

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rillflow.cli.remote import tell_silence
from rillflow.client.executions import LOOK_S, Execution
from rillflow.client.patience import PATIENCE_S
from rillflow.client.watching import TaskChange

Changes: TypeAlias = Generator[TaskChange, None, str]

STYLES: Final = {
    "NOT_STARTED": "dim",
    "READY": "cyan",
    "RUNNING": "yellow",
    "STASHED": "magenta",
    "KEY_SUCCEED": "green",
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "SKIPPED": "dim",
}
MOST_ROWS: Final = 40
LONGEST_MESSAGE: Final = 100


class ProgressTable:
    """Every task of an execution with its status and how long it has run."""

    def __init__(self) -> None:
        self._tasks: dict[str, TaskChange] = {}
        self._began_s: dict[str, float] = {}
        self._ended_s: dict[str, float] = {}

    def note(self, change: TaskChange, at_s: float) -> None:
        """Take a change in; ``at_s`` is when it was seen."""
        self._tasks[change.task] = change
        if change.status == "RUNNING":
            self._began_s[change.task] = at_s
            self._ended_s.pop(change.task, None)
        elif change.task in self._began_s:
            self._ended_s.setdefault(change.task, at_s)

    def render(self, at_s: float) -> Table:
        """Draw it as it is now; of many tasks, those that are through are left out first."""
        table = Table(box=None, pad_edge=False)
        for heading in ("task", "status", "seconds", ""):
            table.add_column(heading, justify="right" if heading == "seconds" else "left")
        shown = self._shown()
        for change in shown:
            table.add_row(
                _indented(change.task),
                Text(change.status, STYLES.get(change.status, "")),
                self._seconds(change.task, at_s),
                Text((change.message or "")[:LONGEST_MESSAGE], "red"),
            )
        hidden = len(self._tasks) - len(shown)
        if hidden:
            table.add_row(f"and {hidden} more", "", "", "")
        return table

    def _shown(self) -> list[TaskChange]:
        tasks = self._in_order()
        if len(tasks) <= MOST_ROWS:
            return tasks
        lively = [one for one in tasks if one.status not in ("SUCCEEDED", "SKIPPED", "NOT_STARTED")]
        return lively[:MOST_ROWS]

    def _in_order(self) -> list[TaskChange]:
        """List the tasks as they came to be, but members of groups behind their task."""
        members: dict[str, list[str]] = {}
        for name in self._tasks:
            members.setdefault(_task_around(name), []).append(name)
        names: list[str] = []
        waiting = members.get("", [])[::-1]
        while waiting:
            names.append(waiting.pop())
            waiting.extend(members.get(names[-1], [])[::-1])
        return [self._tasks[name] for name in names]

    def _seconds(self, task: str, at_s: float) -> str:
        if task not in self._began_s:
            return ""
        return f"{self._ended_s.get(task, at_s) - self._began_s[task]:.1f}"


def follow(
    execution: Execution,
    *,
    every_s: float = LOOK_S,
    patience_s: float = PATIENCE_S,
    console: Console | None = None,
) -> str:
    """Show an execution until it ends and return its last status.

    Raises:
        UnknownExecutionError: There is no such execution.
        UnreachableError: The stack does not answer, or not for longer than ``patience_s``.
    """
    console = console or Console(file=sys.stdout)
    changes = execution.watch(every_s, patience_s=patience_s, on_silence=tell_silence)
    follow_on = _follow_live if console.is_terminal else _follow_plainly
    status = follow_on(changes, console)
    style = "green" if status == "SUCCEED" else "bold red"
    console.print(Text.assemble("the execution ended: ", (status, style)))
    return status


def _follow_live(changes: Changes, console: Console) -> str:
    table = ProgressTable()
    with Live(console=console, refresh_per_second=8) as live:

        def show(change: TaskChange) -> None:
            table.note(change, time.monotonic())
            live.update(table.render(time.monotonic()))

        return _show_each(changes, show)


def _follow_plainly(changes: Changes, console: Console) -> str:
    began = time.monotonic()

    def show(change: TaskChange) -> None:
        if change.status == "NOT_STARTED":
            return
        message = f"  {change.message[:LONGEST_MESSAGE]}" if change.message else ""
        line = f"{time.monotonic() - began:6.1f} s  {change.status:<12} {change.task}{message}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return _show_each(changes, show)


def _show_each(changes: Changes, show: Callable[[TaskChange], None]) -> str:
    """Show change by change, and return the status at the end."""
    while True:
        try:
            change = next(changes)
        except StopIteration as end:
            return str(end.value)
        show(change)


def _task_around(name: str) -> str:
    """Name the task in whose group a member is, by ``<task>_<index>-<member>``; empty for none."""
    return name.rpartition("-")[0].rpartition("_")[0]


def _indented(task: str) -> str:
    """Move the members of groups in: their names have the names of the groups in front."""
    return "  " * task.count("-") + task
