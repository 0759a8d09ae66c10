"""A driver of its own on the stack's Ray, which tells about named actors.

    python tests/cluster/ray_driver.py ADDRESS NAMESPACE

Reads one command a line and answers each with a line of JSON: ``actors`` lists the names,
``facts NAME`` asks the actor of this name who it is, null when there is none, ``hot NAME`` how many
executions it has in memory, and ``remove NAME`` ends it for good. ``exports`` counts the functions
and classes that Ray keeps, and ``logs TIMES`` reads what a function has printed so often: it
answers the texts, and by how many functions the readings after the first one have added to these.
"""

import asyncio
import json
import os
import sys
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")

import msgspec
import ray
from ray._private import ray_constants
from ray.experimental import internal_kv

from rillflow.actors.task_logs import RayTaskLogs
from rillflow.errors import UnavailableError
from rillflow.ports.task_logs import LogPlace
from rillflow.ray_tasks.worker_log import WorkerLog


def exports() -> int:
    """Return how many functions and classes Ray's GCS keeps."""
    namespace = ray_constants.KV_NAMESPACE_FUNCTION_TABLE
    kept: Any = internal_kv._internal_kv_list
    return sum(len(kept(kind, namespace=namespace)) for kind in ("RemoteFunction", "ActorClass"))


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator] # Ray has no types
def printing() -> str | None:
    """Print, and return the place of that."""
    log = WorkerLog()
    sys.stdout.write("printed\n")
    return log.ended()


async def read_logs(times: int) -> tuple[list[str], int]:
    """Read a log of another process by Ray, as one of another node is."""
    place = msgspec.json.decode(await printing.remote(), type=LogPlace)
    logs, texts, first = RayTaskLogs(), list[str](), 0
    for _ in range(times):
        texts += [each.text for each in await logs.read(place)]
        first = first or exports()
    return texts, exports() - first


async def unknown_node() -> str:
    """Read a log of a node that there is not, and return what is said."""
    try:
        await RayTaskLogs().read(LogPlace("0a" * 28, []))
    except UnavailableError as error:
        return str(error)
    return "it was read"


def actors(namespace: str) -> list[str]:
    """Return the names of the actors of a namespace."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return sorted(entry["name"] for entry in named if entry["namespace"] == namespace)


def answer(line: str, namespace: str) -> Any:
    """Carry out one command."""
    command, _, name = line.strip().partition(" ")
    match command:
        case "actors":
            return actors(namespace)
        case "exports":
            return exports()
        case "logs":
            return [*asyncio.run(read_logs(int(name))), asyncio.run(unknown_node())]
        case _:
            return of_actor(command, name, namespace)


def of_actor(command: str, name: str, namespace: str) -> Any:
    """Carry out a command for one actor."""
    try:
        actor = ray.get_actor(name, namespace=namespace)
        if command == "remove":
            ray.kill(actor, no_restart=True)
            return None
        if command == "hot":
            return ray.get(actor.report.remote()).hot
        facts = ray.get(actor.ready.remote())
    except (ValueError, ray.exceptions.RayActorError):
        return None
    return {"pid": facts["pid"], "execution_actors": facts["execution_actors"]}


def main(address: str, namespace: str) -> None:
    """Join the cluster, say so, and answer until the input ends."""
    ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level="ERROR")
    sys.stdout.write("joined\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(line, namespace)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
