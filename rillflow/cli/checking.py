"""What is wrong or suspicious with a definition in a file, told as compilers do."""

from collections.abc import Sequence
from pathlib import Path

import typer

from rillflow.definition.problems import find_problems
from rillflow.errors import Problem


def problems_in(file: Path) -> list[Problem]:
    """List the problems of a definition, errors first.

    Raises:
        OSError: The file cannot be read.
        BadParameter: It is no text.
    """
    content = file.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        reason = f"{file} is no UTF-8 text: byte {error.start} is {content[error.start]:#04x}"
        raise typer.BadParameter(reason) from error
    return find_problems(content)


def tell(file: Path, problems: Sequence[Problem]) -> None:
    """Write problems to standard error, a line each, with their places."""
    for problem in problems:
        place = f"{file}:{problem.line}:{problem.column}" if problem.line else str(file)
        hint = f" ({problem.hint})" if problem.hint else ""
        line = f"{place}: {problem.severity} {problem.code}: {problem.message}{hint}"
        typer.echo(line, err=True)
