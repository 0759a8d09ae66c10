"""A process that dies in the middle of its work loses nothing that was acknowledged."""

import logging
import time
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Functions
from tests.cluster.load import Load, steps, under_load
from tests.cluster.processes import END_S, LOOK_S, OwnStack, kill, proxies, workers
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

log = logging.getLogger(__name__)

MOST_COST_S: Final = 1.0
"""A request takes so much longer at most when a replica is lost."""
TRIES: Final = 4
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
                usual_s = _slowest_of_next(load)
                kill(replicas[0])
                slowest_s = _slowest_of_next(load)
                facts = (
                    f"{len(load.refused)} refused, {slowest_s:.2f} s in place of {usual_s:.2f} s"
                )
                log.warning("the slowest after the loss of a replica: %s", facts)
                if slowest_s - usual_s <= MOST_COST_S:
                    break
        load.check_ends()
        load.check_refusals()
        assert slowest_s - usual_s <= MOST_COST_S, facts
    finally:
        own.stop()


def _slowest_of_next(load: Load) -> float:
    """Return how long the slowest of the next hundred requests takes, and those beside them."""
    load.slowest_s = 0.0
    load.wait_for(len(load.acknowledged) + 100)
    return load.slowest_s


def _both_replicas(own: OwnStack) -> list[int]:
    """Wait until both replicas are there."""
    give_up = time.monotonic() + END_S
    while len(found := workers(own.pid, "ServeReplica")) != 2:
        assert time.monotonic() < give_up, found
        time.sleep(LOOK_S)
    own.wait_until_ready()
    return found
