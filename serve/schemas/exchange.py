"""One exchange over HTTP in Rill Flow's form (spec 5.1): a request is read, an answer is made.

Query, headers and body of a request are read here without FastAPI, whose routing and validation
would cost the hot routes more than the rest of a request. The routes and the middleware call it.
How large a body may be is decided by ``limits/body_pool.py``. It must not know what a request is
for.

Used by `serve`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from rillflow.definition import parse_callback
from rillflow.errors import ExecutionError, RequestError, RillflowError
from rillflow.gateways.outbound.charsets import in_utf8
from rillflow.gateways.outbound.threads import computed, joined
from rillflow.jsontypes import decode_json, encode_json
from rillflow.plain_words import in_plain_words
from rillflow.runtime.submission.intake import Options, checked_key
from rillflow.settings import ResourceCheck
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
_NO_BODY: Final = (b"", b"null")
UNSUPPORTED: Final = 30105
PASSED_THROUGH: Final = (30107, 30109, 30110)
HAD_SLASH: Final = "rillflow.had_slash"
"""Of a request: whether its path ended in a slash, relative to which a page names its files."""
INTERNAL: Final = "internal server error"
UNPROCESSABLE: Final = 422
TRAVERSAL_FAILED: Final = 30603
LONGEST_WAIT_S: Final = 600
MOST_FIELDS: Final = 250
"""Fields of a query or of a form: they are parsed in the event loop, by several layers."""
ENTRY_BYTES: Final = 100
"""What a name, or a row of some, takes in a list, about."""
TRUE_WORDS: Final = ("true", "on", "yes", "1")
FALSE_WORDS: Final = ("false", "off", "no", "0")
ISOLATIONS: Final = ("shared", "dedicated")


def view_kind(query: Mapping[str, str]) -> str:
    """Return the kind of query that shows an execution: ``brief`` leaves its tasks out.

    Raises:
        RequestError: ``brief`` is neither a word for yes nor for no (422).
    """
    return "brief" if flag(query.get("brief"), "brief") else "execution"


def query_of(scope: Scope) -> dict[str, str]:
    """Return the parameters of a request's query; of a repeated one, the last.

    They equal Starlette's ``query_params`` as a dictionary, which is faster: each step of a
    workflow reads a dozen.
    """
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def required(query: Mapping[str, str], *names: str) -> str:
    """Return a query parameter under the first name that is given.

    Raises:
        RequestError: It is missing (422).
    """
    for name in names:
        if name in query:
            return query[name]
    raise RequestError(
        f"Required request parameter '{names[0]}' for method parameter type String is not present",
        http_status=UNPROCESSABLE,
    )


def nul_refused() -> RequestError:
    """Return the refusal of a parameter with a NUL character, which PostgreSQL cannot store."""
    return RequestError("a parameter holds the character NUL", http_status=UNPROCESSABLE)


def flag(text: str | None, name: str) -> bool:
    """Read a flag in Rill Flow's spellings; absent or blank it is false.

    Raises:
        RequestError: It has another spelling (422).
    """
    word = (text or "").strip().lower()
    if word in TRUE_WORDS:
        return True
    if word and word not in FALSE_WORDS:
        raise RequestError(f"{name} must be true or false, not {text}", http_status=UNPROCESSABLE)
    return False


def seconds(text: str | None) -> float:
    """Read ``wait_s``: seconds to wait, 0 when absent.

    Raises:
        RequestError: It is no number from 0 to 600 (422).
    """
    if text is None:
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= LONGEST_WAIT_S:
        raise RequestError(
            f"wait_s must be a number from 0 to {LONGEST_WAIT_S}, not {text}",
            http_status=UNPROCESSABLE,
        )
    return number


def user_id(text: str | None) -> int | None:
    """Read ``uid``, None when absent.

    Raises:
        RequestError: It is no whole number of up to 18 digits (422).
    """
    if text is None or not text.strip():
        return None
    number = text.strip()
    digits = number.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise RequestError(f"uid must be a whole number, not {text}", http_status=UNPROCESSABLE)
    return int(number)


def read_submission(query: Mapping[str, str], headers: Mapping[str, str]) -> Options:
    """Read the options from the query; the idempotency key may be a header instead.

    Raises:
        ExecutionError: The callback is neither a URL nor a CallbackConfig (30603).
        RequestError: Another option is malformed (30109).
    """
    isolation = query.get("isolation")
    if isolation is not None and isolation not in ISOLATIONS:
        raise RequestError(f"isolation must be shared or dedicated, not {isolation}")
    return Options(
        callback=read_callback_config(query.get("callback")),
        isolation=isolation,
        uid=user_id(query.get("uid")),
        idempotency_key=_idempotency_key(query, headers),
        resource_check=read_resource_check(query.get("resource_check")),
    )


def _idempotency_key(query: Mapping[str, str], headers: Mapping[str, str]) -> str | None:
    key = query.get("idempotency_key") or headers.get("idempotency-key")
    return checked_key(key) if key else None


def read_callback_config(text: str | None) -> bytes | None:
    """Read the ``callback`` parameter: a CallbackConfig as JSON, or just a URL.

    Raises:
        ExecutionError: It is neither (30603).
    """
    if text is None or not text.strip():
        return None
    if text.startswith("http"):
        return encode_json({"resourceName": text})
    try:
        config = parse_callback(decode_json(text.encode()))
    except (ValueError, ValidationError) as error:
        raise ExecutionError(
            f"callback is not a callback config: {text[:200]}", TRAVERSAL_FAILED
        ) from error
    return encode_json(config.model_dump(by_alias=True, exclude_none=True))


def read_resource_check(text: str | None) -> ResourceCheck | None:
    """Read ``resource_check``: JSON of ``{check_type, key_resources}``, None when blank.

    Raises:
        RequestError: It is something else (30109).
    """
    if text is None or not text.strip():
        return None
    try:
        value = decode_json(text.encode())
        given = value if isinstance(value, dict) else {"check_type": ""}
        return ResourceCheck.model_validate({k: v for k, v in given.items() if v is not None})
    except (ValueError, ValidationError) as error:
        raise RequestError("resource_check content nonsupport") from error


def header_of(scope: Scope, name: bytes) -> str:
    """Return the first header of a name in lower case, empty if there is none.

    Starlette's look-up is too slow for requests that every step of a workflow makes.
    """
    for found, value in scope["headers"]:
        if found == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def body_limit(request: Request) -> BodyLimit:
    """Return the limit of a request's body, as the table of routes and the settings say."""
    return pool_of(request.scope).limits.of(request)


