"""Normalises method and path as Rill Flow's server reads them.

A slash at the end of a path is dropped, and so is a second one at its start, which comes from a
base address that ends in one. HEAD is handled as GET, and its answer is sent without the body.
``api.py`` puts this middleware before all others, so that they compare whole paths.

Used by `serve/api.py`.
"""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.route_table import paths_where

WITHOUT_HEAD: Final = paths_where(lambda route: route.changed_by_get)


class RequestLines:
    """ASGI middleware that passes requests on with their method and path normalised."""

    def __init__(self, inside: ASGIApp) -> None:
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            path = scope["path"]
            if path[:2] == "//" or (len(path) > 1 and path.endswith("/")):
                path = f"/{path.lstrip('/').removesuffix('/')}"
                raw = (scope.get("raw_path") or b"").lstrip(b"/").removesuffix(b"/")
                scope = {**scope, "path": path, "raw_path": b"/" + raw}
            if scope["method"] == "HEAD" and path not in WITHOUT_HEAD:
                await self._inside({**scope, "method": "GET"}, receive, _without_body(send))
                return
        await self._inside(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        is_body = message["type"] == "http.response.body"
        await send({**message, "body": b""} if is_body else message)

    return send_head
