"""Commands deploy, roll to the next release and back while executions run, and stop everything.

``RILLFLOW_EARLIER_RELEASE`` may name the folder of an earlier working copy, to roll from there.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from rillflow.ports.deployment import PROTOCOL, protocol_of
from serve.listening import free_port
from tests.api.definition_texts import SUSPENDED
from tests.cluster.api import Api, Functions
from tests.cluster.load import (
    CALLERS,
    Load,
    check_mixture_calls,
    ended_ms,
    mixture,
    steps,
    under_load,
)
from tests.cluster.other_release import make_release, shipped
from tests.cluster.processes import ROOT
from tests.cluster.ray_nodes import IMPATIENT, RayNode
from tests.cluster.serve_cluster import ServeCluster
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.cluster, pytest.mark.long]

log = logging.getLogger(__name__)

RATE_PER_S: Final = 20
FILE: Final = "serve/config.yaml"
LONG_S: Final = 180
LOOK_S: Final = 0.5
MOST_GAP_S: Final = 5.0
"""The longest time without a completion; `docs/performance.md` has what was measured."""
MOST_GAP: Final = 0.25
"""The same as a part of the time that the replacement takes, which grows on a busy machine."""
BEFORE: Final = 40
LEFT: Final = """python -c "
import ray
ray.init(address='auto', log_to_driver=False, logging_level='ERROR')
for each in ray.util.list_named_actors(all_namespaces=True): print(each['name'])
" """
COUNTS: Final = {"RILLFLOW_EXECUTION_ACTORS": "2", "RILLFLOW_DISPATCHER_ACTORS": "1"}
ON_TWO_NODES: Final = COUNTS | {"RILLFLOW_DISPATCHER_ACTORS": "2"}


