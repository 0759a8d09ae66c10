"""The audit: who has changed what.

Used by `serve/api.py`.
"""

from typing import Any, Final

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rillflow.ports.storage.access import NumberedEntry
from rillflow.runtime.stack import Stack
from serve.limits.callers import caller_of
from serve.schemas.documentation import ERRORS
from serve.schemas.exchange import json_response
from serve.schemas.parameters import Whole

MOST_ENTRIES: Final = 200


def router(stack: Stack) -> APIRouter:
    """Return the route of the audit."""
    routes = APIRouter(tags=["keys"], responses=ERRORS)

    @routes.get("/flow/audit.json", responses={200: {"description": "Entries, newest first."}})
    async def audit(request: Request, before: Whole | None = None, limit: Whole = 50) -> Response:
        """List who has changed what, the newest first; `before` is the `next` of a page.

        A key that is limited to workspaces is shown what was changed in them.
        """
        most = min(max(limit, 1), MOST_ENTRIES)
        workspaces = sorted(caller_of(request.scope).workspaces)
        found = await stack.store.audit_entries(
            before=before, workspaces=workspaces, limit=most + 1
        )
        following = found[most - 1].number if len(found) > most else None
        return json_response({"entries": list(map(_shown, found[:most])), "next": following})

    return routes


def _shown(each: NumberedEntry) -> dict[str, Any]:
    return {"number": each.number, **msgspec.structs.asdict(each.entry)}
