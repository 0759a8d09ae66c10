"""A task actor on the Ray of a stack whose outcome nobody asks for.

    python tests/cluster/ray_unclaimed.py ADDRESS FOLDER FILE

It orders the same attempt twice, asks for a while, and ends when the task actor has
ended by itself.
"""

import sys
import time
from pathlib import Path
from typing import Final

import ray

from rillflow.jsontypes import encode_json
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.task_actors import ACTOR_OPTIONS, _find_or_start
from rillflow.ray_tasks.worker import FunctionCall

UNCLAIMED_S: Final = 2.0
LOOK_S: Final = 0.1


def main(address: str, folder: str, file: str) -> None:
    """Order an attempt, and wait until it is gone."""
    ray.init(address=address, namespace="rillflow", log_to_driver=False)
    fields = encode_json({"file": file, "seconds": 600})
    target = FunctionTarget("ray_functions", "sleeps")
    call = FunctionCall(target, fields, ("ray_functions",), (folder,), 1000)
    options = {**ACTOR_OPTIONS, "name": "unclaimed", "namespace": "rillflow"}
    actor = _find_or_start(call, UNCLAIMED_S, options)
    again = _find_or_start(call, UNCLAIMED_S, options)
    if actor._actor_id != again._actor_id:
        sys.exit("the attempt has two task actors")
    questions = [each.outcome.remote("me") for each in (actor, again)]
    while not Path(file).exists():
        time.sleep(LOOK_S)
    for question in questions:
        ray.cancel(question)
    while _is_there():
        time.sleep(LOOK_S)


def _is_there() -> bool:
    try:
        ray.get_actor("unclaimed")
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
