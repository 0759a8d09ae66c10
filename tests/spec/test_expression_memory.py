"""No expression, path or mapping takes more memory than its budget, whatever it makes.

What is measured is the peak of Python's own memory while one of them is evaluated. Each
would take hundreds of megabytes, or more than there is, if it were charged afterwards.
"""

import contextlib
import tracemalloc
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rillflow.errors import BudgetExceededError, LanguageError, MappingError, WorkLimitError
from rillflow.language.budget import MAX_BYTES, MAX_STEPS, TotalBudget
from rillflow.language.expressions import DEFAULT_BUDGET, compile_expression
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.conditions import holds
from rillflow.language.mapping.mappings import compile_mappings
from rillflow.language.mapping.targets import Draft, compile_target
from tests.fuzzing import examples

MEBIBYTE: Final = 1 << 20
MOST: Final = 64 * MEBIBYTE
LONG: Final = "x" * MEBIBYTE
WIDE: Final = "键" * MEBIBYTE
ENV: Final[dict[str, Any]] = {
    "source": LONG,
    "wide": WIDE,
    "key": {LONG: 1},
    "huge": "," * (8 * MEBIBYTE),
    "map": {str(number): number for number in range(100_000)},
    "list": list(range(100_000)),
    "context": {"rows": [{"text": "y" * 100, "number": n} for n in range(2_000)]},
}


