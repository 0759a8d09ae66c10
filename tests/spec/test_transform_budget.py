"""No expression can do harm: it ends, or is refused, within a second and in little space.

The limits count steps and not time, so the same expression stops at the same place on
every machine. Most of these take some hundredths of a second.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from rillflow.errors import BudgetExceededError, ExpressionError, ExpressionSyntaxError
from rillflow.jsontypes import MAX_DEPTH
from rillflow.language.expressions import Budget, compile_expression
from tests.machine_speed import processor_time

ENV: Final[dict[str, Any]] = {
    "source": 7,
    "big": [1] * 50_000,
    "text": "ab" * 5_000,
    "context": {"list": list(range(1000))},
}
DOUBLED: Final = 'let s = "x"; for i in range(0, 19) { s = s + s; } '
MANY: Final = "let m = seq.map(); for i in range(0, 9000) { seq.put(m, i, i); } "


@contextmanager
def promptly() -> Iterator[None]:
    """Take less than a second of a processor, of which a shared machine has made five at times."""
    measured = sys.gettrace() is not None  # a coverage run takes many times as long
    with processor_time(20.0 if measured else 5.0):
        yield


ENDLESS: Final = {
    "while": "while true { }",
    "while, counting": "let i = 0; while true { i = i + 1; }",
    "for over a huge range": "for i in range(0, 10 ** 12) { }",
    "a long line again and again": f"while true {{ let x = {' + '.join('1' * 3000)}; }}",
    "calls with many arguments": f"while true {{ max({','.join('1' * 3000)}) }}",
    "templates with many holes": "while true { let t = '" + "#{1}" * 2000 + "'; }",
    "a text that doubles": 'let s = "ab"; while true { s = s + s; }',
    "a text that grows": 'let s = ""; while true { s = s + "abcdefgh"; }',
    "long texts": DOUBLED + 'while true { let t = s + "y"; }',
    "long texts in a template": DOUBLED + 'while true { let t = "#{s}#{s}"; }',
    "long texts compared": DOUBLED + 'let t = "" + s; while true { let b = s == t; }',
    "long texts ordered": DOUBLED + 'let t = s + "y"; while true { let b = s < t; }',
    "long texts searched": DOUBLED + f'while true {{ string.indexOf(s, "{"x" * 30}y"); }}',
    "long texts cut": "while true { string.substring(text, 0, 9000) }",
    "texts of doubles": "while true { 'a' + 1.5e300 }",
    "texts of long integers": "let x = 2 ** 4000; while true { str(x) }",
    "a huge power": "9 ** 9 ** 9",
    "a power that grows": "let x = 3; while true { x = x ** 2; }",
    "a product that grows": "let x = 3; while true { x = x * x; }",
    "a sum that grows": "let x = 2 ** 4000; while true { x = x + x; }",
    "products of long integers": "let x = 2 ** 2000 - 1; while true { x * x }",
    "quotients of long integers": "let x = 2 ** 4000 - 1; let y = 3 ** 1000; while true { x / y }",
    "huge shifts": "1 << 1000000000",
    "a huge hexadecimal number": f"0x{'f' * 1100} + 1",
    "huge random numbers": "while true { rand(2 ** 4000) }",
    "recursion": "fn f(x) { f(x) } f(1)",
    "recursion behind work": "fn f(x) { return 1 + f(x + 1); } f(1)",
    "recursion through map": "let f = nil; f = lambda(x) -> map(seq.list(1), f) end; f(1)",
    "recursion through filter": "fn f(x) { count(filter(seq.list(1), f)) > 0 } f(1)",
    "recursion through sort": "fn f(x, y) { sort(seq.list(1, 2), f); 1 } f(1, 1)",
    "comparators of comparators": "let c = comparator(<); for i in range(0, 5000) "
    "{ c = comparator(c); } sort(seq.list(1, 2), c)",
    "predicates of predicates": "let p = seq.eq(1); for i in range(0, 5000) "
    "{ p = seq.and(p); } filter(seq.list(1, 2), p)",
    "a list that grows": "let l = seq.list(); while true { seq.add(l, 1); }",
    "a list that doubles": "let l = seq.list(1); while true { l = concat(l, l); }",
    "a set that grows": "let l = seq.set(); let i = 0; while true { i = i + 1; seq.add(l, i); }",
    "sets of lists": "let s = seq.set(); while true { seq.add(s, context.list); }",
    "sets compared": "let s = seq.set(context.list); let t = seq.set(context.list); "
    "while true { s == t }",
    "a huge list at once": "repeat(10 ** 9, 1)",
    "a huge list of calls": "repeatedly(10 ** 9, lambda() -> 1 end)",
    "a huge range as a list": "map(range(0, 10 ** 15), lambda(x) -> x end)",
    "a huge range as a result": "range(0, 10 ** 15)",
    "a huge range as text": "'a' + range(0, 10 ** 15)",
    "a huge range reversed": "reverse(range(0, 10 ** 15))",
    "a list of lists of lists": "let l = seq.list(1); for i in range(0, 60) "
    "{ l = seq.list(l, l); } l",
    "the same as text": "let l = seq.list(1); for i in range(0, 60) "
    "{ l = seq.list(l, l); } '' + l",
    "two of them compared": "let l = seq.list(1); let m = seq.list(1); for i in range(0, 60) "
    "{ l = seq.list(l, l); m = seq.list(m, m); } l == m",
    "a deep list as a result": "let l = seq.list(); for i in range(0, 500) { l = seq.list(l); } l",
    "a list in itself": "let l = seq.list(); seq.add(l, l); l",
    "a list in itself as text": "let l = seq.list(); seq.add(l, l); '' + l",
    "a list in itself in a set": "let l = seq.list(); seq.add(l, l); seq.set(l)",
    "lists in themselves compared": "let l = seq.list(); seq.add(l, l); let m = seq.list(); "
    "seq.add(m, m); l == m",
    "maps in themselves compared": "let l = seq.map(); l.a = l; let m = seq.map(); "
    "m.a = m; l == m",
    "sorting": "while true { sort(big) }",
    "sorting texts": "while true { sort(string.split(text, 'b')) }",
    "searching a list": "while true { include(big, 5) }",
    "joining": "while true { string.join(big, ',') }",
    "entries of a large map": MANY + "while true { for k, v in m { break; } }",
    "large maps compared": MANY + "let n = into(seq.map(), m); while true { m == n }",
    "elements of a large set": "let s = into(seq.set(), range(0, 9000)); "
    "while true { for x in s { break; } }",
    "keys that would collide": "let m = seq.map(); let i = 0; while true "
    "{ i = i + 1; seq.put(m, i * (2 ** 61 - 1), 1); }",
    "members that would collide": "let s = seq.set(); let i = 0; while true "
    "{ i = i + 1; seq.add(s, i * (2 ** 61 - 1)); }",
    "splitting": "while true { string.split(text, 'a') }",
    "replacing": "while true { string.replace_all(text, 'a', 'xx') }",
    "nested repetition": "while true { string.replace_all(text, '(a+)+$', 'x') }",
    "a match that reads to the end each time": "string.split(text, '[ab]*a[ab]{15}c|a')",
    "slow matching": "while true { text =~ /([ab]*a[ab]{15}c|a|b)*/ }",
    "many patterns": "let i = 0; while true { i = i + 1; string.split('x', '[a-z]{300}' + i); }",
    "a complex pattern": "string.split('x', '(\\\\pL{9}){3}')",
    "a large pattern": "string.split('x', '\\\\pL{2}')",
    "a long pattern": "string.split('x', string.join(repeat(2000, 'a.')))",
    "a replacement that grows": "let s = string.join(repeat(9000, 'x')); string.replace_all(s, "
    "'x+', '" + "$0" * 300 + "')",
    "groups by key": "group_by(range(0, 10 ** 9), lambda(x) -> x end)",
}  # fmt: skip


@pytest.mark.one_in(6)
@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_takes_too_much_is_stopped(text: str) -> None:
    with promptly(), pytest.raises((BudgetExceededError, ExpressionError)) as caught:
        compile_expression(text).evaluate(ENV, seed=1)

    assert isinstance(caught.value, BudgetExceededError) or "too large" in str(caught.value)


NESTED: Final = {
    "brackets": "(" * 9000 + "1",
    "closed brackets": "(" * 60 + "1" + ")" * 60,
    "negations": "!" * 9000 + "true",
    "signs": "-" * 9000 + "1",
    "blocks": "{" * 9000,
    "ifs": "if true {" * 3000,
    "powers": "2 ** " * 5000 + "1",
    "lambdas": "lambda() -> " * 2000,
    "assignments": "a = " * 5000 + "1",
    "indexes": "a[" * 9000,
    "lists": "seq.list(" * 3000,
    "templates": "'#{" * 60,
}


@pytest.mark.parametrize("text", NESTED.values(), ids=NESTED.keys())
def test_what_is_nested_deeply_is_refused(text: str) -> None:
    with promptly(), pytest.raises((BudgetExceededError, ExpressionSyntaxError)):
        compile_expression(text)


FLAT: Final[dict[str, tuple[str, Any]]] = {
    "sums": ("1+" * 16_000 + "1", 16_001),
    "conjunctions": ("true&&" * 5000 + "true", True),
    "ternaries": ("false?1:" * 4000 + "2", 2),
    "branches": ("if false { 1 }" + " elsif false { 1 }" * 1500 + " else { 2 }", 2),
    "statements": ("let a = 1;" * 3000 + "a", 1),
    "suffixes": ("source" + "[0]" * 3000, ExpressionError),
    "names": ("source" + ".b" * 9000, ExpressionError),
    "arguments": ("max(" + "1," * 9000 + "2)", 2),
    "brackets": ("(" * 40 + "1" + ")" * 40, 1),
}


@pytest.mark.parametrize(("text", "outcome"), FLAT.values(), ids=FLAT.keys())
def test_what_is_long_but_flat_is_evaluated(text: str, outcome: Any) -> None:
    with promptly():
        if outcome is ExpressionError:
            with pytest.raises(ExpressionError):
                compile_expression(text).evaluate(ENV)
        else:
            assert compile_expression(text).evaluate(ENV) == outcome


@pytest.mark.parametrize("text", ["x" * (1 << 20), " " * (1 << 20), "1+" * (1 << 19) + "1"])
def test_a_text_of_a_megabyte_is_refused(text: str) -> None:
    with promptly(), pytest.raises(BudgetExceededError, match="32768 are allowed"):
        compile_expression(text)


def test_templates_in_templates_are_refused_at_the_fifth_level() -> None:
    text = "1"
    for _ in range(6):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        text = f'"#{{{escaped}}}"'

    with promptly(), pytest.raises(BudgetExceededError, match="nested too deeply"):
        compile_expression(text)


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(BudgetExceededError, match="digits"):
        compile_expression("9" * 5000)


def test_a_text_has_few_regular_expressions() -> None:
    with promptly(), pytest.raises(BudgetExceededError, match="regular expressions"):
        compile_expression("'a' =~ /a/;" * 1000)


def test_recursion_goes_a_useful_way() -> None:
    text = "fn sum(n) { if n <= 0 { return 0; } return n + sum(n - 1); } sum(50)"

    assert compile_expression(text).evaluate(ENV) == 1275


def with_frames_left(frames: int, act: Callable[[], None]) -> None:
    """Act where the interpreter has about this many frames left."""

    def descend(depth: int) -> None:
        if depth:
            descend(depth - 1)
        else:
            act()

    descend(sys.getrecursionlimit() - len(inspect.stack(0)) - frames)


def test_calls_at_the_limit_leave_the_interpreter_room() -> None:
    def act() -> None:
        with pytest.raises(BudgetExceededError, match="calls are nested too deeply"):
            compile_expression("fn f(x) { f(x) } f(1)").evaluate(ENV)

    with_frames_left(700, act)


def test_a_useful_loop_fits_into_the_budget() -> None:
    text = "let s = 0; for i in range(0, 20000) { if i % 3 == 0 { s = s + i * 2; } } s"

    assert compile_expression(text).evaluate(ENV) == sum(2 * i for i in range(0, 20_000, 3))


def test_the_same_expression_stops_at_the_same_step() -> None:
    text = compile_expression("let i = 0; while i < 100 { i = i + 1; } i")

    def fits(steps: int) -> bool:
        try:
            return text.evaluate({}, budget=Budget(steps=steps)) == 100
        except BudgetExceededError:
            return False

    needed = next(steps for steps in range(3000) if fits(steps))
    assert fits(needed)
    assert not fits(needed - 1)


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(steps=10), "while true { }"),
        (Budget(string_length=3), "'ab' + 'cd'"),
        (Budget(collection_size=2), "seq.list(1, 2, 3)"),
        (Budget(memory_bytes=200), "seq.list(1, 2, 3, 4)"),
        (Budget(frames=20), "fn f(n) { n < 1 ? 0 : f(n - 1) } f(9)"),
        (Budget(integer_bits=8), "200 * 2 ** 3"),
        (Budget(nesting=1), "'' + seq.list(seq.list(1))"),
    ],
)
def test_every_limit_can_be_set(budget: Budget, text: str) -> None:
    with pytest.raises(BudgetExceededError):
        compile_expression(text).evaluate({}, budget=budget)


def test_a_large_value_from_outside_may_pass_through() -> None:
    env: dict[str, Any] = {"source": {"rows": [{"n": n} for n in range(20_000)]}}

    assert compile_expression("source").evaluate(env) == env["source"]


def test_a_value_as_deep_as_a_context_may_be_passes_through_and_can_be_changed() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(MAX_DEPTH - 2):
        deep = {"a": deep}

    assert compile_expression("source").evaluate({"source": deep}) == deep
    assert compile_expression("source.b = 2; source").evaluate({"source": deep}) == {**deep, "b": 2}


def test_a_value_from_outside_that_is_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]

    for text in ("source", "seq.add(source, 1)", "'' + source"):
        with pytest.raises(BudgetExceededError):
            compile_expression(text).evaluate({"source": deep})
