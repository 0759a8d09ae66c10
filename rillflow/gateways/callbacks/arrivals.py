"""Parsing of requests to ``/flow/trigger.json`` and ``/flow/finish.json`` (spec 5.2).

`serve/routes/hot.py` and the Ray client call it. The functions are pure. They refuse only what
cannot be understood as a callback, and only with RequestErrors: a function sends its result once,
so a refused one is lost.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from rillflow.core.tasks.progress import POSTED_CHARACTERS
from rillflow.errors import RequestError
from rillflow.gateways.callbacks.bodies import Body, is_cloud_event, read_body, unpacked
from rillflow.gateways.outbound.charsets import in_utf8
from rillflow.gateways.outbound.hints import retry_interval_of
from rillflow.jsontypes import (
    EMPTY_OBJECT,
    JsonObject,
    JsonValue,
    decode_untrusted_json,
    encode_json,
)

MESSAGE_BYTES: Final = 4096
"""Limit of the characters of a failed function's answer that become the task's message."""

Masking: TypeAlias = Callable[[str], str]
"""Masks secrets in a text, before it is cut: the beginning of a secret would remain otherwise."""

MESSAGE_CHARACTERS: Final = 200
"""Limit of the characters of a message about progress."""

LOG_HEADER: Final = "x-function-log"
"""The header of an outcome with the end of the function's log, percent-encoded."""
LOG_CHARACTERS: Final = 4_000
"""So many characters of a log that a function posts are kept, the last ones."""
MOST_LOG_BYTES: Final = 65_536
"""So many bytes of it are read, the last ones."""

