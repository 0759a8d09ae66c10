"""What Rillflow takes in expressions and Rill Flow does not is told where a check is strict.

AviatorScript 5.2.7 refuses these constructs, or fails on them; a definition with them works
here only. Only what the text shows can be told: what a variable holds is not known.
"""

from typing import Final

import pytest

from rillflow.definition import find_problems
from rillflow.language.expressions import compile_expression
from tests.spec.definition_texts import HEADER

ONLY_OURS: Final[list[tuple[str, str]]] = [
    ("context.orders[1].id", "line 1, column 18: only Rillflow takes a member behind a bracket"),
    ("str(1).x", "line 1, column 7: only Rillflow takes a member behind a bracket"),
    ("(context).x", "line 1, column 10: only Rillflow takes a member behind a bracket"),
    ("let l = seq.list();\nl[0].a = 1", "line 2, column 5: only Rillflow takes a member"),
    ("seq.add_all(seq.list(), source)", "only Rillflow takes seq.add_all"),
    ("sort(source, lambda(a, b) -> a - b end)", "sort with a function that is no comparator"),
    ("sort(source, fn(a, b) { a - b })", "sort with a function that is no comparator"),
    ("sort(source, cmp)", "sort with a function that is no comparator"),
    ("sort(source, -)", "sort with a function that is no comparator"),
    ("fn by(a, b) { a - b } sort(source, by)", "sort with a function that is no comparator"),
    ("let by = lambda(a, b) -> a - b end; sort(source, by)", "that is no comparator"),
    ("sort(source, comparator(<))", "line 1, column 25: only Rillflow takes < as an argument"),
    ("reduce(source, **, 2)", "** as an argument"),
    ("is_def(context.a)", "is_def of a member"),
    ("is_def(#context.a[0])", "is_def of a member"),
    ("sort('cba')", "sort of a text"),
    ("reverse(seq.set(1, 2))", "reverse of a set"),
    ("string.join(range(0, 3), ',')", "string.join of a range"),
    ("sort(range(0, 3))", "sort of a range"),
    ("reverse(range(0, 3))", "reverse of a range"),
    ("seq.get(range(0, 3), 1)", "seq.get of a range"),
    ("seq.contains_key(range(0, 3), 1)", "seq.contains_key of a range"),
    ("range(0, 3)[1]", "line 1, column 12: only Rillflow takes an index of a range"),
    ("'abc'[0]", "an index of a text"),
    ("'a#{source}'[0]", "an index of a text"),
    ("/a/ =~ source", "a pattern on the left of =~"),
    ("'#{context.orders[1].id}'", "line 1, column 1: only Rillflow takes a member"),
]
OF_BOTH: Final[list[str]] = [
    "#context.orders[1].id",
    "context.orders[1]",
    "context['a']['b']",
    "into(seq.list(), range(0, 3))",
    "sort(source)",
    "sort(source, comparator(lambda(a, b) -> a > b end))",
    "reduce(source, +, 0) + reduce(source, &, 7)",
    "is_def(source)",
    "let by = comparator(lambda(a, b) -> a > b end); sort(source, by)",
    "map(range(0, 3), str)",
    "count(range(0, 3))",
    "fn sort(a, b) { a + b } sort(range(0, 3), cmp)",
    "source =~ /a/",
    "let x = source[0]; x.id",
    "for i in range(0, 3) { i }",
]


def _definition(expression: str) -> str:
    rule = "{target: $.input.a, transform: @transform}".replace("@transform", repr(expression))
    quoted = rule.replace(repr(expression), f'"{_escaped(expression)}"')
    return f"{HEADER}tasks:\n- name: A\n  category: pass\n  inputMappings:\n  - {quoted}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@pytest.mark.parametrize(("expression", "message"), ONLY_OURS)
def test_a_strict_check_tells_what_only_rillflow_takes(expression: str, message: str) -> None:
    (problem,) = find_problems(_definition(expression), strict=True)
    assert message in problem.message
    assert problem.message.startswith("transform: line ")
    assert (problem.kind, problem.severity) == ("extension", "warning")
    assert problem.hint.startswith("Rill Flow takes ")
    assert problem.line > 0
    assert problem.column > 0


@pytest.mark.parametrize("expression", [expression for expression, _ in ONLY_OURS])
def test_an_ordinary_check_does_not(expression: str) -> None:
    assert find_problems(_definition(expression)) == []


@pytest.mark.parametrize("expression", OF_BOTH)
def test_what_both_take_is_told_nowhere(expression: str) -> None:
    assert find_problems(_definition(expression), strict=True) == []


def test_several_are_told_in_the_order_in_which_they_stand() -> None:
    extensions = compile_expression("seq.add_all(a[0].b, range(0, 3)[1].c)").extensions
    assert [extension.place for extension in extensions] == [
        f"line 1, column {column}" for column in (12, 17, 32, 35)
    ]


def test_a_progress_is_looked_at_too_and_other_warnings_have_no_kind() -> None:
    text = (
        f"{HEADER}tasks:\n- name: A\n  category: pass\n"
        "  progress: { calculation: 'range(0, 3)[1] + nowhere' }\n"
    )
    assert [problem.kind for problem in find_problems(text, strict=True)] == ["", "extension"]
    assert [problem.kind for problem in find_problems(text)] == [""]
