"""Several calls on the Ray of a stack that wait for the task actor of the same attempt.

    python tests/cluster/ray_askers.py ADDRESS FOLDER FILE

Two dispatchers, one of them with two calls, order an attempt. They leave one after the other;
the task actor ends with the last of them.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import ray

from rillflow.jsontypes import encode_json
from rillflow.ports.gateway import DispatchRequest
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.task_actors import TaskActors, actor_name
from rillflow.ray_tasks.worker import FunctionCall

LOOK_S: Final = 0.1
STAYS_S: Final = 5.0
NAMESPACE: Final = "rillflow"
REQUEST: Final = DispatchRequest(
    execution_id="ray:askers_c_1",
    task="A",
    attempt=1,
    pattern="task_async",
    resource_name="ray://ray_functions:sleeps",
)


async def waits(actors: TaskActors, call: FunctionCall) -> None:
    """Be a call of a dispatcher."""
    actors.begin(REQUEST.call)
    try:
        await actors.result(REQUEST, call, {}, lambda *_: None)
    finally:
        actors.release(REQUEST.call, has_outcome=False)


async def ends(waiting: asyncio.Task[None]) -> None:
    """End a call."""
    waiting.cancel()
    await asyncio.wait({waiting})


async def until(asked: Callable[[], Awaitable[bool]], *, is_so: bool) -> None:
    """Ask until the answer is this one."""
    while True:
        if await asked() is is_so:
            return
        await asyncio.sleep(LOOK_S)


async def is_there() -> bool:
    """Look for the task actor."""
    try:
        await asyncio.to_thread(ray.get_actor, actor_name(*REQUEST.key), NAMESPACE)
    except ValueError:
        return False
    return True


async def run(folder: str, file: str) -> str:
    """Return what went wrong."""
    fields = encode_json({"file": file, "seconds": 600})
    target = FunctionTarget("ray_functions", "sleeps")
    call = FunctionCall(target, fields, ("ray_functions",), (folder,), 1000)
    one, two = (TaskActors(NAMESPACE, 3600.0, name) for name in ("one", "two"))
    calls: list[Any] = [asyncio.create_task(waits(each, call)) for each in (one, one, two)]
    await until(lambda: asyncio.to_thread(Path(file).exists), is_so=True)
    for waiting in calls[:2]:
        await ends(waiting)
        await asyncio.sleep(STAYS_S)
        if not await is_there() or calls[2].done():
            return "it has ended before the last call"
    await ends(calls[2])
    await until(is_there, is_so=False)
    return ""


def main(address: str, folder: str, file: str) -> None:
    """Order an attempt thrice, and leave."""
    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False)
    sys.exit(asyncio.run(run(folder, file)) or None)


if __name__ == "__main__":
    main(*sys.argv[1:])