_LONGEST_FACT: Final = 256
_UNPROCESSABLE: Final = 422


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome that is reported for a task.

    ``output`` is the text of a JSON object. ``message``, ``code`` and ``invoke_id`` are what the
    body says about itself. ``facts`` is what the gateway says about the call: ``status``,
    ``duration_s``, ``function``, ``call_id``, ``retry``, ``retry_max``, and ``event_id``,
    ``event_type`` of a CloudEvent. ``will_retry`` marks a failure after which the gateway itself
    tries again. ``retry_interval_s`` is the function's hint, 0 for none. ``log`` is the end of the
    function's log, as events have it.
    """

    execution_id: str
    task_name: str
    succeeded: bool | None
    output: bytes = EMPTY_OBJECT
    message: str | None = None
    code: str | None = None
    invoke_id: str | None = None
    facts: dict[str, JsonValue] = {}
    will_retry: bool = False
    retry_interval_s: int = 0
    log: str | None = None


class _CallFields(NamedTuple):
    """The fields of a body that describe the call (spec 3.10)."""

    message: str | None
    code: str | None
    invoke_id: str | None


def callback_target(query: Mapping[str, str]) -> tuple[str, str]:
    """Return the execution and the task that the address of a callback names.

    Raises:
        RequestError: ``execution_id`` or ``task_name`` is missing (422).
    """
    return callback_execution(query), _required(query, "task_name", "taskName")


def callback_execution(query: Mapping[str, str]) -> str:
    """Return the execution that a callback is for.

    Raises:
        RequestError: ``execution_id`` is missing (422).
    """
    return _required(query, "execution_id", "executionId")


def _unmasked(text: str) -> str:
    return text


def read_callback(
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    max_body_bytes: int,
    mask: Masking = _unmasked,
) -> Callback:
    """Read a request to ``trigger.json``.

    The outcome is the query's ``status``, else ``X-Function-Status``, else the
    body's ``result_type``, else success. The query's ``context`` wins over the body,
    key by key; one that is not a JSON object is ignored.

    Args:
        query: Decoded query parameters.
        headers: Request headers, in any case.
        body: Raw body, as received.
        max_body_bytes: Limit of the body, as received and unpacked.
        mask: Takes secrets out of the message and the facts.

    Raises:
        RequestError: ``execution_id`` or ``task_name`` is missing (422).
        TooLargeError: The body is larger than the limit (413).
    """
    execution_id, task_name = callback_target(query)
    names = _by_name(headers)
    content = read_body(names, body, max_bytes=max_body_bytes)
    output = {**content.output, **_context(query.get("context"))}
    facts = _facts(names, mask)
    succeeded = _outcome(query.get("status"), facts.get("status"), output)
    said = _CallFields(None, None, None) if succeeded else _said(output)
    will_retry = not succeeded and _has_retries_left(facts)
    return Callback(
        execution_id=execution_id,
        task_name=task_name,
        succeeded=succeeded,
        output=encode_json(output),
        message=None if succeeded else _cut(mask(_failure_message(said, content, query, facts))),
        code=said.code,
        invoke_id=said.invoke_id,
        facts=facts,
        will_retry=will_retry,
        retry_interval_s=retry_interval_of(output),
        log=read_log(unquote_to_bytes(names.get(LOG_HEADER, "")), mask),
    )


def read_log(lines: bytes, mask: Masking = _unmasked) -> str | None:
    """Return the end of a log that a function has posted, as events have it; None for none."""
    if len(lines) > MOST_LOG_BYTES:
        lines = b"(a log of %d bytes, of which none is kept: up to %d may be posted)" % (
            len(lines),
            MOST_LOG_BYTES,
        )
    # Masked before it is cut, so that no part of a secret is left at the cut.
    text = mask(lines.decode(errors="replace"))
    kept = text[-LOG_CHARACTERS:]
    if not kept.strip():
        return None
    while True:
        is_cut = len(kept) < len(text)
        log = encode_json({"text": kept, "is_cut": is_cut}).decode()
        if len(log) <= POSTED_CHARACTERS:
            return log
        kept = kept[len(kept) // 4 :]  # of control characters, each is six in JSON


def read_progress(query: Mapping[str, str], mask: Masking = _unmasked) -> tuple[float | None, str]:
    """Return the progress in the address of a request to ``trigger.json``, and its message.

    An empty ``progress`` is not known.

    Raises:
        RequestError: It is no number from 0 to 1 (422).
    """
    text = query["progress"].strip()
    fraction = _seconds(text)
    if text and (fraction is None or fraction > 1):
        raise RequestError(
            f"progress is a number from 0 to 1, not {_clean(text)[:64]!r}",
            http_status=_UNPROCESSABLE,
        )
    return fraction, mask(_clean(query.get("message", "")))[:MESSAGE_CHARACTERS]


def read_finish(
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    max_body_bytes: int,
    mask: Masking = _unmasked,
) -> Callback:
    """Read a request to ``finish.json``, in either of its two shapes (spec Q6, Q40).

    The task succeeded when ``result_type`` is absent or SUCCESS. The whole body is
    the output; but if it has the objects ``passthrough`` and ``response``, the
    response is, and ``passthrough.task_name`` names the task when the query does not.

    Args:
        query: Decoded query parameters.
        headers: Request headers, in any case.
        body: Raw body, as received; a JSON object.
        max_body_bytes: Limit of the body, as received and unpacked.
        mask: Takes secrets out of the message and the facts.

    Raises:
        RequestError: A parameter is missing, or the body is no JSON object (422).
        TooLargeError: The body is larger than the limit (413).
    """
    execution_id = callback_execution(query)
    names = _by_name(headers)
    said = _required_object(names, body, max_bytes=max_body_bytes)
    passthrough, response = said.get("passthrough"), said.get("response")
    output, shapes = said, [said]
    given = _first(query, "task_name", "taskName")
    if isinstance(passthrough, dict) and isinstance(response, dict):
        output, shapes = response, [said, response]
        named = passthrough.get("task_name")
        given = given if given or not isinstance(named, str) else named
    if given is None:
        given = _required(query, "task_name")
    about = _said(*shapes)
    return Callback(
        execution_id=execution_id,
        task_name=given,
        succeeded=_result_type(*shapes) is not False,
        output=encode_json(output),
        message=about.message and _cut(mask(about.message)),
        code=about.code,
        invoke_id=about.invoke_id,
        facts=_facts(names, mask),
        retry_interval_s=max(map(retry_interval_of, shapes)),
    )


def _first(query: Mapping[str, str], *names: str) -> str | None:
    for name in names:
        if name in query:
            return _clean(query[name])
    return None


def _by_name(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.lower(): value if value.isascii() else _clean(value) for name, value in headers.items()
    }


def _clean(text: str) -> str:
    """Replace lone surrogates, which JSON text cannot contain."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _required(query: Mapping[str, str], *names: str) -> str:
    value = _first(query, *names)
    if value is None:
        text = f"Required request parameter '{names[0]}' is not present"
        raise RequestError(text, http_status=_UNPROCESSABLE)
    return value


