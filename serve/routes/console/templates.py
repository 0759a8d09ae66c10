"""The palette of the console, below ``/flow/template`` (spec 7.2).

It has the built-in entries, one for each category, and after them the templates in the store.

Used by `serve/api.py`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.errors import RequestError
from rillflow.gateways.outbound.threads import FOR_LISTS, joined
from rillflow.jsontypes import encode_json
from rillflow.ports.storage.templates import TemplateChange, TemplateFilter
from rillflow.runtime.aio.sender_turns import SenderTurns
from rillflow.runtime.stack import Stack
from serve.limits.callers import sender_of
from serve.routes.console.template_metadata import (
    FIELDS,
    FUNCTION_TYPE,
    LOGIC_TYPE,
    meta_data,
    meta_template,
    user_template,
)
from serve.schemas.console_answers import ChangeResult, CreatedTemplate, Records
from serve.schemas.documentation import ERRORS, OBJECT, answer
from serve.schemas.exchange import json_response, raw_response
from serve.schemas.json_bodies import read_object
from serve.schemas.parameters import Long, RequiredLong, Whole
from serve.schemas.template_bodies import read_change, read_new_template, refused

NODE_CATEGORIES: Final = {"meta": 0, "template": 1}
PAGE_SIZES: Final = (10, 500)
MOST_TEMPLATES: Final = 1_000
RESTRICTED: Final = 30110
READ_AT_ONCE: Final = 64
"""Templates that are in memory at once for one list: up to 4 MiB."""
SHORT_ANSWER: Final = 20
"""With so many templates, an answer is encoded without a thread of its own."""
MOST_LISTS: Final = 64
"""Lists that are made or wait for it; one more is refused."""
UNCHANGED: Final = {"code": 1}
DONE: Final = {"code": 0}

Entry: TypeAlias = dict[str, Any]
ShownAs: TypeAlias = Callable[[Entry], Entry]


class Wanted(NamedTuple):
    """Which entries to list: a page of those that fit."""

    first: int
    size: int
    node_type: str
    filter: TemplateFilter


def wanted(  # noqa: PLR0913, PLR0917 - the parameters of the endpoints
    page: Whole = 1,
    page_size: Whole = 500,
    id: Long | None = None,  # noqa: A002 - the parameter's name
    name: Annotated[str, Query(description="Part of the name.")] = "",
    category: str = "",
    type: Whole | None = None,  # noqa: A002 - the parameter's name
    node_type: Annotated[str, Query(description="`meta` or `template`.")] = "",
    enable: Whole | None = None,
) -> Wanted:
    """Read the filters that both lists have."""
    smallest, largest = PAGE_SIZES
    size = page_size if smallest <= page_size <= largest else smallest
    chosen = TemplateFilter(
        id=id, name=name or None, category=category or None, type=type, enable=enable
    )
    return Wanted((max(page, 1) - 1) * size, size, node_type, chosen)


Filters = Annotated[Wanted, Depends(wanted)]


def router(stack: Stack) -> APIRouter:
    """Return the routes of the palette."""
    routes = APIRouter(prefix="/flow/template", tags=["templates"], responses=ERRORS)
    _add_lists(routes, TemplateLists(stack))
    _add_changes(routes, stack)
    _add_switches(routes, stack)
    return routes


def _add_lists(routes: APIRouter, palette: "TemplateLists") -> None:
    @routes.get("/get_meta_data_list.json", responses=answer(Records))
    async def get_meta_data_list() -> Response:
        """List the categories with their icons and fields."""
        return json_response({"data": [meta_data(category) for category in FIELDS]})

    @routes.get("/get_task_templates.json", responses=answer(Records))
    async def get_task_templates(request: Request, filters: Filters) -> Response:
        """List the built-in entries, then the templates by id."""
        return await palette.listed(filters, sender_of(request.scope), lambda entry: entry)

    @routes.get("/get_template_prototypes.json", responses=answer(Records))
    async def get_template_prototypes(request: Request, filters: Filters) -> Response:
        """List what a task can be drawn as."""
        return await palette.listed(filters, sender_of(request.scope), _prototype)


class TemplateLists:
    """The lists of entries.

    A list may have 500 entries of 64 KiB each. So senders take turns, one list at a time is made in
    portions, and its text has room among the answers that are not read yet.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        refusal = "many lists of templates are being made; ask again"
        self._turns = SenderTurns(most=MOST_LISTS, refusal=refusal)

    async def listed(self, page: Wanted, sender: str, shown_as: ShownAs) -> Response:
        """Answer with a page of all entries that fit: the built-in ones come first.

        Raises:
            OverloadedError: Too many lists are being made (503).
            UnreadAnswersError: There is no room for the answer.
        """
        async with self._turns.turn(sender):
            texts = bytearray()
            async for entries in self._portions(page):
                encode = partial(_encoded, entries, shown_as)
                is_short = len(entries) <= SHORT_ANSWER
                text = encode() if is_short else await FOR_LISTS.run(sender, encode)
                self._stack.take_room(len(texts) + len(text))
                texts += b"," + text if texts and text else text
            text = await joined(b'{"data":[', bytes(texts), b"]}", workspace=sender)
            return raw_response(text)

    async def _portions(self, page: Wanted) -> AsyncIterator[list[Entry]]:
        metas = _metas(page)
        shown = [meta_template(each) for each in metas[page.first : page.first + page.size]]
        yield shown
        left, offset = page.size - len(shown), max(page.first - len(metas), 0)
        while left and page.node_type in ("", "template"):
            limit = min(left, READ_AT_ONCE)
            found = await self._stack.store.list_templates(page.filter, limit=limit, offset=offset)
            yield [user_template(each) for each in found]
            left, offset = (left - limit, offset + limit) if len(found) == limit else (0, offset)


