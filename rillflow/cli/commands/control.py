"""Commands that find executions and steer them; they talk to a stack over HTTP."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rillflow.cli.remote import DEFAULT_URL, Url, client_of, not_blank, print_json

if TYPE_CHECKING:
    from rillflow.client.executions import Execution
    from rillflow.client.operations import RedoneStatus

ExecutionIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="The ids of one or more executions.")
]
Code = Annotated[
    str | None,
    typer.Option(
        callback=not_blank, help="Only those that failed with this code.", show_default=False
    ),
]
LISTED: Final = 20
TaskNames = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        "-t",
        metavar="NAME",
        help="Only this task, in a group by its full name, such as each_1-one; may be repeated.",
    ),
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole",
        help="All that is unfinished, and tasks with all that is in them, as Rill Flow does it.",
    ),
]


def list_executions(
    business: Annotated[
        str | None,
        typer.Option(callback=not_blank, help="Only those of this workspace.", show_default=False),
    ] = None,
    feature: Annotated[
        str | None,
        typer.Option(callback=not_blank, help="Only those of this dagName.", show_default=False),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            callback=not_blank,
            help="Only not_started, running, key_succeed, succeed or failed ones.",
            show_default=False,
        ),
    ] = None,
    code: Code = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="AGE|TIME",
            help="Only those submitted since: 90s, 15m, 2h, 7d ago, or a time like"
            " 2026-01-31T12:00.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            help="How many at most; 20, or with --ids all.",
            show_default=False,
        ),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="Print ids only, for other commands.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List executions, sub-flows included, newest first: when submitted, status and id.

    Of one that runs it tells what it waits for, of one that failed why.

    What has ended is listed until it is removed (RILLFLOW_KEEP_FINISHED_S).

        $ rillflow list --business examples --status running

        $ rillflow list --status failed --ids | xargs -r rillflow redo --failed
    """
    from rillflow.cli.inputs import moment_ms
    from rillflow.cli.output.printing import list_as_json, print_list

    if ids and as_json:
        raise typer.BadParameter("--ids and --json exclude each other")
    most = limit or (sys.maxsize if ids else LISTED)
    with client_of(url) as client:
        found = client.executions(
            business=business,
            feature=feature,
            status=status,
            code=code,
            from_ms=None if since is None else moment_ms(since),
            limit=most,
        )
        if len(found) == most:
            typer.echo(f"these are the newest {most}; --limit shows more", err=True)
        if as_json:
            print_json(list_as_json(client, found))
        elif ids:
            typer.echo("".join(f"{one.id}\n" for one in found), nl=False)
        else:
            print_list(client, found)
    if not found and not as_json:
        typer.echo("there is no such execution", err=True)


def cancel(execution_ids: ExecutionIds, url: Url = DEFAULT_URL) -> None:
    """Stop executions and their sub-flows; nothing more is called, and they end FAILED.

    One that has ended already is refused. The exit code is 1 if any was refused.

        $ rillflow cancel "$id"

        $ rillflow list --status running --ids | xargs -r rillflow cancel
    """
    _each(execution_ids, url, "cancelled", lambda execution: execution.cancel())


def pause(execution_ids: ExecutionIds, url: Url = DEFAULT_URL) -> None:
    """Have executions start no further task; what runs goes on to its end.

    The exit code is 1 if any was refused.

        $ rillflow pause "$id"
    """
    _each(execution_ids, url, "paused", lambda execution: execution.pause())


def resume(execution_ids: ExecutionIds, url: Url = DEFAULT_URL) -> None:
    """Have paused executions go on.

    The exit code is 1 if any was refused.

        $ rillflow resume "$id"
    """
    _each(execution_ids, url, "resumed", lambda execution: execution.resume())


def redo(
    execution_ids: ExecutionIds,
    task: TaskNames = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only what failed; without --task that is so anyway.")
    ] = False,
    whole: Whole = False,
    data: Annotated[
        str,
        typer.Option(
            "--data", "-d", help="Into the context before: a JSON object, @FILE, or - for stdin."
        ),
    ] = "{}",
    url: Url = DEFAULT_URL,
) -> None:
    """Run what failed in executions again, and what follows it.

    What succeeded is kept: of a foreach, choice or sub-flow that failed only
    the parts run again that did, and a parent that has failed with a sub-flow
    that is redone goes on with its new outcome; one whose task succeeded
    keeps the old one. After a cancellation or a time-out
    that includes what was under way.

    A --task of which nothing failed runs again as a whole. With --whole, all
    that is unfinished runs again with all that is in it, or the --task of the
    top level; a task that runs is given up for its new attempt.
    The exit code is 1 if any execution was refused.

        $ rillflow redo "$id"

        $ rillflow redo "$id" --task each_1-one

        $ rillflow redo "$id" --task shout --data '{"greeting": "Hello, Eve!"}'
    """
    from rillflow.cli.inputs import json_argument
    from rillflow.cli.redoing import redo_failed, tasks_to_redo_whole

    if whole and failed:
        raise typer.BadParameter("--whole and --failed exclude each other")
    context = json_argument(data)

    def again(execution: "Execution") -> str | None:
        if whole:
            tasks = tasks_to_redo_whole(execution.get(), task or ())
            execution.redo(tasks or None, context, whole=True)
        elif not redo_failed(execution, task or (), context, only=failed):
            return f"nothing has failed in {execution.id}, which runs"
        return None

    _each(execution_ids, url, "redone", again)


def redo_many(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="business:feature, of which to redo.")
    ],
    status: Annotated[
        str, typer.Option(help="Those that have failed, or those that are running.")
    ] = "failed",
    code: Code = None,
    task: TaskNames = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=30_000, help="How many, newest first.")
    ] = 100,
    per_second: Annotated[
        int, typer.Option("--rate", min=1, max=50, help="How many in a second.")
    ] = 30,
    whole: Whole = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Redo what failed in the newest executions of a service, in the server's background.

    Those that refuse, as those that lack a --task or have not started it,
    are passed over, and told in the server's log. With --whole those are
    passed over without a word. A server that is stopped gives up the rest.

        $ rillflow redo-many examples:quickstart --limit 1000
    """
    kinds: dict[str, RedoneStatus] = {"failed": "failed", "running": "running"}
    if status not in kinds:
        raise typer.BadParameter(f"--status is failed or running, not {status}")
    with client_of(url) as client:
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
    typer.echo(f"the server does up to {limit} {status} executions of {service} again{where}")


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
                typer.echo(told or f"{done} {execution_id}")
    if refused:
        raise typer.Exit(FAILURE)
