"""Compilation of patterns to RE2 programs of limited size, for paths and expressions.

Used by `language/expressions/patterns.py` and `language/jsonpath/comparisons.py`.
"""

from typing import Any, Final, NamedTuple, TypeAlias

import re2

from rillflow.errors import BudgetExceededError
from rillflow.language.text.lexing import shorten

Compiled: TypeAlias = Any  # re2 ships no types

MAX_PROGRAM: Final = 5_000
"""Limit of the instructions of a program; one more level of ``.{1,300}`` has 2,700."""
_TRIAL_BYTES: Final = 1 << 18  # limits the compilation of a huge pattern to 3 ms
_RUN_BYTES: Final = 1 << 19  # the memory that one pattern may use to be fast


class Program(NamedTuple):
    """A compiled regular expression, and how many instructions it has, at least 1."""

    compiled: Compiled
    size: int


def compile_program(
    source: str, *, ignores_case: bool = False, captures: bool = True, most: int = MAX_PROGRAM
) -> Program:
    """Compile a pattern, with Java's meaning as far as RE2 supports it.

    Raises:
        re2.error: It is not valid in RE2, or huge.
        BudgetExceededError: Its program has more than ``most`` instructions.
    """
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignores_case
    options.max_mem = _TRIAL_BYTES
    trial = re2.compile(source, options)
    size = int(trial.programsize)
    if size > most:
        raise BudgetExceededError(f"regular expression /{shorten(source)}/ is too complex")
    options.max_mem = _RUN_BYTES
    options.never_capture = not captures and trial.groups > 0  # groups are slow
    return Program(re2.compile(source, options), max(size, 1))