@pytest.fixture(name="folder", scope="module")
def _folder() -> Iterator[Path]:
    # The sockets of Ray need a short path.
    with tempfile.TemporaryDirectory(prefix="ru", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(name="earlier", scope="module")
def _earlier(folder: Path) -> str:
    named = os.environ.get("RILLFLOW_EARLIER_RELEASE")
    release = Path(named) if named else make_release(folder / "earlier", PROTOCOL - 1)
    return shipped(release, folder / "earlier.zip")


@pytest.fixture(name="ours", scope="module")
def _ours(folder: Path) -> str:
    return shipped(ROOT, folder / "ours.zip")


@pytest.fixture(name="cluster", scope="module")
def _cluster(folder: Path, earlier: str) -> Iterator[ServeCluster]:
    cluster = ServeCluster(folder)
    try:
        cluster.head.start(folder)
        cluster.write(earlier, **COUNTS)
        assert "everything runs as wanted" in cluster.control(f"deploy {FILE}")
        yield cluster
    finally:
        cluster.head.kill()


class TwoNodes(NamedTuple):
    """A deployment on the head and another node."""

    cluster: ServeCluster
    second: RayNode


@pytest.fixture(name="two_nodes")
def _two_nodes(server: PostgresServer, earlier: str) -> Iterator[TwoNodes]:
    with tempfile.TemporaryDirectory(prefix="ru", dir="/tmp") as name, ExitStack() as ends:
        cluster = ServeCluster(Path(name), RILLFLOW_STORE=server.new_database(), **IMPATIENT)
        ends.callback(cluster.head.kill)
        cluster.head.start(cluster.folder)
        head = cluster.head
        second = RayNode(
            cluster.folder / "second.log",
            head.environment,
            f"--address={head.address}",
            # In one session folder, the nodes would unpack the same archive over each other.
            f"--temp-dir={cluster.folder / 'r'}",
            cwd=cluster.folder,
        )
        ends.callback(second.kill)
        cluster.write(earlier, **ON_TWO_NODES)
        assert "everything runs as wanted" in cluster.control(f"deploy {FILE}")
        yield TwoNodes(cluster, second)


def _until(cluster: ServeCluster, holds: Callable[[Any], bool]) -> Any:
    give_up = time.monotonic() + LONG_S
    while True:
        state = cluster.cluster()
        if state is not None and holds(state):
            return state
        assert time.monotonic() < give_up, (state, cluster.status())
        time.sleep(LOOK_S)


def _until_rolled(cluster: ServeCluster, protocol: int) -> Any:
    def is_rolled(state: Any) -> bool:
        versions = {actor["code_version"] for actor in state["actors"]}
        return state["converged"] and {protocol_of(each) for each in versions} == {protocol}

    return _until(cluster, is_rolled)


def _check_calls(functions: Functions, load: Load) -> None:
    for execution_id in load.acknowledged:
        calls = functions.calls(execution_id, 5)
        assert [call["task"] for call in calls] == [f"step{number}" for number in range(1, 6)]


def _longest_gap_s(api: Api, load: Load) -> float:
    ends = sorted(ended_ms(api.get(each)) for each in load.acknowledged)
    return max(after - before for before, after in pairwise(ends)) / 1000


def test_nothing_is_lost_wrong_or_doubled_on_the_way_there_and_back(
    cluster: ServeCluster, functions: Functions, earlier: str, ours: str
) -> None:
    _check_the_way_there_and_back(cluster, functions, (ours, earlier), COUNTS)


def test_nothing_is_lost_wrong_or_doubled_on_two_nodes_either(
    two_nodes: TwoNodes, functions: Functions, earlier: str, ours: str
) -> None:
    assert len(_nodes(two_nodes.cluster.cluster())) == 2
    _check_the_way_there_and_back(two_nodes.cluster, functions, (ours, earlier), ON_TWO_NODES)


def test_a_node_that_dies_while_actors_are_replaced_costs_no_execution(
    two_nodes: TwoNodes, functions: Functions, ours: str
) -> None:
    cluster, second = two_nodes
    before = cluster.cluster()
    assert len(_nodes(before)) == 2
    pids = _pids(before)
    base_url = f"http://127.0.0.1:{cluster.port}"
    with under_load(base_url, mixture(functions.url), pause_s=CALLERS / RATE_PER_S) as load:
        load.wait_for(BEFORE)
        cluster.write(ours, **ON_TWO_NODES)
        cluster.head.run(f"serve deploy {FILE}", cluster.folder)
        _until(cluster, lambda state: not pids >= _pids(state))  # one is replaced
        second.kill()
        state = _until_rolled(cluster, PROTOCOL)
        load.wait_for(len(load.acknowledged) + BEFORE)
    assert len(_nodes(state)) == 1
    assert state["controller"]["reasons"] == []
    load.check_ends()
    load.check_refusals()
    for execution_id in load.acknowledged:
        check_mixture_calls(functions.calls(execution_id), kills=1)


def _nodes(state: Any) -> set[str]:
    return {actor["node"] for actor in state["actors"]}


def _pids(state: Any) -> set[int]:
    return {actor["pid"] for actor in state["actors"]}


def _check_the_way_there_and_back(
    cluster: ServeCluster,
    functions: Functions,
    releases: tuple[str, str],
    variables: dict[str, str],
) -> None:
    base_url = f"http://127.0.0.1:{cluster.port}"
    flow = steps(functions.url)
    for code, protocol in zip(releases, (PROTOCOL, PROTOCOL - 1), strict=True):
        with under_load(base_url, flow, pause_s=CALLERS / RATE_PER_S) as load:
            load.wait_for(BEFORE)
            begun_s = time.monotonic()
            cluster.write(code, **variables)
            if code == releases[0]:
                assert "everything runs as wanted" in cluster.control(f"upgrade {FILE}")
            else:
                cluster.head.run(f"serve deploy {FILE}", cluster.folder)
            state = _until_rolled(cluster, protocol)
            took_s = time.monotonic() - begun_s
            load.wait_for(len(load.acknowledged) + BEFORE)
        assert state["controller"]["reasons"] == []
        assert {actor["restarts"] for actor in state["actors"]} == {0}
        load.check_ends()
        load.check_refusals()
        _check_calls(functions, load)
        with Api(base_url) as api:
            gap_s = _longest_gap_s(api, load)
        refused = len(load.refused)
        facts = f"{len(load.acknowledged)} executions, {refused} refused, longest gap {gap_s:.2f} s"
        facts += f", all replaced after {took_s:.0f} s"
        log.warning("to protocol %d: %s", protocol, facts)
        assert gap_s < max(MOST_GAP_S, MOST_GAP * took_s), facts


def test_a_release_that_is_not_the_next_one_is_refused_with_what_to_do(
    cluster: ServeCluster, folder: Path
) -> None:
    before = cluster.cluster()
    distant = make_release(folder / "distant", PROTOCOL + 1)
    cluster.write(shipped(distant, folder / "distant.zip"), **COUNTS)
    cluster.head.run(f"serve deploy {FILE}", cluster.folder)
    told = _until_told(cluster, "speaks protocol")
    assert "deploy the releases between them one after the other" in " ".join(told.split())
    after = cluster.cluster()
    assert [actor["pid"] for actor in after["actors"]] == [
        actor["pid"] for actor in before["actors"]
    ]


def test_a_stop_ends_everything_and_what_was_under_way_goes_on_at_the_next_deployment(
    cluster: ServeCluster, folder: Path, ours: str
) -> None:
    cluster.write(ours, **COUNTS)
    waiting = ""
    for options in ("", "--now"):
        cluster.control(f"deploy {FILE}")
        assert f"Serve runs and listens on 127.0.0.1:{cluster.port}" in _check_elsewhere(cluster)
        with Api(f"http://127.0.0.1:{cluster.port}") as api:
            if waiting:
                assert api.trigger(waiting, "wait", body={"go": True}).status == 200
                assert api.end(waiting).status == "SUCCEED"
            waiting = api.submit(SUSPENDED)
            api.submit(SUSPENDED, isolation="dedicated")
        begun = time.monotonic()
        told = cluster.control(f"stop {options}")
        log.warning("stop %s: %.1f s", options, time.monotonic() - begun)
        assert "Serve ends" in told
        assert cluster.head.run(LEFT, folder).split() == []
    assert "nothing of Rillflow runs" in cluster.head.run("rillflow cluster stop 2>&1 || true")


def _check_elsewhere(cluster: ServeCluster) -> str:
    """Return what the check says of the file with a port that Serve does not listen on."""
    text = (cluster.folder / FILE).read_text(encoding="utf-8")
    other = text.replace(f"port: {cluster.port}", f"port: {free_port()}")
    (cluster.folder / "other.yaml").write_text(other, encoding="utf-8")
    return cluster.head.run("! rillflow cluster check other.yaml", cluster.folder)


def _until_told(cluster: ServeCluster, words: str) -> str:
    give_up = time.monotonic() + LONG_S
    while words not in (status := cluster.status()):
        assert time.monotonic() < give_up, status
        time.sleep(LOOK_S)
    return status
