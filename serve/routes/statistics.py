"""Lists and counts of executions, read from the store (spec 5.3).

No actor is asked, so the figures are those of what is durable.

Used by `serve/api.py`.
"""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import RequestError
from rillflow.ids import DescriptorId
from rillflow.ports.storage.aliases import AliasName
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.runtime.backpressure.service_health import MINUTE_MS, Figures, figures_of
from rillflow.runtime.stack import Stack
from serve.limits.callers import caller_of
from serve.limits.gone_clients import unless_left
from serve.schemas.console_answers import Counts, ExecutionIds, Summary
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import json_response
from serve.schemas.parameters import (
    Milliseconds,
    Minutes,
    Names,
    Whole,
    Word,
    service_of,
    services_of,
)

STATUSES: Final = ("running", "succeed", "failed")
MOST_LISTED: Final = 100
READ_AT_ONCE: Final = 500
COUNTED_AT_ONCE: Final = 20
"""How many services are counted in one turn."""
DEFAULT_START_MIN: Final = 10
DEFAULT_END_MIN: Final = 0

_DAY_KEY: Final = re.compile(r"([a-zA-Z0-9]+)_([0-9]{8})")

ServiceId = Annotated[str, Query(description="business:feature", examples=["shop:order"])]
StartOffset = Annotated[Minutes | None, Query(description="Start of the window, minutes ago.")]
EndOffset = Annotated[Minutes | None, Query(description="End of the window, minutes ago.")]


def router(stack: Stack) -> APIRouter:
    """Return the routes that count and list executions."""
    routes = APIRouter(prefix="/flow", tags=["statistics"], responses=ERRORS)
    _add_lists(routes, stack)
    _add_counts(routes, stack)
    _add_monitors(routes, stack)
    return routes


