"""From YAML nodes to the values of a WorkflowDefinition, with the coercions of spec 1.1 to 1.4.

All errors are collected, so that an author sees them at once. Unknown keys are ignored, as in Rill
Flow, and can be reported as warnings.

Used by `definition/parse.py`, `definition/problems.py` and `definition/sugar.py`.
"""

from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingOf
from typing import Any, Final, NamedTuple, TypeAlias, get_args

from pydantic import BaseModel

from rillflow.definition.field_readers import Slot, read_text, slots_of
from rillflow.definition.model import (
    FunctionTask,
    PassTask,
    ReturnTask,
    SwitchTask,
    Task,
    WorkflowDefinition,
)
from rillflow.definition.yaml_tree.nodes import (
    UNREADABLE,
    Mapping,
    Node,
    Scalar,
    refusal_of,
    refuse,
    shown,
)
from rillflow.errors import Problem
from rillflow.suggestions import closest, did_you_mean

MAX_PROBLEMS: Final = 200
"""How many problems of one definition are told; hostile ones could have any number."""

Values: TypeAlias = dict[str, Any]

_CATEGORIES: Final[MappingOf[str, type[BaseModel]]] = {
    model.model_fields["category"].default: model for model in get_args(get_args(Task)[0])
}
_TASK_KEYS: Final = frozenset[str]().union(*map(slots_of, _CATEGORIES.values()))
"""Keys that a task of some category may have."""
_DEFINITION_SLOTS: Final[MappingOf[str, Slot]] = {
    **slots_of(WorkflowDefinition),
    "timer": slots_of(WorkflowDefinition)["timeline"],
    "callback_config": slots_of(WorkflowDefinition)["callback"],
    "callbackConfig": slots_of(WorkflowDefinition)["callback"],
    "namespace": Slot("namespace", read_text),
    "service": Slot("service", read_text),
}


class Bound(NamedTuple):
    """What came of binding; ``values`` may be used only when there are no errors."""

    values: Values
    errors: list[Problem]
    warnings: list[Problem]


def bind(root: Node, *, with_warnings: bool = False) -> Bound:
    """Read a definition from its root node.

    Args:
        root: The whole document.
        with_warnings: Whether to tell of the keys that are ignored.

    Raises:
        DefinitionError: The root is no object, or 200 problems were found, at which
            nothing more is read (30402).
    """
    if not isinstance(root, Mapping):
        refuse("a definition must be an object", root.place)
    binder = _Binder(with_warnings=with_warnings)
    values = binder.definition(root)
    return Bound(values, binder.errors, binder.warnings)


def bind_rules(root: Node) -> tuple[list[Values], list[Problem]]:
    """Read a list of mapping rules that stands alone, with what does not fit.

    Raises:
        DefinitionError: 200 problems were found, at which nothing more is read (30402).
    """
    binder = _Binder(with_warnings=False)
    rules = slots_of(PassTask)["inputMappings"].read(binder, root, "mapping rules")
    return rules or [], binder.errors


