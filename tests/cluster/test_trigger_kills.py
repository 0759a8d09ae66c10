"""Triggers fire every time once although the actors that fire them are killed."""

import time
from typing import Any, Final

import pytest

import rillflow
from rillflow.runtime.triggers.ahead import LEAST_AHEAD
from tests.cluster.processes import LOOK_S, OwnStack, kill, workers

pytestmark = pytest.mark.cluster

WAIT_S: Final = 120
NAMES: Final = tuple(f"t{number}" for number in range(LEAST_AHEAD + 8))
"""So many that their executions are prepared before each second."""
DEFINITION: Final = """
workspace: triggered
dagName: order
type: flow
tasks: [{name: A, category: pass, inputMappings: [{source: $.context.a, target: $.input.a}]}]
"""


def fired(client: rillflow.Client) -> dict[str, Any]:
    return {each["id"]: each for each in client.triggers.all() if each["id"] in NAMES}


def wait_for(client: rillflow.Client, firings: int) -> dict[str, Any]:
    """Wait until every trigger has fired so often."""
    give_up_s = time.monotonic() + WAIT_S
    while True:
        found = fired(client)
        if all(each["fired"] >= firings for each in found.values()):
            return found
        assert time.monotonic() < give_up_s, found
        time.sleep(LOOK_S)


def test_every_time_is_fired_once_when_the_owners_of_triggers_are_killed(
    other_stack: OwnStack,
) -> None:
    with rillflow.Client(other_stack.base_url) as client:
        client.add(DEFINITION)
        for name in NAMES:
            client.triggers.add(
                "triggered:order", "* * * * * *", {"a": 1}, trigger_id=name, catch_up=1000
            )
        for _ in range(2):
            before = wait_for(client, 2)
            killed = workers(other_stack.pid, "ExecutionActor")
            kill(*killed)
            most = max(each["fired"] for each in before.values())
            wait_for(client, most + 3)
        for name in NAMES:
            client.triggers.pause(name)
        give_up_s = time.monotonic() + WAIT_S
        while True:
            found = fired(client)
            started = client.executions(business="triggered", limit=100_000)
            if len(started) == sum(each["fired"] for each in found.values()):
                break
            assert time.monotonic() < give_up_s, (len(started), found)
            time.sleep(LOOK_S)
        for name in NAMES:
            client.triggers.remove(name)
    assert killed
    for each in found.values():
        first_s, last_s = each["created_ms"] // 1000, each["last_ms"] // 1000
        assert each["fired"] == last_s - first_s, "no second is missing, none was fired twice"
