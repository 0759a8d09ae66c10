"""Type checkers see a flow as plain Python: wrong arguments and fields are errors before it runs.

Each ``type: ignore`` of this file names an error that mypy finds; it reports one that finds none.
"""

from collections.abc import Callable
from typing import Any, Final, assert_type

import pytest

from rillflow.errors import FlowError
from rillflow.flow import call, catch, flow, foreach, length, ray_call, subflow, wait_for, when
from rillflow.flow.groups import Values
from rillflow.flow.returned import root_of
from tests.spec import flow_functions
from tests.spec.flow_functions import Clip, clips, film, total

ROOTS: Final[dict[Callable[..., Any], tuple[str, ...]]] = {
    flow_functions.film: (),
    flow_functions.cut: (),
    flow_functions.fields: (),
    flow_functions.unsaid: (),
    flow_functions.streamed: (),
    flow_functions.clips: ("data",),
    flow_functions.total: ("data",),
    flow_functions.steps: ("data",),
    flow_functions.later: ("data",),
    flow_functions.perhaps: ("data",),
    flow_functions.array: (),
    flow_functions.content: (),
    flow_functions.misspelt: (),
}


@pytest.mark.parametrize("function", ROOTS, ids=lambda it: it.__name__)
def test_a_placeholder_is_what_the_function_returns(function: Callable[..., Any]) -> None:
    assert root_of(function) == ROOTS[function]


@flow(workspace="demo", name="typed")
def typed(topic: str, count: int = 2) -> dict[str, float]:
    titles = assert_type(ray_call(clips, topic, count=count), list[str])
    made = foreach(titles, lambda title: ray_call(film, title=title))
    assert_type(made, Values[Clip])
    assert_type(made[:].title, Any)
    numbered = foreach(titles, lambda title, number: ray_call(film, title, seconds=number))
    assert_type(numbered[0], Clip)
    first = made[0]
    chosen = when(first.seconds > 1, lambda: first.title).otherwise(lambda: 0)
    assert_type(chosen, str | int)
    caught = catch(lambda: ray_call(total, numbered), lambda error: None)  # noqa: ARG005
    assert_type(caught, float | None)
    answer = wait_for("approval", returns=Clip, until=lambda clip: clip.seconds > 2)
    assert_type(answer.title, str)
    assert_type(call.options(returns=Clip)("http://f.test/film").seconds, float)
    assert_type(length(titles), int)
    return {"seconds": ray_call(total, made) + answer.seconds}


def test_a_typed_flow_is_traced() -> None:
    assert [task.name for task in typed.definition.tasks or ()][:2] == ["clips", "eachTitle"]


def _refused(describe: Callable[[], Any]) -> str:
    with pytest.raises(FlowError) as refused:
        _ = flow(workspace="demo", name="wrong")(describe).definition
    return str(refused.value)


def test_wrong_arguments_are_found_by_the_type_checker_and_when_it_is_traced() -> None:
    assert "unexpected keyword argument 'titel'" in _refused(
        lambda: ray_call(film, title="x", titel="y")  # type: ignore[call-overload]
    )
    assert "missing a required argument" in _refused(lambda: ray_call(film))  # type: ignore[call-overload]
    assert "multiple values for argument" in _refused(
        lambda: ray_call(film, "x", title="y")  # type: ignore[misc]
    )
    assert "unexpected keyword argument 'cuont'" in _refused(
        lambda: subflow(typed, topic="x", cuont=1)  # type: ignore[call-overload]
    )


def test_misspelt_fields_are_found_by_the_type_checker() -> None:
    @flow(workspace="demo", name="misspelt")
    def misspelt() -> dict[str, Any]:
        return {"title": ray_call(film, title="x").titel}  # type: ignore[attr-defined]

    assert "$.output.titel" in misspelt.to_yaml()


def test_wrong_types_are_found_by_the_type_checker() -> None:
    @flow(workspace="demo", name="mistaken")
    def mistaken(count: int) -> None:
        ray_call(film, title=count)  # type: ignore[call-overload]

    assert "$.context.count" in mistaken.to_yaml()
