"""The search keys that a definition declares: paths of the context that executions are found by.

Pure: also the values that the context of an execution has under them, as the store keeps them.

A path names members of objects only, so that one text, as in ``order.id``, is the name of the key
in a search.

Used by `core/plan.py`, `definition/lint`, `definition/checks/validation.py`, `runtime/activation`,
`serve/routes/console_api`, `serve/schemas` and `transfer/importing.py`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from rillflow.definition.secret_names import names_secret
from rillflow.definition.yaml_tree.nodes import shown
from rillflow.jsontypes import JsonValue, ReadonlyJsonObject, encode_json

MOST_SEARCH_KEYS: Final = 10
LONGEST_KEY: Final = 100
"""Limit of the characters of a key's name."""
LONGEST_VALUE: Final = 200
"""Limit of the characters of a value; longer ones are not found."""
SearchValues: TypeAlias = tuple[tuple[str, str], ...]
"""Names of search keys with their values; those without a value are left out."""
_MOST_BITS: Final = 512
_PREFIX: Final = "$.context."
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)*")


class WrongSearchKey(NamedTuple):
    """What is wrong with a search key, by its place in the list."""

    number: int
    reason: str
    hint: str = ""


def is_key_name(name: str) -> bool:
    """Tell whether a text may be the name of a search key, as in ``order.id``."""
    return len(name) <= LONGEST_KEY and _NAME.fullmatch(name) is not None


def key_name(path: str) -> str | None:
    """Return the name of the search key that a path declares; None if it declares none."""
    name = path.strip().removeprefix(_PREFIX)
    return name if path.strip() != name and is_key_name(name) else None


def key_names(paths: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the search keys of a valid definition."""
    return tuple(filter(None, map(key_name, paths or ())))


def wrong_search_keys(paths: Sequence[str]) -> Iterator[WrongSearchKey]:
    """Generate what is wrong with the search keys of a definition."""
    if len(paths) > MOST_SEARCH_KEYS:
        reason = f"a definition declares up to {MOST_SEARCH_KEYS} search keys, not {len(paths)}"
        yield WrongSearchKey(MOST_SEARCH_KEYS, reason)
        return
    names: set[str] = set()
    for number, path in enumerate(paths):
        name = key_name(path)
        if name is None:
            hint = (
                f"a search key is a path of names, such as {_PREFIX}user or {_PREFIX}order.id,"
                f" with up to {LONGEST_KEY} characters after {_PREFIX}"
            )
            yield WrongSearchKey(number, f"`{shown(path)}` is no path of the context", hint)
        elif name in names:
            yield WrongSearchKey(number, f"`{path}` is declared twice")
        elif names_secret(name):
            hint = "values of search keys are stored as they are, and found by everybody who reads"
            yield WrongSearchKey(number, f"`{path}` has the name of a secret", hint)
        names.add(name or "")


class SearchKey(NamedTuple):
    """A search key: its name, and the keys that lead to its value in the context."""

    name: str
    steps: tuple[str, ...]


def search_keys_of(paths: Sequence[str] | None) -> tuple[SearchKey, ...]:
    """Return the search keys that a definition declares."""
    return tuple(SearchKey(name, tuple(name.split("."))) for name in key_names(paths))


def search_values(keys: Sequence[SearchKey], context: ReadonlyJsonObject) -> SearchValues:
    """Return the values of search keys in the context of an execution.

    A text counts as it is, a number or boolean as its JSON. Everything else has no value: objects,
    lists, null, the empty text, and texts that are too long or cannot be printed on one line.
    """
    found = ((key.name, _text(_value(key, context))) for key in keys)
    return tuple((name, text) for name, text in found if text)


def _value(key: SearchKey, context: ReadonlyJsonObject) -> JsonValue:
    value: object = context
    for step in key.steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, str | int | float) else None


def _text(value: JsonValue) -> str:
    if isinstance(value, str):
        # What cannot be printed includes what a database cannot store, such as NUL.
        return value if len(value) <= LONGEST_VALUE and value.isprintable() else ""
    if isinstance(value, int | float):
        is_long = isinstance(value, int) and value.bit_length() > _MOST_BITS
        return "" if is_long else encode_json(value).decode()
    return ""
