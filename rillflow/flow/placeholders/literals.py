"""Values that authors give to tasks: constants, placeholders, and dicts and lists of both.

Used by `flow`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from rillflow.definition.model import MappingRule
from rillflow.flow.placeholders.constants import MOST_LEVELS, checked, key_of, plain
from rillflow.flow.placeholders.expressions import constant_text, reads
from rillflow.flow.placeholders.values import (
    Constant,
    Node,
    Reference,
    Steps,
    Value,
    node_of,
    operation,
)
from rillflow.flow.places import refusal
from rillflow.jsontypes import JsonValue, encode_json
from rillflow.language.mapping.path_like import has_path_inside, literal_meant_as_path
from rillflow.language.mapping.secret_references import has_reference, is_path
from rillflow.language.text.literals import parse_literal


class Part(NamedTuple):
    """A part of a value: where it goes, and what it is."""

    steps: Steps
    node: Node


def parts_of(value: object, steps: Steps = ()) -> Iterator[Part]:
    """Take a value apart: dicts with placeholders by their keys; None is left out.

    Raises:
        FlowError: It is no JSON value.
    """
    value = plain(value)
    if value is None:
        return
    if isinstance(value, dict) and value and _has_placeholders(value):
        if len(steps) > MOST_LEVELS:
            raise refusal(f"dicts are nested in each other more than {MOST_LEVELS} times")
        for key, member in value.items():
            yield from parts_of(member, (*steps, key_of(key)))
    else:
        yield Part(steps, _node(value))


def rule_for(node: Node, target: str, *, tolerance: bool | None = None) -> MappingRule:
    """Return the mapping rule that writes the value of a node to a target.

    An expression that cannot be evaluated fails its task, unless it is tolerated.
    """
    if isinstance(node, Constant):
        text = literal_text(node.value)
        if text is not None:
            return MappingRule(source=text, target=target)
        return MappingRule(transform=constant_text(node.value), target=target)
    source, transform = reads(node)
    if isinstance(node, Reference) and node.is_optional:
        tolerance = True
    if transform is not None and tolerance is None:
        tolerance = False
    return MappingRule(source=source, transform=transform, target=target, tolerance=tolerance)


def literal_text(value: JsonValue) -> str | None:
    """Return the text that the language reads as a value; None where there is none."""
    text = value if isinstance(value, str) else encode_json(value).decode()
    if isinstance(value, float) and "." not in text:
        text = text.replace("e", ".0e")
    if not text.strip() or is_path(text) or encode_json(parse_literal(text)) != encode_json(value):
        return None
    if has_reference(text):
        return text
    return None if literal_meant_as_path(text) or has_path_inside(text) else text


def plain_constant(value: object, what: str) -> JsonValue:
    """Return a value that may not have placeholders.

    Raises:
        FlowError: It has one, or is no JSON value.
    """
    value = plain(value)
    if _has_placeholders(value):
        raise refusal(f"{what} is fixed when the flow is added, so it cannot be a placeholder")
    return checked(value)


def as_value(value: object) -> Value:
    """Return the placeholder of a value, whatever it is.

    Raises:
        FlowError: It is no JSON value.
    """
    return Value(_node(plain(value)))


def _node(value: Any) -> Node:
    if isinstance(value, Value):
        return node_of(value)
    if _has_placeholders(value):
        return node_of(_built(value, 0))
    return Constant(checked(value))


def _built(value: Any, level: int) -> Value:
    """Return the placeholder of a list or dict that holds placeholders."""
    value = plain(value)
    if level > MOST_LEVELS:
        raise refusal(f"lists are nested in each other more than {MOST_LEVELS} times")
    if not _has_placeholders(value):
        return Value(Constant(checked(value)))
    if isinstance(value, Value):
        return value
    parts = value
    if isinstance(value, dict):
        parts = [part for key, member in value.items() for part in (key_of(key), member)]
    kind = "map" if isinstance(value, dict) else "list"
    return cast("Value", operation(kind, *(_built(part, level + 1) for part in parts)))


def _has_placeholders(value: object) -> bool:
    waiting = [value]
    seen: set[int] = set()
    while waiting:
        one = plain(waiting.pop())
        if isinstance(one, Value):
            return True
        if isinstance(one, dict | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return False
