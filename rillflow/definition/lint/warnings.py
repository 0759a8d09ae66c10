"""All warnings about one definition.

Rill Flow accepts invalid paths and expressions and lets the task fail, so these are warnings (end
of spec 1.6). Paths are read as at run time.

Used by `definition/problems.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from rillflow.definition.addresses import address_findings, callback_findings
from rillflow.definition.checks.validation import Finding, is_blank
from rillflow.definition.lint.collections import collection_findings
from rillflow.definition.lint.context import context_findings
from rillflow.definition.lint.expressions import IN_MAPPINGS, IN_PROGRESS, expression_findings
from rillflow.definition.lint.flows import flow_findings
from rillflow.definition.lint.literals import literal_findings
from rillflow.definition.lint.numbers import (
    flag_findings_of_timeline,
    number_findings_of_function,
    number_findings_of_synchronization,
    number_findings_of_timeline,
)
from rillflow.definition.lint.places import place_findings, place_findings_of_flow
from rillflow.definition.lint.roots import first_name, root_findings
from rillflow.definition.lint.targets import target_findings
from rillflow.definition.lint.waits import wait_findings
from rillflow.definition.model import (
    ChoiceTask,
    ForeachTask,
    FunctionTask,
    MappingRule,
    ReturnTask,
    SuspenseTask,
    SwitchTask,
    Task,
    Timeline,
    WorkflowDefinition,
)
from rillflow.definition.sugar import rules_of_input
from rillflow.definition.tasks import levels
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.errors import LanguageError
from rillflow.language.jsonpath.paths import path_tokens
from rillflow.language.mapping.path_like import path_meant
from rillflow.language.mapping.secret_references import is_path
from rillflow.language.mapping.targets import check_target

_SYNTAX: Final = LanguageError.wire_code
_FUNCTION: Final = 30410
_MAPPING: Final = 30406
_RUN_TIME: Final = 30406

_TRIGGER_URL: Final = "$.tasks."
_TIMELINE_KEYS: Final = {
    "timeoutInSeconds": "timeout_s",
    "suspenseIntervalSeconds": "suspense_interval_s",
    "suspenseTimestamp": "suspense_timestamp_ms",
}


def warnings_of(definition: WorkflowDefinition) -> Iterator[Finding]:
    """Generate everything that is allowed but suspicious, task by task."""
    yield from _lint_timeline(definition.timeline, ("timeline",))
    yield from number_findings_of_timeline(definition.timeline, ("timeline",), of_flow=True)
    yield from place_findings_of_flow(definition.timeline, ("timeline",))
    for level in levels(definition):
        for task, path in level.located():
            yield from _lint_sugar(task, path, is_expanded=not level.enclosing)
            yield from _lint_task(task, path)
    for name, rules in (definition.common_mapping or {}).items():
        yield from _lint_rules(rules, ("commonMapping", name))
    for key, rule in rules_of_input(definition.output):
        yield from _lint_rule(rule, ("output", key))
    yield from target_findings(definition)
    yield from root_findings(definition)
    yield from context_findings(definition)
    yield from collection_findings(definition)
    yield from wait_findings(definition)
    if definition.callback is not None:
        yield from _lint_rules(definition.callback.input_mappings, ("callback", "inputMappings"))
        yield from callback_findings(definition.callback, ("callback",))


def _lint_task(task: Task, path: Path) -> Iterator[Finding]:
    yield from _lint_rules(task.input_mappings, (*path, "inputMappings"))
    yield from _lint_rules(task.output_mappings, (*path, "outputMappings"))
    yield from _lint_timeline(task.timeline, (*path, "timeline"))
    yield from number_findings_of_timeline(task.timeline, (*path, "timeline"))
    yield from flag_findings_of_timeline(task, path)
    yield from _lint_progress(task, path)
    yield from place_findings(task, path)
    match task:
        case FunctionTask():
            yield from _lint_function(task, path)
        case ChoiceTask():
            yield from _lint_choice(task, path)
        case ForeachTask():
            yield from _lint_foreach(task, path)
        case ReturnTask() | SuspenseTask():
            yield from _lint_waiting(task, path)
        case SwitchTask():
            yield from _lint_switch(task, path)


def _lint_sugar(task: Task, path: Path, *, is_expanded: bool) -> Iterator[Finding]:
    if task.input and not is_expanded:
        message = "input has a meaning for top-level tasks only, use inputMappings"
        yield Finding(_MAPPING, message, (*path, "input"))
        return
    for key, rule in rules_of_input(task.input):
        yield from _lint_rule(rule, (*path, "input", key))


def _lint_rules(rules: Iterable[MappingRule] | None, path: Path) -> Iterator[Finding]:
    for position, rule in enumerate(rules or ()):
        if is_blank(rule.reference):
            yield from _lint_rule(rule, (*path, position))


def _lint_rule(rule: MappingRule, path: Path) -> Iterator[Finding]:
    if is_blank(rule.source) and is_blank(rule.transform):
        yield Finding(_MAPPING, "a rule without source and transform does nothing", path)
    yield from _lint_source(rule.source, (*path, "source"))
    yield from literal_findings(rule, (*path, "source"))
    yield from expression_findings(rule.transform, (*path, "transform"), IN_MAPPINGS)
    if rule.target is None or is_blank(rule.target):
        yield Finding(_MAPPING, "a rule without target does nothing", path)
        return
    yield from _lint_syntax(rule.target, "target", check_target, (*path, "target"))


def _lint_source(source: str | None, path: Path) -> Iterator[Finding]:
    if source is not None and is_path(source) and not source.startswith(_TRIGGER_URL):
        yield from _lint_syntax(source, str(path[-1]), path_tokens, path)


def _lint_syntax(
    text: str | None, what: str, check: Callable[[str], object], path: Path
) -> Iterator[Finding]:
    if text is None or is_blank(text):
        return
    try:
        check(text)
    except LanguageError as error:
        meant = path_meant(text)
        hint = f"did you mean `{shown(meant)}`?" if meant else ""
        yield Finding(_SYNTAX, f"{what}: {error}", path, hint=hint)


def _lint_conditions(conditions: Iterable[str] | None, path: Path) -> Iterator[Finding]:
    for position, condition in enumerate(conditions or ()):
        yield from _lint_syntax(condition, "condition", path_tokens, (*path, position))


def _lint_timeline(timeline: Timeline | None, path: Path) -> Iterator[Finding]:
    if timeline is not None:
        for key, attribute in _TIMELINE_KEYS.items():
            yield from _lint_source(getattr(timeline, attribute), (*path, key))


def _lint_progress(task: Task, path: Path) -> Iterator[Finding]:
    if task.progress is None:
        return
    where = (*path, "progress", "calculation")
    yield from expression_findings(task.progress.calculation, where, IN_PROGRESS)
    for position, rule in enumerate(task.progress.args or ()):
        yield from _lint_source(rule.source, (*path, "progress", "args", position, "source"))


def _lint_function(task: FunctionTask, path: Path) -> Iterator[Finding]:
    if task.success_conditions and task.fail_conditions:
        message = "successConditions decide alone, failConditions beside them are not looked at"
        yield Finding(_FUNCTION, message, (*path, "failConditions"))
    yield from _lint_conditions(task.success_conditions, (*path, "successConditions"))
    yield from _lint_conditions(task.fail_conditions, (*path, "failConditions"))
    if task.retry is not None:
        yield from _lint_conditions(task.retry.conditions, (*path, "retry", "conditions"))
    yield from number_findings_of_function(task, path)
    yield from address_findings(task, path)
    yield from flow_findings(task, path)


def _lint_choice(task: ChoiceTask, path: Path) -> Iterator[Finding]:
    for position, choice in enumerate(task.choices or ()):
        where = (*path, "choices", position)
        if choice.condition is None:
            yield Finding(_RUN_TIME, "a choice without condition fails its task", where)
        where = (*where, "condition")
        yield from _lint_syntax(choice.condition, "condition", path_tokens, where)


def _lint_foreach(task: ForeachTask, path: Path) -> Iterator[Finding]:
    mapping = task.iteration_mapping
    if mapping is not None:
        where = (*path, "iterationMapping")
        if is_blank(mapping.item):
            yield Finding(_RUN_TIME, "an iterationMapping without item fails its task", where)
        yield from _lint_collection(mapping.collection, (*where, "collection"))
        yield from _lint_source(mapping.identity, (*where, "identity"))
    if task.synchronization is not None:
        where = (*path, "synchronization")
        yield from _lint_conditions(task.synchronization.conditions, (*where, "conditions"))
        yield from _lint_source(task.synchronization.max_concurrency, (*where, "maxConcurrency"))
        yield from number_findings_of_synchronization(task.synchronization, where)


def _lint_collection(collection: str | None, path: Path) -> Iterator[Finding]:
    if collection is None or is_blank(collection):
        return
    if not is_path(collection.strip()) and first_name(collection) != "input":
        message = f"collection `{shown(collection)}` is no path, so nothing is iterated"
        yield Finding(_RUN_TIME, message, path, hint="a path is written such as $.input.items")
        return
    yield from _lint_syntax(collection, "collection", path_tokens, path)


def _lint_waiting(task: ReturnTask | SuspenseTask, path: Path) -> Iterator[Finding]:
    if task.conditions is None:
        message = f"a {task.category} task without conditions fails"
        yield Finding(_RUN_TIME, message, path)
    yield from _lint_conditions(task.conditions, (*path, "conditions"))
    if isinstance(task, SuspenseTask):
        yield from _lint_conditions(task.interruptions, (*path, "interruptions"))


def _lint_switch(task: SwitchTask, path: Path) -> Iterator[Finding]:
    if task.output_mappings:
        message = "outputMappings of a switch task are ignored"
        yield Finding(_MAPPING, message, (*path, "outputMappings"))
    for position, entry in enumerate(task.switches or ()):
        where = (*path, "switches", position, "condition")
        if entry.condition != "default":
            yield from _lint_syntax(entry.condition, "condition", path_tokens, where)
