"""Executions outlive the nodes that they run on, and a node that was only asleep spoils nothing.

A cluster does not outlive its head: another one goes on with its executions.
"""

import asyncio
import logging
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest

from rillflow.actors.names import execution_actor_name, owner_index
from rillflow.runtime.process.clock import SystemClock
from tests.cluster.api import Api, Functions
from tests.cluster.load import Load, check_mixture_calls, ended_ms, mixture, under_load
from tests.cluster.node_driver import ACTORS
from tests.cluster.processes import announced, wait_until_gone
from tests.cluster.ray_nodes import DEAF, IMPATIENT, RayNodes
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.cluster

log = logging.getLogger(__name__)

EXECUTIONS: Final = 50
LOAD: Final = 200
KEPT: Final = 20
SLOW_FUNCTIONS: Final = "tests/cluster/node_functions.py"
MOVING: Final = Path(__file__).with_name("moving_driver.py")
JOURNAL: Final = "SELECT execution, seq, md5(record) FROM journal ORDER BY execution, seq"


@pytest.fixture(name="store_url")
def _store_url(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture(name="slow_functions")
def _slow_functions() -> Iterator[httpx.Client]:
    with announced(SLOW_FUNCTIONS) as url, httpx.Client(base_url=url, timeout=240) as client:
        yield client


@pytest.fixture(name="nodes")
def _nodes(store_url: str, slow_functions: httpx.Client) -> Iterator[RayNodes]:
    with _two_nodes(store_url, slow_functions, IMPATIENT) as nodes:
        yield nodes


@pytest.fixture(name="deaf_nodes")
def _deaf_nodes(store_url: str, slow_functions: httpx.Client) -> Iterator[RayNodes]:
    with _two_nodes(store_url, slow_functions, DEAF) as nodes:
        yield nodes


@contextmanager
def _two_nodes(
    store_url: str, slow_functions: httpx.Client, health: Mapping[str, str]
) -> Iterator[RayNodes]:
    told = (str(slow_functions.base_url).rstrip("/"),)
    # The sockets of Ray need a short path.
    with tempfile.TemporaryDirectory(prefix="rfn-", dir="/tmp") as folder:
        nodes = RayNodes(Path(folder), store_url, told=told, health=health)
        try:
            yield nodes
        finally:
            nodes.stop()


@pytest.mark.long
def test_when_a_node_is_killed_its_executions_go_on_elsewhere_before_ray_notices(
    deaf_nodes: RayNodes, functions: Functions
) -> None:
    nodes = deaf_nodes
    base_url = nodes.ask("serve")
    before = _on_both_nodes(nodes)
    [dead] = [name for name in before if before[name]["pid"] in nodes.other.pids]
    # Ray only starts them, and finds them.
    assert set(nodes.ask("ways").values()) == {"socket", "network"}
    with under_load(base_url, mixture(functions.url), also=[nodes.ask("replicate")]) as load:
        load.wait_for(LOAD // 2)
        killed_ms = SystemClock().now_ms()
        nodes.other.kill()
        load.wait_for(LOAD)
    load.check_ends()
    load.check_refusals()
    assert _under_way(base_url, load, killed_ms, dead)
    _check_moved(before, nodes.ask("owners"))
    log.warning("from the kill to the end: %s", _delays(base_url, load, killed_ms))
    for execution_id in load.acknowledged:
        check_mixture_calls(functions.calls(execution_id), kills=1)


@pytest.mark.long
def test_a_node_that_was_stopped_meanwhile_writes_nothing_when_it_goes_on(
    nodes: RayNodes, slow_functions: httpx.Client, store_url: str
) -> None:
    before, ids = _running(nodes, slow_functions)
    asleep = [owner["pid"] for owner in before.values() if owner["pid"] in nodes.other.pids]
    nodes.other.signal(signal.SIGSTOP)
    try:
        _check_ends(nodes, ids)
        _check_order(slow_functions)
        _check_moved(before, nodes.ask("owners"))
        written = asyncio.run(_journal(store_url))
    finally:
        nodes.other.signal(signal.SIGCONT)
    # Its owners were replaced; Ray itself may not have noticed, and has the node go on.
    assert asleep
    wait_until_gone(*asleep)
    assert asyncio.run(_journal(store_url)) == written
    _check_ends(nodes, ids)
    # What it was about to call when it fell asleep it may call now.
    _check_keys(slow_functions)


@pytest.mark.long
def test_when_the_head_is_killed_another_cluster_goes_on_with_everything(
    nodes: RayNodes, slow_functions: httpx.Client
) -> None:
    before, ids = _running(nodes, slow_functions)
    left_over = [owner["pid"] for owner in before.values() if owner["pid"] in nodes.other.pids]
    nodes.kill_head()
    nodes.begin_cluster()
    nodes.ask("launch")
    _check_ends(nodes, ids)
    _check_keys(slow_functions)
    # The node without a head had gone on by itself, until the new owners took over.
    wait_until_gone(*left_over)


@pytest.mark.long
def test_a_node_that_comes_gets_its_share_and_one_that_goes_gives_it_back(
    store_url: str, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix="rfn-", dir="/tmp") as folder:
        nodes = RayNodes(Path(folder), store_url, others=0, driver=MOVING, told=(str(tmp_path),))
        try:
            nodes.ask("launch 2")
            nodes.ask(f"keep {KEPT}")
            nodes.ask("doom")
            nodes.add()
            nodes.ask("spread 2")
            assert nodes.ask("died") == 2
            nodes.ask("reserve")
            nodes.ask("spread 1")
            nodes.ask("release")
            nodes.ask("spread 2")
            nodes.ask("drain")
            nodes.ask("spread 1")
            ended = nodes.ask("ends")
            assert set(ended.values()) == {"SUCCEED"}
            # Nothing was repeated: dispatchers finish what they are at before they move, and
            # know what they were told when owners ask again.
            for calls in nodes.ask("calls").values():
                assert [task for task, _ in calls] == ["a", "b", "c"]
        finally:
            nodes.stop()


def _under_way(base_url: str, load: Load, killed_ms: int, owner: str) -> list[str]:
    """Return the executions of an owner that were submitted before a kill and ended after it."""
    with Api(base_url) as api:
        return [
            each
            for each in list(load.acknowledged)[: LOAD // 2]
            if execution_actor_name(owner_index(each, ACTORS)) == owner
            and ended_ms(api.get(each)) > killed_ms
        ]


def _delays(base_url: str, load: Load, killed_ms: int) -> str:
    """Say how long after a kill those executions ended that were under way then."""
    with Api(base_url) as api:
        ended = sorted(ended_ms(api.get(each)) - killed_ms for each in load.acknowledged)
    late = [each / 1000 for each in ended if each > 0][: LOAD // 2]
    gaps = [after - before for before, after in pairwise([0.0, *late])]
    return f"longest gap {max(gaps):.2f} s, median {late[len(late) // 2]:.2f} s"


def _running(nodes: RayNodes, slow_functions: httpx.Client) -> tuple[dict[str, Any], list[str]]:
    """Have executions under way on both nodes; return who owns them, and their ids."""
    nodes.ask("launch")
    owners = _on_both_nodes(nodes)
    ids: list[str] = nodes.ask(f"submit {EXECUTIONS}")
    assert len(set(ids)) == EXECUTIONS
    # Everybody is at the first task, and some are at the second.
    slow_functions.get("/called", params={"count": EXECUTIONS + 10}).raise_for_status()
    return owners, ids


def _on_both_nodes(nodes: RayNodes) -> dict[str, Any]:
    """Return the owners, after a check that there is one on each node."""
    owners: dict[str, Any] = nodes.ask("owners")
    assert len({owner["node"] for owner in owners.values()}) == 2
    assert [owner["pid"] for owner in owners.values() if owner["pid"] in nodes.other.pids]
    return owners


def _check_ends(nodes: RayNodes, ids: list[str]) -> None:
    """Check that all succeeded."""
    assert nodes.ask(f"ends {' '.join(ids)}") == dict.fromkeys(ids, "SUCCEED")


def _calls(slow_functions: httpx.Client) -> list[list[tuple[str, str]]]:
    """Return the calls of each execution: task and idempotency key."""
    calls: dict[str, list[tuple[str, str]]] = slow_functions.get("/calls").json()
    assert len(calls) == EXECUTIONS
    return [[(task, key) for task, key in each] for each in calls.values()]


def _check_order(slow_functions: httpx.Client) -> None:
    """Check that no task was called any more once the next one had been."""
    for calls in _calls(slow_functions):
        called = [task for task, _ in calls]
        assert called == sorted(called)
        assert set(called) == {"a", "b", "c"}


def _check_keys(slow_functions: httpx.Client) -> None:
    """Check that a call that was made again had the same idempotency key."""
    for calls in _calls(slow_functions):
        assert len(set(calls)) == 3


def _check_moved(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that both owners are on the node that is left, and one of them is new there."""
    assert len({owner["node"] for owner in now.values()}) == 1
    moved = [name for name in now if now[name]["pid"] != before[name]["pid"]]
    assert len(moved) == 1


async def _journal(store_url: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(store_url)
    try:
        return [tuple(row) for row in await connection.fetch(JOURNAL)]
    finally:
        await connection.close()
