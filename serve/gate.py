"""What every request passes first: the size of its headers, and the API key."""

import hashlib
import hmac
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from rillflow.errors import RequestError, RillflowError
from rillflow.settings import Settings
from serve.errors import respond_to

OPEN: Final = frozenset(
    {
        "/flow/trigger.json",
        "/flow/service_check.json",
        "/healthz",
        "/readyz",
        "/docs",
        "/swagger-ui.html",
    }
)
"""Paths that need no key: functions have none, machines ask for health, the page holds no data."""

KEY_HEADER: Final = b"x-rillflow-api-key"
BEARER: Final = b"bearer "
LARGE_HEADERS: Final = 431


class ApiKeyError(RillflowError):
    """The caller has not shown the API key."""

    code = "api_key"
    http_status = 401


class Gate:
    """An ASGI application that lets through to another one whom the settings let through."""

    def __init__(self, inside: ASGIApp, settings: Settings) -> None:
        self._inside = inside
        self._most_bytes = settings.header_max_bytes
        key = settings.api_key
        self._digest = None if key is None else _digest(key.get_secret_value().encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except RillflowError as error:
                response = respond_to(error)
                if isinstance(error, ApiKeyError):
                    response.headers["WWW-Authenticate"] = "Bearer"
                await response(scope, receive, send)
                return
        await self._inside(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > self._most_bytes:
            raise RequestError(
                f"the headers hold more than {self._most_bytes} bytes", http_status=LARGE_HEADERS
            )
        if self._digest is None or scope["method"] == "OPTIONS" or scope["path"] in OPEN:
            return
        shown = [_shown(name, value) for name, value in headers]
        if not any(hmac.compare_digest(_digest(key), self._digest) for key in shown if key):
            raise ApiKeyError(
                "the API key in X-Rillflow-Api-Key or Authorization is wrong"
                if any(shown)
                else "an API key is needed:"
                " send it as X-Rillflow-Api-Key, or as Authorization: Bearer"
            )


def _shown(name: bytes, value: bytes) -> bytes:
    """Return the key that a header shows, nothing if it shows none."""
    if name == KEY_HEADER:
        return value.strip()
    if name == b"authorization" and value[: len(BEARER)].lower() == BEARER:
        return value[len(BEARER) :].strip()
    return b""


def _digest(key: bytes) -> bytes:
    """Make keys of all lengths equally long, so that a comparison tells nothing of them."""
    return hashlib.sha256(key).digest()
