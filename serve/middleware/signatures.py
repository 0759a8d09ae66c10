"""Signed requests, which the switch ``ENABLE_AUTH_RESOLVER`` demands (spec 5.1).

A signature of Rill Flow covers the parameters of a request and is valid for a day. Whoever sees
one can send the same parameters to any path, with any body, any number of times. A signature of
Rillflow covers the method, the path, the parameters and the body, and counts once. Rill Flow's form
is accepted with ``auth_signature = "parameters"``, and counts once too. Callback addresses that are
signed have ``purpose=callback`` there, and their ``sign`` is no caller's.

``api.py`` adds this middleware where the switch is on. It must not know what a route does.

Used by `serve/api.py`.
"""

import base64
import hashlib
import heapq
import hmac
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.errors import RillflowError
from rillflow.gateways.callbacks.urls import is_of_callback, signature, sorted_query
from rillflow.ports.clock import Clock
from rillflow.settings import Settings
from serve.limits.failed_lookups import FailedLookups
from serve.route_table import Access, folders_where, paths_where
from serve.schemas.errors import respond_to

WITHOUT_SIGNATURE: Final = paths_where(lambda route: route.access is not Access.KEY)
FOLDERS_WITHOUT_SIGNATURE: Final = folders_where(lambda route: route.access is not Access.KEY)

DAY_MS: Final = 24 * 3600 * 1000
MINUTES_MS: Final = 5 * 60 * 1000
"""How old ``ts`` of a signature may be: in Rill Flow's form, and in Rillflow's."""
AHEAD_MS: Final = 2_000
"""How far ``ts`` may be ahead of the server's clock.

Signatures that were used before this process started are not remembered, so a process refuses every
``ts`` up to this much after its start. That keeps the tolerance short.
"""

BODY_HASH: Final = "body_sha256"
EMPTY_HASH: Final = hashlib.sha256().hexdigest()
MOST_REMEMBERED: Final = 200_000
"""Used signatures that are remembered, at about 250 bytes each."""


class CallerError(RillflowError):
    """The signature of a request is missing, wrong, expired or used."""

    code = "caller"


class UsedSignatures:
    """The used signatures, each for as long as it would be valid.

    When there are too many, the ones with the oldest ``ts`` are forgotten, and from then on every
    signature that is no newer is refused. So a caller whose clock is ahead keeps out nobody else.
    """

    def __init__(self, since_ms: int, most: int = MOST_REMEMBERED) -> None:
        # An earlier process may have accepted what was signed before this one started.
        self._refused_before_ms = since_ms
        self._most = most
        self._used: set[str] = set()
        self._by_age: list[tuple[int, str]] = []

    def use(self, sign: str, ts_ms: int) -> bool:
        """Use a signature; tell whether it was still valid."""
        if ts_ms < self._refused_before_ms or sign in self._used:
            return False
        self._used.add(sign)
        heapq.heappush(self._by_age, (ts_ms, sign))
        if len(self._used) > self._most:
            self._refused_before_ms = max(self._refused_before_ms, self._forget_oldest() + 1)
        return True

    def forget(self, before_ms: int) -> None:
        """Forget the signatures that are too old to be valid anyway."""
        while self._by_age and self._by_age[0][0] < before_ms:
            self._forget_oldest()

    def _forget_oldest(self) -> int:
        ts_ms, sign = heapq.heappop(self._by_age)
        self._used.remove(sign)
        return ts_ms


