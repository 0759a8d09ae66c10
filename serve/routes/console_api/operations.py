"""The state of the server on one page: what is well, and what is not.

Used by `serve/api.py`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from fastapi import APIRouter
from starlette.responses import Response

from rillflow.ids import ExecutionId
from rillflow.ports.gateway import DispatcherState, HostState
from rillflow.ports.loops import LoopState
from rillflow.runtime.crashes.quarantine_list import quarantined
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.runtime.stack import Stack
from rillflow.runtime.supervision.cluster_view import cluster_view
from serve.routes.console_api.held_calls import busy_functions
from serve.routes.console_api.searching import counted
from serve.schemas.documentation import ERRORS, NOT_FOUND
from serve.schemas.exchange import json_response
from serve.schemas.search_texts import read_search

MOST_HOSTS: Final = 500
MOST_PROBLEMS: Final = 100
MOST_QUARANTINED: Final = 100
SLOW_TURN_MS: Final = 500.0
"""A loop that was held for so long in the last minute is a problem, whatever held it."""


def router(stack: Stack, watch: LoopWatch) -> APIRouter:
    """Return the route of the page; ``watch`` measures this process."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)

    @routes.get("/operations.json", responses={200: {"description": "The state of the server."}})
    async def operations() -> Response:
        """Show whether all is well, and the hosts, loops and actors of the server."""
        now_ms = stack.clock.now_ms()
        search = read_search({"since": "1h"}, now_ms)
        figures, dispatchers, loops, cluster, held = await asyncio.gather(
            counted(stack, search, 60, now_ms),
            stack.dispatchers.states(),
            stack.loops.states(),
            stack.cluster.state(),
            _held(stack),
        )
        loops = [watch.state(), *loops]
        problems = [
            *_readiness(stack),
            *_of_dispatchers(dispatchers),
            *_of_loops(loops),
            *({"kind": "busy", "subject": each["resource"], "detail": each} for each in held.busy),
            *_of_quarantine(held.quarantined),
        ]
        return json_response(
            {
                "is_well": not problems,
                "at_ms": now_ms,
                "problems": problems[:MOST_PROBLEMS],
                "last_hour": {
                    key: figures[key] for key in ("counts", "buckets", "step_ms", "from_ms")
                },
                "dispatchers": {
                    "count": len(dispatchers),
                    "reached": sum(each.is_reached for each in dispatchers),
                },
                "hosts": [_host(host) for host in _hosts(dispatchers)][:MOST_HOSTS],
                "busy": held.busy,
                "quarantined": _quarantine(held.quarantined),
                "store": {"bytes": held.store_bytes},
                "loops": [_loop(each) for each in loops],
                "cluster": cluster_view(cluster),
                "readiness": {"ready": not stack.readiness.reasons()},
            }
        )

    return routes


class _Held(NamedTuple):
    """What the owners and the store hold."""

    busy: list[dict[str, Any]]
    quarantined: dict[ExecutionId, str]
    store_bytes: int


async def _held(stack: Stack) -> _Held:
    return _Held(
        *await asyncio.gather(
            _busy(stack), quarantined(stack.store, stack.executions), stack.store.size_bytes()
        )
    )


def _quarantine(held: Mapping[ExecutionId, str]) -> dict[str, Any]:
    """Return the number of executions in quarantine, and the first of them."""
    shown = sorted(held)[:MOST_QUARANTINED]
    listed = [{"execution_id": each, "reason": held[each]} for each in shown]
    return {"total": len(held), "executions": listed}


async def _busy(stack: Stack) -> list[dict[str, Any]]:
    """List the functions that accept no calls for a time, as any owner has heard."""
    found = await busy_functions(stack)
    return [
        {"resource": name, "for_ms": for_ms} for name, for_ms in sorted(found.items())[:MOST_HOSTS]
    ]


def _readiness(stack: Stack) -> Iterator[dict[str, Any]]:
    for kind, reasons in (
        ("not_ready", stack.readiness.reasons()),
        ("warning", stack.readiness.warnings()),
    ):
        for reason in reasons:
            detail = {"code": reason.code, "message": reason.message}
            yield {"kind": kind, "subject": reason.code, "detail": detail}


def _of_dispatchers(states: Iterable[DispatcherState]) -> Iterator[dict[str, Any]]:
    for number, state in enumerate(states):
        if not state.is_reached:
            subject = str(number)
            yield {"kind": "dispatcher_unreachable", "subject": subject, "detail": {}}
        for host in state.hosts:
            circuits = (each for each in (host.host, *host.functions) if each.state != "closed")
            for circuit in circuits:
                detail: dict[str, Any] = {
                    "state": circuit.state,
                    "failures": circuit.failures,
                    "open_for_ms": int(circuit.open_for_s * 1000),
                    "held": host.held,
                }
                yield {"kind": "circuit_open", "subject": circuit.name, "detail": detail}
            if host.warnings:
                warned = {"warnings": host.warnings}
                yield {"kind": "limit_reached", "subject": host.host.name, "detail": warned}


def _of_loops(states: Iterable[LoopState]) -> Iterator[dict[str, Any]]:
    for state in states:
        if state.is_reached and state.longest_of_minute_ms > SLOW_TURN_MS:
            detail = {"longest_of_minute_ms": state.longest_of_minute_ms}
            yield {"kind": "loop_held", "subject": state.process, "detail": detail}


def _of_quarantine(held: Mapping[ExecutionId, str]) -> Iterator[dict[str, Any]]:
    """Yield one problem for all executions in quarantine, which are listed beside."""
    if held:
        detail = {"count": len(held)}
        yield {"kind": "quarantined", "subject": min(held), "detail": detail}


def _hosts(states: Iterable[DispatcherState]) -> Iterator[HostState]:
    for state in states:
        yield from state.hosts


def _host(state: HostState) -> dict[str, Any]:
    return {
        "name": state.host.name,
        "state": state.host.state,
        "failures": state.host.failures,
        "open_for_ms": int(state.host.open_for_s * 1000),
        "under_way": state.under_way,
        "waiting": state.waiting,
        "held": state.held,
        "rate_per_s": state.rate_per_s,
        "idle_ms": None if state.idle_s is None else int(state.idle_s * 1000),
        "functions": [
            {"name": each.name, "state": each.state, "failures": each.failures}
            for each in state.functions[:MOST_HOSTS]
        ],
        "warnings": state.warnings,
    }


def _loop(state: LoopState) -> dict[str, Any]:
    return {
        "process": state.process,
        "reached": state.is_reached,
        "longest_ms": state.longest_ms,
        "longest_of_minute_ms": state.longest_of_minute_ms,
        "slow_turns": state.slow_turns,
    }
