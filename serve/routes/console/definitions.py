"""Definitions, their versions, and the names under which they are listed (spec 5.5).

Used by `serve/api.py` and `serve/routes/console/definition_rules.py`.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.definition import canonical_text, collapse_sugar
from rillflow.definition.model import WorkflowDefinition
from rillflow.errors import BodyTimeoutError, DefinitionError, OverloadedError, RequestError
from rillflow.ids import DescriptorId
from rillflow.jsontypes import JsonObject
from rillflow.runtime.definitions.catalogue import check_names, resolve_descriptor
from rillflow.runtime.definitions.declared_triggers import remove_declared
from rillflow.runtime.stack import Stack
from rillflow.runtime.submission.intake import json_object
from serve.limits.callers import caller_of, sender_of
from serve.routes.console.shown_definitions import shown_definition
from serve.schemas.answers import Flag as FlagAnswer
from serve.schemas.console_answers import (
    AddedDescriptor,
    Aliases,
    Businesses,
    Descriptor,
    Features,
    Versions,
)
from serve.schemas.documentation import ERRORS, OBJECT, TEXT, answer
from serve.schemas.exchange import (
    ENTRY_BYTES,
    error_body,
    json_response,
    long_response,
    read_text,
    user_id,
)
from serve.schemas.json_bodies import decoded
from serve.schemas.parameters import Flag

PREFIX: Final = "/flow/bg/manage/descriptor"
RESTRICTION_VIOLATION: Final = 30110
DONE: Final = {"ret": True}

Alias = Annotated[str, Query(description="Alias of versions, such as release.")]


def router(stack: Stack) -> APIRouter:
    """Return the routes that add and read definitions and their names."""
    routes = APIRouter(prefix=PREFIX, tags=["definitions"], responses=ERRORS)
    _add_texts(routes, stack)
    _add_versions(routes, stack)
    _add_listings(routes, stack)
    _add_changes(routes, stack)
    return routes


def _add_texts(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/add_descriptor.json", openapi_extra=TEXT, responses=answer(AddedDescriptor))
    async def add_descriptor(
        request: Request, business_id: str, feature_name: str, alias: Alias, identity: str = ""
    ) -> Response:
        """Add a definition and make it the newest version of an alias.

        The business, the feature and the alias come into being with it. Whatever is wrong
        is answered with 400 and code 30110.
        """
        del identity
        try:
            body = await read_text(request)
            text = body.decode()
            added = await stack.add_descriptor(
                business_id, feature_name, alias, text, sender=sender_of(request.scope)
            )
        except (BodyTimeoutError, OverloadedError):
            raise  # the definition is not the cause
        except (RequestError, DefinitionError, UnicodeDecodeError) as error:
            return error_body(RESTRICTION_VIOLATION, str(error), 400, hint=_hint_of(error))
        return json_response({"ret": True, "descriptor_id": str(added)})

    @routes.get("/get_descriptor.json", responses=answer(Descriptor))
    @routes.post("/get_descriptor.json", openapi_extra=OBJECT, responses=answer(Descriptor))
    async def get_descriptor(request: Request, descriptor_id: str, uid: str = "") -> Response:
        """Show the text of a definition; the body is the input of the gray rules."""
        data = await decoded(request, await read_text(request), json_object)
        caller = _caller(uid, data)
        found = await resolve_descriptor(stack.store, descriptor_id, uid=caller, data=data)
        text = await shown_definition(stack, found.version or "", request, _text_of)
        return json_response(
            {"descriptor_id": descriptor_id, "uid": str(caller), "descriptor": text}
        )


def _text_of(definition: WorkflowDefinition) -> str:
    return canonical_text(collapse_sugar(definition))


def _hint_of(error: RequestError | DefinitionError | UnicodeDecodeError) -> str:
    """Return the hint, after the place of the problem if there is one."""
    if isinstance(error, UnicodeDecodeError):
        return "the body must be UTF-8, or say its charset in Content-Type"
    if isinstance(error, DefinitionError) and error.problems[0].line:
        problem = error.problems[0]
        place = f"line {problem.line}, column {problem.column}"
        if place not in str(error):
            return f"{place}: {error.hint}" if error.hint else place
    return error.hint


def _caller(uid: str, data: JsonObject) -> int:
    """Return the user id: of the parameter, else of the body, else none."""
    said = data.get("uid")
    text = uid if uid.strip() else str(said) if isinstance(said, int | str) else ""
    return user_id(text) or 0


def _add_versions(routes: APIRouter, stack: Stack) -> None:
    @routes.get("/get_version.json", responses=answer(Versions))
    async def get_version(business_id: str, feature_name: str, alias: Alias) -> Response:
        """List the versions of an alias, newest first."""
        rows = await stack.store.versions(business_id, feature_name, alias)
        versions = [
            {
                "descriptor_id": str(DescriptorId(business_id, feature_name, version=row.version)),
                "create_time": row.created_at_ms,
            }
            for row in rows
        ]
        names = {"business_id": business_id, "feature": feature_name, "alias": alias}
        return await long_response(
            {**names, "versions": versions}, ENTRY_BYTES * len(versions), workspace=business_id
        )


def _add_listings(routes: APIRouter, stack: Stack) -> None:
    store = stack.store

    @routes.get("/get_business.json", responses=answer(Businesses))
    async def get_business(request: Request) -> Response:
        """List the businesses."""
        sees = caller_of(request.scope).sees
        businesses = [*filter(sees, await store.businesses())]
        size = ENTRY_BYTES * len(businesses)
        sender = sender_of(request.scope)
        return await long_response({"business_ids": businesses}, size, workspace=sender)

    @routes.get("/get_feature.json", responses=answer(Features))
    async def get_feature(business_id: str) -> Response:
        """List the features of a business."""
        features = await store.features(business_id)
        return await long_response(
            {"business_id": business_id, "features": features},
            ENTRY_BYTES * len(features),
            workspace=business_id,
        )

    @routes.get("/get_alias.json", responses=answer(Aliases))
    async def get_alias(business_id: str, feature_name: str) -> Response:
        """List the aliases of a feature."""
        aliases = await store.aliases(business_id, feature_name)
        return await long_response(
            {"business_id": business_id, "feature": feature_name, "aliases": aliases},
            ENTRY_BYTES * len(aliases),
            workspace=business_id,
        )


def _add_changes(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/modify_business.json", responses=answer(FlagAnswer))
    async def modify_business(add: Flag, business_id: str) -> Response:
        """List a business, or take it off the list; nothing else is removed."""
        return await modify(add, business_id=business_id)

    @routes.post("/modify_feature.json", responses=answer(FlagAnswer))
    async def modify_feature(add: Flag, business_id: str, feature_name: str) -> Response:
        """List a feature, and its business with it, or take it off the list."""
        return await modify(add, business_id=business_id, feature_name=feature_name)

    @routes.post("/modify_alias.json", responses=answer(FlagAnswer))
    async def modify_alias(
        add: Flag, business_id: str, feature_name: str, alias: Alias
    ) -> Response:
        """List an alias, and what it lies in, or take it off the list."""
        return await modify(add, business_id=business_id, feature_name=feature_name, alias=alias)

    async def modify(add: bool, **names: str) -> Response:  # noqa: FBT001 - the parameter's value
        check_names(removed=not add, **names)
        business, feature, alias, *_ = *names.values(), None, None
        change = stack.store.register if add else stack.store.unregister
        if add:
            await stack.stored.admit_names(business, feature, alias)
        else:
            at_ms = stack.clock.now_ms()
            await remove_declared(stack.store, business, feature, alias, at_ms=at_ms)
        await change(*names.values())
        return json_response(DONE)
