"""``inputSchema``: the check of the data of a submission.

There are two forms: JSON Schema, which is an object, and Rill Flow's own list of ``{required, name,
type, desc}``. Only the text of the schema itself is read, nothing is fetched. Patterns are RE2's.
The cost of one check is counted in steps, whatever the schema and the data are.

Used by `runtime/definitions`, `runtime/submission/intake.py` and `serve/routes/console_api`.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias

import jsonschema
import re2
from referencing.exceptions import Unresolvable

from rillflow.errors import BudgetExceededError, LanguageError, RequestError
from rillflow.jsontypes import JsonObject, JsonValue, count_of_values, decode_json
from rillflow.runtime.definitions.json_schema import MOST_ERRORS, check_of

MOST_SCHEMA_VALUES: Final = 15_000
"""Limit of the values in a schema, counted as those of JSON from outside."""
MOST_STEPS: Final = 500_000
"""Limit of the steps of one check; a step is a microsecond or two."""
TRIAL_STEPS: Final = 20_000
"""An empty object takes more than this only if references multiply."""
FEW_STEPS: Final = 1_000
"""A check of so many steps takes a millisecond or two."""

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

Check: TypeAlias = Callable[[JsonObject, int], Iterator[str]]
"""Yields what does not match, and raises BudgetExceededError beyond so many steps."""


class InputSchema:
    """A compiled schema; it keeps no state between checks.

    Attributes:
        patterns: How many regular expressions it has.
    """

    def __init__(self, text: str) -> None:
        """Compile the text of a schema.

        Raises:
            RequestError: It has neither of the two forms, or takes too long whatever the
                data are (30110).
        """
        self._check, self.patterns = _compile(text)
        self._refuse_endless()

    def errors(self, data: JsonObject, *, most_steps: int = MOST_STEPS) -> list[str]:
        """Return everything that does not match, in the order of the data; at most 100 errors."""
        try:
            return self._found(data, most_steps)
        except BudgetExceededError:
            advice = "submit less data, or let the schema refer and repeat less"
            return [f"checking the data takes more than {most_steps} steps; {advice}"]

    def errors_if_few_steps(self, data: JsonObject) -> list[str] | None:
        """Return what does not match, or None if the check takes more than a moment."""
        try:
            return self._found(data, FEW_STEPS)
        except BudgetExceededError:
            return None

    def _found(self, data: JsonObject, most_steps: int) -> list[str]:
        try:
            return list(islice(self._check(data, most_steps), MOST_ERRORS))
        except (RecursionError, Unresolvable, re2.error, LanguageError) as error:
            if isinstance(error, BudgetExceededError):
                raise
            return [f"the schema cannot be applied: {type(error).__name__}: {error}"[:300]]

    def _refuse_endless(self) -> None:
        try:
            for _ in self._check({}, TRIAL_STEPS):
                pass
        except BudgetExceededError as error:
            raise _unusable(f"an empty object takes more than {TRIAL_STEPS} steps") from error
        except RecursionError as error:
            raise _unusable("a reference leads to itself") from error
        except (Unresolvable, re2.error, LanguageError):
            return  # Every check raises it.


def _compile(text: str) -> tuple[Check, int]:
    try:
        if count_of_values(text.encode(), MOST_SCHEMA_VALUES) > MOST_SCHEMA_VALUES:
            raise _unusable(f"it holds more than {MOST_SCHEMA_VALUES} values")
        schema = decode_json(text)
        if isinstance(schema, dict):
            return check_of(schema)
        if isinstance(schema, list):
            return _fields(schema), 0
    except (ValueError, jsonschema.SchemaError, LanguageError, RecursionError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise _unusable(reason[:_SHOWN_CHARACTERS]) from error
    raise _unusable("it is neither an object nor a list")


def _unusable(reason: str) -> RequestError:
    return RequestError(
        f"inputSchema cannot be enforced: {reason}", wire_code=_RESTRICTION_VIOLATION
    )


# -- the list form ------------------------------------------------------------------


def _fields(rows: list[JsonValue]) -> Check:
    fields = [row for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)]
    if len(fields) < len(rows):
        raise _unusable("every entry of the list needs a name")

    def check(data: JsonObject, most_steps: int) -> Iterator[str]:
        del most_steps  # Each field is read once.
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
