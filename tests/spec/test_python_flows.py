"""A flow in Python is the same definition as its YAML, and does what plain Python would do."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import rillflow.flow as words
from rillflow.definition import canonical_text, expand_sugar, normalise, parse_definition
from rillflow.definition.problems import find_problems
from rillflow.flow import Flow, call, flow
from tests.spec.flow_programs import Execution, Program, Scope, bodies, function_of
from tests.spec.flow_runs import PlainFlow, Run

INPUT: dict[str, Any] = {"topic": "sea", "many": 4, "sizes": [2, 5]}


def _flow_of(program: Program) -> Flow[Any, Any]:
    @flow(workspace="demo", name="program")
    def described(topic: str, many: int, sizes: list[int]) -> Any:
        execution = Execution(words, call, call.options(callback=True))
        scope: Scope = {"number": [many], "text": [topic], "list": [sizes]}
        return execution.body(program, scope)

    return described


def _as_plain_python(program: Program) -> Any:
    plain = PlainFlow(function_of)
    execution = Execution(plain, plain.call, plain.call)
    scope: Scope = {"number": [INPUT["many"]], "text": [INPUT["topic"]], "list": [INPUT["sizes"]]}
    return execution.body(program, scope)


@given(bodies(2))
@settings(max_examples=60, deadline=None)
def test_the_definition_reads_back_from_its_yaml_and_gives_an_equal_plan(program: Program) -> None:
    traced = _flow_of(program)._traced()
    read = parse_definition(canonical_text(traced))
    assert read == traced
    assert normalise(expand_sugar(read)) == normalise(expand_sugar(traced))
    assert [it for it in find_problems(canonical_text(traced)) if it.severity == "error"] == []


@given(bodies(2), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_a_flow_ends_with_what_plain_python_returns(program: Program, seed: int) -> None:
    run = Run(_flow_of(program).to_yaml(), function_of, seed=seed).play(dict(INPUT))
    expected = _as_plain_python(program)
    assert run.status == "SUCCEED"
    assert {key: run.context.get(key) for key in expected} == expected
