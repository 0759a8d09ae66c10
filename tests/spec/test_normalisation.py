"""An execution starts with its references filled in, and with its default context."""

import pytest

from rillflow.definition.model import (
    ChoiceTask,
    ForeachTask,
    FunctionTask,
    Task,
    WorkflowDefinition,
)
from rillflow.definition.normal import initial_context, normalise
from rillflow.definition.parse import parse_definition
from rillflow.errors import DefinitionError
from tests.spec.definition_texts import PASS, flow, nested


@pytest.mark.case("DD-30")
def test_common_mappings_are_inserted_by_reference() -> None:
    definition = flow("""
commonMapping: {commonInput: [{source: $.context.user, target: $.input.user}]}
callback: {inputMappings: [{reference: commonInput}]}
tasks:
- {name: A, category: pass, inputMappings: [{source: $.context.urlCon, target: $.input.url},
    {reference: commonInput, source: ignored}, {source: hello, target: $.input.text}]}
""")
    ready = normalise(definition)
    (task,) = ready.tasks or ()

    assert ready.callback is not None
    assert ready.common_mapping is None
    assert [rule.target for rule in task.input_mappings or ()] == [
        "$.input.url",
        "$.input.user",
        "$.input.text",
    ]
    assert [rule.target for rule in ready.callback.input_mappings or ()] == ["$.input.user"]


@pytest.mark.parametrize("category", ["foreach", "choice"])
def test_references_are_filled_in_at_every_level(category: str) -> None:
    leaf = "Leaf, category: pass, outputMappings: [{reference: shared}]"
    text = nested(category, 2).replace("Leaf, category: pass", leaf)
    ready = normalise(
        parse_definition(text + "commonMapping: {shared: [{source: a, target: $.context.b}]}\n")
    )
    task: Task = (ready.tasks or ())[0]
    while isinstance(task, ForeachTask | ChoiceTask):
        inner = task.tasks if isinstance(task, ForeachTask) else (task.choices or ())[0].tasks
        task = (inner or ())[0]

    assert [rule.source for rule in task.output_mappings or ()] == ["a"]


def test_declared_resources_are_attached_and_dropped() -> None:
    ready = normalise(
        flow(
            "resources: [{name: r, category: c}]\ntasks:\n"
            "- {name: A, category: function, pattern: task_sync, resourceName: 'resource://r'}\n"
        )
    )
    (task,) = ready.tasks or ()

    assert isinstance(task, FunctionTask)
    assert task.resource is not None
    assert task.resource.category == "c"
    assert ready.resources is None


@pytest.mark.parametrize("resource", ["resourceName: mock", "resource: {name: own}"])
def test_other_resources_stay_as_they_are(resource: str) -> None:
    definition = flow(
        f"tasks:\n- {{name: A, category: function, pattern: task_sync, {resource}}}\n"
    )

    assert normalise(definition) == definition


def test_an_undeclared_resource_is_refused_at_submit() -> None:
    definition = WorkflowDefinition.model_validate(
        {"tasks": [{"name": "A", "category": "function", "resource_name": "resource://x"}]}
    )

    with pytest.raises(
        DefinitionError, match="A can not find task resource resource://x"
    ) as refusal:
        normalise(definition)
    assert refusal.value.wire_code == 30601


def test_submitted_data_overrides_the_default_context_key_by_key() -> None:
    definition = flow(f"defaultContext: {{a: '1', b: '{{\"x\": 1}}', c: text, d: }}\n{PASS}")

    assert initial_context(definition, {"b": {"y": 2}}) == {"a": 1, "b": {"y": 2}, "c": "text"}
