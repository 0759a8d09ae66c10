"""A driver on a Ray of several nodes.

    python tests/cluster/node_driver.py ADDRESS STORE FUNCTIONS [DISPATCHERS]

Joins the cluster, then reads one command a line and answers each with a line, ``answer: ``
and JSON:

``launch``     starts two execution actors and dispatchers, one if it is not told how many, and
               waits until they take calls
``serve``      the same, and serves the HTTP API of these actors; its address
``replicate``  serves it in a process on the node beside this one as well; the address there
``owners``     the execution actors: name to process id and node id
``ways``       how messages reach the actors from the driver: name to way
``submit N``   submits N executions of three calls, one after the other; their ids
``ends ID...`` waits until executions have ended; id to status
"""

import asyncio
import os
import socket
import sys
from typing import Any, Final

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray

from rillflow.actors.deployment import deploy
from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.peers import Peer
from rillflow.actors.placing import find_nodes, on_node
from rillflow.actors.stack import ray_stack
from rillflow.jsontypes import decode_json
from rillflow.ports.messages import GetLoopState, encode_message
from rillflow.settings import Settings
from tests.cluster.driving import obey
from tests.cluster.node_replica import Replica, served

ACTORS: Final = 2
END_S: Final = 240.0
TASK: Final = """
  - name: {name}
    category: function
    pattern: task_sync
    resourceName: {url}/{name}
    inputMappings: [{{ source: $.context.flow_execution_id, target: $.input.execution }}]
    outputMappings: [{{ source: $.output.done, target: $.context.{name} }}]
"""


class Driver:
    """What the commands do."""

    def __init__(self, store: str, url: str, dispatchers: str) -> None:
        self._url = url
        self._settings = Settings(
            store=store,
            execution_actors=ACTORS,
            dispatcher_actors=int(dispatchers),
            callback_host=url,
            egress_allow=("127.0.0.1",),
        )
        self._stack = ray_stack(self._settings)

    async def launch(self) -> str:
        """Start the actors and add the workflow."""
        await self._stack.open()
        await self._launch_actors()
        tasks = [TASK.format(name=name, url=self._url).rstrip() for name in "abc"]
        chained = [f"{task}\n    next: {name}" for task, name in zip(tasks, "bc", strict=False)]
        text = "workspace: nodes\ndagName: chain\ntype: flow\ntasks:" + "".join(
            [*chained, tasks[-1]]
        )
        await self._stack.add_descriptor("nodes", "chain", "release", text)
        return "launched"

    async def serve(self) -> str:
        """Start the actors, and answer HTTP on a port of this process."""
        door = socket.create_server(("127.0.0.1", 0))
        port = door.getsockname()[1]
        here = {"port": port, "callback_host": f"http://127.0.0.1:{port}"}
        self._settings = self._settings.model_copy(update=here)
        self._stack = ray_stack(self._settings)
        self._server = await served(self._stack, self._launch_actors, door)
        return str(here["callback_host"])

    async def replicate(self) -> str:
        """Answer HTTP on the other node as well."""
        _, there = find_nodes(self._settings).living
        options = {"num_cpus": 0, "max_concurrency": 1000, **on_node(there)}
        self._replica = ray.remote(Replica).options(**options).remote(self._settings)
        return str(await self._replica.serve.remote())

    async def _launch_actors(self) -> None:
        await deploy(self._settings, self._stack.store)

    async def owners(self) -> dict[str, Any]:
        """Tell where the execution actors are."""
        found = {}
        for name in map(execution_actor_name, range(ACTORS)):
            actor = ray.get_actor(name, namespace=self._settings.namespace)
            facts, (node, _) = await actor.ready.remote(), await actor.socket.remote()
            found[name] = {"pid": facts["pid"], "node": node}
        return found

    async def ways(self) -> dict[str, str]:
        """Ask each actor something, and tell how that went there."""
        names = (dispatcher_actor_name(0), *map(execution_actor_name, range(ACTORS)))
        peers = [Peer(name, self._settings.namespace) for name in names]
        for peer in peers:
            await peer.call(encode_message(GetLoopState()))
        return {peer.name: peer.way for peer in peers}

    async def submit(self, count: str) -> list[str]:
        """Submit executions."""
        submitted = (self._stack.submit("nodes:chain") for _ in range(int(count)))
        return await asyncio.gather(*submitted)

    async def ends(self, *ids: str) -> dict[str, str]:
        """Wait for ends."""
        await asyncio.gather(*(self._stack.wait(each, END_S) for each in ids))
        return {each: await self._status(each) for each in ids}

    async def _status(self, execution_id: str) -> str:
        shown = decode_json(await self._stack.query(execution_id, "status") or b"{}")
        return str(shown["dag_status"] if isinstance(shown, dict) else shown)


async def main(address: str, store: str, functions: str, dispatchers: str = "1") -> None:
    """Join the cluster, say so, and answer until the input ends."""
    ray.init(address=address, namespace="nodes", log_to_driver=False, logging_level="ERROR")
    driver = Driver(store, functions, dispatchers)
    await obey(driver)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
