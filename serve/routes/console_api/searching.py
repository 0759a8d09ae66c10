"""Searches among executions: pages, counts, histograms and summaries.

Used by `serve/api.py`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.core.inspection.statuses import UNFINISHED, Status
from rillflow.errors import RequestError, RillflowError
from rillflow.ids import ExecutionId, is_execution_id
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.storage.execution_search import FoundExecution, NewestCount, Place, Wanted
from rillflow.ports.storage.store import LATEST_MS
from rillflow.runtime.stack import Stack
from serve.limits.callers import Caller, caller_of, own_workspace
from serve.routes.console_api.origins import name_triggers
from serve.schemas.documentation import ERRORS, NOT_FOUND
from serve.schemas.exchange import json_response, raw_response
from serve.schemas.parameters import Names, Whole, listed
from serve.schemas.search_texts import (
    ANY_UNFINISHED,
    STORED,
    Search,
    by_word,
    cursor_of,
    no_such_flow,
    place_of,
    read_search,
    shown_status,
)

MOST_ROWS: Final = 200
MOST_ASKED: Final = 200
"""How many executions the owners are asked about for one page."""
MOST_AT_ONCE: Final = 16
"""How many executions are asked about at the same time."""
MOST_SUMMARIES: Final = 50
MOST_BUCKETS: Final = 200
MOST_COUNTED: Final = 50_000
"""How many executions of a status are counted, which bounds what a count costs."""
_STORED_ALL: Final = tuple(name for names in STORED.values() for name in names)
LONGEST_ASK_S: Final = 2.0
LONGEST_LOOK_S: Final = 0.1
"""How long counts wait for what only the owners know."""
LONGEST_PAGE_S: Final = 0.06
"""After this a page asks no further owners; those that it has asked may take as long again."""
MOST_LOOKED: Final = 5_000
"""How many executions with one value of a search key a page, or a count, looks for others in."""
_STEPS_MS: Final = tuple(
    1000 * seconds
    for seconds in (
        *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800),
        *(3_600, 7_200, 10_800, 21_600, 43_200, 86_400),
        *(2 * 86_400, 7 * 86_400, 14 * 86_400, 28 * 86_400, 91 * 86_400, 364 * 86_400),
    )
)
Text: TypeAlias = str | None


def search_parameters(  # noqa: PLR0913, PLR0917 - the parameters of a search
    q: Text = None,
    status: Names = None,
    flow: Text = None,
    since: Text = None,
    until: Text = None,
    id: Text = None,  # noqa: A002 - the parameter's name
    parent: Text = None,
    version: Text = None,
) -> dict[str, str | None]:
    """Return the parameters of a search by name."""
    return {
        "q": q,
        "status": ",".join(listed(status)),
        "flow": flow,
        "since": since,
        "until": until,
        "id": id,
        "parent": parent,
        "version": version,
    }


Asked: TypeAlias = Annotated[dict[str, str | None], Depends(search_parameters)]


def router(stack: Stack) -> APIRouter:
    """Return the routes that search among executions."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)
    _add_pages(routes, stack)
    _add_counts(routes, stack)
    _add_summaries(routes, stack)
    return routes


