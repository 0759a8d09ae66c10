"""Values that are known while a flow is traced: what JSON has, and what becomes that.

Used by `flow/placeholders/literals.py` and `flow/placeholders/values.py`.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any, Final

from rillflow.flow.places import refusal
from rillflow.jsontypes import JsonValue

MOST_LEVELS: Final = 50
"""How deeply dicts and lists may be nested in what a task is given."""


def plain(value: Any) -> Any:
    """Return the fields of a pydantic model or a dataclass as a dict, and all else as it is."""
    if isinstance(value, type) or value is None:
        return value
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    dump = getattr(type(value), "model_dump", None)
    return dump(value, mode="json") if callable(dump) else value


def checked(value: Any, level: int = 0) -> JsonValue:
    """Return a constant as JSON has it.

    Raises:
        FlowError: JSON has no such value.
    """
    value = plain(value)
    if level > MOST_LEVELS:
        raise refusal(f"lists and dicts are nested in each other more than {MOST_LEVELS} times")
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [checked(member, level + 1) for member in value]
    if isinstance(value, Mapping):
        return {key_of(key): checked(member, level + 1) for key, member in value.items()}
    raise refusal(
        f"{value!r:.60} is a {type(value).__qualname__}, and JSON has no such value: give a number,"
        " a text, a bool, a list, a dict with texts as keys, a dataclass or a pydantic model"
    )


def key_of(key: object) -> str:
    """Return a key of a dict.

    Raises:
        FlowError: It is no text.
    """
    if not isinstance(key, str):
        raise refusal(f"the keys of a dict are texts in JSON, and {key!r:.40} is none")
    return _text(key)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refusal(f"{text!r:.40} has half of a surrogate pair: JSON has no such text") from None
    return str(text)
