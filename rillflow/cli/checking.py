"""What is wrong or suspicious with definitions in files and folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import typer

from rillflow.cli.reporting import with_hint
from rillflow.definition.loader import MAX_TEXT_BYTES
from rillflow.definition.problems import find_problems
from rillflow.errors import Problem

ENDINGS: Final = (".yaml", ".yml", ".json")
UNREADABLE: Final = 30402
_MARK: Final = b"dagName"


class Checked(NamedTuple):
    """A file and its problems, errors first."""

    file: Path
    problems: Sequence[Problem]

    @property
    def errors(self) -> int:
        """How many of the problems are errors."""
        return sum(problem.severity == "error" for problem in self.problems)


class Found(NamedTuple):
    """Files to check, and those of folders that are no workflow definitions."""

    files: Sequence[Path]
    passed_over: Sequence[Path]


def find_files(paths: Sequence[Path]) -> Found:
    """List the files that are named, and the definitions in the folders that are.

    In a folder and all folders below, except hidden ones, these are the files that end in
    .yaml, .yml or .json and have a ``dagName``.

    Raises:
        OSError: A file or folder is not there, or cannot be read.
    """
    files: dict[Path, None] = {}
    passed_over: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            files[path] = None
            continue
        for file in _files_below(path):
            (files if _MARK in _beginning(file) else passed_over)[file] = None
    return Found(tuple(files), tuple(passed_over))


def _files_below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(where, name)
            if name.lower().endswith(ENDINGS) and not name.startswith(".") and file.is_file():
                yield file


def _beginning(file: Path) -> bytes:
    """Read as much of a file as a definition may have, and a byte more."""
    with file.open("rb") as opened:
        return opened.read(MAX_TEXT_BYTES + 1)


def problems_in(file: Path) -> list[Problem]:
    """List the problems of a definition, errors first.

    Raises:
        OSError: The file cannot be read.
        BadParameter: It is no text.
    """
    content = _beginning(file)
    reason = _why_no_text(content)
    if reason:
        raise typer.BadParameter(f"{file} {reason}")
    return find_problems(content)


def check(file: Path, *, strict: bool = False) -> Checked:
    """Check a file; one that is no text has that as its only problem.

    A strict check warns also of what Rillflow takes and Rill Flow does not.

    Raises:
        OSError: The file cannot be read.
    """
    content = _beginning(file)
    reason = _why_no_text(content)
    if reason:
        return Checked(file, [Problem(UNREADABLE, f"the file {reason}")])
    return Checked(file, find_problems(content, strict=strict))


def _why_no_text(content: bytes) -> str:
    if len(content) > MAX_TEXT_BYTES:
        return ""  # it is too long, and may be cut within a character
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"is no UTF-8 text: byte {error.start} is {content[error.start]:#04x}"
    return ""


def tell(file: Path, problems: Sequence[Problem]) -> None:
    """Write problems to standard error, a line each, with their places, as compilers do."""
    for problem in problems:
        place = f"{file}:{problem.line}:{problem.column}" if problem.line else str(file)
        line = f"{place}: {problem.severity} {problem.code}: {said(problem)}"
        typer.echo(line, err=True)


def said(problem: Problem) -> str:
    """Return the message of a problem, with its hint where there is one."""
    return with_hint(problem.message, problem.hint)
