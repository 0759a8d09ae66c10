"""The executions that a trigger has started last.

Used by `serve/api.py`.
"""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rillflow.ids import parse_descriptor_id
from rillflow.ports.storage.execution_search import Place, Wanted
from rillflow.runtime.stack import Stack
from rillflow.triggers.origins import candidates, origin_of
from serve.limits.callers import caller_of
from serve.routes.console_api.origins import TRIGGER
from serve.routes.console_api.searching import row_of
from serve.schemas.documentation import ERRORS, NOT_FOUND
from serve.schemas.exchange import json_response
from serve.schemas.parameters import Whole
from serve.schemas.search_texts import shown_status

MOST_FIRINGS: Final = 100
PAGE: Final = 200
MOST_PAGES: Final = 5
"""How many of the executions of the workflow are looked at: five pages of 200."""
MOST_OTHERS: Final = 100
"""Triggers with longer ids that are looked up for a page."""


def router(stack: Stack) -> APIRouter:
    """Return the route."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)

    @routes.get("/firings.json", responses={200: {"description": "Rows, as a search has them."}})
    async def firings(request: Request, trigger_id: str, limit: Whole = 20) -> Response:
        """List the executions that a trigger has started, newest first.

        They are found among the newest 1,000 executions of the workflow.
        """
        trigger = await stack.triggers.show(trigger_id, caller_of(request.scope).sees)
        found = _Firings(stack, trigger_id, min(max(limit, 1), MOST_FIRINGS))
        await found.look(str(trigger["descriptor_id"]))
        return json_response({**found.shown(), "at_ms": stack.clock.now_ms()})

    return routes


class _Firings:
    """Looks for the executions of a trigger among those of its workflow, page by page."""

    def __init__(self, stack: Stack, trigger_id: str, limit: int) -> None:
        self._stack = stack
        self._trigger_id = trigger_id
        self._limit = limit
        self._rows: list[dict[str, Any]] = []
        self._before: Place | None = None
        self._is_whole = False

    async def look(self, descriptor_id: str) -> None:
        """Look until enough are found, or enough were looked at."""
        business, feature = parse_descriptor_id(descriptor_id)[:2]
        wanted = Wanted(business=business, feature=feature)
        for _ in range(MOST_PAGES):
            found = await self._stack.searches.search_executions(
                wanted, before=self._before, limit=PAGE
            )
            keys = await self._stack.store.idempotency_keys([each.execution_id for each in found])
            known = await self._known(keys.values())
            for each in found:
                origin = origin_of(keys.get(each.execution_id, ""), known)
                if origin is None or origin.trigger_id != self._trigger_id:
                    continue
                if len(self._rows) == self._limit:
                    return
                row = row_of(each, shown_status(each.status)) | {"trigger": TRIGGER}
                shown = {"how": origin.how, "scheduled_ms": origin.scheduled_ms}
                self._rows.append(row | shown)
            if len(found) < PAGE:
                self._is_whole = True
                return
            self._before = found[-1].place

    async def _known(self, keys: Iterable[str]) -> set[str]:
        """Return the trigger, and others that keys may mean whose ids begin with its own."""
        start = f"{self._trigger_id}/"
        longer = {each for key in keys for each in candidates(key) if each.startswith(start)}
        stored = await self._stack.store.triggers_now(sorted(longer)[:MOST_OTHERS])
        return {self._trigger_id, *stored}

    def shown(self) -> dict[str, Any]:
        """Return what was found, and whether there may be more."""
        reached = None if self._before is None else self._before.submitted_at_ms
        return {"rows": self._rows, "is_whole": self._is_whole, "searched_to_ms": reached}
