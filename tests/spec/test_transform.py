"""A transform computes the value of a mapping rule (spec 2.5, Q65, 9.6).

It sees ``source``, ``context``, ``input`` and ``output``, gives plain JSON or fails, and
changes none of them. The values below come from the specification and from the recorded
workflows; where neither says anything, the rule is stated here.
"""

import copy
from itertools import pairwise
from typing import Any, Final

import pytest

from rillflow.errors import BudgetExceededError
from rillflow.language.expressions import Budget, compile_expression
from tests.spec.transform_values import CONTEXT, failure_of, same, value_of


@pytest.mark.case("JP-11")
@pytest.mark.parametrize(("followers", "answer"), [(1000, False), (3000, False), (3100, True)])
def test_a_comparison_and_a_ternary_decide(followers: int, answer: bool) -> None:  # noqa: FBT001
    text = "source.followerCount > 3000 ? true : false"

    assert value_of(text, {"followerCount": followers}) is answer


O1: Final = {"a": 7, "b": {"c": "zz"}, "list": [4, 5, 6]}
RECORDED: Final[list[tuple[str, Any, Any]]] = [
    ("count(source) > 1", ["q7"], False),
    ("count(source) > 1", [], False),
    ("count(source)", [{"k": "k0"}, {"k": "k1"}], 2),
    ("nil", "abc", None),
    ('"a" + source', -4, "a-4"),
    ('"a" + source', None, "a" + "null"),
    ('"a" + source', [], "a[]"),
    ('"a" + source', {}, "a{}"),
    ('"n-" + source', 3, "n-3"),
    ("context.nothing == nil", "12 apples", True),
    ("is_def(source)", None, True),
    ("source", 1.5, 1.5),
    ("source", None, None),
    ("source && true", False, False),
    ("source || false", True, True),
    ("!source", True, False),
    ('source == nil ? "none" : source', None, "none"),
    ('source == nil ? "none" : source', 123, 123),
    ("source == nil ? 0 : source", None, 0),
    ("source ? 1 : 2", False, 2),
    ("source == nil", 4, False),
    ("long(source)", "12", 12),
    ("double(source)", 3, 3.0),
    ("str(source)", 3, "3"),
    ("source > 3", 3, False),
    ('source > 3 ? "hi" : "lo"', 8, "hi"),
    ("source >= 2 && source < 6", 3, True),
    ('string.indexOf(source, "b")', "abc", 1),
    ('string.indexOf(source, "b")', "Alpha", -1),
    ('string.contains(source, "a")', "xyz", False),
    ('string.startsWith(source, "a")', "Alpha", False),
    ("string.endsWith(source, 'c') ? 'C' : source", "abc", "C"),
    ("string.endsWith(source, 'c') ? 'C' : source", "beta", "beta"),
    ('string.replace_all(source, "a", "o")', "a-b", "o-b"),
    ("string.length(source)", "", 0),
    ("'<' + source + '>'", "q7", "<q7>"),
    ('source + "-x"', "3", "3-x"),
    ("source + 1", 8, 9),
    ("source * 2 - 1", 0, -1),
    ("-source", 8, -8),
    ("source.a", O1, 7),
    ("source.a + 10", O1, 17),
    ("source.b", O1, {"c": "zz"}),
    ("source.b.c", O1, "zz"),
    ("source.zz", O1, None),
    ('source["a"]', O1, 7),
    ("source.list[1]", O1, 5),
    ("count(source.list)", O1, 3),
    ("math.abs(source - 4)", 1, 3),
    ("math.pow(source, 2)", 5, 25.0),
    ("math.round(source)", 4, 4),
    ("max(source, 3)", 2, 3),
    ('source > "b"', "xyz", True),
    ('source > "b"', "", False),
    ('source == "abc"', "abc", True),
    ('return "123";', 0, "123"),
    ('seq.list(source, "end")', "a-b", ["a-b", "end"]),
    ('seq.map("a", 4, "b", seq.map("c", source))', "q7", {"a": 4, "b": {"c": "q7"}}),
    ("let x = source * 3; return x - 1;", 4, 11),
    ("let s = 0; for i in range(0, 4) { s = s + i * source; } return s;", 3, 18),
]
SIZES: Final = (
    'if (source > 3) { return "big"; } elsif (source > 1) { return "mid"; } '
    'else { return "small"; }'
)


@pytest.mark.parametrize(("text", "source", "value"), RECORDED)
def test_the_transforms_of_the_recorded_workflows_give_what_they_gave(
    text: str, source: Any, value: Any
) -> None:
    assert same(value_of(text, source), value)


