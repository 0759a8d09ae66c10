"""Starting sub-flows: a dispatch whose function is another workflow (SEMANTICS 3.15)."""

from rillflow.core.commands import DispatchTask
from rillflow.core.events import ExecutionSubmitted, ParentLink, RouteStep
from rillflow.errors import RequestError, RillflowError
from rillflow.ids import child_execution_id
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Executions, Submission
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.store import Catalogue
from rillflow.runtime.descriptors import resolve_descriptor

PROTOCOL = "rillflow"
MOST_LEVELS = 5
UNSUPPORTED = 30606


def is_flow(request: DispatchTask) -> bool:
    """Tell whether a dispatch starts a sub-flow instead of calling a gateway."""
    protocol = request.resource_protocol or request.resource_name.partition("://")[0]
    return protocol == PROTOCOL and request.resource is None


async def start_flow(
    request: DispatchTask, *, catalogue: Catalogue, executions: Executions, clock: Clock, host: str
) -> DispatchAnswer:
    """Start the sub-flow of one attempt; repeating it finds the same execution.

    Returns:
        An answer with body ``{"execution_id": <child>}``, or with the reason why not.
    """
    try:
        child = await _submit(request, catalogue, executions, clock, host)
    except RillflowError as error:
        return DispatchAnswer(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            error=f"handle fails: {error}",
        )
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=encode_json({"execution_id": child}),
    )


async def _submit(
    request: DispatchTask, catalogue: Catalogue, executions: Executions, clock: Clock, host: str
) -> str:
    route = (
        *(RouteStep(execution_id=e, task=t, pattern=p) for e, t, p in request.route),
        RouteStep(execution_id=request.execution_id, task=request.task, pattern=request.pattern),
    )
    if len(route) >= MOST_LEVELS:
        steps = "->".join(f"{step.execution_id}#{step.task}" for step in route)
        raise RequestError(f"exceed max depth, dag route: {steps}", wire_code=UNSUPPORTED)
    data = decode_json(request.input)
    document: JsonObject = data if isinstance(data, dict) else {}
    target = request.resource_name.partition("://")[2] or request.resource_name
    found = await resolve_descriptor(catalogue, target, uid=_uid(document), data=document)
    child = child_execution_id(
        found.business,
        found.feature,
        parent=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        at_ms=request.at_ms,
    )
    event = ExecutionSubmitted(
        at_ms=clock.now_ms(),
        execution_id=child,
        definition_id=found.version or "",
        data=request.input,
        host=host,
        parent=ParentLink(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            pattern=request.pattern,
        ),
        route=route,
    )
    submission = Submission(business=found.business, feature=found.feature, event=event)
    (await executions.call(submission)).raise_for_error()
    return child


def _uid(document: JsonObject) -> int:
    uid = document.get("uid")
    if isinstance(uid, str) and uid.isdecimal() and len(uid) <= 18:
        return int(uid)
    return uid if isinstance(uid, int) and not isinstance(uid, bool) else 0