class SignatureCheck:
    """Checks the signatures of requests with the secret of the settings."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.must_sign = settings.switch("ENABLE_AUTH_RESOLVER")
        self._secret = settings.auth_secret
        self._parameters_suffice = settings.auth_signature == "parameters"
        self._valid_ms = DAY_MS if self._parameters_suffice else MINUTES_MS
        self._clock = clock
        self._used = UsedSignatures(clock.now_ms() + AHEAD_MS)

    def check(self, method: str, path: str, query: QueryParams) -> str | None:
        """Check that the caller knows the secret and has just signed this request.

        Returns:
            The SHA-256 that the body must have; None where the signature does not cover it.

        Raises:
            CallerError: ``ts`` or ``sign`` is missing, too old, too new, used or wrong (30101).
        """
        fields = dict(query)
        ts_ms = _moment_of(fields)
        sign = fields.pop("sign", "")
        if len(query.multi_items()) > len(query):
            raise CallerError("authentication failed: a parameter is repeated")
        is_whole = self._is_whole(method, path, fields, sign)
        now_ms = self._clock.now_ms()
        if now_ms - ts_ms > (MINUTES_MS if is_whole else DAY_MS):
            of_these = "5 minutes" if is_whole else "24 hours"
            raise CallerError(f"authentication failed: ts is not of these {of_these}")
        if ts_ms - now_ms > AHEAD_MS:
            raise CallerError(
                f"authentication failed: ts is more than {AHEAD_MS // 1000} s"
                " ahead of the server's clock"
            )
        self._used.forget(now_ms - self._valid_ms)
        if not self._used.use(sign, ts_ms):
            raise CallerError(
                "authentication failed: this signature was used, or made before this server had"
                f" run for {AHEAD_MS // 1000} s; sign anew"
            )
        return fields.get(BODY_HASH, EMPTY_HASH).lower() if is_whole else None

    def _is_whole(self, method: str, path: str, fields: Mapping[str, str], sign: str) -> bool:
        """Tell whether a signature covers the whole request, or its parameters only."""
        if self._secret and _equal(sign, request_signature(self._secret, method, path, fields)):
            return True
        if self._secret and _equal(sign, signature(self._secret, fields)):
            if is_of_callback(fields):
                raise CallerError("authentication failed: sign is that of a callback address")
            if self._parameters_suffice:
                return False
            raise CallerError(
                "authentication failed: sign covers the parameters only, which counts where"
                " auth_signature (RILLFLOW_AUTH_SIGNATURE) says parameters"
            )
        raise CallerError("authentication failed: sign does not match")


def request_signature(secret: str, method: str, path: str, fields: Mapping[str, str]) -> str:
    """Return Base64 of HMAC-SHA256 over method, path and the sorted, encoded parameters.

    The parameters are those of the query and of a posted form; ``body_sha256`` among them is
    the SHA-256 of another body, in hexadecimal digits.
    """
    message = f"{method}\n{path}\n{sorted_query(fields)}".encode()
    return base64.b64encode(hmac.digest(secret.encode(), message, hashlib.sha256)).decode()


class SignedCallersOnly:
    """ASGI middleware that refuses requests without a valid signature."""

    def __init__(self, inside: ASGIApp, callers: SignatureCheck, guesses: FailedLookups) -> None:
        """``guesses`` limits how often an address may show a wrong signature."""
        self._inside = inside
        self._callers = callers
        self._guesses = guesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and not _is_open(scope["path"]):
            try:
                wanted = self._wanted(scope)
            except RillflowError as error:
                await respond_to(error)(scope, receive, send)
                return
            if wanted is not None:
                receive = _checked(receive, wanted)
        await self._inside(scope, receive, send)

    def _wanted(self, scope: Scope) -> str | None:
        query = QueryParams(scope["query_string"])
        try:
            return self._callers.check(scope["method"], scope["path"], query)
        except CallerError:
            if "sign" in query:
                self._guesses.failed(scope)
            raise


def _moment_of(fields: Mapping[str, str]) -> int:
    ts = fields.get("ts", "")
    if not (ts.isascii() and ts.isdecimal() and len(ts) <= 15):
        raise CallerError("authentication failed: ts is missing")
    return int(ts)


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _checked(receive: Receive, wanted: str) -> Receive:
    """Return a ``receive`` that refuses the end of a body with another hash than the signed one."""
    digest, ended = hashlib.sha256(), False

    async def receive_checked() -> Message:
        nonlocal ended
        message = await receive()
        if message["type"] == "http.request" and not ended:
            digest.update(message.get("body", b""))
            ended = not message.get("more_body", False)
            if ended and not _equal(digest.hexdigest(), wanted):
                raise CallerError(
                    f"authentication failed: the body does not match the signed {BODY_HASH}"
                )
        return message

    return receive_checked


def _is_open(path: str) -> bool:
    """Tell whether nobody has to sign requests for a path."""
    return path in WITHOUT_SIGNATURE or path.rpartition("/")[0] in FOLDERS_WITHOUT_SIGNATURE
