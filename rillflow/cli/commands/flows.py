"""Commands for definitions and executions over HTTP.

Used by `cli/application.py`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rillflow.cli.remote import (
    DEFAULT_PATIENCE_S,
    DEFAULT_URL,
    ExecutionArgument,
    Patience,
    Url,
    client_of,
    not_blank,
    tell_silence,
)
from rillflow.cli.visible import print_json, say

if TYPE_CHECKING:
    from rillflow.client.clients import Client
    from rillflow.client.executions import Execution

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE|MODULE:FLOW",
        help="The workflow definition, YAML or JSON, or a flow in Python, such as"
        " pipeline.py:film.",
    ),
]
Alias = Annotated[str, typer.Option(help="The alias that refers to the new version.")]
TimeoutS = Annotated[float, typer.Option("--timeout", min=0, help="How many seconds to wait.")]
Data = Annotated[
    str, typer.Option("--data", "-d", help="A JSON object, @FILE, or - for standard input.")
]
Wait = Annotated[
    bool,
    typer.Option("--wait", "-w", help="Wait for the end of the execution and print its result."),
]
Dedicated = Annotated[
    bool, typer.Option("--dedicated", help="Run the execution in an execution actor of its own.")
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        callback=not_blank,
        help="Submissions with the same key and equal data start one execution.",
        show_default=False,
    ),
]


def add(
    source: Source,
    alias: Alias = "release",
    url: Url = DEFAULT_URL,
) -> None:
    """Store a workflow definition and print its descriptor id.

    The definition's workspace and dagName are its name in the store. Adding a
    changed definition makes a new version; running executions keep the version
    that they began with. Warnings are printed with their place in the file. The
    module of a flow in Python is imported here, not by the server.

        $ rillflow add examples/quickstart.yaml

        $ rillflow add pipeline.py:film
    """
    with client_of(url) as client:
        say(_added(client, source, alias))


def submit(
    descriptor: Annotated[
        str,
        typer.Argument(metavar="DESCRIPTOR", help="business:feature\\[:alias | :md5_<hex>]."),
    ],
    data: Data = "{}",
    wait: Wait = False,
    timeout_s: TimeoutS = 3600.0,
    dedicated: Dedicated = False,
    idempotency_key: IdempotencyKey = None,
    patience_s: Patience = DEFAULT_PATIENCE_S,
    url: Url = DEFAULT_URL,
) -> None:
    """Start an execution and print its id, or with --wait its result.

    With --wait, the command continues to wait while the server restarts: an
    accepted execution goes on. The command sends the submission again only
    with an --idempotency-key. It also prints mapping warnings.

        $ rillflow submit examples:quickstart --data '{"name": "Bob"}' --wait

        $ rillflow submit video:textToVideo --data @order.json --idempotency-key order-17
    """
    from rillflow.cli.inputs import json_argument

    with client_of(url) as client:
        execution = client.submit(
            descriptor,
            json_argument(data),
            isolation="dedicated" if dedicated else None,
            idempotency_key=idempotency_key,
            patience_s=patience_s,
            on_silence=tell_silence,
        )
        if not wait:
            say(execution.id)
            return
        say(execution.id, err=True)
        _print_result(execution, timeout_s, patience_s)


def run(
    source: Source,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="KEY=VALUE",
            help="A key of the data: JSON, or text if it is no JSON. May be repeated.",
        ),
    ] = None,
    data: Data = "{}",
    alias: Alias = "release",
    timeout_s: TimeoutS = 3600.0,
    dedicated: Dedicated = False,
    patience_s: Patience = DEFAULT_PATIENCE_S,
    url: Url = DEFAULT_URL,
) -> None:
    """Store a workflow definition, start an execution, and print its result.

    The data are those of --data, with the keys of --input. Of a flow in Python,
    a value stays text where the parameter is a str.

        $ rillflow run examples/quickstart.yaml -i name=Bob

        $ rillflow run pipeline.py:film -i topic=sea -i scenes=3
    """
    from rillflow.cli.inputs import fields_of, json_argument
    from rillflow.cli.loading import flow_named

    flow = flow_named(source)
    texts = () if flow is None else flow.text_parameters
    submitted = {**json_argument(data), **fields_of(given or (), as_text=texts)}
    with client_of(url) as client:
        descriptor_id = _added(client, source, alias)
        execution = client.submit(
            descriptor_id,
            submitted,
            isolation="dedicated" if dedicated else None,
            patience_s=patience_s,
            on_silence=tell_silence,
        )
        say(execution.id, err=True)
        _print_result(execution, timeout_s, patience_s)


def _added(client: "Client", source: str, alias: str) -> str:
    """Store a definition, tell its problems, and return its descriptor id."""
    from rillflow.cli.checking import problems_in, tell
    from rillflow.cli.loading import flow_named, place_of, problems_of
    from rillflow.errors import DefinitionError

    flow = flow_named(source)
    place = Path(source) if flow is None else place_of(source)
    problems = problems_in(place) if flow is None else problems_of(flow)
    try:
        added = client.add(Path(source) if flow is None else flow, alias=alias)
    except DefinitionError as error:
        tell(place, problems)
        if any(problem.severity == "error" for problem in problems):
            error.hint = ""  # told already
        raise
    tell(place, [problem for problem in problems if problem.severity != "error"])
    return added


def _print_result(execution: "Execution", timeout_s: float, patience_s: float) -> None:
    from rillflow.cli.output.mapping_warnings import tell_mapping_warnings
    from rillflow.errors import ExecutionFailedError

    try:
        result = execution.result(timeout_s, patience_s=patience_s, on_silence=tell_silence)
    except ExecutionFailedError:
        tell_mapping_warnings(execution)
        raise
    print_json(result)
    tell_mapping_warnings(execution)


def get(
    execution_id: ExecutionArgument,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME",
            callback=not_blank,
            help="Only this task; in a group by its full name, such as each_1-one.",
            show_default=False,
        ),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only the tasks that failed.")] = False,
    brief: Annotated[bool, typer.Option("--brief", help="Omit the tasks.")] = False,
    context: Annotated[bool, typer.Option("--context", help="Only the context, as JSON.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the JSON of the API, also in a terminal.")
    ] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Print an execution: its status, its context and every task, also tasks in groups.

    Each task is printed with its input, its output, the message of each
    attempt, and its mapping warnings. In a terminal the output is text,
    otherwise the JSON of the HTTP API.

        $ rillflow get "$id"

        $ rillflow get "$id" --failed

        $ rillflow get "$id" --task each_1-one
    """
    from rillflow.cli.output.printing import print_execution, print_task

    if sum((task is not None, failed, brief, context)) > 1:
        raise typer.BadParameter("--task, --failed, --brief and --context exclude each other")
    with client_of(url) as client:
        execution = client.execution(execution_id)
        if context:
            print_json(execution.context())
        elif task is not None:
            print_task(execution, task, as_json=as_json)
        else:
            print_execution(execution, failed=failed, brief=brief, as_json=as_json)


