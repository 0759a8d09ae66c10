"""Expressions compute values on their way, and conditions look at them, both through Serve."""

import json
from typing import Any, Final

import pytest

from tests.cluster.api import Api, Json

pytestmark = pytest.mark.cluster


def _compute(api: Api, transform: str, data: Json, **rule: Any) -> Json:
    """Run one pass task that writes an expression's value to ``$.context.result``."""
    mapping = {"transform": transform, "target": "$.context.result", **rule}
    task = {"name": "compute", "category": "pass", "outputMappings": [mapping]}
    header = {"workspace": "mission", "dagName": "computing", "type": "flow"}
    return api.run(json.dumps({**header, "tasks": [task]}) + "\n", data)


PRIMES: Final = """
let primes = seq.list();
for n in range(2, context.limit) {
  let prime = true;
  for p in primes {
    if p * p > n { break; }
    if n % p == 0 { prime = false; break; }
  }
  if prime { seq.add(primes, n); }
}
return primes;
"""
GRADE: Final = """
let grade = "none";
if context.points > 90 { grade = "A"; }
elsif context.points > 60 { grade = "B"; }
else { grade = "C"; }
grade
"""
COUNTDOWN: Final = """
let text = "";
let n = 3;
while n > 0 { text = text + n; n = n - 1; }
return text;
"""


@pytest.mark.parametrize(
    ("transform", "data", "result"),
    [
        (PRIMES, {"limit": 30}, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]),
        (GRADE, {"points": 70}, "B"),
        (COUNTDOWN, {}, "321"),
        (
            "reduce(map(filter(context.l, lambda(x) -> x > 1 end), lambda(x) -> x * x end), +, 0)",
            {"l": [1, 2, 3]},
            13,
        ),
        ('seq.map("half", 7 / 2, "third", 7.0 / 2)', {}, {"half": 3, "third": 3.5}),
        ("let l = seq.list(1, 2); seq.add(l, count(l)); l", {}, [1, 2, 2]),
        (
            'string.join(string.split(string.replace_all(context.t, "-", " "), " "), "_")',
            {"t": "a-b c"},
            "a_b_c",
        ),
        ('string.length(context.t) + ":" + string.indexOf(context.t, "c")', {"t": "abcd"}, "4:2"),
        ("math.abs(-3) + math.round(2.6) + math.pow(2, 5)", {}, 38.0),
        ("include(context.l, 2) ? max(1, 5, 3) : min(1, 5, 3)", {"l": [1, 2]}, 5),
        ("is_def(missing) || nil < 0", {}, True),
    ],
    ids=[
        "loops",
        "branches",
        "while",
        "lambdas",
        "maps",
        "statements",
        "text",
        "searching",
        "mathematics",
        "conditional",
        "nil",
    ],
)
def test_an_expression_is_a_small_program(
    api: Api, transform: str, data: Json, result: Json
) -> None:
    ended = _compute(api, transform, data)
    assert ended.status == "SUCCEED"
    assert ended.context["result"] == result


def test_an_expression_sees_its_source_the_context_the_input_and_the_output(api: Api) -> None:
    ended = api.run(
        """
workspace: mission
dagName: seeing
type: flow
tasks:
  - name: look
    category: pass
    inputMappings: [{ source: $.context.a, target: $.input.a, transform: source + 1 }]
    outputMappings:
      - source: $.output.a
        target: $.context.result
        transform: seq.list(source, context.a, output.a)
""",
        {"a": 1},
    )
    assert ended.context["result"] == [2, 1, 2]


@pytest.mark.parametrize(
    "hostile",
    [
        "while true { }",
        'let s = "ab"; while true { s = s + s; }',
        "let l = seq.list(); while true { seq.add(l, l); }",
        "fn f(x) { return f(x + 1); } f(1)",
        "2 ** 2 ** 2 ** 2 ** 2 ** 2",
    ],
    ids=["endless", "giant text", "giant list", "bottomless", "giant number"],
)
def test_an_expression_that_would_not_end_uses_up_its_budget_and_fails_its_rule(
    api: Api, hostile: str
) -> None:
    tolerated = _compute(api, hostile, {})
    assert tolerated.status == "SUCCEED"
    assert "result" not in tolerated.context
    strict = _compute(api, hostile, {}, tolerance=False)
    assert strict.status == "FAILED"
    assert strict.task("compute")["invoke_msg"]["msg"]


CONDITIONS: Final = {
    "equal": ("$.input.[?(@.n == 5)]", {"n": 5}, {"n": 6}),
    "present": ("$.input.a.b", {"a": {"b": 0}}, {"a": {}}),
    "and": ("$.input.[?(@.n > 1 && @.n < 5)]", {"n": 3}, {"n": 5}),
    "or": ("$.input.[?(@.n == 1 || @.t == 'x')]", {"n": 2, "t": "x"}, {"n": 2}),
    "element": ("$.input.l[?(@.ok == true)]", {"l": [{}, {"ok": True}]}, {"l": [{"ok": "true"}]}),
    "regex": ("$.input.[?(@.t =~ /a.*z/i)]", {"t": "AbcZ"}, {"t": "AbcZ!"}),
    "in": ("$.input.[?(@.t in ['a', 'b'])]", {"t": "b"}, {"t": "c"}),
    "depth": ("$.input..hit", {"a": [{"b": {"hit": 0}}]}, {"a": []}),
}


@pytest.mark.parametrize(("condition", "holds", "fails"), CONDITIONS.values(), ids=CONDITIONS)
def test_a_condition_holds_when_its_path_finds_something(
    api: Api, condition: str, holds: Json, fails: Json
) -> None:
    definition = {
        "workspace": "mission",
        "dagName": "judging",
        "type": "flow",
        "tasks": [
            {
                "name": "judge",
                "category": "switch",
                "inputMappings": [
                    {"source": f"$.context.given.{key}", "target": f"$.input.{key}"}
                    for key in {**holds, **fails}
                ],
                "switches": [{"condition": condition, "next": "held"}],
            },
            {"name": "held", "category": "pass"},
        ],
    }
    text = json.dumps(definition) + "\n"
    for given, status in ((holds, "SUCCEEDED"), (fails, "SKIPPED")):
        assert api.run(text, {"given": given}).task("held")["status"] == status
