"""Commands that send a task its callback or wake-up.

Used by `cli/application.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from rillflow.cli.remote import DEFAULT_URL, Url, client_of
from rillflow.cli.visible import say

if TYPE_CHECKING:
    from rillflow.client.executions import Execution

ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")]
TaskName = Annotated[
    str,
    typer.Argument(metavar="TASK", help="The task; in a group by its full name, such as A_0-B."),
]


def wake(
    execution_id: ExecutionId,
    task: TaskName,
    data: Annotated[
        str,
        typer.Option(
            "--data", "-d", help="The data of the wake-up: a JSON object, @FILE, or - for stdin."
        ),
    ] = "{}",
    url: Url = DEFAULT_URL,
) -> None:
    """Wake up a suspense task, and print the task's status afterwards.

    The task goes on if its conditions hold with the new data.

        $ rillflow wake "$id" approve --data '{"approved": true}'
    """
    from rillflow.cli.inputs import json_argument

    signal_data = json_argument(data)
    with _execution_with(task, execution_id, url) as execution:
        execution.wake_up(task, signal_data)
        _tell_task("woken", execution, task)


def finish(
    execution_id: ExecutionId,
    task: TaskName,
    data: Annotated[
        str,
        typer.Option(
            "--data", "-d", help="The task's output: a JSON object, @FILE, or - for stdin."
        ),
    ] = "{}",
    failed: Annotated[bool, typer.Option("--failed", help="Report a failure.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Report the outcome of a task that waits for its callback, instead of its function.

    The exit code is 1 if the task has an outcome already.

        $ rillflow finish "$id" train --data '{"model": "m7"}'

        $ rillflow finish "$id" train --failed
    """
    from rillflow.cli.inputs import json_argument
    from rillflow.errors import RequestError

    output = json_argument(data)
    with _execution_with(task, execution_id, url) as execution:
        if not execution.finish(task, output, failed=failed):
            raise RequestError(f"the task {task} has an outcome already; nothing was changed")
        _tell_task("finished", execution, task)


@contextmanager
def _execution_with(task: str, execution_id: str, url: str) -> "Iterator[Execution]":
    """Lend an execution that has this task."""
    from rillflow.cli.redoing import refuse_unknown

    with client_of(url) as client:
        execution = client.execution(execution_id)
        refuse_unknown(execution.tasks(), task)
        yield execution


def _tell_task(done: str, execution: "Execution", task: str) -> None:
    shown = execution.tasks().get(task)
    status = shown.get("status") if isinstance(shown, dict) else None
    say(f"{done} {execution.id}: {task} is {status}")
