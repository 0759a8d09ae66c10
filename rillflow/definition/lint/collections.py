"""Warnings: collections of foreach tasks that no rule writes, so nothing would be iterated.

Used by `definition/lint/warnings.py`.
"""

from collections.abc import Iterator
from typing import Final

from rillflow.definition.checks.validation import Finding
from rillflow.definition.lint.context import names_in, written_by
from rillflow.definition.model import ForeachTask, WorkflowDefinition
from rillflow.definition.tasks import all_tasks
from rillflow.definition.yaml_tree.nodes import shown
from rillflow.suggestions import did_you_mean

_MAPPING: Final = 30406


def collection_findings(definition: WorkflowDefinition) -> Iterator[Finding]:
    """Generate the collections whose key of the input is none of those that rules write."""
    lists = (definition.common_mapping or {}).values()
    shared = written_by(rule for rules in lists for rule in rules or ())
    for task, path in all_tasks(definition):
        if not isinstance(task, ForeachTask) or task.iteration_mapping is None:
            continue
        names = names_in(task.iteration_mapping.collection)
        given = written_by(task.input_mappings or ())
        if names[:1] != (("input",),) or "input" in given.may_be_any | shared.may_be_any:
            continue
        known = {*given.input, *(task.input or ())}
        options = sorted(known)
        for key in (names[1] or ()) if len(names) > 1 else ():
            if known and key not in known | shared.input:
                message = f"no inputMapping writes `$.input.{shown(key)}`, so nothing is iterated"
                where = (*path, "iterationMapping", "collection")
                yield Finding(_MAPPING, message, where, hint=did_you_mean(key, options))
