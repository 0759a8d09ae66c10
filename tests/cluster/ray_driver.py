"""A driver of its own on the stack's Ray, which tells about named actors.

    python tests/cluster/ray_driver.py ADDRESS NAMESPACE

Reads one command a line and answers each with a line of JSON: ``actors`` lists the names,
``facts NAME`` asks the actor of this name who it is, null when there is none, ``hot NAME`` how many
executions it has in memory, and ``remove NAME`` ends it for good.
"""

import json
import os
import sys
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray


def answer(line: str, namespace: str) -> Any:
    """Carry out one command."""
    command, _, name = line.strip().partition(" ")
    if command == "actors":
        named = ray.util.list_named_actors(all_namespaces=True)
        return sorted(entry["name"] for entry in named if entry["namespace"] == namespace)
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
