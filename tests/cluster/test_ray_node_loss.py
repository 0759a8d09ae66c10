"""A function whose node is lost is begun again on another node, and no other function is.

That is noticed within seconds, without a time-out, and uses none of the author's retries. A
function that Ray kills because its node is out of memory is told as that.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.processes import LOOK_S
from tests.cluster.ray_nodes import IMPATIENT, RayNode, RayNodes
from tests.cluster.ray_stack import begun, calls_in

pytestmark = [pytest.mark.cluster, pytest.mark.long]

DRIVER: Final = Path(__file__).with_name("ray_node_driver.py")
SLEPT: Final = {"body": {"data": "slept"}, "error": None}
PATTERNS: Final = ("task_sync", "task_async")
LONG_S: Final = 10
"""How long a function takes: longer than Ray takes to notice the loss of a node."""
NOTICED_S: Final = 120.0
"""A node that does not answer is taken for dead after some 4 s; a worker takes a while to start."""


@pytest.fixture(name="nodes")
def _nodes() -> Iterator[RayNodes]:
    # The sockets of Ray need a short path.
    with tempfile.TemporaryDirectory(prefix="rfl-", dir="/tmp") as folder:
        nodes = RayNodes(Path(folder), "no-store", others=2, driver=DRIVER)
        try:
            yield nodes
        finally:
            nodes.stop()


def _nodes_by(nodes: RayNodes, pid: int) -> tuple[RayNode, RayNode]:
    """Return the node that runs a process, and the other one beside the head."""
    [node] = [each for each in nodes.others if pid in each.pids]
    [other] = [each for each in nodes.others if each is not node]
    return node, other


def test_only_the_loss_of_its_own_node_has_a_function_begun_again(
    nodes: RayNodes, tmp_path: Path
) -> None:
    for pattern in PATTERNS:
        file = tmp_path / f"{pattern}-own"
        nodes.ask(f"call {pattern} {file} {LONG_S}")
        [pid] = begun(file)
        node, _ = _nodes_by(nodes, pid)
        killed_s = time.monotonic()
        node.kill()
        while len(calls_in(file)) < 2:
            assert time.monotonic() - killed_s < NOTICED_S
            time.sleep(LOOK_S)
        assert nodes.ask("outcome") == SLEPT
        assert len(calls_in(file)) == 2
        nodes.replace(node)

        file = tmp_path / f"{pattern}-other"
        nodes.ask(f"call {pattern} {file} {LONG_S}")
        [pid] = begun(file)
        _, other = _nodes_by(nodes, pid)
        other.kill()
        assert nodes.ask("outcome") == SLEPT
        assert calls_in(file) == [pid]
        nodes.replace(other)


OUT_OF_MEMORY: Final = IMPATIENT | {
    "RAY_memory_usage_threshold": "0.001",
    "RAY_memory_monitor_refresh_ms": "100",
}
"""Each node counts as full, so Ray kills its workers."""


def test_a_function_whose_node_is_out_of_memory_is_begun_again_and_told_as_that(
    tmp_path: Path,
) -> None:
    with tempfile.TemporaryDirectory(prefix="rfl-", dir="/tmp") as folder:
        nodes = RayNodes(Path(folder), "no-store", driver=DRIVER, health=OUT_OF_MEMORY)
        try:
            for pattern in PATTERNS:
                nodes.ask(f"call {pattern} {tmp_path / pattern} 600")
                assert nodes.ask("outcome")["error"].startswith(
                    "system failure, after 3 repetitions: the node ran out of memory, and Ray"
                    " killed the worker"
                )
        finally:
            nodes.stop()
