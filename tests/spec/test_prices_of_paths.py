"""Each step, operator and function of a path, and each target, is charged for its time.

The operators and functions are those of the registries. Steps, targets, and the syntax of
expressions have no arguments of one form, so that each kind has texts here; a kind without one
fails.
"""

from collections.abc import Callable, Iterator
from functools import partial
from inspect import isabstract
from itertools import count, product
from typing import Any, Final

import pytest

from rillflow.errors import LanguageError
from rillflow.jsontypes import JsonObject
from rillflow.language.budget import Budget, TotalBudget
from rillflow.language.expressions import compile_expression
from rillflow.language.expressions.compiler import Compiler
from rillflow.language.expressions.lexer import Lexer
from rillflow.language.expressions.parser import Parser
from rillflow.language.jsonpath import filter_syntax, functions, steps, syntax
from rillflow.language.jsonpath.comparisons import (
    OPERATORS,
    UNDEFINED,
    ListLiteral,
    Operand,
    Pattern,
)
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping import targets
from rillflow.language.mapping.conditions import all_hold, any_holds, holds
from tests.hostile_language import EXPRESSIONS, PATHS, TARGETS
from tests.price_values import EMPTY_GROUPS, JSON_VALUES, MANY_GROUPS, nested
from tests.pricing import MOST_LOOPS, free_steps, price, quiet, small_budget, spent

OPERANDS: Final[dict[str, Operand]] = {what: make() for what, make in JSON_VALUES.items()}
EQUAL: Final[dict[str, Operand]] = {
    **{what: make() for what, make in JSON_VALUES.items()},
    "nothing": UNDEFINED,
    "a list in the filter": ListLiteral(["1" * 1_000, "x" * 9_000] * 20),
    "a map in the filter": ListLiteral({"k" * 9_000: 1}),
    "a pattern of many groups": Pattern(MANY_GROUPS, ""),
    "a pattern of empty groups": Pattern(EMPTY_GROUPS, ""),
    "a pattern without an end": Pattern("(a*)*b", "i"),
    "a pattern that is large": Pattern("(?:a?){1000}", ""),
}
DOCUMENTS: Final[dict[str, JsonObject]] = {
    what: {"context": {"a": make(), "b": make(), "l": [make() for _ in range(3)]}, "input": {}}
    for what, make in JSON_VALUES.items()
}
DOCUMENTS["many of nothing"] = {"context": {"a": 1, "b": 2, "l": [1] * 3_000}, "input": {}}
DEEP: Final = nested(59, lambda inside: {"a": inside})
DOCUMENTS["many that are deep"] = {"context": {**DEEP, "b": 1, "l": [DEEP] * 50}, "input": {}}


def dear(works: Iterator[tuple[str, Callable[[TotalBudget], object]]]) -> str | None:
    """Return the first that takes too long for what it is charged."""
    with quiet():
        for what, work in works:

            def charged(work: Callable[[TotalBudget], object] = work) -> int:
                total = small_budget()
                return free_steps(lambda: work(total)) + spent(total)

            times = price(lambda: charged)
            if times >= MOST_LOOPS:
                return f"{what}: {times:.0f}"
    return None


def on_a_path(total: TotalBudget, work: Callable[[Budget], object]) -> None:
    """Do something on the budget of one reading of a path."""
    budget = Budget(total)
    try:
        work(budget)
    finally:
        budget.settle()


@pytest.mark.one_in(8)
@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_of_filters_is_charged_for_its_time(name: str) -> None:
    compare = OPERATORS[name]
    pairs = [*product(OPERANDS.items(), EQUAL.items()), *product(EQUAL.items(), OPERANDS.items())]

    def work(left: Operand, right: Operand, total: TotalBudget) -> None:
        on_a_path(total, lambda budget: compare(left, right, budget))

    assert not dear(
        (f"{what}, {other}", partial(work, left, right)) for (what, left), (other, right) in pairs
    )


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_each_function_of_paths_is_charged_for_its_time(name: str) -> None:
    def work(value: Any, number: int, total: TotalBudget) -> None:
        call = functions.path_function(name, (lambda _: value,) * number)
        on_a_path(total, lambda budget: call(value, steps.Run(value, steps.MAPPING, budget)))

    assert not dear(
        (f"{what}, {number} arguments of it", partial(work, value, number))
        for (what, value), number in product(OPERANDS.items(), (0, 1, 2, 500))
    )


def read_in_all_ways(text: str, document: JsonObject) -> Iterator[Callable[[TotalBudget], object]]:
    path = compile_path(text)
    for read in (path.find, path.read_strict, path.matches, path.places):
        yield partial(read, document)
    for hold in (all_hold, any_holds):
        yield partial(hold, [text] * 3, document)
    yield partial(holds, text, document)


