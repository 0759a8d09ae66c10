"""What rules gave, and what others would give, with the data of an execution.

The journal is replayed; the execution does not notice, and nothing is stored.

Used by `serve/api.py`.
"""

import time
from functools import partial
from typing import Final, Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from rillflow.core.inspection.rules import evaluate
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.definition import parse_rules
from rillflow.definition.model import MappingRule
from rillflow.errors import DefinitionError, RequestError
from rillflow.jsontypes import JsonObject
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.stack import Stack
from rillflow.runtime.submission.intake import json_object
from serve.limits.callers import caller_of, sender_of
from serve.limits.id_masks import ValueMask
from serve.routes.console_api.inspecting import Event, last_event, missing
from serve.schemas.documentation import ERRORS, NOT_FOUND, example
from serve.schemas.exchange import json_response, read_json_text
from serve.schemas.json_bodies import decoded

MOST_CHARACTERS: Final = 65_536
"""How long the text of a question may be."""
LONGEST_S: Final = 1.0
"""How long rules are tried; other readers of the past wait meanwhile."""


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a question.

    Attributes:
        kind: What the text is.
        text: A path, an expression, a condition, or a YAML list of mapping rules.
        task: The instance whose context, input and output are meant; empty is the top level.
    """

    kind: Literal["path", "expression", "condition", "mappings"]
    text: str
    task: str = ""


def router(stack: Stack) -> APIRouter:
    """Return the routes that evaluate rules on the data of an execution."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)

    @routes.get("/rules.json", responses={200: {"description": "Mappings and conditions."}})
    async def rules(execution_id: str, task: str, event: Event = None) -> Response:
        """Show what each mapping of a task gave, and why each condition is true or false."""
        last_seq = await last_event(stack, execution_id)
        seq = last_seq if event is None else event
        found = await stack.histories.rules(execution_id, last_seq, seq, task)
        if found is None:
            raise missing(execution_id, {"task": task})
        return json_response(found)

    @routes.post(
        "/evaluate.json",
        openapi_extra=example({"kind": "path", "text": "$.context.a"}),
        responses={200: {"description": "The value, or why there is none."}},
    )
    async def evaluate_text(request: Request, execution_id: str, event: Event = None) -> Response:
        """Evaluate a path, an expression, a condition or mappings on the data of an execution."""
        question = await decoded(request, await read_json_text(request), question_of)
        last_seq = await last_event(stack, execution_id)
        seq = last_seq if event is None else event
        read = partial(_rules, question)
        sender, size = sender_of(request.scope), len(question.text)
        mappings = await FOR_AUTHORS.run(read, sender=sender, text_bytes=size)
        caller = caller_of(request.scope)
        hidden = ValueMask(caller.sees) if caller.workspaces else None
        asked = partial(_answer, question, mappings, hidden)
        return json_response(await stack.histories.look(execution_id, seq, asked))

    return routes


def question_of(body: bytes) -> Question:
    """Read the body of a question.

    Raises:
        RequestError: It is malformed, or its text is too long.
    """
    try:
        question = msgspec.convert(json_object(body), type=Question)
    except msgspec.ValidationError as error:
        hint = "the keys are kind, text and task"
        raise RequestError(f"the question is malformed: {error}", hint=hint) from error
    if len(question.text) > MOST_CHARACTERS:
        raise RequestError(f"the text is longer than {MOST_CHARACTERS} characters")
    return question


def _answer(
    question: Question,
    rules: tuple[MappingRule, ...],
    hidden: ValueMask | None,
    plan: Plan,
    state: ExecutionState,
) -> JsonObject:
    """Answer a question in the thread of histories.

    Raises:
        RequestError: It takes too much, or too long.
    """
    deadline_s = time.monotonic() + LONGEST_S
    return evaluate(
        plan,
        state,
        name=question.task,
        kind=question.kind,
        text=question.text,
        rules=rules,
        is_over=lambda: time.monotonic() > deadline_s,
        shown=(lambda value: value) if hidden is None else hidden.of,
    )


def _rules(question: Question) -> tuple[MappingRule, ...]:
    if question.kind != "mappings":
        return ()
    try:
        return parse_rules(question.text)
    except DefinitionError as error:
        raise RequestError(str(error)) from error
