"""The rules of tasks that store less or more than their mappings give have the values they had."""

from typing import Any, Final

import pytest

from tests.api.serving import Api, served

V1: Final = "/flow/console/v1/"
SPLIT: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: split
    category: function
    pattern: task_sync
    resourceName: ${GW}/function/split
    next: each
    outputMappings: [{source: $.output.words, target: $.context.words}]
  - name: each
"""
INPUTS: Final = "    inputMappings: [{source: $.context.words, target: $.input.words}]\n"
FOREACH: Final = f"""{SPLIT}    category: foreach
{INPUTS}    iterationMapping: {{collection: $.input.words, item: word}}
    outputMappings: [{{source: $.output.sub_context, target: $.context.TARGET}}]
    tasks:
      - name: take
        category: function
        pattern: task_sync
        resourceName: ${{GW}}/function/split
"""
CHOICE: Final = f"""{SPLIT}    category: choice
{INPUTS}    outputMappings: [{{source: $.output.words, target: $.context.taken}}]
    choices:
      - condition: CONDITION
        tasks:
          - {{name: take, category: pass}}
"""
PARAMETERS: Final = f"""{SPLIT}    category: function
    pattern: task_sync
    resourceName: ${{GW}}/function/split
    parameters: {{size: 2}}
{INPUTS}"""
WORDS: Final[list[Any]] = ["a", "b"]


async def rules_of_each(api: Api, text: str) -> Any:
    """Run a definition, and return the rules of its second task."""
    done = await api.run(text, {})
    return await api.get(f"{V1}rules.json", execution_id=done["execution_id"], task="each")


def values(shown: Any) -> Any:
    return shown["basis"], [rule["value"] for rule in shown["rules"]]


@pytest.mark.parametrize("target", ["lines", "words"])
async def test_a_foreach_shows_its_collection_even_if_it_has_replaced_it(target: str) -> None:
    async with served({"split": lambda _: {"words": WORDS}}) as api:
        shown = await rules_of_each(api, FOREACH.replace("TARGET", target))
    assert values(shown["inputs"]) == ("exact", [WORDS])
    assert values(shown["outputs"]) == ("exact", [[{"word": "a"}, {"word": "b"}]])


async def test_a_foreach_without_elements_shows_its_empty_collection() -> None:
    async with served({"split": lambda _: {"words": []}}) as api:
        shown = await rules_of_each(api, FOREACH.replace("TARGET", "lines"))
    assert values(shown["inputs"]) == ("exact", [[]])
    assert shown["outputs"] is None


async def test_a_choice_shows_what_its_groups_gave() -> None:
    text = CHOICE.replace("CONDITION", "\"$.input.words[?(@ == 'a')]\"")
    async with served({"split": lambda _: {"words": WORDS}}) as api:
        shown = await rules_of_each(api, text)
    assert values(shown["inputs"]) == ("exact", [WORDS])
    assert values(shown["outputs"]) == ("exact", [WORDS])


async def test_a_choice_that_chose_nothing_applied_no_output_mapping() -> None:
    text = CHOICE.replace("CONDITION", "\"$.input.words[?(@ == 'c')]\"")
    async with served({"split": lambda _: {"words": WORDS}}) as api:
        shown = await rules_of_each(api, text)
    assert shown["outputs"] is None


async def test_parameters_of_a_function_are_no_difference() -> None:
    async with served({"split": lambda _: {"words": WORDS}}) as api:
        shown = await rules_of_each(api, PARAMETERS)
    assert values(shown["inputs"]) == ("exact", [WORDS])
