"""Why a condition is true or false: the parts of its filters, with the values that they compare.

A condition is explained for people who look at it; nothing here decides what it means. The parts
are read by the same code that evaluates the condition.

Used by `core/inspection`.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from rillflow.errors import LanguageError
from rillflow.jsontypes import JsonValue
from rillflow.language.budget import Budget, TotalBudget
from rillflow.language.jsonpath.comparisons import (
    UNDEFINED,
    ListLiteral,
    Operand,
    Pattern,
    Undefined,
)
from rillflow.language.jsonpath.filter_syntax import (
    Comparison,
    Existence,
    FilterSyntax,
    JsonText,
    Negation,
    NumberText,
    OperandSyntax,
    PathText,
    PatternText,
    read_filter,
)
from rillflow.language.jsonpath.filters import compile_filter
from rillflow.language.jsonpath.paths import Path, compile_path
from rillflow.language.jsonpath.steps import CONDITION, Run
from rillflow.language.jsonpath.syntax import Filter, PathSyntax, Scan, Token
from rillflow.language.mapping.conditions import holds
from rillflow.language.mapping.ineffective_rules import why_no_value

MOST_ITEMS: Final = 10
"""How many of the values that a filter looks at are shown."""
MOST_PARTS: Final = 60


class Part(NamedTuple):
    """A comparison, or the look-up of a path, for one of the values that a filter looks at.

    Attributes:
        text: The part in the notation of the language.
        item: The number of the value, from 0.
        is_true: Whether it holds; None if it cannot be evaluated.
        path: The path whose value is compared.
        value: That value; None where it has none.
        has_value: Whether there is one.
        reason: Why it cannot be evaluated.
    """

    text: str
    item: int
    is_true: bool | None
    path: str
    value: JsonValue
    has_value: bool
    reason: str = ""


class Explanation(NamedTuple):
    """Why a condition is true or false.

    Attributes:
        is_true: Whether it holds; None if it cannot be evaluated.
        reason: What its path lacks, or why it cannot be evaluated; empty otherwise.
        value: What a condition without filters has found.
        parts: The parts of its first filter.
        more_items: How many values were looked at besides those that are shown.
    """

    is_true: bool | None
    reason: str = ""
    value: JsonValue = None
    parts: tuple[Part, ...] = ()
    more_items: int = 0


def explain(condition: str, document: JsonValue, budget: TotalBudget) -> Explanation:
    """Evaluate a condition, and tell why it is true or false.

    Raises:
        WorkLimitError: Nothing is left of the budget.
    """
    try:
        is_true = holds(condition, document, budget)
        path = compile_path(condition, budget)
        return _explained(path, document, is_true=is_true, budget=budget)
    except LanguageError as error:
        return Explanation(None, str(error))


def _explained(
    path: Path, document: JsonValue, *, is_true: bool, budget: TotalBudget
) -> Explanation:
    before, tree = _first_filter(path.syntax.tokens)
    if tree is None:
        if is_true:
            return Explanation(is_true, value=path.find(document, budget))
        return Explanation(is_true, why_no_value(path, document).reason)
    prefix = Path(path.text, PathSyntax(path.syntax.root, before))
    found = prefix.find(document, budget)
    if found is None:
        return Explanation(is_true, why_no_value(prefix, document).reason)
    items = list(_items([found] if prefix.definite else found))
    if not items:
        return Explanation(is_true, "there is nothing that the filter could look at")
    parts = islice(_parts(tree, items[:MOST_ITEMS], document, budget), MOST_PARTS)
    more = max(len(items) - MOST_ITEMS, 0)
    return Explanation(is_true, parts=tuple(parts), more_items=more)


def _first_filter(tokens: tuple[Token, ...]) -> tuple[tuple[Token, ...], FilterSyntax | None]:
    """Return what stands before the first filter, and the filter; None where that is no list."""
    for place, token in enumerate(tokens):
        if isinstance(token, Scan):
            break
        if isinstance(token, Filter):
            return tokens[:place], read_filter(token.text, place)
    return tokens, None


def _items(found: JsonValue) -> Iterator[JsonValue]:
    """Yield what a filter looks at: the elements of lists, and other values themselves."""
    for value in found if isinstance(found, list) else [found]:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _parts(
    tree: FilterSyntax, items: list[JsonValue], document: JsonValue, budget: TotalBudget
) -> Iterator[Part]:
    leaves = list(_leaves(tree))
    for number, item in enumerate(items):
        for leaf in leaves:
            yield _part(leaf, number, item, document, budget)


def _part(
    leaf: Comparison | Existence,
    number: int,
    item: JsonValue,
    document: JsonValue,
    budget: TotalBudget,
) -> Part:
    named = leaf.path if isinstance(leaf, Existence) else _path_of(leaf)
    text = text_of(leaf)
    own = Budget(budget)
    try:
        run = Run(document, CONDITION, own)
        is_true = compile_filter(leaf, compile_path)(item, run)
        value: Operand = compile_path(named).operand(item, run) if named else UNDEFINED
    except LanguageError as error:
        return Part(text, number, None, named, None, has_value=False, reason=str(error))
    finally:
        own.settle()
    if isinstance(value, Undefined | ListLiteral | Pattern):
        return Part(text, number, is_true, named, None, has_value=False)
    return Part(text, number, is_true, named, value, has_value=True)


def _path_of(comparison: Comparison) -> str:
    for side in (comparison.left, comparison.right):
        if isinstance(side, PathText):
            return side.text
    return ""


def _leaves(tree: FilterSyntax) -> Iterator[Comparison | Existence]:
    match tree:
        case Comparison() | Existence():
            yield tree
        case Negation(part):
            yield from _leaves(part)
        case _:
            for part in tree.parts:
                yield from _leaves(part)


def text_of(leaf: Comparison | Existence) -> str:
    """Write a part in the notation of the language."""
    if isinstance(leaf, Existence):
        return leaf.path if leaf.wanted else f"!{leaf.path}"
    return f"{_operand(leaf.left)} {leaf.operator.lower()} {_operand(leaf.right)}"


def _operand(operand: OperandSyntax) -> str:
    match operand:
        case PathText(text) | NumberText(text) | JsonText(text):
            return text
        case PatternText(source, flags):
            return f"/{source}/{flags}"
        case str():
            return f"'{operand}'"
        case _:
            return "null" if operand is None else str(operand).lower()
