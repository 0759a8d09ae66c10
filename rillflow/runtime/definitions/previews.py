"""Dry runs: what a definition, or a list of rules, would do (spec 5.3).

The routes for workflow authors call it. It starts no execution and makes no call.

Used by `serve/routes/console_api/drafts.py`, `serve/routes/definition_tools.py` and
`serve/routes/dry_runs.py`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rillflow.core.encoding.stored_context import Cleaner
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.turn import Turn
from rillflow.core.view import execution_view
from rillflow.definition import all_tasks, expand_sugar, find_problems, parse_definition
from rillflow.definition.addresses import without_user_info
from rillflow.definition.model import FunctionTask, MappingRule, WorkflowDefinition
from rillflow.errors import (
    DefinitionError,
    ExecutionError,
    GatewayError,
    LanguageError,
    Problem,
    RequestError,
    WorkLimitError,
)
from rillflow.gateways.http.requests import build_request
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.mapping.mappings import Mapped, compile_mappings
from rillflow.ports.gateway import DispatchRequest
from rillflow.runtime.definitions.input_schema import InputSchema
from rillflow.settings import Settings

RESTRICTION_VIOLATION: Final = 30110
COMPLETION: Final = "flow_completed_callback"


def draft_view(definition: WorkflowDefinition) -> JsonObject:
    """Return the view of an execution that a definition would start: NOT_STARTED, without context.

    Raises:
        DefinitionError: A task names a resource that is not declared.
    """
    plan = Plan(definition, "")
    state = ExecutionState(execution_id="", definition_id="", host="")
    Turn(plan, state, 0).instantiate("", plan.level)
    view = execution_view(plan, state, at_ms=0)
    return {key: view[key] for key in view if key not in ("context", "execution_id")}


def problems_of(text: bytes, max_depth: int) -> list[Problem]:
    """Return what is wrong with a definition, and what deserves a look, in their order."""
    problems = find_problems(text, max_depth=max_depth)
    if any(problem.severity == "error" for problem in problems):
        return problems
    definition = parse_definition(text, max_depth=max_depth)
    try:
        expand_sugar(definition)
        if definition.enforce_input_schema and definition.input_schema:
            InputSchema(definition.input_schema)
    except DefinitionError as error:
        return [*error.problems, *problems]
    except RequestError as error:
        return [Problem(error.wire_code, str(error)), *problems]
    return problems


def problem_view(problem: Problem) -> JsonObject:
    """Return a problem as answers show it."""
    return {
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "severity": problem.severity,
    }


def evaluate_rules(  # noqa: PLR0913 - the roots of a mapping
    rules: Sequence[MappingRule],
    *,
    context: JsonValue,
    input_: JsonValue,
    output: JsonValue,
    host: str,
    execution_id: str,
    budget: TotalBudget,
) -> Mapped:
    """Apply rules as a task would.

    Raises:
        RequestError: A rule with ``tolerance: false`` failed, or the rules together exceeded
            the budget (30110).
    """
    try:
        return compile_mappings(rules).apply(
            budget=budget,
            context=context,
            input=input_,
            output=output,
            trigger_url=lambda task: (
                f"{host}/flow/trigger.json?execution_id={execution_id}&task_name={task}"
            ),
        )
    except (LanguageError, WorkLimitError) as error:
        raise RequestError(str(error), wire_code=RESTRICTION_VIOLATION) from error


def answer_limit(settings: Settings) -> int:
    """Return the limit of an answer: the size of the given data, and what one step may change."""
    return settings.submit_max_bytes + settings.context_max_bytes


def shown_text(shown: JsonObject, most_bytes: int) -> bytes:
    """Encode an answer after measuring it: parts of it may be shared, and so long as text.

    Raises:
        RequestError: It would be too large (30110).
    """
    try:
        Cleaner(most_bytes, TotalBudget(None, most_bytes)).clean(shown)
        return encode_json(shown)
    except (ExecutionError, RecursionError) as error:
        raise RequestError(
            f"the answer would be larger than {most_bytes} bytes, or too deep",
            wire_code=RESTRICTION_VIOLATION,
            hint="the limit is submit_max_bytes and context_max_bytes together",
        ) from error


class Function(NamedTuple):
    """A function that is called, and how; ``pattern`` None is a synchronous call."""

    resource_name: str
    resource_protocol: str | None = None
    request_type: str | None = None
    pattern: str | None = None


def preview_dispatch(
    function: Function, fields: JsonValue, settings: HttpSettings, *, execution_id: str, task: str
) -> JsonObject:
    """Return the URL and the body of the request that an input gives.

    Raises:
        RequestError: No request can be made of it (30110).
    """
    request = DispatchRequest(
        execution_id=execution_id,
        task=task,
        attempt=1,
        pattern=function.pattern or "task_sync",
        resource_name=function.resource_name,
        resource_protocol=function.resource_protocol,
        request_type=function.request_type,
        input=encode_json(fields if isinstance(fields, dict) else {}),
    )
    try:
        call = build_request(request, settings, now_ms=0)
    except GatewayError as error:
        raise RequestError(str(error), wire_code=RESTRICTION_VIOLATION) from error
    shown: JsonObject = {"url": call.url}
    if call.body is not None:
        shown["body"] = _as_object(call.body)
    return shown


def _as_object(body: bytes) -> JsonValue:
    try:
        value = decode_json(body)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"form": body.decode(errors="replace")}


def dependencies_of(definition: WorkflowDefinition) -> list[JsonObject]:
    """List the functions that a definition calls, each with its tasks, in their order."""
    callers: dict[str, list[JsonValue]] = {}
    for task, _ in all_tasks(definition):
        if isinstance(task, FunctionTask) and task.resource_name:
            callers.setdefault(task.resource_name, []).append(task.name)
    notified = definition.callback.resource_name if definition.callback else None
    if notified:
        callers.setdefault(notified, []).append(COMPLETION)
    return [
        {"resource_name": without_user_info(name), "names": names}
        for name, names in callers.items()
    ]
