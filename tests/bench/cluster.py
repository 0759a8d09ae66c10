"""What a cluster is to reach: two nodes beside one, PostgreSQL beside SQLite, two dispatchers.

Everything shares the processors of this machine, so two of anything cannot do more than one. What
is compared is measured in turns, and a ratio is the median of the ratios of neighbouring turns,
as what else the machine does is about the same for both. The goals are in ``figures.py``.

Used by `tests/bench/__main__.py`.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench import dispatchers
from tests.bench.figures import Figure
from tests.bench.stacks import HERE, STORE, scene
from tests.bench.stores import CALLERS, Turn, turn
from tests.cluster.ray_nodes import RayNodes
from tests.postgres_server import PostgresServer

TURNS: Final = 3
ALONE: Final = "one node, 1 of each"
ONE_NODE_TWICE: Final = "one node, 2 of each"
TWO_NODES: Final = "two nodes, 2 of each"
NODES: Final = {
    ALONE: (1, 1),
    ONE_NODE_TWICE: (2, 1),
    TWO_NODES: (2, 2),
}
"""Names of placements: how many owners, and dispatchers, on how many nodes."""


def cluster(functions_url: str, seconds: float) -> Iterator[Figure]:
    """Measure executions of five calls of glue by 64 callers, and calls to a single host."""
    server = PostgresServer()
    try:
        yield from _stores(functions_url, seconds, server)
        yield from _nodes(functions_url, seconds, server)
    finally:
        server.stop()
    yield from _dispatchers(seconds)


def _stores(functions_url: str, seconds: float, server: PostgresServer) -> Iterator[Figure]:
    """Measure whole stacks on one node, one on each store."""
    stores: dict[str, dict[str, str]] = {
        "SQLite": {},
        "PostgreSQL": {STORE: server.new_database()},
    }
    turns: dict[str, list[Turn]] = {name: [] for name in stores}
    with ExitStack() as ends:
        stages = [
            ends.enter_context(scene(functions_url, seconds=seconds, full=False, **environment))
            for environment in stores.values()
        ]
        for _ in range(TURNS):
            for stage, measured in zip(stages, turns.values(), strict=True):
                measured.append(turn(stage, server, CALLERS))
    rates = {name: [each.per_s for each in measured] for name, measured in turns.items()}
    for name, measured in turns.items():
        spent_ms = statistics.median(each.stack_ms + each.server_ms for each in measured)
        yield from _rate_and_cost(f"one node, {name}", rates[name], spent_ms)
    yield Figure("PostgreSQL to SQLite", "ratio", _ratio(rates["PostgreSQL"], rates["SQLite"]))


def _nodes(functions_url: str, seconds: float, server: PostgresServer) -> Iterator[Figure]:
    """Measure actors on one node and on two; the callers are a process on the first."""
    with tempfile.TemporaryDirectory(prefix="rfb-", dir="/tmp") as folder:
        driver = HERE / "node_load.py"
        store = server.new_database()
        nodes = RayNodes(Path(folder), store, driver=driver, told=(functions_url,))
        try:
            wanted = " ".join(f"{actors},{on}" for actors, on in NODES.values())
            answers = nodes.ask(f"compare {seconds} {TURNS} {wanted}")
        finally:
            nodes.stop()
    rates: dict[str, list[float]] = {}
    for name, measured in zip(NODES, answers, strict=True):
        rates[name] = [per_s for per_s, _ in measured]
        spent_ms = statistics.median(spent_ms for _, spent_ms in measured)
        yield from _rate_and_cost(name, rates[name], spent_ms)
    two = rates[TWO_NODES]
    yield Figure("two nodes to one", "ratio", _ratio(two, rates[ONE_NODE_TWICE]))
    yield Figure("two nodes to one with 1 of each", "ratio", _ratio(two, rates[ALONE]))


def _dispatchers(seconds: float) -> Iterator[Figure]:
    """Measure calls to one host by one dispatcher and by two, each a process without Ray."""
    rounds = [
        [dispatchers.one_round(names, seconds) for names in (["first"], ["first", "second"])]
        for _ in range(TURNS)
    ]
    by_count = zip(*rounds, strict=True)
    for name, measured in zip(("one dispatcher", "two dispatchers"), by_count, strict=True):
        yield Figure(name, "calls/s", statistics.median(each.per_s for each in measured))
        spent_us = statistics.median(each.all_us for each in measured)
        yield Figure(f"{name}, CPU of a million", "CPU-s", spent_us)
    more = statistics.median(two.all_us / one.all_us for one, two in rounds)
    yield Figure("two dispatchers, CPU of a call", "of one", more)
    other = statistics.median(two.busy[1] / two.busy[0] for _, two in rounds)
    yield Figure("two dispatchers, busy to the first", "ratio", other)


def _rate_and_cost(name: str, per_s: Sequence[float], spent_ms: float) -> Iterator[Figure]:
    yield Figure(name, "executions/s", statistics.median(per_s))
    yield Figure(f"{name}, CPU of 1,000", "CPU-s", spent_ms)


def _ratio(of: Sequence[float], to: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(of, to, strict=True))
