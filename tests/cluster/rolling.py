"""A deployment that rolls to another release and back while executions are submitted and end.

Used by `test_upgrade.py` and `test_upgrade_of_commit.py`.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from rillflow.ports.deployment import protocol_of
from tests.cluster.api import Functions
from tests.cluster.load import CALLERS, steps, under_load
from tests.cluster.ray_nodes import RayNode
from tests.cluster.serve_cluster import ServeCluster
from tests.machine_speed import slowness_by_clock, tries

log = logging.getLogger(__name__)

RATE_PER_S: Final = 20
FILE: Final = "serve/config.yaml"
LONG_S: Final = 180
LOOK_S: Final = 0.5
BEFORE: Final = 40
MOST_GAP_S: Final = 2.0
"""The longest time without a completion, on a machine that has nothing else to do."""
MOST_TRIES: Final = 3
"""So often a deployment rolls there and back, while something else disturbs the machine."""
COUNTS: Final = {"RILLFLOW_EXECUTION_ACTORS": "2", "RILLFLOW_DISPATCHER_ACTORS": "1"}
ON_TWO_NODES: Final = COUNTS | {"RILLFLOW_DISPATCHER_ACTORS": "2"}


class TwoNodes(NamedTuple):
    """A deployment on the head and another node."""

    cluster: ServeCluster
    second: RayNode


@contextmanager
def one_node(release: str, **environment: str) -> Iterator[ServeCluster]:
    """Deploy a release on one node."""
    # The sockets of Ray need a short path.
    with tempfile.TemporaryDirectory(prefix="ru", dir="/tmp") as name, ExitStack() as ends:
        cluster = ServeCluster(Path(name), **environment)
        ends.callback(cluster.head.kill)
        cluster.head.start(cluster.folder)
        cluster.write(release, **COUNTS)
        assert "everything runs as wanted" in cluster.control(f"deploy {FILE}")
        yield cluster


@contextmanager
def two_nodes(release: str, store: str) -> Iterator[TwoNodes]:
    """Deploy a release on two nodes of this machine."""
    with tempfile.TemporaryDirectory(prefix="ru", dir="/tmp") as name, ExitStack() as ends:
        cluster = ServeCluster(Path(name), RILLFLOW_STORE=store)
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
        cluster.write(release, **ON_TWO_NODES)
        assert "everything runs as wanted" in cluster.control(f"deploy {FILE}")
        yield TwoNodes(cluster, second)


def until(cluster: ServeCluster, holds: Callable[[Any], bool]) -> Any:
    """Wait until what the API says of the actors is so; return it."""
    give_up = time.monotonic() + LONG_S
    while True:
        state = cluster.cluster()
        if state is not None and holds(state):
            return state
        assert time.monotonic() < give_up, (state, cluster.status())
        time.sleep(LOOK_S)


def until_rolled(cluster: ServeCluster, before: Any) -> Any:
    """Wait until every actor has other code than any had before, and all have the same."""
    versions = code_versions(before)

    def is_rolled(state: Any) -> bool:
        now = code_versions(state)
        return state["converged"] and len(now) == 1 and now.isdisjoint(versions)

    return until(cluster, is_rolled)


def code_versions(state: Any) -> set[str]:
    """Return the versions of the code that actors run."""
    return {actor["code_version"] for actor in state["actors"]}


def nodes(state: Any) -> set[str]:
    """Return the nodes on which actors run."""
    return {actor["node"] for actor in state["actors"]}


def check_the_way_there_and_back(
    cluster: ServeCluster,
    functions: Functions,
    releases: Sequence[str],
    variables: dict[str, str],
) -> None:
    """Roll to each of the releases in turn; the last is the one that runs now.

    Nothing is lost, wrong or doubled, each time. If more than ``MOST_GAP_S`` pass without a
    completion on the way to one of them, by the clock of a machine that does nothing else, all is
    done again, a few times; what was short enough once counts.
    """
    gaps: list[list[float]] = [[] for _ in releases]
    for _ in islice(tries(), MOST_TRIES):
        for release, of_release in zip(releases, gaps, strict=True):
            of_release.append(_rolled(cluster, functions, release, variables))
        if all(min(of_release) < MOST_GAP_S for of_release in gaps):
            return
    raise AssertionError(f"{MOST_GAP_S} s passed without a completion each time: {gaps}")


def _rolled(
    cluster: ServeCluster, functions: Functions, release: str, variables: dict[str, str]
) -> float:
    """Roll to a release under load; return the longest time without a completion."""
    base_url = f"http://127.0.0.1:{cluster.port}"
    before, slow = cluster.cluster(), slowness_by_clock()
    with under_load(base_url, steps(functions.url), pause_s=CALLERS / RATE_PER_S) as load:
        load.wait_for(BEFORE)
        begun_s = time.monotonic()
        cluster.write(release, **variables)
        assert "everything runs as wanted" in cluster.control(f"upgrade {FILE}")
        state = until_rolled(cluster, before)
        took_s = time.monotonic() - begun_s
        load.wait_for(len(load.acknowledged) + BEFORE)
    slow = max(slow, slowness_by_clock())
    assert state["controller"]["reasons"] == []
    assert {actor["restarts"] for actor in state["actors"]} == {0}
    ends = sorted(load.check_ends())
    load.check_refusals()
    for execution_id in load.acknowledged:
        calls = functions.calls(execution_id, 5)
        assert [call["task"] for call in calls] == [f"step{number}" for number in range(1, 6)]
    gap_s = max(after - before for before, after in pairwise(ends)) / 1000
    [version] = code_versions(state)
    log.warning(
        "to %s (protocol %d): %d executions, %d refused, longest gap %.2f s, all replaced after"
        " %.0f s, the machine %.1f times as slow as alone",
        *(version, protocol_of(version), len(load.acknowledged), len(load.refused)),
        *(gap_s, took_s, slow),
    )
    return gap_s if gap_s < MOST_GAP_S else gap_s / slow
