"""What a request to a webhook says: its headers, its query and its body, and the data made of them.

Used by `runtime/triggers/webhooks/deliveries.py` and `serve/routes/webhooks`.
"""

from typing import Final
from urllib.parse import parse_qsl

from rillflow.core.encoding.stored_context import Cleaner
from rillflow.errors import ExecutionError, LanguageError, RequestError, WorkLimitError
from rillflow.gateways.outbound.charsets import in_utf8
from rillflow.jsontypes import (
    JsonObject,
    JsonValue,
    decode_json,
    decode_untrusted_json,
    encode_json,
)
from rillflow.language.budget import TotalBudget
from rillflow.triggers.signatures import Headers, SignatureKind
from rillflow.triggers.webhooks import HIDDEN, Webhook, context_of

FORM: Final = "application/x-www-form-urlencoded"
MOST_FIELDS: Final = 1_000
"""Fields of a form, or of a query."""
UNPROCESSABLE: Final = 422
UNSUPPORTED_MEDIA: Final = 415
UNSUPPORTED: Final = 30105
TOO_LARGE: Final = 413
_JSON_STARTS: Final = (b"{", b"[", b'"')


def refuse_media_type(headers: Headers) -> None:
    """Refuse a body that cannot be read, before it is read.

    Raises:
        RequestError: It is compressed, or neither JSON, nor a form, nor text (415).
    """
    packed = _header(headers, "content-encoding").strip().lower()
    if packed not in ("", "identity"):
        raise _unreadable(f"a body with the content-encoding {packed[:40]!r} is not read")
    kind = _media_type(headers)
    if kind and "json" not in kind and kind != FORM and not kind.startswith("text/"):
        raise _unreadable(f"a body of type {kind[:100]!r} is not read: send JSON, a form or text")


def read_request(webhook: Webhook, headers: Headers, query: bytes, body: bytes) -> JsonObject:
    """Return ``headers``, ``query`` and ``body`` of a request, as its mapping sees them.

    What holds credentials is left out. Of a header that is repeated the values are joined, of a
    parameter the last one counts.

    Raises:
        RequestError: The body is not what its type says (422), or none that is read (415).
    """
    secret = HIDDEN | frozenset(webhook.header_names)
    shown: JsonObject = {
        name: ", ".join(values) for name, values in headers.items() if name not in secret
    }
    read = _read_body(webhook, _header(headers, "content-type"), _media_type(headers), body)
    return {"headers": shown, "query": _fields(query.decode("latin-1"), "query"), "body": read}


def data_of(webhook: Webhook, request: JsonObject, context: bytes, most_bytes: int) -> bytes:
    """Return the data of an execution as JSON text.

    Args:
        webhook: The settings.
        request: What ``read_request`` has returned.
        context: The context of the trigger as JSON text; empty is none.
        most_bytes: The limit of the data.

    Raises:
        RequestError: A path cannot be read in this request (422), or they would be larger (413).
    """
    base = decode_json(context) if context else {}
    assert isinstance(base, dict)  # noqa: S101 - it was checked when the trigger was added
    try:
        data = context_of(webhook, request, base)
        # Paths may name one value often: it is small in memory, and long as text.
        Cleaner(most_bytes, TotalBudget(None, most_bytes)).clean(data)
        return encode_json(data)
    except LanguageError as error:
        raise RequestError(f"mapping: {error}", http_status=UNPROCESSABLE) from error
    except (ExecutionError, WorkLimitError, RecursionError) as error:
        raise RequestError(
            f"the data would take more than {most_bytes} bytes, or be nested too deeply",
            http_status=TOO_LARGE,
        ) from error


def _read_body(webhook: Webhook, declared: str, kind: str, body: bytes) -> JsonValue:
    if not body:
        return None
    text = in_utf8(body, declared)
    if kind == FORM:
        fields = _fields(_text(text), "form")
        packed = fields.get("payload")
        if webhook.scheme is SignatureKind.GITHUB and isinstance(packed, str):
            return _json(packed.encode())
        return fields
    if kind.startswith("text/") and "json" not in kind:
        return _text(text)
    if not kind and not text.lstrip().startswith(_JSON_STARTS):
        raise _unreadable("a body without a content-type must be JSON")
    return _json(text)


def _json(text: bytes) -> JsonValue:
    try:
        return decode_untrusted_json(text)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}", http_status=UNPROCESSABLE) from error


def _text(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            "the body is not text in its charset", http_status=UNPROCESSABLE
        ) from error


def _fields(text: str, what: str) -> JsonObject:
    try:
        fields: JsonObject = dict(
            parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
        )
    except ValueError as error:
        raise RequestError(
            f"the {what} has more than {MOST_FIELDS} fields", http_status=UNPROCESSABLE
        ) from error
    return fields


def _media_type(headers: Headers) -> str:
    return _header(headers, "content-type").partition(";")[0].strip().lower()


def _header(headers: Headers, name: str) -> str:
    values = headers.get(name, ())
    return values[0] if values else ""


def _unreadable(reason: str) -> RequestError:
    return RequestError(reason, wire_code=UNSUPPORTED, http_status=UNSUPPORTED_MEDIA)
