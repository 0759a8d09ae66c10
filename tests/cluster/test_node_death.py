"""How long the death of a node, and a process that stands still, hold executions up.

The bounds hold in one of some attempts, and in time that other programs leave, see
`left_processors.py`: they hold executions up as well, but what always takes longer is never short.
What was measured is logged, and is in docs/decisions/ownership/takeover.md.
"""

import asyncio
import logging
import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.bench.node_death import ACTORS_THERE, node_death, wait_for_spares
from tests.cluster.api import Functions
from tests.cluster.left_processors import LeftProcessors
from tests.cluster.processes import LOOK_S, wait_until_gone
from tests.cluster.ray_nodes import RayNodes
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.cluster, pytest.mark.long]

log = logging.getLogger(__name__)

TRIES: Final = 3
MOST_P99_S: Final = 5.0
"""Of executions under way at an actor of the dead node, of which a second is a pause of theirs."""
MOST_TAKEN_OVER_S: Final = 3.0
"""From the death of the node until the next process of each of its actors has answered."""
STOPPED_S: Final = 20.0
"""For so long at most an owner stands still."""
MOST_STANDING_S: Final = 7.0
"""5 s without a sign of life, and what the next process takes to have its partitions."""
EPOCHS: Final = "SELECT partition, epoch FROM owners"


def test_what_a_dead_node_had_goes_on_within_three_seconds_and_ends_within_five(
    server: PostgresServer,
) -> None:
    for _ in range(TRIES):
        death = node_death(server)
        log.warning("a node was killed: %s", death)
        kinds = sorted(each.actor.partition(":")[0] for each in death.taken_over)
        assert kinds == ["dispatcher", "execution"], "Ray was not to notice, and others were to"
        assert len(death.taken_over) == ACTORS_THERE
        p99_s = death.p99_s * death.left
        done_s = max(each.done_s for each in death.taken_over) * death.left
        if p99_s <= MOST_P99_S and done_s <= MOST_TAKEN_OVER_S:
            break
    assert p99_s <= MOST_P99_S, str(death)
    assert done_s <= MOST_TAKEN_OVER_S, str(death)


def test_a_process_that_stands_still_loses_its_partitions_after_five_seconds(
    server: PostgresServer, functions: Functions
) -> None:
    store = server.new_database()
    with tempfile.TemporaryDirectory(prefix="rfn-", dir="/tmp") as folder:
        nodes = RayNodes(Path(folder), store, told=(functions.url,))
        try:
            nodes.ask("launch")
            wait_for_spares(nodes, 1)
            for _ in range(TRIES):
                left = LeftProcessors(server.pid)
                took_s = _stop_an_owner(nodes, store)
                log.warning("taken %.2f s after SIGSTOP, left %.2f", took_s, left.part())
                if (took_s := took_s * left.part()) <= MOST_STANDING_S:
                    break
            assert took_s <= MOST_STANDING_S
        finally:
            nodes.stop()


def _stop_an_owner(nodes: RayNodes, store: str) -> float:
    """Stop the process of an execution actor; return when another one had its partitions."""
    [(name, pid), *_] = sorted((name, each["pid"]) for name, each in nodes.ask("owners").items())
    before = asyncio.run(_epochs(store))
    begun_s = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        while (after := asyncio.run(_epochs(store))) == before:
            assert time.monotonic() < begun_s + STOPPED_S, "nobody has taken its partitions"
            time.sleep(LOOK_S)
        took_s = time.monotonic() - begun_s
        assert sum(after[each] > before[each] for each in before) == len(before) // 2
    finally:
        # Whoever took over has had Ray end it, or it ends by itself as it goes on.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    wait_until_gone(pid)
    assert nodes.ask("owners")[name]["pid"] != pid
    return took_s


async def _epochs(store: str) -> dict[int, int]:
    connection = await asyncpg.connect(store)
    try:
        return dict(await connection.fetch(EPOCHS))
    finally:
        await connection.close()
