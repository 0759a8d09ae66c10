"""The command that tells what is wrong with an installation, and how to mend it.

Used by `cli/application.py`.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rillflow.cli.doctor.finding import Finding

SIGNS: Final = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}
AREA_WIDTH: Final = 14
STATE_WIDTH: Final = 9


class ReportFormat(StrEnum):
    """How a report is written."""

    TEXT = "text"
    JSON = "json"


def doctor(
    url: Annotated[
        str | None,
        typer.Option(
            help="Base URL of the server; that of the settings by default.",
            envvar="RILLFLOW_URL",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="URL of the store, as `rillflow up` takes it.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the embedded store; .rillflow by default.")
    ] = None,
    report_format: Annotated[
        ReportFormat, typer.Option("--format", help="How to write the report.")
    ] = ReportFormat.TEXT,
) -> None:
    """Examine installation, machine, settings, store and server; say what is wrong.

    Each line is fine, a warning or an error, with what to do. Nothing is changed. Where no server
    runs, the command tells whether one would start; otherwise, what the server says of itself. The
    exit code is 1 if there is an error.

        $ rillflow doctor

        $ rillflow doctor --format json
    """
    from rillflow.cli.doctor.examination import examine
    from rillflow.cli.visible import print_json

    found: list[Finding] = []
    tells = report_format is ReportFormat.TEXT
    for each in examine({"store": store, "data_dir": data_dir}, url):
        if tells:
            _tell(each, is_first=not found or found[-1].area != each.area)
        found.append(each)
    errors, warnings = (
        sum(each.state == state for each in found) for state in ("error", "warning")
    )
    if tells:
        _tell_sum(errors, warnings)
    else:
        print_json(
            {"errors": errors, "warnings": warnings, "findings": [_facts(each) for each in found]}
        )
    if errors:
        raise typer.Exit(1)


def _tell(found: "Finding", *, is_first: bool) -> None:
    """Write a finding as soon as it is known: a line for programs, aligned at a terminal."""
    from rich.table import Table
    from rich.text import Text

    from rillflow.cli.output.console import console_of
    from rillflow.cli.visible import say, visible_line

    console = console_of()
    if not console.is_terminal:
        remedy = f" -> {found.remedy}" if found.remedy else ""
        said = visible_line(f"{found.message}{remedy}")
        say(f"{found.state:<{STATE_WIDTH}}{found.area:<{AREA_WIDTH}}  {said}")
        return
    sign, colour = SIGNS[found.state]
    told = Text(visible_line(found.message))
    if found.remedy:
        told.append(f"\n→ {visible_line(found.remedy)}", "cyan")
    row = Table.grid(padding=(0, 2))
    row.add_column(width=AREA_WIDTH, no_wrap=True)
    row.add_column(width=1)
    row.add_column(ratio=1, overflow="fold")
    row.add_row(Text(found.area if is_first else "", "bold"), Text(sign, colour), told)
    console.print(row)


def _tell_sum(errors: int, warnings: int) -> None:
    from rillflow.cli.visible import say

    if not errors and not warnings:
        say("\nnothing is wrong")
        return
    counted = [_count(errors, "error"), _count(warnings, "warning")]
    say("\n" + ", ".join(each for each in counted if each))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}" if number else ""


def _facts(found: "Finding") -> dict[str, str]:
    return {
        "area": found.area,
        "state": found.state,
        "message": found.message,
        **({"remedy": found.remedy} if found.remedy else {}),
    }
