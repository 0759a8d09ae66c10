"""Masking of values whose names suggest a secret, in inputs and in the definitions shown with them.

`plan.py` and `view.py` call it for what executions show. Stored definitions, and definitions
requested as such, are not masked.
"""

from typing import Final

from rillflow.definition.addresses import without_user_info
from rillflow.definition.secret_names import is_secret_name, names_secret
from rillflow.errors import LanguageError
from rillflow.jsontypes import JsonObject, JsonValue, encode_json
from rillflow.language.mapping.secret_references import is_path
from rillflow.language.text.literals import parse_literal

MASK: Final = "***"
_ADDRESSES: Final = frozenset({"resourceName", "calculated_resource_name"})
_VALUES: Final = frozenset({"parameters", "input"})
"""Fields of a task that hold values, not parts of the definition."""
_QUOTES: Final = ('"', "'")


def redacted(value: JsonValue) -> JsonValue:
    """Return a value in which everything with the name of a secret is masked (spec Q47)."""
    if isinstance(value, dict):
        return {
            key: MASK if is_secret_name(key) and item is not None else redacted(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value


def redacted_part(part: JsonObject) -> JsonObject:
    """Return a part of a definition, as it is dumped, with its constants masked likewise.

    Constants are ``parameters``, and the literals of sources and transforms. Paths are kept. User
    name and password of addresses are masked.
    """
    shown = {key: _redacted_field(key, value) for key, value in part.items()}
    return _redacted_rule(shown) if "target" in shown else shown


def _redacted_field(key: str, value: JsonValue) -> JsonValue:
    if key in _VALUES:
        return redacted(value)
    if key in _ADDRESSES and isinstance(value, str):
        return without_user_info(value)
    if isinstance(value, dict):
        return redacted_part(value)
    if isinstance(value, list):
        return [redacted_part(item) if isinstance(item, dict) else item for item in value]
    return value


def _redacted_rule(rule: JsonObject) -> JsonObject:
    target, source, transform = (rule.get(key) for key in ("target", "source", "transform"))
    is_secret = isinstance(target, str) and names_secret(target)
    if isinstance(source, str) and not is_path(source):
        rule = {**rule, "source": MASK if is_secret else _redacted_literal(source)}
    if is_secret and isinstance(transform, str) and any(each in transform for each in _QUOTES):
        rule = {**rule, "transform": MASK}
    return rule


def _redacted_literal(source: str) -> str:
    try:
        value = parse_literal(source)
    except LanguageError:
        return MASK
    if not isinstance(value, dict | list):
        return source
    masked = redacted(value)
    return source if masked == value else encode_json(masked).decode()
