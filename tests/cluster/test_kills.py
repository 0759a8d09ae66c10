"""A process that dies in the middle of its work loses nothing that was acknowledged."""

import logging
import time
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Functions
from tests.cluster.load import steps, under_load
from tests.cluster.processes import END_S, LOOK_S, OwnStack, kill, proxies, workers
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

log = logging.getLogger(__name__)

MOST_WAIT_S: Final = 5.0
"""The bound on a busy machine; `docs/decisions/ownership/takeover.md` has what was measured."""
TRIES: Final = 3
"""So often a replica is lost until the bound holds: others on the machine hold requests up, too."""


@pytest.mark.parametrize(
    "victim",
    ["ExecutionActor", "DispatcherActor", pytest.param("ServeReplica", marks=pytest.mark.long)],
)
def test_whatever_was_acknowledged_ends_right_when_its_actors_are_killed(
    other_stack: OwnStack, functions: Functions, victim: str
) -> None:
    with under_load(other_stack.base_url, steps(functions.url)) as load:
        load.wait_for(50)
        killed = workers(other_stack.pid, victim)
        kill(*killed)
        load.wait_for(len(load.acknowledged) + 100)
    load.check_ends()
    load.check_refusals()
    assert killed
    assert not set(killed) & set(workers(other_stack.pid, victim))


def test_an_actor_that_is_killed_again_while_it_recovers_loses_nothing(
    other_stack: OwnStack, functions: Functions
) -> None:
    with under_load(other_stack.base_url, steps(functions.url)) as load:
        for count in (30, 60, 90):
            load.wait_for(count)
            kill(*workers(other_stack.pid, "ExecutionActor"))
        load.wait_for(150)
    load.check_ends()
    load.check_refusals()


def test_whatever_was_acknowledged_ends_right_when_the_proxy_is_killed(
    other_stack: OwnStack, functions: Functions
) -> None:
    with under_load(other_stack.base_url, steps(functions.url)) as load:
        load.wait_for(50)
        killed = proxies(other_stack.pid)
        kill(*killed)
        load.wait_for(len(load.acknowledged) + 100)
    load.check_ends()
    load.check_refusals()
    assert killed
    assert not set(killed) & set(proxies(other_stack.pid))


@pytest.mark.long
def test_the_loss_of_one_of_two_replicas_keeps_no_request_waiting(
    tmp_path: Path, functions: Functions
) -> None:
    own = OwnStack(tmp_path / "data", closed_port(), RILLFLOW_REPLICAS="2")
    try:
        own.start()
        with under_load(own.base_url, steps(functions.url)) as load:
            load.wait_for(50)
            for _ in range(TRIES):
                replicas = _both_replicas(own)
                load.slowest_s = 0.0
                kill(replicas[0])
                load.wait_for(len(load.acknowledged) + 100)
                facts = f"{len(load.refused)} refused, the slowest took {load.slowest_s:.2f} s"
                log.warning("after the loss of a replica: %s", facts)
                if load.slowest_s < MOST_WAIT_S:
                    break
        load.check_ends()
        load.check_refusals()
        assert load.slowest_s < MOST_WAIT_S, facts
    finally:
        own.stop()


def _both_replicas(own: OwnStack) -> list[int]:
    """Wait until both replicas are there."""
    give_up = time.monotonic() + END_S
    while len(found := workers(own.pid, "ServeReplica")) != 2:
        assert time.monotonic() < give_up, found
        time.sleep(LOOK_S)
    own.wait_until_ready()
    return found