def _add_pages(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/executions.json", responses={200: {"description": "One page of a search."}})
    async def executions(
        request: Request,
        asked_for: Asked,
        limit: Whole = 50,
        cursor: Text = None,
    ) -> Response:
        """List executions that a search finds, newest submit time first."""
        now_ms = stack.clock.now_ms()
        search = await _own(stack, read_search(asked_for, now_ms), request)
        page = _Page(stack, search, min(max(limit, 1), MOST_ROWS))
        await page.fill(place_of(cursor))
        shown = page.shown()
        await name_triggers(stack, shown["rows"])
        return json_response({**shown, "query": search.shown, "at_ms": now_ms})


async def _own(stack: Stack, search: Search, request: Request) -> Search:
    """Keep a search to the workspaces of its caller, and to versions that it has.

    An index of a version has the executions of all workspaces: those of others are not read.

    Raises:
        RequestError: A word without the name of a field is no flow, or it is one of others.
    """
    asked_for, caller = search.wanted, caller_of(request.scope)
    await _refuse_no_flow(stack, search, caller)
    business = own_workspace(caller, asked_for.business)
    wanted = msgspec.structs.replace(asked_for, business=business)
    if not await _may_find(stack, wanted):
        wanted = msgspec.structs.replace(wanted, statuses=())
    return search._replace(wanted=wanted)


async def _refuse_no_flow(stack: Stack, search: Search, caller: Caller) -> None:
    word, business = search.bare_flow, search.wanted.business
    if word is None or business is None:
        return
    if caller.sees(business):
        any_of_it = Wanted(business=business)
        if await stack.store.features(business) or await stack.searches.search_executions(
            any_of_it, limit=1
        ):
            return
    raise no_such_flow(word, filter(caller.sees, await stack.store.businesses()))


async def _may_find(stack: Stack, wanted: Wanted) -> bool:
    if wanted.definition_id is None or wanted.business is None:
        return True
    return await stack.store.has_version(wanted.business, wanted.feature, wanted.definition_id)


class _Page:
    """A page of a search, which is filled from the store, and by asking the owners if need be."""

    def __init__(self, stack: Stack, search: Search, limit: int) -> None:
        self._stack = stack
        self._search = search
        self._limit = limit
        self._rows: list[dict[str, Any]] = []
        self._reached: Place | None = None
        self._has_more = False
        self._unread = 0
        self._begun_s = stack.clock.monotonic_s()

    async def fill(self, before: Place | None) -> None:
        """Add rows that begin after a place, until the page is full or enough were looked at."""
        search, asked = self._search, 0
        sifts = bool(search.asks_owners) or search.uuid is not None
        wanted = await windowed(self._stack, search.wanted, before)
        while True:
            limit = self._at_once()
            found = await self._stack.searches.search_executions(
                wanted, before=before, limit=limit + 1
            )
            rows, self._has_more = found[:limit], len(found) > limit
            if not await self._add(rows):
                return
            if not self._has_more:
                self._leave_window(wanted)
                return
            if not sifts:
                return
            asked += len(rows)
            before = self._reached
            if search.asks_owners and (asked >= MOST_ASKED or self._is_late()):
                return

    def _leave_window(self, window: Wanted) -> None:
        """Note that the next page begins before a window, if there is more than it."""
        if window != self._search.wanted and window.from_ms is not None:
            self._reached, self._has_more = Place(window.from_ms, 0), True

    def _at_once(self) -> int:
        """Return how many rows are read before they are looked at."""
        if self._search.uuid is not None:
            return MOST_ROWS
        return min(self._limit, MOST_AT_ONCE) if self._search.asks_owners else self._limit

    def _is_late(self) -> bool:
        return self._stack.clock.monotonic_s() > self._begun_s + LONGEST_PAGE_S

    async def _add(self, found: Sequence[FoundExecution]) -> bool:
        """Add those of some rows that the search wants; return whether there is room for more."""
        search = self._search
        if search.uuid is not None:
            found = [each for each in found if each.execution_id.endswith(search.uuid)]
        statuses: dict[ExecutionId, str] = {}
        if search.asks_owners:
            statuses = await statuses_of(self._stack, (each.execution_id for each in found))
        for number, each in enumerate(found, start=1):
            self._reached = each.place
            stored = shown_status(each.status)
            status = statuses.get(each.execution_id, stored)
            if search.asks_owners and not {status, stored} & set(search.statuses):
                self._unread += each.execution_id not in statuses
                continue
            self._rows.append(row_of(each, status))
            if len(self._rows) >= self._limit:
                self._has_more = self._has_more or number < len(found)
                return False
        return search.uuid is None or not self._rows

    def shown(self) -> dict[str, Any]:
        """Return the page as the route answers it."""
        reached = self._reached if self._has_more else None
        return {
            "rows": self._rows,
            "next": None if reached is None else cursor_of(reached),
            "searched_to_ms": None if self._reached is None else self._reached.submitted_at_ms,
            "unread": self._unread,
        }


def row_of(found: FoundExecution, status: str) -> dict[str, Any]:
    """Return an execution as lists show it."""
    return {
        "execution_id": found.execution_id,
        "business": found.business,
        "feature": found.feature,
        "status": status,
        "code": found.code,
        "definition_id": found.definition_id,
        "submitted_at_ms": found.submitted_at_ms,
        "finished_at_ms": found.finished_at_ms,
        "parent_id": found.parent_id,
        "trigger": "request" if found.parent_id is None else "sub_flow",
        "dedicated": found.dedicated,
    }


def _add_counts(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/counts.json", responses={200: {"description": "Numbers and a histogram."}})
    async def counts(
        request: Request,
        asked_for: Asked,
        buckets: Whole = 60,
    ) -> Response:
        """Count the executions that a search finds, by status and over time."""
        now_ms = stack.clock.now_ms()
        search = await _own(stack, read_search(asked_for, now_ms), request)
        return json_response(
            await counted(stack, search, min(max(buckets, 0), MOST_BUCKETS), now_ms)
        )


async def counted(
    stack: Stack, search: Search, buckets: int, now_ms: int, *, most: int = MOST_COUNTED
) -> dict[str, Any]:
    """Return what ``counts.json`` answers for a search; up to ``most`` of each status."""
    wanted = await windowed(stack, search.wanted)
    is_cut = wanted != search.wanted
    # In such a window no status has more than are counted, and the spans have them all.
    newest = {} if is_cut else await _newest(stack, wanted, most)
    at_least = [word for word in STORED if is_cut or not newest[word].is_whole]
    cut = (each for each in newest.values() if not each.is_whole)
    cuts = [each.from_ms for each in cut if each.from_ms is not None]
    from_ms = max(cuts) if cuts else wanted.from_ms
    to_ms = now_ms if wanted.to_ms is None else wanted.to_ms
    if from_ms is None:
        oldest = (each.oldest_ms for each in newest.values() if each.oldest_ms is not None)
        from_ms = min(oldest, default=to_ms)
    from_ms = min(from_ms, to_ms)
    edges, step_ms = _edges(from_ms, to_ms, buckets)
    last_ms = LATEST_MS + 1 if wanted.to_ms is None else to_ms + 1
    # A first span of a round length would contain what is before the newest ones.
    spans = [max(edges[0], from_ms) if at_least else edges[0], *edges[1:]]
    found = await stack.searches.count_by_time(wanted, [*spans, max(last_ms, edges[-1] + 1)])
    shown = [by_word(each) for each in found]
    totals = {
        word: sum(newest[word].counts.values()) if cuts else sum(each[word] for each in shown)
        for word in STORED
    }
    left = search._replace(wanted=wanted)
    return {
        "total": sum(totals.values()),
        "counts": totals,
        "at_least": [word for word in at_least if _is_asked(word, wanted)],
        "from_ms": edges[0],
        "to_ms": to_ms,
        "step_ms": step_ms,
        "buckets": [{"at_ms": at_ms, **each} for at_ms, each in zip(edges, shown, strict=True)]
        if buckets
        else [],
        "unfinished": await _unfinished(stack, left, totals[ANY_UNFINISHED]),
        "at_ms": now_ms,
    }


async def windowed(stack: Stack, wanted: Wanted, before: Place | None = None) -> Wanted:
    """Return a search since the time to which it is to look at once."""
    since_ms = await stack.searches.window_of(wanted, before=before, most=MOST_LOOKED)
    return wanted if since_ms is None else msgspec.structs.replace(wanted, from_ms=since_ms)


def _is_asked(word: str, wanted: Wanted) -> bool:
    return wanted.statuses is None or not set(STORED[word]).isdisjoint(wanted.statuses)


async def _newest(stack: Stack, wanted: Wanted, most: int) -> dict[str, NewestCount]:
    """Count the newest of each word for a status of the store."""
    asked_for = _STORED_ALL if wanted.statuses is None else wanted.statuses
    parts = (
        msgspec.structs.replace(wanted, statuses=tuple(each for each in names if each in asked_for))
        for names in STORED.values()
    )
    found = await asyncio.gather(*(stack.searches.count_newest(part, most) for part in parts))
    return dict(zip(STORED, found, strict=True))


def _edges(from_ms: int, to_ms: int, buckets: int) -> tuple[list[int], int]:
    """Return where spans of a round length begin, and that length."""
    span_ms = to_ms - from_ms + 1
    if not buckets:
        return [from_ms], span_ms
    fits = (step for step in _STEPS_MS if to_ms // step - from_ms // step < buckets)
    step_ms = next(fits, span_ms)
    first = from_ms // step_ms * step_ms
    return list(range(first, to_ms + 1, step_ms))[: max(buckets, 1)], step_ms


async def _unfinished(stack: Stack, search: Search, number: int) -> dict[str, int] | None:
    """Count what has not ended by what only the owners know, if it is little and they answer."""
    names = dict.fromkeys(map(str, UNFINISHED), 0)
    if not number:
        return names
    if number > MOST_ASKED:
        return None
    stored = tuple(set(STORED[ANY_UNFINISHED]) & set(search.wanted.statuses or _STORED_ALL))
    wanted = msgspec.structs.replace(search.wanted, statuses=stored)
    found = await stack.searches.search_executions(wanted, limit=MOST_ASKED)
    statuses = await statuses_of(
        stack, (each.execution_id for each in found), within_s=LONGEST_LOOK_S
    )
    if len(statuses) < len(found):
        return None
    for status in statuses.values():
        if status in names:
            names[status] += 1
    return names


def _add_summaries(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/summaries.json", responses={200: {"description": "Summaries by id."}})
    async def summaries(ids: Annotated[list[str], Query()]) -> Response:
        """Show what rows of a list do not have: progress, failure, and what is waited for."""
        wanted = dict.fromkeys(listed(ids))
        if len(wanted) > MOST_SUMMARIES:
            raise RequestError(f"up to {MOST_SUMMARIES} ids may be given, not {len(wanted)}")
        known = [each for each in wanted if is_execution_id(each)]
        found = await asked(stack, known, LONGEST_ASK_S)
        bodies = {each: b"null" for each in wanted if each not in known}
        bodies |= {each: body or b"null" for each, body in found.items()}
        parts = b",".join(encode_json(each) + b":" + body for each, body in bodies.items())
        at_ms = stack.clock.now_ms()
        return raw_response(b'{"summaries":{%b},"at_ms":%d}' % (parts, at_ms))


async def statuses_of(
    stack: Stack, execution_ids: Iterable[ExecutionId], *, within_s: float = LONGEST_ASK_S
) -> dict[ExecutionId, str]:
    """Ask the owners for statuses; executions whose owners do not answer are absent."""
    found = await asked(stack, list(execution_ids), within_s)
    statuses: dict[ExecutionId, str] = {}
    for execution_id, body in found.items():
        summary = decode_json(body) if body else None
        if isinstance(summary, dict):
            statuses[execution_id] = str(summary.get("status", Status.RUNNING))
    return statuses


async def asked(
    stack: Stack, execution_ids: Sequence[ExecutionId], within_s: float
) -> dict[ExecutionId, bytes | None]:
    """Ask the owners for summaries as JSON, some at a time; None for an unknown execution.

    Executions that could not be read in time are absent, and so are large ones that are not in
    memory: a list brings none of them there.
    """
    found: dict[ExecutionId, bytes | None] = {}
    places = asyncio.Semaphore(MOST_AT_ONCE)

    async def ask(execution_id: ExecutionId) -> None:
        async with places:
            with suppress(RillflowError):
                found[execution_id] = await stack.listed(execution_id)

    tasks = [asyncio.ensure_future(ask(each)) for each in execution_ids]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=within_s)
        for task in late:
            task.cancel()
    return found
