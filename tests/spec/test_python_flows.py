"""A flow in Python is the same definition as its YAML, and does what plain Python would do."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rillflow.flow as words
from rillflow.definition import canonical_text, expand_sugar, normalise, parse_definition
from rillflow.definition.problems import find_problems
from rillflow.flow import (
    Flow,
    call,
    catch,
    flow,
    foreach,
    parallel,
    ray_call,
    serve_call,
    sleep,
    subflow,
    when,
)
from rillflow.jsontypes import encode_json
from tests.fuzzing import examples
from tests.spec.flow_functions import film
from tests.spec.flow_programs import Execution, Program, Scope, bodies, function_of
from tests.spec.flow_runs import FailedError, PlainFlow, Run

INPUT: dict[str, Any] = {"topic": "sea", "many": 4, "sizes": [2, 5]}


def _flow_of(program: Program) -> Flow[Any, Any]:
    @flow(workspace="demo", name="program")
    def described(topic: str, many: int, sizes: list[int]) -> Any:
        execution = Execution(words, call, call.options(callback=True))
        scope: Scope = {"number": [many], "text": [topic], "list": [sizes]}
        return execution.body(program, scope)

    return described


def _counted(calls: list[tuple[str, Any]]) -> Counter[str]:
    return Counter(f"{name} {encode_json(sorted(given.items())).decode()}" for name, given in calls)


def _as_plain_python(program: Program, made: list[tuple[str, Any]]) -> Any:
    def function(name: str, given: Any) -> Any:
        made.append((name, given))
        return function_of(name, given)

    plain = PlainFlow(function)
    execution = Execution(plain, plain.call, plain.call)
    scope: Scope = {"number": [INPUT["many"]], "text": [INPUT["topic"]], "list": [INPUT["sizes"]]}
    return execution.body(program, scope)


@given(bodies(2))
@settings(max_examples=examples(60))
def test_the_definition_reads_back_from_its_yaml_and_gives_an_equal_plan(program: Program) -> None:
    traced = _flow_of(program)._traced()
    read = parse_definition(canonical_text(traced))
    assert read == traced
    assert normalise(expand_sugar(read)) == normalise(expand_sugar(traced))
    assert [it for it in find_problems(canonical_text(traced)) if it.severity == "error"] == []


@given(bodies(2), st.integers(0, 1000))
@settings(max_examples=examples(80))
def test_a_flow_ends_with_what_plain_python_returns(program: Program, seed: int) -> None:
    _ends_as_plain_python(program, seed)


@pytest.mark.long
@given(bodies(3), st.integers(0, 1000))
@settings(max_examples=examples(1600))
def test_a_larger_flow_ends_with_what_plain_python_returns(program: Program, seed: int) -> None:
    _ends_as_plain_python(program, seed)


def _ends_as_plain_python(program: Program, seed: int) -> None:
    run = Run(_flow_of(program).to_yaml(), function_of, seed=seed).play(dict(INPUT))
    made: list[tuple[str, Any]] = []
    expected = _as_plain_python(program, made)
    assert run.status == "SUCCEED"
    assert _counted(run.calls) == _counted(made)
    assert not [told for told in run.warnings.values() if told]
    assert {key: run.context.get(key) for key in expected} == expected


@given(bodies(2, in_order=True))
@settings(max_examples=examples(60))
def test_calls_are_made_in_the_order_of_the_lines(program: Program) -> None:
    run = Run(_flow_of(program).to_yaml(), function_of).play(dict(INPUT))
    made: list[tuple[str, Any]] = []
    _as_plain_python(program, made)
    assert run.calls == made


def _calls(describe: Any, function: Any, **data: Any) -> list[str]:
    run = Run(flow(workspace="demo", name="ordered")(describe).to_yaml(), function).play(data)
    return [name for name, _ in run.calls]


def _failing(*names: str) -> Any:
    def function(name: str, _: Any) -> Any:
        if name in names:
            raise FailedError(f"{name} fails")
        return {"done": name}

    return function


def test_what_stands_behind_a_failure_is_not_called() -> None:
    def describe() -> None:
        call("http://gateway/pay")
        call("http://gateway/mail")

    assert _calls(describe, _failing("pay")) == ["pay"]


def test_a_failure_in_a_parallel_block_stops_only_what_reads_its_value() -> None:
    def describe() -> None:
        with parallel():
            paid = call("http://gateway/pay")
            call("http://gateway/receipt", done=paid.done)
            call("http://gateway/book")
        call("http://gateway/mail")

    assert sorted(_calls(describe, _failing("pay"))) == ["book", "pay"]
    assert _calls(describe, _failing())[-1] == "mail"


def test_a_handler_runs_only_after_a_failure_and_the_lines_behind_it_always() -> None:
    def describe() -> None:
        catch(
            lambda: [call("http://gateway/pay"), call("http://gateway/book")][0],
            lambda error: call("http://gateway/tell", text=error.msg),
        )
        sleep(5)
        call("http://gateway/mail")

    assert _calls(describe, _failing()) == ["pay", "book", "mail"]
    assert _calls(describe, _failing("book")) == ["pay", "book", "tell", "mail"]
    assert _calls(describe, _failing("book", "tell")) == ["pay", "book", "tell"]


def test_a_branch_that_fails_fails_the_flow() -> None:
    def describe(many: Any) -> None:
        when(many > 1, lambda: call("http://gateway/pay")).otherwise(
            lambda: call("http://gateway/book")
        )
        call("http://gateway/mail")

    assert _calls(describe, _failing("pay"), many=2) == ["pay"]
    assert _calls(describe, _failing("pay"), many=1) == ["book", "mail"]


def test_bodies_read_values_from_all_levels_outside() -> None:
    def describe(topic: Any, sizes: Any) -> Any:
        first = call("http://gateway/first", topic=topic)

        def outer(size: Any) -> Any:
            second = call("http://gateway/second", size=size)

            def inner(number: Any) -> Any:
                found = {"a": first.done + second.done, "b": number + size, "c": topic}
                return call("http://gateway/third", **found).done

            return foreach(sizes, inner)

        return {"all": foreach(sizes, outer)}

    seen: list[Any] = []

    def function(name: str, given: Any) -> Any:
        seen.append(given)
        return {"done": f"{name}{given.get('size', '')}"}

    described = flow(workspace="demo", name="levels")(describe)
    run = Run(described.to_yaml(), function).play({"topic": "sea", "sizes": [1, 2]})
    assert run.context["all"] == [["third", "third"], ["third", "third"]]
    assert [it for it in seen if "a" in it and it["a"] == "firstsecond2"] == [
        {"a": "firstsecond2", "b": 3, "c": "sea"},
        {"a": "firstsecond2", "b": 4, "c": "sea"},
    ]
    assert not any(run.warnings.values())


def test_a_foreach_over_nothing_is_an_empty_list_at_all_levels() -> None:
    def describe(items: Any, sizes: Any) -> Any:
        none = foreach(items, lambda item: call("http://gateway/film", item=item))
        call("http://gateway/join", films=none, names=none[:].name)

        def outer(size: Any) -> Any:
            inner = foreach(items, lambda item: {"a": item + size})
            call("http://gateway/join", films=inner, size=size)
            return inner

        return {"none": none, "all": foreach(sizes, outer)}

    described = flow(workspace="demo", name="nothing", strict=True)(describe)
    run = Run(described.to_yaml(), lambda *_: {"ok": True}).play({"items": [], "sizes": [1, 2]})
    assert run.status == "SUCCEED"
    assert [given for _, given in run.calls] == [
        {"films": [], "names": []},
        {"films": [], "size": 1},
        {"films": [], "size": 2},
    ]
    assert (run.context["none"], run.context["all"]) == ([], [[], []])


def test_each_call_has_its_address_and_pattern() -> None:
    @flow(workspace="demo", name="addresses")
    def addresses() -> None:
        ray_call.options(detached=True)(film, title="a")
        ray_call("package.module:function", x=1)
        serve_call("app/Model/predict", text="b")
        subflow(_flow_of(([], {"n": 1, "t": ""})), topic="c", many=1, sizes=[])
        subflow.options(wait=False)("demo:other")
        call.options(poll_s=5)("http://gateway/slow")
        call("ray-actor://counter/add", amount=1)

    tasks: Any = addresses.definition.tasks
    assert [(task.name, task.resource_name, task.pattern) for task in tasks] == [
        ("film", "ray://tests.spec.flow_functions:film", "task_async"),
        ("function", "ray://package.module:function", "task_sync"),
        ("predict", "serve://app/Model/predict", "task_sync"),
        ("program", "rillflow://demo:program", "flow_sync"),
        ("other", "rillflow://demo:other", "flow_async"),
        ("slow", "http://gateway/slow", "task_async"),
        ("add", "ray-actor://counter/add", "task_sync"),
    ]
