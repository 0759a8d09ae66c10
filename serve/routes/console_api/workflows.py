"""Definitions: workspaces, versions and their differences, who uses which, and the language.

Used by `serve/api.py`.
"""

from functools import cache
from itertools import groupby, islice
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.core.inspection.graphs import definition_graph
from rillflow.core.inspection.statuses import Status
from rillflow.core.plan import Plan
from rillflow.definition import canonical_text, collapse_sugar
from rillflow.definition.checks.search_keys import key_names
from rillflow.definition.language_schema import language_schema
from rillflow.definition.model import WorkflowDefinition
from rillflow.errors import RequestError, UnknownDescriptorError
from rillflow.gateways.outbound.threads import FOR_LISTS
from rillflow.ids import DescriptorId
from rillflow.jsontypes import encode_json
from rillflow.ports.storage.aliases import AliasName, AliasRow, ListedVersion
from rillflow.ports.storage.execution_search import NewestCount, Wanted
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.definitions.catalogue import resolve_descriptor, stored_text
from rillflow.runtime.definitions.differences import Difference, difference
from rillflow.runtime.stack import Stack
from serve.limits.callers import caller_of, sender_of
from serve.routes.console_api.called_flows import MOST_CALLS, CalledFlows, Place
from serve.schemas.documentation import ERRORS, NOT_FOUND
from serve.schemas.exchange import json_response, raw_response
from serve.schemas.parameters import Whole, listed
from serve.schemas.search_texts import by_word, flow_of, read_search, version_of

MOST_ROWS: Final = 200
MOST_RULES: Final = 20
"""How many gray rules of a workflow a list of workflows has."""
RULE_CHARACTERS: Final = 200
"""How much such a list has of each."""
MOST_RULE_CHARACTERS: Final = 50_000
"""A page of such a list has no further workflow after so much of rules."""
MOST_HUNKS: Final = 1_000
MOST_COUNTED: Final = 20
"""How many versions are counted for one answer."""
NEWEST_COUNTED: Final = 20_000
"""How many executions of a version are counted of each status."""
_NO_SUCH: Final = 404
_MOST_DIGITS: Final = 16


