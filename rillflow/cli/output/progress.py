"""The progress of a running execution: a live table, or a line for each change.

Used by `cli/commands/flows.py`.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final, TypeAlias

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rillflow.cli.output.console import console_of
from rillflow.cli.output.showing import STYLES, seconds
from rillflow.cli.remote import tell_silence
from rillflow.cli.visible import visible
from rillflow.client.executions import LOOK_S, Execution
from rillflow.client.instances import (
    Instance,
    Runs,
    read_instance,
    runs_of,
    without_old_error,
)
from rillflow.client.patience import PATIENCE_S
from rillflow.client.watching import Look, TaskChange
from rillflow.errors import RillflowError
from rillflow.plain_words import reasons_of
from rillflow.runtime.process.clock import SystemClock

Looks: TypeAlias = Generator[Look, None, str]

LIVELY: Final = ("RUNNING", "READY", "KEY_SUCCEED", "STASHED")
TICKS_PER_S: Final = 4
MOST_GROUPS: Final = 40
"""Of how many groups of one task the members are read, if it has more than that."""
LONGEST_MESSAGE: Final = 500
"""Of a message in a line of its own; in a terminal the width decides."""
LEAST_ROWS: Final = 4
AROUND_ROWS: Final = 4
"""Lines of the screen that are not for tasks: two above them, one below, and the prompt."""
BAR_WIDTH: Final = 20
STATUS_WIDTH: Final = 11
TIME_WIDTH: Final = 9
ECHO_WIDTH: Final = 3
"""Columns that lines leave free at their end: a terminal writes ``^C`` there, and a line that it
breaks for that would have the table drawn again a line too low."""


class ProgressTable:
    """The tasks of an execution with their status and how long they have run.

    One thread may note what it sees while another one draws.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._view: Mapping[str, Any] = {}
        self._tasks: list[Instance] = []
        self._seen_s = 0.0
        self._seen_ms = 0
        self._silent_since_s: float | None = None
        self._patience_s = 0.0

    def note(self, look: Look, at_s: float, now_ms: int) -> None:
        """Take in what was seen at a moment, by a steady clock and by that of the machine."""
        tasks = [
            read_instance(name, without_old_error(task))
            for name, task in look.tasks.items()
            if isinstance(task, dict)
        ]
        with self._lock:
            self._view, self._tasks, self._seen_s, self._seen_ms = look.view, tasks, at_s, now_ms
            self._silent_since_s = None

    def note_silence(self, at_s: float, patience_s: float) -> None:
        """Take note that the server does not answer; it is asked again for ``patience_s``.

        Until the next look, times stand still: what goes on meanwhile is not known.
        """
        with self._lock:
            self._silent_since_s, self._patience_s = at_s, patience_s

    def render(self, at_s: float, width: int, height: int) -> Group:
        """Draw it as it is now, for a screen of this size; what is left out is counted."""
        with self._lock:
            view, tasks, silent_since_s = self._view, self._tasks, self._silent_since_s
            known_s = at_s if silent_since_s is None else silent_since_s
            now_ms = self._seen_ms + round((known_s - self._seen_s) * 1000)
        rows = _rows(tasks, max(height - AROUND_ROWS, LEAST_ROWS))
        runs = runs_of(view, now_ms)
        table = _table(rows, runs, width)
        shown = {one.name for one in rows}
        unread = {one.name for one in tasks if sum(one.groups.values()) > MOST_GROUPS}
        hidden = Counter(
            one.status
            for one in tasks
            if one.name not in shown and unread.isdisjoint(_tasks_around(one.name))
        )
        lines: list[Any] = [_heading(view, tasks, runs), table]
        if hidden:
            counts = ", ".join(
                f"{count} {visible(status)}" for status, count in hidden.most_common()
            )
            lines.append(Text(f"and {hidden.total()} more: {counts}", "dim"))
        if silent_since_s is not None:
            lines.append(_silence(at_s - silent_since_s, self._patience_s, width))
        return Group(*lines)