def is_form(scope: Scope) -> bool:
    """Tell whether a body is a form, whose parameters are read."""
    return header_of(scope, b"content-type").partition(";")[0].strip().lower().encode() == FORM_TYPE


async def read_body(
    request: Request, *, check_known: KnownCheck | None = None, workspace: str = ""
) -> bytes:
    """Read the raw body, up to the limit of its route.

    Args:
        request: The request.
        check_known: Called if there are many anonymous callers; it raises for an unknown
            caller.
        workspace: That of the execution which is known then.

    Raises:
        TooLargeError: It is larger; the rest is not read.
        BodyTimeoutError: It does not arrive, or not fast enough.
        UnfinishedBodyError: It does not arrive at once, and too many others do not either.
    """
    pool = pool_of(request.scope)
    limit = pool.limits.of(request)
    limit.refuse_announced(request.scope)
    if check_known is not None and pool.asks_who_comes:
        await check_known()
        return await pool.known.read(request, limit, workspace)
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


def too_many_fields() -> RequestError:
    """Return the refusal of a query, or a form, with more fields than any route knows."""
    return RequestError(f"a query or a form has at most {MOST_FIELDS} fields", http_status=400)


async def read_json_text(request: Request) -> bytes:
    """Read a body that should be JSON, as UTF-8; its media type matters only if it is not JSON.

    Raises:
        RequestError: It has another media type, and is not JSON (422, 30105).
        TooLargeError: It is larger than the limit of its route; the rest is not read.
    """
    body = await read_text(request)
    refuse_other_media(request, body)
    return body


async def required_json_text(request: Request) -> bytes:
    """Read a body that should be JSON, and that must be there; ``null`` is none.

    Raises:
        RequestError: As ``read_json_text``; or there is no body (422).
        TooLargeError: It is larger than the limit of its route; the rest is not read.
    """
    body = await read_json_text(request)
    if body.strip() in _NO_BODY:
        raise RequestError("Required request body is missing", http_status=UNPROCESSABLE)
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


class JsonResponse(Response):
    """JSON text with the headers that all of our answers have, which are encoded once."""

    media_type = JSON

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set the headers; there are no others at first."""
        del headers
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), *ANSWER_HEADERS]


def json_response(value: object, status: int = 200) -> Response:
    """Answer with a JSON value."""
    return raw_response(encode_json(value), status)


def raw_response(body: bytes, status: int = 200) -> Response:
    """Answer with JSON text."""
    return JsonResponse(body, status)


async def long_response(value: object, size_bytes: int, *, workspace: str) -> Response:
    """Answer with a JSON value, which is made into text beside the event loop if it is long.

    Args:
        value: The value.
        size_bytes: How long its text is, about.
        workspace: Whose it is, or who has asked for it; workspaces take turns.
    """
    return raw_response(await computed(size_bytes, lambda: encode_json(value), workspace=workspace))


async def ret_response(*parts: bytes | memoryview, workspace: str) -> Response:
    """Answer ``{"ret": <JSON text>}`` without parsing the text, which comes in parts."""
    return raw_response(await joined(b'{"ret":', *parts, b"}", workspace=workspace))


async def data_response(*parts: bytes | memoryview, workspace: str) -> Response:
    """Answer the console's envelope around JSON text, which comes in parts."""
    end = b',"message":"","success":true}'
    return raw_response(await joined(b'{"data":', *parts, end, workspace=workspace))


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
