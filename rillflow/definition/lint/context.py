"""Warnings: paths to keys of the context that nothing writes.

The possible keys are known if the definition determines them. A group has its own context: its
task's input, the element and the index, and what its members write (spec 3.9). The context of the
whole execution begins with the submitted data, of which ``inputSchema`` lists the keys. Without a
schema any key is possible, so only a key that nearly equals a known one is reported.

Used by `definition/lint/collections.py` and `definition/lint/warnings.py`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from rillflow.definition.checks.search_keys import key_names
from rillflow.definition.checks.validation import Finding
from rillflow.definition.lint.misspellings import Spellings
from rillflow.definition.model import ForeachTask, MappingRule, Task, WorkflowDefinition
from rillflow.definition.sugar import names_referred_to, rules_of_input
from rillflow.definition.tasks import Level, levels
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.errors import LanguageError
from rillflow.jsontypes import JsonObject, decode_json
from rillflow.language.jsonpath.paths import path_tokens
from rillflow.language.jsonpath.syntax import Names
from rillflow.language.mapping.secret_references import is_path
from rillflow.suggestions import did_you_mean

_MAPPING: Final = 30406
_OURS: Final = ("flow_execution_id", "flow_root_execution_id")
_RESERVED: Final = "__"
_OPEN: Final = ("$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties", "$dynamicRef")
_MOST_TASKS: Final = 300
"""Siblings among which it is looked for who writes a key before whom."""
_MOST_GUESSES: Final = 1000
"""Keys for which a similar one is looked for."""

_Read: TypeAlias = tuple[str, Path]
"""A key that a rule reads, and where the rule says so."""
_Names: TypeAlias = tuple[tuple[str, ...] | None, ...]
"""The names of each step of a path; None for a step that is no name."""


class _Keys(NamedTuple):
    """Keys that rules write, by the root above them; ``may_be_any`` are roots with others."""

    context: frozenset[str] = frozenset()
    input: frozenset[str] = frozenset()
    may_be_any: frozenset[str] = frozenset()


def context_findings(definition: WorkflowDefinition) -> Iterator[Finding]:
    """Generate the sources that read a key of the context which nothing writes."""
    lists = (definition.common_mapping or {}).values()
    # Lists that tasks share may be long, so they are not put into the keys of each task.
    shared = written_by(rule for rules in lists for rule in rules or ())
    around: dict[str | None, Task] = {}
    for level in levels(definition):
        around.update((task.name, task) for task in level.tasks)
        by_task = {task.name or "": written_by(_rules_of(task)) for task in level.tasks}
        if any("context" in keys.may_be_any for keys in (shared, *by_task.values())):
            continue
        reads = list(_reads(level, definition))
        if not level.enclosing:
            yield from _of_top(definition, level, by_task, shared, reads)
        elif (group := around.get(level.enclosing[-1])) is not None:
            yield from _of_group(reads, by_task, shared, group)


def _of_group(
    reads: Iterable[_Read], by_task: Mapping[str, _Keys], shared: _Keys, group: Task
) -> Iterator[Finding]:
    given = written_by(group.input_mappings or ())
    if "input" in given.may_be_any | shared.may_be_any:
        return
    known = {*given.input, *(group.input or ()), *_added(group)}
    known.update(chain.from_iterable(keys.context for keys in by_task.values()))
    options = sorted(known)
    known.update(shared.input, shared.context)
    for key, path in reads:
        if key not in known:
            message = f"`$.context.{shown(key)}` is always empty: a group has a context of its own"
            way = f"inputMappings of {shown(group.name)} give it: target $.input.{shown(key)}"
            yield Finding(_MAPPING, message, path, hint=did_you_mean(key, options) or way)


def _added(group: Task) -> Iterator[str]:
    """Name what the context of a group has besides what is mapped into its task."""
    yield "error"  # where the task catches a failure
    if isinstance(group, ForeachTask) and group.iteration_mapping is not None:
        mapping = group.iteration_mapping
        yield from filter(None, (mapping.item, mapping.index))


def _of_top(
    definition: WorkflowDefinition,
    level: Level,
    by_task: Mapping[str, _Keys],
    shared: _Keys,
    reads: Iterable[_Read],
) -> Iterator[Finding]:
    submitted = _submitted_keys(definition)
    begun = {*(definition.default_context or ()), *_OURS, *(submitted or ()), *shared.context}
    known = {*begun, *names_referred_to(definition)}
    known.update(chain.from_iterable(keys.context for keys in by_task.values()))
    # What `output` makes is there for the callback, but not while it is made.
    reads = [*reads, *_sugar_reads(definition.output, ("output",))]
    callback = definition.callback
    rules = (callback.input_mappings if callback is not None else None) or ()
    shared_lists = dict(definition.common_mapping or {})
    after = list(_list_reads(rules, ("callback", "inputMappings"), shared_lists))
    after += (
        (name.partition(".")[0], ("searchKeys", number))
        for number, name in enumerate(key_names(definition.search_keys))
    )
    if submitted is None:
        yield from _slips(reads, known)
        yield from _slips(after, {*known, *(definition.output or ())})
        return
    reads += (read for read in after if read[0] not in (definition.output or ()))
    order = _Order(level.tasks, by_task)
    options = sorted(known)
    for key, path in reads:
        if key not in known:
            message = f"no task, default or inputSchema gives `$.context.{shown(key)}` a value"
            yield Finding(_MAPPING, message, path, hint=did_you_mean(key, options))
        elif key not in begun and order.is_too_early(path, key):
            message = f"`$.context.{shown(key)}` is written only by tasks that run later"
            yield Finding(_MAPPING, message, path)


def _slips(reads: Iterable[_Read], known: Collection[str]) -> Iterator[Finding]:
    """Generate the keys that are nearly the same as one that is known."""
    spellings, found = Spellings(known), dict[str, str]()
    for key, path in reads:
        if key in known or (key not in found and len(found) == _MOST_GUESSES):
            continue
        near = found.setdefault(key, spellings.near(key))
        if near:
            message = f"nothing in the definition gives `$.context.{shown(key)}` a value"
            yield Finding(_MAPPING, message, path, hint=f"did you mean `{shown(near)}`?")


class _Order:
    """Which sibling may run after which."""

    def __init__(self, tasks: Sequence[Task], by_task: Mapping[str, _Keys]) -> None:
        self._tasks = tasks
        self._by_task = by_task
        self._successors = {task.name: task.follower_names for task in tasks}
        self._later: dict[int, frozenset[str]] = {}

    def is_too_early(self, path: Path, key: str) -> bool:
        """Tell whether all tasks that write a key can only run after the one that reads it."""
        position = path[1] if path[0] == "tasks" else None
        if not isinstance(position, int) or len(self._tasks) > _MOST_TASKS:
            return False
        if position not in self._later:
            self._later[position] = self._after(position)
        writers = {name for name, keys in self._by_task.items() if key in keys.context}
        return bool(writers) and writers <= self._later[position]

    def _after(self, position: int) -> frozenset[str]:
        found: set[str] = set()
        waiting = list(self._tasks[position].follower_names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._successors.get(name, ()))
        return frozenset(found)


def _rules_of(task: Task) -> tuple[MappingRule, ...]:
    return (*(task.input_mappings or ()), *(task.output_mappings or ()))


def written_by(rules: Iterable[MappingRule]) -> _Keys:
    """Return the keys below the roots that the targets of rules name."""
    keys: dict[str, set[str]] = {"context": set(), "input": set()}
    may_be_any: set[str] = set()
    for rule in rules:
        names = names_in(rule.target)
        roots = () if not names else keys if names[0] is None else names[0]
        for root in keys.keys() & set(roots):
            below = names[1] if len(names) > 1 else ()
            keys[root].update(below or ())
            if below is None or names[0] is None:
                may_be_any.add(root)
    return _Keys(frozenset(keys["context"]), frozenset(keys["input"]), frozenset(may_be_any))


def _reads(level: Level, definition: WorkflowDefinition) -> Iterator[_Read]:
    """Generate the keys that the rules of a level read; those of shared lists once for a level."""
    common = dict(definition.common_mapping or {})
    for task, path in level.located():
        lists = {"inputMappings": task.input_mappings, "outputMappings": task.output_mappings}
        for field, rules in lists.items():
            yield from _list_reads(rules or (), (*path, field), common)
        if not level.enclosing:
            yield from _sugar_reads(task.input, (*path, "input"))


def _list_reads(
    rules: Iterable[MappingRule], path: Path, common: dict[str, Any]
) -> Iterator[_Read]:
    """Generate what a list reads, and what the shared lists do that it refers to.

    These are taken out of ``common``, so that each is looked at once.
    """
    for position, rule in enumerate(rules):
        yield from _read_by(rule, (*path, position, "source"))
        name = (rule.reference or "").strip()
        for place, shared in enumerate(common.pop(name, None) or ()):
            yield from _read_by(shared, ("commonMapping", name, place, "source"))


def _sugar_reads(sugar: JsonObject | None, path: Path) -> Iterator[_Read]:
    for key, rule in rules_of_input(sugar):
        yield from _read_by(rule, (*path, key))


def _read_by(rule: MappingRule, path: Path) -> Iterator[_Read]:
    """Generate the keys that a rule reads, unless it may do without a value."""
    names = names_in(rule.source) if is_path(rule.source or "") else ()
    if len(names) > 1 and names[0] == ("context",) and rule.tolerance is not True:
        for key in names[1] or ():
            if not key.startswith(_RESERVED):
                yield key, path


def names_in(text: str | None) -> _Names:
    """Return the names of each step of a path; none where the text is no path."""
    if text is None or not text.startswith("$"):
        return ()
    try:
        tokens = path_tokens(text)
    except LanguageError:
        return ()
    return tuple(token.names if isinstance(token, Names) else None for token in tokens)


def _submitted_keys(definition: WorkflowDefinition) -> frozenset[str] | None:
    """Name the keys of the submitted data; None where the schema does not tell them."""
    try:
        schema = decode_json(definition.input_schema or "")
    except ValueError:
        return None
    if isinstance(schema, list):
        names = [row.get("name") for row in schema if isinstance(row, dict)]
        return frozenset(name for name in names if isinstance(name, str)) or None
    return _properties_of(schema) if isinstance(schema, dict) else None


def _properties_of(schema: JsonObject) -> frozenset[str] | None:
    properties = schema.get("properties")
    is_open = schema.get("additionalProperties", False) is not False
    if is_open or not schema.keys().isdisjoint(_OPEN) or not isinstance(properties, dict):
        return None
    return frozenset(properties) or None
