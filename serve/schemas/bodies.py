"""Bodies of requests and answers, in Rill Flow's form (spec 5.1).

The routes and the middleware read request bodies and build answers with it. How large a body may
be is decided by ``limits/body_pool.py``. It must not know what a body means.

Used by `serve`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from rillflow.errors import RequestError, RillflowError
from rillflow.gateways.outbound.charsets import in_utf8
from rillflow.gateways.outbound.threads import joined
from rillflow.jsontypes import encode_json
from rillflow.plain_words import in_plain_words
from serve.limits.body_pool import BodyLimit, pool_of

KnownCheck: TypeAlias = Callable[[], Awaitable[object]]

JSON: Final = "application/json"
FORM_TYPE: Final = b"application/x-www-form-urlencoded"
ANSWER_HEADERS: Final = (
    (b"content-type", JSON.encode()),
    # Errors repeat what was asked; no browser may take that for a page.
    (b"x-content-type-options", b"nosniff"),
)
JSON_STARTS: Final = (b"{", b"[", b'"', b"n")
UNSUPPORTED: Final = 30105
PASSED_THROUGH: Final = (30107, 30109, 30110)
HAD_SLASH: Final = "rillflow.had_slash"
"""Of a request: whether its path ended in a slash, relative to which a page names its files."""
INTERNAL: Final = "internal server error"


class JsonResponse(Response):
    """JSON text with the headers that all of our answers have, which are encoded once."""

    media_type = JSON

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set the headers; there are no others at first."""
        del headers
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), *ANSWER_HEADERS]


def header_of(scope: Scope, name: bytes) -> str:
    """Return the first header of a name in lower case, empty if there is none.

    Starlette's look-up is too slow for requests that every step of a workflow makes.
    """
    for found, value in scope["headers"]:
        if found == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def json_response(value: object, status: int = 200) -> Response:
    """Answer with a JSON value."""
    return raw_response(encode_json(value), status)


def raw_response(body: bytes, status: int = 200) -> Response:
    """Answer with JSON text."""
    return JsonResponse(body, status)


async def ret_response(*parts: bytes | memoryview) -> Response:
    """Answer ``{"ret": <JSON text>}`` without parsing the text, which comes in parts."""
    return raw_response(await joined(b'{"ret":', *parts, b"}"))


async def data_response(*parts: bytes | memoryview) -> Response:
    """Answer the console's envelope around JSON text, which comes in parts."""
    return raw_response(await joined(b'{"data":', *parts, b',"message":"","success":true}'))


def error_response(error: RillflowError) -> Response:
    """Answer with a refusal."""
    return error_body(error.wire_code, str(error) or INTERNAL, error.http_status, hint=error.hint)


def error_body(wire_code: int, message: str, status: int, *, hint: str = "") -> Response:
    """Answer with an error code and its text, which are Rill Flow's; ``hint`` is Rillflow's.

    By default the hint is the meaning of the text in plain words, if the text is not plain.
    """
    body: dict[str, object] = {"error_code": wire_code, "error": message}
    if status == 400 and wire_code in PASSED_THROUGH:
        body["pass_through"] = True
    hint = hint or in_plain_words(message) or ""
    if hint:
        body["hint"] = hint
    return json_response(body, status)


def body_limit(request: Request) -> BodyLimit:
    """Return the limit of a request's body, as the table of routes and the settings say."""
    return pool_of(request.scope).limits.of(request)


def is_form(scope: Scope) -> bool:
    """Tell whether a body is a form, whose parameters are read."""
    return header_of(scope, b"content-type").partition(";")[0].strip().lower().encode() == FORM_TYPE


def refuse_announced(request: Request, limit: BodyLimit) -> None:
    """Refuse a body that says itself that it is larger than its limit.

    Raises:
        TooLargeError: It does.
    """
    declared = header_of(request.scope, b"content-length")
    if declared.isdecimal() and int(declared) > limit.bytes:
        raise limit.refusal()


async def read_body(request: Request, *, check_known: KnownCheck | None = None) -> bytes:
    """Read the raw body, up to the limit of its route.

    Args:
        request: The request.
        check_known: Called if there are many anonymous callers; it raises for an unknown
            caller.

    Raises:
        TooLargeError: It is larger; the rest is not read.
        BodyTimeoutError: It does not arrive, or not fast enough.
        UnfinishedBodyError: It does not arrive at once, and too many others do not either.
    """
    pool = pool_of(request.scope)
    limit = pool.limits.of(request)
    refuse_announced(request, limit)
    if check_known is not None and pool.asks_who_comes:
        await check_known()
        pool = pool.known
    return await pool.read(request, limit)


async def read_text(request: Request) -> bytes:
    """Read a body that is text, as UTF-8 whatever charset it came in.

    Raises:
        TooLargeError: It is larger than the limit of its route; the rest is not read.
    """
    body = await read_body(request)
    named = header_of(request.scope, b"content-type")
    if "=" not in named and body[:1] in JSON_STARTS:  # neither a charset nor a byte order mark
        return body
    return in_utf8(body, named)


async def read_json_text(request: Request) -> bytes:
    """Read a body that should be JSON, as UTF-8; its media type matters only if it is not JSON.

    Raises:
        RequestError: It has another media type, and is not JSON (422, 30105).
        TooLargeError: It is larger than the limit of its route; the rest is not read.
    """
    body = await read_text(request)
    refuse_other_media(request, body)
    return body


def refuse_other_media(request: Request, body: bytes) -> None:
    """Refuse a body of another media type than JSON.

    Raises:
        RequestError: It has another media type, and is not JSON (422, 30105).
    """
    named = header_of(request.scope, b"content-type")
    if named and "json" not in named.lower() and body.strip()[:1] not in (b"", *JSON_STARTS):
        raise RequestError(
            f"Content type '{named[:100]}' not supported", wire_code=UNSUPPORTED, http_status=422
        )
