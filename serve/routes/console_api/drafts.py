"""Drafts of definitions: their problems and their graph, and what they would call.

Nothing is stored and nobody is called. Definitions are read, and tried, in threads.

Used by `serve/api.py`.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rillflow.core.inspection.dry_runs import Answer, DryRun, answers_of
from rillflow.core.inspection.graphs import definition_graph
from rillflow.core.plan import Plan
from rillflow.definition import (
    canonical_text,
    collapse_sugar,
    expand_sugar,
    parse_definition,
)
from rillflow.definition.model import WorkflowDefinition
from rillflow.errors import RequestError
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.runtime.aio.author_threads import FOR_AUTHORS, FOR_DRY_RUNS
from rillflow.runtime.definitions.differences import difference
from rillflow.runtime.definitions.input_schema import InputSchema
from rillflow.runtime.definitions.previews import problem_view, problems_of
from rillflow.runtime.stack import Stack
from rillflow.runtime.submission.intake import execution_settings, json_object
from serve.limits.callers import sender_of
from serve.routes.console_api.inspecting import last_event
from serve.routes.console_api.workflows import difference_view, lines_of, resolved_definition
from serve.schemas.documentation import ERRORS, NOT_FOUND, TEXT, example
from serve.schemas.exchange import raw_response, read_json_text, read_text
from serve.schemas.json_bodies import decoded

PastExecution = Annotated[
    str, Query(description="Its answers are taken where none is given, and its input.")
]
Compared = Annotated[str, Query(description="A version to compare with.")]
LONGEST_S: Final = 2.0
"""How long a definition is tried."""
MOST_PROBLEMS: Final = 200


class GivenAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """What a task gets: an output, or an error."""

    output: Any = None
    error: str | None = None


class Trial(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a dry run.

    Attributes:
        definition: The text of a definition.
        input: The data; absent are those of the execution that the request names.
        answers: By the name of a task or of an instance; a list has one for each attempt.
        assume: Whether other tasks succeed with an empty object.
    """

    definition: str
    input: dict[str, Any] | None = None
    answers: dict[str, GivenAnswer | list[GivenAnswer]] = {}
    assume: bool = False


def router(stack: Stack) -> APIRouter:
    """Return the routes about drafts."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)
    _add_draft(routes, stack)
    _add_dry_run(routes, stack)
    return routes


def _add_draft(routes: APIRouter, stack: Stack) -> None:
    @routes.post(
        "/draft.json",
        openapi_extra=TEXT,
        responses={200: {"description": "Problems, and the graph of a valid definition."}},
    )
    async def draft(request: Request, descriptor_id: Compared = "") -> Response:
        """Look at a definition that is being written, and compare it with a stored version."""
        text = await read_text(request)
        before = None
        if descriptor_id:
            _, before = await resolved_definition(stack, descriptor_id)
        return raw_response(
            await FOR_AUTHORS.run(
                partial(_draft, text, before, stack.settings.max_depth),
                sender=sender_of(request.scope),
                text_bytes=len(text) if before is None else None,
            )
        )


def _draft(text: bytes, before: WorkflowDefinition | None, max_depth: int) -> bytes:
    problems = problems_of(text, max_depth)
    is_valid = all(problem.severity != "error" for problem in problems)
    answer: JsonObject = {
        "valid": is_valid,
        "problems": [problem_view(each) for each in problems[:MOST_PROBLEMS]],
        "more_problems": max(len(problems) - MOST_PROBLEMS, 0),
    }
    if not is_valid:
        return encode_json(answer)
    definition = expand_sugar(parse_definition(text, max_depth=max_depth))
    canonical = canonical_text(collapse_sugar(definition))
    diff = None
    if before is not None:
        diff = difference_view(difference(lines_of(before), canonical.splitlines(), 3))
    return encode_json(
        {
            **answer,
            "business": definition.workspace,
            "feature": definition.dag_name,
            "input_schema": definition.input_schema,
            "graph": definition_graph(Plan(definition, "").level),
            "diff": diff,
        }
    )


def _add_dry_run(routes: APIRouter, stack: Stack) -> None:
    @routes.post(
        "/dry_run.json",
        openapi_extra=example({"definition": "...", "input": {}, "answers": {}}),
        responses={200: {"description": "Calls that would be made, and what comes of them."}},
    )
    async def dry_run(request: Request, execution_id: PastExecution = "") -> Response:
        """Run a definition with given answers; nobody is called, and nothing is stored."""
        trial = await decoded(request, await read_json_text(request), trial_of)
        past: Mapping[str, list[Answer]] = {}
        data = trial.input
        if execution_id:
            seq = await last_event(stack, execution_id)
            past = await stack.histories.look(execution_id, seq, answers_of)
            if data is None:
                submitted = await stack.histories.submitted(execution_id)
                data = await decoded(request, submitted, json_object)
        run = partial(_tried, trial, data or {}, past, stack)
        return raw_response(await FOR_DRY_RUNS.run(sender_of(request.scope), run))


def trial_of(body: bytes) -> Trial:
    """Read the body of a dry run.

    Raises:
        RequestError: It is malformed.
    """
    try:
        return msgspec.convert(json_object(body), type=Trial)
    except msgspec.ValidationError as error:
        hint = "the keys are definition, input, answers and assume"
        raise RequestError(f"the dry run is malformed: {error}", hint=hint) from error


def _tried(trial: Trial, data: JsonObject, past: Mapping[str, list[Answer]], stack: Stack) -> bytes:
    """Try a definition in a thread.

    Raises:
        DefinitionError: It is refused.
        RequestError: The data do not fit its schema.
        ExecutionError: Such data cannot be submitted.
    """
    settings = stack.settings
    definition = expand_sugar(parse_definition(trial.definition, max_depth=settings.max_depth))
    if definition.enforce_input_schema and definition.input_schema:
        errors = InputSchema(definition.input_schema).errors(data)
        if errors:
            raise RequestError(f"the data do not fit inputSchema: {'; '.join(errors)}")
    deadline_s = time.monotonic() + LONGEST_S
    tried = DryRun(
        Plan(definition, ""),
        {**past, **{name: _answers(given) for name, given in trial.answers.items()}},
        assumes=trial.assume,
        settings=execution_settings(settings),
        at_ms=stack.clock.now_ms(),
        is_over=lambda: time.monotonic() > deadline_s,
    )
    tried.run(data)
    return encode_json(tried.shown())


def _answers(given: GivenAnswer | list[GivenAnswer]) -> list[Answer]:
    listed = given if isinstance(given, list) else [given]
    return [
        Answer(encode_json({} if each.output is None else each.output), each.error)
        for each in listed
    ]
