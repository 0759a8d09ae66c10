"""A call that waits says what holds it back, as the dispatchers know it."""

from typing import Any, Final

import pytest

from rillflow.ports.gateway import CircuitState, HostState
from rillflow.ray_tasks.limits.node_resources import demand_of, needs_of, vain_wait
from serve.routes.console_api.held_calls import _held, _HeldCalls, _origin

FUNCTION: Final = "ray://film:draw"
GPUS: Final = {"num_cpus": 0.5, "num_gpus": 8}
VAIN: Final = vain_wait(FUNCTION, needs_of(demand_of(GPUS)))


def host(name: str, *, waiting: int = 0, warnings: list[str] | None = None) -> HostState:
    return HostState(
        host=CircuitState(name=name, state="closed", failures=0, open_for_s=0.0),
        under_way=1,
        waiting=waiting,
        held=0,
        rate_per_s=None,
        functions=[],
        warnings=warnings or [],
    )


def held(resource: str, *hosts: HostState, **options: Any) -> Any:
    """Return the wait of a call of the resource, as the dispatchers with these hosts have it."""
    detail = {"attempt": 1, "resource": resource, "ray_options": options}
    wait: dict[str, Any] = {
        "task": "draw",
        "base": "draw",
        "kind": "call",
        "status": "running",
        "since_ms": 0,
        "until_ms": None,
        "detail": detail,
        "actions": [],
    }
    found: dict[str, list[HostState]] = {}
    for each in hosts:
        found.setdefault(_origin(each.host.name), []).append(each)
    return _held(wait, _HeldCalls(found, {}, frozenset()), 0)


def test_a_call_that_no_node_can_run_says_what_it_needs() -> None:
    ray = host("ray://", waiting=3, warnings=[f"{VAIN} (calls: 2)"])
    wait = held(FUNCTION, ray, **GPUS)
    assert (wait["kind"], wait["status"]) == ("resources", "held")
    assert wait["detail"]["needs"] == "CPU 0.5, GPU 8"
    assert wait["sentence"] == (
        "The call of draw waits for a node with CPU 0.5, GPU 8, and none has it."
        " It waits since 00:00:00."
    )


@pytest.mark.parametrize(("resource", "options"), [(FUNCTION, {}), ("ray://film:join", GPUS)])
def test_another_call_than_that_is_in_its_turn(resource: str, options: dict[str, Any]) -> None:
    ray = host("ray://", waiting=3, warnings=[f"{VAIN} (calls: 2)"])
    assert held(resource, ray, **options)["kind"] == "limit"


def test_what_any_dispatcher_says_counts() -> None:
    vain = host("ray://", warnings=[f"{VAIN} (calls: 2)"])
    for hosts in ((vain, host("ray://")), (host("ray://"), vain)):
        assert held(FUNCTION, *hosts, **GPUS)["kind"] == "resources"
    several = held(FUNCTION, host("ray://", waiting=1), host("ray://", waiting=4))
    assert (several["kind"], several["detail"]["waiting"]) == ("limit", 5)
    assert held(FUNCTION, host("ray://"), host("ray://"))["kind"] == "call"


@pytest.mark.parametrize(
    ("resource", "counted_by"),
    [
        ("ray-actor://counter@models/add", "ray-actor://counter@models"),
        ("ray-actor://counter/add", "ray-actor://counter"),
        ("serve://scores/Scorer/best", "serve://scores"),
        ("ray-job://train", "ray-job://train"),
        ("http://scores/function/a", "scores"),
    ],
)
def test_a_call_waits_with_those_that_are_counted_with_it(resource: str, counted_by: str) -> None:
    others = [host(name, waiting=2) for name in ("ray://", "models", "other", "serve://other")]
    assert held(resource, *others)["kind"] == "call"
    assert held(resource, *others, host(counted_by, waiting=2))["kind"] == "limit"
