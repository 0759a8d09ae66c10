"""The driver of ``nodes.py``: submits to an owner and a dispatcher on chosen nodes, and waits.

python tests/bench/node_load.py ADDRESS STORE FUNCTIONS
"""

import asyncio
import json
import os
import sys
import time
from typing import Final

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
TASKS: Final = 5
END_S: Final = 60.0
HEAD: Final = (
    "| owner | dispatcher | c=1, p50 | c=64 | owner, CPU ms a task | dispatcher, CPU ms a task |",
    "|---|---|---|---|---|---|",
)


async def measure(store: str, functions: str) -> list[str]:
    """Return a table of all ways to place an owner and a dispatcher on two nodes."""
    front = await _front()
    settings = Settings(store=store, callback_host=front, egress_allow=("127.0.0.1",))
    here, there = find_nodes(settings).living
    rows = []
    for number, (owner, dispatcher) in enumerate(
        ((here, here), (here, there), (there, here), (there, there))
    ):
        own = settings.model_copy(update={"namespace": f"placement{number}"})
        places = ["there" if node == there else "here" for node in (owner, dispatcher)]
        figures = await _measure(own, owner, dispatcher, functions)
        rows.append(f"| {' | '.join([*places, *figures])} |")
    return [*HEAD, *rows]


async def _measure(settings: Settings, owner: str, dispatcher: str, functions: str) -> list[str]:
    stack = ray_stack(settings)
    await stack.open()
    deployed = await record(settings, stack.store)
    actors = [
        start(settings, deployed, dispatcher_actor_name(0), dispatcher),
        start(settings, deployed, execution_actor_name(0), owner),
    ]
    dispatcher_pid = (await actors[0].facts.remote())["pid"]
    owner_pid = (await actors[1].ready.remote())["pid"]
    await stack.add_descriptor("bench", "glue", "release", glue(functions))

    async def once() -> None:
        execution_id = await stack.submit("bench:glue", b'{"n":0}')
        assert await stack.wait(execution_id, END_S), "an execution does not end"

    alone = await sampled(once, 1, SECONDS / 2)
    pids, begun = (owner_pid, dispatcher_pid), time.monotonic()
    before = [cpu_s(pid) for pid in pids]
    crowd = await sampled(once, 64, SECONDS)
    tasks = crowd.per_s * TASKS * (time.monotonic() - begun)
    spent = [(cpu_s(pid) - was) * 1000 / tasks for pid, was in zip(pids, before, strict=True)]
    await stack.close()
    for actor in actors:
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
    """Join the cluster, say so, and measure when asked to."""
    ray.init(address=address, namespace="nodes", log_to_driver=False, logging_level="ERROR")
    _say("joined")
    await asyncio.to_thread(sys.stdin.readline)
    _say(await measure(store, functions))


def _say(answer: object) -> None:
    # Ray writes here as well.
    sys.stdout.write(f"{ANSWER}{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
