"""What the data of a submission must look like: ``inputSchema`` of a definition.

Two forms are understood: JSON Schema, which is an object, and Rill Flow's own list of
``{required, name, type, desc}``. Nothing outside the schema's own text is ever fetched.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import jsonschema
import msgspec
import re2
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from rillflow.errors import RequestError
from rillflow.jsontypes import JsonObject, JsonValue, decode_json

MOST_ERRORS: Final = 100

_SHOWN_CHARACTERS: Final = 300
_RESTRICTION_VIOLATION: Final = 30110
_NUMBER: Final = (int, float)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "text": (str,),
    "number": _NUMBER,
    "integer": (int,),
    "int": (int,),
    "long": (int,),
    "float": _NUMBER,
    "double": _NUMBER,
    "boolean": (bool,),
    "bool": (bool,),
    "object": (dict,),
    "map": (dict,),
    "array": (list,),
    "list": (list,),
}

Check: TypeAlias = Callable[[JsonObject], Iterator[str]]


class InputSchema:
    """A schema that data can be held against; it keeps no state."""

    def __init__(self, text: str) -> None:
        """Read the text of a schema.

        Raises:
            RequestError: It is neither of the two forms (30110).
        """
        self._check = _compile(text)

    def errors(self, data: JsonObject) -> list[str]:
        """Say everything that does not fit, in the order of the data; at most 100 things."""
        found: list[str] = []
        try:
            for error in self._check(data):
                found.append(error)
                if len(found) == MOST_ERRORS:
                    break
        except (RecursionError, Unresolvable, re2.error) as error:
            found.append(f"the schema cannot be applied: {type(error).__name__}: {error}"[:300])
        return found


def _compile(text: str) -> Check:
    try:
        schema = decode_json(text)
        if isinstance(schema, dict):
            return _json_schema(schema)
        if isinstance(schema, list):
            return _fields(schema)
    except (ValueError, jsonschema.SchemaError, re2.error, RecursionError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise _unusable(reason[:_SHOWN_CHARACTERS]) from error
    raise _unusable("it is neither an object nor a list")


def _unusable(reason: str) -> RequestError:
    return RequestError(
        f"inputSchema cannot be enforced: {reason}", wire_code=_RESTRICTION_VIOLATION
    )


# -- JSON Schema --------------------------------------------------------------------


def _json_schema(schema: JsonObject) -> Check:
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    bounded: Any = extend(  # type: ignore[no-untyped-call]  # types-jsonschema leaves it open
        kind, {"pattern": _pattern, "uniqueItems": _unique_items}
    )
    validator = bounded(schema, registry=Registry())

    def check(data: JsonObject) -> Iterator[str]:
        errors = validator.iter_errors(data)
        for error in sorted(errors, key=lambda error: list(map(str, error.absolute_path))):
            where = "".join(f"[{step!r}]" for step in error.absolute_path)
            yield f"${where}: {error.message}"[:_SHOWN_CHARACTERS]

    return check


def _pattern(
    _: Validator, pattern: str, instance: object, __: object
) -> Iterator[jsonschema.ValidationError]:
    """Match in linear time, whatever the pattern."""
    if isinstance(instance, str) and re2.search(pattern, instance) is None:
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _unique_items(
    _: Validator,
    unique: bool,  # noqa: FBT001 - the keyword's value
    instance: object,
    __: object,
) -> Iterator[jsonschema.ValidationError]:
    """Compare by text, in linear time; the library compares each with each."""
    if unique is True and isinstance(instance, list):
        texts = {msgspec.json.encode(item, order="sorted") for item in instance}
        if len(texts) < len(instance):
            yield jsonschema.ValidationError("has non-unique elements")


# -- the list form ------------------------------------------------------------------


def _fields(rows: list[JsonValue]) -> Check:
    fields = [row for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)]
    if len(fields) < len(rows):
        raise _unusable("every entry of the list needs a name")

    def check(data: JsonObject) -> Iterator[str]:
        for field in fields:
            yield from _field_errors(field, data)

    return check


def _field_errors(field: JsonObject, data: JsonObject) -> Iterator[str]:
    name = str(field["name"])
    value = data.get(name)
    if value is None:
        if str(field.get("required", "")).lower() == "true":
            yield f"$['{name}']: is required"
        return
    wanted = str(field.get("type", ""))
    kinds = _TYPES.get(wanted.strip().lower())
    if kinds is not None and not _is_of(value, kinds):
        yield f"$['{name}']: must be of type {wanted}, not {_kind(value)}"


def _is_of(value: JsonValue, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds)


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")
