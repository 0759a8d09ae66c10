"""Telling on standard error which rules of an execution's mappings came to nothing."""

from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from rillflow.client.executions import Execution

MOST_TOLD: Final = 10


def tell_mapping_warnings(execution: "Execution") -> None:
    """Write a line for each of the first ten rules, and how many more there are.

    The execution has been waited for, so an answer that does not come any more is no error:
    what was asked for is known already.
    """
    from rillflow.errors import RillflowError

    try:
        warnings = execution.warnings()
    except RillflowError:
        return
    for warning in warnings[:MOST_TOLD]:
        typer.echo(f"{typer.style('warning:', fg='yellow')} {warning}", err=True)
    if len(warnings) > MOST_TOLD:
        more = len(warnings) - MOST_TOLD
        typer.echo(f"and {more} more rules that came to nothing; get shows them", err=True)