class _Binder:
    """Collects problems; see ``field_readers.ProblemCollector`` for the rest of the contract."""

    def __init__(self, *, with_warnings: bool) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self._most_warnings = MAX_PROBLEMS if with_warnings else 0

    def definition(self, node: Mapping) -> Values:
        values = self._fields(_DEFINITION_SLOTS, node)
        for name, fallback in (("workspace", "namespace"), ("dag_name", "service")):
            spare = values.pop(fallback, None)
            if spare is not None and _is_blank(values.get(name)):
                values[name] = spare
        return values

    def fields(self, model: type[BaseModel], node: Mapping) -> Values:
        slots = slots_of(model)
        if model.model_config.get("extra") == "forbid":
            for key in node.entries.keys() - slots.keys():
                message = f"there is no option `{shown(key)}`"
                self.refuse(node.keys[key], message, did_you_mean(key, slots))
        return self._fields(slots, node)

    def task(self, node: Mapping) -> Values | None:
        category = node.entries.get("category")
        name = category.text if isinstance(category, Scalar) else ""
        model = _CATEGORIES.get(name)
        if model is None:
            message = f"category {shown(name)} is unknown" if name else "a task without a category"
            self.refuse(category or node, message, _category_hint(name, node))
            return self._stand_in(node)
        values = self.fields(model, node)
        values["next"] = joined_names([values.get("next")])
        complete = _COMPLETIONS.get(model)
        if complete is not None:
            complete(self, node, values)
        return values

    def _stand_in(self, node: Mapping) -> Values:
        """Keep the place of a task that is none, so that others may name it."""
        slots = slots_of(PassTask)
        for key in node.entries:
            if key not in _TASK_KEYS:
                self._warn_of_key(node, key, sorted(_TASK_KEYS))
        fields = {key: child for key, child in node.entries.items() if key in ("name", "next")}
        read = {slots[key].attribute: slots[key].read(self, fields[key], key) for key in fields}
        return {**read, "category": "pass"}

    def refuse(self, node: Node, message: str, hint: str = "") -> None:
        self.errors.append(Problem(UNREADABLE, message, *node.place, hint))
        if len(self.errors) == MAX_PROBLEMS:
            raise refusal_of(self.errors)

    def _fields(self, slots: MappingOf[str, Slot], node: Mapping) -> Values:
        values = {}
        for key, child in node.entries.items():
            slot = slots.get(key)
            if slot is None:
                self._warn_of_key(node, key, slots)
                continue
            value = slot.read(self, child, key)
            if value is not None:
                values[slot.attribute] = value
        return values

    def warn(self, node: Node, message: str, hint: str = "") -> None:
        if len(self.warnings) < self._most_warnings:
            self.warnings.append(Problem(UNREADABLE, message, *node.place, hint, "warning"))

    def _warn_of_key(self, node: Mapping, key: str, slots: Iterable[str]) -> None:
        if len(self.warnings) < self._most_warnings:
            hint = did_you_mean(key, slots)
            self.warn(node.keys[key], f"unknown key `{shown(key)}` is ignored", hint)


def _category_hint(name: str, task: Mapping) -> str:
    """Name the category, or the misspelt key of it, that is near; all categories if none is."""
    if name:
        near = did_you_mean(name, _CATEGORIES)
    else:
        unknown = [key for key in task.entries if key not in _TASK_KEYS]
        key = closest("category", unknown)
        near = f"`{shown(key)}` is no key; did you mean `category`?" if key else ""
    return near or f"category is one of {', '.join(_CATEGORIES)}"


def joined_names(lists: Iterable[str | None]) -> str | None:
    """Join comma lists of names into one, trimmed, without blanks and repetitions."""
    names = (name.strip() for text in lists if text is not None for name in text.split(","))
    return ",".join(dict.fromkeys(filter(None, names))) or None


def _is_blank(text: str | None) -> bool:
    return text is None or not text.strip()


def _complete_switch(binder: _Binder, node: Mapping, values: Values) -> None:
    """Join the successors; an entry without any reads as the name ``null`` (spec 1.4)."""
    entries = values.get("switches")
    if entries is None:
        binder.refuse(node, "a switch task without switches")
        return
    derived = (entry.get("next", "null") for entry in entries)
    values["next"] = joined_names([values.get("next"), *derived])


def _drop_timeout(_: _Binder, __: Mapping, values: Values) -> None:
    values.get("timeline", {}).pop("timeout_s", None)


def _complete_function(_: _Binder, __: Mapping, values: Values) -> None:
    protocol = values.get("resource_protocol")
    if _is_blank(values.get("resource_name")) and not _is_blank(protocol):
        values["resource_name"] = f"{protocol}://"


_COMPLETIONS: Final[MappingOf[type[BaseModel], Callable[[_Binder, Mapping, Values], None]]] = {
    SwitchTask: _complete_switch,
    PassTask: _drop_timeout,
    ReturnTask: _drop_timeout,
    FunctionTask: _complete_function,
}
