"""A driver that deploys again and again while executions run, as replicas of the API would.

    python tests/cluster/deploying_driver.py ADDRESS STORE

Joins the cluster, then reads one command a line and answers each with a line, ``answer: ``
and JSON:

``deploy JSON``  deploys with these settings; what went wrong, or null
``add``          adds the workflow
``keep N``       submits another execution for each that ends, so that N run until ``ends``;
                 by the stack that was deployed first, which knows of no later deployment
``submit N``     submits N executions by the stack that was deployed last; their ids
``ended ID ...`` waits until these have ended; id to status
``settled``      waits until everything is as wanted; the report of the controller
``actors``       each actor: its life, and the version it was started with
``kill NAME``    kills the process of an actor
``ends``         waits until all executions have ended; id to status
``calls ID ...`` the calls of each execution, of those that were kept if none is named, in their
                 order: task and idempotency key
``one``          the end of one more execution
``hold ISOLATION`` submits an execution whose call is not answered, and waits until it is made
``pause``        stops the process of the actor of that execution, if it has one of its own
``cause``        waits until the controller tells what an actor waits for; its words
``release``      answers calls that are held; the end of their execution, and the keys of its calls
``reasons``      why not everything is as wanted, as the controller says
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any, Final

os.environ.setdefault("RAY_AUTH_MODE", "token")

import msgspec
import ray
from aiohttp import web

from rillflow.actors.deployment import deploy
from rillflow.actors.directory import find_actor, names_of_actors
from rillflow.actors.names import CONTROLLER_ACTOR, dedicated_actor_name, kind_of
from rillflow.actors.stack import ray_stack
from rillflow.errors import RillflowError
from rillflow.ids import ExecutionId
from rillflow.jsontypes import decode_json
from rillflow.runtime.stack import Stack
from rillflow.settings import Settings
from tests.cluster.driving import obey
from tests.cluster.moving_driver import TASK, Functions

END_S: Final = 240.0
LOOK_S: Final = 0.1
HELD: Final = "held"
HELD_FLOW: Final = "workspace: nodes\ndagName: holding\ntype: flow\ntasks:" + (
    TASK + "    timeline: {{ timeoutInSeconds: 600 }}\n"
)


class HoldingFunctions(Functions):
    """Those, and one that does not answer before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_called = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def _call(self, request: web.Request) -> web.Response:
        if request.match_info["name"] == HELD:
            self.is_called.set()
            answer = await super()._call(request)
            await self.may_answer.wait()
            return answer
        return await super()._call(request)


