"""JSON Schema by the library ``jsonschema``, with limits that it does not have.

The library matches patterns with Python's backtracking ``re``, compares each element with each,
follows references that multiply, shows all data in every error, and lets a part of a schema name
another draft. So every keyword is counted before it runs, with the elements that it visits. The
keywords with patterns, and those that depend on what others have evaluated, are implemented here. A
validator never becomes one of another class.

Used by `runtime/definitions/input_schema.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from fractions import Fraction
from itertools import islice
from typing import Any, Final, TypeAlias

import jsonschema
import msgspec
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry

from rillflow.errors import BudgetExceededError
from rillflow.jsontypes import JsonObject, JsonValue, count_of_values, encode_json
from rillflow.language.expressions.patterns import Pattern, compiled
from rillflow.runtime.definitions.evaluated_places import REFERENCES, EvaluatedPlaces, look_up_steps

MOST_ERRORS: Final = 100

MOST_SCHEMA_STEPS: Final = 1_000_000
"""A schema of a thousand values takes some hundred thousand steps, most of them cheap."""

MOST_PATTERNS: Final = 100
"""Limit of the different regular expressions of a schema; each may take milliseconds to compile."""

LONGEST_NAME: Final = 1_000
"""Limit of the characters of an id, an anchor or a reference; a look-up reads all of them."""

MOST_NAMES_CHARACTERS: Final = 1_000_000
"""Limit of the characters of all ids, each with those around it, which make its whole address."""

_COMPILE_STEPS: Final = 2_000  # more than a check in an event loop may take
_SHOWN_CHARACTERS: Final = 300
_BYTES_PER_STEP: Final = 100
_WITH_CONSTANTS: Final = frozenset({"const", "enum"})
_WALKING: Final = frozenset(
    {"additionalItems", "additionalProperties", "contains", "items", "propertyNames"}
)
"""Keywords that apply a schema to each element, even ``true``, which itself costs nothing."""
_IDS: Final = ("$id", "id")
_NAMES: Final = frozenset({*REFERENCES, *_IDS, "$anchor", "$dynamicAnchor", "$schema"})
_WITH_LISTS: Final = frozenset({"dependencies", "dependentRequired"})
_MOST_NAMED: Final = 20
_PATTERNS: Final = "patternProperties"
_NO_SCHEMAS: Final = frozenset({"const", "enum", "default", "examples"})

Errors: TypeAlias = Iterator[jsonschema.ValidationError]
Keyword: TypeAlias = Callable[[Validator, Any, Any, Any], Errors | None]


class _Steps:
    """The steps that a check may still take, and the patterns of its schema."""

    def __init__(self, most: int, patterns: dict[str, Pattern]) -> None:
        self._left = most
        self._patterns = patterns

    def take(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise BudgetExceededError("checking the data takes too many steps")

    def found(self, source: str, text: str) -> bool:
        """Tell whether a text contains a pattern, which was compiled with the schema."""
        pattern = self._patterns.get(source)
        if pattern is None:
            self.take(_COMPILE_STEPS)
            pattern = self._patterns[source] = compiled(source)
        self.take(pattern.steps(len(text)))
        return next(pattern.matches(text), None) is not None


_steps: ContextVar[_Steps] = ContextVar("steps")


def check_of(schema: JsonObject) -> tuple[Callable[[JsonObject, int], Iterator[str]], int]:
    """Return the check of a schema with a limit of steps, and the number of its patterns.

    Raises:
        jsonschema.SchemaError: It is no schema.
        LanguageError: A pattern is not valid in RE2, or is too long or complex.
        ValueError: It cannot be checked within the limits.
    """
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    _check_names(schema)
    _check_schema(kind, schema)
    patterns = _patterns_of(schema)
    validator = _validator(kind, schema)

    def check(data: JsonObject, most_steps: int) -> Iterator[str]:
        errors = _errors(validator, data, most_steps, patterns)
        for error in sorted(errors, key=lambda error: list(map(str, error.absolute_path))):
            where = "".join(f"[{step!r}]" for step in error.absolute_path)
            yield f"${where}: {error.message}"[:_SHOWN_CHARACTERS]

    return check, len(patterns)


def _check_names(schema: JsonObject) -> None:
    """Bound what a look-up reads, and the addresses that the library makes of all ids.

    Raises:
        ValueError: A name is too long, or the names are together.
    """
    total = 0
    level: list[tuple[JsonValue, int]] = [(schema, 0)]
    while level:
        value, around = level.pop()
        if isinstance(value, list):
            level += [(inner, around) for inner in value]
        if not isinstance(value, dict):
            continue
        for key in _NAMES & value.keys():
            name = value[key]
            if isinstance(name, str) and len(name) > LONGEST_NAME:
                raise ValueError(f"a {key} of it has more than {LONGEST_NAME} characters")
        ids = [name for key in _IDS if isinstance(name := value.get(key), str)]
        if ids:
            around += max(map(len, ids))
            total += around
            if total > MOST_NAMES_CHARACTERS:
                raise ValueError("its ids, with those around them, are too long together")
        level += [(inner, around) for inner in value.values()]


def _validator(kind: Any, schema: JsonObject) -> Any:
    """Return a validator with all anchors and ids resolved; else each lookup visits all of them."""
    validator = _bounded(kind)(schema, registry=Registry())
    try:
        crawled = validator._resolver._registry.crawl()  # noqa: SLF001 - made by the library
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a part names another draft, and is no schema of it: {error}") from error
    return validator.evolve(_resolver=crawled.resolver(validator._resolver._base_uri))  # noqa: SLF001


def _errors(
    validator: Any, data: object, most_steps: int, patterns: dict[str, Pattern]
) -> list[jsonschema.ValidationError]:
    token = _steps.set(_Steps(most_steps, patterns))
    try:
        return list(islice(validator.iter_errors(data), MOST_ERRORS))
    finally:
        _steps.reset(token)


def _check_schema(kind: Any, schema: JsonObject) -> None:
    """Check a schema against the schema of its draft, within the same limits as data."""
    meta: Any = validator_for(kind.META_SCHEMA, default=kind)
    errors = _errors(_bounded(meta)(kind.META_SCHEMA), schema, MOST_SCHEMA_STEPS, {})
    if errors:
        raise jsonschema.SchemaError(errors[0].message)


def _patterns_of(schema: JsonObject) -> dict[str, Pattern]:
    """Compile all patterns once; an invalid one is refused when the schema is added.

    Raises:
        LanguageError: A pattern is not valid in RE2, or is too long or complex.
        ValueError: There are too many.
    """
    found: dict[str, Pattern] = {}
    level: list[JsonValue] = [schema]
    while level:
        value = level.pop()
        if isinstance(value, list):
            level += value
        if not isinstance(value, dict):
            continue
        named = value.get(_PATTERNS)
        given = value.get("pattern")
        patterns = list(named) if isinstance(named, dict) else []
        for pattern in [*patterns, given]:
            if isinstance(pattern, str) and pattern not in found:
                if len(found) == MOST_PATTERNS:
                    raise ValueError(f"it has more than {MOST_PATTERNS} regular expressions")
                found[pattern] = compiled(pattern)
        level += [inner for key, inner in value.items() if key not in _NO_SCHEMAS]
    return found


def _bounded(kind: Any) -> Any:
    own: dict[str, Keyword] = {
        "pattern": _pattern,
        _PATTERNS: _pattern_properties,
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
        "unevaluatedItems": _unevaluated_items,
        "unevaluatedProperties": _unevaluated_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {
        name: _counted(name, own.get(name, keyword)) for name, keyword in kind.VALIDATORS.items()
    }
    bounded: Any = extend(kind, keywords)  # type: ignore[no-untyped-call]  # left open there
    fields = [(field.name, field.alias) for field in bounded.__attrs_attrs__ if field.init]

    def evolve(self: Any, **changes: Any) -> Any:
        """Return itself, also if a part of the schema names another draft."""
        for name, alias in fields:
            if alias not in changes:
                changes[alias] = getattr(self, name)
        return bounded(**changes)

    bounded.evolve = evolve
    return bounded


def _counted(name: str, keyword: Keyword) -> Keyword:
    def counted(validator: Validator, value: Any, instance: Any, schema: Any) -> Errors:
        steps = _steps.get()
        cost = 1 + (len(value) if isinstance(value, list | dict) else 0)
        if name in REFERENCES:
            cost += look_up_steps(name, value)
        if name in _WITH_CONSTANTS:
            cost += _cost_of_constant(value)
        if name in _WALKING and isinstance(instance, list | dict):
            cost += len(instance)
        if name in _WITH_LISTS and isinstance(value, dict):
            cost += sum(len(inner) for inner in value.values() if isinstance(inner, list))
        steps.take(cost)
        for error in keyword(validator, value, instance, schema) or ():
            # Most messages contain the whole data.
            steps.take(1 + len(error.message) // _BYTES_PER_STEP)
            yield error

    return counted


def _cost_of_constant(value: Any) -> int:
    """Return what comparing with a constant costs: each value within it takes microseconds."""
    text = encode_json(value)
    least = len(text) // _BYTES_PER_STEP
    return max(least, count_of_values(text, least))


def _found(source: str, text: str) -> bool:
    return _steps.get().found(source, text)


def _pattern(_: Validator, pattern: str, instance: object, __: object) -> Errors:
    if isinstance(instance, str) and not _found(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: object, _: object
) -> Errors:
    if isinstance(instance, dict):
        for source, schema in patterns.items():
            for key, value in instance.items():
                if _found(source, key):
                    yield from validator.descend(value, schema, path=key, schema_path=source)


def _additional_properties(
    validator: Any, allowed: object, instance: object, schema: Mapping[str, Any]
) -> Errors:
    if not isinstance(instance, dict):
        return
    named = schema.get("properties", {})
    patterns = schema.get(_PATTERNS, ())
    extras = [
        key
        for key in instance
        if key not in named and not any(_found(pattern, key) for pattern in patterns)
    ]
    if isinstance(allowed, dict):
        for key in extras:
            yield from validator.descend(instance[key], allowed, path=key)
    elif not allowed and extras:
        yield _not_allowed("Additional properties", sorted(extras))


def _unevaluated_properties(
    validator: Any, then: object, instance: object, schema: Mapping[str, Any]
) -> Errors:
    if isinstance(instance, dict):
        rest = _rest(validator, instance, schema)
        extras = [key for key in rest if not _is_valid(validator, instance[key], then)]
        if extras:
            yield _not_allowed("Unevaluated properties", sorted(extras))


def _unevaluated_items(
    validator: Any, then: object, instance: object, schema: Mapping[str, Any]
) -> Errors:
    if isinstance(instance, list):
        items = [instance[index] for index in _rest(validator, instance, schema)]
        extras = [item for item in items if not _is_valid(validator, item, then)]
        if extras:
            yield _not_allowed("Unevaluated items", extras)


def _rest(validator: Any, instance: Any, schema: Mapping[str, Any]) -> list[Any]:
    return list(EvaluatedPlaces(instance, _steps.get().take, _found).rest(validator, schema))


def _is_valid(validator: Any, instance: object, schema: object) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _not_allowed(what: str, extras: Sequence[object]) -> jsonschema.ValidationError:
    shown = ", ".join(map(repr, extras[:_MOST_NAMED]))
    more = f" and {len(extras) - _MOST_NAMED} more" if len(extras) > _MOST_NAMED else ""
    verb = "was" if len(extras) == 1 else "were"
    return jsonschema.ValidationError(f"{what} are not allowed ({shown}{more} {verb} unexpected)")


def _multiple_of(_: Validator, factor: Any, instance: object, __: object) -> Errors:
    """Divide as the library does, and exactly for integers larger than any float."""
    if isinstance(instance, bool) or not isinstance(instance, int | float):
        return
    try:
        is_multiple = (
            (instance / factor).is_integer() if isinstance(factor, float) else not instance % factor
        )
    except OverflowError:
        is_multiple = not Fraction(instance) % Fraction(factor)
    if not is_multiple:
        yield jsonschema.ValidationError(f"{instance!r} is not a multiple of {factor}")


def _unique_items(
    _: Validator,
    unique: bool,  # noqa: FBT001 - the keyword's value
    instance: object,
    __: object,
) -> Errors:
    """Compare by text, in linear time; the library compares each with each."""
    if unique is True and isinstance(instance, list):
        encoded = [msgspec.json.encode(item, order="sorted") for item in instance]
        _steps.get().take(sum(map(len, encoded)) // _BYTES_PER_STEP)
        if len(set(encoded)) < len(encoded):
            yield jsonschema.ValidationError("has non-unique elements")
