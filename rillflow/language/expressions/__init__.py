"""Transform expressions: the part of AviatorScript 5.2.7 that Rill Flow documents use.

Mappings, A/B rules and gray rules call it. An expression is compiled once and evaluated often. It
is interpreted, never passed to Python's ``eval``; it has no clock, no output and no access to Java.
A ``Budget`` ends every evaluation in bounded time and memory. What the subset does not support
fails: invalid syntax with ``ExpressionSyntaxError`` at compilation, an unknown function with
``ExpressionError`` when it is called.

Source: spec 2.5, Q65, 9.4 and 9.6, and the recorded results of the real engine in
``tests/golden/data/aviator-5.2.7.json``.
"""

from collections.abc import Mapping
from typing import Final

from rillflow.errors import BudgetExceededError, ExpressionError, ExpressionSyntaxError
from rillflow.jsontypes import JsonValue
from rillflow.language.bounded_cache import PATTERN_BYTES, BoundedCache
from rillflow.language.budget import TotalBudget
from rillflow.language.expressions.budget import DEFAULT_BUDGET, Budget, Meter
from rillflow.language.expressions.compiler import Compiler
from rillflow.language.expressions.lexer import Lexer
from rillflow.language.expressions.parser import Parser
from rillflow.language.expressions.scopes import Code, Scope, Signal
from rillflow.language.expressions.texts import to_json
from rillflow.language.versions import CURRENT

__all__ = [
    "DEFAULT_BUDGET",
    "MAX_SOURCE_CHARACTERS",
    "Budget",
    "BudgetExceededError",
    "Expression",
    "ExpressionError",
    "ExpressionSyntaxError",
    "compile_expression",
]

MAX_SOURCE_CHARACTERS: Final = 1 << 15

_CACHED_BYTES: Final = 1 << 26
_BYTES_PER_CHARACTER: Final = 512


class Expression:
    """A compiled expression; it has no state and may be shared.

    Attributes:
        text: The text it was compiled from.
        calls: The functions that it calls by name and does not define.
        outer: The variables that it reads and that can only come from outside.
        extensions: Its constructs that AviatorScript 5.2.7 does not support.
    """

    __slots__ = ("_code", "_cost", "_frames", "_since", "calls", "extensions", "outer", "text")

    def __init__(self, text: str, code: Code, compiler: Compiler) -> None:
        self.text = text
        self.calls = tuple(compiler.calls)
        self.outer = tuple(compiler.outer)
        self.extensions = compiler.extensions
        self._since = compiler.since
        self._code = code
        self._cost = compiler.cost
        self._frames = compiler.frames

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(
        self,
        env: Mapping[str, JsonValue],
        *,
        seed: int = 0,
        budget: Budget = DEFAULT_BUDGET,
        language: int = CURRENT,
        total: TotalBudget | None = None,
    ) -> JsonValue:
        """Evaluate on these variables, which are never changed.

        Args:
            env: The variables by name: ``source``, ``context``, ``input`` and ``output``
                in a mapping; others are nil.
            seed: Decides the numbers of ``rand``; the same seed gives the same numbers.
            budget: What the evaluation may spend.
            language: The version of the language whose rules hold (see ``versions``).
            total: What it may spend together with others.

        Returns:
            Plain JSON: nil is None, sets and ranges are lists. It may share parts with
            ``env``.

        Raises:
            ExpressionError: It fails on these values, or the result is not JSON.
            ExpressionSyntaxError: It uses syntax of a later version.
            BudgetExceededError: It takes more than the budget.
            WorkLimitError: It takes more than is left of the total.
        """
        if language < self._since:
            raise ExpressionSyntaxError("the syntax is of a later version of the language")
        if total is not None:
            total.spend(self._cost)
        meter = Meter(env, seed, budget, language, total)
        meter.frames -= self._frames
        try:
            value = self._code(Scope(meter, meter.root, None))
            return to_json(meter, value.value if value.__class__ is Signal else value)
        except OverflowError as error:
            raise ExpressionError("an integer is too large for a double") from error
        finally:
            if total is not None:
                meter.settle()


def compile_expression(text: str) -> Expression:
    """Compile a text; recent ones are kept.

    Raises:
        ExpressionSyntaxError: The text is not of the subset; the message says at which
            line and column.
        BudgetExceededError: It is longer than ``MAX_SOURCE_CHARACTERS``, or nested too
            deeply.
    """
    if len(text) > MAX_SOURCE_CHARACTERS:
        raise BudgetExceededError(
            f"an expression of {len(text)} characters; {MAX_SOURCE_CHARACTERS} are allowed"
        )
    return _expressions.get(text) or _compile(text)


def kept_expression(text: str) -> Expression | None:
    """Return an expression that was compiled not long ago."""
    return _expressions.get(text)


def _compile(text: str) -> Expression:
    parser = Parser(text, Lexer(text).tokens())
    compiler = Compiler(parser.program())
    code = compiler.program()
    size_bytes = len(text) * _BYTES_PER_CHARACTER + parser.names.patterns * PATTERN_BYTES
    return _expressions.put(text, Expression(text, code, compiler), size_bytes)


_expressions: Final = BoundedCache[Expression](_CACHED_BYTES)
