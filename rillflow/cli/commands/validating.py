"""`rillflow validate`: checks definitions in files and folders, for people and for CI.

Used by `cli/application.py`.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rillflow.cli.visible import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rillflow.cli.checking import Checked, Found
    from rillflow.errors import Problem

HAS_ERRORS: Final = 1
HAS_WARNINGS: Final = 3
MOST_NAMED: Final = 5


class Format(StrEnum):
    """How problems are written."""

    TEXT = "text"
    GITHUB = "github"
    JSON = "json"


Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Exit with 3 if there are only warnings, and also warn of expressions that Rill Flow"
        " refuses.",
    ),
]
Form = Annotated[
    Format,
    typer.Option(
        "--format",
        help="text: a line for each problem. github: annotations of a GitHub workflow. json:"
        " everything, on standard output.",
    ),
]


def validate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER|MODULE:FLOW",
            help="Workflow definitions, YAML or JSON, folders, or flows in Python.",
        ),
    ],
    strict: Strict = False,
    form: Form = Format.TEXT,
) -> None:
    """List all errors and warnings of workflow definitions; needs no server.

    Each line has the place, the code and a hint, if there is one. In a folder,
    the command checks every file ending in .yaml, .yml or .json that has a
    dagName, or a namespace, a service and tasks, except hidden files. The exit
    code is 0 if the server would accept every definition, 1 if it would refuse
    one or a file cannot be read, and with --strict 3 if one has a
    warning. --strict also warns of expressions that only Rillflow accepts, not
    of other extensions, and reports empty files and files that are no text as
    errors.

        $ rillflow validate examples/quickstart.yaml

        $ rillflow validate flows/ --strict --format github

        $ rillflow validate pipeline.py:film
    """
    from rillflow.cli.checking import find_files

    found = find_files(paths, strict=strict)
    checked = [_checked(file, strict=strict) for file in found.files]
    if form is Format.JSON:
        _write_json(checked, found)
    elif form is Format.GITHUB:
        _write_annotations(checked)
        say(_summary(checked, found), err=True)
    else:
        _write_lines(checked, found)
    code = _exit_code(checked, strict=strict)
    if code:
        raise typer.Exit(code)


def _checked(file: Path, *, strict: bool) -> "Checked":
    from rillflow.cli.checking import Checked, check
    from rillflow.cli.loading import flow_named, place_of, problems_of

    flow = flow_named(str(file))
    if flow is None:
        return check(file, strict=strict)
    return Checked(place_of(str(file)), problems_of(flow, strict=strict))


def _exit_code(checked: "Sequence[Checked]", *, strict: bool) -> int:
    if any(one.errors for one in checked):
        return HAS_ERRORS
    return HAS_WARNINGS if strict and any(one.problems for one in checked) else 0


def _write_lines(checked: "Sequence[Checked]", found: "Found") -> None:
    from rillflow.cli.checking import tell

    for one in checked:
        tell(one.file, one.problems)
    if len(checked) > 1 or found.passed_over:
        say(_summary(checked, found))
    elif not checked[0].errors:
        warned = ", with warnings" if checked[0].problems else ""
        say(f"{checked[0].file} is a valid definition{warned}")


def _summary(checked: "Sequence[Checked]", found: "Found") -> str:
    wrong = sum(bool(one.errors) for one in checked)
    warned = sum(bool(one.problems) for one in checked) - wrong
    many = len(checked)
    text = (
        f"{many} definition{'' if many == 1 else 's'}: {many - wrong - warned} without problems,"
        f" {warned} with warnings, {wrong} with errors"
    )
    others = found.passed_over
    if not others:
        return text
    names = ", ".join(map(str, others[:MOST_NAMED])) + (", ..." if len(others) > MOST_NAMED else "")
    return f"{text}; skipped, without a dagName: {names}"


def _write_annotations(checked: "Sequence[Checked]") -> None:
    for one in checked:
        for problem in one.problems:
            say(annotation(str(one.file), problem))


def annotation(file: str, problem: "Problem") -> str:
    """Return a problem as a command of a GitHub workflow, which shows it beside the line."""
    from rillflow.cli.checking import said

    facts = {"file": file}
    if problem.line:
        facts.update(line=str(problem.line), col=str(problem.column))
    facts["title"] = f"rillflow {problem.code}"
    where = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in facts.items())
    return f"::{problem.severity} {where}::{_escaped(said(problem))}"


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _write_json(checked: "Sequence[Checked]", found: "Found") -> None:
    from rillflow.cli.visible import print_json

    print_json(
        {
            "files": [
                {
                    "file": str(one.file),
                    "valid": not one.errors,
                    "problems": [problem._asdict() for problem in one.problems],
                }
                for one in checked
            ],
            "passed_over": [str(file) for file in found.passed_over],
            "errors": sum(one.errors for one in checked),
            "warnings": sum(len(one.problems) - one.errors for one in checked),
        }
    )
