"""Commands for people who write functions.

Used by `cli/application.py`.
"""

import os
from typing import Annotated, Final

import typer

SECRET_VARIABLE: Final = "RILLFLOW_AUTH_SECRET"  # noqa: S105 - the name of a variable

functions = typer.Typer(
    name="functions",
    help="Serve Python functions for workflows."
    "\n\n    $ rillflow functions serve examples/functions.py",
    no_args_is_help=True,
)


@functions.callback()
def group() -> None:
    """Serve Python functions for workflows."""


@functions.command()
def serve(
    application: Annotated[
        str,
        typer.Argument(
            metavar="MODULE[:NAME]",
            help="Module or .py file with a rillflow.functions.Functions, named app by default.",
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free port.")
    ] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    callback_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Server to which results may be posted. May be repeated. Without it, only this"
            " machine.",
        ),
    ] = None,
    signed: Annotated[
        bool,
        typer.Option("--signed", help=f"Refuse calls that {SECRET_VARIABLE} has not signed."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not log calls.")] = False,
) -> None:
    """Serve the functions of an application over HTTP.

    /NAME and /function/NAME answer with the result. With X-Mode: async, or at
    /async-function/NAME, a call is accepted, and the result is posted to
    X-Callback-Url until the server takes it. SIGTERM ends the calls under way first.

        $ rillflow functions serve examples/functions.py
    """
    from rillflow.functions import serving

    try:
        found = serving.load_application(application)
        found.prepare()
    except FileNotFoundError as error:
        raise typer.BadParameter(f"{application}: there is no file {error.filename}") from error
    except Exception as error:
        # Importing what somebody has written may raise anything.
        reason = f"{application}: {type(error).__name__}: {error}"
        raise typer.BadParameter(reason) from error
    secret = os.environ.get(SECRET_VARIABLE, "") if signed else ""
    if signed and not secret:
        raise typer.BadParameter(f"--signed needs {SECRET_VARIABLE}")
    found.trust(callback_hosts=callback_host or (), auth_secret=secret)
    serving.serve(found, host=host, port=port, quiet=quiet)
