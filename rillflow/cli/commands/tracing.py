"""Commands that show when an execution did what.

Used by `cli/application.py`.
"""

from typing import Annotated

import typer

from rillflow.cli.remote import DEFAULT_URL, ExecutionArgument, Url, client_of
from rillflow.cli.visible import print_json


def trace(
    execution_id: ExecutionArgument,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the spans as JSON, also in a terminal.")
    ] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show when an execution did what: a bar for each task, attempt and wait.

    It needs no collector of traces. An execution that was redone is shown since
    its last redo; one that still runs is shown as it is now.

        $ rillflow trace "$id"
    """
    from rillflow.cli.output.console import console_of
    from rillflow.cli.output.waterfall import show_trace

    with client_of(url) as client:
        found = client.execution(execution_id).trace()
    if as_json:
        print_json(found)
    else:
        show_trace(console_of(), found)
