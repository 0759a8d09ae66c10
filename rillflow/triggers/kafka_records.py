"""What a Kafka trigger makes of a record: the context of an execution, nothing, or a refusal.

Paths see an object with ``key``, ``value``, ``headers``, ``topic``, ``partition``, ``offset`` and
``timestamp_ms``.

Used by `gateways/kafka/client.py`.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from rillflow.errors import LanguageError, WorkLimitError
from rillflow.jsontypes import JsonObject, JsonValue, decode_untrusted_json
from rillflow.language.budget import TotalBudget
from rillflow.language.jsonpath.paths import compile_path
from rillflow.telemetry.trace_context import HEADER, LONGEST

MOST_RECORD_BYTES: Final = 1 << 20
"""Larger records start no execution."""
MOST_HEADERS: Final = 1_000
WORKSPACE_HEADER: Final = "rillflow-workspace"
"""The header of a dead letter that names the workspace of the trigger that has sent it."""
RECORD_STEPS: Final = 50_000
RECORD_BYTES: Final = 1 << 25
"""What reading one record may cost."""


class Record(NamedTuple):
    """A record as it is on a topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class RecordError(Exception):
    """No execution can be made of a record; the message is the reason."""


def key_of_record(record: Record) -> str:
    """Return what a record is known by, also where a topic was made anew."""
    place = f"{record.topic}/{record.partition}/{record.offset}"
    return f"{place}@{record.timestamp_ms}"


def context_of(settings: Mapping[str, Any], record: Record) -> JsonObject | None:
    """Return the context that a record gives; None if the filters do not let it through.

    Raises:
        RecordError: It is too large, not in its format, or gives no object.
    """
    _check_size(record)
    document = _document(settings, record)
    budget = TotalBudget(steps=RECORD_STEPS, memory_bytes=RECORD_BYTES)
    try:
        for path, wanted in settings.get("filters", {}).items():
            found = compile_path(path, budget).find(document, budget)
            if not _is_wanted(found, wanted):
                return None
        mapping = settings.get("mapping")
        if mapping:
            found_by_name = {
                name: compile_path(path, budget).find(document, budget)
                for name, path in mapping.items()
            }
            return dict(found_by_name)
    except (LanguageError, WorkLimitError) as error:
        raise RecordError(f"a path cannot be read: {error}") from error
    value = document["value"]
    if not isinstance(value, dict):
        raise RecordError("the value is no JSON object: give the trigger a mapping")
    return value


def is_for(workspace: str, record: Record) -> bool:
    """Tell whether a record may start executions of a workspace.

    Whoever names a topic for dead letters chooses where records of any topic go. So a dead letter
    of one workspace starts nothing in another.
    """
    names = (value for name, value in record.headers if name == WORKSPACE_HEADER)
    return all(each == workspace.encode() for each in names)


def sender_of(record: Record) -> str | None:
    """Return the header ``traceparent`` of a record, of the trace of its producer."""
    found = next((value for name, value in record.headers if name == HEADER), None)
    return None if found is None else found[:LONGEST].decode("latin-1")


def _check_size(record: Record) -> None:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    size = len(record.key or b"") + len(record.value or b"") + headers
    if size > MOST_RECORD_BYTES:
        raise RecordError(f"the record has {size} bytes, and up to {MOST_RECORD_BYTES} are taken")
    if len(record.headers) > MOST_HEADERS:
        raise RecordError(f"the record has more than {MOST_HEADERS} headers")


def _document(settings: Mapping[str, Any], record: Record) -> JsonObject:
    headers: JsonObject = {
        name: (value or b"").decode("utf-8", "replace") for name, value in record.headers
    }
    return {
        "key": _read(record.key, settings["key_format"], "key"),
        "value": _read(record.value, settings["value_format"], "value"),
        "headers": headers,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
    }


def _read(data: bytes | None, kind: str, what: str) -> JsonValue:
    if data is None:
        return None
    if kind == "bytes":
        return base64.b64encode(data).decode()
    try:
        return decode_untrusted_json(data) if kind == "json" else data.decode()
    except ValueError as error:
        raise RecordError(f"the {what} is no {kind}: {error}") from error


def _is_wanted(found: JsonValue, wanted: JsonValue) -> bool:
    """Tell whether a value is the wanted one, or one of a list of wanted ones."""
    choices = wanted if isinstance(wanted, list) else [wanted]
    return any(type(found) is type(each) and found == each for each in choices)
