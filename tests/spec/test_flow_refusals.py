"""What cannot be traced is refused, with the place in the author's file and the right form."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.errors import DefinitionError, FlowError
from rillflow.flow import (
    all_of,
    any_of,
    call,
    catch,
    contains,
    expression,
    flow,
    foreach,
    length,
    not_,
    parallel,
    ray_call,
    retry,
    sequence,
    serve_call,
    sleep,
    subflow,
    text,
    wait_for,
    when,
)
from tests.spec.flow_functions import Clip, film

URL: Final = "http://gateway/film"
OTHER: Final = flow(workspace="demo", name="other")(lambda topic: call(URL, topic=topic))


def refusal(describe: Callable[..., Any], **options: Any) -> str:
    """Trace a function with the parameters ``topic`` and ``items``, and return its refusal."""
    with pytest.raises(FlowError) as refused:
        _ = flow(workspace="demo", name="wrong", **options)(describe).definition
    place, _, message = str(refused.value).partition(": ")
    assert place.partition(":")[0] == Path(__file__).name
    return message


def _traced(describe: Callable[..., Any]) -> str:
    return flow(workspace="demo", name="right")(describe).to_yaml()


def _kept(values: list[Any], value: Any) -> None:
    values.append(value)
    call(URL)


def _story() -> Any:
    return call("http://gateway/story")


# -- what Python keeps for itself -----------------------------------------------------------------


def test_an_if_shows_when() -> None:
    def describe() -> None:
        story = _story()
        if story.score > 0.5:
            call(URL)

    said = refusal(describe)
    assert said.startswith("Python cannot decide on `story.score > 0.5`")
    assert "when(story.score > 0.5, lambda: ...).otherwise(lambda: ...)" in said


@pytest.mark.parametrize(
    "decide",
    [
        lambda a: 0 < a < 9,
        lambda a: a and 1,
        lambda a: not a,
        lambda a: 1 if a else 2,
        lambda a: a in ["x", "y"],
        lambda a: min(a, 3),
        lambda a: sorted([a, a + 1]),
        lambda a: all([a]),
    ],
)
def test_decisions_of_python_show_the_functions_that_decide(decide: Callable[[Any], Any]) -> None:
    def describe(topic: Any) -> None:
        decide(topic)

    said = refusal(describe)
    assert "when(" in said
    assert "all_of(...), any_of(...) and not_(...)" in said


def test_a_while_shows_when() -> None:
    def describe(topic: Any) -> None:
        while topic < 3:
            call(URL)

    assert "when(topic < 3" in refusal(describe)


@pytest.mark.parametrize(
    "go_through",
    [
        lambda items: [call(URL, item=item) for item in items],
        list,
        tuple,
        dict,
        lambda items: [*items],
        lambda items: call(URL, **items),
        enumerate,
        sum,
        ", ".join,
    ],
)
def test_loops_show_foreach(go_through: Callable[[Any], Any]) -> None:
    def describe(items: Any) -> None:
        go_through(items)

    said = refusal(describe)
    assert "foreach(items, lambda item: ...)" in said or "keys" in said


@pytest.mark.parametrize(
    ("use", "form"),
    [
        (len, "instead of len(topic), write length(topic)"),
        (lambda topic: "a" in topic, "write contains(topic, 'a')"),
        (lambda topic: f"on {topic}", '"..." + topic + "..."'),
        (lambda topic: f"{topic:>10}", '"..." + topic + "..."'),
        (str, "text(topic)"),
        (lambda topic: f"{topic!s}", "text(topic)"),
        (lambda topic: "%s" % topic, "text(topic)"),  # noqa: UP031 - the form that is refused
        (lambda topic: topic.upper(), 'expression("string.length(x)", x=...)'),
        (int, 'expression("long(x)", x=topic)'),
        (float, '"double(x)"'),
        (lambda topic: [1, 2][topic], 'expression("long(x)", x=topic)'),
        (range, 'expression("long(x)", x=topic)'),
        (lambda topic: {topic: 1}, "no key of a dict"),
        (lambda topic: {topic}, "no member of a set"),
        (lambda topic: topic[1:3], "of slices there is only [:]"),
        (lambda topic: topic[1.5], "takes a key, an index or [:]"),
        (lambda topic: topic[topic], "takes a key, an index or [:]"),
        (lambda topic: setattr(topic, "x", 1), "cannot be changed"),
        (lambda topic: topic.__setitem__("x", 1), "cannot be changed"),
        (lambda topic: topic[:].a[:].b, "[:] stands once in a value"),
    ],
)
def test_what_needs_the_value_shows_the_right_form(use: Callable[[Any], Any], form: str) -> None:
    def describe(topic: Any) -> None:
        use(topic)

    assert form in refusal(describe)


def test_a_placeholder_has_no_private_attributes_so_that_tools_leave_it_alone() -> None:
    seen: list[Any] = []
    _traced(lambda topic: _kept(seen, topic))
    assert not hasattr(seen[0], "__deepcopy__")
    assert repr(seen[0].a["b c"][0] + 1) == "<placeholder topic.a['b c'][0] + 1>"
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(seen)


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [object(), {1: 2}, {"a": {2}}, math.nan, math.inf, b"bytes", "\ud800", {"\ud800": 1}, print],
)
def test_values_that_json_does_not_have_are_refused(value: Any) -> None:
    assert "JSON" in refusal(lambda: call(URL, value=value))
    assert "JSON" in refusal(lambda topic: call(URL, value=[topic, value]))
    assert "JSON" in refusal(lambda topic: call(URL, value=topic == value))


def test_dicts_and_lists_without_an_end_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "nested in each other" in refusal(lambda: call(URL, value=endless))
    around: dict[str, Any] = {}
    around["in"] = around
    assert "nested in each other" in refusal(lambda: call(URL, value=around))
    assert "nested in each other" in refusal(
        lambda topic: call(URL, value=around.update(topic=topic) or around)
    )


def test_an_endless_expression_is_refused() -> None:
    def describe(topic: Any) -> None:
        for _ in range(1000):
            topic = topic + 1

    assert "an expression has at most" in refusal(describe)


def test_endless_tasks_are_refused() -> None:
    def describe() -> None:
        while True:
            call(URL)

    assert "repeat tasks by foreach" in refusal(describe)


def test_a_default_that_the_language_reads_as_something_else_is_refused() -> None:
    def describe(topic: str = "123") -> None:
        call(URL, topic=topic)

    with pytest.raises(FlowError, match="the default of topic, '123', would be read as something"):
        _ = flow(workspace="demo", name="wrong")(describe).definition


# -- where things are seen ------------------------------------------------------------------------


def test_a_value_of_a_body_is_not_seen_outside() -> None:
    def describe(items: Any) -> None:
        kept: list[Any] = []
        foreach(items, lambda item: kept.append(call(URL, item=item)))
        call(URL, last=kept[0].x)

    said = refusal(describe)
    assert said.startswith("`film.x` is a value of the groups of `eachItem`")
    assert "use what foreach, when or catch return" in said


def test_a_value_of_another_flow_is_not_seen() -> None:
    kept: list[Any] = []
    _traced(lambda topic: _kept(kept, topic))
    assert "is a value of another flow" in refusal(lambda: call(URL, topic=kept[0]))


def test_a_list_of_a_foreach_has_no_fields() -> None:
    said = refusal(lambda items: foreach(items, lambda item: call(URL, item=item)).video)  # type: ignore[attr-defined]
    assert "write eachItem[:].video" in said
    assert "eachItem[0].video for that of the first" in said


def test_the_words_need_a_flow_around_them() -> None:
    words: list[Callable[[], Any]] = [
        lambda: call(URL),
        lambda: ray_call(film, title="x"),
        lambda: serve_call("app"),
        lambda: subflow("a:b"),
        lambda: foreach([1], lambda item: item),
        lambda: when(True, lambda: 1),  # noqa: FBT003 - refused
        lambda: catch(lambda: 1, lambda error: error),
        lambda: wait_for("approval"),
        lambda: sleep(1),
        lambda: parallel().__enter__(),
        lambda: sequence().__enter__(),
    ]
    for word in words:
        with pytest.raises(FlowError, match="use it inside of a function with @flow"):
            word()


# -- the words ------------------------------------------------------------------------------------


def test_bodies_are_functions_with_the_right_parameters() -> None:
    assert "takes the element" in refusal(lambda items: foreach(items, lambda: 1))  # type: ignore[arg-type, misc]
    assert "at most 2" in refusal(lambda items: foreach(items, lambda _, __, ___: 1))  # type: ignore[arg-type, misc]
    assert "a body is a function" in refusal(lambda items: foreach(items, call(URL)))
    assert "takes the error" in refusal(lambda: catch(lambda: call(URL), lambda: None))  # type: ignore[arg-type, misc]


def test_a_body_that_does_nothing_is_refused() -> None:
    nothing = "calls nothing and returns nothing"
    assert nothing in refusal(lambda items: foreach(items, lambda _: None))
    assert nothing in refusal(lambda topic: when(topic == 1, lambda: None))
    assert "the flow wrong calls nothing" in refusal(lambda: None)


def test_foreach_goes_through_lists_only() -> None:
    assert "is none" in refusal(lambda: foreach(5, lambda item: item))  # type: ignore[call-overload]
    assert "is none" in refusal(lambda: foreach("text", lambda item: call(URL, item=item)))
    wrong = refusal(lambda items: foreach(items, lambda item: call(URL, item=item), at_once=0))
    assert "at_once is a whole number, 1 or more" in wrong


def test_a_condition_is_a_placeholder() -> None:
    assert "use Python's `if`" in refusal(lambda: when(True, lambda: call(URL)))  # noqa: FBT003
    assert "a comparison of placeholders" in refusal(lambda: when("yes", lambda: call(URL)))


def test_otherwise_stands_directly_behind_when() -> None:
    def describe(topic: Any) -> None:
        decision = when(topic == 1, lambda: call(URL))
        call(URL)
        decision.otherwise(lambda: call(URL))

    assert "directly behind when(...)" in refusal(describe)


def test_options_are_known_and_have_their_types() -> None:
    unknown: dict[str, Any] = {"timeout": 5}
    assert "no option timeout" in refusal(lambda: call.options(**unknown)(URL))
    assert "timeout_s is a whole number" in refusal(lambda: call.options(timeout_s=0)(URL))
    with pytest.raises(FlowError, match="a flow has no option retries"):
        flow(workspace="demo", retries=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["film", "topic", "demo", "wrong", "no name", "", "é", "a" * 101])
def test_names_of_tasks_are_free_and_well_formed(name: str) -> None:
    def describe(topic: Any) -> None:
        call.options(name="film")(URL, topic=topic)
        call.options(name=name)(URL)

    said = refusal(describe)
    assert "is taken" in said or "is no name of a task" in said


@pytest.mark.parametrize("name", ["no name", "", "é", "a" * 101])
def test_names_of_flows_are_well_formed(name: str) -> None:
    with pytest.raises(FlowError, match="is no name"):
        flow(workspace=name or "-", name=name)(lambda: call(URL))


def test_conditions_of_calls_compare_fields_of_the_output() -> None:
    def refused(condition: Callable[[Any], Any]) -> str:
        return refusal(lambda topic: call.options(success_when=condition)(URL, topic=topic))

    assert "whatever the output is" in refused(lambda _: True)
    assert "is no condition of a function" in refused(lambda output: output.n + 1)
    assert "compares fields" in refused(lambda output: output.n + 1 > 2)

    def elsewhere(topic: Any) -> None:
        call.options(retry=retry(1, when=lambda _: topic == 1))(URL)

    assert "sees its output only" in refusal(elsewhere)


def test_arguments_fit_the_function() -> None:
    wrong: Callable[..., Any] = ray_call
    assert "missing a required argument: 'title'" in refusal(lambda: wrong(film))
    assert "unexpected keyword argument 'titel'" in refusal(
        lambda: wrong(film, title="x", titel="y")
    )
    other: Callable[..., Any] = subflow
    assert "missing a required argument: 'topic'" in refusal(lambda: other(OTHER))


def test_functions_are_those_that_a_worker_can_import() -> None:
    assert "a worker imports functions by name" in refusal(lambda: ray_call(lambda: 1))
    any_call: Callable[..., Any] = ray_call
    assert "is no function" in refusal(lambda: any_call(Clip, title="x"))
    assert "is no function" in refusal(lambda: any_call(len, []))


def test_the_address_is_known_while_tracing() -> None:
    def describe(topic: Any) -> None:
        call(topic)

    assert "the address of a call is a text" in refusal(describe)


def test_a_flow_is_a_plain_function_of_named_parameters() -> None:
    async def later() -> None:
        call(URL)

    def positional(topic: Any, /) -> None:
        call(URL, topic=topic)

    for function, reason in (
        (later, "is an async def"),
        (positional, "not positional-only"),
        (lambda *topics: call(URL, topics=topics), "a parameter for each key"),
        (lambda **topics: call(URL, topics=topics), "a parameter for each key"),
        (lambda __topic: call(URL, topic=__topic), "reserved"),
    ):
        with pytest.raises(FlowError, match=reason):
            _ = flow(workspace="demo", name="wrong")(function).definition


def test_a_flow_returns_a_dict() -> None:
    assert 'return {"result": film.title}' in refusal(lambda: call(URL).title)
    assert "a flow returns a dict" in refusal(lambda: [call(URL)])
    assert "is no name of an entry" in refusal(lambda: {"__x": call(URL)})


def test_a_flow_is_not_called() -> None:
    with pytest.raises(FlowError, match=r"runs on a server: submit it with client\.add"):
        OTHER(topic="x")


def test_a_definition_that_a_server_refuses_is_refused_as_in_yaml() -> None:
    def describe() -> None:
        call("")

    with pytest.raises(DefinitionError, match="resourceName or resource can not be empty"):
        _traced(describe)


# -- what is known while tracing ------------------------------------------------------------------


def test_values_that_are_known_are_computed_by_python() -> None:
    assert length([1, 2]) == 2
    assert contains("abc", "b")
    assert text(1.5) == "1.5"
    assert all_of(True, not_(False))  # noqa: FBT003 - values
    assert not any_of(False, False)  # noqa: FBT003 - values


def test_an_expression_is_checked_when_it_is_written() -> None:
    assert "the expression 'count(' is wrong" in refusal(
        lambda topic: expression("count(", x=topic)
    )
    assert "needs a placeholder" in refusal(lambda: expression("1 + x", x=1))


def test_data_classes_are_values() -> None:
    @dataclasses.dataclass
    class Size:
        width: int
        name: Any

    def describe(topic: Any) -> None:
        call(URL, size=Size(3, topic), clip=Clip(title="a", seconds=1))

    assert "target: $.input.size.name" in _traced(describe)
