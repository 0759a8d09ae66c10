"""The jobs that benchmarks run on a stack, as definitions and as one execution each."""

import json
from typing import Any

import aiohttp
import yarl

ADD = "/flow/bg/manage/descriptor/add_descriptor.json"


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


def _definition(name: str, tasks: list[dict[str, Any]]) -> str:
    return json.dumps({"workspace": "bench", "dagName": name, "type": "flow", "tasks": tasks})


def glue(functions_url: str) -> str:
    """Five synchronous tasks in a row, each input built from the last output."""
    follower = {number: f"step{number + 1}" for number in range(1, 5)}
    tasks = [
        _function(f"step{number}", f"{functions_url}/step/{number}", next=follower.get(number))
        for number in range(1, 6)
    ]
    return _definition("glue", tasks)


def callback(functions_url: str) -> str:
    """One asynchronous task that calls back at once."""
    return _definition(
        "callback", [_function("step", f"{functions_url}/async/step", pattern="task_async")]
    )


def fanout(functions_url: str) -> str:
    """A foreach over the submitted ``items``, ten at a time, one call each."""
    member = _function("step", f"{functions_url}/step/item", outputMappings=None)
    loop = {
        "name": "each",
        "category": "foreach",
        "iterationMapping": {"collection": "$.input.items", "item": "n"},
        "synchronization": {"conditions": ["$.input.items"], "maxConcurrency": "10"},
        "inputMappings": [{"source": "$.context.items", "target": "$.input.items"}],
        "tasks": [member],
    }
    return _definition("fanout", [loop])


DEFINITIONS = {"glue": glue, "callback": callback, "fanout": fanout}
INPUTS = {
    "glue": b'{"n":0}',
    "callback": b'{"n":0}',
    "fanout": json.dumps({"items": list(range(100))}).encode(),
}


async def add(http: aiohttp.ClientSession, base: str, name: str, text: str) -> None:
    """Add a definition under ``bench:<name>``."""
    query = {"business_id": "bench", "feature_name": name, "alias": "release"}
    async with http.post(base + ADD, params=query, data=text) as response:
        answer = await response.json()
    if not answer.get("ret"):
        raise SystemExit(f"the definition {name} was refused: {answer}")


async def submit(http: aiohttp.ClientSession, base: str, name: str) -> str:
    """Start an execution and return its id."""
    url = yarl.URL(f"{base}/flow/submit.json?descriptor_id=bench:{name}", encoded=True)
    async with http.post(url, data=INPUTS[name]) as response:
        answer = await response.json()
    if "execution_id" not in answer:
        raise SystemExit(f"a submission was refused: {answer}")
    execution_id: str = answer["execution_id"]
    return execution_id


async def run(http: aiohttp.ClientSession, base: str, name: str) -> None:
    """Start an execution and wait, by long poll, until it has succeeded."""
    execution_id = await submit(http, base, name)
    query = f"execution_id={execution_id}&brief=true&wait_s=60"
    async with http.get(yarl.URL(f"{base}/flow/get.json?{query}", encoded=True)) as response:
        ended = (await response.json())["ret"]
    if ended["dag_status"] != "SUCCEED":
        raise SystemExit(f"{execution_id} ended {ended['dag_status']}")
