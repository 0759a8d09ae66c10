"""Reading of requests: which function is called, how, and the bytes of its input (spec 4.3, 4.5).

Used by `functions/application.py` and `functions/inputs.py`.
"""

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, unquote

from rillflow.functions.limits import CallRefusedError, Limits, no_room

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

MOST_PARAMETERS: Final = 1_000
_LONGEST_KEY: Final = 1_024
_ROUTES: Final = re.compile(r"(?:/(function|async-function))?/([^/]+)/?")
_METHODS: Final = frozenset({"POST", "GET", "PUT", "PATCH", "DELETE"})


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
            max_num_fields=MOST_PARAMETERS,
        )
    except ValueError:
        raise CallRefusedError(400, f"more than {MOST_PARAMETERS} parameters") from None
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
    """Counts the bytes that calls under way hold, and what is made of them."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int, *, own_bytes: int) -> None:
        """Hold so many bytes more for a call; one that holds all there is always has room.

        Args:
            size_bytes: How many.
            own_bytes: What the call holds already.

        Raises:
            CallRefusedError: There is no room.
        """
        is_alone = self.held_bytes <= own_bytes
        if self.held_bytes + size_bytes > self._most_bytes and not is_alone:
            raise no_room("the calls under way hold too many bytes")
        self.held_bytes += size_bytes

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
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in _parts(receive):
                _take(part, body, limits, room)
    except BaseException as error:
        room.give_back(len(body))
        if isinstance(error, TimeoutError):
            raise CallRefusedError(408, "the body did not arrive in time") from None
        raise
    return bytes(body)


def _take(part: bytes, body: bytearray, limits: Limits, room: BodyRoom) -> None:
    if len(body) + len(part) > limits.body_bytes:
        raise CallRefusedError(413, f"the body has over {limits.body_bytes} bytes")
    room.take(len(part), own_bytes=len(body))
    body += part


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallRefusedError(400, "the caller has left")
        if part := message.get("body", b""):
            yield part
        if not message.get("more_body", False):
            return


def _is_loopback(host: object) -> bool:
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False