def _silence(silent_s: float, patience_s: float, width: int) -> Text:
    line = Text(style="bold yellow")
    line.append(f"the server has not answered for {seconds(silent_s * 1000)};")
    line.append(f" retrying for up to {patience_s:.3g} s")
    line.truncate(width - ECHO_WIDTH, overflow="ellipsis")
    return line


def _table(rows: list[Instance], runs: Runs, width: int) -> Table:
    longest = max((len(_indented(one.name)) for one in rows), default=0)
    table = Table.grid(padding=(0, 2))
    table.width = width - ECHO_WIDTH
    table.add_column(no_wrap=True, overflow="ellipsis", width=min(longest, width * 2 // 5))
    table.add_column(no_wrap=True, width=STATUS_WIDTH)
    table.add_column(no_wrap=True, width=TIME_WIDTH, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for one in rows:
        table.add_row(
            Text(visible(one.name if _is_failure(one) else _indented(one.name))),
            Text(visible(one.status), STYLES.get(one.status, "")),
            _lasted(one, runs),
            _remark(one),
        )
    return table


def _is_failure(one: Instance) -> bool:
    """Tell whether something failed by itself, and not because of what is in it."""
    return one.status == "FAILED" and not one.groups


def _heading(view: Mapping[str, Any], tasks: list[Instance], runs: Runs) -> Group:
    status = str(view.get("dag_status", ""))
    percent = view.get("process")
    top = [one for one in tasks if "-" not in one.name]
    through = sum(one.is_over for one in top)
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{visible(status):<11}", STYLES.get(status, ""))
    if view.get("paused"):
        line.append(" paused", "yellow")
    if runs.spans:
        line.append(f" {seconds(runs.duration_ms):>8}  ")
    if isinstance(percent, int):
        done = BAR_WIDTH * min(max(percent, 0), 100) // 100
        line.append("━" * done, STYLES.get(status, "") if status == "FAILED" else "green").append(
            "━" * (BAR_WIDTH - done), "dim"
        )
        line.append(f" {percent:>3} %")
    line.append(f"  {through} of {len(top)} tasks through", "dim")
    return Group(Text(visible(str(view.get("execution_id", ""))), "bold"), line)


def _rows(tasks: list[Instance], most: int) -> list[Instance]:
    """Choose what to show: failures first, then all in order, or of many what goes on."""
    in_order = _in_order(tasks)
    failed = [one for one in in_order if _is_failure(one)]
    others = [one for one in in_order if not _is_failure(one)]
    if len(tasks) <= most:
        return failed + others
    room = most - 1  # for the line that counts the rest
    wanted = _most_interesting(others)
    kept = failed[: max(room // 2, room - len(wanted))]
    chosen = set(wanted[: room - len(kept)])
    return kept + [one for one in others if one.name in chosen]


def _most_interesting(tasks: list[Instance]) -> list[str]:
    """Name what goes on, then the tasks of the top level, the last that are through first."""
    lively = [one.name for one in tasks if one.status in LIVELY]
    top = [one for one in tasks if "-" not in one.name and one.status not in LIVELY]
    over = sorted((one for one in top if one.is_over), key=_ended_ms, reverse=True)
    waiting = [one for one in top if not one.is_over]
    return lively + [one.name for one in over + waiting]


def _ended_ms(one: Instance) -> int:
    return (one.attempts[-1].ended_ms or 0) if one.attempts else 0


def _in_order(tasks: list[Instance]) -> list[Instance]:
    """List tasks as they stand in the definition, members of groups behind their task."""
    members: dict[str, list[Instance]] = {}
    for one in tasks:
        members.setdefault(_task_around(one.name), []).append(one)
    found: list[Instance] = []
    waiting = members.get("", [])[::-1]
    while waiting:
        found.append(waiting.pop())
        waiting.extend(members.get(found[-1].name, [])[::-1])
    return found


def _lasted(one: Instance, runs: Runs) -> str:
    if one.status == "NOT_STARTED":
        return ""
    duration_ms = one.duration_ms(runs)
    return "" if duration_ms is None else seconds(duration_ms)


def _remark(one: Instance) -> Text:
    """Say what a line has room for: groups, the attempt, its progress, what went wrong."""
    parts: list[str] = []
    if one.groups:
        total = sum(one.groups.values())
        through = total - one.groups.get("READY", 0) - one.groups.get("RUNNING", 0)
        parts.append(f"{through} of {total} groups")
        if one.groups.get("FAILED"):
            parts.append(f"{one.groups['FAILED']} failed")
    if len(one.attempts) > 1 and not one.groups:
        parts.append(f"attempt {len(one.attempts)}")
    if one.progress is not None and one.status == "RUNNING":
        parts.append(visible(" ".join(one.progress.split())))
    said, _ = (None, None) if one.groups.get("FAILED") else reasons_of(one.said, one.hint)
    if said is None and not one.is_over and len(one.attempts) > 1:
        said, _ = reasons_of(one.attempts[-2].error, None)
    remark = Text(", ".join(parts))
    if said:
        style = "" if one.status in ("SUCCEEDED", "SKIPPED") else "red"
        text = visible(" ".join(said.split()))
        remark.append(": " if parts else "").append(text, style)
    return remark


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
    console = console or console_of()
    if console.is_terminal:
        status = _follow_live(execution, every_s, patience_s, console)
    else:
        looks = execution.looks(every_s, patience_s=patience_s, on_silence=tell_silence)
        status = _follow_plainly(looks, console)
    style = "green" if status == "SUCCEED" else "bold red"
    console.print(Text.assemble("the execution ended: ", (status, style)))
    return status


def _follow_live(execution: Execution, every_s: float, patience_s: float, console: Console) -> str:
    table, clock = ProgressTable(), SystemClock()

    def drawn() -> Group:
        return table.render(time.monotonic(), console.width, console.height)

    def note(look: Look) -> None:
        table.note(look, time.monotonic(), clock.now_ms())
        if not live.is_started:
            live.start(refresh=True)

    def note_silence(_: RillflowError, bearing_s: float) -> None:
        table.note_silence(time.monotonic(), bearing_s)

    looks = execution.looks(
        every_s, most_groups=MOST_GROUPS, patience_s=patience_s, on_silence=note_silence
    )
    live = Live(console=console, get_renderable=drawn, refresh_per_second=TICKS_PER_S)
    try:
        status = _show_each(looks, note)
        live.refresh()
    finally:
        live.stop()
    return status


def _follow_plainly(looks: Looks, console: Console) -> str:
    began_s = time.monotonic()

    def show(look: Look) -> None:
        for change in look.changes:
            _print_change(change, time.monotonic() - began_s, console)

    return _show_each(looks, show)


def _print_change(change: TaskChange, since_s: float, console: Console) -> None:
    if change.status == "NOT_STARTED":
        return
    message = " ".join((reasons_of(change.message, None)[0] or "").split())
    if change.attempts > 1 or (change.attempts and change.status == "READY"):
        failed = " failed" if change.status == "READY" else ""
        message = f"attempt {change.attempts}{failed}" + (message and f": {message}")
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]}…"
    line = f"{since_s:6.1f} s  {change.status:<12} {change.task}  {message}".rstrip()
    console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def _show_each(looks: Looks, show: Callable[[Look], None]) -> str:
    """Show look by look, and return the status at the end."""
    while True:
        try:
            look = next(looks)
        except StopIteration as end:
            return str(end.value)
        show(look)


def _task_around(name: str) -> str:
    """Name the task in whose group a member is, by ``<task>_<index>-<member>``; empty for none."""
    return name.rpartition("-")[0].rpartition("_")[0]


def _tasks_around(name: str) -> Iterator[str]:
    """Name all tasks in whose groups a member is, the inner ones first."""
    while name := _task_around(name):
        yield name


def _indented(task: str) -> str:
    """Move the members of groups in: their names have the names of the groups in front."""
    return "  " * task.count("-") + task
