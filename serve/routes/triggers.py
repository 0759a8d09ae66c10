"""Triggers, which start executions: Rill Flow's routes, and Rillflow's own (spec 7.1).

Used by `serve/api.py`.
"""

import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import CronError, RequestError
from rillflow.gateways.outbound.threads import FOR_LISTS, joined
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.ports.storage.access import AuditEntry
from rillflow.runtime.stack import Stack
from rillflow.runtime.triggers.registry import read_context, with_options
from rillflow.triggers.kafka import RILL_FLOW_FIELDS, rill_flow_settings
from rillflow.triggers.spec import CRON, TriggerSpec, read_cron, time_ms
from rillflow.triggers.trigger_types import KAFKA, ReadTrigger
from serve.limits.callers import CHANGE, caller_of, sender_of, workspace_in
from serve.schemas.answers import Done
from serve.schemas.documentation import ERRORS, OBJECT, answer
from serve.schemas.exchange import (
    json_response,
    raw_response,
    read_callback_config,
    read_resource_check,
)
from serve.schemas.json_bodies import read_object
from serve.schemas.parameters import Whole
from serve.schemas.trigger_bodies import BackfillAnswer, Fired, Trigger, TriggerAnswer, TriggerPage

RILL_FLOW_TYPES: Final = (CRON, KAFKA)
NO_KAFKA: Final = "kafka trigger add trigger error"
CONFLICT: Final = 409
UNSUPPORTED_TYPE: Final = 30106
MISSING: Final = 30112
DONE: Final = {"code": 0}
NOT_DONE: Final = {"code": -1}
MOST_LISTED: Final = 500
OK: Final = {"result": "ok"}

TriggerId = Annotated[str, Query(description="The id of a trigger.")]


def router(stack: Stack) -> APIRouter:
    """Return the routes of triggers."""
    routes = APIRouter(tags=["triggers"], responses=ERRORS)
    _add_rill_flow_routes(routes, stack)
    _add_reads(routes, stack)
    _add_changes(routes, stack)
    _add_starts(routes, stack)
    return routes


def _add_rill_flow_routes(routes: APIRouter, stack: Stack) -> None:
    @routes.post(
        "/flow/trigger/add_trigger.json", responses=answer(TriggerAnswer), openapi_extra=OBJECT
    )
    async def add_trigger(
        request: Request,
        type: str,  # noqa: A002 - the parameter's name
        descriptor_id: str,
        callback: str | None = None,
        resource_check: str | None = None,
    ) -> Response:
        """Add a trigger, which starts executions at the times of cron, or for records of Kafka."""
        if type not in RILL_FLOW_TYPES:
            raise _unsupported(type)
        body = await read_object(request, is_required=True)
        if type == KAFKA:
            kafka = _kafka(body, stack.settings.caller_uid)
            config, check = read_callback_config(callback), read_resource_check(resource_check)
            kafka = with_options(kafka, config, check)
            return json_response(await _add_kafka(stack, descriptor_id, kafka))
        try:
            spec = read_cron({"cron": body.get("cron")})
            context = read_context(body)
        except CronError as error:
            return json_response({"code": -1, "err_msg": str(error)})
        given = _rest_of_cron(body, spec.cron)
        config, check = read_callback_config(callback), read_resource_check(resource_check)
        cron = ReadTrigger(CRON, msgspec.structs.replace(spec, body=given or None))
        row = await stack.triggers.add(descriptor_id, with_options(cron, config, check), context)
        return json_response({"code": 0, "data": {"task_id": row.id}})

    @routes.post("/flow/trigger/cancel_trigger.json", responses=answer(TriggerAnswer))
    async def cancel_trigger(
        request: Request,
        type: str,  # noqa: A002 - its name
        task_id: str,
    ) -> Response:
        """Remove a trigger; a second time is code -1."""
        if type not in RILL_FLOW_TYPES:
            raise _unsupported(type)
        removed = await stack.triggers.remove(task_id, sees_of(request), kind=type)
        return json_response(DONE if removed else NOT_DONE)


