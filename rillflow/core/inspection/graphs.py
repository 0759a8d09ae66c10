"""The graph of an execution, one level at a time, and the items of its groups.

Used by `core/inspection`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rillflow.core import status as core
from rillflow.core.inspection.overview import idle_ms, wait_view
from rillflow.core.inspection.statuses import Status, letter
from rillflow.core.inspection.waits import Waits, failure_of
from rillflow.core.plan import LevelPlan, Plan, TaskPlan
from rillflow.core.state import ExecutionState, GroupState, TaskState
from rillflow.core.status import COMPLETED
from rillflow.definition.addresses import without_user_info
from rillflow.definition.checks.validation import split_names
from rillflow.definition.model import FunctionTask, SwitchTask
from rillflow.jsontypes import JsonObject, JsonValue

MOST_NODES: Final = 1_000
MOST_EDGES: Final = 10_000
STRIP: Final = 400
"""How many items the strip of a group shows."""
_LONGEST_LABEL: Final = 200
_LONGEST_TEXT: Final = 500
_LONGEST_IDENTITY: Final = 200


def level(  # noqa: PLR0913 - the parameters of the route
    plan: Plan, state: ExecutionState, at_ms: int, *, route: str, offset: int, limit: int
) -> JsonObject | None:
    """Return the tasks of one level with their statuses, and its edges; None for no such level."""
    found = level_of(plan, state, route)
    if found is None:
        return None
    waits = Waits(plan, state)
    prefix = f"{route}-" if route else ""
    names = list(found.tasks)
    shown = names[offset : offset + min(limit, MOST_NODES)]
    nodes: list[JsonValue] = [
        _node(plan, state, waits, state.tasks[prefix + name], at_ms)
        for name in shown
        if prefix + name in state.tasks
    ]
    return {
        "route": route,
        "parents": list(_parents(state, route)),
        "seq": state.seq,
        "at_ms": at_ms,
        "total": len(names),
        "offset": offset,
        "nodes": nodes,
        "edges": [] if offset else _edges(state, found, prefix),
    }


def items(  # noqa: PLR0913 - the parameters of the route
    plan: Plan,
    state: ExecutionState,
    *,
    name: str,
    offset: int,
    limit: int,
    status: str = "",
) -> JsonObject | None:
    """Return iterations or branches of a task in the order of their indexes; None for no task."""
    task = state.tasks.get(name)
    if task is None:
        return None
    statuses = Waits(plan, state).statuses
    conditions = plan.by_name[task.base].conditions
    found: list[JsonValue] = []
    at = offset
    while at < len(task.routes) and len(found) < limit:
        group = state.groups[task.routes[at]]
        group_status = statuses.of_group(group)
        if not status or group_status == status:
            found.append(_item(state, group, group_status, conditions))
        at += 1
    return {
        "task": name,
        "total": task.group_count,
        "seq": state.seq,
        "items": found,
        "next": str(at) if at < len(task.routes) else None,
    }


def definition_graph(found: LevelPlan) -> JsonObject:
    """Return the graph of a definition's level, with those of the levels below."""
    nodes: list[JsonValue] = []
    for task in found.tasks.values():
        node = _facts(task)
        if task.branches:
            conditions = task.conditions or (None,) * len(task.branches)
            node["branches"] = [
                {"condition": condition, "graph": definition_graph(branch)}
                for condition, branch in zip(conditions, task.branches, strict=True)
            ]
        nodes.append(node)
    edges: list[JsonValue] = []
    for task in found.tasks.values():
        labels = _conditions_of(task)
        edges += (
            {"from": task.base, "to": name, **_kind_of(task, name, labels)}
            for name in task.successors
        )
    return {"nodes": nodes, "edges": edges}


def group_view(state: ExecutionState, waits: Waits, task: TaskState, plan: TaskPlan) -> JsonValue:
    """Return the container of a foreach or choice that has groups; None for another task."""
    if not plan.branches:
        return None
    counts = task.group_counts or [0] * len(core.TaskStatus)
    names = {
        Status.SUCCEEDED: counts[core.SUCCEED],
        Status.FAILED: counts[core.FAILED],
        Status.SKIPPED: counts[core.SKIPPED],
        Status.RUNNING: counts[core.RUNNING] + counts[core.KEY_SUCCEED],
        Status.NOT_STARTED: counts[core.READY] + counts[core.NOT_STARTED],
    }
    first = (state.groups[route] for route in task.routes[:STRIP])
    branches: JsonValue = None
    if plan.conditions:
        branches = [(each or "")[:_LONGEST_LABEL] for each in plan.conditions[:STRIP]]
    return {
        "total": task.group_count,
        "started": len(task.routes) - names[Status.NOT_STARTED],
        "done": sum(counts[status] for status in core.TaskStatus if COMPLETED[status]),
        "most_groups": task.most_groups,
        "counts": {str(status): number for status, number in names.items() if number},
        "strip": "".join(letter(waits.statuses.of_group(group)) for group in first),
        "branches": branches,
    }


def level_of(plan: Plan, state: ExecutionState, route: str) -> LevelPlan | None:
    """Return the level of a route, the top level for the empty one; None for no such group."""
    if not route:
        return plan.level
    group = state.groups.get(route)
    if group is None:
        return None
    return plan.by_name[state.tasks[group.parent].base].branches[group.branch]


