"""Whether a caller may ask: signed parameters, where the switch demands them (SEMANTICS 5.1)."""

import hmac
import re
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rillflow.errors import RillflowError
from rillflow.gateways.callback_urls import signature
from rillflow.ports.clock import Clock
from rillflow.settings import Settings
from serve.errors import respond_to

VALID_MS: Final = 24 * 3600 * 1000

# Functions call back unsigned, the console has no key, and machines ask for health.
_OPEN: Final = re.compile(
    r"/flow/(?:trigger|service_check|dag/details)\.json|/flow/bg/(?!manage/).*|(?!/flow/).*"
)


class CallerError(RillflowError):
    """The caller has not shown who it is."""

    code = "caller"


class Callers:
    """Checks signatures: Base64 of HMAC-SHA1 over all parameters but ``sign``, sorted."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.must_sign = settings.switch("ENABLE_AUTH_RESOLVER")
        self._secret = settings.auth_secret
        self._clock = clock

    def check(self, query: Mapping[str, str]) -> None:
        """Let a caller pass who knows the secret and has signed within 24 hours.

        Raises:
            CallerError: ``ts`` or ``sign`` is missing, too old or wrong (30101).
        """
        ts = query.get("ts", "")
        if not (ts.isascii() and ts.isdecimal() and len(ts) <= 15):
            raise CallerError("authentication failed: ts is missing")
        if abs(self._clock.now_ms() - int(ts)) > VALID_MS:
            raise CallerError("authentication failed: ts is not of these 24 hours")
        fields = {name: query[name] for name in query if name != "sign"}
        given = query.get("sign", "").encode()
        if not self._secret or not hmac.compare_digest(
            given, signature(self._secret, fields).encode()
        ):
            raise CallerError("authentication failed: sign does not match")


class SignedCallersOnly:
    """An ASGI application that asks for signatures in front of another one."""

    def __init__(self, inside: ASGIApp, callers: Callers) -> None:
        self._inside = inside
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if self._is_guarded(scope):
            try:
                self._callers.check(Request(scope).query_params)
            except RillflowError as error:
                await respond_to(error)(scope, receive, send)
                return
        await self._inside(scope, receive, send)

    def _is_guarded(self, scope: Scope) -> bool:
        return (
            self._callers.must_sign
            and scope["type"] == "http"
            and scope["method"] != "OPTIONS"
            and _OPEN.fullmatch(scope["path"]) is None
        )
