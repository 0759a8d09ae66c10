"""The ``input`` and ``output`` shorthand of definitions (spec 1.7).

``expand_sugar`` turns it into mappings when a definition is added, ``collapse_sugar``
takes them back when it is read. Only top-level tasks have it.

Two deviations from Rill Flow (spec Q48). A reference that is not a plain path, such as
``$.A.items[*].name``, makes ``A`` keep the whole collection, since a target with a
wildcard cannot be written. And reading back removes only the mappings that adding again
would make, so those written by hand stay.

Used by `definition` and `definition/lint`.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

from rillflow.definition.binder import joined_names
from rillflow.definition.model import MappingRule, PassTask, Task, WorkflowDefinition
from rillflow.definition.tasks import all_tasks
from rillflow.errors import DefinitionError
from rillflow.jsontypes import JsonObject, JsonValue, encode_json

END_TASK: Final = "endTask"

_RESTRICTION: Final = 30110
_STEP: Final = re.compile(
    r"""\.?\[\s*(?P<index>[0-9]+)\s*\]"""
    r"""|\.?\[\s*(?:'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)")\s*\]"""
    r"""|\.(?P<name>[^.\[\]()*?@'",\s]++)(?!\()"""
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_NAME: Final = re.compile(r"""[^.\[\]()*?@'",\s\\]+""")
_RULE_FIELDS: Final = ("source", "transform", "reference", "variable")


class _Reference(NamedTuple):
    """A source ``$.<task>.<rest>``; ``rest`` is normalised and cut to a plain path."""

    task: str
    rest: str

    def output_rule(self) -> MappingRule:
        """Make the rule by which the task keeps what is referred to."""
        return MappingRule(
            source=f"$.output{self.rest}", target=f"$.context.{self.task}{self.rest}"
        )


def expand_sugar(definition: WorkflowDefinition) -> WorkflowDefinition:
    """Turn ``input`` and ``output`` into mappings; without either, nothing changes.

    Raises:
        DefinitionError: There is ``output``, but the name ``endTask`` is taken (30110).
    """
    tasks = definition.tasks or ()
    if definition.output:
        _require_free_end(definition)
        tasks = (*tasks, _end_task(definition.output))
        definition = definition.model_copy(update={"end_task_name": END_TASK})
    if not any(task.input for task in tasks):
        return definition
    names = _names(tasks)
    rules = [[*(task.input_mappings or ()), *_rules_of(task)] for task in tasks]
    kept = _kept_outputs(chain.from_iterable(rules), names)
    to_end = _tasks_before_the_end(tasks, names)
    expanded = (
        _expanded(
            task,
            [_rewritten(rule, names) for rule in own],
            kept.get(task.name or "", ()),
            leads_to_end=task.name in to_end,
        )
        for task, own in zip(tasks, rules, strict=True)
    )
    return definition.model_copy(update={"tasks": tuple(expanded)})


def collapse_sugar(definition: WorkflowDefinition) -> WorkflowDefinition:
    """Take back what ``expand_sugar`` made; definitions without sugar stay as they are."""
    tasks = definition.tasks or ()
    end = definition.end_task_name
    if end is None and not any(task.input for task in tasks):
        return definition
    names = _names(tasks)
    kept = _kept_outputs(chain.from_iterable(_rules_of(task) for task in tasks), names)
    collapsed = (
        _collapsed(task, frozenset(kept.get(task.name or "", ())), end)
        for task in tasks
        if task.name != end
    )
    return definition.model_copy(update={"tasks": tuple(collapsed), "end_task_name": None})


def names_referred_to(definition: WorkflowDefinition) -> frozenset[str]:
    """Name the tasks that keep their output because rules refer to it as ``$.<task>``."""
    tasks = definition.tasks or ()
    rules = chain.from_iterable((*(task.input_mappings or ()), *_rules_of(task)) for task in tasks)
    of_output = (rule for _, rule in rules_of_input(definition.output))
    return frozenset(_kept_outputs(chain(rules, of_output), _names(tasks)))


def rules_of_input(sugar: JsonObject | None) -> Iterator[tuple[str, MappingRule]]:
    """Make the input mapping that each key of ``input`` stands for."""
    for key, value in (sugar or {}).items():
        if value is not None:
            yield key, _rule(value, f"$.input.{key}")


def _rules_of(task: Task) -> Iterator[MappingRule]:
    return (rule for _, rule in rules_of_input(task.input))


def _require_free_end(definition: WorkflowDefinition) -> None:
    taken = {definition.workspace, definition.dag_name}
    taken.update(task.name for task, _ in all_tasks(definition))
    if END_TASK in taken:
        raise DefinitionError(_RESTRICTION, f"{END_TASK} exists, please rename the task")


def _end_task(output: JsonObject) -> PassTask:
    rules = (MappingRule(source=f"$.output.{k}", target=f"$.context.{k}") for k in output)
    return PassTask(name=END_TASK, input=output, output_mappings=tuple(rules))


def _rule(value: JsonValue, target: str) -> MappingRule:
    if not isinstance(value, dict):
        return MappingRule(source=_text(value), target=target)
    texts = {name: _text(value[name]) for name in _RULE_FIELDS if value.get(name) is not None}
    tolerance = value.get("tolerance")
    return MappingRule(
        **texts,
        target=target,
        tolerance=None if tolerance is None else _text(tolerance).lower() == "true",
    )


def _text(value: JsonValue) -> str:
    """Write a value so that the literal parser reads the same value (spec 2.4)."""
    if isinstance(value, str):
        return value
    text = encode_json(value).decode()
    if isinstance(value, float) and "." not in text:
        return text.replace("e", ".0e")
    return text


def _names(tasks: Iterable[Task]) -> frozenset[str]:
    return frozenset(task.name for task in tasks if task.name is not None)


def _kept_outputs(
    rules: Iterable[MappingRule], names: frozenset[str]
) -> dict[str, tuple[MappingRule, ...]]:
    """List, for each task that rules refer to, how it must keep its output."""
    kept: dict[str, dict[str, MappingRule]] = {}
    for rule in rules:
        reference = _reference(rule.source, names)
        if reference is not None:
            kept.setdefault(reference.task, {})[reference.rest] = reference.output_rule()
    return {task: tuple(made.values()) for task, made in kept.items()}


def _tasks_before_the_end(tasks: Iterable[Task], names: frozenset[str]) -> frozenset[str]:
    ends = (rule for task in tasks if task.name == END_TASK for rule in _rules_of(task))
    references = (_reference(rule.source, names) for rule in ends)
    return frozenset(reference.task for reference in references if reference is not None)


def _reference(source: str | None, names: frozenset[str]) -> _Reference | None:
    if source is None or not source.startswith("$."):
        return None
    steps = _plain_steps(source)
    task = next(steps, "").removeprefix(".")
    # A task named context would otherwise take every read of the context for itself.
    if task not in names or task == "context":
        return None
    return _Reference(task, "".join(steps))


def _plain_steps(source: str) -> Iterator[str]:
    """Go through the names and indexes of a path, up to the first thing that is neither."""
    position = 1
    while match := _STEP.match(source, position):
        position = match.end()
        if match["index"] is not None:
            yield f"[{match['index']}]"
        else:
            quoted = match["single"] if match["double"] is None else match["double"]
            name = match["name"] if quoted is None else _ESCAPE.sub(r"\1", quoted)
            yield f".{name}" if _PLAIN_NAME.fullmatch(name) else f"['{_escaped(name)}']"


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("'", "\\'")


def _rewritten(rule: MappingRule, names: frozenset[str]) -> MappingRule:
    if rule.source is None or _reference(rule.source, names) is None:
        return rule
    return rule.model_copy(update={"source": f"$.context.{rule.source[2:]}"})


def _expanded(
    task: Task, inputs: list[MappingRule], kept: Iterable[MappingRule], *, leads_to_end: bool
) -> Task:
    outputs = list(task.output_mappings or ())
    targets = {rule.target for rule in outputs}
    outputs += (rule for rule in kept if rule.target not in targets)
    return task.model_copy(
        update={
            "input_mappings": tuple(inputs) or task.input_mappings,
            "output_mappings": tuple(outputs) or task.output_mappings,
            "next": joined_names([task.next, END_TASK]) if leads_to_end else task.next,
        }
    )


def _collapsed(task: Task, kept: Collection[MappingRule], end: str | None) -> Task:
    inputs = task.input_mappings or ()
    last_with = {rule.target: place for place, rule in enumerate(inputs)}
    made = {last_with.get(rule.target) for rule in _rules_of(task)}
    inputs = tuple(rule for place, rule in enumerate(inputs) if place not in made)
    outputs = tuple(rule for rule in task.output_mappings or () if rule not in kept)
    following = ",".join(name for name in task.next_names if name != end)
    return task.model_copy(
        update={
            "input_mappings": inputs or None,
            "output_mappings": outputs or None,
            "next": following or None,
        }
    )
