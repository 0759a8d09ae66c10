"""Parsing of callback bodies in any content type (spec 10.3).

Gateways pass a function's raw bytes on: JSON, text or an image, compressed or not, perhaps under a
wrong content type. The result is sent once, so a body of any form is kept.

Used by `gateways/callbacks/arrivals.py`.
"""

import base64
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from rillflow.errors import TooLargeError
from rillflow.gateways.outbound.charsets import in_utf8
from rillflow.jsontypes import JsonObject, JsonValue, decode_untrusted_json, encode_json

CLOUD_EVENT: Final = "application/cloudevents+json"

_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_CODINGS: Final = {
    "gzip": (_GZIP_OR_ZLIB,),
    "x-gzip": (_GZIP_OR_ZLIB,),
    "deflate": (_GZIP_OR_ZLIB, _RAW_DEFLATE),
}
_MOST_CODINGS: Final = 3


class Body(NamedTuple):
    """A body as an output object, and as text for messages (None if it is binary)."""

    output: JsonObject
    text: str | None


def read_body(headers: Mapping[str, str], raw: bytes, *, max_bytes: int) -> Body:
    """Turn a body into an output object.

    An object is the output itself, an array or scalar becomes ``{"data": …}``, text ``{"body":
    …}``, anything else ``{"body_base64": …, "content_type": …}``; an empty body is an empty object.
    Of a structured CloudEvent, its data are used.

    Args:
        headers: Request headers by lower-case name.
        raw: Body as received.
        max_bytes: Limit of the body, as received and unpacked.

    Raises:
        TooLargeError: The body is larger than the limit.
    """
    body = _understood(unpacked(headers, raw, max_bytes=max_bytes), headers.get("content-type", ""))
    if is_cloud_event(headers):
        return _cloud_event_data(body) or body
    return body


def unpacked(headers: Mapping[str, str], raw: bytes, *, max_bytes: int) -> bytes:
    """Undo gzip and deflate; bytes that are in neither format stay as they are.

    Raises:
        TooLargeError: The body is larger than the limit, as received or unpacked.
    """
    if len(raw) > max_bytes:
        raise _too_large(max_bytes)
    names = headers.get("content-encoding", "").split(",")[-_MOST_CODINGS:]
    content = raw
    for name in reversed(names):
        formats = _CODINGS.get(name.strip().lower(), ())
        content = _inflated(content, formats, max_bytes=max_bytes)
    return content


def is_cloud_event(headers: Mapping[str, str]) -> bool:
    """Tell whether the body is a CloudEvent in structured form."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == CLOUD_EVENT


def _too_large(max_bytes: int) -> TooLargeError:
    """Build the refusal of a body over its limit (spec Q31: Rill Flow's text)."""
    return TooLargeError.of_body(max_bytes, "callback_max_bytes")


def _as_output(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {"data": value}


def _as_object(content: bytes) -> JsonObject:
    value = decode_untrusted_json(content)
    if not isinstance(value, dict):
        value = decode_untrusted_json(b'{"data":' + content + b"}")  # one level deeper
    return _as_output(value)


def _understood(content: bytes, content_type: str) -> Body:
    if not content:
        return Body({}, "")
    content = _readable(content, content_type)
    text = _as_text(content)
    try:
        return Body(_as_object(content), text)
    except ValueError:
        pass
    if text is not None:
        return Body({"body": text}, text)
    encoded = base64.b64encode(content).decode()
    return Body({"body_base64": encoded, "content_type": content_type}, None)


def _readable(content: bytes, content_type: str) -> bytes:
    """Undo a declared charset, or one with a byte order mark.

    The content type may be the request's instead of the answer's, so valid UTF-8 is kept.
    """
    kind = content_type.lower()
    is_text = kind.startswith("text/") or "json" in kind
    plain = content.removeprefix(b"\xef\xbb\xbf")
    if not is_text or _as_text(plain) is not None:
        return plain
    recoded = in_utf8(content, content_type)
    return plain if _as_text(recoded) is None else recoded


def _as_text(content: bytes) -> str | None:
    """Decode UTF-8; a NUL byte or an invalid character makes it binary."""
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _inflated(content: bytes, formats: tuple[int, ...], *, max_bytes: int) -> bytes:
    for window in formats:
        unpacker = zlib.decompressobj(wbits=window)
        try:
            inflated = unpacker.decompress(content, max_bytes + 1)
        except zlib.error:
            continue
        if len(inflated) > max_bytes:
            raise _too_large(max_bytes)
        if unpacker.eof:
            return inflated
    return content


def _cloud_event_data(body: Body) -> Body | None:
    """Return the data of a structured CloudEvent, None if the body is not one."""
    event = body.output
    if "specversion" not in event:
        return None
    kind = event.get("datacontenttype")
    content_type = kind if isinstance(kind, str) else ""
    encoded = event.get("data_base64")
    if isinstance(encoded, str):
        try:
            return _understood(base64.b64decode(encoded, validate=True), content_type)
        except ValueError:
            return None
    if "data" not in event:
        return Body({}, "")
    data = event["data"]
    if isinstance(data, str) and content_type and "json" not in content_type.lower():
        return Body({"body": data}, data)
    return Body(_as_output(data), encode_json(data).decode())
