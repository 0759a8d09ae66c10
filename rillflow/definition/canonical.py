"""The canonical text of a definition, in which it is stored, and its id (spec 1.9).

Written by hand rather than by a YAML library, because the text must read back to an equal
definition under Rillflow's scalar table: ``yes`` and ``1.10`` are quoted if they are text. Fields
are in the order of the model; those that are absent or have their default are omitted. Values
without a declared type are on one line in flow style, so nesting cannot inflate the text.

Used by `definition` and `flow/flows.py`.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from rillflow.definition.model import WorkflowDefinition
from rillflow.definition.yaml_tree.scalars import resolve_plain

# YAML wants an explicit `?` before keys of more than 1024 characters.
_LONGEST_KEY: Final = 1000

_PLAIN_START: Final = re.compile(r"[A-Za-z_$/]")
_NOT_PLAIN: Final = re.compile(r": | #|[: ]\Z")
_SHORT_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class _Field(NamedTuple):
    attribute: str
    key: str
    default: object


def canonical_text(definition: WorkflowDefinition) -> str:
    """Write a definition as YAML: equal definitions give equal texts, and read back equal.

    Entries of maps keep their order, which decides the order of what ``input`` expands
    to, so texts that differ in it are different definitions.
    """
    lines = list(_object_lines(definition, ""))
    return "\n".join(lines or ["{}"]) + "\n"


def version_of(text: str) -> str:
    """Give the md5 of a canonical text in hexadecimal digits, the version in descriptor ids."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@cache
def _fields_of(model: type[BaseModel]) -> tuple[_Field, ...]:
    fields = [
        # A category has a default, but is what tells a task's model when it is read.
        _Field(name, info.alias or name, None if name == "category" else info.default)
        for name, info in model.model_fields.items()
    ]
    return tuple(sorted(fields, key=lambda field: field.key not in ("name", "category")))


def _entries(model: BaseModel) -> Iterator[tuple[str, Any]]:
    for field in _fields_of(type(model)):
        value = getattr(model, field.attribute)
        if value is not None and value != field.default:
            yield field.key, value


def _object_lines(model: BaseModel, indent: str) -> Iterator[str]:
    for key, value in _entries(model):
        yield from _entry_lines(key, value, indent)


def _entry_lines(key: str, value: Any, indent: str) -> Iterator[str]:
    head = f"{indent}{key}:"
    if isinstance(value, BaseModel):
        nested = _object_lines(value, f"{indent}  ")
    elif isinstance(value, tuple):
        nested = _item_lines(value, indent)
    elif isinstance(value, dict) and max(map(len, map(_word, value)), default=0) <= _LONGEST_KEY:
        nested = _map_lines(value, f"{indent}  ")
    else:
        nested = iter(())
    first = next(nested, None)
    if first is None:
        yield f"{head} {_flow(value) if isinstance(value, dict) else _inline(value)}"
        return
    yield head
    yield first
    yield from nested


def _map_lines(entries: dict[str, Any], indent: str) -> Iterator[str]:
    for key, value in entries.items():
        if isinstance(value, dict | list):
            yield f"{indent}{_word(key)}: {_flow(value)}"
        else:
            yield from _entry_lines(_word(key), value, indent)


def _item_lines(items: tuple[Any, ...], indent: str) -> Iterator[str]:
    for item in items:
        lines = _object_lines(item, f"{indent}  ") if isinstance(item, BaseModel) else iter(())
        first = next(lines, None)
        if first is None:
            yield f"{indent}- {_inline(item)}"
            continue
        yield f"{indent}- {first[len(indent) + 2 :]}"
        yield from lines


def _inline(value: Any) -> str:
    if isinstance(value, str):
        return _word(value)
    return _flow(value)


def _flow(value: Any) -> str:
    if isinstance(value, BaseModel):
        return _flow(dict(_entries(value)))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_flow_key(key)}: {_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _flow_key(key: str) -> str:
    quoted = _quoted(key)
    return quoted if len(quoted) <= _LONGEST_KEY else f"? {quoted} "


def _word(text: str) -> str:
    """Write text without quotes where it reads back as just that, else with quotes."""
    plain = (
        text.isprintable()
        and _PLAIN_START.match(text)
        and not _NOT_PLAIN.search(text)
        and isinstance(resolve_plain(text), str)
    )
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    if text.isprintable():
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
