"""Warnings: sources of mappings whose first name does not exist in the mapped document.

A mapping sees ``context``, ``input``, ``output`` and what its own rules wrote (spec 2.1). A path
that begins with anything else has no result, so its rule has no effect. The same is true of
``$.output`` before a task has run, and of ``$.input`` after.

Used by `definition/lint/places.py` and `definition/lint/warnings.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from rillflow.definition.checks.validation import Finding
from rillflow.definition.model import MappingRule, Task, WorkflowDefinition
from rillflow.definition.sugar import rules_of_input
from rillflow.definition.tasks import levels
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.errors import LanguageError
from rillflow.language.jsonpath.paths import path_tokens
from rillflow.language.jsonpath.syntax import Names
from rillflow.language.mapping.secret_references import is_path
from rillflow.suggestions import did_you_mean

ROOTS: Final = frozenset({"context", "input", "output"})

_MAPPING: Final = 30406
_UNSEEN: Final = {
    "output": ("always empty in inputMappings", "what tasks have kept is in $.context"),
    "input": (
        "always empty in outputMappings",
        "$.output is what the task gave (of a pass its input), $.context what was kept",
    ),
}
_TASKS: Final = "tasks"

_Located = tuple[MappingRule, Path]


def root_findings(definition: WorkflowDefinition) -> Iterator[Finding]:
    """Generate the sources that begin with an unknown name, task by task."""
    lists = (definition.common_mapping or {}).values()
    written = _written(chain.from_iterable(rules or () for rules in lists))
    shared = ROOTS | written
    names = {task.name: None for task in definition.tasks or () if task.name is not None}
    for level in levels(definition):
        # Only top-level tasks may refer to others as `$.<task>`.
        others = {} if level.enclosing else names
        for task, path in level.located():
            inputs = _inputs_of(task, path, with_sugar=not level.enclosing)
            outputs = _located(task.output_mappings, (*path, "outputMappings"))
            yield from _lint(inputs, shared, others)
            yield from _unseen(inputs, "output", written)
            yield from _lint(outputs, shared, {})
            yield from _unseen(outputs, "input", written)
    sugar = [(rule, ("output", key)) for key, rule in rules_of_input(definition.output)]
    yield from _lint(sugar, shared, names)


def _inputs_of(task: Task, path: Path, *, with_sugar: bool) -> list[_Located]:
    rules = _located(task.input_mappings, (*path, "inputMappings"))
    if with_sugar:
        rules += [(rule, (*path, "input", key)) for key, rule in rules_of_input(task.input)]
    return rules


def _located(rules: Iterable[MappingRule] | None, path: Path) -> list[_Located]:
    return [(rule, (*path, number, "source")) for number, rule in enumerate(rules or ())]


def _lint(
    rules: Sequence[_Located], shared: frozenset[str], others: Mapping[str, None]
) -> Iterator[Finding]:
    # ``others`` are as many as there are tasks, so they are put into no other set.
    known = shared | {_TASKS} | _written(rule for rule, _ in rules)
    for rule, path in rules:
        root = _root_of(rule.source)
        if root is not None and root not in known and root not in others:
            message = f"`$.{shown(root)}` is always empty: mappings see context, input and output"
            hint = did_you_mean(root, chain(sorted(ROOTS), others))
            yield Finding(_MAPPING, message, path, hint=hint)


def _unseen(rules: Sequence[_Located], root: str, shared: frozenset[str]) -> Iterator[Finding]:
    """Generate the reads of a root that is empty, unless a rule writes to it (spec 2.1)."""
    if root in shared | _written(rule for rule, _ in rules):
        return
    for rule, path in rules:
        if _root_of(rule.source) == root:
            yield Finding(
                _MAPPING, f"`$.{root}` is {_UNSEEN[root][0]}", path, hint=_UNSEEN[root][1]
            )


def _written(rules: Iterable[MappingRule]) -> frozenset[str]:
    return frozenset(filter(None, (_root_of(rule.target) for rule in rules)))


def _root_of(text: str | None) -> str | None:
    return first_name(text) if text is not None and is_path(text) else None


def first_name(path: str | None) -> str | None:
    """Return the one name that a path begins with; None for wildcards and broken paths."""
    try:
        tokens = path_tokens(path or "")
    except LanguageError:
        return None
    first = tokens[0] if tokens else None
    return first.names[0] if isinstance(first, Names) and len(first.names) == 1 else None
