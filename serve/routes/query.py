"""Contexts of executions, and the members and contexts of their groups (spec 5.3).

An execution as a whole is shown by ``hot.py``.

Used by `serve/api.py`.
"""

from fastapi import APIRouter
from starlette.responses import Response

from rillflow.ids import is_execution_id
from rillflow.runtime.stack import Stack
from serve.forms.answers import ShownContext, ShownGroup
from serve.forms.bodies import json_response, ret_response
from serve.forms.documentation import ERRORS, answer
from serve.forms.parameters import RequiredWhole, Whole

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
        return await ret_response(*parts)

    @routes.get("/flow/get_context.json", responses=answer(ShownContext))
    async def get_context(execution_id: str = "") -> Response:
        """Show the context of an execution."""
        if not execution_id.strip():
            return json_response(NO_ID)
        return await ret_response(await read(execution_id, "context") or b"{}")

    @routes.get("/flow/get_sub_context.json", responses=answer(ShownContext))
    async def get_sub_context(
        execution_id: str = "", parent: str = "", group_index: Whole | None = None
    ) -> Response:
        """Show the context of one group."""
        if not execution_id.strip() or not parent.strip() or group_index is None:
            return json_response(NO_GROUP)
        body = await read(execution_id, "sub_context", parent, group_index)
        return await ret_response(body or b"{}")

    return routes
