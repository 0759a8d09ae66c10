"""Commands about the tables of the store; they talk to the database itself."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rillflow.stores.schema_status import SchemaStatus

_PASSWORD: Final = re.compile(r"^([a-z]+://[^:@/?]*):[^?]*@")
_PARAMETER: Final = re.compile(r"((?:ssl)?password=)[^&]*")

StoreUrl = Annotated[
    str | None,
    typer.Option(
        help="URL of the store; by default the one that `rillflow up` would use here.",
        show_default=False,
    ),
]

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the embedded store, if `rillflow up` was given another one.",
        show_default=False,
    ),
]

db = typer.Typer(
    name="db",
    help="Look after the tables of the store.\n\n    $ rillflow db status",
    no_args_is_help=True,
)


@db.command()
def status(store: StoreUrl = None, data_dir: DataDir = None) -> None:
    """Tell the version of the tables and what an upgrade would do; change nothing.

    The exit code is 1 if the database is of a newer release, which this one
    cannot use.

        $ rillflow db status

        $ rillflow db status --store postgresql://rillflow@localhost/rillflow
    """
    from rillflow.stores import schema_status

    url = _url(store, data_dir)
    found = asyncio.run(schema_status(url))
    _tell(url, found)
    found.refuse_newer()
    if found.is_current:
        typer.echo("upgrade  nothing to do")
    for number, what in found.missing:
        typer.echo(f"upgrade  would make {number}: {what}")


@db.command()
def upgrade(store: StoreUrl = None, data_dir: DataDir = None) -> None:
    """Bring the tables up to date; `rillflow up` does the same when it starts.

    Every step is made whole or not at all. Processes of an older release that
    use the database write nothing more. A database of a newer release is
    refused.

        $ rillflow db upgrade
    """
    from rillflow.stores import schema_status, upgrade_schema

    url = _url(store, data_dir)
    before = asyncio.run(upgrade_schema(url))
    for number, what in before.missing:
        typer.echo(f"made {number}: {what}")
    _tell(url, asyncio.run(schema_status(url)))


def _tell(url: str, found: "SchemaStatus") -> None:
    typer.echo(f"store    {masked(url)}")
    typer.echo(f"version  {found.found or 'none'}, this release needs {found.wanted}")


def _url(store: str | None, data_dir: Path | None) -> str:
    from rillflow.cli.inputs import settings_from

    if store is not None and data_dir is not None:
        raise typer.BadParameter("--store and --data-dir exclude each other")
    if data_dir is not None:
        store = ""  # Not the one that the environment names: what is upgraded cannot be undone.
    return settings_from({"store": store, "data_dir": data_dir}).store_url


def masked(url: str) -> str:
    """Return a URL with its password hidden."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))
