"""``rayOptions`` say what a call of Ray needs; wrong ones are refused with their place."""

from typing import Final

import pytest

from rillflow.core.plan import Plan
from rillflow.definition import find_problems, parse_definition
from rillflow.definition.canonical import canonical_text
from rillflow.errors import DefinitionError
from rillflow.jsontypes import JsonObject, decode_json

FLOW: Final = """\
workspace: spec
dagName: options
type: flow
rayOptions: {of_flow}
tasks:
  - name: A
    category: function
    pattern: task_sync
    resourceName: {resource}
    rayOptions:
      {option}
"""


def _text(option: str, *, of_flow: str = "{}", resource: str = "ray://pipeline:film") -> str:
    return FLOW.format(option=option, of_flow=of_flow, resource=resource)


def _options(text: str) -> JsonObject:
    options = Plan(parse_definition(text), "id").by_name["A"].ray_options
    found = decode_json(options or b"null")
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("option", "message", "hint"),
    [
        ("num_cpus: -1", "rayOptions: num_cpus is 0 or more", ""),
        ("num_gpus: 1.5", "rayOptions: num_gpus is a whole number if it is more than 1", ""),
        ("num_gpus: 0.00001", "rayOptions: num_gpus is 0, or 0.0001 or more", ""),
        ("num_gpus: many", "num_gpus must be a number, not `many`", ""),
        ("memory: 0.5", "rayOptions: memory is a whole number of bytes", ""),
        ("resources: [disk]", "resources must be an object, not a list", ""),
        ("resources: { disk: -1 }", "rayOptions: disk is 0 or more", ""),
        (
            "resources: { GPU: 2 }",
            "rayOptions: GPU has an option of its own",
            "write num_gpus: 2 instead",
        ),
        (
            "accelerator_type: A 100",
            "rayOptions: accelerator_type is a name of letters, digits, `_`, `.` and `-`",
            "",
        ),
        ("detached: maybe", "detached must be true or false, not `maybe`", ""),
        ("stream: [a]", "stream must be true or false, not a list", ""),
        ("max_calls: 10001", "rayOptions: max_calls is a number from 1 to 10000", ""),
        ("max_calls: many", "max_calls must be a whole number of 32 bits, not `many`", ""),
        (
            "max_system_retries: 101",
            "rayOptions: max_system_retries is a number from 0 to 100",
            "",
        ),
        ("max_calls: 0", "rayOptions: max_calls is a number from 1 to 10000", ""),
        ("batch: 0", "rayOptions: batch is a number from 1 to 1000", ""),
        ("batch: 1001", "rayOptions: batch is a number from 1 to 1000", ""),
        (
            "{ batch: 5, detached: true }",
            "rayOptions: batch is not possible with detached",
            "a detached call is that of one task",
        ),
        ("max_system_retries: -1", "rayOptions: max_system_retries is a number from 0 to 100", ""),
        (
            "runtime_env: { pip: [torch] }",
            "runtime_env must be text, not an object",
            "",
        ),
        (
            "runtime_env: ../vision",
            "rayOptions: runtime_env is a name of letters, digits, `_`, `.` and `-`",
            "runtime_env is a name in the setting ray_runtime_envs",
        ),
        ("num_cpus: 1.0e+300", "rayOptions: num_cpus is 1000000 at most", ""),
        ("memory: 1.0e+30", "rayOptions: memory is 1125899906842624 at most", ""),
        ("resources: { disk: 1.0e+7 }", "rayOptions: disk is 1000000 at most", ""),
        *(
            (
                f"resources: {{ '{name}': 1 }}",
                f"rayOptions: `{name[:64]}` is no name of a custom resource",
                "a name has up to 64 letters, digits, `_`, `.`, `:`, `/` and `-`",
            )
            for name in ("", "object_store_memory", "a b", "x" * 65)
        ),
        (
            f"resources: {{ {', '.join(f'r{number}: 1' for number in range(33))} }}",
            "rayOptions: resources has 32 entries at most",
            "",
        ),
        *(
            (
                f"label_selector: {{ zone: '{value}' }}",
                f"rayOptions: `{value[:64]}` selects no label",
                "write a value, `!value`, `in(one, two)` or `!in(one, two)`",
            )
            for value in ("in(", "in()", "-a", "!!a", "a b", "x" * 64, "a\u00e9")
        ),
        *(
            (
                f"label_selector: {{ '{key}': a }}",
                f"rayOptions: `{key}` is no name of a label",
                "a name is like `zone` or `example.com/zone`",
            )
            for key in ("", "a b", "/zone", "a..b/zone")
        ),
        (
            f"label_selector: {{ {', '.join(f'l{number}: a' for number in range(17))} }}",
            "rayOptions: label_selector has 16 labels at most",
            "",
        ),
        ("num_gpu: 1", "there is no option `num_gpu`", "did you mean `num_gpus`?"),
    ],
)
def test_a_wrong_option_is_refused_at_its_line_and_column(
    option: str, message: str, hint: str
) -> None:
    [problem] = [each for each in find_problems(_text(option)) if each.severity == "error"]
    assert (problem.message, problem.hint) == (message, hint)
    assert problem.line == 11
    assert problem.column >= 7
    with pytest.raises(DefinitionError):
        parse_definition(_text(option))


