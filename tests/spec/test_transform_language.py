"""The language of transforms: operators, texts, statements, functions, and its mistakes.

Values come from AviatorScript 5.2.7's manual and grammar, in which integers are exact
here and do not wrap, and the text of a list or map is JSON (spec 2.4, Q65).
"""

import math
from typing import Any, Final

import pytest

from rillflow.errors import ExpressionSyntaxError
from rillflow.language.expressions import compile_expression
from tests.spec.transform_values import same, value_of

ARITHMETIC: Final[list[tuple[str, Any]]] = [
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("7 / -2", -3),
    ("7 / 2.0", 3.5),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("7.5 % 2", 1.5),
    ("2 ** 10", 1024),
    ("2 ** 3 ** 2", 512),
    ("-2 ** 2", -4),
    ("2 ** -1", 0.5),
    ("2 ** 0.5", math.sqrt(2)),
    ("0 ** 5 + 1 ** 99999 + (-1) ** 3 + 0 ** 0", 1),
    ("9223372036854775807 + 1", 1 << 63),
    ("4611686018427387904 * 4", 1 << 64),
    ("0x10 + 1N + 1.5M + 1e3 + .5 + 1.", 1020.0),
    ("1 - -1 - - -1", 1),
    ("~5", -6),
    ("6 & 3 | 8 ^ 1", 11),
    ("1 << 3 >> 1", 4),
    ("-1 >>> 60", 15),
    ("8 >>> 1", 4),
    ("(1 << 0) + (1 >> 0) + (1 >>> 0) + (0 >>> 1)", 3),
    ("(1 << 70) >>> 1", 1 << 69),
    ("(-2) ** 3 + (-1) ** 4", -7),
    ("str((-10.0) ** 1001) + str((-10.0) ** 1000)", "-InfinityInfinity"),
    ("str(10.0 ** 1001) + str(0.5 ** -1025)", "InfinityInfinity"),
    ("str((-1.0) ** 0.5) + str(0.0 ** -1)", "NaNInfinity"),
    ("1 + 2 * 3 - 4 / 2", 5),
    ("1.5 + 1 - 0.5 * 2", 1.5),
    ("-context.price", -1.5),
    ("1.0 / 0 > 1e300", True),
    ("-1 / 0.0 < 0 && 0.0 / 0 != 0.0 / 0", True),
    ("let x = 0.0 / 0; x == x", False),
    ("1 % 0.0 == 1 || 2 == 2.0", True),
    ("long(2.0 ** 70)", (1 << 63) - 1),
    ("bigint(2.0 ** 70)", 1 << 70),
]


@pytest.mark.parametrize(("text", "value"), ARITHMETIC)
def test_integers_are_exact_and_divide_towards_zero(text: str, value: Any) -> None:
    assert same(value_of(text), value)


COMPARISONS: Final[list[tuple[str, bool]]] = [
    ("100 == 100.0", True),
    ('"1" == 1', False),
    ('"1" != 1', True),
    ("true == 1", False),
    ("nil == nil", True),
    ("nil < 0 && nil < '' && nil < false", True),
    ("nil >= nil", True),
    ("1 > nil", True),
    ("false < true", True),
    ("'b' > 'a' && 'a' <= 'a' && 'B' < 'a'", True),
    ("1.5 > 1 && 1 < 1.5", True),
    ("seq.list(1, seq.list(2)) == seq.list(1.0, seq.list(2))", True),
    ("seq.list(1) == seq.list(1, 2)", False),
    ("seq.list(1) == seq.list(2)", False),
    ("seq.list(1) <= seq.list(1)", True),
    ("seq.map('a', 1) == context.map", False),
    ("seq.map('a', seq.map('b', 1)) == context.map", True),
    ("seq.map('a', 2) == seq.map('a', 3)", False),
    ("seq.map('a', 2) == seq.map('b', 2)", False),
    ("seq.set(1, 2) == seq.set(2, 1)", True),
    ("1 >= 2 || nil >= 1 || 'a' >= 'b'", False),
    ("2 >= 2 && 3 >= 2", True),
    ("range(0, 3) == range(0, 3)", True),
    ("context.list == context.list", True),
    ("'ab1' =~ /[a-z]+\\d/", True),
    ("'ab1' =~ /[a-z]+/", False),
    ("/a\\/b/ =~ 'a/b'", True),
    ("1 < 2 == true", True),
    ("!(source > 5)", False),
]


@pytest.mark.parametrize(("text", "value"), COMPARISONS)
def test_values_compare_by_type_and_content(text: str, value: bool) -> None:  # noqa: FBT001
    assert value_of(text) is value


