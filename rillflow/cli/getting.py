"""Printing executions and tasks: as text in a terminal, otherwise as JSON."""

import sys
from collections.abc import Sequence
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from rillflow.cli.listing import detail_of
from rillflow.cli.remote import print_json
from rillflow.cli.showing import STYLES, moment, show_execution, show_task
from rillflow.client.clients import Client
from rillflow.client.executions import Execution
from rillflow.client.instances import without_old_error
from rillflow.client.operations import ListedExecution
from rillflow.errors import RequestError, RillflowError, UnreachableError
from rillflow.jsontypes import JsonObject
from rillflow.runtime.clock import SystemClock

DETAIL_WIDTH: Final = 24
"""How many columns more than an id a terminal has to have for details on the same line."""
TOLD: Final = ("RUNNING", "KEY_SUCCEED", "FAILED")
"""Statuses of executions of which a list says more."""


def print_execution(execution: Execution, *, failed: bool, brief: bool, as_json: bool) -> None:
    """Print an execution with all its tasks, or only those that failed, or none.

    Raises:
        UnknownExecutionError: There is no such execution.
    """
    view = execution.get(brief=brief)
    tasks: JsonObject = {}
    if not brief:
        found = execution.tasks(failed=failed)
        tasks = {n: without_old_error(one) for n, one in found.items() if isinstance(one, dict)}
    console = _console()
    if as_json or not console.is_terminal:
        print_json({**view, "tasks": tasks} if "tasks" in view else view)
        return
    show_execution(console, view, tasks, SystemClock().now_ms())
    if failed and not tasks:
        typer.echo("no task has failed", err=True)


def print_task(execution: Execution, name: str, *, as_json: bool) -> None:
    """Print one task, its input and output in full.

    Raises:
        RequestError: There is no such task.
        UnknownExecutionError: There is no such execution.
    """
    task = execution.task(name)
    if task is None:
        top = execution.get().get("tasks")
        names = ", ".join(top) if isinstance(top, dict) else "none"
        raise RequestError(f"there is no task {name}; there are {names}")
    console = _console()
    if as_json or not console.is_terminal:
        print_json(without_old_error(task))
    else:
        show_task(console, name, task, SystemClock().now_ms(), whole=True)


def print_list(client: Client, found: Sequence[ListedExecution]) -> None:
    """Print a line for each execution: when it was submitted, its status, its id, and more."""
    console = _console()
    for one in found:
        line = Text(f"{moment(one.submitted_at_ms)}  ")
        line.append(f"{one.status:<11}", STYLES.get(one.status, ""))
        line.append(f"  {one.id}")
        detail = _detail(client, one)
        style = "red" if one.status == "FAILED" else "dim"
        if console.is_terminal and detail and len(line) + DETAIL_WIDTH > console.width:
            console.print(line, soft_wrap=True)
            line = Text("  ").append(detail, style)
        elif detail:
            line.append(f"  {detail}", style)
        if console.is_terminal:
            line.truncate(max(console.width, 80), overflow="ellipsis")
        console.print(line, soft_wrap=True)


def _detail(client: Client, one: ListedExecution) -> str:
    if one.status not in TOLD:
        return ""
    try:
        return detail_of(client.execution(one.id).get())
    except UnreachableError:
        raise
    except RillflowError:
        return ""  # it has been removed since


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False, markup=False)
