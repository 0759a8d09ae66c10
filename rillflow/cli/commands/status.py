"""The command that shows the whole stack at a glance.

Used by `cli/application.py`.
"""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rillflow.cli.remote import DEFAULT_URL, Url, client_of
from rillflow.cli.visible import print_json, say
from rillflow.errors import UnavailableError, UnreachableError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rillflow.cli.output.console import VisibleConsole
    from rillflow.client.clients import Client

WATCH_S: Final = 2.0


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again every 2 s, until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show the whole stack: readiness, executions, hosts of gateways, actors, and problems.

    The exit code is 1 if it takes no requests, or does not run as wanted. If the server does not
    answer, `rillflow doctor` may tell why.

        $ rillflow status

        $ rillflow status --watch
    """
    from rillflow.cli.output import stack_state
    from rillflow.cli.output.console import console_of

    if watch and as_json:
        raise typer.BadParameter("--watch and --json exclude each other")
    console = console_of()
    with client_of(url) as client:
        if watch:
            _watch(client, url, console)
            return
        state = client.operations()
    if as_json:
        print_json(state)
    elif console.is_terminal:
        console.print(stack_state.shown(state, url, ""))
    else:
        for line in stack_state.lines(state, url):
            say(line)
    if not stack_state.is_well(state):
        raise typer.Exit(1)


def _watch(client: "Client", url: str, console: "VisibleConsole") -> None:
    """Show the stack again and again; a terminal shows it in place."""
    from rich.live import Live

    if not console.is_terminal:
        while True:
            for line in _said(client, url):
                say(line)
            time.sleep(WATCH_S)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_seen(client, url), refresh=True)
            time.sleep(WATCH_S)


def _said(client: "Client", url: str) -> list[str]:
    from rillflow.cli.output import stack_state

    try:
        return [time.strftime("%H:%M:%S"), *stack_state.lines(client.operations(), url)]
    except (UnreachableError, UnavailableError) as error:
        return [f"no answer: {error}"]


def _seen(client: "Client", url: str) -> "RenderableType":
    from rich.text import Text

    from rillflow.cli.output import stack_state

    at = time.strftime("%H:%M:%S")
    try:
        return stack_state.shown(client.operations(), url, at)
    except (UnreachableError, UnavailableError) as error:
        return Text(f"no answer: {error}  {at}", "red")
