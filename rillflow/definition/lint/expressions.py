"""Warnings: expressions that call unknown functions, or read variables that have no value.

Rill Flow accepts them: such a call fails when it is reached, and such a variable is nil (spec 2.5).
Conversely, it refuses some constructs that Rillflow supports; these are reported only in a strict
check.

Used by `definition/lint/warnings.py` and `definition/problems.py`.
"""

from collections.abc import Iterator
from typing import Final

from rillflow.definition.checks.validation import Finding, is_blank
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.errors import LanguageError
from rillflow.language.expressions import Expression, compile_expression
from rillflow.language.expressions.functions import FUNCTIONS
from rillflow.language.expressions.functions.refused import REASONS
from rillflow.suggestions import did_you_mean

IN_MAPPINGS: Final = ("source", "context", "input", "output")
"""The variables of a transform."""
IN_PROGRESS: Final = ("params", "taskRunningTimeInMillis")
"""The variables of the calculation of a progress."""

EXTENSION: Final = "extension"
"""The kind of findings about what only Rillflow takes."""

_SYNTAX: Final = LanguageError.wire_code
_RUN_TIME: Final = 30406
_OFFERED: Final = tuple(name for name in FUNCTIONS if name not in REASONS)


def expression_findings(
    text: str | None, path: Path, variables: tuple[str, ...]
) -> Iterator[Finding]:
    """Generate what will not work in an expression that is given these variables."""
    if text is None or is_blank(text):
        return
    try:
        expression = compile_expression(text)
    except LanguageError as error:
        yield Finding(_SYNTAX, f"{path[-1]}: {error}", path)
        return
    yield from _of_calls(expression, path)
    for name in expression.outer:
        if name not in variables:
            message = f"{path[-1]}: `{shown(name)}` is always nil, there is no such variable"
            others = f"there are {', '.join(variables)}"
            yield Finding(_RUN_TIME, message, path, hint=did_you_mean(name, variables) or others)
    for place, what, instead in expression.extensions:
        message = f"{path[-1]}: {place}: only Rillflow takes {what}"
        hint = f"Rill Flow takes {instead}"
        yield Finding(_RUN_TIME, message, path, hint=hint, kind=EXTENSION)


def _of_calls(expression: Expression, path: Path) -> Iterator[Finding]:
    for name in expression.calls:
        if name in REASONS:
            message = f"{path[-1]}: {name} is not supported: {REASONS[name]}"
            yield Finding(_RUN_TIME, message, path)
        elif name not in FUNCTIONS and name != "is_def":
            message = f"{path[-1]}: there is no function `{shown(name)}`"
            yield Finding(_RUN_TIME, message, path, hint=did_you_mean(name, _OFFERED))
