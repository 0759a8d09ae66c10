"""A driver on a Ray of several nodes, which also serves the functions of its executions.

    python tests/cluster/node_driver.py ADDRESS STORE

Joins the cluster, then reads one command a line and answers each with a line, ``answer: ``
and JSON:

``launch``     starts two execution actors and a dispatcher, and waits until they take calls
``owners``     the execution actors: name to process id and node id
``submit N``   submits N executions of three calls, one after the other
``called N``   waits until the functions were called N times
``ends``       waits until all executions have ended; id to status
``calls``      the calls of each execution in their order: task and idempotency key
"""

import asyncio
import json
import os
import sys
from collections import defaultdict
from typing import Any, Final

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from aiohttp import web

from rillflow.actors.launch import launch_actors, stop_actors
from rillflow.actors.names import execution_actor_name
from rillflow.actors.stack import Stack
from rillflow.jsontypes import decode_json
from rillflow.settings import Settings

ACTORS: Final = 2
NODES: Final = 2
LOOK_S: Final = 0.05
ANSWER: Final = "answer: "
CALL_S: Final = 0.7
END_S: Final = 50.0
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
        self._called = asyncio.Condition()

    async def start(self) -> str:
        """Listen on a free port and return the address."""
        application = web.Application()
        application.router.add_post("/{name}", self._call)
        # This also stands for the API: callbacks could come, so calls need not wait.
        application.router.add_get("/flow/trigger.json", self._refuse)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def called(self, count: int) -> None:
        """Wait until there were so many calls."""
        async with self._called:
            await self._called.wait_for(lambda: sum(map(len, self.calls.values())) >= count)

    async def _call(self, request: web.Request) -> web.Response:
        execution_id = (await request.json())["execution"]
        async with self._called:
            key = request.headers["Idempotency-Key"]
            self.calls[execution_id].append((request.match_info["name"], key))
            self._called.notify_all()
        await asyncio.sleep(CALL_S)
        return web.json_response({"done": True})

    async def _refuse(self, _: web.Request) -> web.Response:
        return web.Response(status=400)


class Driver:
    """What the commands do."""

    def __init__(self, functions: Functions, url: str, store: str) -> None:
        self._functions = functions
        self._url = url
        self._settings = Settings(
            store=store, execution_actors=ACTORS, callback_host=url, egress_allow=("127.0.0.1",)
        )
        self._stack = Stack(self._settings)
        self._ids: list[str] = []

    async def launch(self) -> str:
        """Start the actors and add the workflow.

        Ray puts actors that take no processor on any node, so they are started anew until
        both nodes have an execution actor.
        """
        while True:
            actors = launch_actors(self._settings)
            await asyncio.gather(*(actor.ready.remote() for actor in actors))
            if len({owner["node"] for owner in (await self.owners()).values()}) == NODES:
                break
            stop_actors(self._settings)
            await self._until_gone()
        await self._stack.open()
        tasks = [TASK.format(name=name, url=self._url).rstrip() for name in "abc"]
        chained = [f"{task}\n    next: {name}" for task, name in zip(tasks, "bc", strict=False)]
        text = "workspace: nodes\ndagName: chain\ntype: flow\ntasks:" + "".join(
            [*chained, tasks[-1]]
        )
        await self._stack.add_descriptor("nodes", "chain", "release", text)
        return "launched"

    async def owners(self) -> dict[str, Any]:
        """Tell where the execution actors are."""
        found = {}
        for name in map(execution_actor_name, range(ACTORS)):
            actor = ray.get_actor(name, namespace=self._settings.namespace)
            facts, (node, _) = await actor.ready.remote(), await actor.socket.remote()
            found[name] = {"pid": facts["pid"], "node": node}
        return found

    async def submit(self, count: str) -> int:
        """Submit executions."""
        submitted = (self._stack.submit("nodes:chain") for _ in range(int(count)))
        self._ids += await asyncio.gather(*submitted)
        return len(self._ids)

    async def called(self, count: str) -> str:
        """Wait for calls of the functions."""
        await self._functions.called(int(count))
        return "called"

    async def ends(self) -> dict[str, str]:
        """Wait for all ends."""
        await asyncio.gather(*(self._stack.wait(each, END_S) for each in self._ids))
        return {each: await self._status(each) for each in self._ids}

    async def calls(self) -> dict[str, list[tuple[str, str]]]:
        """Tell the calls of each execution."""
        return {each: self._functions.calls[each] for each in self._ids}

    async def _until_gone(self) -> None:
        while True:
            named = ray.util.list_named_actors(all_namespaces=True)
            if not [each for each in named if each["namespace"] == self._settings.namespace]:
                break
            await asyncio.sleep(LOOK_S)

    async def _status(self, execution_id: str) -> str:
        shown = decode_json(await self._stack.query(execution_id, "status") or b"{}")
        return str(shown["dag_status"] if isinstance(shown, dict) else shown)


async def main(address: str, store: str) -> None:
    """Join the cluster, say so, and answer until the input ends."""
    ray.init(address=address, namespace="nodes", log_to_driver=False, logging_level="ERROR")
    functions = Functions()
    driver = Driver(functions, await functions.start(), store)
    _say("joined")
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *arguments = line.split()
        _say(await getattr(driver, command)(*arguments))


def _say(answer: Any) -> None:
    # Ray writes here as well.
    sys.stdout.write(f"{ANSWER}{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
