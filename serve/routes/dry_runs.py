"""Dry runs of mappings and dispatches, on given data or on the data of an execution (spec 5.3).

No call is made and nothing is stored. Evaluations run in the threads for authors, with the budget
of one turn of an execution.

Used by `serve/api.py`.
"""

from functools import partial
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rillflow.actors.dispatcher_actor import http_settings
from rillflow.core.mapping_warnings import warnings_of
from rillflow.core.view import warnings_view
from rillflow.definition import parse_rules
from rillflow.definition.model import MappingRule
from rillflow.errors import DefinitionError, RequestError
from rillflow.ids import is_execution_id
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.mapping.mappings import Mapped
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.definitions.previews import (
    RESTRICTION_VIOLATION,
    Function,
    answer_limit,
    evaluate_rules,
    preview_dispatch,
    shown_text,
)
from rillflow.runtime.stack import Stack
from serve.limits.callers import sender_of
from serve.limits.id_masks import hidden_for
from serve.schemas.answers import Evaluation, ShownDispatchParameters
from serve.schemas.documentation import ERRORS, answer, example
from serve.schemas.exchange import ret_response
from serve.schemas.json_bodies import decoded, read_object
from serve.schemas.parameters import Word

SIDES: Final = {"input_eva": "inputMappings", "output_eva": "outputMappings"}
MOCK_EXECUTION: Final = "mockExecutionId"
MOCK_TASK: Final = "mockTaskName"

ExecutionId = Annotated[str, Query(description="Execution that supplies missing parameters.")]
TaskName = Annotated[str, Query(description="The instance, with `execution_id`.")]


class Known(NamedTuple):
    """The input, output and context of a task of an execution."""

    definition: JsonObject
    context: JsonObject


def router(stack: Stack) -> APIRouter:
    """Return the routes for dry runs."""
    routes = APIRouter(prefix="/flow", tags=["tools"], responses=ERRORS)
    _add_mapping(routes, stack)
    _add_dispatch(routes, stack)
    return routes


def _add_mapping(routes: APIRouter, stack: Stack) -> None:
    @routes.post(
        "/mapping_evaluation.json",
        openapi_extra=example({"context": {"a": 1}, "input": {}, "output": {}}),
        responses=answer(Evaluation),
    )
    async def mapping_evaluation(
        request: Request,
        type: Annotated[Word, Query(description="`input_eva` or `output_eva`.")] = "input_eva",  # noqa: A002 - the parameter's name
        mapping_rules: Annotated[str, Query(description="YAML list of rules.")] = "",
        execution_id: ExecutionId = "",
        task_name: TaskName = "",
    ) -> Response:
        """Apply mapping rules to a context, an input and an output."""
        given = await read_object(request)
        if type not in SIDES:
            raise RequestError(f"type {type} nonsupport", wire_code=RESTRICTION_VIOLATION)
        body = await _read(stack, request, execution_id, task_name)

        def shown() -> bytes:
            known = _known(body)
            rules = _rules(mapping_rules or None, known, SIDES[type])
            mapped = _applied(stack, rules, known, given, execution_id)
            view: JsonObject = {
                "context": mapped.context,
                "input": mapped.input,
                "output": mapped.output,
            }
            if mapped.passed_over:
                view["warnings"] = warnings_view(warnings_of(SIDES[type], mapped.passed_over))
            return shown_text(view, answer_limit(stack.settings))

        # How long rules take is bounded by their steps, and not by their length.
        sender = sender_of(request.scope)
        text = await FOR_AUTHORS.run(shown, sender=sender, text_bytes=None)
        return await ret_response(text, workspace=sender)