TEXTS: Final[list[tuple[str, str]]] = [
    ('"a" + nil + true', "anulltrue"),
    ("nil + 'a'", "nulla"),
    ("1 + 'a' + 2.0", "1a2.0"),
    ("'' + 1e7", "1.0E7"),
    ("'' + 9999999.0", "9999999.0"),
    ("'' + 12345678.5", "1.23456785E7"),
    ("'' + 0.001", "0.001"),
    ("'' + -0.00012", "-1.2E-4"),
    ("'' + 0.0 + -0.0", "0.0-0.0"),
    ("'' + 1.0 / 0 + ' ' + -1.0 / 0 + ' ' + 0.0 / 0", "Infinity -Infinity NaN"),
    ("'a' + context.map", 'a{"a":{"b":1}}'),
    ("context.list + 'a'", "[3,1,2]a"),
    ("'a' + seq.list('x', 1.0, nil, seq.map(1, true))", 'a["x",1.0,null,{"1":true}]'),
    ("'a' + range(0, 3) + seq.set(1, 1)", "a[0,1,2][1]"),
    ("'a' + /b+/", "ab+"),
    ("'it\\'s' + \"\\\"\\t\\n\\r\\b\\f\\\\\"", "it's\"\t\n\r\b\f\\"),
    ('"\\u4e2d\\ud83d\\ude00\\u0041"', "中😀A"),
    ("\"v=#{source}, #{source + 1}#{'x'}\"", "v=7, 8x"),
    ("'v=#{context.list}'", "v=[3,1,2]"),
    ('"#{let a = 1; a + 1} #{return 5;}"', "2 5"),
    ("'a#{\"<#{source}>\"}'", "a<7>"),
    ("'#{map(context.list, lambda(x) -> x end)[0]}'", "3"),
    ("'#{fn(x) { x }(4)}'", "4"),
    ('"\\#{source} # {source} #"', "#{source} # {source} #"),
    ('"\\\\#{source}"', "\\7"),
    ("'名' + source", "名7"),
]


@pytest.mark.parametrize(("text", "value"), TEXTS)
def test_texts_are_java_numbers_and_compact_json(text: str, value: str) -> None:
    assert value_of(text) == value


STATEMENTS: Final[list[tuple[str, Any]]] = [
    ("1 + 2; 3 + 4", 7),
    ("1 + 2;", None),
    ("let a = 1; a = a + 2; a", 3),
    ("let a = 5;", 5),
    ("return;", None),
    ("a = b = 3; a + b", 6),
    ("## a comment\nlet a = 1; ## another\n a", 1),
    ("if source > 5 { 'big' } else { 'small' }", "big"),
    ("if source > 9 { 'big' } elsif source > 6 { 'mid' }", "mid"),
    ("if false { 1 }", None),
    ("if true { 1 }; 2", 2),
    ("let v = if source > 5 { 1 } else { 2 }; v + 1", 2),
    ("let v = if source > 5 { return 10; } else { 2 }; v + 1", 11),
    ("v = if source > 5 { return 10; }; v + 1", 11),
    ("let m = seq.map(); m.a = if true { return 9; }; m.a + 1", 10),
    ("let v = for x in context.list { x }; v + 1", 3),
    ("let v = for x in context.list { return 9; }; v + 1", 10),
    ("let v = while false { 1 }; v == nil", True),
    ("let v = { let w = 4; w }; v + 1", 5),
    ("let n = 0; for x in context.list { v = if x == 1 { continue; }; n = n + x; } n", 5),
    ("{ let a = 1; a } ", 1),
    ("let a = 1; { let a = 2; } a", 1),
    ("let a = 1; { a = 2; } a", 2),
    ("if true { fresh = 1; } fresh", None),
    ("for i in range(0, 3) { i }", 2),
    ("for i in range(0, 3) { i; }", None),
    ("for i in nil { i }", None),
    ("for i in range(0, 3) { if i < 2 { i } }", None),
    ("for i in range(0, 3) { if i == 1 { break; } i }", None),
    ("for i in range(0, 3) { if i == 2 { continue; } i }", None),
    ("let x = 7; for i in range(0, 3) { i } x", 7),
    ("fn last(l) { for x in l { x } } last(context.list)", 2),
    ("let i = 0; while i < 3 { i = i + 1 }", None),
    ("let s = 0; for i in range(5, 0, -2) { s = s * 10 + i; } s", 531),
    ("let s = ''; for c in 'abc' { s = c + s; } s", "cba"),
    ("for x in nil { return 1; } 2", 2),
    ("let s = ''; for k, v in seq.map('a', 1, 'b', 2) { s = s + k + v; } s", "a1b2"),
    ("let s = ''; for i, x in seq.list('a', 'b') { s = s + i + x; } s", "0a1b"),
    ("let s = ''; for e in seq.map('a', 1) { s = s + e.key + e.value; } s", "a1"),
    ("let s = 0; for x in seq.set(1, 2, 2) { s = s + x; } s", 3),
    ("for x in context.list { if x < 2 { return x; } } 9", 1),
    ("let n = 0; for x in range(0, 9) { if x == 2 { continue; } if x > 4 { break; } n = n + x; } n", 8),  # noqa: E501
    ("let i = 0; while i < 5 { i = i + 1; } i", 5),
    ("let i = 0; while true { i = i + 1; if i > 5 { break; } if i > 0 { continue; } i = 9; } i", 6),
    ("let i = 0; while true { i = i + 1; if i == 4 { return i; } }", 4),
    ("while false { }", None),
    ("let fs = seq.list(); for i in range(0, 3) { seq.add(fs, lambda() -> i end); } fs[1]()", 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), STATEMENTS)
