"""A dispatcher's gateway of Ray functions on the head of a Ray of several nodes.

    python tests/cluster/ray_node_driver.py ADDRESS STORE

Joins the cluster, then reads one command a line and answers each with a line, ``answer: ``
and JSON:

``call PATTERN FILE SECONDS``  has a function sleep on a node that is not the head
``outcome``                    waits for its end; the body and the error of the answer
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray

from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ray_tasks.gateway import RayTaskGateway
from rillflow.ray_tasks.settings import RaySettings
from tests.cluster.driving import obey


class Driver:
    """What the commands do."""

    def __init__(self) -> None:
        settings = RaySettings(modules=("ray_functions",), path=(str(Path(__file__).parent),))
        self._gateway = RayTaskGateway(settings, AnswerBudget(1 << 28))
        self._calls = 0
        self._call: asyncio.Task[DispatchAnswer]

    async def call(self, pattern: str, file: str, seconds: str) -> None:
        """Begin a call."""
        self._calls += 1
        head = ray.get_runtime_context().get_node_id()
        request = DispatchRequest(
            execution_id="ray:nodes_c_1",
            task="A",
            attempt=self._calls,
            pattern=pattern,
            resource_name="ray://ray_functions:sleeps",
            input=encode_json({"file": file, "seconds": float(seconds)}),
            ray_options=encode_json({"label_selector": {"ray.io/node-id": f"!{head}"}}),
        )
        self._call = asyncio.create_task(self._gateway.call(request))

    async def outcome(self) -> Any:
        """Wait for the end of the call, and note that its outcome is durable."""
        answer = await self._call
        self._gateway.settled(answer.call)
        return {"body": decode_json(answer.body or b"null"), "error": answer.error}


async def main(address: str) -> None:
    """Join, and obey."""
    ray.init(address=address, namespace="rillflow", log_to_driver=False, logging_level="ERROR")
    await obey(Driver())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