@pytest.mark.parametrize(("source", "size"), [(6, "big"), (2, "mid"), (1, "small")])
def test_the_first_true_branch_is_taken(source: int, size: str) -> None:
    assert value_of(SIZES, source) == size


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("nofunc(1)", "abc"),
        ("source.x.y()", "abc"),
        ("long(source)", "abc"),
        ("source > 3", "abc"),
        ("source && true", 1),
        ("source ? 1 : 2", "true"),
        ("!source", None),
        ("-source", "a"),
        ("source.b.c", {"a": 1}),
        ("source.a", "text"),
    ],
)
def test_what_failed_in_the_recorded_workflows_fails(text: str, source: Any) -> None:
    assert failure_of(text, source)


def test_groups_may_be_made_of_a_list() -> None:
    assert value_of("return seq.list(0, 1, 2);") == [0, 1, 2]
    assert value_of("return seq.list(0, 1);") == [0, 1]


def test_a_loop_may_cut_a_number_into_segments() -> None:
    text = """
        let n = source; let step = rand(n) + 1;
        let result = seq.list(0);
        for i in range(1, n) {
            if i * step < n { seq.add(result, i * step); }
        }
        return result;
    """
    segments = value_of(text, 20)

    assert segments[0] == 0
    assert all(later - earlier == segments[1] for earlier, later in pairwise(segments))
    assert segments[-1] < 20


CHANGES: Final[list[tuple[str, Any]]] = [
    ("seq.add(context.list, 4); context.list", [3, 1, 2, 4]),
    ("let l = context.list; l[0] = 9; context.list", [9, 1, 2]),
    ("context.map.a.b = 2; context.map", {"a": {"b": 2}}),
    ("context.x = 6; context.x + context.price", 7.5),
    ("context['x'] = 6; context['x']", 6),
    ("seq.remove(context, 'x'); seq.contains_key(context, 'x')", False),
    ("for x in seq.list(context.map) { x.a = 1; } context.map.a", 1),
    ("fn grow(l) { seq.add(l, 1); } grow(context.list); count(context.list)", 4),
    ("let f = seq.put; f(context, 'x', 1); context.x", 1),
    ("'#{seq.add(context.list, 1)}'", "[3,1,2,1]"),
    ("source = 1; source + context.x", 6),
    ("context = 1; context", 1),
    ("let b = context.none; seq.list(b, nowhere)", [None, None]),
    ("if true { context = seq.map(); context.x = 1; } context.x", 1),
]


@pytest.mark.parametrize(("text", "value"), CHANGES)
def test_a_script_changes_its_own_copies_only(text: str, value: Any) -> None:
    before = copy.deepcopy(CONTEXT)

    assert same(value_of(text), value)
    assert before == CONTEXT


def test_only_what_is_changed_is_copied() -> None:
    tight = Budget(memory_bytes=800)
    env: dict[str, Any] = {"source": list(range(1000)), "context": {"n": 1}}
    text = "let l = seq.list(context.n); seq.add(l, 2); return l;"

    assert compile_expression(text).evaluate(env, budget=tight) == [1, 2]
    with pytest.raises(BudgetExceededError):
        compile_expression("seq.add(source, 1)").evaluate(env, budget=tight)


def test_variables_that_are_not_given_are_nil() -> None:
    assert compile_expression("source").evaluate({}) is None
    assert compile_expression("uid > 100 && input.vip").evaluate(
        {"uid": 123, "input": {"vip": True}}
    )


def test_random_numbers_follow_from_the_seed() -> None:
    draw = compile_expression("seq.list(rand(), rand(), rand(10), rand(1 << 100))")
    first = draw.evaluate({}, seed=1)

    assert draw.evaluate({}, seed=1) == first
    assert draw.evaluate({}, seed=2) != first
    assert isinstance(first, list)
    assert first[0] != first[1]


def test_random_numbers_stay_below_their_bound() -> None:
    text = "let l = seq.list(); for i in range(0, 500) { seq.add(l, rand(6)); } l"
    drawn = compile_expression(text).evaluate({}, seed=42)
    fractions = compile_expression("repeatedly(500, rand)").evaluate({}, seed=42)

    assert isinstance(drawn, list)
    assert isinstance(fractions, list)
    assert set(drawn) == {0, 1, 2, 3, 4, 5}
    assert all(isinstance(one, float) and 0 <= one < 1 for one in fractions)


def test_an_expression_shows_its_text_and_is_kept() -> None:
    assert repr(compile_expression("1 + 1")) == "Expression('1 + 1')"
    assert compile_expression("1 + 1") is compile_expression("1 + 1")
    long = "1" + " + 1" * 2000
    assert compile_expression(long) is compile_expression(long)
    assert compile_expression(long).evaluate({}) == 2001
