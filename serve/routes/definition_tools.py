"""Tools for authors of definitions: show, list dependencies, validate (spec 5.3).

A definition is read in a thread and is not stored.

Used by `serve/api.py`.
"""

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.definition import parse_definition
from rillflow.definition.model import WorkflowDefinition
from rillflow.errors import DefinitionError, RequestError
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.definitions.catalogue import resolve_descriptor
from rillflow.runtime.definitions.previews import (
    RESTRICTION_VIOLATION,
    answer_limit,
    dependencies_of,
    draft_view,
    problem_view,
    problems_of,
    shown_text,
)
from rillflow.runtime.stack import Stack
from serve.limits.callers import sender_of
from serve.schemas.answers import ShownDependencies, ShownExecution, Validation
from serve.schemas.documentation import ERRORS, TEXT, answer
from serve.schemas.exchange import json_response, read_text, ret_response

NOT_REQUIRED: Final[dict[str, Any]] = {
    "requestBody": {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


def router(stack: Stack) -> APIRouter:
    """Return the routes that look at definitions."""
    routes = APIRouter(prefix="/flow", tags=["tools"], responses=ERRORS)
    _add_conversion(routes, stack)
    _add_validation(routes, stack)
    return routes


def _add_conversion(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/convert.json", openapi_extra=TEXT, responses=answer(ShownExecution))
    async def convert(request: Request) -> Response:
        """Show a definition as an execution that has not started."""
        body = await read_text(request)
        try:
            definition, sender = await _read(request, body, stack), sender_of(request.scope)
            shown = await FOR_AUTHORS.run(
                lambda: shown_text(draft_view(definition), answer_limit(stack.settings)),
                sender=sender,
                text_bytes=len(body),
            )
            return await ret_response(shown, workspace=sender)
        except DefinitionError as error:
            raise _restricted(error) from error

    @routes.get("/dependency_check.json", responses=answer(ShownDependencies))
    @routes.post(
        "/dependency_check.json", openapi_extra=NOT_REQUIRED, responses=answer(ShownDependencies)
    )
    async def dependency_check(
        request: Request,
        descriptor_id: Annotated[str, Query(description="Or the body is a definition.")] = "",
    ) -> Response:
        """List the functions that a definition calls, with the tasks that call them."""
        body = await read_text(request)
        try:
            if descriptor_id.strip():
                found = await resolve_descriptor(stack.store, descriptor_id)
                definition = await stack.definition(found.version or "")
            else:
                definition = await _read(request, body, stack)
        except DefinitionError as error:
            raise _restricted(error) from error
        return json_response({"ret": {"dependencies": dependencies_of(definition)}})


async def _read(request: Request, text: bytes, stack: Stack) -> WorkflowDefinition:
    """Read a definition in a thread, since a long one would block the event loop.

    Raises:
        DefinitionError: It is refused.
        OverloadedError: Too many are being read.
    """
    return await FOR_AUTHORS.run(
        partial(parse_definition, text, max_depth=stack.settings.max_depth),
        sender=sender_of(request.scope),
        text_bytes=len(text),
    )


def _restricted(error: DefinitionError) -> RequestError:
    return RequestError(str(error), wire_code=RESTRICTION_VIOLATION)


def _add_validation(routes: APIRouter, stack: Stack) -> None:
    @routes.post("/validate.json", openapi_extra=TEXT, responses=answer(Validation))
    async def validate(request: Request) -> Response:
        """List the errors and warnings of a definition, with their places and hints."""
        body = await read_text(request)
        problems = await FOR_AUTHORS.run(
            partial(problems_of, body, stack.settings.max_depth),
            sender=sender_of(request.scope),
            text_bytes=len(body),
        )
        return json_response(
            {
                "valid": all(problem.severity != "error" for problem in problems),
                "problems": [problem_view(problem) for problem in problems],
            }
        )
