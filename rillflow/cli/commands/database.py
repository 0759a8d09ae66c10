"""Commands for the store: its tables, backups and verification.

Used by `cli/application.py` and `cli/commands/moving.py`.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rillflow.cli.visible import say, visible_line
from rillflow.errors import StoreError

if TYPE_CHECKING:
    from rillflow.stores.schema_status import SchemaStatus

StoreUrl = Annotated[
    str | None,
    typer.Option(
        help="URL of the store; by default the store that `rillflow up` would use here.",
        show_default=False,
    ),
]

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the embedded store, if `rillflow up` runs with --data-dir.",
        show_default=False,
    ),
]

db = typer.Typer(
    name="db",
    help="Maintain the store: upgrade, back up and verify it.\n\n    $ rillflow db status",
    no_args_is_help=True,
)


@db.command()
def status(store: StoreUrl = None, data_dir: DataDir = None) -> None:
    """Show the version of the tables and what an upgrade would do; change nothing.

    The exit code is 1 if a newer release has upgraded the database so that this
    release cannot use it.

        $ rillflow db status

        $ rillflow db status --store postgresql://rillflow@localhost/rillflow
    """
    from rillflow.stores import schema_status

    url = url_of(store, data_dir)
    found = asyncio.run(schema_status(url))
    _tell(url, found)
    found.refuse_newer()
    if found.is_writable:
        say("upgrade  nothing to do")
    for number, what in found.missing:
        say(f"upgrade  would make {number}: {what}")
    if found.found and found.missing:
        go_on = "go on writing" if found.keeps_writers else "stop writing"
        say(f"writers  processes of version {found.found} {go_on} after the upgrade")


@db.command()
def upgrade(store: StoreUrl = None, data_dir: DataDir = None) -> None:
    """Upgrade the tables to this release; `rillflow up` does the same when it starts.

    Each step is a transaction. Processes of an older release can no longer write to the
    upgraded database, unless `rillflow db status` says that they go on. A database that a
    newer release has upgraded is refused, unless that lets this release go on.

        $ rillflow db upgrade
    """
    from rillflow.stores import schema_status, upgrade_schema

    url = url_of(store, data_dir)
    before = asyncio.run(upgrade_schema(url))
    for number, what in before.missing:
        say(f"made {number}: {what}")
    _tell(url, asyncio.run(schema_status(url)))


@db.command()
def backup(
    file: Annotated[Path, typer.Argument(help="New file for the backup.")],
    store: StoreUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Back up the embedded store into one file, also while the server runs.

    The backup contains everything that was acknowledged before the command began. A
    copy of rillflow.db alone is no backup of a running server.

        $ rillflow db backup rillflow-backup.db
    """
    from rillflow.stores.sqlite import backup as sqlite_backup

    path = _embedded(store, data_dir, "use pg_dump: `pg_dump --format=custom --file=FILE DATABASE`")
    with progress_shown("copying pages") as progress:
        sqlite_backup.backup(path, file, progress)
    say(f"backed up {path} to {file} ({file.stat().st_size:,} bytes)")


@db.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup that `rillflow db backup` made.")],
    store: StoreUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Replace the embedded store by a backup; stop the server first.

    The command verifies the backup first. It keeps the replaced store in the same folder,
    and prints its new name.

        $ rillflow db restore rillflow-backup.db
    """
    from rillflow.stores.sqlite import backup as sqlite_backup

    path = _embedded(store, data_dir, "use pg_restore: `pg_restore --dbname=DATABASE FILE`")
    with progress_shown("verifying executions") as progress:
        moved = sqlite_backup.restore(file, path, progress)
    say(f"restored {path} from {file}")
    if moved is not None:
        say(f"the replaced store is now {moved}")


@db.command()
def verify(
    file: Annotated[
        Path | None,
        typer.Argument(help="A backup; by default the embedded store.", show_default=False),
    ] = None,
    accept_missing_wal: Annotated[
        bool,
        typer.Option(
            "--accept-missing-wal",
            help="Accept a store whose -wal file is missing: commits in that file are lost.",
        ),
    ] = False,
    store: StoreUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Read a whole store or backup and list what is damaged; the exit code is 1 if anything is.

    SQLite checks its own structures. Then the command reads every definition, and of every
    execution the snapshot and the records after it. The server may run meanwhile.

        $ rillflow db verify

        $ rillflow db verify rillflow-backup.db
    """
    from rillflow.stores.sqlite import backup as sqlite_backup

    if file is not None and (store is not None or data_dir is not None):
        raise typer.BadParameter("a FILE excludes --store and --data-dir")
    path = file or _embedded(store, data_dir, "use pg_amcheck: `pg_amcheck DATABASE`")
    if accept_missing_wal:
        sqlite_backup.accept_missing_wal(path)
    with progress_shown("verifying executions") as progress:
        found = sqlite_backup.verify(path, progress)
    counts = f"{found.executions:,} executions, {found.definitions:,} definitions"
    if found.is_clean:
        say(f"verified {path}: {counts}")
        return
    say(f"checked {path}: {counts}")
    for problem in found.problems:
        say(f"damaged  {visible_line(problem)}", err=True)
    raise typer.Exit(1)


@contextmanager
def progress_shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a long job is, at a terminal and once it takes longer than a moment."""
    from rich.progress import Progress

    from rillflow.cli.output.console import console_of

    console = console_of(err=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        bar = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(bar, completed=done, total=total)


def _embedded(store: str | None, data_dir: Path | None, instead: str) -> Path:
    from rillflow.stores import sqlite_file
    from rillflow.stores.urls import masked

    url = url_of(store, data_dir)
    path = sqlite_file(url)
    if path is None:
        raise StoreError(f"{masked(url)} is not an embedded store (SQLite): {instead}")
    return path


def _tell(url: str, found: "SchemaStatus") -> None:
    from rillflow.stores.urls import masked

    say(f"store    {masked(url)}")
    say(f"version  {found.found or 'none'}, this release needs {found.wanted}")


def url_of(store: str | None, data_dir: Path | None) -> str:
    """Return the URL of the store that options name, or the one that `rillflow up` would use."""
    from rillflow.cli.inputs import settings_from

    if store is not None and data_dir is not None:
        raise typer.BadParameter("--store and --data-dir exclude each other")
    if data_dir is not None:
        store = ""  # Not the one that the environment names: what is upgraded cannot be undone.
    return settings_from({"store": store, "data_dir": data_dir}).store_url
