"""What commands that call a stack over HTTP share.

Used by `cli/commands`, `cli/output` and `cli/redoing.py`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rillflow.cli.visible import say
from rillflow.errors import RequestError
from rillflow.suggestions import did_you_mean

if TYPE_CHECKING:
    from rillflow.client.clients import Client

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEFAULT_PATIENCE_S: Final = 60.0
MOST_NAMED: Final = 20
"""Instances that an error names."""


def _found(context: typer.Context, url: str) -> str:
    """Return the address that was named, or else that of the stack of this data folder."""
    source = context.get_parameter_source("url")
    if source is None or source.name != "DEFAULT":
        return url
    from rillflow.cli.running_stack import running_stack
    from rillflow.settings import Settings

    try:
        data_dir = Settings().data_dir
    except ValueError:
        return url  # wrong settings are those of a server, which this command may not need
    return running_stack(data_dir) or url


Url = Annotated[
    str,
    typer.Option(
        help="Base URL of the HTTP API; without it, that of the stack of this data folder if one"
        " runs.",
        envvar="RILLFLOW_URL",
        show_default=True,
        callback=_found,
    ),
]
Patience = Annotated[
    float,
    typer.Option(
        "--patience", min=0, help="How many seconds to retry while the server does not answer."
    ),
]
ExecutionArgument = Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")]


def not_blank(value: str | None) -> str | None:
    """Refuse an option that is given and blank, as a variable that is not set makes it."""
    if value is not None and not value.strip():
        raise typer.BadParameter("blank value; is a variable not set?")
    return value


def client_of(url: str) -> "Client":
    """Return a client of the stack at an address."""
    from rillflow.client.clients import Client

    return Client(url)


def tell_silence(_: Exception, patience_s: float) -> None:
    """Say on standard error that the server is asked again."""
    say(f"the server does not answer; retrying for up to {patience_s:.3g} s", err=True)


def unknown_task(tasks: Iterable[str], name: str) -> RequestError:
    """Make the error of a name that no instance has, with the names that there are."""
    names = list(tasks)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    there = f"there are {', '.join(names[:MOST_NAMED])}{more}" if names else "there are none"
    error = RequestError(f"there is no task {name}; {there}")
    return error.with_hint(did_you_mean(name, names)) if more else error