@pytest.mark.parametrize(
    "option",
    [
        "num_cpus: 1000000",
        "memory: 1125899906842624",
        "resources: { 'node:10.0.0.1': 0.01, TPU-v4-8-head: 1 }",
        "label_selector: { zone: a, example.com/kind: '!in(a, b-1,c)', ray.io/x: '!gpu', any: '' }",
    ],
)
def test_what_ray_takes_is_taken(option: str) -> None:
    assert find_problems(_text(option)) == []


def test_a_wrong_option_of_the_workflow_is_refused_too() -> None:
    text = _text("num_cpus: 1", of_flow="{ num_gpus: -1 }")
    [problem] = [each for each in find_problems(text) if each.severity == "error"]
    assert problem.message == "rayOptions: num_gpus is 0 or more"
    assert problem.line == 4


def test_a_task_has_the_options_of_its_workflow_that_it_does_not_give_itself() -> None:
    of_flow = "{ num_cpus: 2, runtime_env: vision, resources: { disk: 1 } }"
    assert _options(_text("num_cpus: 0.5", of_flow=of_flow)) == {
        "num_cpus": 0.5,
        "runtime_env": "vision",
        "resources": {"disk": 1.0},
    }


def test_options_survive_being_stored() -> None:
    text = _text("memory: 8589934592", of_flow="{ label_selector: { zone: '1.10' } }")
    definition = parse_definition(text)
    assert parse_definition(canonical_text(definition)) == definition
    assert _options(canonical_text(definition)) == {
        "memory": 8589934592.0,
        "label_selector": {"zone": "1.10"},
    }


@pytest.mark.parametrize(
    ("resource", "option"),
    [
        ("ray://pipeline:film", "stream: true"),
        ("ray-job://train", "max_calls: 5"),
        ("ray-job://train", "batch: 5"),
        ("ray-job://train", "detached: true"),
        ("ray-job://train", "stream: true"),
        ("ray-actor://film/cut", "num_gpus: 1"),
        ("ray-actor://film/cut", "runtime_env: vision"),
        ("ray-actor://film/cut", "stream: true"),
        ("serve://film", "num_cpus: 2"),
        ("serve://film", "detached: false"),
    ],
)
def test_an_option_that_does_not_count_for_a_call_is_warned_of_at_its_place(
    resource: str, option: str
) -> None:
    [found] = find_problems(_text(option, resource=resource))
    name, protocol = option.partition(":")[0], resource.partition(":")[0]
    assert found.message == f"rayOptions: {name} has no effect on a call of {protocol}"
    assert (found.severity, found.line) == ("warning", 11)


@pytest.mark.parametrize(
    ("resource", "options"),
    [
        ("ray://pipeline:film", "max_calls: 5, detached: true, accelerator_type: A100"),
        ("ray://pipeline:film", "batch: 5, runtime_env: vision, max_system_retries: 1"),
        ("ray-job://train", "num_gpus: 1, accelerator_type: A100, label_selector: { a: b }"),
        ("ray-actor://film/cut", "max_system_retries: 1"),
        ("serve://film", "max_system_retries: 1, stream: true"),
    ],
)
def test_options_that_count_for_a_call_are_not_warned_of(resource: str, options: str) -> None:
    assert find_problems(_text(f"{{ {options} }}", resource=resource)) == []


@pytest.mark.parametrize(
    ("resource", "warnings"),
    [
        ("ray://pipeline:film", []),
        ("ab://films", []),
        ("http://host/film", ["rayOptions have no effect on a call of http"]),
    ],
)
def test_options_of_a_call_that_is_none_of_ray_are_warned_of(
    resource: str, warnings: list[str]
) -> None:
    found = find_problems(_text("num_cpus: 1", resource=resource))
    assert [each.message for each in found] == warnings


@pytest.mark.parametrize(
    ("resource", "said", "hint"),
    [
        ("ray://pipeline", "names no function", "the form is ray://package.module:function"),
        ("ray://a.b:c.d", "names no function", "the form is ray://package.module:function"),
        (
            "ray-actor://film",
            "names no method of an actor",
            "the form is ray-actor://name/method or ray-actor://name@namespace/method",
        ),
        (
            "serve://a/b/c/d",
            "names no Serve application",
            "the form is serve://application, followed by /deployment, or /deployment/method",
        ),
    ],
)
def test_an_address_that_names_nothing_is_warned_of(resource: str, said: str, hint: str) -> None:
    [found] = find_problems(_text("max_system_retries: 1", resource=resource))
    assert found.message == f"resourceName `{resource}` {said}: the task fails"
    assert (found.severity, found.line, found.hint) == ("warning", 9, hint)


@pytest.mark.parametrize(
    "resource", ["ray://a.b:c", "ray-actor://a@b/c", "serve://a", "serve://a/b/c", "'ray://${x}:y'"]
)
def test_an_address_that_names_something_is_not_warned_of(resource: str) -> None:
    assert find_problems(_text("max_system_retries: 1", resource=resource)) == []