def router(stack: Stack) -> APIRouter:
    """Return the routes about definitions."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)
    _add_listings(routes, stack)
    _add_texts(routes, stack)
    _add_uses(routes, stack)
    _add_counts(routes, stack)
    return routes


def _add_listings(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/workspaces.json", responses={200: {"description": "Workflows by workspace."}})
    async def workspaces(request: Request, cursor: str = "", limit: Whole = MOST_ROWS) -> Response:
        """List workspaces, their workflows, and the aliases of those; `limit` counts aliases."""
        most = min(max(limit, 1), MOST_ROWS)
        own = caller_of(request.scope).workspaces
        rows = await stack.searches.aliases_of(own, _name(cursor), limit=most + 1)
        listed, shown = await _with_rules(stack, rows[:most])
        following = ":".join(rows[shown].name) if len(rows) > shown else None
        page = {"workspaces": listed, "next": following}
        return raw_response(
            await FOR_LISTS.run(sender_of(request.scope), lambda: encode_json(page))
        )

    @routes.get("/versions.json", responses={200: {"description": "Versions, newest first."}})
    async def versions(flow: str, cursor: str = "", limit: Whole = MOST_ROWS) -> Response:
        """List the versions of a workflow that its aliases have, newest first."""
        business, feature = _flow(flow)
        most = min(max(limit, 1), MOST_ROWS)
        rows = await stack.searches.listed_versions(
            business, feature, before=_time_and_version(cursor), limit=most + 1
        )
        page = rows[:most]
        following = f"{page[-1].created_at_ms}:{page[-1].version}" if len(rows) > most else None
        shown = {
            "business": business,
            "feature": feature,
            "versions": list(map(_version, page)),
            "next": following,
        }
        return json_response(shown)


def _version(row: ListedVersion) -> dict[str, Any]:
    return {
        "definition_id": row.version,
        "created_ms": row.created_at_ms,
        "aliases": row.aliases,
        "is_newest_of": row.newest_of,
        "more_aliases": row.more_aliases,
    }


async def _with_rules(stack: Stack, rows: list[AliasRow]) -> tuple[list[dict[str, Any]], int]:
    """Return workspaces with their workflows, and how many of these aliases they have.

    Rules of workflows are shortened. What is left over, because the rules before it are long
    together, is for the next page.
    """
    listed: dict[str, list[dict[str, Any]]] = {}
    shown = characters = 0
    for (business, feature), group in groupby(rows, lambda row: (row.business, row.feature)):
        if characters > MOST_RULE_CHARACTERS:
            break
        aliases = list(map(_alias, group))
        beginnings = await stack.store.rule_beginnings(
            "gray", (business, feature), characters=RULE_CHARACTERS + 1, limit=MOST_RULES + 1
        )
        rules = {name: _shortened(rule) for name, rule in islice(beginnings.items(), MOST_RULES)}
        listed.setdefault(business, []).append(
            {
                "feature": feature,
                "aliases": aliases,
                "gray": rules,
                "has_more_gray": len(beginnings) > MOST_RULES,
            }
        )
        shown += len(aliases)
        characters += sum(len(name) + len(rule) for name, rule in rules.items())
    return [{"business": each, "features": found} for each, found in listed.items()], shown


def _shortened(rule: str) -> str:
    return rule if len(rule) <= RULE_CHARACTERS else rule[: RULE_CHARACTERS - 1] + "…"


def _name(cursor: str) -> AliasName:
    """Read the cursor of a listing by names; an empty one is its begin."""
    if not cursor:
        return AliasName()
    parts = cursor.split(":")
    if len(parts) != len(AliasName._fields):
        raise _malformed(cursor)
    return AliasName(*parts)


def _time_and_version(cursor: str) -> tuple[int, str] | None:
    if not cursor:
        return None
    at_ms, _, version = cursor.partition(":")
    if not (at_ms.isascii() and at_ms.isdecimal() and len(at_ms) < _MOST_DIGITS and version):
        raise _malformed(cursor)
    return int(at_ms), version


def _malformed(cursor: str) -> RequestError:
    return RequestError(f"cursor is malformed: {cursor[:100]}", hint="it is an earlier next")


def _alias(row: AliasRow) -> dict[str, Any]:
    return {
        "alias": row.alias,
        "definition_id": row.version,
        "created_ms": row.created_at_ms,
        "updated_ms": row.updated_at_ms,
    }


def _add_texts(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/definition.json", responses={200: {"description": "A definition."}})
    async def definition(request: Request, descriptor_id: str) -> Response:
        """Show a definition: its text, its graph, and the schema of its input."""
        found, read = await resolved_definition(stack, descriptor_id)
        version = found.version or ""
        shown = await FOR_AUTHORS.run(
            lambda: _shown(read, version, found),
            sender=sender_of(request.scope),
            text_bytes=len(await stored_text(stack.store, version)),
        )
        return raw_response(shown)

    @routes.get("/diff.json", responses={200: {"description": "Changed lines."}})
    async def diff(
        request: Request,
        old: Annotated[str, Query(alias="from")],
        new: Annotated[str, Query(alias="to")],
        context: Whole = 3,
    ) -> Response:
        """Compare two versions line by line."""
        versions = version_of(old) or "", version_of(new) or ""
        before, after = [await _stored_definition(stack, version) for version in versions]
        texts = [await stored_text(stack.store, version) for version in versions]
        found = await FOR_AUTHORS.run(
            lambda: difference(lines_of(before), lines_of(after), min(context, 100)),
            sender=sender_of(request.scope),
            text_bytes=sum(map(len, texts)),
        )
        return json_response({"from": old, "to": new, **difference_view(found)})

    @routes.get("/language.schema.json", responses={200: {"description": "A JSON Schema."}})
    async def language_schema() -> Response:
        """Describe the language of definitions as a JSON Schema."""
        return raw_response(await FOR_AUTHORS.run(_schema, sender="", text_bytes=0))


async def resolved_definition(
    stack: Stack, descriptor_id: str
) -> tuple[DescriptorId, WorkflowDefinition]:
    """Return the version that a descriptor id means, and its definition.

    Raises:
        RequestError: There is none (404).
    """
    try:
        found = await resolve_descriptor(stack.store, descriptor_id)
    except UnknownDescriptorError as error:
        raise RequestError(str(error), wire_code=30106, http_status=_NO_SUCH) from error
    return found, await _stored_definition(stack, found.version or "")


async def _stored_definition(stack: Stack, version: str) -> WorkflowDefinition:
    try:
        return await stack.definition(version)
    except UnknownDescriptorError as error:
        raise RequestError(str(error), wire_code=30106, http_status=_NO_SUCH) from error


def _shown(definition: WorkflowDefinition, version: str, found: DescriptorId) -> bytes:
    first = collapse_sugar(definition)
    return encode_json(
        {
            "descriptor_id": str(found),
            "business": found.business,
            "feature": found.feature,
            "alias": found.alias,
            "definition_id": version,
            "text": canonical_text(first),
            "input_schema": definition.input_schema,
            "default_context": definition.default_context,
            "strict": bool(definition.strict),
            "search_keys": key_names(definition.search_keys),
            "graph": definition_graph(Plan(definition, version).level),
        }
    )


def lines_of(definition: WorkflowDefinition) -> list[str]:
    """Return the lines of the canonical text of a definition."""
    return canonical_text(collapse_sugar(definition)).splitlines()


def difference_view(found: Difference) -> dict[str, Any]:
    """Return a difference as answers show it."""
    return {
        "added": found.added,
        "removed": found.removed,
        "is_exact": found.is_exact,
        "more": max(len(found.hunks) - MOST_HUNKS, 0),
        "hunks": [
            {
                "from_line": hunk.from_line,
                "to_line": hunk.to_line,
                "lines": [{"op": line.op, "text": line.text} for line in hunk.lines],
            }
            for hunk in found.hunks[:MOST_HUNKS]
        ],
    }


@cache
def _schema() -> bytes:
    return encode_json(language_schema())


def _add_uses(routes: APIRouter, stack: Stack) -> None:
    called_flows = CalledFlows(stack)

    @routes.get("/uses.json", responses={200: {"description": "Sub-flows and their users."}})
    async def uses(flow: str, cursor: str = "", limit: Whole = MOST_CALLS) -> Response:
        """Show which workflows a workflow starts, and which start it, by the newest versions."""
        wanted = ":".join(_flow(flow))
        most = min(max(limit, 1), MOST_CALLS)
        return json_response(await called_flows.page(wanted, Place.of(cursor), most))


def _add_counts(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/version_counts.json", responses={200: {"description": "By version."}})
    async def version_counts(
        flow: str, versions: Annotated[list[str], Query()], since: str | None = None
    ) -> Response:
        """Count the executions of versions of a workflow, and tell how many succeeded."""
        business, feature = _flow(flow)
        wanted = dict.fromkeys(version_of(each) or "" for each in listed(versions))
        if not 1 <= len(wanted) <= MOST_COUNTED:
            hint = f"name 1 to {MOST_COUNTED}"
            raise RequestError(f"{len(wanted)} versions are named", hint=hint)
        now_ms = stack.clock.now_ms()
        from_ms = read_search({"since": since}, now_ms).wanted.from_ms
        asked = Wanted(business=business, feature=feature, from_ms=from_ms)
        counts = {
            version: await _count_of(stack, msgspec.structs.replace(asked, definition_id=version))
            for version in wanted
        }
        shown = {version: version_count_view(each) for version, each in counts.items()}
        return json_response({"flow": flow, "versions": shown, "at_ms": now_ms})


async def _count_of(stack: Stack, wanted: Wanted) -> NewestCount:
    """Count the executions of a version, if the workflow has ever had it.

    The index of a version has the executions of all workflows, which would all be read.
    """
    names = wanted.business or "", wanted.feature or "", wanted.definition_id or ""
    if not await stack.store.has_version(*names):
        return NewestCount({}, wanted.from_ms, is_whole=True, oldest_ms=None)
    return await stack.searches.count_newest(wanted, NEWEST_COUNTED)


def version_count_view(found: NewestCount) -> dict[str, Any]:
    """Return the counts of a version as answers show them."""
    counts = by_word(found.counts)
    succeeded, failed = counts[Status.SUCCEEDED], counts[Status.FAILED]
    ended = succeeded + failed
    return {
        "counts": counts,
        "total": sum(counts.values()),
        "success_rate": succeeded / ended if ended else None,
        "from_ms": found.from_ms,
        "is_whole": found.is_whole,
    }


def _flow(text: str) -> tuple[str, str]:
    business, feature = flow_of(text)
    if not business or not feature:
        raise RequestError(f"flow is malformed: {text[:100]}", hint="it is business:feature")
    return business, feature