def _add_lists(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/get_execution_ids.json", responses=answer(ExecutionIds))
    async def get_execution_ids(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        service_id: ServiceId,
        type: Word = "succeed",  # noqa: A002 - the parameter's name
        code: str | None = None,
        time: Milliseconds | None = None,
        page: Whole = 1,
        count: Whole = 20,
    ) -> Response:
        """List executions of a service submitted up to `time`, newest first."""
        if count > MOST_LISTED:
            raise RequestError("count too big")
        service = service_of(service_id)
        cursor = stack.clock.now_ms() if time is None else time
        page, count = max(page, 1), max(count, 1)
        wanted = ExecutionFilter(
            business=service.business,
            feature=service.feature,
            statuses=(type.lower(),),
            code=code or None,
            to_ms=cursor,
        )
        found = await stack.searches.list_executions(
            wanted, limit=count + 1, offset=(page - 1) * count
        )
        return json_response(
            {
                "execution_ids": [
                    {"execution_id": each.execution_id, "submit_time": each.submitted_at_ms}
                    for each in found[:count]
                ],
                "type": type,
                "cursor_time": cursor,
                "current_page": page,
                "next_page_available": len(found) > count,
            }
        )


def _add_counts(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/get_execution_count.json", responses=answer(Counts))
    async def get_execution_count(
        service_id: ServiceId,
        type: str | None = None,  # noqa: A002 - the parameter's name
        code: str | None = None,
        start_time_offset: StartOffset = None,
        end_time_offset: EndOffset = None,
    ) -> Response:
        """Count the executions of the last minutes by status, and by failure code.

        With only one of `type` and `code` given, only that one is counted.
        """
        now_ms = stack.clock.now_ms()
        wanted = _window(service_of(service_id), now_ms, start_time_offset, end_time_offset)
        counts: dict[str, Any] = {}
        if type or not code:
            found = await stack.searches.count_executions(wanted)
            names = (type.lower(),) if type else tuple(dict.fromkeys((*STATUSES, *found)))
            counts["dag"] = {name: found.get(name, 0) for name in names}
        if code or not type:
            codes = await stack.searches.count_codes(wanted)
            counts["code"] = {code: codes.get(code, 0)} if code else codes
        return json_response({**counts, "collect_time": now_ms})


def _window(
    service: DescriptorId, now_ms: int, start_min: int | None, end_min: int | None
) -> ExecutionFilter:
    start_min = DEFAULT_START_MIN if start_min is None else start_min
    end_min = DEFAULT_END_MIN if end_min is None else end_min
    return ExecutionFilter(
        business=service.business,
        feature=service.feature,
        from_ms=now_ms - start_min * MINUTE_MS,
        to_ms=now_ms - end_min * MINUTE_MS,
    )


def _add_monitors(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/business_heap_monitor.json", responses={200: {"description": "By service id."}})
    async def business_heap_monitor(
        request: Request,
        service_ids: Names = None,
        start_time_offset: StartOffset = None,
        end_time_offset: EndOffset = None,
    ) -> Response:
        """Show how many executions run, and how many ended how; of all services when none is named.

        Give both offsets or none; the start lies further back than the end.
        """
        if (start_time_offset is None) != (end_time_offset is None):
            raise RequestError("start_time_offset and end_time_offset go together")
        start_min = DEFAULT_START_MIN if start_time_offset is None else start_time_offset
        end_min = DEFAULT_END_MIN if end_time_offset is None else end_time_offset
        if start_min <= end_min:
            raise RequestError("start_time_offset must be greater than end_time_offset")
        named, workspaces = services_of(service_ids), caller_of(request.scope).workspaces

        async def heaps() -> dict[str, Any]:
            services = named or await _all_services(stack, workspaces)
            return await _heaps(stack, services, start_min, end_min)

        return json_response(await unless_left(request, heaps()))

    @routes.get("/business_invoke_summary.json", responses=answer(Summary))
    async def business_invoke_summary(
        business_key: Annotated[str, Query(examples=["shop_20260131"])],
    ) -> Response:
        """Count the executions of a business that were submitted on a day (UTC)."""
        return json_response({"ret": await _summary(stack, business_key)})


async def _all_services(stack: Stack, workspaces: Collection[str]) -> dict[str, DescriptorId]:
    found: dict[str, DescriptorId] = {}
    following: AliasName | None = AliasName()
    while following is not None:
        rows = await stack.searches.aliases_of(workspaces, following, limit=READ_AT_ONCE + 1)
        for row in rows:
            found[f"{row.business}:{row.feature}"] = DescriptorId(row.business, row.feature)
        following = rows[-1].name if len(rows) > READ_AT_ONCE else None
    return dict(sorted(found.items()))


async def _heaps(
    stack: Stack, services: Mapping[str, DescriptorId], start_min: int, end_min: int
) -> dict[str, Any]:
    """Count the executions of services, some in each turn."""
    shown: dict[str, Any] = {}
    left = iter(services.items())
    while part := dict(islice(left, COUNTED_AT_ONCE)):
        now_ms = stack.clock.now_ms()
        wanted = [_window(service, now_ms, start_min, end_min) for service in part.values()]
        for name, counts in zip(part, await stack.searches.count_each(wanted), strict=True):
            shown[name] = _heap(name, figures_of(counts), now_ms, (start_min, end_min))
    return shown


def _heap(
    service_id: str, figures: Figures, now_ms: int, window_min: tuple[int, int]
) -> dict[str, Any]:
    start_min, end_min = window_min
    return {
        "service_id": service_id,
        "collect_time": now_ms,
        "statistic_duration": start_min - end_min,
        "statistic_time_period_start_time": now_ms - start_min * MINUTE_MS,
        "statistic_time_period_end_time": now_ms - end_min * MINUTE_MS,
        "running_count": figures.running,
        "success_count": figures.succeeded,
        "failed_count": figures.failed,
    }


async def _summary(stack: Stack, business_key: str) -> dict[str, str]:
    match = _DAY_KEY.fullmatch(business_key)
    try:
        day = datetime.strptime(match[2], "%Y%m%d").replace(tzinfo=UTC) if match else None
    except ValueError:
        day = None
    if match is None or day is None:
        return {}
    from_ms = int(day.timestamp() * 1000)
    to_ms = from_ms + int(timedelta(days=1).total_seconds() * 1000) - 1
    wanted = ExecutionFilter(business=match[1], from_ms=from_ms, to_ms=to_ms)
    counts = await stack.searches.count_executions(wanted)
    if not counts:
        return {}
    return {"submit": str(sum(counts.values())), **{name: str(counts[name]) for name in counts}}
