"""The palette of the console, below ``/flow/template`` (spec 7.2).

All entries are built in; requests to change one are refused.

Used by `serve/api.py`.
"""

from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import RequestError
from serve.forms.bodies import json_response, read_body
from serve.forms.console_answers import Records
from serve.forms.documentation import ERRORS, OBJECT, answer
from serve.forms.parameters import Whole
from serve.routes.console.template_metadata import (
    FIELDS,
    FUNCTION_TYPE,
    LOGIC_TYPE,
    meta_data,
    meta_template,
)

UNSUPPORTED: Final = 30105
META_CATEGORY: Final = 0
PAGE_SIZES: Final = (10, 500)
CHANGES: Final = (
    "create_task_template",
    "update_task_template",
    "enable_task_template",
    "disable_task_template",
)


class Wanted(NamedTuple):
    """Which entries to list."""

    first: int
    last: int
    nothing: bool
    name: str
    category: str
    type: int | None


def wanted(  # noqa: PLR0913, PLR0917 - the parameters of the endpoints
    page: Whole = 1,
    page_size: Whole = 500,
    id: Whole | None = None,  # noqa: A002 - the parameter's name
    name: Annotated[str, Query(description="Part of the name.")] = "",
    category: str = "",
    type: Whole | None = None,  # noqa: A002 - the parameter's name
    node_type: Annotated[str, Query(description="`meta` or `template`.")] = "",
    enable: Whole | None = None,
) -> Wanted:
    """Read the filters that both lists have."""
    smallest, largest = PAGE_SIZES
    size = page_size if smallest <= page_size <= largest else smallest
    first = (max(page, 1) - 1) * size
    nothing = id is not None or enable == 0 or node_type == "template"
    return Wanted(first, first + size, nothing, name, category, type)


Filters = Annotated[Wanted, Depends(wanted)]


def router() -> APIRouter:
    """Return the routes of the palette."""
    routes = APIRouter(prefix="/flow/template", tags=["templates"], responses=ERRORS)

    @routes.get("/get_meta_data_list.json", responses=answer(Records))
    async def get_meta_data_list() -> Response:
        """List the categories with their icons and fields."""
        return json_response({"data": [meta_data(category) for category in FIELDS]})

    @routes.get("/get_task_templates.json", responses=answer(Records))
    async def get_task_templates(filters: Filters) -> Response:
        """List the templates; there are the built-in ones."""
        return json_response({"data": [meta_template(each) for each in _listed(filters)]})

    @routes.get("/get_template_prototypes.json", responses=answer(Records))
    async def get_template_prototypes(filters: Filters) -> Response:
        """List what a task can be drawn as."""
        return json_response({"data": [_prototype(each) for each in _listed(filters)]})

    for name in CHANGES:
        routes.add_api_route(
            f"/{name}.json",
            _refuse,
            methods=["POST"],
            name=name,
            openapi_extra=OBJECT,
            description="Templates are built in, so the request is always refused.",
        )
    return routes


def _listed(filters: Wanted) -> list[str]:
    if filters.nothing:
        return []
    found = [
        category
        for category in FIELDS
        if filters.name in category
        and filters.category in ("", category)
        and filters.type in (None, FUNCTION_TYPE if category == "function" else LOGIC_TYPE)
    ]
    return found[filters.first : filters.last]


def _prototype(category: str) -> dict[str, Any]:
    shown = meta_data(category)
    return {
        "id": category,
        "node_category": META_CATEGORY,
        "icon": shown["icon"],
        "meta_data": shown,
        "template": meta_template(category),
    }


async def _refuse(request: Request) -> Response:
    await read_body(request)
    raise RequestError("task templates are built in", wire_code=UNSUPPORTED)
