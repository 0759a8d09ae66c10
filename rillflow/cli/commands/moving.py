"""Commands that move what a store holds to another store.

Used by `cli/application.py`.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from rillflow.cli.commands.database import DataDir, StoreUrl, progress_shown, url_of
from rillflow.cli.visible import say, visible_line
from rillflow.errors import RequestError

if TYPE_CHECKING:
    from rillflow.transfer.exporting import Export
    from rillflow.transfer.frames import Header
    from rillflow.transfer.importing import Imported

STANDARD: Final = "-"

WithKeys = Annotated[bool, typer.Option("--with-keys", help="Also the hashes of API keys by name.")]


def export_to(
    file: Annotated[str, typer.Argument(help="New file, or - for standard output.")],
    store: StoreUrl = None,
    data_dir: DataDir = None,
    with_keys: WithKeys = False,
    since: Annotated[
        Path | None,
        typer.Option(
            help="An earlier export: write what may have changed since, instead of everything.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write definitions, aliases, rules, templates, triggers and executions into a file.

    Executions are written whole, running ones too, while the server may run. `rillflow import`
    reads the file into another store. Secrets and callback keys are not in a store. The exit code
    is 1 if some execution is damaged and not in the file.

        $ rillflow export all.rillflow

        $ rillflow export difference.rillflow --since all.rillflow
    """
    url = url_of(store, data_dir)
    earlier = None if since is None else _header(since)
    with _written(file) as target, progress_shown("exporting executions") as progress:
        made, place = asyncio.run(
            _export(url, target, earlier, with_keys, progress, _room(url, file))
        )
    for problem in made.problems:
        say(f"left out  {visible_line(problem)}", err=True)
    say(f"exported {made.executions:,} executions", err=True)
    if place:
        say(
            f"a server may run on this store ({place}): what it does from now on is not in the"
            " file. Once it is stopped, `rillflow export --since` writes the difference",
            err=True,
        )
    if made.problems:
        raise typer.Exit(1)


def import_from(
    file: Annotated[
        str, typer.Argument(help="A file of `rillflow export`, or - for standard input.")
    ],
    store: StoreUrl = None,
    data_dir: DataDir = None,
    with_keys: WithKeys = False,
) -> None:
    """Read what `rillflow export` has written into a store on which no server runs.

    What is there already is not written again, so an import may be repeated. A store that has
    something else under the same id is refused. The next server that starts on the store goes on
    with the executions; give it the same callback keys and secrets.

        $ rillflow import all.rillflow --store postgresql://rillflow@localhost/rillflow
    """
    url = url_of(store, data_dir)
    with _read(file) as source, progress_shown("importing executions") as progress:
        done = asyncio.run(_import(url, source, with_keys, lambda so_far: progress(so_far, 0)))
    say(
        f"imported {done.executions:,} executions and {done.rows:,} rows;"
        f" {done.unchanged:,} executions were there already"
    )


async def _export(
    url: str,
    target: BinaryIO,
    earlier: "Header | None",
    with_keys: bool,
    progress: Callable[[int, int], None],
    room: Callable[[], None],
) -> "tuple[Export, str]":
    """Write a file; return what was exported, and where a server holds the store.

    ``room`` refuses, before each frame, to write more.
    """
    from rillflow.runtime.process.clock import SystemClock
    from rillflow.stores.transfer import open_session
    from rillflow.transfer.exporting import Export
    from rillflow.transfer.frames import FrameWriter
    from rillflow.transfer.import_lease import lease_of

    since_ms = None if earlier is None else earlier.exported_at_ms
    session = await open_session(url, writes=False)
    try:
        export = Export(session, with_keys=with_keys, since_ms=since_ms, progress=progress)
        writer = FrameWriter(target)
        async for frame in export.frames(SystemClock().now_ms()):
            room()
            writer.add(frame)
        writer.close()
        lease = await lease_of(session)
    finally:
        await session.close()
    return export, lease.place if lease is not None and lease.holder else ""


async def _import(
    url: str,
    source: BinaryIO,
    with_keys: bool,
    progress: Callable[[int], None],
) -> "Imported":
    from rillflow.stores.transfer import open_session
    from rillflow.transfer.frames import FrameReader
    from rillflow.transfer.import_lease import hold_lease
    from rillflow.transfer.importing import Import

    reader = FrameReader(source)
    session = await open_session(url, writes=True)
    try:
        async with hold_lease(url, session) as lease:
            return await Import(session, reader, with_keys=with_keys, lease=lease).run(progress)
    finally:
        await session.close()


def _header(file: Path) -> "Header":
    from rillflow.transfer.frames import FrameReader

    with _opened(file) as source:
        return FrameReader(source).header


def _room(url: str, file: str) -> Callable[[], None]:
    """Return what refuses to write more to a file, where a server needs the space of its disk."""
    from rillflow.stores import sqlite_file

    path = sqlite_file(url)
    if path is None or file == STANDARD:
        return lambda: None
    from rillflow.stores.sqlite.file_space import BackupSpace

    return BackupSpace(path, Path(file).absolute().parent).require


@contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    from rillflow.transfer.files import new_file

    if file != STANDARD:
        with new_file(Path(file)) as target:
            yield target
        return
    if sys.stdout.isatty():
        raise RequestError("standard output is a terminal: name a file, or send it on by a pipe")
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


@contextmanager
def _read(file: str) -> Iterator[BinaryIO]:
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    with _opened(Path(file)) as source:
        yield source


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """Open a file; a pipe of a name might never have a writer."""
    if file.exists() and not file.is_file():
        raise RequestError(f"{file} is not a file; for a pipe say {STANDARD}")
    with file.open("rb") as source:
        yield source
