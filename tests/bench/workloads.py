"""The jobs that benchmarks run on a stack, as definitions and as one execution each."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec

from tests.bench.lean_http import LeanClient

ADD = "/flow/bg/manage/descriptor/add_descriptor.json"
RETRY_WAVES: Final = 17
SLOW_STEPS: Final = 50
BATCH: Final = 500

Definition = Callable[[str], str]


class Job(NamedTuple):
    """A definition, the data of one execution, and how many calls it makes."""

    define: Definition
    data: bytes = b'{"n":0}'
    calls: int = 1


def _function(name: str, url: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "category": "function",
        "pattern": "task_sync",
        "resourceName": url,
        "inputMappings": [{"source": "$.context.n", "target": "$.input.n"}],
        "outputMappings": [{"source": "$.output.n", "target": "$.context.n"}],
        **fields,
    }


def definition(name: str, tasks: list[dict[str, Any]], workspace: str = "bench") -> str:
    """Return the text of a definition."""
    return json.dumps({"workspace": workspace, "dagName": name, "type": "flow", "tasks": tasks})


def chain(name: str, url: str, length: int) -> str:
    """Return so many synchronous tasks in a row, each input built from the last output."""
    return definition(
        name,
        [
            _function(f"step{n}", url, next=f"step{n + 1}" if n < length else None)
            for n in range(1, length + 1)
        ],
    )


def glue(functions_url: str) -> str:
    """Five synchronous tasks in a row, each input built from the last output."""
    return chain("glue", f"{functions_url}/step/glue", 5)


def slow(functions_url: str) -> str:
    """Many synchronous tasks in a row that take 0.1 s each."""
    return chain("slow", f"{functions_url}/slow/0.1", SLOW_STEPS)


def callback(functions_url: str) -> str:
    """One asynchronous task that calls back at once."""
    task = _function("step", f"{functions_url}/async/step", pattern="task_async")
    return definition("callback", [task])


def parked(functions_url: str) -> str:
    """One asynchronous task that never calls back."""
    task = _function("step", f"{functions_url}/never/step", pattern="task_async")
    return definition("parked", [task])


def relay(functions_url: str) -> str:
    """An asynchronous task, and a synchronous one after its callback."""
    first = _function("first", f"{functions_url}/mark/first", pattern="task_async", next="second")
    return definition("relay", [first, _function("second", f"{functions_url}/mark/second")])


def retry(wait_s: int, functions_url: str) -> str:
    """One task that fails once, and is retried so many seconds later."""
    waits = {"maxRetryTimes": 1, "intervalInSeconds": wait_s, "multiplier": 1}
    task = _function("step", f"{functions_url}/fail/{wait_s}", retry=waits)
    return definition(f"retry{wait_s}", [task])


def fanout(name: str, at_once: int | None, functions_url: str) -> str:
    """A foreach over the submitted ``items``, one call each, so many at once."""
    limit = {"synchronization": {"conditions": ["$.input.items"], "maxConcurrency": str(at_once)}}
    loop = {
        "name": "each",
        "category": "foreach",
        "iterationMapping": {"collection": "$.input.items", "item": "n"},
        "inputMappings": [{"source": "$.context.items", "target": "$.input.items"}],
        "tasks": [_function("step", f"{functions_url}/step/item", outputMappings=None)],
        **(limit if at_once else {}),
    }
    return definition(name, [loop])


def ray_task(_: str) -> str:
    """One task that calls a Python function on Ray."""
    return definition("rayTask", [_function("step", "ray://functions_on_ray:step")])


def ray_batch(_: str) -> str:
    """A foreach over the submitted ``items``, whose calls on Ray are made in batches."""
    loop = json.loads(fanout("rayBatch", None, ""))
    loop["tasks"][0]["tasks"][0] |= {
        "resourceName": "ray://functions_on_ray:many",
        "rayOptions": {"batch": BATCH},
    }
    return json.dumps(loop)


def _items(count: int) -> bytes:
    return json.dumps({"items": list(range(count))}).encode()


JOBS: Final = {
    "glue": Job(glue, calls=5),
    "callback": Job(callback),
    "fanout": Job(partial(fanout, "fanout", 10), _items(100), 100),
    "fanoutAll": Job(partial(fanout, "fanoutAll", None), _items(100), 100),
    "wide": Job(partial(fanout, "wide", 10), _items(10_000), 10_000),
    "wideAll": Job(partial(fanout, "wideAll", None), _items(10_000), 10_000),
    "rayTask": Job(ray_task),
    "rayBatch": Job(ray_batch, _items(10_000), 10_000),
    "parked": Job(parked),
    "relay": Job(relay, calls=2),
    "slow": Job(slow, calls=SLOW_STEPS),
    **{f"retry{s}": Job(partial(retry, s)) for s in range(2, RETRY_WAVES + 3)},
}


async def add_all(base: str, functions_url: str) -> None:
    """Add the definitions of all jobs."""
    async with aiohttp.ClientSession() as http:
        for name, job in JOBS.items():
            await add(http, base, name, job.define(functions_url))


async def add(http: aiohttp.ClientSession, base: str, name: str, text: str) -> None:
    """Add a definition under ``bench:<name>``."""
    query = {"business_id": "bench", "feature_name": name, "alias": "release"}
    async with http.post(base + ADD, params=query, data=text) as response:
        answer = await response.json()
    if not answer.get("ret"):
        raise SystemExit(f"the definition {name} was refused: {answer}")


async def submit(http: LeanClient, name: str, data: bytes | None = None) -> str:
    """Start an execution and return its id."""
    target = b"/flow/submit.json?descriptor_id=bench:" + name.encode()
    answer = await http.post(target, JOBS[name].data if data is None else data)
    execution_id: str = msgspec.json.decode(answer)["execution_id"]
    return execution_id


async def call_back(http: LeanClient, execution_id: str) -> None:
    """Finish the task that an execution of the job ``parked`` waits for."""
    target = f"/flow/finish.json?execution_id={execution_id}&task_name=step"
    await http.post(target.encode(), b'{"n":1}')


async def run(http: LeanClient, name: str) -> None:
    """Start an execution and wait, in the same request, until it has succeeded."""
    target = f"/flow/submit.json?descriptor_id=bench:{name}&brief=true&wait_s=60"
    answer = msgspec.json.decode(await http.post(target.encode(), JOBS[name].data))
    status = answer.get("ret", {}).get("dag_status")
    if status != "SUCCEED":
        raise SystemExit(f"{answer['execution_id']} ended {status}")
