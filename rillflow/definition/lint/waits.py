"""Warnings: suspense tasks whose conditions see the same input for ever.

A wake-up brings data only by ``outputMappings``; without them it checks the context again, which
only tasks that run beside the suspense can have changed (spec 3.16).

Used by `definition/lint/warnings.py`.
"""

from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate
from typing import Final

from rillflow.definition.checks.validation import Finding, is_blank
from rillflow.definition.model import SuspenseTask, Task, WorkflowDefinition
from rillflow.definition.sugar import names_referred_to
from rillflow.definition.tasks import Level, levels
from rillflow.definition.yaml_tree.nodes import Path

_RUN_TIME: Final = 30406
_HINT: Final = (
    "outputMappings bring what a wake-up sends: source $.output.NAME, target $.context.NAME,"
    " which inputMappings copy to $.input"
)


def wait_findings(definition: WorkflowDefinition) -> Iterator[Finding]:
    """Generate the suspense tasks that no wake-up can end."""
    kept = names_referred_to(definition)
    for level in levels(definition):
        waiting = [each for each in level.located() if _waits_blindly(each[0])]
        alone = _never_beside_others(level) if waiting else frozenset()
        for task, path in waiting:
            is_kept = not level.enclosing and task.name in kept
            if task.name in alone and not is_kept:
                yield _finding(path)


def _finding(path: Path) -> Finding:
    message = (
        "without outputMappings a wake-up brings nothing, and no other task runs meanwhile:"
        " conditions that do not hold at once never will"
    )
    return Finding(_RUN_TIME, message, (*path, "conditions"), hint=_HINT)


def _waits_blindly(task: Task) -> bool:
    if not isinstance(task, SuspenseTask) or not task.conditions or task.output_mappings:
        return False
    # With a time-out it may be meant as a pause.
    return task.timeline is None or is_blank(task.timeline.timeout_s)


def _never_beside_others(level: Level) -> frozenset[str | None]:
    """Name the tasks that every other one of their level runs before or after.

    In an order in which nobody comes before whom it follows, these are the tasks that no
    edge passes by: all behind them have somebody to follow there or behind, and all before
    them somebody that follows.
    """
    names = [task.name for task in level.tasks]
    places = _order(level.tasks)
    if len(places) != len(names) or any(map(_overlaps, level.tasks)):
        return frozenset()
    last, nearest = [-1] * len(names), [len(names)] * len(names)
    for task in level.tasks:
        for follower in task.follower_names:
            here, there = places[task.name], places[follower]
            last[there] = max(last[there], here)
            nearest[here] = min(nearest[here], there)
    behind = [*accumulate(reversed(last), min)][::-1]
    before = [*accumulate(nearest, max)]
    return frozenset(
        name
        for name, place in places.items()
        if (place + 1 == len(names) or behind[place + 1] >= place)
        and (place == 0 or before[place - 1] <= place)
    )


def _order(tasks: Sequence[Task]) -> dict[str | None, int]:
    """Number the tasks from first to last; empty where they have no order."""
    known = {task.name for task in tasks}
    sorter: TopologicalSorter[str | None] = TopologicalSorter(dict.fromkeys(known, ()))
    for task in tasks:
        if not known.issuperset(task.follower_names):
            return {}
        for follower in task.follower_names:
            sorter.add(follower, task.name)
    try:
        return {name: place for place, name in enumerate(sorter.static_order())}
    except CycleError:
        return {}


def _overlaps(task: Task) -> bool:
    """Tell whether a task may still run while others do that follow it."""
    streams = "stream" in {(task.input_type or "").lower(), (task.output_type or "").lower()}
    return task.key_callback or streams
