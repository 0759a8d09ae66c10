"""Measures every request: by its path in the table of routes, and by workflow for the hot routes.

Names in requests are made up easily. A workflow is counted apart once a request for it has
succeeded, and paths that are not in the table count together.

Used by `serve/api.py`.
"""

import re
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillflow.ports.clock import Clock
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.metrics import CALLER, OTHER, SERVER
from serve.route_table import BY_PATH, folders_where, paths_where
from serve.schemas.errors import ANSWERED_ERROR

HOT: Final = paths_where(lambda route: route.hot)
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

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._inside(scope, receive, noted)
        finally:
            self._note(scope, status, self._now_s() - began_s)

    def _note(self, scope: Scope, status: int, taken_s: float) -> None:
        path: str = scope["path"]
        method = scope["method"] if scope["method"] in METHODS else OTHER
        shown_status = _STATUSES.get(status) or str(status)
        self._requests.observe((_uri(path), method, shown_status), taken_s)
        is_well = 200 <= status < 400
        if is_well and path not in HOT:
            return
        query: bytes = scope.get("query_string", b"")
        named = _WORKFLOW.search(query)
        name = OTHER if named is None else f"{named[1].decode()}:{named[2].decode()}"
        does_exist = is_well and path in STEPS
        shown = self._workflows.shown(name) if does_exist else self._workflows.known(name)
        if not is_well:
            self._note_error(shown, status)
        if path not in HOT:
            return
        if path in STEPS and b"wait_s" not in query:
            self._latency.observe(taken_s, (path,))
        outcome = "SUCCESS" if is_well else "FAIL"
        self._endpoints.observe((shown, path.rpartition("/")[2], outcome), taken_s)

    def _note_error(self, workflow: str, status: int) -> None:
        error = ANSWERED_ERROR.get() or _STATUSES.get(status) or OTHER
        # A connection may handle its next request in the same context.
        ANSWERED_ERROR.set("")
        if status >= FIRST_ERROR:
            fault = SERVER if status >= FIRST_OF_SERVER else CALLER
            self._errors.add((workflow, fault, error))


def _uri(path: str) -> str:
    return path if path in BY_PATH else FOLDERS.get(path.rpartition("/")[0], OTHER)
