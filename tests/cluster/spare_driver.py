"""A driver that has a process wait on its node, and starts an actor and another one.

    python tests/cluster/spare_driver.py

It writes JSON: for each of the actors whether its process was there before and whether that had
imported what actors need; the latter of a task that was started without that; how many processes
have then been started to wait; and how many of those are left after they have been ended.
"""

import asyncio
import json
import os
import sys
from typing import Any, Final

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray

from rillflow.actors.ray_context import preloading
from rillflow.actors.spare_workers import SpareWorkers, raylet_of
from rillflow.private_apis.ray_core.state import no_hook

PATIENCE_S: Final = 120.0
ENVIRONMENT: Final = {"env_vars": {"GREETING": "hello"}}
MODULE: Final = "rillflow.actors.dispatcher_actor"


class Named:
    """An actor that tells in which process it is."""

    async def told(self) -> tuple[str, str, bool]:
        """Return the id of the process, a variable of its environment, and what it has imported."""
        greeting = os.environ["GREETING"]
        return ray.get_runtime_context().get_worker_id(), greeting, MODULE in sys.modules


def is_loaded() -> bool:
    """Tell whether this process has imported what actors need."""
    return MODULE in sys.modules


class Starter:
    """An actor like the controller, which starts others that have its environment."""

    async def start(self) -> list[Any]:
        """Start two actors where one process waits."""
        node = ray.get_runtime_context().get_node_id()
        spare = SpareWorkers()
        for _ in range(2):  # the one that waits is enough the second time
            await spare.start({node: 1}, PATIENCE_S)
        raylet = raylet_of(node)
        waiting = {each.hex() for each in raylet.unused_workers()}
        raylet.close()
        assert len(waiting) == 1, waiting
        actors = [await _told(waiting, f"named:{number}") for number in range(2)]
        await spare.start({node: 2}, PATIENCE_S)
        ours = _unused(node)
        await spare.end()
        ended = [len(ours), await _left_of(ours, node)]
        # Last, since Ray starts more processes for a task than that takes.
        options = {"num_cpus": 0, "runtime_env": {"env_vars": no_hook()}}
        return [*actors, await ray.remote(is_loaded).options(**options).remote(), ended]


def _unused(node: str) -> set[bytes]:
    raylet = raylet_of(node)
    try:
        return raylet.unused_workers()
    finally:
        raylet.close()


async def _left_of(waiting: set[bytes], node: str) -> int:
    """Wait until none of some processes waits; return how many do after a minute."""
    for _ in range(600):
        if not waiting & _unused(node):
            return 0
        await asyncio.sleep(0.1)  # Ray has not heard of the end of the last one yet
    return len(waiting & _unused(node))


async def _told(waiting: set[str], name: str) -> tuple[bool, bool]:
    options: dict[str, Any] = {"name": name, "lifetime": "detached", "num_cpus": 0}
    worker, greeting, has_imported = (
        await ray.remote(Named).options(**options).remote().told.remote()
    )
    assert greeting == "hello"
    return worker in waiting, has_imported


def main() -> None:
    """Join, and have an actor do it."""
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR", runtime_env=ENVIRONMENT)
    options: dict[str, Any] = {"name": "starter", "lifetime": "detached", "num_cpus": 0}
    starter = ray.remote(Starter).options(**options, **preloading()).remote()
    # On a line of its own: Ray writes to the same terminal.
    sys.stdout.write(f"\n{json.dumps(ray.get(starter.start.remote()))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
