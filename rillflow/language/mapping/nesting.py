"""The nesting depth of lists and maps, computed without recursion.

Used by `language/mapping/targets.py`.
"""

from typing import Final

from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.budget import TotalBudget

_CONTAINERS: Final = (dict, list)


def nesting_of(value: JsonObject, budget: TotalBudget) -> int:
    """Count the levels of lists and maps in a map, itself included.

    A shared part is visited once, so the work is proportional to the distinct parts.

    Raises:
        WorkLimitError: Nothing is left of the budget.
    """
    levels: dict[int, int] = {}
    open_ones: list[JsonValue] = [value]
    while open_ones:
        outer = open_ones[-1]
        if id(outer) in levels:
            open_ones.pop()
            continue
        items = outer.values() if isinstance(outer, dict) else outer
        inner = [item for item in items if type(item) in _CONTAINERS]  # type: ignore[union-attr]
        unknown = [item for item in inner if id(item) not in levels]
        if unknown:
            open_ones.extend(unknown)
        else:
            levels[id(outer)] = 1 + max((levels[id(item)] for item in inner), default=0)
        budget.spend(1 + len(items) // 8)  # type: ignore[arg-type]
    return levels[id(value)]