def test_statements_run_in_order_and_the_last_value_counts(text: str, value: Any) -> None:
    assert same(value_of(text), value)


FUNCTIONS: Final[list[tuple[str, Any]]] = [
    ("fn f(x) { x * 2 } f(source)", 14),
    ("fn f(x) { x * 2; } f(source)", None),
    ("fn f() { return 1; } f()", 1),
    ("fn fib(n) { if n < 2 { return n; } return fib(n - 1) + fib(n - 2); } fib(12)", 144),
    ("fn even(n) { n == 0 || odd(n - 1) } fn odd(n) { n != 0 && even(n - 1) } even(10)", True),
    ("let add = lambda(x) -> lambda(y) -> x + y end end; add(1)(2)", 3),
    ("let f = fn(x) { x + 1 }; f(1)", 2),
    ("(lambda(x) -> x + 1 end)(1)", 2),
    ("let m = seq.map('f', lambda(x) -> x + 1 end); m.f(1) + m['f'](2)", 5),
    ("let f = lambda(a, &rest) -> count(rest) end; f(1, 2, 3) * 10 + f(1)", 20),
    ("fn counter() { let n = 0; lambda() -> n = n + 1; n end } let c = counter(); c(); c()", 2),
    ("let max = 3; max(max, 5)", 5),
    ("fn count(x) { 99 } count(nil)", 99),
    ("lambda() -> 1 end == nil", False),
    ("map(context.list, lambda(x) -> x + source end)", [10, 8, 9]),
    ("map(seq.map('a', 1), lambda(e) -> e.key + e.value end)", ["a1"]),
    ("map(context.list, str)", ["3", "1", "2"]),
    ("let f = string.length; f('abc')", 3),
    ("filter(context.list, lambda(x) -> x > 1 end)", [3, 2]),
    ("filter(seq.map('a', 1, 'b', 2), lambda(e) -> e.value > 1 end)", {"b": 2}),
    ("filter(seq.set(1, 2), lambda(x) -> x > 1 end)", [2]),
    ("reduce(context.list, lambda(a, x) -> a + x end, 10)", 16),
    ("reduce(context.list, +, 0)", 6),
    ("reduce(context.list, *, 1) - reduce(context.list, -, 0)", 12),
    ("map(context.list, -)", [-3, -1, -2]),
    ("reduce(context.list, /, 12)", 2),
    ("map(seq.list(true), !)", [False]),
    ("sort(context.list)", [1, 2, 3]),
    ("sort(seq.list('b', 'a'))", ["a", "b"]),
    ("sort(seq.list(2, nil, 1.5))", [None, 1.5, 2]),
    ("sort(context.list, lambda(a, b) -> b - a end)", [3, 2, 1]),
    ("sort(context.list, comparator(>))", [3, 2, 1]),
    ("seq.some(context.list, lambda(x) -> x < 3 end)", 1),
    ("seq.some(context.list, lambda(x) -> x > 9 end)", None),
    ("seq.every(context.list, lambda(x) -> x > 0 end)", True),
    ("seq.not_any(context.list, lambda(x) -> x > 2 end)", False),
    ("seq.min(context.list) + seq.max(context.list)", 4),
    ("seq.max(nil)", None),
    ("group_by(context.list, lambda(x) -> x % 2 == 0 end)", {"false": [3, 1], "true": [2]}),
    ("repeatedly(3, lambda() -> 1 end)", [1, 1, 1]),
    ("filter(context.list, seq.gt(1))", [3, 2]),
    ("filter(context.list, seq.and(seq.ge(1), seq.lt(3)))", [1, 2]),
    ("filter(context.list, seq.or(seq.eq(1), seq.le(0), seq.neq(2)))", [3, 1]),
    ("filter(seq.list(seq.map('a', 1), seq.map('a', 2)), seq.eq(2, 'a'))", [{"a": 2}]),
    ("filter(seq.list(1, nil), seq.nil())", [None]),
    ("filter(seq.list(1, nil), seq.exists())", [1]),
    ("filter(seq.list(true, false), seq.true())", [True]),
    ("filter(seq.list(true, false), seq.false())", [False]),
]


