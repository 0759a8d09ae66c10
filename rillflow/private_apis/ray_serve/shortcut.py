"""A shortcut for hot requests around Ray Serve's request handling, inside its replica.

Serve wraps every request: a task that watches for the client to disconnect, several UUIDs, and
metrics, some 150 us in all. Serve puts ASGI middleware in front of that, named in an environment
variable (``ray_environment.PREFERENCES``). Serve still handles requests of other routes, requests
beyond the limit of hot requests, and all requests if the variable is not set, as on clusters with
autoscaling, for which Serve counts requests.

Used by `serve/api.py`.
"""

import importlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rillflow.private_apis.assumption import Assumption, not_in_source
from rillflow.private_apis.serve_start import answer_503_without_application
from rillflow.private_apis.uvicorn_server.deadlines import bound_connections
from rillflow.private_apis.uvicorn_server.many_connections import accept_many

NOT_FOUND: Final = '{"error_code":30101,"error":"Not Found"}'
ROUTES: Final = "/-/routes"
"""Where Serve would tell anybody what it serves."""
MOST_AT_ONCE: Final = 1_000
"""Requests of clients that left unnoticed count until they are answered, and end here."""


class _Open(NamedTuple):
    """Where the short way leads, for which requests, and for how many hot ones at once."""

    app: ASGIApp
    hot: frozenset[tuple[str, str]]
    health: frozenset[str]
    most: int


_ready: list[_Open] = []


def open_shortcut(
    app: ASGIApp,
    *,
    hot: frozenset[tuple[str, str]],
    health: frozenset[str],
    waiting: int = 0,
) -> None:
    """Let requests of these routes reach the application of this process at once.

    Args:
        app: The application.
        hot: Methods and paths of the hot routes.
        health: Paths that are answered at once, however many hot requests are in progress.
        waiting: How many hot requests may be in progress beside ``MOST_AT_ONCE``, since they wait.
    """
    _ready[:] = [_Open(app, hot, health, MOST_AT_ONCE + waiting)]


class Shortcut:
    """ASGI middleware: takes the short way where there is one."""

    def __init__(self, app: ASGIApp) -> None:
        self._long_way = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        app = self._app_for(scope)
        if app is None:
            if scope.get("path") == ROUTES and scope["type"] == "http":
                await Response(NOT_FOUND, 404, media_type="application/json")(scope, receive, send)
                return
            await self._long_way(scope, receive, send)
            return
        self._under_way += 1
        try:
            await app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _app_for(self, scope: Scope) -> ASGIApp | None:
        if not _ready or scope["type"] != "http":
            return None
        app, hot, health, most = _ready[0]
        if self._under_way < most and (scope["method"], scope["path"]) in hot:
            return app
        return app if scope["path"] in health else None


def middlewares() -> list[Middleware]:
    """Return what Serve is to put in front of its replicas; its proxies ask too.

    So that is where the connections of both get their deadlines, and are accepted many at once.
    """
    accept_many()
    bound_connections()
    answer_503_without_application()
    return [Middleware(Shortcut)]


def _differences() -> Iterator[str]:
    variable = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
    for module in ("constants", "http_util"):  # Ray is not imported for the shortcut itself
        found = importlib.import_module(f"ray.serve._private.{module}")
        yield from not_in_source(found, variable)


RELIES_ON: Final = (
    Assumption(
        library="ray[serve]",
        relies_on="RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names a function whose ASGI"
        " middleware Serve puts in front of its replicas and proxies",
        seen_with="2.60.0",
        if_it_changes="silent: every request costs some 150 us more, /-/routes is open, and"
        " uvicorn's connections have no deadlines in proxies",
        differences=_differences,
    ),
)
