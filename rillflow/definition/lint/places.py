"""Warnings: paths whose first name does not exist in the document that they read.

Only mappings see the whole document. A condition, a limit and the like see one part of it (spec
2.9, 3.8, 3.9, 3.13), so a path to another part never has a result.

Used by `definition/lint/warnings.py`.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

from rillflow.definition.checks.validation import Finding
from rillflow.definition.lint.roots import ROOTS, first_name
from rillflow.definition.model import (
    ChoiceTask,
    ForeachTask,
    FunctionTask,
    IterationMapping,
    ReturnTask,
    SuspenseTask,
    SwitchTask,
    Task,
    Timeline,
)
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.language.mapping.secret_references import is_path
from rillflow.suggestions import did_you_mean

_RUN_TIME: Final = 30406
_ELEMENT: Final = "iteration.element"
_LONGEST_IN_HINT: Final = 60
_DELAYS: Final = {
    "suspenseIntervalSeconds": "suspense_interval_s",
    "suspenseTimestamp": "suspense_timestamp_ms",
}
_HINTS: Final = {
    ("input", "context"): "inputMappings copy from $.context to $.input",
    ("context", "input"): "what was submitted is in $.context",
}


class _Reading(NamedTuple):
    """A path, where it is written, who reads it, and in what; ``word`` is no path there."""

    text: str | None
    path: Path
    reader: str
    seen: str = "input"
    word: str = ""


def place_findings(task: Task, path: Path) -> Iterator[Finding]:
    """Generate the paths of a task, other than those of mappings, that never lead anywhere."""
    for reading in chain(_common(task, path), _of_category(task, path)):
        yield from _findings(reading)


def place_findings_of_flow(timeline: Timeline | None, path: Path) -> Iterator[Finding]:
    """Generate the time-out of a whole execution whose path never leads anywhere."""
    if timeline is not None:
        yield from _findings(_timeout(timeline, path, "context"))


def _findings(reading: _Reading) -> Iterator[Finding]:
    root = first_name(reading.text)
    if root is None or root == reading.seen.partition(".")[0] or reading.text == reading.word:
        return
    message = f"`$.{shown(root)}` is not there: {reading.reader} sees $.{reading.seen}"
    yield Finding(_RUN_TIME, message, reading.path, hint=_hint(reading, root))


def _hint(reading: _Reading, root: str) -> str:
    seen = reading.seen
    near = did_you_mean(root, filter(None, (seen.partition(".")[0], reading.word)))
    if near or (seen, root) in _HINTS:
        return near or _HINTS[seen, root]
    if not is_path(reading.text or ""):
        return f"a path is written such as $.{seen}.count"
    if root in ROOTS or seen == _ELEMENT or len(root) > _LONGEST_IN_HINT:
        return f"the element is $.{seen}" if seen == _ELEMENT else ""
    return f"did you mean `$.{seen}.{root}`?"


def _literal_or_path(
    text: str | None, path: Path, reader: str, seen: str = "input"
) -> Iterator[_Reading]:
    """Generate a field that is a path only where it begins like one."""
    if text is not None and is_path(text):
        yield _Reading(text, path, reader, seen)


def _conditions(
    texts: Iterable[str] | None, path: Path, reader: str, seen: str = "input"
) -> Iterator[_Reading]:
    for position, text in enumerate(texts or ()):
        yield _Reading(text, (*path, position), reader, seen)


def _timeout(timeline: Timeline, path: Path, seen: str = "input") -> _Reading:
    where = (*path, "timeoutInSeconds")
    text = timeline.timeout_s if is_path(timeline.timeout_s or "") else None
    return _Reading(text, where, "timeoutInSeconds", seen)


def _common(task: Task, path: Path) -> Iterator[_Reading]:
    if task.timeline is not None:
        yield _timeout(task.timeline, (*path, "timeline"))
        for key, attribute in _DELAYS.items():
            text = getattr(task.timeline, attribute)
            yield from _literal_or_path(text, (*path, "timeline", key), key)
    if task.progress is not None:
        where = (*path, "progress", "args")
        for position, rule in enumerate(task.progress.args or ()):
            place = (*where, position, "source")
            yield from _literal_or_path(rule.source, place, "an argument of progress")


def _of_category(task: Task, path: Path) -> Iterator[_Reading]:
    match task:
        case ChoiceTask():
            for position, choice in enumerate(task.choices or ()):
                where = (*path, "choices", position, "condition")
                yield _Reading(choice.condition, where, "a choice condition")
        case SwitchTask():
            for position, entry in enumerate(task.switches or ()):
                where = (*path, "switches", position, "condition")
                yield _Reading(entry.condition, where, "a switch condition", word="default")
        case ForeachTask():
            yield from _of_foreach(task, path)
        case ReturnTask() | SuspenseTask():
            yield from _of_waiting(task, path)
        case FunctionTask():
            yield from _of_function(task, path)


def _of_waiting(task: ReturnTask | SuspenseTask, path: Path) -> Iterator[_Reading]:
    yield from _conditions(task.conditions, (*path, "conditions"), f"a {task.category} condition")
    if isinstance(task, SuspenseTask):
        where = (*path, "interruptions")
        yield from _conditions(task.interruptions, where, "an interruption")


def _of_foreach(task: ForeachTask, path: Path) -> Iterator[_Reading]:
    mapping, where = task.iteration_mapping or IterationMapping(), (*path, "iterationMapping")
    yield from _literal_or_path(mapping.collection, (*where, "collection"), "a collection")
    yield from _literal_or_path(mapping.identity, (*where, "identity"), "an identity", _ELEMENT)
    limits = task.synchronization
    if limits is not None:
        where = (*path, "synchronization")
        reader = "a synchronization condition"
        yield from _conditions(limits.conditions, (*where, "conditions"), reader)
        most = (*where, "maxConcurrency")
        yield from _literal_or_path(limits.max_concurrency, most, "maxConcurrency")


def _of_function(task: FunctionTask, path: Path) -> Iterator[_Reading]:
    of_success, of_failure = (*path, "successConditions"), (*path, "failConditions")
    yield from _conditions(task.success_conditions, of_success, "a success condition", "output")
    yield from _conditions(task.fail_conditions, of_failure, "a fail condition", "output")
    if task.retry is not None:
        where = (*path, "retry", "conditions")
        yield from _conditions(task.retry.conditions, where, "a retry condition", "output")
