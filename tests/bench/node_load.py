"""The driver of ``nodes.py`` and ``cluster.py``: submits to actors on chosen nodes, and waits.

    python tests/bench/node_load.py ADDRESS STORE FUNCTIONS

Joins the cluster, then carries out one command and answers with a line, ``answer: `` and JSON:

``measure ROUNDS``                          a table of six placements
``compare SECONDS TURNS ACTORS,NODES ...``  each placement's turns: executions/s, CPU ms of one
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from aiohttp import web

from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.placing import find_nodes, start
from rillflow.actors.stack import ray_stack
from rillflow.runtime.stack import Stack
from rillflow.runtime.supervision.deployed import record
from rillflow.settings import Settings
from tests.bench.measuring import sampled
from tests.bench.stacks import cpu_s
from tests.bench.workloads import glue

ANSWER: Final = "answer: "
SECONDS: Final = 4.0
CALLERS: Final = 64
END_S: Final = 60.0
HEAD: Final = (
    "| owners | dispatchers | c=1, p50 | c=64 | CPU ms each: owners | dispatchers | driver |",
    "|---|---|---|---|---|---|---|",
)


class Placement(NamedTuple):
    """The node of each owner and of each dispatcher."""

    owners: tuple[str, ...]
    dispatchers: tuple[str, ...]


class Crowd(NamedTuple):
    """Executions in a second by 64 callers, and what one takes of the processors.

    ``spent_ms`` is that of the owners, of the dispatchers and of this process.
    """

    per_s: float
    spent_ms: list[float]


async def compare(
    store: str, functions: str, seconds: float, turns: int, wanted: Sequence[str]
) -> list[list[tuple[float, float]]]:
    """Measure placements in turns: so many owners and as many dispatchers, on one node or two."""
    settings = await _settings(store)
    nodes = find_nodes(settings).living
    found: list[list[tuple[float, float]]] = [[] for _ in wanted]
    for number in range(turns):
        for into, each in zip(found, wanted, strict=True):
            actors, on = map(int, each.split(","))
            places = tuple(nodes[actor % on] for actor in range(actors))
            name = f"turn{number}x{each.replace(',', 'x')}"
            async with _placed(settings, name, Placement(places, places), functions) as placed:
                crowd = await placed.crowd(seconds)
            into.append((crowd.per_s, sum(crowd.spent_ms)))
    return found


async def measure(store: str, functions: str, rounds: int) -> list[str]:
    """Return a table of ways to place owners and dispatchers on two nodes, one after the other."""
    settings = await _settings(store)
    here, there = find_nodes(settings).living
    named = {here: "here", there: "there"}
    placements = (
        Placement((here,), (here,)),
        Placement((here,), (there,)),
        Placement((there,), (here,)),
        Placement((there,), (there,)),
        Placement((here, here), (here, here)),
        Placement((here, there), (here, there)),
    )
    rows = []
    for number in range(rounds * len(placements)):
        placement = placements[number % len(placements)]
        async with _placed(settings, f"placement{number}", placement, functions) as placed:
            alone = await sampled(placed.once, 1, SECONDS / 2)
            crowd = await placed.crowd(SECONDS)
        places = (", ".join(named[node] for node in nodes) for nodes in placement)
        figures = (
            f"{alone.percentile_ms(50):.1f} ms",
            f"{crowd.per_s:.0f}/s",
            *(f"{ms:.2f}" for ms in crowd.spent_ms),
        )
        rows.append(f"| {' | '.join([*places, *figures])} |")
    return [*HEAD, *rows]


class Placed(NamedTuple):
    """A stack whose actors are where they were wanted, and the processes of each kind."""

    stack: Stack
    pids: tuple[list[int], ...]

    async def once(self) -> None:
        """Submit an execution and wait for its end."""
        execution_id = await self.stack.submit("bench:glue", b'{"n":0}')
        assert await self.stack.wait(execution_id, END_S), "an execution does not end"

    async def crowd(self, seconds: float) -> Crowd:
        """Measure with 64 callers; the warm-up is in the processor time too."""
        begun = time.monotonic()
        before = [sum(map(cpu_s, each)) for each in self.pids]
        crowd = await sampled(self.once, CALLERS, seconds)
        executions = crowd.per_s * (time.monotonic() - begun)
        spent_ms = [
            (sum(map(cpu_s, each)) - was) * 1000 / executions
            for each, was in zip(self.pids, before, strict=True)
        ]
        return Crowd(crowd.per_s, spent_ms)


@asynccontextmanager
async def _placed(
    settings: Settings, namespace: str, placement: Placement, functions: str
) -> AsyncIterator[Placed]:
    """Start actors in a namespace of their own, and end them."""
    settings = settings.model_copy(
        update={
            "namespace": namespace,
            "execution_actors": len(placement.owners),
            "dispatcher_actors": len(placement.dispatchers),
        }
    )
    stack = ray_stack(settings)
    await stack.open()
    deployed = await record(settings, stack.store)
    dispatchers = [
        start(settings, deployed, dispatcher_actor_name(number), node)
        for number, node in enumerate(placement.dispatchers)
    ]
    owners = [
        start(settings, deployed, execution_actor_name(number), node)
        for number, node in enumerate(placement.owners)
    ]
    pids = (
        [(await each.ready.remote())["pid"] for each in owners],
        [(await each.facts.remote())["pid"] for each in dispatchers],
        [os.getpid()],
    )
    await stack.add_descriptor("bench", "glue", "release", glue(functions))
    yield Placed(stack, pids)
    await stack.close()
    for actor in (*owners, *dispatchers):
        ray.kill(actor)


async def _settings(store: str) -> Settings:
    return Settings(store=store, callback_host=await _front(), egress_allow=("127.0.0.1",))


async def _front() -> str:
    """Stand for the API: callbacks could come, so calls need not wait."""
    application = web.Application()
    application.router.add_get("/flow/trigger.json", _refuse)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def _refuse(_: web.Request) -> web.Response:
    return web.Response(status=400)


async def main(address: str, store: str, functions: str) -> None:
    """Join the cluster, say so, and measure what is asked for."""
    ray.init(address=address, namespace="nodes", log_to_driver=False, logging_level="ERROR")
    _say("joined")
    asked = await asyncio.to_thread(sys.stdin.readline)
    command, *words = asked.split()
    if command == "compare":
        seconds, turns, *wanted = words
        _say(await compare(store, functions, float(seconds), int(turns), wanted))
    else:
        _say(await measure(store, functions, int(words[0])))


def _say(answer: object) -> None:
    # Ray writes here as well.
    sys.stdout.write(f"{ANSWER}{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
