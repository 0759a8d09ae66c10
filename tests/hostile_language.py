"""Texts of the language for each kind of step, target and node that may take long."""

from collections.abc import Mapping
from typing import Final

from tests.price_values import EMPTY_GROUPS, MANY_GROUPS

_A: Final = ".a" * 58
_B: Final = ".a" * 50
_LONG_NAME: Final = "x" * 9_000
_NAMES: Final = ",".join(["'a'"] * 2_000)
_ONES: Final = ",".join(["1"] * 4_000)
_NOTHING: Final = " && ".join(["!(@.* < @.*)"] * 3)
_NOWHERE: Final = " && ".join([f"!($.context{_B} < @{_B})"] * 3)

PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "NamesStep": (
        "$.context.a",
        f"$.context{_A}",
        "$.context.l[*].a.a",
        f"$.context.l[*][{_NAMES}]",
        f"$.context.l[*][{_NAMES}].a",
        f"$.context.a.{_LONG_NAME}",
        "$.context.a['a','b']",
        f"$..{_LONG_NAME}",
    ),
    "FurtherNamesStep": (f"$.context.l[*]{_B}", f"$.context{_B}.*", f"$.context.a{_B}['a','b']"),
    "IndexesStep": (
        "$.context.a[0]",
        "$.context.a" + "[0]" * 60,
        f"$.context.a[{_ONES}]",
        f"$.context.l[*][{_ONES}]",
    ),
    "SliceStep": ("$.context.a[0:]", "$.context.l[:2][:]".replace("[:]", "[0:]"), "$..[-5:]"),
    "WildcardStep": ("$.context.a.*", "$.context.l[*].*", "$.*.*.*.*"),
    "ScanStep": ("$..*", "$..a", "$..a..a", "$..[0]", "$..*.length()", "$..['a','b']"),
    "FilterStep": (
        "$.context.l[?(@ == $.context.a)]",
        "$.context.l[?(@ in $.context.l)]",
        "$.context.a[?(@ == $.context.b)]",
        "$.context.a[?(@ in $.context.l)]",
        "$.context.a[?(1 == @)]",
        "$.context.a[?(@ == 1)]",
        "$.context.a[?(@ == '1')]",
        "$.context.a[?(@ in ['a', 1, 2.5, {a: [1]}])]",
        "$.context.a[?(@.a || !@.b)]",
        f"$.context.a[?(@ =~ /{MANY_GROUPS}/)]",
        f"$.context.a[?(@ =~ /{EMPTY_GROUPS}/i)]",
        "$.context.a[?(@ =~ /(?:a?){1000}/)]",
        f"$.context.a[?({_NOTHING})]",
        f"$.context.l[?({_NOTHING})]",
        f"$.context.l[?({_NOWHERE})]",
        "$.context.a[?(@.length() > 1)]",
        "$..[?(@.a == $.context.b)]",
        "$..[?(@..a)]",
    ),
    "FunctionStep": (
        "$.context.a.length()",
        "$.context.l[*].concat($.context.a, $.context.b, 'x')",
        f"$.context.l[*].concat({_ONES})",
        f"$.context.l[*].sum({_ONES})",
        "$.context.l.length($.context.l)",
        "$.context.l[*].keys()",
        "$.context.l[*].append($.context.a, $.context.b)",
        "$..a.sum()",
    ),
}
TARGETS: Final[Mapping[str, tuple[str, ...]]] = {
    "_Nowhere": ("context.a",),
    "_Slot": (
        "$.context.a",
        "$.context.new",
        "$.context.a.a",
        f"$.context{_A}",
        "$.context.a[0]",
        "$.context.new[9000]",
        "$.context.new" + "[100]" * 50,
        f"$.context.a.{_LONG_NAME}",
    ),
    "_Selection": (
        "$.context.a[*]",
        "$.context.a.*",
        "$.context.l[0:]",
        f"$.context.a[{_NAMES}]",
        "$.context.a[?(@ == $.context.b)]",
        "$.context.l[?(@ == $.context.a)]",
        f"$.context.l[?({_NOTHING})]",
        f"$.context.l[{','.join(['0'] * 3_000)}]",
    ),
}

_LOOP: Final = "let i = 0; while i < 20 {{ {}; i = i + 1; }} i"
_SELF: Final = "let m = seq.map('b', nil); seq.put(m, 'b', m); "


def _many(text: str) -> str:
    return _LOOP.format(text)


EXPRESSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Literal": ("1", f"'{'x' * 9_000}'", _many(f"'{'x' * 9_000}' == source")),
    "Template": (_many("'#{source} #{other}'"), _many("'" + "#{1}" * 500 + "'")),
    "Name": (
        "source",
        _many(f"context{_A}"),
        _many(f"#context{_A}"),
        _SELF + _many("m" + ".b" * 8_000),
        _SELF + _many("#m" + ".b" * 8_000),
        _SELF + _many("is_def(m" + ".b" * 8_000 + ")"),
        _many("is_def(context" + ".b" * 50 + ")"),
        _many(f"context.{_LONG_NAME}"),
    ),
    "Suffixed": (
        _many("source[0]"),
        _many("source[other]"),
        _many("sort(source, cmp)"),
        "let m = seq.map(source, 1); " + _many("m[other]"),
        "let f = lambda() -> f end; " + _many("f" + "()" * 1_000),
        "let l = seq.list(1); seq.put(l, 0, l); " + _many("l" + "[0]" * 1_000),
    ),
    "Unary": (_many("-source"), _many("!(source == other)"), _many("~source")),
    "Chain": (
        _many("source == other"),
        _many("source + other"),
        _many("source * other"),
        _many("source < other"),
        _many("source =~ /(a?)(a?)(a?)(a?)b/"),
        _many("1" + "+ 1" * 2_000),
    ),
    "Logic": (_many("source == other && other == source"), _many("true" + "&& true" * 900)),
    "Power": (_many("source ** other"), _many("2 ** 4000"), _many("9 ** 99 ** 99")),
    "Conditional": (_many("source == other ? 1 : 2"),),
    "Function": (
        _many("let f = lambda(a) -> a end; f(source)"),
        "let f = lambda(&a) -> count(a) end; " + _many("f(" + ",".join(["1"] * 900) + ")"),
    ),
    "Operator": (_many("reduce(seq.list(source, other), +, '')"),),
    "Let": (_many("let a = source"),),
    "Assign": (_many("a = source"), "context = 1; " + _many("context = source")),
    "Store": (
        "let m = seq.map(source, 1); " + _many("m[other] = i"),
        _many("source[0] = other"),
        _many("context.a[other] = 1"),
    ),
    "Sequence": (_many("{" * 20 + "source" + "}" * 20),),
    "If": (_many("if source == other { 1 } else { 2 }"),),
    "For": (
        _many("for a in source { a; }"),
        _many("for k, v in source { k; }"),
        "for a in source { for b in source { b; } }",
    ),
    "While": ("let i = 0; while i < 900 { i = i + 1; }", "while source == other { 1 }"),
    "Return": ("return source;", "let f = lambda() -> return source; end; f()"),
    "Throw": ("throw source;", "throw seq.list(source, other);"),
    "Leave": (_many("for a in source { break; }"), _many("for a in source { continue; }")),
}
