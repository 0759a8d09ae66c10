"""Each example in Python does what its YAML does: the same calls, and the same result."""

import runpy
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pytest

from rillflow.definition import canonical_text, expand_sugar, normalise, parse_definition
from rillflow.definition.problems import find_problems
from rillflow.flow import Flow
from rillflow.jsontypes import JsonObject, encode_json
from tests.spec.flow_runs import Run

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
_MODULE: Final = runpy.run_path(str(EXAMPLES / "functions.py"))
FUNCTIONS: Final = {name: _MODULE[name] for name in ("greet", "shout", "square")}


class Example(NamedTuple):
    """An example: its YAML, its flow, and what goes in."""

    yaml: str
    module: str
    flow: str
    data: JsonObject
    results: tuple[str, ...]
    wakes: Mapping[str, list[JsonObject]] = MappingProxyType({})


VIDEO: Final = "text-to-video/workflow"
_ANSWERS: Final[tuple[JsonObject, ...]] = ({"approved": True}, {"approved": False})
NAMED: Final[JsonObject] = {"name": "Bob"}
CASES: Final = (
    Example("quickstart", "flows", "quickstart", NAMED, ("shouted",)),
    Example("choice", "flows", "choice", {"number": 7}, ("size",)),
    Example("choice", "flows", "choice", {"number": 10}, ("size",)),
    Example("switch", "flows", "switch", {"number": 7}, ("square", "text")),
    Example("switch", "flows", "switch", {"number": 12}, ("square", "text")),
    Example("subflow", "flows", "everybody", {"names": ["Bob", "Alice"]}, ("greetings",)),
    *(
        Example("suspense", "flows", "approved", NAMED, ("greeting",), {"approval": [said]})
        for said in _ANSWERS
    ),
    Example(VIDEO, VIDEO, "text_to_video", {"topic": "sea"}, ("result",)),
    Example(VIDEO, VIDEO, "text_to_video", {"topic": "tea", "scenes": 4}, ("result",)),
)
EACH: Final = pytest.mark.parametrize("example", CASES, ids=lambda it: f"{it.yaml} {it.data}")


def flow_of(example: Example) -> Flow[..., Any]:
    found = runpy.run_path(str(EXAMPLES / f"{example.module}.py"))[example.flow]
    assert isinstance(found, Flow)
    return found


def called(name: str, given: JsonObject) -> Any:
    """Answer a call as the functions of the small examples do, or with names of files."""
    if name in FUNCTIONS:
        return FUNCTIONS[name](**given)
    scenes: Any = given.get("scenes", 0)
    return {
        "gather": {"text": f"about {given.get('topic')}, {given.get('sentences')}"},
        "split": {"script": [{"text": f"{given.get('text')} {n}"} for n in range(scenes)]},
        "polish": {"script": given.get("script")},
        "voice": {"audio": f"{given.get('number')}.wav", "seconds": 2.5},
        "lipsync": {"video": f"{given.get('audio')}.y4m"},
        "subtitles": {"captions": f"{given.get('text')} {given.get('seconds')}"},
        "concat": {"film": given},
    }[name]


def _run(text: str, example: Example) -> Run:
    quickstart = (EXAMPLES / "quickstart.yaml").read_text(encoding="utf-8")
    library = {"examples:quickstart": quickstart}
    return Run(text, called, wakes=example.wakes, library=library).play(dict(example.data))


@EACH
def test_the_flow_calls_the_same_and_ends_with_the_same(example: Example) -> None:
    written = (EXAMPLES / f"{example.yaml}.yaml").read_text(encoding="utf-8")
    by_hand, traced = _run(written, example), _run(flow_of(example).to_yaml(), example)
    assert traced.status == by_hand.status
    assert _counted(traced) == _counted(by_hand)
    for key in example.results:
        assert traced.context.get(key) == by_hand.context.get(key)


def _counted(run: Run) -> Counter[str]:
    return Counter(f"{name} {encode_json(given).decode()}" for name, given in run.calls)


@EACH
def test_the_definition_of_the_flow_is_that_of_its_yaml(example: Example) -> None:
    flow = flow_of(example)
    read = parse_definition(flow.to_yaml())
    assert read == flow._traced() == flow.definition
    assert canonical_text(read) == flow.to_yaml()
    assert normalise(expand_sugar(read)) == normalise(expand_sugar(flow._traced()))


@EACH
def test_the_definition_of_the_flow_has_the_names_of_the_yaml_and_no_warning(
    example: Example,
) -> None:
    by_hand = parse_definition((EXAMPLES / f"{example.yaml}.yaml").read_bytes())
    flow = flow_of(example)
    assert (flow.workspace, flow.name) == (by_hand.workspace, by_hand.dag_name)
    assert find_problems(flow.to_yaml()) == []


@EACH
def test_no_mapping_of_the_flow_is_without_effect(example: Example) -> None:
    warned = {
        name: told
        for name, told in _run(flow_of(example).to_yaml(), example).warnings.items()
        if told
    }
    assert not warned


def test_every_example_has_a_flow() -> None:
    variants = {"text-to-video/workflow-music", "text-to-video/workflow-no-polish"}
    variants.add("ray-native/workflow")  # tests/unit/test_ray_native.py compares it
    files = {str(it.relative_to(EXAMPLES).with_suffix("")) for it in EXAMPLES.rglob("*.yaml")}
    assert files - variants == {example.yaml for example in CASES}
