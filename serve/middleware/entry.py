"""What every request passes first: its line is normalised, it is measured, its sender is checked.

`/flow/get.json/` counts as `/flow/get.json`, as in Rill Flow, and so does `//flow/get.json`, which
clients send whose base address ends in a slash. A path with a control character is refused.
HEAD is handled as GET until its head is sent (``heads.py``). So all that follows compares whole
paths.

A request is measured by its path in the table of routes, and by workflow for the hot routes. Names
in requests are made up easily. A workflow is counted apart once a request for it has succeeded, and
paths that are not in the table count together.

With an ``api_key`` in the settings a caller has to send it, or a key by name
(``limits/known_keys.py``) that may do what the request asks for, except to the routes that the
table of routes leaves open. A page of the console sends the two halves of its session instead
(``console_sessions.py``), and ``browsers.py`` checks that no other page does. Without a key,
``browsers.py`` refuses what pages of other sites send. ``api.py`` puts these three before all other
middleware. The gate also refuses large headers and assigns the request to a body pool. This module
must not know what a route does.

Used by `serve/api.py`.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable
from itertools import chain
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.errors import OverloadedError, RequestError, RillflowError
from rillflow.ids import workspace_of
from rillflow.ports.clock import Clock
from rillflow.ports.storage.access import digest_of
from rillflow.settings import Settings
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters
from serve.limits.body_pool import anonymous_pool, assign_pool
from serve.limits.callers import (
    CALLER,
    Caller,
    body_sender,
    refuse_other_workspaces,
    refuse_role,
)
from serve.limits.client_addresses import elsewhere
from serve.limits.failed_lookups import FailedLookups
from serve.limits.known_keys import HELD, HeldKey, KnownKeys
from serve.limits.request_turns import RequestTurns
from serve.limits.unanswered_requests import UnansweredRequests
from serve.middleware.browsers import Browsers, origin_of
from serve.middleware.foreign_ids import masking
from serve.middleware.heads import only_head
from serve.route_table import BY_PATH, Access, folders_where, paths_where
from serve.schemas.console_sessions import SESSION, ConsoleSessions, with_own_cookies
from serve.schemas.errors import ANSWERED_ERROR, respond_to
from serve.schemas.exchange import HAD_SLASH, MOST_FIELDS, too_many_fields

HOT: Final = paths_where(lambda route: route.hot)
WITHOUT_HEAD: Final = paths_where(lambda route: route.changed_by_get)


class RequestLines:
    """ASGI middleware that passes requests on with their method and path normalised."""

    def __init__(self, inside: ASGIApp) -> None:
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            path = scope["path"]
            if not path.isprintable():
                # A router may take a path for that without the line break at its end.
                error = RequestError("the path holds a control character", http_status=400)
                await respond_to(error)(scope, receive, send)
                return
            if scope.get("query_string", b"").count(b"&") >= MOST_FIELDS:
                await respond_to(too_many_fields())(scope, receive, send)
                return
            if path[:2] == "//" or (len(path) > 1 and path.endswith("/")):
                path = f"/{path.lstrip('/').removesuffix('/')}"
                raw = (scope.get("raw_path") or b"").lstrip(b"/").removesuffix(b"/")
                had_slash = scope["path"].endswith("/")
                scope = {**scope, "path": path, "raw_path": b"/" + raw, HAD_SLASH: had_slash}
            if scope["method"] == "HEAD":
                method = "HEAD" if path in WITHOUT_HEAD else "GET"
                await only_head(self._inside, {**scope, "method": method}, receive, send)
                return
        await self._inside(scope, receive, send)


STEPS: Final = HOT - {"/flow/get.json"}
"""Routes whose success shows that their workflow exists."""
METHODS: Final = frozenset({"GET", "POST", "HEAD", "OPTIONS"})
FOLDERS: Final = {folder: f"{folder}/..." for folder in folders_where(lambda _: True)}
FIRST_ERROR: Final = 400
FIRST_OF_SERVER: Final = 500
_STATUSES: Final = {status: str(status) for status in range(100, 600)}
_WORKFLOW: Final = re.compile(
    rb"(?:^|&)(?:descriptor_id|execution_id|executionId)=([a-zA-Z0-9]+)(?::|%3[Aa])([a-zA-Z0-9]+)"
)


class RequestMeters:
    """ASGI middleware that measures the requests that it passes on."""

    def __init__(self, inside: ASGIApp, meters: Meters, clock: Clock) -> None:
        self._inside = inside
        self._now_s = clock.monotonic_s
        self._workflows = meters.workflows
        self._requests = meters.summary(metrics.REQUESTS)
        self._latency = meters.histogram(metrics.REQUEST_LATENCY)
        self._endpoints = meters.summary(metrics.ENDPOINTS)
        self._errors = meters.counter(metrics.ERRORS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._inside(scope, receive, send)
            return
        began_s, status = self._now_s(), 0

        def noted(message: Message) -> Awaitable[None]:  # no coroutine of its own
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            return send(message)

        try:
            await self._inside(scope, receive, noted)
        finally:
            self._note(scope, status, self._now_s() - began_s)

    def _note(self, scope: Scope, status: int, taken_s: float) -> None:
        path: str = scope["path"]
        method = scope["method"] if scope["method"] in METHODS else metrics.OTHER
        shown_status = _STATUSES.get(status) or str(status)
        self._requests.observe((_uri(path), method, shown_status), taken_s)
        is_well = 200 <= status < 400
        if is_well and path not in HOT:
            return
        query: bytes = scope.get("query_string", b"")
        named = _WORKFLOW.search(query)
        name = metrics.OTHER if named is None else f"{named[1].decode()}:{named[2].decode()}"
        if is_well and path in STEPS:  # then it exists
            shown = self._workflows.shown(name, workspace_of(name))
        else:
            shown = self._workflows.known(name)
        if not is_well:
            self._note_error(shown, status)
        if path not in HOT:
            return
        if path in STEPS and b"wait_s" not in query:
            self._latency.observe(taken_s, (path,))
        outcome = "SUCCESS" if is_well else "FAIL"
        self._endpoints.observe((shown, path.rpartition("/")[2], outcome), taken_s)

    def _note_error(self, workflow: str, status: int) -> None:
        error = ANSWERED_ERROR.get() or _STATUSES.get(status) or metrics.OTHER
        # A connection may handle its next request in the same context.
        ANSWERED_ERROR.set("")
        if status >= FIRST_ERROR:
            fault = metrics.SERVER if status >= FIRST_OF_SERVER else metrics.CALLER
            self._errors.add((workflow, fault, error))


def _uri(path: str) -> str:
    return path if path in BY_PATH else FOLDERS.get(path.rpartition("/")[0], metrics.OTHER)


HEALTH: Final = paths_where(lambda route: route.health)
OWN_PAGES: Final = paths_where(lambda route: route.own_pages)
WITHOUT_KEY: Final = paths_where(lambda route: route.access is not Access.KEY)
FOLDERS_OF_WEBHOOKS: Final = folders_where(lambda route: route.access is Access.WEBHOOK)
FOLDERS_WITHOUT_KEY: Final = folders_where(lambda route: route.access is not Access.KEY)

KEY_HEADER: Final = b"x-rillflow-api-key"
BEARER: Final = b"bearer "
LARGE_HEADERS: Final = 431
MANY_COOKIES_BYTES: Final = 2_048
"""Parsing cookies of this size takes a tenth of a millisecond; a program sends less."""
POLICY_VIOLATION: Final = 1008

CORS: Final = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    # To browsers the asterisk means all headers but this one, which the console sends.
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": "3600",
    "Vary": "Origin",
}
"""Headers for browsers whose pages may call, beside the allowed origin (spec 5.1)."""


class ApiKeyError(RillflowError):
    """The API key of the request is missing or wrong."""

    code = "api_key"
    http_status = 401


class ApiKeyGate:
    """ASGI middleware that refuses callers which the settings do not allow.

    Args:
        inside: The application that handles the other requests.
        settings: With an ``api_key``, callers that send it are allowed. Without one, programs and
            pages of this server are.
        sessions: The sessions of the console, whose pages do not send the key.
        browsers: Which pages may call.
        keys: The keys by name, which do what their roles may.
        guesses: Limits how often an address may show a wrong key.
        turns: Those of who sends requests.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that it joins
        self,
        inside: ASGIApp,
        settings: Settings,
        sessions: ConsoleSessions,
        browsers: Browsers,
        keys: KnownKeys,
        guesses: FailedLookups,
        turns: RequestTurns,
    ) -> None:
        self._inside = inside
        self._guesses = guesses
        self._sessions = sessions
        self._keys = keys
        self._most_bytes = settings.header_max_bytes
        self._under_way = UnansweredRequests()
        self._turns = turns
        self._anonymous = anonymous_pool(settings, body_sender)
        self._browsers = browsers
        self._some_origins = bool(settings.allowed_origins)
        self._any_origin = "*" in settings.allowed_origins
        key = settings.api_key
        self._digest = None if key is None else _digest(key.get_secret_value().encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._inside(scope, receive, send)
            return
        self._turns.came += 1
        if self._some_origins:
            send = self._readable(scope, send)
        try:
            await self._check(scope)
            session = scope.get(SESSION)
            if session is not None and not await session.is_open():
                raise ApiKeyError("the session has ended: sign in again")
        except RillflowError as error:
            await self._refuse_in_turn(error, scope, receive, send)
            return
        if scope.get("method") == "OPTIONS":
            await Response(status_code=204)(scope, receive, send)
            return
        held = scope.get(HELD)
        if held is not None:
            send = masking(scope[CALLER], scope["path"], _while_valid(held, send))
            if scope["path"] not in HOT:
                await self._counted(scope[CALLER], scope, receive, send)
                return
        await self._inside(scope, receive, send)

    async def _counted(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request of a key by name, unless that has too many under way."""
        try:
            self._under_way.refuse_more(caller.key_id)
        except OverloadedError as error:
            await _refuse(error, scope, receive, send)
            return
        await self._under_way.passed(caller, self._inside, scope, receive, send)

    async def _refuse_in_turn(
        self, error: RillflowError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Refuse a request; that takes time too, so who has shown no key takes a turn for it."""
        if HELD not in scope:
            try:
                if address := _elsewhere(scope):
                    await self._take_turn(address, scope)
            except OverloadedError as overloaded:
                error = overloaded
        await _refuse(error, scope, receive, send)

    async def _take_turn(self, sender: str, scope: Scope) -> None:
        """Take a turn of a sender.

        Raises:
            OverloadedError: Too many wait for theirs (503).
        """
        if not self._turns.has_turn(sender):
            await self._turns.wait(sender, scope)

    def _bounded_headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers of a request, without cookies of others where there are many.

        Raises:
            RequestError: They hold too much (431).
        """
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size_bytes = sum(map(len, chain.from_iterable(headers)))
        if size_bytes > self._most_bytes:
            raise RequestError(
                f"the headers hold more than {self._most_bytes} bytes", http_status=LARGE_HEADERS
            )
        if size_bytes > MANY_COOKIES_BYTES:
            headers = scope["headers"] = with_own_cookies(headers)
        return headers

    async def _check(self, scope: Scope) -> None:
        headers = self._bounded_headers(scope)
        pool, path = self._anonymous, scope["path"]
        if path.rpartition("/")[0] in FOLDERS_OF_WEBHOOKS:
            pass  # what may be in its headers is the webhook's to check
        elif self._digest is None:
            self._browsers.refuse_foreign(scope)
        elif (
            scope.get("method") != "OPTIONS"
            and path not in WITHOUT_KEY
            and await self._is_known(scope, headers, self._digest)
        ):
            pool = pool.known
        if path in OWN_PAGES:
            self._browsers.refuse_other_pages(scope)
        is_to_wait = pool is self._anonymous and path not in HEALTH
        if is_to_wait and (address := _elsewhere(scope)):
            await self._take_turn(address, scope)
        assign_pool(scope, pool)

    async def _is_known(
        self, scope: Scope, headers: list[tuple[bytes, bytes]], digest: bytes
    ) -> bool:
        """Tell whether a caller has shown a key that may do this, now or when its session began.

        Raises:
            ApiKeyError: It has not, and the route is not open.
            ForeignRequestError: It is a page of another site that uses the session.
            OverloadedError: It has not, and too many requests of its address had a wrong key.
            NotAllowedError: The key may not do this.
            StoreError: It is not known which keys there are.
        """
        shown = [key for name, value in headers if (key := _shown(name, value))]
        if any(hmac.compare_digest(_digest(key), digest) for key in shown):
            return True
        for key in shown:
            caller = await self._keys.by_digest(digest_of(key))
            if caller is not None:
                await self._admit(scope, caller)
                return True
        session = None if shown else self._sessions.of(headers)
        if session is not None:
            self._browsers.refuse_other_pages(scope)
            scope[SESSION] = session
            if session.session.key_id:
                caller = await self._keys.by_id(session.session.key_id)
                if caller is None:
                    raise ApiKeyError("the key of the session has ended: sign in again")
                await self._admit(scope, caller)
            return True
        if scope["path"].rpartition("/")[0] in FOLDERS_WITHOUT_KEY:
            return False
        raise self._refusal(scope, is_shown=bool(shown))

    def _refusal(self, scope: Scope, *, is_shown: bool) -> RillflowError:
        """Return the refusal of a caller without a key, or with a wrong one.

        Raises:
            OverloadedError: Too many requests of its address had a wrong one.
        """
        if not is_shown:
            return ApiKeyError(
                "an API key is needed: send it as X-Rillflow-Api-Key, or as Authorization: Bearer"
            )
        self._guesses.failed(scope)
        return ApiKeyError("the API key in X-Rillflow-Api-Key or Authorization is wrong")

    async def _admit(self, scope: Scope, caller: Caller) -> None:
        """Note who calls, with a key by name, and refuse what that key may not do, in its turn.

        Raises:
            OverloadedError: Too many requests wait for theirs (503).
            NotAllowedError: The key may not do this.
        """
        scope[CALLER] = caller
        scope[HELD] = HeldKey(self._keys, caller.key_id)
        await self._take_turn(caller.share, scope)
        path: str = scope["path"]
        refuse_role(caller, path)
        if path in HOT:
            refuse_other_workspaces(caller, path, scope["query_string"])

    def _readable(self, scope: Scope, send: Send) -> Send:
        """Add the headers with which a browser lets an allowed page read the answer."""
        origin = origin_of(scope["headers"])
        if origin is None or not self._browsers.is_allowed(origin):
            return send

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                named = "*" if self._any_origin else origin.decode("latin-1")
                headers["Access-Control-Allow-Origin"] = named
                headers.update(CORS)
            await send(message)

        return send_with_headers


def _elsewhere(scope: Scope) -> str:
    """Return the address of elsewhere from which a request comes; empty for this machine."""
    client = scope.get("client")
    return elsewhere(client[0]) if client else ""


def _while_valid(held: HeldKey, send: Send) -> Send:
    """Send an answer only if the key of its caller has not ended while the request waited."""
    is_refused = False

    async def send_if_valid(message: Message) -> None:
        nonlocal is_refused
        if message["type"] == "http.response.start" and not await held.is_valid():
            is_refused = True
            response = respond_to(ApiKeyError("the API key has ended"))
            start = {"type": message["type"], "status": response.status_code}
            await send({**start, "headers": response.raw_headers})
            await send({"type": "http.response.body", "body": bytes(response.body)})
        if not is_refused:
            await send(message)

    return send_if_valid


async def _refuse(error: RillflowError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return
    response = respond_to(error)
    if isinstance(error, ApiKeyError):
        response.headers["WWW-Authenticate"] = "Bearer"
    await response(scope, receive, send)


def _shown(name: bytes, value: bytes) -> bytes:
    """Return the API key in a header; empty if the header carries none."""
    if name == KEY_HEADER:
        return value.strip()
    if name == b"authorization" and value[: len(BEARER)].lower() == BEARER:
        return value[len(BEARER) :].strip()
    return b""


def _digest(key: bytes) -> bytes:
    """Return a hash, so that comparing keys takes the same time whatever their length."""
    return hashlib.sha256(key).digest()
