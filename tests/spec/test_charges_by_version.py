"""An evaluation is charged by the rules of the version that its execution was submitted under.

What succeeded before memory was charged succeeds in a replay, too, and what failed fails: so
the execution that is rebuilt is the one that it was.
"""

from typing import Final, NamedTuple

import pytest

from rillflow.core import machine
from rillflow.core.agenda import REMAINING
from rillflow.core.encoding.codec import encode_event
from rillflow.core.events import Event, TimerFired
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.definition import parse_definition
from rillflow.jsontypes import JsonValue, encode_json
from rillflow.language.versions import COSTS_CHARGED, CURRENT, FIRST, MEMORY_CHARGED
from rillflow.testing.replay import replay
from tests.spec.notation import flow, fn, pass_
from tests.submissions import submission_event

BEFORE: Final = range(FIRST, MEMORY_CHARGED)


class Rule(NamedTuple):
    """A mapping rule, and the part of the context ``data`` that it reads."""

    source: str
    transform: str | None = None
    data: JsonValue = None


def submitted(rule: Rule, language: int) -> ExecutionState:
    """Submit an execution whose first task fails with the rule, and prove its replay."""
    applied = {"source": rule.source, "target": "$.input.a", "tolerance": False}
    if rule.transform is not None:
        applied["transform"] = rule.transform
    definition = flow(pass_("A", ins=[applied], to="B"), fn("B"))
    plan = Plan(parse_definition(encode_json(definition)), "")
    event = submission_event(
        "demo:scenario_c_1",
        at_ms=0,
        data=encode_json({"data": rule.data}),
        language=language,
        context_max_bytes=1 << 24,
    )
    state, _ = machine.submit(plan, event)
    events: list[Event] = [event]
    while state.remaining is not None:
        due_ms = state.remaining.due_ms
        events.append(TimerFired(at_ms=due_ms, kind=REMAINING, task="", due_ms=due_ms))
        machine.handle(plan, state, events[-1])
    assert replay(plan, list(map(encode_event, events))) == state
    return state


WIDE: Final = "字" * 150_000
LETTERS: Final = "a" * 60_000
SAME: Final = " && ".join(["@ == $.context.data[0]"] * 20)

FREE_BEFORE: Final = {
    "texts that are not all ASCII, appended": Rule(
        "1", "let s = ''; for i in range(0, 2600) { s = s + '字字字字'; } return s;"
    ),
    "one long text many times in a result": Rule("$.context.data", "repeat(80, source)", WIDE),
    "collections as texts": Rule(
        "$.context.data",
        "let n = 0; for i in range(0, 40) { n = n + string.length('' + source); } return n;",
        [*range(100), "字" * 120_000],
    ),
    "a pattern on long texts": Rule("$.context.data[?(@ =~ /[a-z]{500}b/)]", data=[LETTERS] * 8),
    "long texts that are compared": Rule(f"$.context.data[?({SAME})]", data=[LETTERS] * 60),
}


@pytest.mark.parametrize("what", FREE_BEFORE)
@pytest.mark.parametrize("language", BEFORE)
def test_what_was_free_before_does_not_fail_an_older_execution(what: str, language: int) -> None:
    state = submitted(FREE_BEFORE[what], language)
    assert (state.tasks["A"].invoke.msg, state.status.name) == (None, "RUNNING")


@pytest.mark.parametrize("what", FREE_BEFORE)
def test_it_fails_one_that_is_submitted_now(what: str) -> None:
    assert submitted(FREE_BEFORE[what], CURRENT).status.name == "FAILED"


TEXTS: Final = " || ".join(["'1' == @"] * 650)
DOUBLED: Final = "let p = seq.nil(); for i in range(0, 17) { p = seq.and(p, p); } "
FREE_BEFORE_COSTS: Final = {
    "numbers of many characters": Rule("$.context.data", "double(source)", "1." + "0" * 1_300),
    "predicates of predicates": Rule("1", f"{DOUBLED} filter(seq.list(nil), p)"),
    "comparators": Rule(
        "$.context.data",
        "for i in range(0, 4) { sort(source, cmp); } 1",
        [*range(0, 80_000, 2), *range(1, 20_000, 2)],
    ),
    "texts that a path puts together": Rule(
        "$.context.data[*].concat($.context.data[0], 'x')", "count(source)", [LETTERS, *range(200)]
    ),
    "keys that are compared": Rule(
        "$.context.data",
        "for i in range(0, 80) { seq.get(source, source.k); } 1",
        {"k": "x" * 400_000, "x" * 400_000: 1},
    ),
    "long integers that are compared with a text": Rule(
        f"$.context.data[?({TEXTS})]", data=[10**4_100 + 1] * 4
    ),
}


@pytest.mark.one_in(6)
@pytest.mark.parametrize("what", FREE_BEFORE_COSTS)
def test_costs_do_not_fail_an_execution_that_was_not_charged_for_them(what: str) -> None:
    state = submitted(FREE_BEFORE_COSTS[what], COSTS_CHARGED - 1)
    assert (state.tasks["A"].invoke.msg, state.status.name) == (None, "RUNNING")


@pytest.mark.one_in(6)
@pytest.mark.parametrize("what", FREE_BEFORE_COSTS)
def test_costs_fail_an_execution_that_is_submitted_now(what: str) -> None:
    assert submitted(FREE_BEFORE_COSTS[what], CURRENT).status.name == "FAILED"


FAILING_EVER_SINCE: Final = {
    "texts of more than 32 million characters": Rule(
        "1", "let s = ''; for i in range(0, 5000) { s = s + 'abcdabcd'; } return s;"
    ),
    "a loop without an end": Rule("1", "while true { }"),
    "a path that visits too many values": Rule(
        "$.context.data[?(@ in $.context.data)]", data=list(range(2_000))
    ),
}


@pytest.mark.one_in(7)
@pytest.mark.parametrize("what", FAILING_EVER_SINCE)
@pytest.mark.parametrize("language", range(FIRST, CURRENT + 1))
def test_what_failed_before_fails_in_every_version(what: str, language: int) -> None:
    assert submitted(FAILING_EVER_SINCE[what], language).status.name == "FAILED"
