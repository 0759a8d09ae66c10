"""Starting sub-flows: a dispatch whose function is another workflow (spec 3.15).

Used by `runtime/commands/dispatching.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeAlias

from rillflow.core.commands import DispatchTask
from rillflow.core.events import (
    ExecutionSettings,
    ExecutionSubmitted,
    ParentLink,
    RouteStep,
)
from rillflow.core.state import ExecutionState
from rillflow.errors import (
    DefectError,
    QuotaError,
    RequestError,
    RillflowError,
    StoreError,
    UnavailableError,
)
from rillflow.ids import (
    DescriptorId,
    ExecutionId,
    child_execution_id,
    child_id_key,
    parse_descriptor_id,
    workspace_of,
)
from rillflow.ids_of_others import hide_ids
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.language.versions import CURRENT
from rillflow.ports.clock import Clock
from rillflow.ports.executions import Executions, Submission
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, failed
from rillflow.ports.storage.store import Catalogue
from rillflow.runtime.definitions.alias_rules import TURNS_OF_PROCESS, RuleTurns
from rillflow.runtime.definitions.catalogue import resolve_descriptor
from rillflow.setting_values import EVERY_WORKSPACE
from rillflow.telemetry.trace_context import TraceParent, TraceStart, attempt_id, trace_id_of

MOST_LEVELS = 5
UNSUPPORTED = 30606


Workspaces: TypeAlias = Mapping[str, frozenset[str]]


class StoreLimits(Protocol):
    """Counts bytes that are about to be stored for a workspace; raises if they have no room."""

    async def __call__(self, workspace: str, size_bytes: int) -> None:
        """Count those of a sub-flow."""
        ...

    def take_signal(self, workspace: str, size_bytes: int) -> None:
        """Count those of a signal for a suspense."""
        ...


class NoStoreLimits:
    """Has room for everything."""

    async def __call__(self, workspace: str, size_bytes: int) -> None:
        """Have room for a sub-flow."""

    def take_signal(self, workspace: str, size_bytes: int) -> None:
        """Have room for a signal."""


without_limit: Final = NoStoreLimits()


class Inherited(NamedTuple):
    """What a sub-flow inherits from the execution that starts it.

    ``id_key`` derives the ids of the family; families that an earlier release began have none.
    ``trace`` is that of the parent, to which the sub-flow's own is linked.
    """

    settings: ExecutionSettings
    id_key: bytes = b""
    trace: TraceStart | None = None


def inherited_from(state: ExecutionState) -> Inherited:
    """Return what a sub-flow inherits from an execution."""
    settings = ExecutionSettings(
        context_max_bytes=state.context_max_bytes,
        foreach_max_items=state.foreach_max_items,
        expected_callback_s=state.expected_callback_s,
        max_descendants=state.max_descendants,
        strict_mappings=state.strict_mappings,
        turn_max_steps=state.turn_max_steps,
        turn_max_bytes=state.turn_max_bytes,
        turn_max_task_steps=state.turn_max_task_steps,
        execution_max_tasks=state.execution_max_tasks,
        foreach_in_portions=state.foreach_in_portions,
    )
    return Inherited(settings, state.id_key, state.trace)


async def start_flow(  # noqa: PLR0913 - the ports it joins
    request: DispatchTask,
    *,
    catalogue: Catalogue,
    executions: Executions,
    clock: Clock,
    host: str,
    inherited: Inherited,
    workspaces: Workspaces = MappingProxyType({}),
    turns: RuleTurns = TURNS_OF_PROCESS,
    take_store: StoreLimits = without_limit,
) -> DispatchAnswer:
    """Start the sub-flow of one attempt; a repetition finds the same execution.

    The submitter, for gray and A/B rules, is ``uid`` of the data, or else 0. ``workspaces`` are
    those in which workspaces may start sub-flows beside their own; without any they may in all.
    Gray rules are evaluated in ``turns``. Its data are stored for the workspace of the outermost
    execution.

    Returns:
        An answer with body ``{"execution_id": <child>}``, or with the reason of the failure.

    Raises:
        StoreError: The catalogue could not be read, or the sub-flow not be made durable; retry.
        UnavailableError: The sub-flow's owner could not be reached; retry.
        DefectError: Its owner met a defect, perhaps after it started the sub-flow; retry.
    """
    try:
        refuse_workspace(request, workspaces, _target_of(request))
        outermost = request.route[0][0] if request.route else request.execution_id
        await take_store(workspace_of(outermost), len(request.input))
        child = await _submit(request, catalogue, executions, clock, host, inherited, turns)
    except QuotaError as error:
        return failed(request, f"{HANDLE_FAILS}{_told(request, error)}")
    except (StoreError, UnavailableError, DefectError):
        raise
    except RillflowError as error:
        return failed(request, f"{HANDLE_FAILS}{_told(request, error)}")
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=encode_json({"execution_id": child}),
    )


def _told(request: DispatchTask, error: RillflowError) -> str:
    """Return the message of an error; all that are above in the chain get it too.

    So it has ids only if all executions of the chain, and those which it names, are of one
    workspace.
    """
    chain = {workspace_of(id_above) for id_above, _, _ in request.route}
    chain.add(workspace_of(request.execution_id))
    return hide_ids(str(error).encode(), lambda named: chain == {named}).decode()


def child_of(answer: DispatchAnswer) -> ExecutionId | None:
    """Return the execution that an answer of ``start_flow`` names, None after a failure."""
    said = decode_json(answer.body) if answer.body else None
    child = said.get("execution_id") if isinstance(said, dict) else None
    return child if isinstance(child, str) else None


async def _submit(  # noqa: PLR0913, PLR0917 - as above
    request: DispatchTask,
    catalogue: Catalogue,
    executions: Executions,
    clock: Clock,
    host: str,
    inherited: Inherited,
    turns: RuleTurns,
) -> str:
    route = _route_of(request)
    found, uid = await _target_by_input(request, catalogue, turns)
    child = child_execution_id(
        found.business,
        found.feature,
        attempt=request.key,
        at_ms=request.at_ms,
        key=inherited.id_key,
    )
    event = ExecutionSubmitted(
        at_ms=clock.now_ms(),
        execution_id=child,
        definition_id=found.version or "",
        data=request.input,
        host=host,
        parent=_parent_of(request),
        route=route,
        uid=uid,
        id_key=_key_of_child(request, inherited.id_key),
        language=CURRENT,
        trace=_trace_of_child(child, request, inherited.trace),
        **inherited.settings,
    )
    submission = Submission(business=found.business, feature=found.feature, event=event)
    (await executions.call(submission)).raise_for_error()
    return child


async def _target_by_input(
    request: DispatchTask, catalogue: Catalogue, turns: RuleTurns
) -> tuple[DescriptorId, int]:
    """Return what a dispatch starts, and the submitter that its input names.

    The decoded input may take twenty times as much memory as its text. So nobody refers to it any
    more when the sub-flow is submitted, which waits for its turn, with hundreds of others perhaps.
    """
    data = decode_json(request.input)
    document: JsonObject = data if isinstance(data, dict) else {}
    target, uid = _target_of(request), _uid(document)
    found = await resolve_descriptor(catalogue, target, uid=uid, data=document, turns=turns)
    return found, uid


def refuse_workspace(
    request: DispatchTask, workspaces: Workspaces, target: str, may: str = "start workflows"
) -> None:
    """Refuse what is of another workspace before it is looked up: whether it is there is secret.

    Raises:
        RequestError: The workspace of the execution may use nothing there.
        InvalidIdError: The target is no name of a workflow.
    """
    if not workspaces:
        return
    own = request.execution_id.partition(":")[0]
    other = parse_descriptor_id(target).business
    allowed = workspaces.get(own, workspaces.get(EVERY_WORKSPACE, frozenset()))
    if other != own and allowed.isdisjoint((other, EVERY_WORKSPACE)):
        raise RequestError(
            f"the workspace {own} may not {may} of the workspace {other}: the setting"
            " subflow_workspaces names those where it may"
        )


def _target_of(request: DispatchTask) -> str:
    return request.resource_name.partition("://")[2] or request.resource_name


def _route_of(request: DispatchTask) -> tuple[RouteStep, ...]:
    """Return the chain of sub-flows down to the one that a dispatch starts.

    Raises:
        RequestError: It is too long (30606).
    """
    route = (
        *(RouteStep(execution_id=e, task=t, pattern=p) for e, t, p in request.route),
        RouteStep(execution_id=request.execution_id, task=request.task, pattern=request.pattern),
    )
    if len(route) >= MOST_LEVELS:
        steps = "->".join(f"{step.execution_id}#{step.task}" for step in route)
        raise RequestError(f"exceed max depth, dag route: {steps}", wire_code=UNSUPPORTED)
    return route


def _parent_of(request: DispatchTask) -> ParentLink:
    return ParentLink(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        pattern=request.pattern,
    )


def _trace_of_child(
    child: ExecutionId, request: DispatchTask, trace: TraceStart | None
) -> TraceStart | None:
    """Return the trace of a sub-flow: one of its own, sampled if that of its parent is."""
    if trace is None:
        return None
    attempt = attempt_id(request.execution_id, request.task, request.attempt)
    link = TraceParent(trace.trace_id, attempt, trace.is_sampled)
    return TraceStart(trace_id_of(child), "", trace.is_sampled, link)


def _key_of_child(request: DispatchTask, key: bytes) -> bytes:
    """Return the secret key of a sub-flow; families of earlier releases have none."""
    return child_id_key(request.key, key=key) if key else b""


def _uid(document: JsonObject) -> int:
    uid = document.get("uid")
    if isinstance(uid, str) and uid.isdecimal() and len(uid) <= 18:
        return int(uid)
    is_number = isinstance(uid, int) and not isinstance(uid, bool) and abs(uid) < 1 << 63
    return uid if isinstance(uid, int) and is_number else 0