def _parents(state: ExecutionState, route: str) -> Iterator[JsonValue]:
    steps: list[JsonValue] = []
    while route:
        group = state.groups[route]
        steps.append({"task": group.parent, "route": route, "index": group.index})
        route = state.tasks[group.parent].route
    yield from reversed(steps)


def _node(
    plan: Plan, state: ExecutionState, waits: Waits, task: TaskState, at_ms: int
) -> JsonObject:
    task_plan = plan.by_name[task.base]
    infos = task.invoke.time_infos
    status = waits.statuses.of_task(task)
    message = task.invoke.msg
    wait = waits.of_task(task) if status is not Status.NOT_STARTED else None
    return {
        **_facts(task_plan),
        "name": task.name,
        "base": task.base,
        "status": status,
        "degraded": is_degraded(state, task, task_plan),
        "caught": task.caught,
        "attempts": task.invoke.attempts,
        "started_ms": infos[0].start_ms if infos else None,
        "ended_ms": infos[-1].end_ms if infos else None,
        "idle_ms": idle_ms(state, infos),
        "message": None if message is None else message[:_LONGEST_TEXT],
        "mapping_warnings": task.mapping_warnings,
        "sub_flow": task.invoke.referenced_execution_id,
        "wait": wait_view(wait, at_ms),
        "group": group_view(state, waits, task, task_plan),
    }


def is_degraded(state: ExecutionState, task: TaskState, plan: TaskPlan) -> bool:
    """Tell whether an instance was skipped by its degrade switch."""
    switch = state.degrades.get(task.base)
    is_switched = switch.current if switch else plan.degrade_current
    return task.status is core.SKIPPED and is_switched


def _facts(plan: TaskPlan) -> JsonObject:
    """Return what the definition says about a task, without its mappings."""
    spec = plan.spec
    facts: JsonObject = {
        "name": plan.base,
        "title": None if spec.title is None else spec.title[:_LONGEST_LABEL],
        "category": plan.category,
        "key": spec.key_callback,
        "pattern": None,
        "resource": None,
        "most_attempts": 1,
    }
    if isinstance(spec, FunctionTask):
        resource = spec.resource_name
        retries = (spec.retry and spec.retry.max_retries) or 0
        facts |= {
            "pattern": spec.pattern or "task_sync",
            "resource": None if not resource else without_user_info(resource)[:_LONGEST_TEXT],
            "most_attempts": 1 + max(retries, 0),
        }
    return facts


def _edges(state: ExecutionState, found: LevelPlan, prefix: str) -> list[JsonValue]:
    edges: list[JsonValue] = []
    for task in found.tasks.values():
        instance = state.tasks.get(prefix + task.base)
        conditions = _conditions_of(task)
        for name in task.successors:
            edge: JsonObject = {"from": prefix + task.base, "to": prefix + name}
            taken = None if instance is None else _is_taken(state, instance, task, name)
            edges.append({**edge, **_kind_of(task, name, conditions), "taken": taken})
            if len(edges) >= MOST_EDGES:
                return edges
    return edges


def _conditions_of(task: TaskPlan) -> dict[str, str]:
    """Return the condition by which a switch leads to each of its successors, the first one."""
    conditions: dict[str, str] = {}
    if isinstance(task.spec, SwitchTask):
        for entry in task.spec.switches or ():
            label = (entry.condition or "")[:_LONGEST_LABEL]
            for name in split_names(entry.next or ""):
                conditions.setdefault(name, label)
    return conditions


def _kind_of(task: TaskPlan, successor: str, conditions: Mapping[str, str]) -> JsonObject:
    """Return kind and label of an edge: a switch has its condition, a catch its name."""
    if task.catch and task.catch == successor:
        return {"kind": "catch", "label": None}
    if successor in conditions:
        return {"kind": "switch", "label": conditions[successor]}
    return {"kind": "next", "label": None}


def _is_taken(state: ExecutionState, task: TaskState, plan: TaskPlan, name: str) -> bool | None:
    """Tell whether an ended task led on to a successor; None while that is open."""
    successor = task.name.removesuffix(plan.base) + name
    if not COMPLETED[task.status] and task.status is not core.KEY_SUCCEED:
        return None
    if task.is_skipping(plan.places[name], successor):
        return False
    following = state.tasks.get(successor)
    if task.status is core.FAILED or following is None:
        return False
    if following.status is core.NOT_STARTED:
        return None
    return not (following.status is core.SKIPPED and not following.invoke.time_infos)


def _item(
    state: ExecutionState, group: GroupState, status: Status, conditions: Sequence[str | None]
) -> JsonObject:
    identity = group.identity
    text = identity if isinstance(identity, str) else None
    failed = None
    if group.status is core.FAILED:
        members = (state.tasks[name] for name in group.members)
        failed = next((task for task in members if task.status is core.FAILED), None)
    return {
        "index": group.index,
        "route": group.route,
        "status": status,
        "identity": None if text is None else text[:_LONGEST_IDENTITY],
        "condition": (conditions[group.index] or "")[:_LONGEST_LABEL] if conditions else None,
        "progress": {
            "done": sum(group.counts[each] for each in core.TaskStatus if COMPLETED[each]),
            "total": len(group.members),
        },
        "failure": None if failed is None else failure_of(failed),
    }
