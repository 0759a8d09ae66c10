"""The views of an execution by name, with their parameters as texts.

Used by `runtime/owner/queries.py`.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from rillflow.core.inspection.graphs import items, level
from rillflow.core.inspection.history.traces import trace
from rillflow.core.inspection.instances import context_part, instance, waits_of
from rillflow.core.inspection.overview import header, summary
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.jsontypes import JsonObject, JsonValue

Parameters: TypeAlias = Mapping[str, str]
_View: TypeAlias = Callable[[Plan, ExecutionState, int, Parameters], JsonObject | None]

SUMMARY: Final = "summary"
"""The only view whose cost does not depend on the size of the execution."""


def inspect(
    kind: str, plan: Plan, state: ExecutionState, at_ms: int, parameters: Parameters
) -> JsonValue:
    """Return a view of a state at a time; None if what the parameters name does not exist."""
    return _VIEWS[kind](plan, state, at_ms, parameters)


def _summary(plan: Plan, state: ExecutionState, at_ms: int, _: Parameters) -> JsonObject:
    return summary(plan, state, at_ms)


def _header(plan: Plan, state: ExecutionState, at_ms: int, _: Parameters) -> JsonObject:
    return header(plan, state, at_ms)


def _level(plan: Plan, state: ExecutionState, at_ms: int, asked: Parameters) -> JsonObject | None:
    return level(
        plan,
        state,
        at_ms,
        route=asked.get("route", ""),
        offset=_number(asked, "offset"),
        limit=_number(asked, "limit"),
    )


def _items(plan: Plan, state: ExecutionState, _: int, asked: Parameters) -> JsonObject | None:
    return items(
        plan,
        state,
        name=asked["task"],
        offset=_number(asked, "offset"),
        limit=_number(asked, "limit"),
        status=asked.get("status", ""),
    )


def _instance(
    plan: Plan, state: ExecutionState, at_ms: int, asked: Parameters
) -> JsonObject | None:
    return instance(plan, state, at_ms, name=asked["task"])


def _context(_: Plan, state: ExecutionState, __: int, asked: Parameters) -> JsonObject | None:
    return context_part(
        state,
        route=asked.get("route", ""),
        pointer=asked.get("path", ""),
        offset=_number(asked, "offset"),
    )


def _waits(plan: Plan, state: ExecutionState, at_ms: int, asked: Parameters) -> JsonObject | None:
    return waits_of(
        plan,
        state,
        at_ms,
        name=asked.get("task", ""),
        offset=_number(asked, "offset"),
        limit=_number(asked, "limit"),
    )


def _trace(plan: Plan, state: ExecutionState, at_ms: int, _: Parameters) -> JsonObject:
    return trace(plan, state, at_ms)


def _number(asked: Parameters, name: str) -> int:
    return int(asked.get(name, "0"))


_VIEWS: Final[Mapping[str, _View]] = {
    SUMMARY: _summary,
    "header": _header,
    "level": _level,
    "items": _items,
    "instance": _instance,
    "context_part": _context,
    "waits": _waits,
    "trace": _trace,
}
KINDS: Final = frozenset(_VIEWS)
"""The names of all views."""
