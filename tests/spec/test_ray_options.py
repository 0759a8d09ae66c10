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
