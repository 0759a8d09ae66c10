"""From the trace of a flow to the tasks of its definition.

Tasks are made from the last to the first, so that it is known what of a task's output is read:
only that is kept in the context. Values from outside of a group are handed in by its foreach or
choice, under the same names.

Used by `flow/flows.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from rillflow.definition.model import (
    Choice,
    ChoiceTask,
    ForeachTask,
    FunctionTask,
    MappingRule,
    PassTask,
    SuspenseTask,
    Task,
)
from rillflow.flow.placeholders.expressions import path_of
from rillflow.flow.placeholders.literals import rule_for
from rillflow.flow.placeholders.values import Node, Reference, Steps, references_in
from rillflow.flow.tracing import Kind, Level, TracedTask

NOTHING: Final = "[]"
_MODELS: Final[Mapping[Kind, Callable[..., Task]]] = {
    "function": FunctionTask,
    "foreach": ForeachTask,
    "choice": ChoiceTask,
    "pass": PassTask,
    "suspense": SuspenseTask,
}


def tasks_of(level: Level, *, with_result: bool) -> tuple[Task, ...]:
    """Return the tasks of a level.

    Args:
        level: The level; its trace has ended.
        with_result: Whether its result is read.
    """
    tasks = level.tasks
    if not with_result and level.result_task is not None and len(tasks) > 1:
        tasks = [task for task in tasks if task is not level.result_task]
    if with_result:
        _write_results(level)
    successors = _successors(tasks)
    made = [_task(task, successors[task]) for task in reversed(tasks)]
    return tuple(reversed(made))


def empty_lists(level: Level) -> list[str]:
    """List the entries of the context of a level that are empty lists before its tasks run.

    A foreach over nothing writes nothing, and its value is then an empty list. It is known only
    after the tasks of the level have been made.
    """
    return [task.key for task in level.tasks if task.is_list and (task.wanted or task.keeps_all)]


def _write_results(level: Level) -> None:
    """Have the tasks that make the result write it below the value of the owner."""
    below: Steps = () if level.owner is None else (level.owner.key,)
    for part in level.result:
        reference = part.node
        assert isinstance(reference, Reference)  # noqa: S101 - results.py made it one
        task: Any = reference.origin
        target = path_of("$.context", (*below, *part.steps))
        source = path_of(*_output(task, reference.steps))
        tolerance = True if reference.is_optional else None
        task.outputs.append(MappingRule(source=source, target=target, tolerance=tolerance))


def _output(task: TracedTask, steps: Steps) -> tuple[str, Steps]:
    """Return where a part of the value of a task is in its output, when it ends."""
    if task.kind == "foreach":
        return "$.output", ("sub_context", slice(None), task.key, *steps)
    if task.kind == "choice":
        return "$.output", (task.key, *steps)
    return "$.output", (*task.root, *steps)


def _successors(tasks: Sequence[TracedTask]) -> dict[TracedTask, list[str]]:
    """Return which tasks follow each, without those that follow it by way of others."""
    before: dict[TracedTask, set[TracedTask]] = {}
    successors: dict[TracedTask, list[str]] = {task: [] for task in tasks}
    for task in tasks:
        if task.caught is not None:
            before[task] = before[task.caught]
            continue
        indirect = set().union(*(before[earlier] for earlier in task.after))
        for earlier in task.after:
            if earlier not in indirect:
                successors[earlier].append(task.name)
        before[task] = indirect.union(task.after)
    return successors


def _task(task: TracedTask, successors: Sequence[str]) -> Task:
    fields = dict(task.fields)
    is_read = bool(task.wanted) or task.keeps_all or bool(task.outputs) or _is_handler_read(task)
    bodies = [tasks_of(body, with_result=is_read) for body in task.bodies]
    if task.kind == "foreach":
        [fields["tasks"]] = bodies
    elif task.kind == "choice":
        pairs = zip(fields["choices"], bodies, strict=True)
        fields["choices"] = tuple(Choice(condition=it, tasks=tasks) for it, tasks in pairs)
    inputs = _input_rules(task)
    model = _MODELS[task.kind]
    return model(
        name=task.name,
        next=",".join(successors) or None,
        catch=None if task.handler is None else task.handler.name,
        input_mappings=inputs or None,
        output_mappings=_output_rules(task) or None,
        **fields,
    )


def _is_handler_read(task: TracedTask) -> bool:
    failed = task.caught
    return failed is not None and (bool(failed.wanted) or failed.keeps_all)


def _input_rules(task: TracedTask) -> tuple[MappingRule, ...]:
    rules = [
        MappingRule(
            source=path_of("$.context", steps),
            target=path_of("$.input", steps),
            tolerance=task.captured[steps] or None,
        )
        for steps in _without_parts(task.captured)
    ]
    own = []
    for given in task.given:
        _want(given.node, task.level)
        target = path_of("$.input", given.steps)
        own.append(rule_for(given.node, target, tolerance=given.tolerance))
    empty = (
        MappingRule(source=NOTHING, target=path_of("$.input", (key,)))
        for body in task.bodies
        for key in empty_lists(body)
    )
    return (*task.first_rules, *empty, *rules, *own)


def _output_rules(task: TracedTask) -> tuple[MappingRule, ...]:
    if task.caught is not None:
        key = task.caught.key
        kept: list[tuple[Steps, str]] = [((), key)] if _is_handler_read(task) else []
    else:
        wanted: Iterable[Steps] = [()] if task.keeps_all else task.wanted
        kept = [(steps, task.key) for steps in _without_parts(wanted)]
    rules = [
        MappingRule(
            source=path_of(*_output(task, steps)),
            target=path_of("$.context", (key, *steps)),
            tolerance=task.wanted.get(steps) or task.handler is not None or None,
        )
        for steps, key in kept
    ]
    return (*rules, *task.outputs)


def _want(node: Node, level: Level) -> None:
    """Have the values that a task reads kept, and handed in from level to level."""
    for reference in references_in(node):
        origin: Any = reference.origin
        steps = _names_of(reference.steps)
        inside = level
        while inside is not origin.level:
            owner = inside.owner
            assert owner is not None  # noqa: S101 - the trace has refused what is not visible
            path = (origin.key, *steps)
            owner.captured[path] = reference.is_optional and owner.captured.get(path, True)
            inside = owner.level
        if isinstance(origin, TracedTask):
            kept = () if origin.has_groups else steps
            origin.wanted[kept] = reference.is_optional and origin.wanted.get(kept, True)


def _names_of(steps: Steps) -> Steps:
    """Return the steps before the first element of a list: lists are kept and handed in whole."""
    for place, step in enumerate(steps):
        if not isinstance(step, str):
            return steps[:place]
    return steps


def _without_parts(paths: Iterable[Steps]) -> list[Steps]:
    """Return paths, without those to parts of others, in the order of their names."""
    kept: list[Steps] = []
    for steps in sorted(set(paths), key=repr):
        kept = [it for it in kept if it[: len(steps)] != steps]
        if not any(steps[: len(it)] == it for it in kept):
            kept.append(steps)
    return kept
