"""A driver script as a user writes one: it joins the stack's Ray and works without HTTP.

    python tests/cluster/client_driver.py sync|async RAY_ADDRESS GATEWAY_URL

Its last line of output is JSON: what it met.
"""

import asyncio
import json
import sys
from typing import Any

import rillflow
from rillflow.errors import (
    ExecutionFailedError,
    ExecutionTimeoutError,
    RillflowError,
    UnknownExecutionError,
)
from tests.cluster.api import WAIT_S
from tests.cluster.test_client import CALLS, SIGNALS, UNKNOWN, scenario


def work(address: str, gateway_url: str) -> dict[str, Any]:
    """Use the client that ``connect`` gives, and tell what came of it."""
    with rillflow.connect(address=address) as client:
        calls = client.add(CALLS.replace("GATEWAY", gateway_url))
        execution = client.submit(calls, {"say": {"json": {"n": 7}}})
        told: dict[str, Any] = {"ray": "ray" in sys.modules}
        told["statuses"] = {change.task: change.status for change in execution.watch(0.02)}
        told["result"] = execution.result(timeout_s=WAIT_S)["second"]
        try:
            client.submit(calls, {"say": {"status": 500}}).result(timeout_s=WAIT_S)
        except ExecutionFailedError as error:
            told["failed"] = list(error.tasks)
        told |= steer(client, client.add(SIGNALS.replace("GATEWAY", gateway_url)))
        try:
            client.submit("nothing:here")
        except RillflowError as error:
            told["refused"] = type(error).__name__
        return told


def steer(client: rillflow.Client, signals: str) -> dict[str, Any]:
    """Drive an execution by hand."""
    told: dict[str, Any] = {}
    execution = client.submit(signals)
    try:
        execution.result(timeout_s=0.2)
    except ExecutionTimeoutError as error:
        told["timeout"] = error.timeout_s
    execution.wake_up("approval", {"approved": True})
    told["finished"] = [execution.finish("work", {"answer": 1}) for _ in range(2)]
    try:
        client.execution(UNKNOWN).get()
    except UnknownExecutionError as error:
        told["unknown"] = str(error).split()[-1]
    return told


async def work_async(address: str, gateway_url: str) -> str:
    """Use the client that ``connect_async`` gives."""
    async with await rillflow.connect_async(address=address) as client:
        await scenario(client, gateway_url)
    return "done"


if __name__ == "__main__":
    _, way, address, gateway_url = sys.argv
    met: Any = (
        asyncio.run(work_async(address, gateway_url))
        if way == "async"
        else work(address, gateway_url)
    )
    print(json.dumps(met))  # noqa: T201 - what the test reads
