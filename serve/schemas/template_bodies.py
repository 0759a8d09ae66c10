"""Reading a task template from the body of a request (spec 7.2).

Rill Flow answers what is wrong with a template as a failure of the server, 500 with 30101; the
hint says what it is.

Used by `serve/routes/console/templates.py`.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rillflow.errors import RequestError
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.ports.storage.templates import (
    MOST_NAME_CHARACTERS,
    MOST_TEMPLATE_BYTES,
    TEMPLATE_CATEGORIES,
    TEMPLATE_TEXTS,
    TEMPLATE_TYPES,
    TaskTemplate,
    TemplateChange,
)
from serve.schemas.exchange import INTERNAL

INTERNAL_CODE: Final = 30101
SCHEMAS: Final = ("schema", "output")
"""Texts of JSON, which may be objects: the form of the console sends text."""
LARGEST_ID: Final = 2**63 - 1


def read_new_template(body: JsonObject) -> TaskTemplate:
    """Read the template that is to be created.

    Raises:
        RequestError: A field is missing or malformed (500, 30101).
    """
    fields = _fields(body)
    for name in ("name", "type", "category"):
        if fields.get(name) in (None, ""):
            raise refused(f"a template needs {name}")
    return msgspec.convert({"id": 0, **fields}, TaskTemplate)


def read_change(body: JsonObject) -> tuple[int, TemplateChange]:
    """Read the id of a template, and what is to be changed in it.

    Raises:
        RequestError: There is no id, or a field is malformed (500, 30101).
    """
    number = _whole("id", body.get("id"))
    if number is None:
        raise refused("the body needs the id of a template")
    fields = _fields(body)
    for name in ("name", "category"):
        if fields.get(name) == "":
            raise refused(f"{name} must not be empty")
    return number, msgspec.convert(fields, TemplateChange)


def refused(hint: str) -> RequestError:
    """Return the refusal of a template."""
    return RequestError(INTERNAL, wire_code=INTERNAL_CODE, http_status=500, hint=hint)


def _fields(body: JsonObject) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in TEMPLATE_TEXTS:
        value = body.get(name)
        if name in SCHEMAS and isinstance(value, dict):
            value = encode_json(value).decode()
        if value is not None:
            fields[name] = _text(name, value)
    kind, enable = _whole("type", body.get("type")), _whole("enable", body.get("enable"))
    if kind is not None:
        fields["type"] = kind
    if enable is not None:
        fields["enable"] = enable
    _check(fields)
    return fields


def _check(fields: Mapping[str, Any]) -> None:
    if len(fields.get("name", "")) > MOST_NAME_CHARACTERS:
        raise refused(f"name has up to {MOST_NAME_CHARACTERS} characters")
    if fields.get("type", 0) not in TEMPLATE_TYPES:
        raise refused("type is 0 (function), 1 (plugin) or 2 (logic)")
    if fields.get("enable", 0) not in (0, 1):
        raise refused("enable is 0 or 1")
    if fields.get("category") and fields["category"] not in TEMPLATE_CATEGORIES:
        raise refused(f"category is one of {', '.join(TEMPLATE_CATEGORIES)}")
    size = sum(len(fields.get(name, "").encode()) for name in TEMPLATE_TEXTS)
    if size > MOST_TEMPLATE_BYTES:
        raise refused(f"the texts of a template have up to {MOST_TEMPLATE_BYTES} bytes together")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise refused(f"{name} must be text")
    if "\0" in value:
        raise refused(f"{name} holds the character NUL")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise refused(f"{name} is not valid Unicode") from error
    return value


def _whole(name: str, value: object) -> int | None:
    """Read a whole number, which may be written as text, as in Rill Flow; null is none."""
    if value is None:
        return None
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value.strip()[:20])
    if isinstance(value, bool) or not isinstance(value, int):
        raise refused(f"{name} must be a whole number")
    if abs(value) > LARGEST_ID:
        raise refused(f"{name} is too large")
    return value