def _add_reads(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/flow/trigger/get_trigger_tasks.json", responses=answer(TriggerAnswer))
    async def get_trigger_tasks(request: Request, type: str) -> Response:  # noqa: A002 - its name
        """List the triggers of a type by id, as they were added."""
        if type not in RILL_FLOW_TYPES:
            message = f"do not support type: {type}"
            return json_response({"code": -1, "message": message})
        found = await stack.triggers.lists.bodies(
            type, caller_of(request.scope).workspaces, take_room=stack.take_room
        )
        sender = sender_of(request.scope)
        return raw_response(await joined(b'{"code":0,"data":', found, b"}", workspace=sender))

    @routes.get("/flow/triggers/list.json", responses=answer(TriggerPage))
    async def list_triggers(
        request: Request,
        after: Annotated[str, Query(description="List those whose ids come after this.")] = "",
        declared_by: Annotated[str, Query(description="business:feature:alias")] = "",
        limit: Whole = 100,
    ) -> Response:
        """List triggers by id, with what they have done, without their contexts.

        A page has fewer than `limit` where their settings are long, or their times rare.
        """
        size = min(max(limit, 1), MOST_LISTED)
        found, following = await stack.triggers.lists.page(
            caller_of(request.scope).workspaces,
            owner=declared_by or None,
            after=after,
            limit=size,
        )
        page: Any = {"triggers": found, **({"next": following} if following else {})}
        return raw_response(
            await FOR_LISTS.run(sender_of(request.scope), lambda: encode_json(page))
        )

    @routes.get("/flow/triggers/show.json", responses=answer(Trigger))
    async def show_trigger(request: Request, trigger_id: TriggerId) -> Response:
        """Show a trigger with its context and what it has done."""
        return json_response(await stack.triggers.show(trigger_id, sees_of(request)))


def _add_changes(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/triggers/add.json", responses=answer(Trigger), openapi_extra=OBJECT)
    async def add(request: Request) -> Response:
        """Add a trigger, all of whose fields are in the body."""
        body = await read_object(request)
        _tell_subject(request, body)
        callback = read_callback_config(_option(body, "callback"))
        check = read_resource_check(_option(body, "resource_check"))
        is_limited = bool(caller_of(request.scope).workspaces)
        added = await stack.triggers.add_described(
            body, callback, check, sees_of(request), is_limited=is_limited
        )
        return json_response(added)

    @routes.post("/flow/triggers/remove.json", responses=answer(Done))
    async def remove(request: Request, trigger_id: TriggerId) -> Response:
        """Remove a trigger."""
        await stack.triggers.remove_known(trigger_id, sees_of(request))
        return json_response(OK)

    @routes.post("/flow/triggers/pause.json", responses=answer(Done))
    async def pause(request: Request, trigger_id: TriggerId) -> Response:
        """Have a trigger fire nothing until it is resumed."""
        await stack.triggers.pause(trigger_id, sees_of(request), is_paused=True)
        return json_response(OK)

    @routes.post("/flow/triggers/resume.json", responses=answer(Done))
    async def resume(request: Request, trigger_id: TriggerId) -> Response:
        """Have a trigger fire again; the times of the pause are not made up for."""
        await stack.triggers.pause(trigger_id, sees_of(request), is_paused=False)
        return json_response(OK)


def _add_starts(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/triggers/fire.json", responses=answer(Fired))
    async def fire(
        request: Request,
        trigger_id: TriggerId,
        idempotency_key: Annotated[str, Query(description="With a key it happens once.")] = "",
    ) -> Response:
        """Start an execution now, whatever the schedule says."""
        key = idempotency_key or uuid.uuid4().hex
        holder = caller_of(request.scope).holder
        started = await stack.triggers.fire(trigger_id, key, sees_of(request), holder=holder)
        return json_response({"execution_id": started})

    @routes.post("/flow/triggers/backfill.json", responses=answer(BackfillAnswer))
    async def backfill(
        request: Request,
        trigger_id: TriggerId,
        begin: Annotated[str, Query(alias="from", description="The first time, in ISO 8601.")],
        end: Annotated[str, Query(alias="to", description="The last time, in ISO 8601.")],
    ) -> Response:
        """Start the executions of all scheduled times of a span that were not started."""
        from_ms, to_ms = time_ms(begin, "from"), time_ms(end, "to")
        started = await stack.triggers.backfill(
            trigger_id,
            (from_ms, to_ms),
            sees_of(request),
            holder=caller_of(request.scope).holder,
        )
        return json_response({"execution_ids": started})


def _tell_subject(request: Request, body: JsonObject) -> None:
    """Say for the audit which trigger is added; without an id, for which workflow."""
    descriptor_id, trigger_id = (
        str(body.get(name) or "")[:300] for name in ("descriptor_id", "id")
    )
    entry: AuditEntry | None = request.scope.get(CHANGE)
    if entry is not None:
        request.scope[CHANGE] = msgspec.structs.replace(
            entry, subject=trigger_id or descriptor_id, workspace=workspace_in(descriptor_id)
        )


def sees_of(request: Request) -> Callable[[str], bool]:
    """Return what tells whether the caller may see what is in a workspace."""
    return caller_of(request.scope).sees


def _rest_of_cron(body: JsonObject, cron: str) -> JsonObject:
    """Return what a body has besides its context, and its expression if that is kept as it is."""
    return {
        name: value
        for name, value in body.items()
        if name != "context" and (name, value) != ("cron", cron)
    }


def _option(body: JsonObject, name: str) -> str | None:
    """Return an option as the text that a query parameter would have."""
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    return encode_json(value).decode()


def _unsupported(kind: str) -> RequestError:
    return RequestError(f"do not support type: {kind}", wire_code=UNSUPPORTED_TYPE)


def _kafka(body: JsonObject, uid: int) -> ReadTrigger:
    """Read a Kafka trigger in Rill Flow's form.

    Raises:
        RequestError: A field is missing, or malformed (30112).
    """
    try:
        settings = rill_flow_settings(body)
    except CronError as error:
        raise RequestError(NO_KAFKA, wire_code=MISSING, hint=str(error)) from error
    if settings is None:
        hint = f"the body needs {', '.join(RILL_FLOW_FIELDS)}"
        raise RequestError(NO_KAFKA, wire_code=MISSING, hint=hint)
    return ReadTrigger(KAFKA, TriggerSpec(config=settings, body=dict(body), uid=uid))


async def _add_kafka(stack: Stack, descriptor_id: str, trigger: ReadTrigger) -> JsonObject:
    """Add a Kafka trigger in Rill Flow's form, unless it is there already."""
    config = trigger.spec.config or {}
    trigger_id = f"{config['topic']}#{descriptor_id.strip()}"
    try:
        await stack.triggers.add(descriptor_id, trigger, None, trigger_id=trigger_id)
    except RequestError as error:
        if error.http_status != CONFLICT:
            raise
        return {"code": -1, "message": "task has already existed"}
    return dict(DONE)
