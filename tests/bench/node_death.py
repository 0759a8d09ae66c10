"""How long executions are held up when a node dies: ``make bench-node-death``.

    python -m tests.bench.node_death [rounds]

Two raylets on this machine are the nodes, with an execution actor on each, PostgreSQL, and a Ray
that does not notice the death within this time. Callers submit executions with a pause of a second
in each to replicas on both nodes, since executions stay on the node where they were submitted; half
way the node beside the head is killed, with its replica. A row has the executions of the dead actor
that were under way then: how many, when the first of them had ended after the kill, half of them,
99 % and all; and the longest time after the kill in which no execution ended at all.
"""

import sys
import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final

from rillflow.actors.names import execution_actor_name, owner_index
from rillflow.runtime.process.clock import SystemClock
from tests.bench.measuring import percentile
from tests.cluster.api import Api
from tests.cluster.load import Load, ended_ms, mixture, under_load
from tests.cluster.node_driver import ACTORS
from tests.cluster.processes import announced
from tests.cluster.ray_nodes import DEAF, RayNodes
from tests.postgres_server import PostgresServer

EXECUTIONS: Final = 300
FUNCTIONS: Final = str(Path(__file__).parents[1] / "cluster" / "function_service.py")
HEAD: Final = (
    "| under way at the dead actor | first end | p50 | p99 | all | longest gap of all |",
    "|---|---|---|---|---|---|",
)


def main() -> None:
    """Measure, and print a table."""
    print("\n".join(HEAD))
    server = PostgresServer()
    try:
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
            print(_round(server), flush=True)
    finally:
        server.stop()


def _round(server: PostgresServer) -> str:
    with ExitStack() as ends:
        # The sockets of Ray need a short path.
        folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="rfb-", dir="/tmp"))
        url = ends.enter_context(announced(FUNCTIONS))
        nodes = RayNodes(Path(folder), server.new_database(), told=(url,), health=DEAF)
        ends.callback(nodes.stop)
        base_url = nodes.ask("serve")
        pids = nodes.other.pids
        [dead] = [name for name, owner in nodes.ask("owners").items() if owner["pid"] in pids]
        with under_load(base_url, mixture(url), also=[nodes.ask("replicate")]) as load:
            load.wait_for(EXECUTIONS // 2)
            killed_ms = SystemClock().now_ms()
            nodes.other.kill()
            gone_ms = SystemClock().now_ms()
            load.wait_for(EXECUTIONS)
        load.check_ends()
        return _row(base_url, load, dead, (killed_ms, gone_ms))


def _row(base_url: str, load: Load, dead: str, killed: tuple[int, int]) -> str:
    """Return the row; ``killed`` is when the kill began, and when it was done."""
    killed_ms, gone_ms = killed
    with Api(base_url) as api:
        ends = {each: ended_ms(api.get(each)) - killed_ms for each in load.acknowledged}
    early = list(load.acknowledged)[: EXECUTIONS // 2]
    of_the_dead = [
        each for each in early if execution_actor_name(owner_index(each, ACTORS)) == dead
    ]
    took_s = sorted(ends[each] / 1000 for each in of_the_dead if ends[each] > gone_ms - killed_ms)
    assert took_s, "no execution of the dead actor was under way"
    after = sorted(each / 1000 for each in ends.values() if each > 0)
    gap_s = max(later - before for before, later in pairwise([0.0, *after]))
    times = (took_s[0], percentile(took_s, 50), percentile(took_s, 99), took_s[-1], gap_s)
    return f"| {len(took_s)} | " + " | ".join(f"{each:.2f} s" for each in times) + " |"


if __name__ == "__main__":
    main()
