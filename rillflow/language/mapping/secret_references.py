"""References to secrets: ``${secret:NAME}`` in a text of a workflow definition.

References stay in the text everywhere; only the dispatcher replaces them, when it sends a call.

Used by `core`, `definition`, `flow`, `gateways`, `language` and `triggers`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from rillflow.jsontypes import JsonValue

Keys: TypeAlias = tuple[str | int, ...]

_REFERENCE: Final = re.compile(r"\$\{secret:([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_START: Final = "${secret:"


def has_reference(text: str) -> bool:
    """Tell whether a text refers to a secret."""
    return _START in text and _REFERENCE.search(text) is not None


def reference_to(name: str) -> str:
    """Return the reference to a secret."""
    return f"{_START}{name}}}"


def secret_name(text: str) -> str | None:
    """Return the name of the secret that a text is a reference to; None if it is anything else."""
    match = _REFERENCE.fullmatch(text)
    return None if match is None else match[1]


def replace_references(text: str, secret_of: Callable[[str], str]) -> str:
    """Replace references by secrets; references inside a secret are not replaced."""
    return _REFERENCE.sub(lambda match: secret_of(match[1]), text)


def is_path(source: str) -> bool:
    """Tell whether a source is a path; one that begins with a reference is a literal."""
    return source.startswith("$") and not source.startswith(_START)


def texts_with_references(value: JsonValue, at: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Yield every text inside a value that refers to a secret, and its place."""
    if isinstance(value, str):
        if has_reference(value):
            yield at, value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from texts_with_references(member, (*at, key))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from texts_with_references(element, (*at, index))
