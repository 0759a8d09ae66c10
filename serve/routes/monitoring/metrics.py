"""The metrics of the whole stack, for Prometheus (spec 7.3).

Used by `serve/api.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import RillflowError
from rillflow.gateways.outbound.threads import FOR_LISTS
from rillflow.ids import workspace_of
from rillflow.runtime.definitions.catalogue import SingleFlight
from rillflow.runtime.stack import Stack
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.states import MetricState, ProcessState
from serve.limits.callers import caller_of, sender_of
from serve.schemas.answers import MetricNames
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import json_response
from serve.schemas.metric_texts import (
    CONTENT_TYPE,
    metrics_text,
    rill_flow_names,
    rill_flow_text,
)

log = logging.getLogger("rillflow.metrics")

TELL_EVERY_S: Final = 15.0
"""How often a replica tells its metrics, which other replicas show."""
ONLY: Final = "all"
STACK: Final = "stack"
"""The process of numbers that concern the whole stack."""


def router(stack: Stack, meters: Meters) -> APIRouter:
    """Return the routes of the metrics; ``meters`` are those of this replica."""
    routes = APIRouter(tags=["telemetry"], responses=ERRORS)
    asked = SingleFlight[list[ProcessState]]()

    async def states() -> list[ProcessState]:
        return await asked.ask(ONLY, lambda: _all_states(stack, meters))

    @routes.get("/metrics", response_class=Response)
    async def all_metrics(request: Request) -> Response:
        """Show the metrics of all processes as Prometheus text."""
        found, sees = await states(), _sees(request)
        text = await FOR_LISTS.run(sender_of(request.scope), lambda: metrics_text(found, sees))
        return _text_response(text)

    @routes.get("/actuator/prometheus", response_class=Response)
    async def rill_flow_metrics(request: Request) -> Response:
        """Show the metrics under the names of Rill Flow, for dashboards that were made for it."""
        found, is_open = await states(), stack.settings.switch("ENABLE_OPEN_PROMETHEUS")
        sees, sender = _sees(request), sender_of(request.scope)
        return _text_response(
            await FOR_LISTS.run(sender, lambda: rill_flow_text(found, sees, is_open=is_open))
        )

    @routes.get("/actuator/metrics", responses=answer(MetricNames))
    async def rill_flow_metric_names(request: Request) -> Response:
        """List the names of the metrics that `/actuator/prometheus` shows."""
        found, is_open = await states(), stack.settings.switch("ENABLE_OPEN_PROMETHEUS")
        sees, sender = _sees(request), sender_of(request.scope)
        names = await FOR_LISTS.run(sender, lambda: rill_flow_names(found, sees, is_open=is_open))
        return json_response({"names": names})

    return routes


def _sees(request: Request) -> Callable[[str], bool] | None:
    """Return which workflows the caller may see; None for all, and the numbers of the stack."""
    caller = caller_of(request.scope)
    if not caller.workspaces:
        return None
    return lambda workflow: caller.sees(workspace_of(workflow))


def _text_response(text: bytes) -> Response:
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


async def tell_metrics(stack: Stack, meters: Meters) -> None:
    """Tell the metrics of this replica again and again, for the other replicas."""
    while True:
        with suppress(RillflowError):
            await stack.process_meters.tell(meters.state())
        await asyncio.sleep(TELL_EVERY_S)


async def _all_states(stack: Stack, meters: Meters) -> list[ProcessState]:
    own = meters.state()
    others, whole = await asyncio.gather(stack.process_meters.states(own), _stack_state(stack))
    return [own, *others, whole]


async def _stack_state(stack: Stack) -> ProcessState:
    """Return the numbers that no process has for itself; what cannot be read is left out."""
    used = stack.submissions.admission.storage_usage() / 100
    found = [
        MetricState(metrics.READY.name, [((), [float(not stack.readiness.reasons())])]),
        MetricState(metrics.MEMORY_USED.name, [((), [used])]),
    ]
    for read in (_store_state, _actors_state):
        found += await _or_nothing(stack, read)
    return ProcessState(STACK, found)


async def _or_nothing(
    stack: Stack, read: Callable[[Stack], Awaitable[list[MetricState]]]
) -> list[MetricState]:
    try:
        return await read(stack)
    except RillflowError as error:
        log.warning("metric_not_read", extra={"reason": str(error)})
        return []


async def _store_state(stack: Stack) -> list[MetricState]:
    size = float(await stack.store.size_bytes())
    by_workspace = await stack.submissions.quotas.store.told()
    rows: list[tuple[tuple[str, ...], list[float]]] = [
        ((workspace,), [float(kept)]) for workspace, kept in by_workspace.items()
    ]
    return [
        MetricState(metrics.STORE_BYTES.name, [((), [size])]),
        MetricState(metrics.WORKSPACE_STORE_BYTES.name, rows),
    ]


async def _actors_state(stack: Stack) -> list[MetricState]:
    state = await stack.cluster.state()
    controller = state.controller
    counts = (
        (metrics.RESTARTS, {} if controller is None else controller.restarts),
        (metrics.FENCINGS, {} if controller is None else controller.fencings),
    )
    return [
        MetricState(metrics.SILENT_ACTORS.name, [((), [float(len(state.silent))])]),
        *(
            MetricState(metric.name, [((name,), [float(n)]) for name, n in sorted(found.items())])
            for metric, found in counts
        ),
    ]
