"""Overload protection: admission of submissions, busy functions, and gateways (spec 5.3, 6).

The decisions are made by ``rillflow.runtime.backpressure.admission``; this module shows them.

Used by `serve/api.py`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rillflow.definition.addresses import without_user_info
from rillflow.errors import InvalidIdError, RequestError
from rillflow.ids import DescriptorId, parse_descriptor_id
from rillflow.ports.executions import ResourceCall
from rillflow.ports.gateway import CircuitState, HostState
from rillflow.runtime.backpressure.admission import Health
from rillflow.runtime.backpressure.busy_functions import ResourceRow
from rillflow.runtime.stack import Stack
from rillflow.settings import ResourceCheck
from serve.limits.gone_clients import unless_left
from serve.schemas.answers import Flag as FlagAnswer
from serve.schemas.answers import Gateways
from serve.schemas.console_answers import StatusCheck
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import json_response, read_resource_check
from serve.schemas.parameters import Names, OptionalFlag, listed, service_of, services_of


def router(stack: Stack) -> APIRouter:
    """Return the routes of overload protection."""
    routes = APIRouter(prefix="/flow", tags=["protection"], responses=ERRORS)
    _add_status(routes, stack)
    _add_resources(routes, stack)
    _add_gateways(routes, stack)
    return routes


def _add_status(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/status/check.json", responses=answer(StatusCheck))
    async def status_check(descriptor_id: str, resource_check: str | None = None) -> Response:
        """Show the result that each check of a submission would have now."""
        asked = read_resource_check(resource_check)
        try:
            wanted = parse_descriptor_id(descriptor_id)
        except InvalidIdError as error:
            raise RequestError(f"descriptorId:{descriptor_id} format error") from error
        rows = await stack.submissions.admission.rows(f"{wanted.business}:{wanted.feature}")
        return json_response(
            {
                "descriptor_id": descriptor_id,
                "submit_status": await _submit_status(stack, wanted, asked),
                "related_resources": _by_resource(rows),
            }
        )


async def _submit_status(
    stack: Stack, wanted: DescriptorId, asked: ResourceCheck | None
) -> dict[str, Any]:
    admission, most = stack.submissions.admission, stack.settings.storage_max_usage_percent
    used = admission.storage_usage()
    check = admission.resource_check(wanted.business, wanted.feature, asked)
    busy = await admission.busy(wanted.business, wanted.feature, check)
    health = await admission.health(wanted.business, wanted.feature, stack.searches)
    return {
        "storage_check": {
            "max_usage_percent": most,
            "current_usage_percent": used,
            "usage_limit": admission.is_full(used),
        },
        "resource_check": {"unsatisfied_resources": busy, "resource_limit": bool(busy)},
        "flow_check": _flow_check(health),
    }


def _flow_check(health: Health | None) -> dict[str, Any]:
    if health is None:
        return {"complete_rate_limit": False, "success_rate_limit": False, "heap_limit": False}
    figures, limits = health
    checked: dict[str, Any] = {
        "complete_rate": figures.complete_rate,
        "complete_rate_threshold": limits.complete_rate,
        "success_rate": figures.success_rate,
        "success_rate_threshold": limits.success_rate,
        "heap_count": figures.running,
        "heap_count_threshold": limits.heap,
        "complete_rate_limit": figures.complete_rate < (limits.complete_rate or 0),
        "success_rate_limit": figures.success_rate < (limits.success_rate or 0),
        "heap_limit": limits.heap is not None and figures.running > limits.heap,
    }
    return {name: value for name, value in checked.items() if value is not None}


def _add_resources(routes: APIRouter, stack: Stack) -> None:
    @routes.get(
        "/runtime_dependent_resources.json", responses={200: {"description": "By service id."}}
    )
    async def runtime_dependent_resources(request: Request, service_ids: str) -> Response:
        """Show the functions that services have called, and until when they are busy."""
        services = services_of([service_ids])
        shown = await unless_left(request, _resources_of(stack, services))
        return json_response({**shown, "current_time": stack.clock.now_ms()})

    @routes.post("/clear_runtime_resources.json", responses=answer(FlagAnswer))
    async def clear_runtime_resources(
        service_id: str,
        clear_all: OptionalFlag = False,  # noqa: FBT002 - a query parameter
        resource_names: Names = None,
    ) -> Response:
        """Forget until when functions are busy: all of them, or those that are named."""
        service, names = service_of(service_id), listed(resource_names)
        if not clear_all and not names:
            return json_response({"ret": False})
        call = ResourceCall(
            kind="clear",
            service=f"{service.business}:{service.feature}",
            resources=() if clear_all else names,
        )
        replies = await stack.executions.ask_all(call)
        return json_response({"ret": any(reply.changed for reply in replies)})


async def _resources_of(stack: Stack, services: Mapping[str, DescriptorId]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, service in services.items():
        rows = await stack.submissions.admission.rows(f"{service.business}:{service.feature}")
        shown[name] = {
            "task_name_order": _by_task(rows),
            "resource_name_order": _by_resource(rows),
        }
    return shown


def _add_gateways(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/gateways.json", responses=answer(Gateways))
    async def gateways() -> Response:
        """Show the gateway hosts that are called or failing: calls, rates, circuits.

        An idle host without failures is shown for ten minutes after its last call, with `idle_s`;
        of such hosts the last 1,000 for each dispatcher.
        """
        found = await stack.dispatchers.states()
        return json_response(
            {
                "dispatchers": [
                    {
                        "dispatcher": index,
                        "reached": state.is_reached,
                        "hosts": [_host(host) for host in state.hosts],
                    }
                    for index, state in enumerate(found)
                ]
            }
        )


def _host(state: HostState) -> dict[str, Any]:
    return {
        "host": state.host.name,
        "under_way": state.under_way,
        "waiting": state.waiting,
        "held": state.held,
        **({} if state.idle_s is None else {"idle_s": state.idle_s}),
        **({} if state.rate_per_s is None else {"rate_per_s": state.rate_per_s}),
        **({"warnings": state.warnings} if state.warnings else {}),
        "circuit": _circuit(state.host),
        "functions": {each.name: _circuit(each) for each in state.functions},
    }


def _circuit(state: CircuitState) -> dict[str, Any]:
    return {
        "state": state.state,
        "failures_in_a_row": state.failures,
        "open_for_s": state.open_for_s,
    }


def _by_task(rows: Sequence[ResourceRow]) -> dict[str, Any]:
    tasks: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in sorted(rows):
        tasks[row.task][without_user_info(row.resource)] = _times(row)
    return tasks


def _by_resource(rows: Sequence[ResourceRow]) -> dict[str, Any]:
    resources: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in sorted(rows):
        resources[without_user_info(row.resource)][row.task] = _times(row)
    return resources


def _times(row: ResourceRow) -> dict[str, Any]:
    return {
        "resource_name": without_user_info(row.resource),
        "resource_limited_time": row.until_ms,
        "update_time": row.updated_ms,
    }
