"""Readers for the fields of each model, derived from the model's annotations.

A reader turns a node into the plain value of the model, or into None if the field counts as absent;
errors are collected (`ProblemCollector`), never raised. Coercions follow spec 1.1.3 to 1.1.7.

Used by `definition/binder.py`.
"""

import math
import re
from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from functools import cache
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    Union,
    get_args,
    get_origin,
)

from pydantic import BaseModel

from rillflow.definition.yaml_tree.nodes import Mapping, Node, Scalar, Sequence, shown
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.suggestions import did_you_mean


class ProblemCollector(Protocol):
    """Takes what is wrong, and builds objects of the nodes inside."""

    def refuse(self, node: Node, message: str, hint: str = "") -> None:
        """Report a node that does not fit."""

    def warn(self, node: Node, message: str, hint: str = "") -> None:
        """Report a node that fits and means nothing."""

    def fields(self, model: type[BaseModel], node: Mapping) -> dict[str, Any]:
        """Read the fields of an object."""

    def task(self, node: Mapping) -> dict[str, Any] | None:
        """Read a task of whatever category."""


Reader: TypeAlias = Callable[[ProblemCollector, Node, str], Any]


class Slot(NamedTuple):
    """Where the value of a key goes: the model's attribute, and how it is read."""

    attribute: str
    read: Reader


_INT_TEXT: Final = re.compile(r"\s*[-+]?[0-9]{1,12}\s*")
_FLOAT_TEXT: Final = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")
_BOOLEAN_TEXT: Final = {
    form: value
    for word, value in (("true", True), ("false", False))
    for form in (word, word.title(), word.upper())
}
_INT_LIMIT: Final = 2**31
_NEVER_REFUSED: Final = frozenset({"isolation", "completion"})
"""Closed lists of which a missing value is right, so that no validator finds a wrong one."""
_NAMES_HINT: Final = "names are separated by commas, as in `next: first,second`"


@cache
def slots_of(model: type[BaseModel]) -> MappingOf[str, Slot]:
    """List the keys of a model, as they are written in YAML."""
    return {
        info.alias or name: Slot(name, _reader_of(info.annotation))
        for name, info in model.model_fields.items()
    }


def read_text(problems: ProblemCollector, node: Node, key: str) -> str | None:
    """Read a text field: the source text of any scalar (spec 1.1.4)."""
    if isinstance(node, Scalar):
        return None if node.is_null else node.text
    hint = _NAMES_HINT if key == "next" and isinstance(node, Sequence) else ""
    problems.refuse(node, f"{key} must be text, not {_kind(node)}", hint)
    return None


def read_json(problems: ProblemCollector, node: Node, key: str) -> JsonValue:
    """Read a value without a declared type.

    Null entries of maps are left out at every level, as Rill Flow's own
    re-serialisation of a definition does; nulls in lists stay.
    """
    if isinstance(node, Scalar):
        return _value(problems, node, key)
    if isinstance(node, Sequence):
        return [read_json(problems, item, key) for item in node.items]
    return _read_json_object(problems, node)


def _read_json_object(problems: ProblemCollector, node: Mapping) -> JsonObject:
    values = {key: read_json(problems, child, key) for key, child in node.entries.items()}
    return {key: value for key, value in values.items() if value is not None}


