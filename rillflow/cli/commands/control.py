"""Commands that list and control executions over HTTP.

Used by `cli/application.py`.
"""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from rillflow.cli.remote import DEFAULT_URL, Url, client_of, not_blank
from rillflow.cli.visible import print_json, say

if TYPE_CHECKING:
    from rillflow.client.clients import Client
    from rillflow.client.executions import Execution
    from rillflow.client.operations import RedoneStatus

ExecutionIds = Annotated[
    list[str], typer.Argument(metavar="ID", help="The ids of one or more executions.")
]
Code = Annotated[
    str | None,
    typer.Option(
        callback=not_blank, help="Only executions that failed with this code.", show_default=False
    ),
]
LISTED: Final = 20
Business = Annotated[
    str | None,
    typer.Option(callback=not_blank, help="Only executions of this workspace.", show_default=False),
]
Feature = Annotated[
    str | None,
    typer.Option(callback=not_blank, help="Only executions of this dagName.", show_default=False),
]
Status = Annotated[
    str | None,
    typer.Option(
        callback=not_blank,
        help="Only executions that are not_started, running, key_succeed, succeed or failed.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="AGE|TIME",
        help="Only executions submitted since then: an age such as 90s, 15m, 2h or 7d, or a"
        " time such as 2026-01-31T12:00.",
        show_default=False,
    ),
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="NAME:VALUE",
        help="Only executions with this value of a search key (searchKeys), such as user:bob."
        " May be repeated.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        min=1,
        help="Most executions to list; by default 20, or all with --ids.",
        show_default=False,
    ),
]
OnlyIds = Annotated[
    bool, typer.Option("--ids", help="Print only the ids, as input of other commands.")
]
By = Annotated[
    Literal["actor"] | None,
    typer.Option("--by", help="Group by the actor that holds them, with its node."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TaskNames = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        "-t",
        metavar="NAME",
        help="Only this task; in a group by its full name, such as each_1-one. May be repeated.",
    ),
]
OnlyFailed = Annotated[
    bool,
    typer.Option("--failed", help="Redo only failed tasks; this is the default without --task."),
]
AddedData = Annotated[
    str,
    typer.Option(
        "--data",
        "-d",
        help="Data to add to the context first: a JSON object, @FILE, or - for stdin.",
    ),
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole",
        help="Redo everything that is unfinished, each task with all its groups, as in Rill Flow.",
    ),
]


def list_executions(
    business: Business = None,
    feature: Feature = None,
    status: Status = None,
    code: Code = None,
    since: Since = None,
    context: Context = None,
    limit: Limit = None,
    ids: OnlyIds = False,
    as_json: AsJson = False,
    by: By = None,
    url: Url = DEFAULT_URL,
) -> None:
    """List executions and sub-flows, newest first: time of submission, status and id.

    The list shows what a running execution waits for, and why a failed one failed.

    An ended execution is listed until the server removes it (RILLFLOW_KEEP_FINISHED_S).

        $ rillflow list --business examples --status running

        $ rillflow list --status failed --ids | xargs -r rillflow redo --failed
    """
    from rillflow.cli.inputs import moment_ms
    from rillflow.cli.output.printing import list_as_json, print_by_actor, print_list

    if (ids, as_json, by is not None).count(True) > 1:
        raise typer.BadParameter("--ids, --json and --by exclude each other")
    most = limit or (sys.maxsize if ids else LISTED)
    with client_of(url) as client:
        found = client.executions(
            business=business,
            feature=feature,
            status=status,
            code=code,
            from_ms=None if since is None else moment_ms(since),
            context=_values_of(context or ()),
            limit=most,
        )
        if len(found) == most:
            these = "this is the newest one" if most == 1 else f"these are the newest {most}"
            say(f"{these}; --limit shows more", err=True)
        if as_json:
            print_json(list_as_json(client, found))
        elif by is not None:
            print_by_actor(client, found)
        else:
            print_list(client, found, ids_only=ids)
    if not found and not as_json:
        say("no execution was found", err=True)


def _values_of(given: Sequence[str]) -> dict[str, str]:
    """Read values of search keys, each written NAME:VALUE."""
    values: dict[str, str] = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not (name and colon and value):
            raise typer.BadParameter(f"--context is NAME:VALUE, as in user:bob, not {text}")
        if values.setdefault(name, value) != value:
            raise typer.BadParameter(f"--context gives {name} two values")
    return values


def cancel(execution_ids: ExecutionIds, url: Url = DEFAULT_URL) -> None:
    """Stop executions and their sub-flows: they call no further function and end as FAILED.

    An execution that has ended is refused. The exit code is 1 if any execution was refused.

        $ rillflow cancel "$id"

        $ rillflow list --status running --ids | xargs -r rillflow cancel
    """
    _each(execution_ids, url, "cancelled", lambda execution: execution.cancel())


