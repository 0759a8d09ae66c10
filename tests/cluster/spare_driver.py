"""A driver that has a process wait on its node, and starts an actor and another one.

    python tests/cluster/spare_driver.py

It writes two words: whether each of the actors is in a process that was there before. The first one
should be, and the second one cannot be.
"""

import os
import sys
from typing import Any, Final

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray

from rillflow.actors.placing import SpareWorkers, raylet_of

PATIENCE_S: Final = 120.0
ENVIRONMENT: Final = {"env_vars": {"GREETING": "hello"}}


class Named:
    """An actor that tells in which process it is."""

    async def told(self) -> tuple[str, str]:
        """Return the id of the process, and a variable of its environment."""
        return ray.get_runtime_context().get_worker_id(), os.environ["GREETING"]


class Starter:
    """An actor like the controller, which starts others that have its environment."""

    async def start(self) -> list[bool]:
        """Start two actors where one process waits."""
        node = ray.get_runtime_context().get_node_id()
        spare = SpareWorkers()
        for _ in range(2):  # the one that waits is enough the second time
            await spare.start({node: 1}, PATIENCE_S)
        raylet = raylet_of(node)
        waiting = {each.hex() for each in raylet.unused_workers()}
        raylet.close()
        assert len(waiting) == 1, waiting
        return [await _is_among(waiting, f"named:{number}") for number in range(2)]


async def _is_among(waiting: set[str], name: str) -> bool:
    options: dict[str, Any] = {"name": name, "lifetime": "detached", "num_cpus": 0}
    worker, greeting = await ray.remote(Named).options(**options).remote().told.remote()
    assert greeting == "hello"
    return worker in waiting


def main() -> None:
    """Join, and have an actor do it."""
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR", runtime_env=ENVIRONMENT)
    starter = ray.remote(Starter).options(name="starter", lifetime="detached", num_cpus=0).remote()
    sys.stdout.write(" ".join(map(str, ray.get(starter.start.remote()))))


if __name__ == "__main__":
    main()
