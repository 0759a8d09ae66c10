"""Visiting and rebuilding the tasks of a definition, at every level.

Used by `core/plan.py`, `definition`, `definition/lint` and `runtime/submission/intake.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rillflow.definition.model import ChoiceTask, ForeachTask, Task, WorkflowDefinition
from rillflow.definition.yaml_tree.nodes import Path


@dataclass(frozen=True, slots=True)
class Level:
    """Sibling tasks: the top level, the tasks of a foreach or of one branch of a choice.

    ``path`` leads to the list as it is written, ``enclosing`` names the tasks around it,
    outermost first; their number plus one is the depth.
    """

    tasks: Sequence[Task]
    path: Path = ("tasks",)
    enclosing: tuple[str | None, ...] = ()

    def located(self) -> Iterator[tuple[Task, Path]]:
        """Go through the tasks with the path of each."""
        for position, task in enumerate(self.tasks):
            yield task, (*self.path, position)


def levels(definition: WorkflowDefinition) -> Iterator[Level]:
    """Go through all levels, each before those inside it, in the order written."""
    waiting = [Level(definition.tasks or ())]
    while waiting:
        level = waiting.pop()
        yield level
        inner = [sub for task, path in level.located() for sub in _inside(task, path, level)]
        waiting.extend(reversed(inner))


def all_tasks(definition: WorkflowDefinition) -> Iterator[tuple[Task, Path]]:
    """Go through the tasks of all levels with the path of each, level by level."""
    for level in levels(definition):
        yield from level.located()


def map_tasks(tasks: tuple[Task, ...], change: Callable[[Task], Task]) -> tuple[Task, ...]:
    """Rebuild tasks with a change made to each, inner ones first; same ones are shared."""
    return tuple(change(_map_inside(task, change)) for task in tasks)


def _inside(task: Task, path: Path, level: Level) -> Iterator[Level]:
    enclosing = (*level.enclosing, task.name)
    if isinstance(task, ForeachTask) and task.tasks:
        yield Level(task.tasks, (*path, "tasks"), enclosing)
    elif isinstance(task, ChoiceTask):
        for position, choice in enumerate(task.choices or ()):
            if choice.tasks:
                yield Level(choice.tasks, (*path, "choices", position, "tasks"), enclosing)


def _map_inside(task: Task, change: Callable[[Task], Task]) -> Task:
    if isinstance(task, ForeachTask) and task.tasks:
        return task.model_copy(update={"tasks": map_tasks(task.tasks, change)})
    if isinstance(task, ChoiceTask) and task.choices:
        choices = tuple(
            choice.model_copy(update={"tasks": map_tasks(choice.tasks, change)})
            if choice.tasks
            else choice
            for choice in task.choices
        )
        return task.model_copy(update={"choices": choices})
    return task
