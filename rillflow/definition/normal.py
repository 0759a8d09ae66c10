"""Normalization: a definition with its references resolved, as an execution runs it (spec 1.8).

Used by `definition`.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from rillflow.definition.checks.ray_options import merged
from rillflow.definition.checks.validation import is_blank
from rillflow.definition.model import (
    FunctionTask,
    MappingRule,
    RayOptions,
    Resource,
    Task,
    WorkflowDefinition,
)
from rillflow.definition.references import RESOURCE_SCHEME, CommonMapping
from rillflow.definition.tasks import map_tasks
from rillflow.errors import DefinitionError
from rillflow.jsontypes import JsonObject, ReadonlyJsonObject
from rillflow.language.text.literals import parse_literal

_ILLEGAL_STATE: Final = 30601

Rules: TypeAlias = tuple[MappingRule, ...] | None


def initial_context(definition: WorkflowDefinition, data: ReadonlyJsonObject) -> JsonObject:
    """Make the context an execution starts with: defaults, overridden key by key by ``data``."""
    defaults = definition.default_context or {}
    context = {key: parse_literal(text) for key, text in defaults.items() if text is not None}
    return {**context, **data}


def normalise(definition: WorkflowDefinition) -> WorkflowDefinition:
    """Fill in common mappings and declared resources, then drop what declared them.

    Raises:
        DefinitionError: A function names a resource that is not declared (30601).
    """
    common = definition.common_mapping or {}
    declared = {resource.name: resource for resource in definition.resources or ()}
    callback = definition.callback
    if callback is not None:
        rules = expand_references(callback.input_mappings, common)
        callback = callback.model_copy(update={"input_mappings": rules})

    def complete(task: Task) -> Task:
        task = _with_resource(_with_rules(task, common), declared)
        return _with_ray_options(task, definition.ray_options)

    return definition.model_copy(
        update={
            "tasks": None if definition.tasks is None else map_tasks(definition.tasks, complete),
            "callback": callback,
            "default_context": None,
            "common_mapping": None,
            "resources": None,
            "ray_options": None,
        }
    )


def expand_references(rules: Rules, common: CommonMapping) -> Rules:
    """Replace each rule with a ``reference`` by the common rules of that name, in place."""
    if rules is None or all(is_blank(rule.reference) for rule in rules):
        return rules
    expanded: list[MappingRule] = []
    for rule in rules:
        shared = common.get(rule.reference or "") or ()
        expanded += [rule] if is_blank(rule.reference) else shared
    return tuple(expanded)


def _with_rules(task: Task, common: CommonMapping) -> Task:
    rules = {
        "input_mappings": expand_references(task.input_mappings, common),
        "output_mappings": expand_references(task.output_mappings, common),
    }
    if rules["input_mappings"] is task.input_mappings and (
        rules["output_mappings"] is task.output_mappings
    ):
        return task
    return task.model_copy(update=rules)


def _with_resource(task: Task, declared: Mapping[str | None, Resource]) -> Task:
    if not isinstance(task, FunctionTask) or task.resource is not None:
        return task
    name = (task.resource_name or "").strip()
    if not name.startswith(RESOURCE_SCHEME):
        return task
    resource = declared.get(name.removeprefix(RESOURCE_SCHEME))
    if resource is None:
        message = f"{task.name} can not find task resource {name}"
        raise DefinitionError(_ILLEGAL_STATE, message)
    return task.model_copy(update={"resource": resource})


def _with_ray_options(task: Task, of_flow: RayOptions | None) -> Task:
    if of_flow is None or not isinstance(task, FunctionTask):
        return task
    return task.model_copy(update={"ray_options": merged(of_flow, task.ray_options)})
