"""Checks of definitions in files and folders, for `rillflow validate`.

Used by `cli/commands/flows.py` and `cli/commands/validating.py`.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import typer

from rillflow.cli.loading import flows_written_in
from rillflow.cli.reporting import with_hint
from rillflow.cli.visible import say
from rillflow.client.files import opened
from rillflow.definition.problems import find_problems
from rillflow.definition.yaml_tree.loader import MAX_TEXT_BYTES
from rillflow.errors import Problem

ENDINGS: Final = (".yaml", ".yml", ".json")
UNREADABLE: Final = 30402
WANTED: Final = "a file with a dagName that ends in .yaml, .yml or .json"
MOST_FLOWS: Final = 5
_SAID_CHARACTERS: Final = 2_000
_MARK: Final = b"dagName"
_ITS_OWN_KEYS: Final = (b"workspace", b"dagname")
_OLDER_KEYS: Final = (b"namespace", b"service")
"""Read for ``workspace`` and ``dagName`` where these are blank (spec 1.1)."""
_YAML_KEY: Final = re.compile(rb"""^["']?([\w-]+)["']?[ \t]*:""", re.MULTILINE)
_JSON_KEY: Final = re.compile(rb"""(?<![\w-])([\w-]+)["']?\s*:""")


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


def find_files(paths: Sequence[Path], *, strict: bool = False) -> Found:
    """List the files that are named, and the definitions in the folders that are.

    In a folder and all folders below, except hidden ones, these are the files that end in
    .yaml, .yml or .json and look like one: they have a ``dagName``, or ``tasks`` and one of a
    ``workspace``, a misspelt ``dagName``, or ``namespace`` with ``service``. With ``strict``,
    files that are empty or not text are listed too. A file that cannot be read, and a folder
    without a definition, is listed itself, so that its check reports it.
    """
    files: dict[Path, None] = {}
    passed_over: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            files[path] = None
            continue
        wanted = {file: _is_wanted(file, strict=strict) for file in _files_below(path)}
        files.update(dict.fromkeys([file for file, is_wanted in wanted.items() if is_wanted]))
        passed_over.update(dict.fromkeys(file for file in wanted if not wanted[file]))
        if not any(wanted.values()):
            files[path] = None
    return Found(tuple(files), tuple(passed_over))


def _is_wanted(file: Path, *, strict: bool) -> bool:
    try:
        content = _beginning(file)
    except OSError:
        return True
    if _MARK in content or (strict and (not content.strip() or _why_no_text(content))):
        return True
    pattern = _JSON_KEY if content.lstrip()[:1] == b"{" else _YAML_KEY
    keys = {key.replace(b"_", b"").replace(b"-", b"").lower() for key in pattern.findall(content)}
    is_ours = not keys.isdisjoint(_ITS_OWN_KEYS) or keys.issuperset(_OLDER_KEYS)
    return b"tasks" in keys and is_ours


def _files_below(folder: Path) -> Iterator[Path]:
    unread: list[Path] = []

    def note(error: OSError) -> None:
        unread.append(Path(error.filename))

    for where, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(where, name)
            if name.lower().endswith(ENDINGS) and not name.startswith(".") and file.is_file():
                yield file
    yield from unread


def _beginning(file: Path) -> bytes:
    """Read as much of a file as a definition may have, and a byte more."""
    with opened(file) as ordinary:
        return ordinary.read(MAX_TEXT_BYTES + 1)


def problems_in(file: Path) -> list[Problem]:
    """List the problems of a definition, errors first.

    Raises:
        OSError: The file cannot be read.
        BadParameter: It is no text, or a Python file.
    """
    content = _beginning(file)
    reason = _why_no_definition(file, content)
    if reason:
        raise typer.BadParameter(f"{file} {reason}")
    return find_problems(content)


def check(file: Path, *, strict: bool = False) -> Checked:
    """Check a file; one that cannot hold a definition has that as its only problem.

    A strict check warns also of what Rillflow takes and Rill Flow does not.
    """
    try:
        content = _beginning(file)
    except IsADirectoryError:
        return Checked(file, [Problem(UNREADABLE, "there is no definition in it", hint=WANTED)])
    except OSError as error:
        return Checked(file, [Problem(UNREADABLE, error.strerror or str(error))])
    reason = _why_no_definition(file, content)
    if reason:
        return Checked(file, [Problem(UNREADABLE, f"the file {reason}")])
    return Checked(file, find_problems(content, strict=strict))


def _why_no_definition(file: Path, content: bytes) -> str:
    if file.suffix == ".py":
        names = flows_written_in(content)[:MOST_FLOWS] or ["FLOW"]
        named = " or ".join(f"{file}:{name}" for name in names)
        return f"is a Python file; name a flow of it: {named}"
    return _why_no_text(content)


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
        say(line, err=True)


def said(problem: Problem) -> str:
    """Return the message of a problem, with its hint where there is one; very long ones are cut."""
    text = with_hint(problem.message, problem.hint)
    if len(text) <= _SAID_CHARACTERS:
        return text
    return f"{text[:_SAID_CHARACTERS]}... ({len(text)} characters)"
