"""The checks of a definition, in Rill Flow's order (spec 1.6).

Errors are generated lazily: the first one is the refusal, all of them are shown to an author.
Rill Flow's checks that cannot fail here are left out: the model has no other task classes (30409),
a category determines the class of its task (so none can mismatch), tasks inside other categories
are unknown keys, and a missing name fails the name rule (30408) before it could be found empty.

Used by `core`, `definition` and `runtime/submission/intake.py`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, get_args

from rillflow.definition.checks.declared_triggers import wrong_triggers
from rillflow.definition.checks.ray_options import wrong_options
from rillflow.definition.checks.search_keys import wrong_search_keys
from rillflow.definition.model import (
    ChoiceTask,
    ForeachTask,
    FunctionTask,
    MappingRule,
    Pattern,
    RayOptions,
    SwitchTask,
    Task,
    WorkflowDefinition,
)
from rillflow.definition.references import (
    MOST_EXPANDED_BYTES,
    MOST_EXPANDED_RULES,
    RESOURCE_SCHEME,
    CommonMapping,
    expanded_rules_of,
    expansion_beyond,
    rules_of,
    rules_of_sugar,
)
from rillflow.definition.sugar import END_TASK
from rillflow.definition.tasks import Level, all_tasks, levels
from rillflow.definition.yaml_tree.nodes import Path
from rillflow.ids import LONGEST_NAME, is_name, why_no_name

MAX_DEPTH: Final = 10
"""Default of the setting of how deep tasks may nest (spec Q67)."""


_TYPES: Final = ("flow", "resource")
_NO_PATTERN: Final = "pattern can not be null."
_NO_RESOURCE: Final = "resourceName or resource can not be empty."
_HINTS: Final[Mapping[str, str]] = {
    _NO_PATTERN: f"pattern is one of {', '.join(get_args(Pattern))}",
    _NO_RESOURCE: "resourceName is the address of the function, such as http://host/path,"
    " or resource://NAME of one that is declared in resources",
}


class Finding(NamedTuple):
    """A check that failed; ``options`` are the names that would have been right.

    ``wrong`` is empty where the model has nothing for what was written, as in a closed list.
    ``hint`` says more where no name is near, ``kind`` what sort of warning it is (see
    ``Problem``).
    """

    code: int
    message: str
    path: Path
    wrong: str = ""
    options: Sequence[str] = ()
    hint: str = ""
    kind: str = ""


def findings(
    definition: WorkflowDefinition,
    *,
    max_depth: int = MAX_DEPTH,
    most_expanded_bytes: int = MOST_EXPANDED_BYTES,
) -> Iterator[Finding]:
    """Generate everything that is wrong with a definition, worst first.

    Args:
        definition: What is checked.
        max_depth: How many levels tasks may nest.
        most_expanded_bytes: How much its references may write out (``references``).
    """
    if definition.type is None:
        hint = f"type is {' or '.join(_TYPES)}"
        yield Finding(30403, "dag type is invalid.", ("type",), options=_TYPES, hint=hint)
    if definition.type == "resource":
        yield from _check_resources(definition)
    else:
        yield from _check_flow(definition, max_depth, most_expanded_bytes)


def find_circle(successors: Mapping[str, Sequence[str]]) -> list[str]:
    """Find names that lead back to the first one, which is repeated at the end.

    Returns:
        The circle met first when following ``successors`` in order; empty without one.
    """
    done = set()
    for start in successors:
        trail, on_trail, pending = [start], {start}, [iter(successors[start])]
        while trail and start not in done:
            name = next(pending[-1], None)
            if name is None:
                pending.pop()
                on_trail.discard(trail[-1])
                done.add(trail.pop())
            elif name in on_trail:
                return [*trail[trail.index(name) :], name]
            elif name in successors and name not in done:
                trail.append(name)
                on_trail.add(name)
                pending.append(iter(successors[name]))
    return []


def split_names(text: str) -> list[str]:
    """Split a comma list of names, trimmed, without blanks."""
    return [name for part in text.split(",") if (name := part.strip())]


def is_blank(text: str | None) -> bool:
    """Tell whether a text field holds nothing that could be meant."""
    return text is None or not text.strip()


def _check_flow(
    definition: WorkflowDefinition, max_depth: int, most_expanded_bytes: int
) -> Iterator[Finding]:
    if not definition.tasks:
        yield Finding(30405, "dag task empty.", ("tasks",))
    all_levels = tuple(levels(definition))
    yield from depth_findings(all_levels, max_depth)
    yield from _check_names(definition)
    for level in all_levels:
        yield from _check_circles(level)
    for level in all_levels:
        yield from _check_next(level)
    declared = {resource.name for resource in definition.resources or ()}
    common = definition.common_mapping or {}
    for level in all_levels:
        for task, path in level.located():
            yield from _check_task(task, path, declared)
            if isinstance(task, FunctionTask):
                yield from _check_ray_options(task.ray_options, (*path, "rayOptions"))
        for task, path in level.located():
            rules = rules_of(task, path, with_sugar=not level.enclosing)
            yield from _check_references(task.name, rules, common)
    yield from _check_ray_options(definition.ray_options, ("rayOptions",))
    yield from _check_triggers(definition)
    yield from _check_search_keys(definition)
    of_output = rules_of_sugar(definition.output, ("output",))
    yield from _check_references(END_TASK, of_output, common)
    yield from _check_expansion(definition, most_expanded_bytes)


def _check_triggers(definition: WorkflowDefinition) -> Iterator[Finding]:
    for wrong in wrong_triggers(definition.triggers or ()):
        yield Finding(30410, f"triggers: {wrong.reason}", ("triggers", wrong.number, *wrong.keys))


def _check_search_keys(definition: WorkflowDefinition) -> Iterator[Finding]:
    for wrong in wrong_search_keys(definition.search_keys or ()):
        where = ("searchKeys", wrong.number)
        yield Finding(30406, f"searchKeys: {wrong.reason}", where, hint=wrong.hint)


def depth_findings(all_levels: Sequence[Level], max_depth: int) -> Iterator[Finding]:
    """Generate the levels of tasks that are one deeper than the limit (spec 1.8, Q67)."""
    for level in all_levels:
        if len(level.enclosing) == max_depth:
            names = "->".join(map(_shown, level.enclosing))
            yield Finding(30406, f"exceed max depth: {names}", level.path)


def _check_names(definition: WorkflowDefinition) -> Iterator[Finding]:
    named: list[tuple[str | None, Path]] = [
        (definition.workspace, ("workspace",)),
        (definition.dag_name, ("dagName",)),
        *((task.name, (*path, "name")) for task, path in all_tasks(definition)),
    ]
    for name, path in named:
        if not _is_name(name):
            yield Finding(
                30408, f"name invalid:{_shown(name)}", path, hint=_why_no_name(name, path)
            )
    first: dict[str, Path] = {}
    for name, path in named:
        if name is not None and first.setdefault(name, path) is not path:
            message = f"task name duplicated: {name}"
            yield Finding(30407, message, path, hint=_what_has(name, first[name]))


def _what_has(name: str, path: Path) -> str:
    """Say which other thing has a name, unless it is a task, which is easily found."""
    return f"{path[0]} is {name}, too" if len(path) == 1 else ""


def _check_circles(level: Level) -> Iterator[Finding]:
    successors = {task.name: task.follower_names for task in level.tasks if task.name is not None}
    if circle := find_circle(successors):
        task_path = next(path for task, path in level.located() if task.name == circle[-2])
        yield Finding(30406, f"circle found: {'->'.join(circle)}", (*task_path, "next"))


def _check_next(level: Level) -> Iterator[Finding]:
    names = tuple(task.name for task in level.tasks if task.name is not None)
    siblings = frozenset(names)
    for task, path in level.located():
        for name in task.follower_names:
            if name not in siblings:
                message = f"next task {name} not exist."
                where = _path_of_next(task, path, name)
                yield Finding(30413, message, where, wrong=name, options=names)


def _path_of_next(task: Task, path: Path, name: str) -> Path:
    """Find where a name of a task's ``next`` was written, which may be a switch's entry."""
    if isinstance(task, SwitchTask):
        for position, entry in enumerate(task.switches or ()):
            if name in split_names(entry.next or "null"):
                return (*path, "switches", position, "next")
    return (*path, "next" if name in task.next_names else "catch")


def _check_task(task: Task, path: Path, declared: Collection[str | None]) -> Iterator[Finding]:
    for code, reason, key in _reasons(task, declared):
        message = f"{task.category} task {_shown(task.name)} is invalid. Because {reason}"
        options = get_args(Pattern) if key == "pattern" else ()
        hint = _HINTS.get(reason, "")
        yield Finding(code, message, (*path, key), options=options, hint=hint)


def _reasons(task: Task, declared: Collection[str | None]) -> Iterator[tuple[int, str, str]]:
    if isinstance(task, ChoiceTask) and not task.choices:
        yield 30412, "choices is empty.", "choices"
    elif isinstance(task, ForeachTask):
        yield from _foreach_reasons(task)
    elif isinstance(task, FunctionTask):
        if task.pattern is None:
            yield 30410, _NO_PATTERN, "pattern"
        if not _has_resource(task, declared):
            yield 30410, _NO_RESOURCE, "resourceName"


def _check_ray_options(options: RayOptions | None, path: Path) -> Iterator[Finding]:
    for wrong in wrong_options(options) if options is not None else ():
        yield Finding(30410, f"rayOptions: {wrong.reason}", (*path, *wrong.keys), hint=wrong.hint)


def _foreach_reasons(task: ForeachTask) -> Iterator[tuple[int, str, str]]:
    if task.iteration_mapping is None:
        yield 30411, "iterationMapping is null.", "iterationMapping"
    elif is_blank(task.iteration_mapping.collection):
        yield 30411, "iterationMapping collection is empty.", "iterationMapping"
    if not task.tasks:
        yield 30411, "tasks is empty.", "tasks"


def _has_resource(task: FunctionTask, declared: Collection[str | None]) -> bool:
    if task.resource is not None:
        return True
    name = (task.resource_name or "").strip()
    if name.startswith(RESOURCE_SCHEME):
        return name.removeprefix(RESOURCE_SCHEME) in declared
    return bool(name)


def _check_references(
    name: str | None, rules: Iterable[tuple[MappingRule, Path]], common: CommonMapping
) -> Iterator[Finding]:
    for rule, path in rules:
        wanted = rule.reference
        if wanted is not None and not is_blank(wanted) and not common.get(wanted):
            message = f"taskName: {_shown(name)} mappingReference: {wanted} invalid"
            where = (*path, "reference")
            yield Finding(30406, message, where, wrong=wanted, options=tuple(common))


def _check_expansion(definition: WorkflowDefinition, most_bytes: int) -> Iterator[Finding]:
    if expanded_rules_of(definition) > MOST_EXPANDED_RULES:
        message = f"references expand to more than {MOST_EXPANDED_RULES} mapping rules"
        yield Finding(30406, message, ("commonMapping",))
    elif found := expansion_beyond(definition, most_bytes):
        yield Finding(30406, found.message, found.path, hint=found.hint)


def _check_resources(definition: WorkflowDefinition) -> Iterator[Finding]:
    if definition.tasks:
        message = "resource type dag do not support tasks property"
        yield Finding(30402, message, ("tasks",))
    if not definition.resources:
        yield Finding(30402, "dag resources empty", ("resources",))
    seen = set()
    for position, resource in enumerate(definition.resources or ()):
        path: Path = ("resources", position, "name")
        if not _is_name(resource.name):
            message = f"resource name invalid:{_shown(resource.name)}"
            yield Finding(30408, message, path, hint=_why_no_name(resource.name, ()))
        elif resource.name in seen:
            yield Finding(30408, f"resource name duplicate:{resource.name}", path)
        seen.add(resource.name)


def _is_name(name: str | None) -> bool:
    return name is not None and len(name) <= LONGEST_NAME and is_name(name)


def _why_no_name(name: str | None, path: Path) -> str:
    """Say why a name is none; of a field that is missing, which has no line, also which one."""
    why = why_no_name(name, LONGEST_NAME)
    return f"{path[0]}: {why}" if name is None and len(path) == 1 else why


def _shown(name: str | None) -> str:
    return "null" if name is None else name