class Driver:
    """What the commands do."""

    def __init__(self, functions: HoldingFunctions, urls: list[str], store: str) -> None:
        self._functions = functions
        self._url = urls[0]
        self._base = Settings(
            store=store, callback_host=urls[0], egress_allow=("127.0.0.1",), rebalance_s=0
        )
        self._stacks: list[Stack] = []
        self._ids: list[str] = []
        self._kept: list[asyncio.Task[None]] = []
        self._ending = False
        self._held = ExecutionId("")

    async def deploy(self, changes: str) -> str | None:
        """Deploy with other settings."""
        settings = self._base.model_copy(update=json.loads(changes))
        stack = ray_stack(settings)
        await stack.open()
        try:
            await deploy(settings, stack.store)
        except RillflowError as error:
            await stack.close()
            return str(error)
        self._stacks.append(stack)
        return None

    async def add(self) -> str:
        """Add a workflow of three calls."""
        tasks = [TASK.format(name=name, url=self._url).rstrip() for name in "abc"]
        chained = [f"{task}\n    next: {name}" for task, name in zip(tasks, "bc", strict=False)]
        text = "workspace: nodes\ndagName: chain\ntype: flow\ntasks:" + "".join(
            [*chained, tasks[-1]]
        )
        await self._stacks[-1].add_descriptor("nodes", "chain", "release", text)
        return "added"

    async def keep(self, count: str) -> str:
        """Keep executions running; each has been submitted before this returns."""
        begun = [asyncio.Event() for _ in range(int(count))]
        self._kept = [asyncio.create_task(self._keep(each)) for each in begun]
        await asyncio.gather(*(each.wait() for each in begun))
        return "kept"

    async def _keep(self, has_begun: asyncio.Event) -> None:
        stack = self._stacks[0]
        while not self._ending:
            execution_id = await stack.submit("nodes:chain")
            self._ids.append(execution_id)
            has_begun.set()
            assert await stack.wait(execution_id, END_S)

    async def submit(self, count: str) -> list[str]:
        """Submit executions."""
        return [await self._stacks[-1].submit("nodes:chain") for _ in range(int(count))]

    async def ended(self, *ids: str) -> dict[str, str]:
        """Wait for the ends of executions, whoever has submitted them."""
        assert all(await asyncio.gather(*(self._stacks[-1].wait(each, END_S) for each in ids)))
        return {each: await self._status(each) for each in ids}

    async def reasons(self) -> list[str]:
        """Tell what keeps the actors from being as wanted."""
        controller = await find_actor(self._base, CONTROLLER_ACTOR)
        report = await controller.report.remote()
        return [*(reason.message for reason in report.reasons), *report.causes]

    async def settled(self) -> Any:
        """Wait until everything is as wanted."""
        report = None
        try:
            async with asyncio.timeout(END_S):
                while report is None or report.reasons:
                    await asyncio.sleep(LOOK_S)
                    controller = await find_actor(self._base, CONTROLLER_ACTOR)
                    report = await controller.report.remote()
        except TimeoutError as error:
            raise AssertionError(
                f"not settled after {END_S:g} s; the last report: {report}"
            ) from error
        return msgspec.to_builtins(report)

    async def actors(self) -> dict[str, Any]:
        """Tell of each actor."""
        found = {}
        for name in sorted(names_of_actors(self._base.namespace)):
            if kind_of(name) is not None:
                report = await (await find_actor(self._base, name)).report.remote()
                found[name] = {
                    "life": report.life,
                    "version": report.deployment.version,
                    "map": report.deployment.partition_map,
                    "partitions": report.partitions,
                }
        return found

    async def kill(self, name: str) -> str:
        """Kill the process of an actor."""
        report = await (await find_actor(self._base, name)).report.remote()
        os.kill(report.pid, signal.SIGKILL)
        return "killed"

    async def ends(self) -> dict[str, str]:
        """Submit no more, and wait for all ends."""
        self._ending = True
        await asyncio.gather(*self._kept)
        self._ending = False
        return {each: await self._status(each) for each in self._ids}

    async def one(self) -> str:
        """Run one more execution by the last stack."""
        stack = self._stacks[-1]
        execution_id = await stack.submit("nodes:chain")
        assert await stack.wait(execution_id, END_S)
        return await self._status(execution_id)

    async def hold(self, isolation: str) -> str:
        """Have a call be under way that does not end."""
        self._functions.is_called.clear()
        self._functions.may_answer.clear()
        stack = self._stacks[-1]
        text = HELD_FLOW.format(name=HELD, url=self._url)
        await stack.add_descriptor("nodes", "holding", "release", text)
        self._held = await stack.submit("nodes:holding", isolation=isolation)
        await self._functions.is_called.wait()
        return "held"

    async def pause(self) -> str:
        """Stop the process of the actor of one execution."""
        actor = await find_actor(self._base, dedicated_actor_name(self._held))
        os.kill((await actor.report.remote()).pid, signal.SIGSTOP)
        return "paused"

    async def cause(self) -> str:
        """Wait until the controller names a cause."""
        async with asyncio.timeout(END_S):
            while True:
                controller = await find_actor(self._base, CONTROLLER_ACTOR)
                report = await controller.report.remote()
                if report.causes:
                    return str(report.causes[0])
                await asyncio.sleep(LOOK_S)

    async def release(self) -> tuple[str, list[str]]:
        """Let the call end, and its execution."""
        self._functions.may_answer.set()
        async with asyncio.timeout(END_S):
            assert await self._stacks[-1].wait(self._held, END_S)
        return await self._status(self._held), [key for _, key in self._functions.calls[self._held]]

    async def calls(self, *ids: str) -> dict[str, list[tuple[str, str]]]:
        """Tell the calls of each execution."""
        return {each: self._functions.calls[each] for each in ids or self._ids}

    async def _status(self, execution_id: str) -> str:
        shown = decode_json(await self._stacks[-1].query(execution_id, "status") or b"{}")
        return str(shown["dag_status"] if isinstance(shown, dict) else shown)


async def main(address: str, store: str) -> None:
    """Join the cluster, say so, and answer until the input ends."""
    ray.init(address=address, namespace="nodes", log_to_driver=False, logging_level="ERROR")
    functions = HoldingFunctions()
    driver = Driver(functions, await functions.start(), store)
    await obey(driver)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