def _required_object(headers: Mapping[str, str], raw: bytes, *, max_bytes: int) -> JsonObject:
    packed = unpacked(headers, raw, max_bytes=max_bytes)
    content = in_utf8(packed, headers.get("content-type", ""))
    if not content.strip():
        raise RequestError("Required request body is missing", http_status=_UNPROCESSABLE)
    try:
        value = decode_untrusted_json(content)
    except ValueError as error:
        raise RequestError(
            "request body is not JSON", http_status=_UNPROCESSABLE, hint=str(error)
        ) from error
    if is_cloud_event(headers) and isinstance(value, dict) and "specversion" in value:
        value = value.get("data")
    if not isinstance(value, dict):
        raise RequestError("request body is not a JSON object", http_status=_UNPROCESSABLE)
    return value


def _context(text: str | None) -> JsonObject:
    try:
        value = decode_untrusted_json((text or "{}").encode())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _outcome(status: str | None, function_status: JsonValue, output: JsonObject) -> bool:
    if status is not None and status.strip():
        return status.strip().lower() == "success"
    if isinstance(function_status, int):
        return 200 <= function_status < 300
    return _result_type(output) is not False


def _result_type(*shapes: JsonObject) -> bool | None:
    """Tell whether ``result_type`` reports success, in the first form that is present."""
    for shape in shapes:
        said = shape.get("result_type")
        if said is not None:
            return isinstance(said, str) and said.upper() == "SUCCESS"
    return None


def _said(*shapes: JsonObject) -> _CallFields:
    """Read code, message and invoke id; the innermost value wins."""
    facts = list(shapes)
    data = shapes[-1].get("data")
    if isinstance(data, dict):
        facts.append(data)
    return _CallFields(
        _last(facts, "error_msg", "msg"),
        _last(facts, "error_code", "code"),
        _last(facts, "invoke_id"),
    )


def _last(facts: list[JsonObject], *keys: str) -> str | None:
    values = (fact[key] for fact in reversed(facts) for key in keys if fact.get(key) is not None)
    value = next(values, None)
    return value if value is None or isinstance(value, str) else encode_json(value).decode()


def _failure_message(
    said: _CallFields, content: Body, query: Mapping[str, str], facts: Mapping[str, JsonValue]
) -> str:
    """Return why a task failed: the function's message, else the gateway's."""
    if said.message or content.text:
        return said.message or content.text or ""
    if content.text is None:
        return "the function failed with a binary answer"
    if isinstance(facts.get("status"), int):
        return f"the function failed with status {facts['status']}"
    return f"callback status {query.get('status', '')}".strip()


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:MESSAGE_BYTES].decode(errors="ignore")


def _facts(headers: Mapping[str, str], mask: Masking) -> dict[str, JsonValue]:
    """Collect what the gateway says about the call; malformed values are omitted."""

    def short(name: str) -> str | None:
        text = headers.get(name)
        return mask(text)[:_LONGEST_FACT] if text else None

    found: dict[str, JsonValue] = {
        "status": _whole(headers.get("x-function-status")),
        "duration_s": _seconds(headers.get("x-duration-seconds")),
        "function": short("x-function-name"),
        "call_id": short("x-call-id"),
        "retry": _whole(headers.get("x-retry")),
        "retry_max": _whole(headers.get("x-retry-max")),
        "event_id": short("ce-id"),
        "event_type": short("ce-type"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _has_retries_left(facts: Mapping[str, JsonValue]) -> bool:
    retry, most = facts.get("retry"), facts.get("retry_max")
    return isinstance(retry, int) and isinstance(most, int) and retry < most


def _whole(text: str | None) -> int | None:
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= 9
    return int(text) if text is not None and is_number else None


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
