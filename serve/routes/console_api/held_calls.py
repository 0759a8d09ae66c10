"""Calls that dispatchers hold back: what the journal of an execution does not know.

A wait for a call is shown as one for the circuit, the limit, the pause or the resources of a node
that it waits for, where the dispatchers say so now, or for room, where its owner says so.

Used by `serve/routes/console_api`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

import msgspec

from rillflow.core.inspection.overview import wait_view
from rillflow.core.inspection.statuses import Status
from rillflow.core.inspection.waits import Wait
from rillflow.definition.addresses import RAY_PROTOCOLS, without_user_info
from rillflow.ids import ExecutionId, workflow_of
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
from rillflow.ports.executions import ResourceCall
from rillflow.ports.gateway import HostState
from rillflow.ports.readiness import CALLBACKS_UNREACHABLE
from rillflow.ray_tasks.limits.node_resources import demand_of, needs_of, vain_wait
from rillflow.runtime.stack import Stack
from rillflow.url_parts import split_url

UNREACHED: Final = "The address for callbacks does not answer, so none may arrive."
CALLS: Final = frozenset({"call", "poll_call"})


async def busy_functions(stack: Stack, service: str = "") -> dict[str, int]:
    """Return the functions that accept no calls for a time, in milliseconds, as owners know it.

    Those that accept none of a service, or else none of any service.
    """
    found: dict[str, int] = {}
    for reply in await stack.executions.ask_all(ResourceCall(kind="blocks", service=service)):
        blocks = decode_json(reply.body) if reply.body else None
        if isinstance(blocks, dict):
            for resource, left_s in blocks.items():
                if isinstance(left_s, int | float):
                    name = without_user_info(resource)
                    found[name] = max(found.get(name, 0), int(left_s * 1000))
    return found


async def with_held_calls(
    stack: Stack, execution_id: ExecutionId, body: bytes, at_ms: int
) -> bytes:
    """Return a list of waits of an execution in which calls that are held back say so."""
    answer = decode_json(body)
    waits = answer.get("waits") if isinstance(answer, dict) else None
    if not isinstance(waits, list) or not isinstance(answer, dict):
        return body
    if CALLBACKS_UNREACHABLE in stack.readiness.warnings():
        waits = list(map(_unreached, waits))
        body = encode_json({**answer, "waits": waits})
    if not any(map(_is_call, waits)):
        return body
    hosts: dict[str, list[HostState]] = defaultdict(list)  # one for each dispatcher
    for host in await _hosts(stack):
        hosts[_origin(host.host.name)].append(host)
    held = _HeldCalls(
        hosts,
        await busy_functions(stack, workflow_of(execution_id)),
        await _waiting_for_room(stack, execution_id),
    )
    shown = [
        _held(wait, held, at_ms) if isinstance(wait, dict) and _is_call(wait) else wait
        for wait in waits
    ]
    return encode_json({**answer, "waits": shown})


def _unreached(wait: JsonValue) -> JsonValue:
    """Say of a wait for a callback that none arrives."""
    if not isinstance(wait, dict) or wait.get("kind") != "callback":
        return wait
    return {**wait, "sentence": f"{wait['sentence']} {UNREACHED}"}


async def _hosts(stack: Stack) -> list[HostState]:
    return [host for state in await stack.dispatchers.states() for host in state.hosts]


def _is_call(wait: object) -> bool:
    return isinstance(wait, dict) and wait.get("kind") in CALLS


async def _waiting_for_room(stack: Stack, execution_id: ExecutionId) -> frozenset[str]:
    """Return the tasks of an execution whose large requests wait in their owner."""
    found: set[str] = set()
    for reply in await stack.executions.ask_all(ResourceCall(kind="room", service=execution_id)):
        names = decode_json(reply.body) if reply.body else None
        if isinstance(names, list):
            found |= {name for name in names if isinstance(name, str)}
    return frozenset(found)


class _HeldCalls(NamedTuple):
    """What holds calls back: hosts of dispatchers, busy functions, and room for requests."""

    hosts: Mapping[str, Sequence[HostState]]
    busy: Mapping[str, int]
    without_room: AbstractSet[str]


def _held(wait: JsonObject, back: _HeldCalls, at_ms: int) -> JsonObject:
    detail = wait.get("detail")
    resource = detail.get("resource") if isinstance(detail, dict) else None
    if not isinstance(detail, dict) or not isinstance(resource, str):
        return wait
    for kind, facts in _reasons(wait.get("task"), resource, detail, back):
        known = msgspec.convert(wait, _Known)
        held = Wait(
            task=known.task,
            base=known.base,
            status=Status.HELD,
            kind=kind,
            since_ms=known.since_ms,
            until_ms=known.until_ms,
            detail={**detail, **facts},
        )
        view = wait_view(held, at_ms)
        return view if isinstance(view, dict) else wait
    return wait


class _Known(msgspec.Struct):
    """What is known of a wait already."""

    task: str
    base: str
    since_ms: int | None
    until_ms: int | None


def _reasons(
    task: object, resource: str, detail: JsonObject, back: _HeldCalls
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what may hold a call back, the strongest first."""
    if task in back.without_room:
        yield "room", {}
    for_ms = back.busy.get(resource)
    if for_ms:
        yield "busy", {"for_ms": for_ms}
    origin = _origin(resource)
    found = back.hosts.get(origin, ())
    options = detail.get("ray_options")
    needs = needs_of(demand_of(options if isinstance(options, dict) else {}))
    vain = vain_wait(resource, needs)
    if any(text.startswith(vain) for host in found for text in host.warnings):
        yield "resources", {"host": origin, "needs": needs}
    functions = (each for host in found for each in host.functions if each.name == resource)
    for circuit in (*(host.host for host in found), *functions):
        if circuit.state == "open":
            open_for_ms = int(circuit.open_for_s * 1000)
            yield (
                "circuit",
                {
                    "host": origin,
                    "open_for_ms": open_for_ms,
                    "failures": circuit.failures,
                },
            )
    waiting = sum(host.waiting for host in found)
    if waiting:
        yield (
            "limit",
            {
                "host": origin,
                "under_way": sum(host.under_way for host in found),
                "waiting": waiting,
                "rate_per_s": found[0].rate_per_s,
            },
        )


def _origin(address: str) -> str:
    """Return the host and port of an address, or the text itself if it is none.

    Of a call of Ray it is what its dispatcher counts calls by.
    """
    protocol, _, named = address.partition("://")
    if protocol in RAY_PROTOCOLS:
        return "ray://" if protocol == "ray" else f"{protocol}://{named.partition('/')[0]}"
    try:
        return split_url(address).netloc.rpartition("@")[2] or address
    except ValueError:
        return address
