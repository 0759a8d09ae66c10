"""Requests and responses in Rill Flow's form (spec 5.1)."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import RequestError, RillflowError, TooLargeError
from rillflow.gateways.messages.charsets import in_utf8
from rillflow.jsontypes import encode_json
from rillflow.plain_words import in_plain_words
from serve.limits.body_pool import KnownCheck, pool_of

JSON: Final = "application/json"
ANSWER_HEADERS: Final = {
    # Errors repeat what was asked; no browser may take that for a page.
    "X-Content-Type-Options": "nosniff",
}
JSON_STARTS: Final = (b"{", b"[", b'"', b"n")
UNSUPPORTED: Final = 30105
PASSED_THROUGH: Final = (30107, 30109, 30110)
INTERNAL: Final = "internal server error"


def json_response(value: object, status: int = 200) -> Response:
    """Answer with a JSON value."""
    return raw_response(encode_json(value), status)


def raw_response(body: bytes, status: int = 200) -> Response:
    """Answer with JSON text."""
    return Response(body, status, media_type=JSON, headers=ANSWER_HEADERS)


def ret_response(body: bytes) -> Response:
    """Answer ``{"ret": <JSON text>}`` without reading the text."""
    return raw_response(b'{"ret":' + body + b"}")


def data_response(body: bytes) -> Response:
    """Answer the console's envelope around JSON text."""
    return raw_response(b'{"data":' + body + b',"message":"","success":true}')


def error_response(error: RillflowError) -> Response:
    """Answer with a refusal."""
    return error_body(error.wire_code, str(error) or INTERNAL, error.http_status, hint=error.hint)


def error_body(wire_code: int, message: str, status: int, *, hint: str = "") -> Response:
    """Answer with an error code and its text, which are Rill Flow's; ``hint`` is ours.

    Without one it is what the text means in plain words, if that is not plain already.
    """
    body: dict[str, object] = {"error_code": wire_code, "error": message}
    if status == 400 and wire_code in PASSED_THROUGH:
        body["pass_through"] = True
    hint = hint or in_plain_words(message) or ""
    if hint:
        body["hint"] = hint
    return json_response(body, status)


async def read_body(
    request: Request,
    limit_bytes: int,
    setting: str | None = None,
    *,
    too_large: int = 400,
    check_known: KnownCheck | None = None,
) -> bytes:
    """Read the body as it came, up to a limit, which comes from a setting or is fixed.

    Args:
        request: Whose body it is.
        limit_bytes: The limit.
        setting: The setting that it comes from.
        too_large: HTTP status where there is more.
        check_known: Does not raise for a caller who is known, see ``bodies.pool_of``.

    Raises:
        TooLargeError: There is more; the rest is not read.
        BodyTimeoutError: It does not come, or not fast enough.
        UnfinishedBodyError: It does not come at once, and too many others do not either.
    """

    def error() -> TooLargeError:
        return TooLargeError.of_body(limit_bytes, setting, http_status=too_large)

    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise error()
    pool = await pool_of(request, check_known)
    if pool is None:
        raise RuntimeError("the gate has assigned no pool")
    return await pool.read(request, limit_bytes, error)


async def read_text(request: Request, limit_bytes: int, setting: str | None = None) -> bytes:
    """Read a body that is text, as UTF-8 whatever charset it came in.

    Raises:
        TooLargeError: It is larger than the limit; the rest is not read.
    """
    body = await read_body(request, limit_bytes, setting)
    return in_utf8(body, request.headers.get("content-type", ""))


async def read_json_text(request: Request, limit_bytes: int, setting: str | None = None) -> bytes:
    """Read a body that should be JSON, as UTF-8; what it is called matters only if it is none.

    Raises:
        RequestError: It says that it is something else, and looks like it (422, 30105).
        TooLargeError: It is larger than the limit; the rest is not read.
    """
    body = await read_text(request, limit_bytes, setting)
    refuse_other_media(request, body)
    return body


def refuse_other_media(request: Request, body: bytes) -> None:
    """Refuse a body of another media type than JSON.

    Raises:
        RequestError: It says that it is something else, and looks like it (422, 30105).
    """
    named = request.headers.get("content-type", "")
    if named and "json" not in named.lower() and body.strip()[:1] not in (b"", *JSON_STARTS):
        raise RequestError(
            f"Content type '{named[:100]}' not supported", wire_code=UNSUPPORTED, http_status=422
        )
