"""Conditions: paths that are true if they have a result (spec 2.9).

The document is ``{"input": ...}`` or ``{"output": ...}``. The caller decides what an absent list,
an empty list or an error means, because that differs from place to place.

Used by `core/tasks`.
"""

from collections.abc import Iterable

from rillflow.jsontypes import JsonValue
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import compile_path


def holds(condition: str, document: JsonValue, budget: TotalBudget | None = None) -> bool:
    """Tell whether a condition is true: at least one value is found, even a null.

    Raises:
        PathSyntaxError: The condition is not a path.
        PathEvaluationError: A filter met a null or a scalar.
        BudgetExceededError: The condition is too long, too deep, or visits too much.
        WorkLimitError: Nothing is left of the budget.
    """
    return compile_path(condition, budget).matches(document, budget)


def all_hold(
    conditions: Iterable[str], document: JsonValue, budget: TotalBudget | None = None
) -> bool:
    """Tell whether every condition is true; without conditions they all are.

    Raises:
        LanguageError: As for ``holds``, for the first condition that fails; conditions
            after a false one are not evaluated.
    """
    return all(holds(condition, document, budget) for condition in conditions)


def any_holds(
    conditions: Iterable[str], document: JsonValue, budget: TotalBudget | None = None
) -> bool:
    """Tell whether some condition is true; without conditions none is.

    Raises:
        LanguageError: As for ``holds``, for the first condition that fails; conditions
            after a true one are not evaluated.
    """
    return any(holds(condition, document, budget) for condition in conditions)
