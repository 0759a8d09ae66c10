"""Contexts of executions, members and contexts of their groups (spec 5.3), and logs of tasks.

An execution as a whole is shown by ``hot.py``.

Used by `serve/api.py`.
"""

from fastapi import APIRouter
from starlette.responses import Response

from rillflow.gateways.outbound.threads import in_turn
from rillflow.gateways.secrets.masks import Mask
from rillflow.gateways.secrets.store import KnownSecrets, Secrets
from rillflow.ids import is_execution_id, workspace_of
from rillflow.jsontypes import JsonObject
from rillflow.ports.task_logs import LogText
from rillflow.runtime.stack import Stack
from serve.schemas.answers import ShownContext, ShownGroup, ShownLog
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import json_response, ret_response
from serve.schemas.parameters import RequiredWhole, Whole

NO_ID = {"code": -1, "msg": "executionId is empty!"}
NO_GROUP = {"code": -1, "msg": "executionId or parent is empty or missing group_index!"}
NO_TASKS = b'{"tasks":"{}"}'


def router(stack: Stack) -> APIRouter:
    """Return the routes that read executions."""
    routes = APIRouter(tags=["query"], responses=ERRORS)

    async def read(execution_id: str, kind: str, parent: str = "", index: int = 0) -> bytes | None:
        if not is_execution_id(execution_id):
            return None
        return await stack.query(execution_id, kind, parent=parent, index=index)

    @routes.get("/flow/get_by_parent.json", responses=answer(ShownGroup))
    async def get_by_parent(execution_id: str, parent: str, group_index: RequiredWhole) -> Response:
        """Show the members of one group of a foreach or choice."""
        body = await read(execution_id, "children", parent, group_index)
        parts = (NO_TASKS,) if body is None else (b'{"tasks":', body, b"}")
        return await ret_response(*parts, workspace=workspace_of(execution_id))

    @routes.get("/flow/get_context.json", responses=answer(ShownContext))
    async def get_context(execution_id: str = "") -> Response:
        """Show the context of an execution."""
        if not execution_id.strip():
            return json_response(NO_ID)
        body = await read(execution_id, "context")
        return await ret_response(body or b"{}", workspace=workspace_of(execution_id))

    @routes.get("/flow/get_sub_context.json", responses=answer(ShownContext))
    async def get_sub_context(
        execution_id: str = "", parent: str = "", group_index: Whole | None = None
    ) -> Response:
        """Show the context of one group."""
        if not execution_id.strip() or not parent.strip() or group_index is None:
            return json_response(NO_GROUP)
        body = await read(execution_id, "sub_context", parent, group_index)
        return await ret_response(body or b"{}", workspace=workspace_of(execution_id))

    _add_logs(routes, stack)
    return routes


def _add_logs(routes: APIRouter, stack: Stack) -> None:
    secrets = KnownSecrets(Secrets(stack.settings.secrets_dir), stack.clock)

    @routes.get("/flow/logs.json", responses=answer(ShownLog))
    async def logs(execution_id: str, task_name: str) -> Response:
        """Show what the last attempt of a task has printed on Ray, or posted as its log.

        The end of what is long, without the values of secrets.
        """
        found = await stack.task_log(execution_id, task_name)
        if found is None:
            return json_response({"ret": {}})
        mask = secrets.mask()
        size = sum(len(each.text) for each in found)
        streams = await in_turn(execution_id, size, lambda: [_stream(each, mask) for each in found])
        return json_response({"ret": {"streams": streams}})


def _stream(text: LogText, mask: Mask) -> JsonObject:
    return {"name": text.stream, "text": mask.text(text.text), "is_cut": text.is_cut}
