"""Functions of AviatorScript that Rillflow refuses, each with the reason.

Used by `definition/lint/expressions.py` and `language/expressions/functions`.
"""

from typing import Final

from rillflow.errors import ExpressionError
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.functions.library import Library, LibraryFunction
from rillflow.language.expressions.values import Value

_NO_CLOCK: Final = "an expression has no clock, so that it can be repeated; pass the time in"
_NO_OUTPUT: Final = "an expression writes nothing; return the value"
_NO_LOADING: Final = "an expression loads no code"
REASONS: Final = {
    **dict.fromkeys(("now", "sysdate"), _NO_CLOCK),
    **dict.fromkeys(("print", "println", "p", "pst"), _NO_OUTPUT),
    **dict.fromkeys(("load", "require", "import", "eval"), _NO_LOADING),
}

REFUSED_FUNCTIONS: Final = Library()


def _refusal(title: str, reason: str) -> LibraryFunction:
    def refuse(_meter: Meter, *_arguments: Value) -> Value:
        raise ExpressionError(f"{title} is not supported: {reason}")

    return LibraryFunction(title, refuse)


REFUSED_FUNCTIONS.functions += [_refusal(title, reason) for title, reason in REASONS.items()]
