"""Options and addresses of calls are checked at the line of the author that gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.errors import FlowError
from rillflow.flow import call, flow, ray_call, retry, serve_call, sleep, subflow, wait_for
from tests.spec.flow_functions import film

URL: Final = "http://gateway/film"
OTHER: Final = flow(workspace="demo", name="other")(lambda topic: call(URL, topic=topic))


def refusal(describe: Callable[..., Any], **options: Any) -> str:
    """Trace a function, and return its refusal."""
    with pytest.raises(FlowError) as refused:
        _ = flow(workspace="demo", name="wrong", **options)(describe).definition
    place, _, message = str(refused.value).partition(": ")
    assert place.partition(":")[0] == Path(__file__).name
    return message


@pytest.mark.parametrize(
    ("word", "options", "said"),
    [
        (call, {"name": 5}, "name is a text, not 5"),
        (call, {"title": 5}, "title is a text, not 5"),
        (call, {"method": 5}, "method is a text, not 5"),
        (call, {"callback": "yes"}, "callback is True or False, not 'yes'"),
        (call, {"tolerance": "yes"}, "tolerance is True or False, not 'yes'"),
        (call, {"retry": 3}, "retry is what retry(...) returns, not 3"),
        (subflow, {"wait": "no"}, "wait is True or False, not 'no'"),
        (ray_call, {"num_cpus": "many"}, "num_cpus: Input should be a valid number"),
        (ray_call, {"num_cpus": -1}, "num_cpus is 0 or more"),
        (ray_call, {"resources": {"GPU": 1}}, "own; write num_gpus: 1 instead"),
        (ray_call, {"runtime_env": {"pip": ["a"]}}, "runtime_env: Input should be a valid string"),
        (ray_call, {"batch": 5, "detached": True}, "batch is not possible with detached"),
        (serve_call, {"stream": 7}, "stream: Input should be a valid boolean"),
        (serve_call, {"num_cpus": 1}, "there is no option num_cpus"),
    ],
)
def test_an_option_of_another_type_is_refused_at_the_line_that_gives_it(
    word: Any, options: dict[str, Any], said: str
) -> None:
    target = {call: URL, subflow: "demo:other", ray_call: "m:f", serve_call: "app"}[word]
    assert said in refusal(lambda: word.options(**options)(target))


@pytest.mark.parametrize("name", ["name", "title", "tolerance", "retry", "timeout_s"])
@pytest.mark.parametrize("word", [call, ray_call, serve_call, subflow])
def test_an_option_is_no_placeholder(word: Any, name: str) -> None:
    target = {call: URL, subflow: "demo:other", ray_call: "m:f", serve_call: "app"}[word]
    said = refusal(lambda topic: word.options(**{name: topic.x})(target))
    assert "not <placeholder topic.x>" in said


def test_a_ray_option_is_no_placeholder() -> None:
    said = refusal(lambda topic: ray_call.options(num_gpus=topic.x)("m:f"))
    assert "num_gpus: Input should be a valid number, not <placeholder topic.x>" in said


def test_options_of_a_flow_have_their_types() -> None:
    wrong: dict[str, Any] = {"ray_options": {"num_cpus": -1}}
    assert "num_cpus is 0 or more" in refusal(lambda: sleep(1), **wrong)
    wrong = {"ray_options": {"num_gpu": 1}}
    assert "there is no option num_gpu" in refusal(lambda: sleep(1), **wrong)
    for options, said in (
        ({"ray_options": 3}, "ray_options is a dict"),
        ({"strict": "yes"}, "strict is True or False"),
        ({"name": 3}, "name is a text"),
        ({"callback": True}, "callback is an address"),
    ):
        given: dict[str, Any] = {"workspace": "demo", **options}
        with pytest.raises(FlowError, match=said):
            flow(**given)


def test_retries_are_numbers() -> None:
    wrong: dict[str, Any] = {"interval_s": "2"}
    assert "interval_s is a number, not '2'" in refusal(lambda: retry(1, **wrong))
    times: Any = OTHER
    assert "times is a number, not <flow demo:other>" in refusal(lambda: retry(times))


@pytest.mark.parametrize(
    ("word", "target", "said"),
    [
        (ray_call, "pipeline", "'ray://pipeline' names no function; the form is ray://package."),
        (ray_call, "a.b:c.d", "'ray://a.b:c.d' names no function"),
        (ray_call, "ray://m:_f", "'ray://m:_f' names no function"),
        (serve_call, "", "'serve://' names no Serve application; the form is serve://application"),
        (serve_call, "app/one/two/three", "names no Serve application"),
        (serve_call, 5, "what serve:// calls is named by a text, not by 5"),
        (subflow, "other", "'other' names no flow; the form is business:feature"),
        (subflow, film, "is no flow: make one of it by @flow"),
    ],
)
def test_what_names_nothing_is_refused(word: Any, target: Any, said: str) -> None:
    assert said in refusal(lambda topic: word(target, topic=topic))


def test_the_name_of_a_task_is_a_text() -> None:
    assert "the name of a task is a text, not <placeholder topic>" in refusal(
        lambda topic: [wait_for(topic)]
    )