def _reader_of(annotation: Any) -> Reader:
    annotation = _without_none(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _object_reader(annotation)
    if annotation in _SCALAR_READERS:
        return _SCALAR_READERS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _enum_reader(frozenset(arguments))
    if origin is tuple:
        return _list_reader(_reader_of(arguments[0]))
    if origin is dict:
        return _map_reader(_reader_of(arguments[1]))
    # What is left is the union of all tasks, or an untyped value.
    return _read_task if origin in (Union, UnionType) else read_json


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    kept = [part for part in get_args(annotation) if part is not type(None)]
    return kept[0] if len(kept) == 1 else annotation


def _object_reader(model: type[BaseModel]) -> Reader:
    def read(problems: ProblemCollector, node: Node, key: str) -> dict[str, Any] | None:
        if isinstance(node, Mapping):
            return problems.fields(model, node)
        if not _is_null(node):
            problems.refuse(node, f"{key} must be an object, not {_kind(node)}")
        return None

    return read


def _read_task(problems: ProblemCollector, node: Node, key: str) -> dict[str, Any] | None:
    if isinstance(node, Mapping):
        return problems.task(node)
    if not _is_null(node):
        problems.refuse(node, f"{key} must hold tasks, not {_kind(node)}")
    return None


def _list_reader(read_item: Reader) -> Reader:
    def read(problems: ProblemCollector, node: Node, key: str) -> list[Any] | None:
        if not isinstance(node, Sequence):
            if not _is_null(node):
                problems.refuse(node, f"{key} must be a list, not {_kind(node)}")
            return None
        items = []
        for child in node.items:
            item = read_item(problems, child, key)
            if item is not None:
                items.append(item)
            elif _is_null(child):
                problems.refuse(child, f"{key} must not hold an empty entry")
        return items

    return read


def _map_reader(read_value: Reader) -> Reader:
    def read(problems: ProblemCollector, node: Node, key: str) -> dict[str, Any] | None:
        if not isinstance(node, Mapping):
            if not _is_null(node):
                problems.refuse(node, f"{key} must be an object, not {_kind(node)}")
            return None
        values = {name: read_value(problems, child, name) for name, child in node.entries.items()}
        return {name: value for name, value in values.items() if value is not None}

    return read


def _enum_reader(names: frozenset[str]) -> Reader:
    def read(problems: ProblemCollector, node: Node, key: str) -> str | None:
        text = read_text(problems, node, key)
        if text in names:
            return text
        if text is not None and key in _NEVER_REFUSED:
            words = " or ".join(f"`{name}`" for name in sorted(names))
            message = f"{key} `{shown(text)}` is ignored; it is {words}"
            problems.warn(node, message, did_you_mean(text.lower(), names))
        return None

    return read


def _read_bool(problems: ProblemCollector, node: Node, key: str) -> bool | None:
    value = _value(problems, node, key)
    if isinstance(value, str):
        value = _BOOLEAN_TEXT.get(value.strip(), value) if value.strip() else None
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value != 0
    problems.refuse(node, f"{key} must be true or false, not {_kind(node)}")
    return None


def _read_int(problems: ProblemCollector, node: Node, key: str) -> int | None:
    value = _value(problems, node, key)
    if isinstance(value, str) and (not value.strip() or _INT_TEXT.fullmatch(value)):
        value = int(value) if value.strip() else None
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = int(value)
        if -_INT_LIMIT <= number < _INT_LIMIT:
            return number
    problems.refuse(node, f"{key} must be a whole number of 32 bits, not {_kind(node)}")
    return None


def _read_float(problems: ProblemCollector, node: Node, key: str) -> float | None:
    value = _value(problems, node, key)
    if isinstance(value, str) and (not value.strip() or _FLOAT_TEXT.fullmatch(value)):
        value = float(value) if value.strip() else None
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = _as_float(value)
        if math.isfinite(number):
            return number
    problems.refuse(node, f"{key} must be a number, not {_kind(node)}")
    return None


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _value(problems: ProblemCollector, node: Node, key: str) -> JsonValue:
    if not isinstance(node, Scalar):
        return [] if isinstance(node, Sequence) else {}
    try:
        return node.value
    except ValueError as error:
        problems.refuse(node, f"{key} has no value that JSON knows: {error}")
        return None


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.is_null


def _kind(node: Node) -> str:
    if isinstance(node, Sequence):
        return "a list"
    return "an object" if isinstance(node, Mapping) else f"`{node.text[:40]}`"


_SCALAR_READERS: Final[MappingOf[Any, Reader]] = {
    str: read_text,
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
}