def pause(execution_ids: ExecutionIds, url: Url = DEFAULT_URL) -> None:
    """Pause executions: they start no further task, and running tasks go on to their end.

    The exit code is 1 if any execution was refused.

        $ rillflow pause "$id"
    """
    _each(execution_ids, url, "paused", lambda execution: execution.pause())


def resume(execution_ids: ExecutionIds, url: Url = DEFAULT_URL) -> None:
    """Resume paused executions.

    The exit code is 1 if any execution was refused.

        $ rillflow resume "$id"
    """
    _each(execution_ids, url, "resumed", lambda execution: execution.resume())


def redo(
    execution_ids: ExecutionIds,
    task: TaskNames = None,
    failed: OnlyFailed = False,
    whole: Whole = False,
    data: AddedData = "{}",
    url: Url = DEFAULT_URL,
) -> None:
    """Run the failed tasks of executions again, and the tasks that follow them.

    Results of tasks that succeeded are kept. Of a failed foreach, choice or
    sub-flow, only the failed tasks run again. When the sub-flow of a failed
    parent is redone, the parent goes on with the new outcome; a parent whose
    task succeeded keeps the old outcome. After a cancellation or a time-out,
    the tasks that were running then run again too.

    A --task without a failed task in it runs again as a whole. With --whole,
    every unfinished task, or each --task of the top level, runs again with all
    its groups, and a running attempt is abandoned for the new one.
    --data is added to the context of the execution. Without --whole, a group
    keeps its own context, so its tasks do not see the data.
    The exit code is 1 if any execution was refused.

        $ rillflow redo "$id"

        $ rillflow redo "$id" --task each_1-one

        $ rillflow redo "$id" --task shout --data '{"greeting": "Hello, Eve!"}'
    """
    from rillflow.cli.inputs import json_argument
    from rillflow.cli.redoing import redo_failed, tasks_to_redo_whole, tasks_with_kept_groups

    if whole and failed:
        raise typer.BadParameter("--whole and --failed exclude each other")
    context = json_argument(data)

    def again(execution: "Execution") -> str | None:
        if whole:
            tasks = tasks_to_redo_whole(execution.get(), task or ())
            execution.redo(tasks or None, context, whole=True)
        elif not redo_failed(execution, task or (), context, only=failed):
            return f"no task of {execution.id} has failed; the execution is running"
        elif context and (groups := tasks_with_kept_groups(execution.get(), task or ())):
            names = ", ".join(groups)
            return f"redone {execution.id}; groups of {names} keep their context, without --data"
        return None

    _each(execution_ids, url, "redone", again)


def redo_many(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="The service: business:feature.")
    ],
    status: Annotated[
        str, typer.Option(help="Which executions to redo: failed or running.")
    ] = "failed",
    code: Code = None,
    task: TaskNames = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=1, max=30_000, help="Most executions to redo, newest first."
        ),
    ] = 100,
    per_second: Annotated[
        int, typer.Option("--rate", min=1, max=50, help="How many executions to redo per second.")
    ] = 30,
    whole: Whole = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Redo the failed tasks in the newest executions of a service, in the server's background.

    An execution that refuses the redo is skipped, for example one that has no
    such --task or has not started it. The server logs that, except with
    --whole. A server that is stopped does not redo the remaining executions.

        $ rillflow redo-many examples:quickstart --limit 1000
    """
    kinds: dict[str, RedoneStatus] = {"failed": "failed", "running": "running"}
    if status not in kinds:
        raise typer.BadParameter(f"--status is failed or running, not {status}")
    with client_of(url) as client:
        if _has_none(client, service, status, code):
            say(f"there is no {status} execution of {service} to redo", err=True)
            return
        client.redo_many(
            service,
            status=kinds[status],
            code=code,
            tasks=task or None,
            limit=limit,
            per_second=per_second,
            whole=whole,
        )
    where = f", from {', '.join(task)} where started" if task else ""
    say(f"the server does up to {limit} {status} executions of {service} again{where}")


def _has_none(client: "Client", service: str, status: str, code: str | None) -> bool:
    """Tell whether a service, named as ``business:feature``, has no such execution."""
    business, _, feature = service.partition(":")
    if not feature or ":" in feature:
        return False  # the server refuses the name
    return not client.executions(
        business=business, feature=feature, status=status, code=code, limit=1
    )


def _each(
    execution_ids: list[str], url: str, done: str, steer: "Callable[[Execution], str | None]"
) -> None:
    """Do something to every execution, tell what came of it, and fail if one refused.

    ``steer`` returns what to tell, where that is not ``done``.
    """
    from rillflow.cli.reporting import FAILURE, report
    from rillflow.errors import RillflowError, UnreachableError

    refused = False
    with client_of(url) as client:
        for execution_id in execution_ids:
            try:
                told = steer(client.execution(execution_id))
            except UnreachableError:
                raise
            except RillflowError as error:
                refused = True
                report(error, execution_id)
            else:
                say(told or f"{done} {execution_id}")
    if refused:
        raise typer.Exit(FAILURE)
