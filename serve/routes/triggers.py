"""Triggers, which start executions: Rill Flow's routes, and Rillflow's own (spec 7.1).

Used by `serve/api.py`.
"""

import uuid
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import CronError, RequestError
from rillflow.gateways.messages.threads import computed, in_thread
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.runtime.stack import Stack
from rillflow.runtime.submission.intake import json_object
from rillflow.runtime.triggers.registry import read_context, with_options
from rillflow.triggers.spec import CRON, read_cron, time_ms
from serve.forms.answers import Done
from serve.forms.bodies import json_response, raw_response, read_json_text
from serve.forms.documentation import ERRORS, OBJECT, answer
from serve.forms.parameters import Whole, read_callback_config, read_resource_check
from serve.forms.trigger_bodies import BackfillAnswer, Fired, Trigger, TriggerAnswer, TriggerPage

KAFKA: Final = "kafka"
KAFKA_FIELDS: Final = ("kafka_server", "group_id", "topic")
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
        """Add a trigger, which starts executions at the times of a cron expression."""
        body = await _body(request)
        if type == KAFKA:
            raise _no_kafka(body)
        if type != CRON:
            raise _unsupported(type)
        try:
            spec = read_cron({"cron": body.get("cron")})
            context = read_context(body)
        except CronError as error:
            return json_response({"code": -1, "err_msg": str(error)})
        given = {name: value for name, value in body.items() if name not in ("cron", "context")}
        config, check = read_callback_config(callback), read_resource_check(resource_check)
        spec = with_options(msgspec.structs.replace(spec, body=given or None), config, check)
        row = await stack.triggers.add(descriptor_id, spec, context)
        return json_response({"code": 0, "data": {"task_id": row.id}})

    @routes.post("/flow/trigger/cancel_trigger.json", responses=answer(TriggerAnswer))
    async def cancel_trigger(type: str, task_id: str) -> Response:  # noqa: A002 - its name
        """Remove a trigger; a second time is code -1."""
        if type not in (CRON, KAFKA):
            raise _unsupported(type)
        removed = await stack.triggers.remove(task_id, kind=type)
        return json_response(DONE if removed else NOT_DONE)


def _add_reads(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/flow/trigger/get_trigger_tasks.json", responses=answer(TriggerAnswer))
    async def get_trigger_tasks(type: str) -> Response:  # noqa: A002 - its name
        """List the triggers of a type by id, as they were added."""
        if type not in (CRON, KAFKA):
            message = f"do not support type: {type}"
            return json_response({"code": -1, "message": message})
        found = await stack.triggers.bodies(type)
        return raw_response(await in_thread(lambda: encode_json({"code": 0, "data": found})))

    @routes.get("/flow/triggers/list.json", responses=answer(TriggerPage))
    async def list_triggers(
        after: Annotated[str, Query(description="List those whose ids come after this.")] = "",
        declared_by: Annotated[str, Query(description="business:feature:alias")] = "",
        limit: Whole = 100,
    ) -> Response:
        """List triggers by id, with what they have done, without their contexts."""
        size = min(max(limit, 1), MOST_LISTED)
        found = await stack.triggers.page(owner=declared_by or None, after=after, limit=size)
        following = {"next": found[-1]["id"]} if len(found) == size else {}
        page: Any = {"triggers": found, **following}
        return raw_response(await in_thread(lambda: encode_json(page)))

    @routes.get("/flow/triggers/show.json", responses=answer(Trigger))
    async def show_trigger(id: TriggerId) -> Response:  # noqa: A002 - its name
        """Show a trigger with its context and what it has done."""
        return json_response(await stack.triggers.show(id))


def _add_changes(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/triggers/add.json", responses=answer(Trigger), openapi_extra=OBJECT)
    async def add(request: Request) -> Response:
        """Add a cron trigger, all of whose fields are in the body."""
        body = await _body(request)
        callback = read_callback_config(_option(body, "callback"))
        check = read_resource_check(_option(body, "resource_check"))
        return json_response(await stack.triggers.add_described(body, callback, check))

    @routes.post("/flow/triggers/remove.json", responses=answer(Done))
    async def remove(id: TriggerId) -> Response:  # noqa: A002 - its name
        """Remove a trigger."""
        await stack.triggers.remove_known(id)
        return json_response(OK)

    @routes.post("/flow/triggers/pause.json", responses=answer(Done))
    async def pause(id: TriggerId) -> Response:  # noqa: A002 - its name
        """Have a trigger fire nothing until it is resumed."""
        await stack.triggers.pause(id, is_paused=True)
        return json_response(OK)

    @routes.post("/flow/triggers/resume.json", responses=answer(Done))
    async def resume(id: TriggerId) -> Response:  # noqa: A002 - its name
        """Have a trigger fire again; the times of the pause are not made up for."""
        await stack.triggers.pause(id, is_paused=False)
        return json_response(OK)


def _add_starts(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/flow/triggers/fire.json", responses=answer(Fired))
    async def fire(
        id: TriggerId,  # noqa: A002 - its name
        idempotency_key: Annotated[str, Query(description="With a key it happens once.")] = "",
    ) -> Response:
        """Start an execution now, whatever the schedule says."""
        key = idempotency_key or uuid.uuid4().hex
        return json_response({"execution_id": await stack.triggers.fire(id, key)})

    @routes.post("/flow/triggers/backfill.json", responses=answer(BackfillAnswer))
    async def backfill(
        id: TriggerId,  # noqa: A002 - its name
        begin: Annotated[str, Query(alias="from", description="The first time, in ISO 8601.")],
        end: Annotated[str, Query(alias="to", description="The last time, in ISO 8601.")],
    ) -> Response:
        """Start the executions of all scheduled times of a span that were not started."""
        from_ms, to_ms = time_ms(begin, "from"), time_ms(end, "to")
        started = await stack.triggers.backfill(id, from_ms, to_ms)
        return json_response({"execution_ids": started})


async def _body(request: Request) -> JsonObject:
    body = await read_json_text(request)
    return await computed(len(body), lambda: json_object(body))


def _option(body: JsonObject, name: str) -> str | None:
    """Return an option as the text that a query parameter would have."""
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    return encode_json(value).decode()


def _unsupported(kind: str) -> RequestError:
    return RequestError(f"do not support type: {kind}", wire_code=UNSUPPORTED_TYPE)


def _no_kafka(body: JsonObject) -> RequestError:
    """Return the refusal of a Kafka trigger, which this release does not have."""
    given = [body.get(name) for name in KAFKA_FIELDS]
    if not all(isinstance(each, str) and each.strip() for each in given):
        return RequestError("kafka trigger add trigger error", wire_code=MISSING)
    hint = "this release of Rillflow has no Kafka triggers"
    return RequestError("do not support type: kafka", wire_code=UNSUPPORTED_TYPE, hint=hint)