def logs(
    execution_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", callback=not_blank, help="The execution's id.", show_default=False
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="[TASK]",
            callback=not_blank,
            help="Only this task; of one in groups all, or one by its full name, each_1-one.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Print what comes, until the execution ends."),
    ] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Print what the functions of an execution have printed that Ray has called, or have posted.

    Of each task it is the last attempt, also while it runs, and of long logs the end. What
    went to standard error is printed there. Without an execution it prints the last events
    of the processes of the server that runs on this machine.

        $ rillflow logs "$id" film

        $ rillflow logs -f "$id"

        $ rillflow logs -f
    """
    import time
    from functools import partial

    from rillflow.cli.output.logs import LOOK_S, follow_logs, print_logs
    from rillflow.cli.output.server_logs import logs_folder, print_server_log

    if execution_id is None:
        print_server_log(logs_folder(), partial(time.sleep, LOOK_S) if follow else None)
        return
    with client_of(url) as client:
        execution = client.execution(execution_id)
        if follow:
            follow_logs(execution, task, partial(time.sleep, LOOK_S))
        elif not print_logs(execution, task):
            raise typer.Exit(1)


def watch(
    execution_id: ExecutionArgument,
    every_s: Annotated[
        float, typer.Option("--every", min=0.05, help="Seconds between two requests.")
    ] = 0.25,
    patience_s: Patience = DEFAULT_PATIENCE_S,
    url: Url = DEFAULT_URL,
) -> None:
    """Follow an execution, task by task, until it ends.

    In a terminal the command updates a table; otherwise it prints a line for
    each change. It continues while the server restarts. At the end it prints
    mapping warnings, and after a failure the failed tasks with their reasons.
    The exit code is 0 if the execution succeeded.

        $ id=$(rillflow submit examples:quickstart --data '{"name": "Bob"}')

        $ rillflow watch "$id"
    """
    from rillflow.cli.output.mapping_warnings import tell_mapping_warnings
    from rillflow.cli.output.progress import follow
    from rillflow.cli.reporting import tell_failure

    with client_of(url) as client:
        execution = client.execution(execution_id)
        status = follow(execution, every_s=every_s, patience_s=patience_s)
        tell_mapping_warnings(execution)
        if status == "FAILED":
            tell_failure(execution)
            raise typer.Exit(1)
