"""A driver on a Ray whose nodes come and go, which also serves the functions of its executions.

    python tests/cluster/moving_driver.py ADDRESS STORE MARKS

MARKS is an empty folder. Joins the cluster, then reads one command a line and answers each
with a line, ``answer: `` and JSON:

``launch N``   starts two execution actors and N dispatchers, and waits until they take calls
``keep N``     submits another one for each that ends, so that N run until ``ends``
``spread N``   waits until the execution actors are on N nodes, and the dispatchers as well
``doom``       has the controller die in its next move of each kind of actor
``died``       tells how often it has
``reserve``    reserves a processor of the driver's node, and so leaves the other one idle
``release``    ends that
``drain``      says that the node beside the driver's is about to go
``ends``       waits until all executions have ended; id to status
``calls``      the calls of each execution in their order: task and idempotency key
"""

import asyncio
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from aiohttp import web
from ray._private.worker import global_worker
from ray.core.generated import autoscaler_pb2

from rillflow.actors import deployment
from rillflow.actors.controller_actor import ControllerActor
from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.stack import ray_stack
from rillflow.jsontypes import decode_json
from rillflow.runtime.dispatch.client import dispatcher_index
from rillflow.runtime.process.clock import SystemClock
from rillflow.settings import Settings
from tests.cluster.driving import obey

ACTORS: Final = 2
MOST_DISPATCHERS: Final = 2
LOOK_S: Final = 0.05
CALL_S: Final = 0.7
END_S: Final = 240.0
DRAIN_MS: Final = 60_000
REBALANCE_S: Final = 0.2
TASK: Final = """
  - name: {name}
    category: function
    pattern: task_sync
    resourceName: {url}/{name}
    inputMappings: [{{ source: $.context.flow_execution_id, target: $.input.execution }}]
    outputMappings: [{{ source: $.output.done, target: $.context.{name} }}]
"""


class Functions:
    """Three functions that take their time, and remember who called which."""

    def __init__(self) -> None:
        self.calls: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)

    async def start(self) -> list[str]:
        """Listen on free ports and return an address for each of two dispatchers."""
        application = web.Application()
        application.router.add_post("/{name}", self._call)
        # This also stands for the API: callbacks could come, so calls need not wait.
        application.router.add_get("/flow/trigger.json", self._refuse)
        runner = web.AppRunner(application)
        await runner.setup()
        found: dict[int, str] = {}
        while len(found) < MOST_DISPATCHERS:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[-1][1]}"
            found[dispatcher_index(url, MOST_DISPATCHERS)] = url
        return list(found.values())

    async def _call(self, request: web.Request) -> web.Response:
        execution_id = (await request.json())["execution"]
        key = request.headers["Idempotency-Key"]
        self.calls[execution_id].append((request.match_info["name"], key))
        await asyncio.sleep(CALL_S)
        return web.json_response({"done": True})

    async def _refuse(self, _: web.Request) -> web.Response:
        return web.Response(status=400)


class MortalController(ControllerActor):
    """A controller that is killed within the moves that are marked.

    That is when the old actor has been ended and the new one not yet started.
    """

    marks = Path()

    def _replace(self, name: str, actor: Any, start_next: Callable[[], Any]) -> Any:
        mark = self.marks / kind_of(name)
        if mark.exists():
            mark.unlink()
            ray.kill(actor)
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._replace(name, actor, start_next)


def kind_of(actor_name: str) -> str:
    """Return what the actors of its kind have in their names."""
    return actor_name.split(":")[1]


class Reserved:
    """An actor that takes a processor and does nothing."""

    async def wait(self) -> None:
        """Return when it is there."""


