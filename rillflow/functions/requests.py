"""Reading of requests: which function is called, how, and with which input (spec 4.3, 4.5).

Used by `functions/application.py`.
"""

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, unquote

from rillflow.functions.limits import CallRefusedError, Limits, no_room
from rillflow.jsontypes import JsonObject, JsonValue, decode_untrusted_json

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

FORM: Final = "application/x-www-form-urlencoded"
SMALL_BYTES: Final = 65_536
"""A body of no more is read in the event loop."""
_MOST_PARAMETERS: Final = 1_000
_LONGEST_KEY: Final = 1_024
_TASK: Final = "name"
"""The parameter of every address that has the task; it is no input."""
_ROUTES: Final = re.compile(r"(?:/(function|async-function))?/([^/]+)/?")
_METHODS: Final = frozenset({"POST", "GET", "PUT", "PATCH", "DELETE"})
_CONTAINERS: Final = ("{", "[")


class Head(NamedTuple):
    """A request without its body; names of headers are in small letters.

    ``function`` is empty if the path names none. ``is_queued`` says that the path asks for an
    asynchronous call, as at a gateway of OpenFaaS.
    """

    method: str
    function: str
    is_queued: bool
    query: Mapping[str, str]
    headers: Mapping[str, str]
    is_from_here: bool

    @property
    def is_async(self) -> bool:
        """Whether the outcome goes to the callback address."""
        return self.is_queued or self.headers.get("x-mode", "").lower() == "async"

    @property
    def callback_url(self) -> str:
        """The address for the outcome, empty if there is none."""
        return self.headers.get("x-callback-url", "")

    @property
    def key(self) -> str:
        """The idempotency key, empty if there is none."""
        return self.headers.get("idempotency-key", "")


def read_head(scope: Scope) -> Head:
    """Read what comes before the body.

    Raises:
        CallRefusedError: A web page sends it, or it is malformed.
    """
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise CallRefusedError(403, "web pages may not call functions")
    if len(headers.get("idempotency-key", "")) > _LONGEST_KEY:
        raise CallRefusedError(400, f"Idempotency-Key has more than {_LONGEST_KEY} characters")
    path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
    match = _ROUTES.fullmatch(path)
    try:
        pairs = parse_qsl(
            scope.get("query_string", b"").decode("latin-1"),
            keep_blank_values=True,
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise CallRefusedError(400, f"more than {_MOST_PARAMETERS} parameters") from None
    return Head(
        method=scope["method"],
        function=unquote(match[2]) if match else "",
        is_queued=bool(match and match[1] == "async-function"),
        query=dict(pairs),
        headers=headers,
        is_from_here=_is_loopback((scope.get("client") or ("",))[0]),
    )


def refuse_method(head: Head) -> None:
    """Make sure that a function can be called by this method.

    Raises:
        CallRefusedError: It cannot.
    """
    allowed = {"POST"} if head.is_queued else _METHODS
    if head.method not in allowed:
        raise CallRefusedError(
            405,
            f"functions are not called by {head.method}",
            headers={"Allow": ", ".join(sorted(allowed))},
        )


class BodyRoom:
    """Counts the bytes that calls under way hold."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int, *, is_first: bool) -> bool:
        """Hold so many bytes more, if there is room; the first ones always have room."""
        if self.held_bytes + size_bytes > self._most_bytes and not (
            is_first and not self.held_bytes
        ):
            return False
        self.held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Hold so many bytes less."""
        self.held_bytes -= size_bytes


async def read_body(head: Head, receive: Receive, limits: Limits, room: BodyRoom) -> bytes:
    """Read a body within its limits; the room that it takes is the caller's to give back.

    Raises:
        CallRefusedError: It is too large, too slow or packed, or there is no room for it.
    """
    if head.headers.get("content-encoding", "identity").lower() != "identity":
        raise CallRefusedError(415, "a packed body is not read", headers={"Accept-Encoding": ""})
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in _parts(receive):
                _take(part, parts, limits, room)
    except BaseException as error:
        room.give_back(sum(map(len, parts)))
        if isinstance(error, TimeoutError):
            raise CallRefusedError(408, "the body did not arrive in time") from None
        raise
    return b"".join(parts)


def _take(part: bytes, parts: list[bytes], limits: Limits, room: BodyRoom) -> None:
    if sum(map(len, parts)) + len(part) > limits.body_bytes:
        raise CallRefusedError(413, f"the body has over {limits.body_bytes} bytes")
    if not room.take(len(part), is_first=not parts):
        raise no_room("the calls under way hold too many bytes")
    parts.append(part)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallRefusedError(400, "the caller has left")
        if part := message.get("body", b""):
            yield part
        if not message.get("more_body", False):
            return


async def read_fields(head: Head, body: bytes) -> JsonObject:
    """Return the input: the parameters of the address, overridden by the fields of the body.

    Raises:
        CallRefusedError: The body is no JSON object, and no form.
    """
    fields: JsonObject = {name: value for name, value in head.query.items() if name != _TASK}
    if not body:
        return fields
    is_form = head.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    read = _form_of if is_form else _object_of
    if len(body) <= SMALL_BYTES:
        return fields | read(body)
    return fields | await asyncio.to_thread(read, body)


def _object_of(body: bytes) -> JsonObject:
    try:
        value = decode_untrusted_json(body)
    except ValueError as error:
        raise CallRefusedError(400, f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise CallRefusedError(400, "the body is JSON, and no object")
    return value


def _form_of(body: bytes) -> JsonObject:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise CallRefusedError(400, f"the body is no form: {error}") from None
    return {name: _of_form(value) for name, value in pairs}


def _of_form(text: str) -> JsonValue:
    """Read a field of a form: maps and lists in it are JSON."""
    if not text.startswith(_CONTAINERS):
        return text
    try:
        return decode_untrusted_json(text)
    except ValueError:
        return text


def _is_loopback(host: object) -> bool:
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False
