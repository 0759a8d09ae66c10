"""What references of a definition write out: shared rules, resources, Ray options (spec 1.8).

A view shows a task as it runs, so what is declared once is written once for each reference. Its
length is limited, since a short text could become gigabytes otherwise.

Used by `definition/checks/validation.py`, `definition/normal.py` and `core/plan.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from pydantic import BaseModel

from rillflow.definition.model import FunctionTask, MappingRule, Task, WorkflowDefinition
from rillflow.definition.sugar import rules_of_input
from rillflow.definition.tasks import all_tasks
from rillflow.definition.yaml_tree.nodes import Path
from rillflow.jsontypes import JsonObject

MOST_EXPANDED_RULES: Final = 50_000
"""Limit of the mapping rules of a definition, those of shared lists once for each reference."""

MOST_EXPANDED_BYTES: Final = 8 << 20
"""Limit of what references write out, in bytes of JSON; see ``expanded_bytes``."""

CommonMapping: TypeAlias = Mapping[str, tuple[MappingRule, ...] | None]

RESOURCE_SCHEME: Final = "resource://"


class ReferenceProblem(NamedTuple):
    """What references write out is too long; ``path`` leads to the reference that is too much."""

    message: str
    path: Path
    hint: str


def expanded_rules(rules: Iterable[MappingRule], common: CommonMapping) -> int:
    """Count rules, with those of the shared lists to which they refer."""
    return sum(len(common.get(rule.reference or "") or ()) or 1 for rule in rules)


def expanded_rules_of(definition: WorkflowDefinition) -> int:
    """Count the mapping rules of a definition likewise."""
    common = definition.common_mapping or {}
    return expanded_rules((rule for rule, _ in _all_rules(definition)), common)


def expanded_bytes(definition: WorkflowDefinition) -> int:
    """Count the bytes of JSON that the references of a definition write out, all together."""
    return sum(size for size, _ in _expansions(definition))


def expansion_beyond(definition: WorkflowDefinition, most_bytes: int) -> ReferenceProblem | None:
    """Find the first reference with which more than so many bytes are written out, if any."""
    left = most_bytes
    for size, path in _expansions(definition):
        left -= size
        if left < 0:
            return ReferenceProblem(
                f"references expand to more than {most_bytes} bytes of JSON",
                path,
                "each reference writes out what it names: shorten that, or refer to it less often",
            )
    return None


def _expansions(definition: WorkflowDefinition) -> Iterator[tuple[int, Path]]:
    """Generate how many bytes each reference writes out, with its place."""
    lists = _Sizes(definition.common_mapping or {})
    declared = {resource.name or "": (resource,) for resource in definition.resources or ()}
    resources = _Sizes(declared)
    options = _Sizes({"": (definition.ray_options,) if definition.ray_options else ()})
    for rule, path in _all_rules(definition) if definition.common_mapping else ():
        if rule.reference is not None:
            yield lists.of(rule.reference), (*path, "reference")
    if not definition.resources and definition.ray_options is None:
        return
    for task, path in all_tasks(definition):
        if isinstance(task, FunctionTask):
            name = (task.resource_name or "").strip()
            if task.resource is None and name.startswith(RESOURCE_SCHEME):
                yield resources.of(name.removeprefix(RESOURCE_SCHEME)), (*path, "resourceName")
            yield options.of(""), (*path, "name")


class _Sizes:
    """The bytes of declared things by their name, each measured when it is first referred to."""

    def __init__(self, declared: Mapping[str, tuple[BaseModel, ...] | None]) -> None:
        self._declared = declared
        self._sizes: dict[str, int] = {}

    def of(self, name: str) -> int:
        """Return how long what has this name is as JSON; 0 for an unknown name."""
        size = self._sizes.get(name)
        if size is None:
            things = self._declared.get(name) or ()
            size = self._sizes[name] = sum(
                len(it.model_dump_json(by_alias=True, exclude_none=True).encode()) for it in things
            )
        return size


def _all_rules(definition: WorkflowDefinition) -> Iterator[tuple[MappingRule, Path]]:
    """Generate all rules of a definition, with their places."""
    yield from rules_of_sugar(definition.output, ("output",))
    callback = definition.callback
    for position, rule in enumerate((callback and callback.input_mappings) or ()):
        yield rule, ("callback", "inputMappings", position)
    for task, path in all_tasks(definition):
        yield from rules_of(task, path, with_sugar=True)


def rules_of(task: Task, path: Path, *, with_sugar: bool) -> Iterator[tuple[MappingRule, Path]]:
    """Generate the mapping rules of a task with their places; those of ``input`` with sugar."""
    for position, rule in enumerate(task.input_mappings or ()):
        yield rule, (*path, "inputMappings", position)
    for position, rule in enumerate(task.output_mappings or ()):
        yield rule, (*path, "outputMappings", position)
    if with_sugar:
        yield from rules_of_sugar(task.input, (*path, "input"))


def rules_of_sugar(sugar: JsonObject | None, path: Path) -> Iterator[tuple[MappingRule, Path]]:
    """Generate the rules that ``input`` or ``output`` stands for, with their places."""
    for key, rule in rules_of_input(sugar):
        yield rule, (*path, key)
