"""Printing executions and tasks: as text in a terminal, otherwise as JSON.

Used by `cli/commands/control.py` and `cli/commands/flows.py`.
"""

from collections.abc import Sequence
from typing import Any, Final

from rillflow.cli.output.console import console_of
from rillflow.cli.output.listing import detail_of, show_list
from rillflow.cli.output.showing import show_execution, show_task
from rillflow.cli.remote import unknown_task
from rillflow.cli.visible import print_json, say
from rillflow.client.clients import Client
from rillflow.client.executions import Execution
from rillflow.client.instances import runs_of, without_old_error
from rillflow.client.operations import ListedExecution
from rillflow.errors import RillflowError, UnreachableError
from rillflow.jsontypes import JsonObject
from rillflow.runtime.process.clock import SystemClock

TOLD: Final = ("RUNNING", "KEY_SUCCEED", "FAILED")
"""Statuses of executions of which a list says more."""
ENDED: Final = ("SUCCEED", "SUCCEEDED", "FAILED", "SKIPPED")
MOST_HOLDERS: Final = 100
"""Of how many executions one question tells who holds them."""


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
    console = console_of()
    if as_json or not console.is_terminal:
        print_json({**view, "tasks": tasks} if "tasks" in view else view)
        return
    waits = {} if failed else _waits(execution, view.get("dag_status"))
    show_execution(console, view, tasks, SystemClock().now_ms(), waits)
    if failed and not tasks:
        say("no task has failed", err=True)


def print_task(execution: Execution, name: str, *, as_json: bool) -> None:
    """Print one task, its input and output in full.

    Raises:
        RequestError: There is no such task.
        UnknownExecutionError: There is no such execution.
    """
    task = execution.task(name)
    if task is None:
        raise unknown_task(execution.tasks(), name)
    console = console_of()
    if as_json or not console.is_terminal:
        print_json(without_old_error(task))
    else:
        waits = _waits(execution, task.get("status"), name)
        runs = runs_of(execution.get(brief=True), SystemClock().now_ms())
        show_task(console, name, task, runs, whole=True, waits=waits)


def _waits(execution: Execution, status: object, task: str = "") -> dict[str, str]:
    """Return why each task waits that has not ended, or this one; nothing if that cannot be had."""
    if status in ENDED:
        return {}
    try:
        found = execution.waits(task)
    except UnreachableError:
        raise
    except RillflowError:
        return {}  # it has been removed since, or the server is of a release that does not tell
    return {str(one["task"]): str(one["sentence"]) for one in found}


def print_list(client: Client, found: Sequence[ListedExecution], *, ids_only: bool = False) -> None:
    """Print each execution: when it was submitted, its status, its id, and more; or its id."""
    if ids_only:
        for one in found:
            say(one.id)
        return
    console = console_of()
    show_list(console, found, lambda one: _detail(client, one), SystemClock().now_ms())


def print_by_actor(client: Client, found: Sequence[ListedExecution]) -> None:
    """Print executions below the actor that holds them, and the node that it is on."""
    console = console_of()
    groups: dict[str, list[ListedExecution]] = {}
    for start in range(0, len(found), MOST_HOLDERS):
        portion = found[start : start + MOST_HOLDERS]
        holders: Any = client.cluster([one.id for one in portion]).get("holders", {})
        for one in portion:
            groups.setdefault(_place_of(holders.get(one.id, {})), []).append(one)
    for place, group in sorted(groups.items()):
        say(place)
        show_list(console, group, lambda one: _detail(client, one), SystemClock().now_ms())


def _place_of(holder: Any) -> str:
    place = " ".join(str(holder[name]) for name in ("node", "address") if name in holder)
    return f"{holder.get('actor', 'unknown actor')}, {place or 'which does not answer'}"


def list_as_json(client: Client, found: Sequence[ListedExecution]) -> list[dict[str, object]]:
    """Return executions as JSON shows them, with what a list says more of each as ``detail``."""
    return [{**one._asdict(), "detail": _detail(client, one) or None} for one in found]


def _detail(client: Client, one: ListedExecution) -> str:
    if one.status not in TOLD:
        return ""
    try:
        return detail_of(client.execution(one.id).get())
    except UnreachableError:
        raise
    except RillflowError:
        return ""  # it has been removed since
