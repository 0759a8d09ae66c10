"""The application of all commands; each command imports its modules when it runs.

Used by `cli` and `cli/__main__.py`.
"""

from typing import Annotated

import typer

from rillflow.cli.commands import (
    cluster,
    control,
    database,
    doctor,
    flows,
    functions,
    keys,
    moving,
    serving,
    signalling,
    status,
    tracing,
    triggers,
    validating,
)
from rillflow.cli.reporting import ReportingGroup

EPILOG = """\
[bold]A first round[/bold]

  $ rillflow up                                             in one terminal

  $ rillflow functions serve examples/functions.py        in another one

  $ rillflow add examples/quickstart.yaml                   in a third one

  $ rillflow submit examples:quickstart --data '{"name": "Bob"}' --wait
"""

app = typer.Typer(
    name="rillflow",
    cls=ReportingGroup,
    help="Run workflows of serverless functions, durably, on Ray.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=serving.print_version, help="Print the versions."
        ),
    ] = False,
) -> None:
    """Run workflows of serverless functions, durably, on Ray."""


for command in (
    serving.up,
    serving.gateway,
    flows.add,
    validating.validate,
    flows.submit,
    flows.run,
    flows.get,
    flows.watch,
    flows.logs,
    tracing.trace,
):
    app.command()(command)
app.command("list")(control.list_executions)
for order in (
    control.cancel,
    control.pause,
    control.resume,
    signalling.wake,
    signalling.finish,
    control.redo,
    control.redo_many,
):
    app.command()(order)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(serving.version)
app.add_typer(database.db)
app.command("export")(moving.export_to)
app.command("import")(moving.import_from)
app.add_typer(cluster.cluster)
app.add_typer(keys.keys)
app.command()(keys.audit)
app.add_typer(functions.functions)
app.add_typer(triggers.triggers)