def _add_dispatch(routes: APIRouter, stack: Stack) -> None:
    @routes.post(
        "/function_dispatch_params.json",
        openapi_extra=example(
            {
                "resource_name": "http://127.0.0.1:8081/function/greet",
                "input_mapping_rules": [{"source": "$.context.a", "target": "$.input.a"}],
                "context": {"a": 1},
            }
        ),
        responses=answer(ShownDispatchParameters),
    )
    async def function_dispatch_params(
        request: Request, execution_id: ExecutionId = "", task_name: TaskName = ""
    ) -> Response:
        """Show the URL and the body of the request that a function would get."""
        given = await read_object(request)
        body = await _read(stack, request, execution_id, task_name)

        def shown() -> bytes:
            known = _known(body)
            rules = _rules(given.get("input_mapping_rules"), known, "inputMappings")
            data: JsonObject = {"context": given.get("context")}
            mapped = _applied(stack, rules, known, data, execution_id)
            limit = answer_limit(stack.settings)
            shown_text({"input": mapped.input}, limit)
            view = preview_dispatch(
                _function(given, known.definition),
                mapped.input,
                http_settings(stack.settings),
                execution_id=execution_id or MOCK_EXECUTION,
                task=task_name or MOCK_TASK,
            )
            return shown_text(view, limit)

        # How long rules take is bounded by their steps, and not by their length.
        sender = sender_of(request.scope)
        text = await FOR_AUTHORS.run(shown, sender=sender, text_bytes=None)
        return await ret_response(text, workspace=sender)


def _applied(
    stack: Stack,
    rules: tuple[MappingRule, ...],
    known: Known,
    given: JsonObject,
    execution_id: str,
) -> Mapped:
    """Apply rules to the given data, with the budget of one turn of an execution."""
    settings = stack.settings
    context = given.get("context") or known.context
    return evaluate_rules(
        rules,
        context=context,
        input_=given.get("input") or {},
        output=given.get("output") or {},
        host=settings.callback_base_url,
        execution_id=execution_id or _execution_of(context),
        budget=TotalBudget(settings.turn_max_steps, settings.turn_max_bytes),
    )


async def _read(stack: Stack, request: Request, execution_id: str, task_name: str) -> bytes | None:
    """Read the data of a task of an execution, as text; None without both names.

    Raises:
        RequestError: They are larger than what a request may give (30110).
    """
    if not is_execution_id(execution_id) or not task_name.strip():
        return None
    body = await stack.query(execution_id, "task", parent=task_name.strip())
    most_bytes = answer_limit(stack.settings)
    if body is not None and len(body) > most_bytes:
        raise RequestError(
            f"the data of this task are larger than {most_bytes} bytes",
            wire_code=RESTRICTION_VIOLATION,
            hint="leave execution_id out, and give the context that the rules need",
        )
    if body is None:
        return None
    return await decoded(request, body, partial(hidden_for, request.scope))


def _known(body: bytes | None) -> Known:
    found: Any = decode_json(body) if body else None
    return Known(found["task"]["task"], found["context"]) if found else Known({}, {})


def _rules(given: JsonValue, known: Known, side: str) -> tuple[MappingRule, ...]:
    """Read rules from text or JSON; absent ones are the task's own."""
    source = given if given not in (None, "", []) else known.definition.get(side, [])
    try:
        return parse_rules(source if isinstance(source, str) else encode_json(source))
    except DefinitionError as error:
        raise RequestError(str(error), wire_code=RESTRICTION_VIOLATION) from error


def _function(given: JsonObject, definition: JsonObject) -> Function:
    name = _text(given.get("resource_name")) or _text(definition.get("resourceName"))
    if not name:
        raise RequestError("resource_name is empty", wire_code=RESTRICTION_VIOLATION)
    return Function(
        name,
        _text(definition.get("resourceProtocol")),
        _text(definition.get("requestType")),
        _text(definition.get("pattern")),
    )


def _execution_of(context: JsonValue) -> str:
    """Return the execution that a context belongs to, for the addresses of its tasks."""
    said = context.get("flow_execution_id") if isinstance(context, dict) else None
    if said is None:
        return MOCK_EXECUTION
    return said if isinstance(said, str) else encode_json(said).decode()


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