@pytest.mark.parametrize(("text", "value"), FUNCTIONS)
def test_functions_are_values_with_closures(text: str, value: Any) -> None:
    assert same(value_of(text), value)


MISTAKES: Final[list[tuple[str, str]]] = [
    ("", "blank"),
    ("  ## nothing", "blank"),
    ("1 +", "line 1, column 4"),
    ("let i = 1;\n  let j = ;", "line 2, column 11"),
    ("1 2", "missing ';'"),
    ("input.n > 5 and true", "line 1, column 13"),
    ("a..b", "expected a name after '.'"),
    ("a.0", "unexpected '.0'"),
    ("a.null", "say nil"),
    ("1.2.3", "illegal number"),
    ("12ab", "illegal number"),
    ("1.5N", "illegal number"),
    ("1e400", "too large"),
    ("'abc", "missing quote"),
    ("'a\\", "unsupported escape"),
    ("'\\q'", "unsupported escape \\q"),
    ("'\\u12'", "four hexadecimal digits"),
    ("'\\ud800'", "surrogate"),
    ("'\\ud800\\u0041'", "surrogate"),
    ("1 + '#{1'", "line 1, column 5: missing '}'"),
    ("'#{1 +}'", "unexpected"),
    ("'#{&&}'", "line 1, column 1"),
    ("a ? b", "expected ':'"),
    ("(1", "expected ')'"),
    ("f(1", "expected ','"),
    ("a[1", "expected ']'"),
    ("f(1,)", "unexpected ')'"),
    ("true[0]", "'true' has no elements"),
    ("1 = 2", "cannot be assigned to"),
    ("f(1) = 2", "cannot be assigned to"),
    ("let a.b = 1;", "expected a name"),
    ("let 1 = 1;", "expected a name"),
    ("let a 1;", "expected '='"),
    ("let a = 1", "expected ';'"),
    ("return 1", "expected ';'"),
    ("return 1; 2", "unreachable code"),
    ("if true { return 1; } else { return 2; } 3", "unreachable code"),
    ("break;", "outside a loop"),
    ("while true { lambda() -> continue; end }", "outside a loop"),
    ("while true { break; 1 }", "unreachable code"),
    ("if true 1", "expected '{'"),
    ("if true { 1", "missing '}'"),
    ("for in x { }", "expected a name"),
    ("for x of y { }", "expected 'in'"),
    ("for a, b, c in x { }", "expected 'in'"),
    ("fn (a b) { }", "expected ','"),
    ("fn (&a, b) { }", "must be the last"),
    ("lambda(x) x end", "expected '->'"),
    ("lambda(x) -> x", "missing 'end'"),
    ("1 + lambda", "expected '('"),
    ("else", "unexpected 'else'"),
    ("}", "unexpected '}'"),
    ("@", "unexpected character '@'"),
    ("#", "unexpected character '#'"),
    ("#``", "unexpected character '#'"),
    ("#a.b[x]", "no name with members and indexes"),
    ("#a.b[0][1]", "no name with members and indexes"),
    ("#a..b", "no name with members and indexes"),
    ("#.a", "no name with members and indexes"),
    ("context.list[#input.n]", "no name with members and indexes"),
    ("=~ /a", "missing '/'"),
    ("'a' =~ /(/", "refused"),
    ("new java.util.Date()", "'new' is not supported"),
    ("1 + new Date()", "unexpected 'new'"),
    ("use java.util.*;", "'use' is not supported"),
    ("try { 1 } catch(e) { 2 }", "'try' is not supported"),
    ("x" * 100 + " y" * 100, "..."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_what_is_no_expression_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_expression(text)

    assert str(caught.value).startswith("line ")
    assert message in str(caught.value) or message == "..."
    assert len(str(caught.value)) < 250
