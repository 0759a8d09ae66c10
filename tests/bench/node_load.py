"""The driver of ``nodes.py``: submits to an owner and a dispatcher on chosen nodes, and waits.

python tests/bench/node_load.py ADDRESS STORE FUNCTIONS
"""

import asyncio
import json
import os
import sys
import time
from typing import Final, NamedTuple

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from aiohttp import web

from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.placing import find_nodes, start
from rillflow.actors.stack import ray_stack
from rillflow.runtime.supervision.deployed import record
from rillflow.settings import Settings
from tests.bench.measuring import sampled
from tests.bench.stacks import cpu_s
from tests.bench.workloads import glue

ANSWER: Final = "answer: "
SECONDS: Final = 4.0
END_S: Final = 60.0
HEAD: Final = (
    "| owners | dispatchers | c=1, p50 | c=64 | CPU ms each: owners | dispatchers | driver |",
    "|---|---|---|---|---|---|---|",
)


class Placement(NamedTuple):
    """The node of each owner and of each dispatcher."""

    owners: tuple[str, ...]
    dispatchers: tuple[str, ...]


async def measure(store: str, functions: str, rounds: int) -> list[str]:
    """Return a table of ways to place owners and dispatchers on two nodes, one after the other."""
    front = await _front()
    settings = Settings(store=store, callback_host=front, egress_allow=("127.0.0.1",))
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
        own = settings.model_copy(
            update={
                "namespace": f"placement{number}",
                "execution_actors": len(placement.owners),
                "dispatcher_actors": len(placement.dispatchers),
            }
        )
        figures = await _measure(own, placement, functions)
        places = (", ".join(named[node] for node in nodes) for nodes in placement)
        rows.append(f"| {' | '.join([*places, *figures])} |")
    return [*HEAD, *rows]


async def _measure(settings: Settings, placement: Placement, functions: str) -> list[str]:
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

    async def once() -> None:
        execution_id = await stack.submit("bench:glue", b'{"n":0}')
        assert await stack.wait(execution_id, END_S), "an execution does not end"

    alone = await sampled(once, 1, SECONDS / 2)
    begun = time.monotonic()
    before = [sum(map(cpu_s, each)) for each in pids]
    crowd = await sampled(once, 64, SECONDS)
    executions = crowd.per_s * (time.monotonic() - begun)
    spent = [
        (sum(map(cpu_s, each)) - was) * 1000 / executions
        for each, was in zip(pids, before, strict=True)
    ]
    await stack.close()
    for actor in (*owners, *dispatchers):
        ray.kill(actor)
    return [
        f"{alone.percentile_ms(50):.1f} ms",
        f"{crowd.per_s:.0f}/s",
        *(f"{ms:.2f}" for ms in spent),
    ]


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
    """Join the cluster, say so, and measure when asked to, as many rounds as asked for."""
    ray.init(address=address, namespace="nodes", log_to_driver=False, logging_level="ERROR")
    _say("joined")
    asked = await asyncio.to_thread(sys.stdin.readline)
    _say(await measure(store, functions, int(asked.split()[1])))


def _say(answer: object) -> None:
    # Ray writes here as well.
    sys.stdout.write(f"{ANSWER}{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