@pytest.mark.one_in(8)
@pytest.mark.parametrize("kind", PATHS)
def test_each_step_of_paths_is_charged_for_its_time(kind: str) -> None:
    def works() -> Iterator[tuple[str, Callable[[TotalBudget], object]]]:
        for text, (what, document) in product(PATHS[kind], DOCUMENTS.items()):
            for work in read_in_all_ways(text, document):
                yield f"{text[:60]} on {what}", work

    assert not dear(works())


@pytest.mark.parametrize("kind", TARGETS)
def test_each_target_is_charged_for_its_time(kind: str) -> None:
    def work(target: targets.Target, document: JsonObject, total: TotalBudget) -> None:
        target.write(targets.Draft(dict(document), total), [1, 2])

    assert not dear(
        (f"{target.text[:60]} on {what}", partial(work, target, document))
        for target, (what, document) in product(
            map(targets.compile_target, TARGETS[kind]), DOCUMENTS.items()
        )
    )


@pytest.mark.one_in(8)
@pytest.mark.parametrize("kind", EXPRESSIONS)
def test_each_syntax_of_expressions_is_charged_for_its_time(kind: str) -> None:
    def work(text: str, document: Any, total: TotalBudget) -> None:
        context = document["context"]
        variables = {"context": context, "source": context["a"], "other": context["b"]}
        compile_expression(text).evaluate(variables, total=total)

    assert not dear(
        (f"{text[:60]} on {what}", partial(work, text, document))
        for text, (what, document) in product(EXPRESSIONS[kind], DOCUMENTS.items())
    )


def test_compiling_a_condition_is_charged_for_its_time() -> None:
    texts = [text for listed in PATHS.values() for text in listed]
    texts += [f"$[?(@.a =~ /{'[a-zA-Z0-9]' * size}/)]" for size in (1, 10, 90)]
    texts += [f"$[?({' && '.join(['@.a == /(?:x{9}){90}/'] * size)})]" for size in (1, 30)]

    def work(text: str, number: Iterator[int], total: TotalBudget) -> None:
        compile_path(f"{text}.n{next(number)}", total)

    numbers = count()
    assert not dear((text[:60], partial(work, text, numbers)) for text in texts)


def kinds_of(kind: type) -> set[str]:
    """Name all kinds of a class that are of use themselves."""
    inner: set[str] = set().union(*map(kinds_of, kind.__subclasses__()))
    return inner if isabstract(kind) else inner | {kind.__name__}


def test_each_kind_of_step_has_paths() -> None:
    assert kinds_of(steps.Step) == set(PATHS)


def test_each_kind_of_target_has_texts() -> None:
    assert kinds_of(targets.Target) == set(TARGETS)


def nodes_in(node: object) -> set[str]:
    """Name the kinds of nodes below one."""
    if isinstance(node, tuple | list):
        return {name for each in node for name in nodes_in(each)}
    slots = [name for kind in type(node).__mro__ for name in getattr(kind, "__slots__", ())]
    inner = {name for slot in slots for name in nodes_in(getattr(node, slot, None))}
    return inner | {type(node).__name__}


@pytest.mark.parametrize("kind", [kind.__name__ for kind in Compiler._BY_TYPE])
def test_each_kind_of_node_has_expressions(kind: str) -> None:
    for text in EXPRESSIONS[kind]:
        program = Parser(text, Lexer(text).tokens()).program()
        assert kind in nodes_in(program.body), text


def test_each_kind_of_token_and_operand_is_in_some_path() -> None:
    def named(alias: Any) -> set[str]:
        return {kind.__name__ for kind in alias.__args__ if isinstance(kind, type)}

    seen = set()
    for listed in PATHS.values():
        for text in listed:
            for token in syntax.read_path(text).tokens:
                seen.add(type(token).__name__)
                if isinstance(token, syntax.Function):
                    seen |= {type(each).__name__ for each in token.arguments}
                if isinstance(token, syntax.Filter):
                    seen |= nodes_in_filter(filter_syntax.read_filter(token.text, 0))
    wanted = named(syntax.Token) | named(filter_syntax.FilterSyntax)
    wanted |= {"JsonArgument", "PathArgument", "PathText", "NumberText", "JsonText", "PatternText"}
    assert wanted - seen == set()


def nodes_in_filter(tree: object) -> set[str]:
    inner = tree if isinstance(tree, tuple) else ()
    return {type(tree).__name__}.union(*(nodes_in_filter(each) for each in inner))


def test_a_text_that_no_one_can_compile_is_paid_for_each_time() -> None:
    total = TotalBudget()
    for _ in range(3):
        before = total.steps
        with pytest.raises(LanguageError):
            compile_path("$[?(@ =~ /(/)]", total)
        assert before - total.steps > 1_000


def test_a_condition_is_paid_for_once_in_a_turn() -> None:
    total = TotalBudget()
    text = "$.input[?(@.a =~ /x/)]"
    taken = []
    for _ in range(3):
        before = total.steps
        compile_path(text, total)
        taken.append(before - total.steps)
    assert taken[0] > 1_000
    assert taken[1:] == [1, 1]