@contextlib.contextmanager
def within(most_bytes: int = MOST) -> Iterator[None]:
    """Fail if more than this is taken at any time."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most_bytes, f"{peak / MEBIBYTE:.0f} MiB"


DOUBLED: Final = "let l = seq.list(source); for i in range(0, 40) { l = seq.list(l, l); } "
ATTACKS: Final = {
    "a text of a long text, many times": "'' + repeat(1500, source)",
    "the same as the result": "repeat(1500, source)",
    "the same in a map": "seq.map('a', repeat(1500, source))",
    "the same of characters that take more": "repeat(1500, wide)",
    "a long key, many times": "repeat(1500, key)",
    "a text of a long key, many times": "str(repeat(1500, key))",
    "in a template": "'#{repeat(1500, source)}'",
    "in a join": "string.join(repeat(1500, repeat(1500, source)))",
    "joined": "string.join(repeat(1500, source))",
    "a separator that is long": "string.join(range(0, 1500), source)",
    "lists of lists": f"{DOUBLED} l",
    "lists of lists as text": f"{DOUBLED} '' + l",
    "lists of lists in a set": f"{DOUBLED} seq.set(l)",
    "a list that doubles": "let l = seq.list(1); while true { l = concat(l, l); }",
    "a list that doubles in a reduce": "reduce(range(0, 40), lambda(l, x) -> concat(l, l) end,"
    " seq.list(1.5))",
    "texts that are kept": "let l = seq.list(); while true { seq.add(l, source + count(l)); }",
    "wide texts that are kept": "let l = seq.list(); while true { seq.add(l, wide + ''); }",
    "groups of a match": "source =~ /" + "(" * 200 + ".*" + ")" * 200 + "/",
    "parts of a text": "string.split(huge, ',')",
    "parts at a pattern": "string.split(huge, '[,]')",
    "characters": "map(huge, lambda(c) -> c + '' end)",
    "a replacement that grows": "string.replace_all(source, 'x', 'xxxxxxxxxxxxxxxx')",
    "a replacement of everything": "string.replace_all(source, '(x+)', '$1$1$1$1$1$1$1$1$1')",
    "entries of a map": "map(map, lambda(e) -> e end)",
    "entries that are kept": "let l = seq.list(); while true { for e in map { seq.add(l, e); } }",
    "identities of a list": "let l = seq.list(); while true { seq.add(l, seq.set(list)); }",
    "members of a set": "distinct(map(list, lambda(n) -> seq.list(n, n + 0.5) end))",
    "copies": "let l = seq.list(); while true { seq.add(l, reverse(list)); }",
    "small lists": "let l = seq.list(); while true { seq.add(l, seq.list()); }",
    "small maps": "let l = seq.list(); while true { seq.add(l, seq.map('a', 1)); }",
    "functions": "let l = seq.list(); while true { seq.add(l, lambda() -> l end); }",
    "scopes": "let f = nil; while true { let g = f; f = lambda(x) -> g end; }",
    "predicates": "let l = seq.list(); while true { seq.add(l, seq.eq(1)); }",
    "long integers": "let l = seq.list(); let i = 2 ** 4000; while true { i = i + 1;"
    " seq.add(l, i); }",
    "texts of long integers": "let l = seq.list(); while true { seq.add(l, str(2 ** 4000)); }",
    "powers": "9 ** 9 ** 9",
    "shifts": "1 << 1000000000",
    "sorting": "let l = seq.list(); while true { seq.add(l, sort(list)); }",
    "groups": "group_by(list, lambda(n) -> 'a' + n end)",
    "zipped": "zipmap(map(list, lambda(n) -> source + n end), list)",
    "a message": "throw repeat(1500, source);",
    "a changed copy of everything": "seq.put(map, 'a', repeat(90000, list)); '' + map",
}


@pytest.mark.one_in(8)
@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_expression_takes_little_memory(text: str) -> None:
    expression = compile_expression(text)
    with within(), contextlib.suppress(LanguageError):
        expression.evaluate(ENV)


HOLDS: Final = (
    "'' + {}",
    "repeat(1500, {})",
    "seq.map('k', {})",
    "seq.list({0}, {0})",
    "string.join(repeat(1500, {}), ',')",
    "'#{{{}}}'",
    "concat(repeat(90, {0}), repeat(90, {0}))",
    "seq.set({})",
    "map(range(0, 2000), lambda(i) -> {} end)",
    "reduce(range(0, 30), lambda(all, i) -> seq.list(all, all) end, {})",
    "group_by(range(0, 2000), lambda(i) -> '' + {} end)",
    "sort(repeat(9000, {}))",
)


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(st.sampled_from(HOLDS), min_size=1, max_size=5),
    st.sampled_from(("source", "wide", "key", "list", "map", "context.rows", "2 ** 4000")),
)
def test_any_nesting_of_what_multiplies_takes_little_memory(parts: list[str], inmost: str) -> None:
    text = inmost
    for part in parts:
        text = part.format(text.replace("'", '"') if part.startswith("'#") else text)
    with contextlib.suppress(LanguageError):
        expression = compile_expression(text)
        with within(), contextlib.suppress(LanguageError):
            expression.evaluate(ENV)


SHARED: Final[list[Any]] = [[] for _ in range(1_000)]
DOCUMENT: Final[dict[str, Any]] = {
    "texts": [LONG] * 1_500,
    "wide": [SHARED] * 1_000,
    "same": [SHARED] * 1_000,
    "numbers": list(range(300_000)),
    "names": {str(number): number for number in range(100_000)},
}
PATHS: Final = {
    "all texts as one": "$.texts.concat()",
    "a scan": "$..*",
    "a scan of scans": "$..*..*",
    "a text of all texts": "$.concat($.texts)",
    "lists appended": "$.numbers" + ".append(1)" * 50,
    "numbers summed": "$.sum($.numbers, $.numbers, $.numbers, $.numbers)",
    "keys": "$.names.keys()",
    "slices of everything": "$.numbers[0:999999999]",
    "many indexes": "$.wide[*][" + ",".join(map(str, range(1000))) + "]",
    "many names": "$..[" + ",".join(f"'n{number}'" for number in range(800)) + "]",
    "lists compared": "$[?(@.wide == @.same)]",
    "a filter in a filter": "$.wide[?(@[?(@.a)])]",
    "patterns": "$.texts[?(@ =~ /(x*)*y/)]",
}


@pytest.mark.one_in(6)
@pytest.mark.parametrize("text", PATHS.values(), ids=PATHS.keys())
def test_a_path_takes_little_memory(text: str) -> None:
    path = compile_path(text)
    for read in (path.find, path.matches, path.places):
        total = TotalBudget(steps=MAX_STEPS // 5)
        with within(MOST // 2), contextlib.suppress(LanguageError, WorkLimitError):
            read(DOCUMENT, total)


class Rule(NamedTuple):
    """A mapping rule."""

    source: str | None
    target: str
    transform: str | None = None
    tolerance: bool | None = None


MAPPINGS: Final = {
    "a list that is padded": [Rule("1", "$.input.a" + "[99999]" * 500)],
    "many lists that are padded": [Rule("1", f"$.input.a{n}[99999]") for n in range(900)],
    "a list padded beyond all": [Rule("1", "$.input.a[999999999]")],
    "a document in itself": [Rule("$.input", f"$.input.c{n % 2}") for n in range(2_000)],
    "places of everything": [Rule("1", "$.context..*")],
    "a large number": [Rule("9" * 4_300, "$.input.a"), Rule("1e999999", "$.input.b")],
    "large maps copied": [
        rule
        for n in range(300)
        for rule in (Rule("$.context.names", f"$.input.n{n}"), Rule("1", f"$.input.n{n}.x"))
    ],
}


@pytest.mark.one_in(5)
@pytest.mark.parametrize("rules", MAPPINGS.values(), ids=MAPPINGS.keys())
def test_a_list_of_rules_takes_what_its_budget_says(rules: list[Rule]) -> None:
    mappings = compile_mappings(rules)
    budget = TotalBudget(memory_bytes=MOST // 2)
    with within(), contextlib.suppress(MappingError, WorkLimitError):
        mappings.apply(context=DOCUMENT, input={"a": 1}, output={}, budget=budget)


def test_a_draft_without_a_budget_has_one_all_the_same() -> None:
    draft = Draft({"input": {}})
    written = 0
    with contextlib.suppress(WorkLimitError):
        for number in range(2_000):
            compile_target(f"$.input.a{number}[99999]").write(draft, 1)
            written += 1
    assert 100 < written < 400


def test_a_text_made_of_a_collection_is_charged_before_it_is_made() -> None:
    with within(4 * MEBIBYTE), pytest.raises(BudgetExceededError, match="a string would be longer"):
        compile_expression("'' + repeat(1500, source)").evaluate(ENV)


def test_the_result_counts_with_all_the_text_of_its_json() -> None:
    limit = f"the expression made more than {DEFAULT_BUDGET.memory_bytes} bytes"
    for text in ("repeat(1500, source)", "repeat(1500, key)"):
        with pytest.raises(BudgetExceededError, match=limit):
            compile_expression(text).evaluate(ENV)
    assert compile_expression("repeat(30, source)").evaluate(ENV) == [LONG] * 30


def test_characters_that_take_more_count_for_more() -> None:
    assert len(str(compile_expression("source + ''").evaluate({"source": LONG}))) == MEBIBYTE
    text = "let l = seq.list(); for i in range(0, 9) { seq.add(l, source + ''); } count(l)"
    assert compile_expression(text).evaluate({"source": LONG}) == 9
    with pytest.raises(BudgetExceededError, match="made more than"):
        compile_expression(text).evaluate({"source": WIDE})


def test_a_filter_costs_more_the_more_it_compares() -> None:
    many = " || ".join(f"@ == {number}" for number in range(-400, 0))
    with pytest.raises(BudgetExceededError):
        holds(f"$.numbers[?({many})]", DOCUMENT)
    assert not holds("$.numbers[?(@ == -1)]", DOCUMENT)


def test_places_are_charged_by_the_memory_they_take() -> None:
    with within(), pytest.raises(BudgetExceededError, match=f"makes more than {MAX_BYTES} bytes"):
        compile_path("$..*").places({"a": [[]] * 400_000})
