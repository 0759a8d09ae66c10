"""The workers of a stack are copies of one process, and do without it when it is gone."""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.cluster.api import Functions
from tests.cluster.load import steps, under_load
from tests.cluster.processes import (
    LOOK_S,
    OwnStack,
    fork_servers,
    kill,
    wait_until_gone,
    workers,
)
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

ALL: Final = (
    "DispatcherActor",
    "ExecutionActor",
    "HAProxyManager",
    "ProxyActor",
    "ServeController",
    "ServeReplica",
)
SOON_S: Final = 30.0


@pytest.fixture(name="own")
def _own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    own = OwnStack(tmp_path_factory.mktemp("forked") / "data", closed_port())
    own.start()
    yield own
    own.stop()


def test_workers_are_forked_and_start_without_the_fork_server_if_they_must(
    own: OwnStack, functions: Functions
) -> None:
    [first] = fork_servers(own.pid)
    copies = {name: workers(first, name) for name in ALL}
    assert all(len(each) == 1 for each in copies.values()), copies
    with under_load(own.base_url, steps(functions.url)) as load:
        load.wait_for(50)
        kill(first, *copies["ExecutionActor"])
        load.wait_for(len(load.acknowledged) + 50)
        second = _another_fork_server(own.pid)
        kill(*workers(own.pid, "ExecutionActor"))
        load.wait_for(len(load.acknowledged) + 50)
    load.check_ends()
    load.check_refusals()
    assert len(workers(second, "ExecutionActor")) == 1
    own.stop()
    wait_until_gone(*(pid for each in copies.values() for pid in each))


def _another_fork_server(pid: int) -> int:
    give_up = time.monotonic() + SOON_S
    while not (found := fork_servers(pid)):
        assert time.monotonic() < give_up, "no fork server was started again"
        time.sleep(LOOK_S)
    return found[0]
