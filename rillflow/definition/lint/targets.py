"""Warnings: targets whose values are dropped after the mapping (``mapping.dropped_targets``).

Used by `definition/lint/warnings.py`.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from rillflow.definition.checks.validation import Finding, is_blank
from rillflow.definition.model import MappingRule, WorkflowDefinition
from rillflow.definition.sugar import rules_of_input
from rillflow.definition.tasks import levels
from rillflow.definition.yaml_tree.nodes import Path
from rillflow.language.mapping.dropped_targets import (
    KEPT_ROOTS,
    DroppedTarget,
    Reads,
    dropped_target,
    dropped_targets,
)
from rillflow.suggestions import did_you_mean

_MAPPING: Final = 30406
_ROOTS: Final = ("context", "input")


def target_findings(definition: WorkflowDefinition) -> Iterator[Finding]:
    """Generate the targets that lie beside what their list is for, and that no rule reads."""
    lists = definition.common_mapping or {}
    # Lists that tasks share may be long, so they count as read wherever one is referred to.
    shared = Reads(chain.from_iterable(rules or () for rules in lists.values()))
    everything = Reads()
    for rules, path in _lists(definition):
        yield from _of_list(rules, path, shared)
        for rule in rules:
            everything.add(rule)
    for name, listed in lists.items():
        for position, rule in enumerate(listed or ()):
            dropped = dropped_target(rule.target, "mappings", _ROOTS, (shared, everything))
            if dropped is not None:
                yield _finding(dropped, ("commonMapping", name, position), _ROOTS)


def _lists(definition: WorkflowDefinition) -> Iterator[tuple[tuple[MappingRule, ...], Path]]:
    for level in levels(definition):
        for task, path in level.located():
            # What ``input`` stands for comes after the list (spec 1.7).
            sugar = () if level.enclosing else rules_of_input(task.input)
            inputs = (*(task.input_mappings or ()), *(rule for _, rule in sugar))
            yield inputs, (*path, "inputMappings")
            yield tuple(task.output_mappings or ()), (*path, "outputMappings")
    if definition.callback is not None:
        yield tuple(definition.callback.input_mappings or ()), ("callback", "inputMappings")


def _of_list(rules: Sequence[MappingRule], path: Path, shared: Reads) -> Iterator[Finding]:
    field = str(path[-1])
    others = (shared,) if any(not is_blank(rule.reference) for rule in rules) else ()
    for position, dropped in sorted(dropped_targets(rules, field, others).items()):
        if is_blank(rules[position].reference):
            yield _finding(dropped, (*path, position), (KEPT_ROOTS[field],))


def _finding(dropped: DroppedTarget, path: Path, kept_roots: Sequence[str]) -> Finding:
    hint = did_you_mean(dropped.root, kept_roots) if dropped.root else ""
    return Finding(_MAPPING, dropped.reason, (*path, "target"), hint=hint)
