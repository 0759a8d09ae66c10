"""A reference to a secret counts where the definition puts it, and is a text anywhere else."""

import pytest

from rillflow.core.commands import DispatchTask
from rillflow.jsontypes import JsonValue, encode_json
from rillflow.testing import Scenario

TOKEN = "${secret:TOKEN}"

OVERWRITTEN = f"""    inputMappings:
      - {{source: '{TOKEN}', target: $.input.a}}
      - {{source: $.input.a, target: $.input.b}}
      - {{source: $.context.other, target: $.input.a}}"""


def task(more: str, resource: str = "http://gw/f") -> str:
    return f"""
workspace: shop
dagName: order
type: flow
tasks:
  - name: A
    category: function
    pattern: task_sync
    resourceName: {resource}
{more}"""


def sent(
    more: str, data: dict[str, JsonValue] | None = None, resource: str = "http://gw/f"
) -> DispatchTask:
    """Return the call that a submission with these data leads to."""
    flow = Scenario(task(more, resource), check=True)
    flow.submit(data or {})
    [command] = [each for each in flow.commands if isinstance(each, DispatchTask)]
    return command


@pytest.mark.parametrize(
    ("more", "places"),
    [
        (
            f"    inputMappings: [{{source: '{TOKEN}', target: $.input.header.Authorization}}]",
            {("header", "Authorization")},
        ),
        (
            f"    inputMappings: [{{source: 'Bearer {TOKEN}', target: \"$.input['a'].b\"}}]",
            {("a", "b")},
        ),
        (
            f"    inputMappings: [{{source: 'Bearer {TOKEN}', target: '$.input.list[1]'}}]",
            {("list", 1)},
        ),
        (
            '    inputMappings: [{source: \'{"k": [1, "' + TOKEN + "\"]}', target: $.input.o}]",
            {("o", "k", 1)},
        ),
        (f"    parameters: {{body: {{key: 'k-{TOKEN}'}}, n: 1}}", {("body", "key")}),
        (f"    input: {{key: '{TOKEN}'}}", {("key",)}),
    ],
)
def test_literals_and_parameters_of_the_definition_count(
    more: str, places: set[tuple[str | int, ...]]
) -> None:
    assert set(sent(more).secrets) == places


def test_a_resource_name_counts_as_it_stands() -> None:
    resource = f"http://gw/f?key={TOKEN}"
    command = sent("", resource=resource)
    assert (command.secrets, command.resource_name) == (((),), resource)


@pytest.mark.parametrize(
    "more",
    [
        "    inputMappings: [{source: $.context.said, target: $.input.said}]",
        "    inputMappings: [{source: $.context, target: $.input.all}]",
        f"    inputMappings: [{{source: '{TOKEN}', target: $.context.kept}}]",
        OVERWRITTEN,
        f"""    inputMappings:
      - {{source: '{TOKEN}', target: $.context.a}}
      - {{source: $.context.said, target: $.input.a}}""",
        f"    inputMappings: [{{source: '{TOKEN}', target: $.input}}]",
        f"    inputMappings: [{{source: 'x{TOKEN}', transform: 'source', target: $.input.a}}]",
        "    inputMappings: [{source: 'x', transform: 'context.said', target: $.input.a}]",
        "    inputMappings: [{source: '${secret:}', target: $.input.a}]",
        "    inputMappings: [{source: '${secret:a/../b}', target: $.input.a}]",
    ],
)
def test_what_submitters_and_functions_say_stays_a_text(more: str) -> None:
    command = sent(more, {"said": TOKEN, "other": f"-{TOKEN}"})
    assert command.secrets == ()


@pytest.mark.parametrize("other", [["x"], [], {"0": 1, "1": TOKEN}, TOKEN, {}, None])
@pytest.mark.parametrize("target", ["a[1]", "a.b[1]", "a.b.c"])
def test_a_place_that_has_become_another_is_none(target: str, other: JsonValue) -> None:
    rules = f"""    inputMappings:
      - {{source: '{TOKEN}', target: '$.input.{target}'}}
      - {{transform: 'context.other', target: $.input.a}}"""
    kept = () if other is not None else sent(rules.rpartition("\n")[0]).secrets
    assert sent(rules, {"other": other}).secrets == kept


def test_a_submitter_may_repeat_the_definition_and_gains_nothing() -> None:
    rules = f"""    inputMappings:
      - {{source: 'Bearer {TOKEN}', target: $.input.header.Authorization}}
      - {{source: $.context.said, target: $.input.said}}"""
    command = sent(rules, {"said": f"Bearer {TOKEN}"})
    assert command.secrets == (("header", "Authorization"),)
    assert encode_json({"said": f"Bearer {TOKEN}"})[1:-1] in command.input


def test_an_answer_that_names_a_secret_is_not_sent_on_as_one() -> None:
    flow = Scenario(
        task(
            """    outputMappings: [{source: $.output.said, target: $.context.said}]
    next: B
  - name: B
    category: function
    pattern: task_sync
    resourceName: http://gw/g
    inputMappings: [{source: $.context.said, target: $.input.said}]"""
        ),
        check=True,
    )
    flow.submit({})
    flow.answer("A", {"said": TOKEN})
    [_, second] = [each for each in flow.commands if isinstance(each, DispatchTask)]
    assert TOKEN.encode() in second.input
    assert second.secrets == ()
