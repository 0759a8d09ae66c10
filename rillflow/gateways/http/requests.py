"""Building the HTTP request of an attempt from its mapped input (spec 4.2, 4.3).

The functions are pure: the same attempt gives the same request, byte for byte, so a function can
recognize a repetition after a crash by its body as well as by its keys.

Used by `gateways/http/gateway.py` and `runtime/definitions/previews.py`.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Raw

from rillflow.errors import GatewayError
from rillflow.gateways.callbacks.urls import callback_url, wants_signature
from rillflow.gateways.http.foreign_origins import (
    foreign_headers,
    is_foreign,
    redirected_headers,
    refuse_certificate,
)
from rillflow.gateways.http_client.request_head import origin_of
from rillflow.gateways.outbound.exchange import FAILS, HttpCall
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.targets import Target, form_quote, http_target
from rillflow.ids import workspace_of
from rillflow.jsontypes import (
    JsonObject,
    JsonValue,
    decode_entries,
    decode_json,
    decode_text,
    encode_json,
    is_null,
    is_object,
    text_without_nulls,
)
from rillflow.ports.gateway import HANDLE_FAILS, DispatchRequest
from rillflow.telemetry.trace_context import HEADER as TRACEPARENT

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

_PLACES: Final = ("body", "query", "header", "request_")
"""How the fields begin that say by their names where their entries go."""
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS: Final = _BODY_METHODS | {"GET", "HEAD", "OPTIONS", "TRACE"}
_POLL_PATTERN: Final = "poll"
_ASYNC_PATTERNS: Final = frozenset({"task_async", "task_scheduler"})
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST: Final = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# The transport derives these from the body and the connection. An author's value could only
# contradict them, which enables request smuggling.
_TRANSPORT_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",  # codespell:ignore te
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# A proxy says by these for whom it calls. Servers on this machine, Rillflow's API too, believe a
# proxy beside them, and a call of the dispatcher comes from there as well.
_PROXY_HEADERS: Final = frozenset({"forwarded", "x-real-ip", "x-client-ip", "true-client-ip"})
_PROXY_PREFIX: Final = "x-forwarded-"


Field: TypeAlias = JsonValue | Raw
"""A field of an input: its value, or the JSON text of the value."""


class _Parts(NamedTuple):
    """The three destinations of input fields."""

    query: dict[str, Field]
    headers: dict[str, Field]
    body: dict[str, Field]


class GivenHost(NamedTuple):
    """The parts of a ``Host`` header: a name or address, and a port, which may be empty."""

    name: str
    port: str


def build_request(request: DispatchRequest, settings: HttpSettings, *, now_ms: int) -> HttpCall:
    """Build the HTTP request of an attempt.

    Values of the body stay the text that they are. With an input of ``SHORT_BYTES`` and more it
    belongs in a thread nevertheless.

    Args:
        request: The attempt; its input is split as spec 4.3 says.
        settings: Server host, callback host and signing.
        now_ms: ``ts`` of the callback address, milliseconds since the epoch.

    Raises:
        GatewayError: The resource is not an HTTP address, or the input cannot be
            sent (a header with a line break, a null in a form).
    """
    target = http_target(request.resource_name, request.resource_protocol)
    fields = read_entries(request)
    headers = dispatch_headers(request, settings, fields, now_ms=now_ms, target=target)
    # The gateway chose the address of a poll, perhaps signed: nothing is added to it.
    is_poll = request.pattern == _POLL_PATTERN
    parts = _Parts({}, {}, {}) if is_poll else split_input(request, fields)
    if parts.headers:
        _override(headers, parts.headers)
        if (host := given_host(parts.headers)) is not None:
            settings.egress.check_name(host.name, origin_of(target.origin).host)
    method = request_method(request.request_type)
    content_type = headers.get("content-type", ("", ""))[1]
    body = encode_body(method, content_type, parts.body)
    if body is not None and not content_type:
        headers["content-type"] = ("Content-Type", JSON)
    url = _url(target, parts.query)
    is_secret = bool(request.secrets)
    sent = tuple(headers.values())
    if is_poll and is_foreign(request, target):
        refuse_certificate(target, settings.tls_by_host)
        sent = foreign_headers(sent)
    if is_poll:
        sent = redirected_headers(sent)
    return HttpCall(method, url, sent, body, is_secret, target.user_info)


def names_of(request: DispatchRequest) -> tuple[str, str]:
    """Return the host, and the function without its query, that ``build_request`` would call.

    Raises:
        GatewayError: The resource is not an HTTP address.
    """
    target = http_target(request.resource_name, request.resource_protocol)
    return target.origin, f"{target.origin}{target.path}"


def read_input(request: DispatchRequest) -> JsonObject:
    """Decode the input of an attempt.

    Raises:
        GatewayError: It is not a JSON object.
    """
    try:
        fields = decode_json(request.input)
    except ValueError as error:
        raise GatewayError(f"{HANDLE_FAILS}the input is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise GatewayError(f"{HANDLE_FAILS}the input is not a JSON object")
    return fields


def read_entries(request: DispatchRequest) -> dict[str, Field]:
    """Read the input of an attempt, whose values stay text.

    Raises:
        GatewayError: It is not a JSON object.
    """
    try:
        fields = decode_entries(request.input)
    except ValueError as error:
        raise GatewayError(f"{HANDLE_FAILS}the input is not JSON: {error}") from error
    if fields is None:
        raise GatewayError(f"{HANDLE_FAILS}the input is not a JSON object")
    return {**fields}


def value_of(field: Field) -> JsonValue:
    """Return the value of a field."""
    return decode_json(bytes(field)) if isinstance(field, Raw) else field


def dispatch_headers(
    request: DispatchRequest,
    settings: HttpSettings,
    fields: dict[str, Any],
    *,
    now_ms: int,
    target: Target | None = None,
) -> dict[str, tuple[str, str]]:
    """Build the headers of a dispatch, keyed by lower-case name.

    ``generate_auth`` is removed from ``fields``: it controls the signature, and is not an input of
    the function.
    """
    asked = "generate_auth" in fields and wants_signature(value_of(fields.pop("generate_auth")))
    business = workspace_of(request.execution_id)
    url = callback_url(
        settings,
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        ts_ms=now_ms,
        signed=asked or business in settings.auth_businesses,
    )
    headers = {
        "x-flow-server": ("X-Flow-Server", settings.server_host),
        "x-callback-url": ("X-Callback-Url", url),
        "x-call-id": ("X-Call-Id", call_id(request)),
        "idempotency-key": ("Idempotency-Key", _idempotency_key(request)),
        "x-rillflow-attempt": ("X-Rillflow-Attempt", str(request.attempt)),
        "accept-encoding": ("Accept-Encoding", "identity"),
        "user-agent": ("User-Agent", "rillflow"),
    }
    if request.traceparent is not None:
        headers[TRACEPARENT] = (TRACEPARENT, request.traceparent)
    if request.pattern in _ASYNC_PATTERNS and not (target and target.is_async_function):
        headers["x-mode"] = ("X-Mode", "async")
    return headers


def call_id(request: DispatchRequest) -> str:
    """Return a UUID that is the same for every repetition of an attempt."""
    seed = f"{request.execution_id}\0{request.task}\0{request.attempt}"
    digits = hashlib.blake2b(seed.encode(), digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def split_input(request: DispatchRequest, fields: Mapping[str, Field]) -> _Parts:
    """Sort input fields into query, headers and body, in the order of the input.

    The query starts with ``execution_id`` and ends with ``name``, which no input can replace; the
    body starts with ``execution_id``. A completion callback belongs to no task and has no ``name``
    (spec 3.19).
    """
    body: dict[str, Field] = {"execution_id": request.execution_id}
    parts = _Parts({"execution_id": request.execution_id}, {}, body)
    for key, value in fields.items():
        if not key.startswith(_PLACES) or (entries := _entries_of(value)) is None:
            body[key] = value
        elif key == "body" or key.startswith("request_config_"):
            body.update(entries)
        elif key == "query" or key.startswith("query_params_"):
            parts.query.update(entries)
        elif key == "header" or key.startswith("request_header_"):
            parts.headers.update(entries)
        elif not key.startswith("request_callback_"):
            body[key] = value
    if request.task:
        parts.query.pop("name", None)
        parts.query["name"] = request.task
    return parts


def _entries_of(field: Field) -> Mapping[str, Field] | None:
    """Return the entries of a map, None for another value."""
    if isinstance(field, Raw):
        return decode_entries(bytes(field)) if is_object(field) else None
    return field if isinstance(field, dict) else None


def given_host(headers: Mapping[str, Field]) -> GivenHost | None:
    """Return the ``Host`` that an input gives; None if it gives none.

    Raises:
        GatewayError: It is no name or address, with or without a port.
    """
    host = None
    for header, value in headers.items():
        if header.lower() == "host":
            found = _HOST.fullmatch(text_of(value).strip())
            if found is None:
                raise GatewayError(f"{FAILS}header 'Host' is no name or address")  # may be secret
            host = GivenHost(found["address"] or found["name"], found["port"] or "")
    return host


def call_timeout_s(request: DispatchRequest, settings: HttpSettings) -> float:
    """Return how long one call may take, in seconds.

    The task's own time-out limits a synchronous call (spec 9.2). That of an asynchronous task
    concerns its callback, so it can only shorten the dispatch. No call holds its connection for
    longer than ``longest_call_s``.
    """
    if request.timeout_s is None:
        return settings.call_timeout_s
    if request.pattern in _ASYNC_PATTERNS:
        return min(request.timeout_s, settings.call_timeout_s)
    return min(request.timeout_s, max(settings.longest_call_s, settings.call_timeout_s))


def ran_out(request: DispatchRequest, timeout_s: float, otherwise: str) -> str:
    """Return the error of a call that ended without an answer after ``timeout_s``.

    If the limit was the task's own, the gateway and the task's timer wait for the same moment, and
    whichever is first says ``timeout`` (spec 3.13).
    """
    return "timeout" if timeout_s == request.timeout_s else otherwise


def request_method(request_type: str | None) -> str:
    """Return the verb of ``requestType``; POST when absent or unknown."""
    method = (request_type or "POST").upper()
    return method if method in _METHODS else "POST"


def encode_body(method: str, content_type: str, body: Mapping[str, Field]) -> bytes | None:
    """Encode body fields as JSON, or as a form if the content type says so.

    None for verbs without a body. JSON keeps null entries of maps; in the value of a form field
    they are dropped.

    Raises:
        GatewayError: A form field is null.
    """
    if method not in _BODY_METHODS:
        return None
    if content_type.partition(";")[0].strip().lower() != FORM:
        return encode_json(body)
    pairs = (f"{form_quote(key)}={form_quote(_form_value(key, body[key]))}" for key in body)
    return "&".join(pairs).encode()


def text_of(field: Field) -> str:
    """Return a value as text for a query, header or form: text as is, the rest as JSON.

    Null entries of maps are omitted.
    """
    if isinstance(field, str):
        return field
    text = bytes(field) if isinstance(field, Raw) else encode_json(field)
    if text[:1] == b'"':
        return decode_text(text)
    if text[:1] not in (b"{", b"["):
        return text.decode()
    return text_without_nulls(Raw(text)).decode()


def _url(target: Target, query: Mapping[str, Field]) -> str:
    added = "&".join(
        [
            f"{form_quote(key)}={form_quote(value if isinstance(value, str) else text_of(value))}"
            for key, value in query.items()
        ]
    )
    own = f"{target.query}&" if target.query else ""
    return f"{target.origin}{target.path}?{own}{added}"


def _override(headers: dict[str, tuple[str, str]], given: Mapping[str, Field]) -> None:
    for name, value in given.items():
        text = text_of(value)
        if not _HEADER_NAME.fullmatch(name) or _CONTROL.search(text):
            raise GatewayError(f"{FAILS}header {name[:64]!r} is not a valid HTTP header")
        lower = name.lower()
        is_of_proxies = lower in _PROXY_HEADERS or lower.startswith(_PROXY_PREFIX)
        if lower not in _TRANSPORT_HEADERS and not is_of_proxies:
            headers[lower] = (name, text.strip())


def _form_value(key: str, field: Field) -> str:
    if field is None or (isinstance(field, Raw) and is_null(field)):
        raise GatewayError(f"{FAILS}form field {key[:64]!r} is null")
    return text_of(field)


def _idempotency_key(request: DispatchRequest) -> str:
    return f"{request.execution_id}/{request.task}/{request.attempt}"
