"""How long executions are held up when a node dies: ``make bench-node-death``.

    python -m tests.bench.node_death [rounds]

Two raylets on this machine are the nodes, with an execution actor and a dispatcher on each,
PostgreSQL, and a Ray that does not notice the death within this time. Processes wait on the head
for the actors of the other node, as the controller sees to some seconds after a deployment. Callers
submit executions with a pause of a second in each to replicas on both nodes, since executions stay
on the node where they were submitted; half way the node beside the head is killed, with its
replica. A row has the executions of the dead actor that were under way then: how many, when the
first of them had ended after the kill, half of them, 99 % and all; the longest time after the kill
in which no execution ended at all; and, from the log of the controller, when somebody began to take
over from an actor, and when its next process had answered; last, the part of the processors that
other programs left meanwhile.

Used by `tests/cluster/test_node_death.py`.
"""

import os
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from rillflow.actors.names import execution_actor_name, owner_index
from rillflow.private_apis.ray_core.state import PRELOADS
from rillflow.runtime.process.clock import SystemClock
from tests.bench.measuring import percentile
from tests.cluster.api import Api
from tests.cluster.left_processors import LeftProcessors
from tests.cluster.load import Load, ended_ms, mixture, under_load
from tests.cluster.node_driver import ACTORS
from tests.cluster.processes import announced, descendants
from tests.cluster.ray_nodes import DEAF, RayNodes
from tests.postgres_server import PostgresServer

EXECUTIONS: Final = 300
DISPATCHERS: Final = 2
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.1
ACTORS_THERE: Final = 2
"""On the node that dies: an execution actor and a dispatcher."""
FUNCTIONS: Final = str(Path(__file__).parents[1] / "cluster" / "function_service.py")
HEAD: Final = (
    "| under way there | first end | p50 | p99 | all | longest gap of all | taken over | left |",
    "|---|---|---|---|---|---|---|---|",
)
TAKEN_OVER: Final = re.compile(
    r"(?P<at>\S+ \S+) WARNING rillflow.controller actor_taken_over"
    r' actor="rillflow:(?P<actor>\w+:\d+)" .*seconds=(?P<took_s>[\d.]+)'
)
"""A line of a log."""


class TakeOver(NamedTuple):
    """The actor that was replaced, and when that began and was done, in s after the kill."""

    actor: str
    began_s: float
    done_s: float

    def __str__(self) -> str:
        return f"{self.actor} {self.began_s:.2f} to {self.done_s:.2f} s"


class NodeDeath(NamedTuple):
    """What the death of a node has cost.

    ``took_s`` is, sorted, when after the kill the executions of the dead actor ended that were
    under way; ``gap_s`` the longest time after the kill without the end of any execution. ``left``
    is the part of the processors that other programs had left since the kill.
    """

    took_s: list[float]
    gap_s: float
    taken_over: list[TakeOver]
    left: float

    @property
    def p99_s(self) -> float:
        """When 99 % of the executions of the dead actor had ended."""
        return percentile(self.took_s, 99)

    def __str__(self) -> str:
        p50_s = percentile(self.took_s, 50)
        times = (self.took_s[0], p50_s, self.p99_s, self.took_s[-1], self.gap_s)
        figures = " | ".join(f"{each:.2f} s" for each in times)
        taken_over = ", ".join(map(str, self.taken_over))
        return f"| {len(self.took_s)} | {figures} | {taken_over} | {self.left:.2f} |"


def main() -> None:
    """Measure, and print a table."""
    print("\n".join(HEAD))
    server = PostgresServer()
    try:
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
            print(node_death(server), flush=True)
    finally:
        server.stop()


def node_death(server: PostgresServer) -> NodeDeath:
    """Kill one of two nodes under load, and check that every execution ends right."""
    with ExitStack() as ends:
        # The sockets of Ray need a short path.
        folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="rfb-", dir="/tmp"))
        url = ends.enter_context(announced(FUNCTIONS))
        told = (url, str(DISPATCHERS))
        nodes = RayNodes(Path(folder), server.new_database(), told=told, health=DEAF)
        ends.callback(nodes.stop)
        base_url = nodes.ask("serve")
        pids = nodes.other.pids
        [dead] = [name for name, owner in nodes.ask("owners").items() if owner["pid"] in pids]
        wait_for_spares(nodes, ACTORS_THERE)
        with under_load(base_url, mixture(url), also=[nodes.ask("replicate")]) as load:
            load.wait_for(EXECUTIONS // 2)
            killed_ms = SystemClock().now_ms()
            nodes.other.kill()
            gone_ms = SystemClock().now_ms()
            left = LeftProcessors(server.pid)
            load.wait_for(EXECUTIONS)
            part = left.part()
        load.check_ends()
        took_s, gap_s = _times(base_url, load, dead, (killed_ms, gone_ms))
        return NodeDeath(took_s, gap_s, _taken_over(Path(folder), killed_ms), part)


def wait_for_spares(nodes: RayNodes, actors: int) -> None:
    """Wait until as many processes wait on the head as the other node has actors."""
    there = set(nodes.other.pids)
    give_up_s = time.monotonic() + PATIENCE_S
    while len(set(descendants(os.getpid())).intersection(_spares()) - there) < actors:
        assert time.monotonic() < give_up_s, "no process waits for an actor"
        time.sleep(LOOK_S)


def _spares() -> list[int]:
    """Return the processes of Ray that have the hook of Rillflow, and no actor."""
    return [
        int(each.name)
        for each in Path("/proc").glob("[0-9]*")
        if _content(each / "cmdline").startswith(b"ray::IDLE")
        and f"{PRELOADS}=1".encode() in _content(each / "environ").split(b"\0")
    ]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has just ended


def _taken_over(folder: Path, killed_ms: int) -> list[TakeOver]:
    """Read in the log of the controller who was replaced."""
    told = []
    for log in folder.glob("ray1/session_latest/logs/worker-*.err"):
        for line in TAKEN_OVER.finditer(log.read_text(encoding="utf-8", errors="replace")):
            # The logging of Python has a comma before the milliseconds.
            at = datetime.fromisoformat(line["at"].replace(",", ".")).astimezone()
            done_s = at.timestamp() - killed_ms / 1000
            told.append(TakeOver(line["actor"], done_s - float(line["took_s"]), done_s))
    return sorted(told)


def _times(
    base_url: str, load: Load, dead: str, killed: tuple[int, int]
) -> tuple[list[float], float]:
    """Return ``took_s`` and ``gap_s``; ``killed`` is when the kill began, and when it was done."""
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
    return took_s, max(later - before for before, later in pairwise([0.0, *after]))


if __name__ == "__main__":
    main()
