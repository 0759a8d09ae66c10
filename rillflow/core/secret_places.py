"""Where the input of a function task may contain references to secrets.

A reference counts only where the workflow definition itself contains it: as a literal of an input
mapping, or in ``parameters``. The same text anywhere else came from a submitter or a function and
is sent unchanged, so that nobody obtains a secret by sending its name.

Used by `core/plan.py` and `core/tasks/function_tasks.py`.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from rillflow.definition.model import FunctionTask, MappingRule
from rillflow.errors import LanguageError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.mapping.secret_references import (
    Keys,
    has_reference,
    is_path,
    texts_with_references,
)
from rillflow.language.mapping.targets import compile_target
from rillflow.language.text.literals import parse_literal

SecretPlaces: TypeAlias = tuple[tuple[Keys, str], ...]
"""Places in the input, each with the text that the definition puts there."""

RESOURCE_NAME: Keys = ()
"""Stands for the resource name among the places of the input."""


def secret_places(spec: FunctionTask) -> SecretPlaces:
    """List the places where a task's definition refers to secrets."""
    places = [*_of_mappings(spec.input_mappings or ()), *texts_with_references(spec.parameters)]
    if has_reference(spec.resource_name or ""):
        places.append((RESOURCE_NAME, spec.resource_name or ""))
    return tuple(places)


def places_in(document: JsonObject, places: SecretPlaces) -> tuple[Keys, ...]:
    """Return those places at which the input of an attempt has the text of the definition."""
    return tuple(
        keys for keys, text in places if keys == RESOURCE_NAME or _at(document, keys) == text
    )


def _of_mappings(rules: Sequence[MappingRule]) -> Iterator[tuple[Keys, str]]:
    for rule in rules:
        source = rule.source or ""
        if has_reference(source) and not is_path(source) and not (rule.transform or "").strip():
            yield from _of_literal(source, rule.target or "")


def _of_literal(source: str, target: str) -> Iterator[tuple[Keys, str]]:
    try:
        keys = compile_target(target).keys
        literal = parse_literal(source)
    except LanguageError:
        return  # the rule fails at every application
    if len(keys) > 1 and keys[0] == "input":
        yield from texts_with_references(literal, keys[1:])


def _at(document: JsonObject, keys: Keys) -> JsonValue:
    value: JsonValue = document
    for key in keys:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value
