"""Lists of executions, with what each one waits for or why it failed.

Used by `cli/output/printing.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from rillflow.cli.output.showing import STYLES, cut_line, moment, short_moment
from rillflow.cli.visible import visible
from rillflow.client.instances import Instance, read_instance
from rillflow.client.operations import ListedExecution
from rillflow.errors import ExecutionFailedError
from rillflow.plain_words import reasons_of

STATUS_WIDTH: Final = 11
DETAIL_WIDTH: Final = 24
"""How many columns more than an id a terminal has to have for details on the same line."""
MOST_NAMED: Final = 3
WAITS: Final = {
    "suspense": "a wake-up",
    "task_async": "its callback",
    "task_scheduler": "its callback",
    "task_sync": "its function",
    "flow_sync": "its sub-flow",
    "flow_async": "its sub-flow",
}


def show_list(
    console: Console,
    found: Sequence[ListedExecution],
    detail: Callable[[ListedExecution], str],
    now_ms: int,
) -> None:
    """Write executions: when each was submitted, its status, its id, and its detail.

    An id is never cut, since other commands need it whole. Where one does not fit a line of the
    terminal, all have their ids on lines of their own. Only details are cut.
    """
    if not console.is_terminal:
        for one in found:
            line = Text(visible(f"{moment(one.submitted_at_ms)}  {_status(one)}  {one.id}"))
            console.print(_with_detail(line, one, detail(one)), soft_wrap=True)
        return
    widest = max((len(_beginning(one, now_ms)) + len(one.id) for one in found), default=0)
    for one in found:
        line, said = _beginning(one, now_ms), detail(one)
        if widest > console.width:
            console.print(Text(visible(one.id), "bold"), soft_wrap=True)
            cut_line(console, Text("  ").append(_with_detail(line, one, said, gap="")))
        elif said and widest + DETAIL_WIDTH > console.width:
            console.print(line.append(visible(one.id)), soft_wrap=True)
            cut_line(console, _with_detail(Text(), one, said))
        else:
            cut_line(console, _with_detail(line.append(visible(one.id)), one, said))


def _beginning(one: ListedExecution, now_ms: int) -> Text:
    line = Text(f"{short_moment(one.submitted_at_ms, now_ms)}  ")
    return line.append(_status(one), STYLES.get(one.status, "")).append("  ")


def _status(one: ListedExecution) -> str:
    return f"{visible(one.status):<{STATUS_WIDTH}}"


def _with_detail(line: Text, one: ListedExecution, said: str, *, gap: str = "  ") -> Text:
    style = "red" if one.status == "FAILED" else "dim"
    return line.append(gap).append(visible(said), style) if said else line


def detail_of(view: Mapping[str, Any]) -> str:
    """Say in one line what a running execution waits for, or why one failed."""
    tasks = view.get("tasks")
    shown = tasks if isinstance(tasks, dict) else {}
    instances = [read_instance(name, task) for name, task in shown.items()]
    if view.get("quarantine"):
        return f"stuck: {_line(view['quarantine'])}"
    if view.get("dag_status") == "FAILED":
        return _failure(view, instances)
    if view.get("dag_status") not in ("RUNNING", "KEY_SUCCEED"):
        return ""
    waits = list(_waits(instances))
    more = f" and {len(waits) - MOST_NAMED} more" if len(waits) > MOST_NAMED else ""
    paused = "paused; " if view.get("paused") else ""
    return paused + (f"waits for {', '.join(waits[:MOST_NAMED])}{more}" if waits else "")


def _failure(view: Mapping[str, Any], instances: list[Instance]) -> str:
    invoke = view.get("dag_invoke_msg")
    invoke = invoke if isinstance(invoke, dict) else {}
    said, hint = reasons_of(invoke.get("msg"), invoke.get("hint"))
    failed = [one.name for one in instances if one.status == "FAILED"]
    # A cancelled execution has ended for no task's reason; its failed tasks have their own.
    where = (
        f"{failed[0]}: " if failed and invoke.get("code") != ExecutionFailedError.CANCELLED else ""
    )
    if said is None:
        return where.rstrip(": ")
    return f"{where}{_line(said)}" + (f" ({_line(hint)})" if hint else "")


def _waits(instances: list[Instance]) -> Iterator[str]:
    for one in instances:
        if one.status == "RUNNING" and one.groups:
            through = sum(one.groups.get(status, 0) for status in ("SUCCEED", "FAILED", "SKIPPED"))
            total = sum(one.groups.values())
            yield f"{one.name} ({total - through} of {total} groups, {through} are through)"
        elif one.status in ("RUNNING", "KEY_SUCCEED"):
            refused = f"; {_line(one.hint)}" if one.hint else ""
            yield f"{one.name} ({WAITS.get(one.pattern or one.category, one.category)}{refused})"
        elif one.status == "READY":
            yield f"{one.name} (the time of its {'next' if one.attempts else 'first'} attempt)"


def _line(text: object) -> str:
    return " ".join(str(text).split())