class Driver:
    """What the commands do."""

    def __init__(self, functions: Functions, urls: list[str], store: str, marks: Path) -> None:
        self._functions = functions
        self._marks = marks
        self._urls = urls
        self._settings = Settings(
            store=store,
            execution_actors=ACTORS,
            callback_host=urls[0],
            egress_allow=("127.0.0.1",),
            rebalance_s=REBALANCE_S,
            actor_nodes="reserved",
        )
        self._stack = ray_stack(self._settings)
        self._ids: list[str] = []
        self._kept: list[asyncio.Task[None]] = []
        self._ending = False
        self._reserved: Any = None

    async def launch(self, dispatchers: str) -> str:
        """Start the actors and add the workflow."""
        count = {"dispatcher_actors": int(dispatchers)}
        self._settings = self._settings.model_copy(update=count)
        self._stack = ray_stack(self._settings)
        await self._stack.open()
        await deployment.deploy(self._settings, self._stack.store)
        urls = (self._urls[0], self._urls[-1], self._urls[0])
        tasks = [
            TASK.format(name=name, url=url).rstrip() for name, url in zip("abc", urls, strict=True)
        ]
        chained = [f"{task}\n    next: {name}" for task, name in zip(tasks, "bc", strict=False)]
        text = "workspace: nodes\ndagName: chain\ntype: flow\ntasks:" + "".join(
            [*chained, tasks[-1]]
        )
        await self._stack.add_descriptor("nodes", "chain", "release", text)
        return "launched"

    async def keep(self, count: str) -> str:
        """Keep executions running."""
        self._kept = [asyncio.create_task(self._keep()) for _ in range(int(count))]
        return "kept"

    async def _keep(self) -> None:
        while not self._ending:
            execution_id = await self._stack.submit("nodes:chain")
            self._ids.append(execution_id)
            await self._stack.wait(execution_id, END_S)

    async def spread(self, count: str) -> str:
        """Wait until both kinds of actors are on so many nodes."""
        dispatchers = map(dispatcher_actor_name, range(self._settings.dispatcher_actors))
        kinds = list(map(execution_actor_name, range(ACTORS))), list(dispatchers)
        async with asyncio.timeout(END_S):
            while True:
                if {len(await self._nodes(names)) for names in kinds} == {int(count)}:
                    return "spread"
                await asyncio.sleep(LOOK_S)

    async def _nodes(self, names: list[str]) -> set[str]:
        """Return the nodes of actors, one of which may be on its way."""
        found = set()
        for name in names:
            try:
                actor = ray.get_actor(name, namespace=self._settings.namespace)
                found.add((await actor.socket.remote())[0])
            except (ray.exceptions.RayError, ValueError):
                return set()
        return found

    async def doom(self) -> str:
        """Mark kinds of actors whose next move the controller does not survive."""
        for name in (execution_actor_name(0), dispatcher_actor_name(0)):
            (self._marks / kind_of(name)).touch()
        return "doomed"

    async def died(self) -> int:
        """Count the kinds whose mark is gone, for each of which the controller has died."""
        return 2 - len(list(self._marks.iterdir()))

    async def reserve(self) -> str:
        """Reserve a processor of this node, as a replica of the API would."""
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        self._reserved = ray.remote(Reserved).options(num_cpus=1, label_selector=here).remote()
        await self._reserved.wait.remote()
        return "reserved"

    async def release(self) -> str:
        """End the reservation."""
        ray.kill(self._reserved)
        return "released"

    async def drain(self) -> str:
        """Say that the other node goes in a minute."""
        here = ray.get_runtime_context().get_node_id()
        [other] = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeID"] != here]
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = SystemClock().now_ms() + DRAIN_MS
        accepted, why = global_worker.gcs_client.drain_node(other, reason, "it goes", deadline_ms)
        assert accepted, why
        return "draining"

    async def ends(self) -> dict[str, str]:
        """Submit no more, and wait for all ends."""
        self._ending = True
        await asyncio.gather(*self._kept)
        await asyncio.gather(*(self._stack.wait(each, END_S) for each in self._ids))
        return {each: await self._status(each) for each in self._ids}

    async def calls(self) -> dict[str, list[tuple[str, str]]]:
        """Tell the calls of each execution."""
        return {each: self._functions.calls[each] for each in self._ids}

    async def _status(self, execution_id: str) -> str:
        shown = decode_json(await self._stack.query(execution_id, "status") or b"{}")
        return str(shown["dag_status"] if isinstance(shown, dict) else shown)


async def main(address: str, store: str, marks: str) -> None:
    """Join the cluster, say so, and answer until the input ends."""
    MortalController.marks = Path(marks)  # Ray is given the class as it is then
    vars(deployment)["ControllerActor"] = MortalController
    ray.init(address=address, namespace="nodes", log_to_driver=False, logging_level="ERROR")
    functions = Functions()
    driver = Driver(functions, await functions.start(), store, Path(marks))
    await obey(driver)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