def _encoded(entries: Sequence[Entry], shown_as: ShownAs) -> bytes:
    """Encode the entries of a list one by one, so that a thread lets others run in between."""
    return b",".join(encode_json(shown_as(each)) for each in entries)


def _add_changes(routes: APIRouter, stack: Stack) -> None:
    store = stack.store

    @routes.post(
        "/create_task_template.json", responses=answer(CreatedTemplate), openapi_extra=OBJECT
    )
    async def create_task_template(request: Request) -> Response:
        """Create a template; its name, type and category are required."""
        template = read_new_template(await read_object(request, is_required=True))
        stack.stored.require_room()
        if await store.count_templates() >= MOST_TEMPLATES:
            raise RequestError(
                f"there are {MOST_TEMPLATES} templates already", wire_code=RESTRICTED
            )
        created = await store.create_template(template, at_ms=stack.clock.now_ms())
        if created is None:
            raise _taken(template.name)
        return json_response({"code": 0, "data": {"id": created}})

    @routes.post("/update_task_template.json", responses=answer(ChangeResult), openapi_extra=OBJECT)
    async def update_task_template(request: Request) -> Response:
        """Change the given fields of the template whose id the body has."""
        template_id, change = read_change(await read_object(request, is_required=True))
        stack.stored.require_room()
        changed = await store.change_template(template_id, change, at_ms=stack.clock.now_ms())
        if changed is None:
            raise _taken(change.name or "")
        return json_response(DONE if changed else UNCHANGED)


def _add_switches(routes: APIRouter, stack: Stack) -> None:
    async def enable_or_disable(template_id: int, enable: int) -> Response:
        change = TemplateChange(enable=enable)
        at_ms = stack.clock.now_ms()
        changed = await stack.store.change_template(template_id, change, at_ms=at_ms)
        return json_response(DONE if changed else UNCHANGED)

    @routes.post("/enable_task_template.json", responses=answer(ChangeResult))
    async def enable_task_template(id: RequiredLong) -> Response:  # noqa: A002 - its name
        """Enable a template."""
        return await enable_or_disable(id, 1)

    @routes.post("/disable_task_template.json", responses=answer(ChangeResult))
    async def disable_task_template(id: RequiredLong) -> Response:  # noqa: A002 - its name
        """Disable a template."""
        return await enable_or_disable(id, 0)


def _taken(name: str) -> RequestError:
    return refused(f"there is a template with the name {name} already")


def _metas(page: Wanted) -> list[str]:
    chosen = page.filter
    if (
        chosen.id is not None
        or chosen.enable not in (None, 1)
        or page.node_type not in ("", "meta")
    ):
        return []
    return [
        category
        for category in FIELDS
        if (chosen.name or "") in category
        and chosen.category in (None, category)
        and chosen.type in (None, FUNCTION_TYPE if category == "function" else LOGIC_TYPE)
    ]


def _prototype(entry: Entry) -> Entry:
    return {
        "id": str(entry.get("id", entry["category"])),
        "node_category": NODE_CATEGORIES[entry["node_type"]],
        "icon": entry["icon"] or entry["meta_data"]["icon"],
        "meta_data": entry["meta_data"],
        "template": entry,
    }
