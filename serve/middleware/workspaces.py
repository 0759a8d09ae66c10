"""Keeps callers that are limited to workspaces to them, on the routes that FastAPI answers.

It stands behind ``form_parameters.py``, so that parameters in a form count as those in the query.
The hot routes read their query only; ``entry.py`` compares theirs.

Used by `serve/api.py`.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.limits.callers import NotAllowedError, caller_of, refuse_other_workspaces
from serve.schemas.errors import respond_to


class OwnWorkspacesOnly:
    """ASGI middleware that refuses what concerns other workspaces than its caller's."""

    def __init__(self, inside: ASGIApp) -> None:
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            try:
                refuse_other_workspaces(caller_of(scope), scope["path"], scope["query_string"])
            except NotAllowedError as error:
                await respond_to(error)(scope, receive, send)
                return
        await self._inside(scope, receive, send)
