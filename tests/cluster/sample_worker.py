"""The functions of the sample workflows, as a process of its own.

    python tests/cluster/sample_worker.py

The first line on standard output is the address. A function whose request says
``X-Mode: async`` answers at once and sends its result to ``X-Callback-Url``.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import aiohttp
import yarl
from aiohttp import web

from rillflow.task_set import TaskSet

Json: TypeAlias = Any

REFUSED: Final = {"result_type": "FAILED", "error_msg": "the model refuses", "error_code": 451}

ANSWERS: Final[dict[str, Callable[[Json], Json]]] = {
    "choice": lambda given: {"sum": sum(i * i for i in range(given["input_num"]))},
    "executor": lambda given: {"executor_result": given["segment_item"] * 10},
    "callback": lambda given: {"callback_result": given["executor_result"] * 10},
    "calculate": lambda given: {"sum": sum(given["callback_result_list"])},
    "sub_callback": lambda given: {"callback_result": given["sum"] * 10},
    "print": lambda given: [f"{key}={given[key]}" for key in given],
    "greet": lambda given: ["greet", *given.values()],
    "hello": lambda given: [f"{key}={given[key]}" for key in given],
    "posts": lambda given: given,
    "imagine": lambda given: {
        "prompts": [f"{given['wish']}, view {n}" for n in range(1, given["count"] + 1)]
    },
    "paint": lambda given: (
        REFUSED
        if "view 2" in given["prompt"]
        else {"image": f"{given['prompt']} ({given['size']}, {given['seed']})"}
    ),
    "upscale": lambda given: {"image": f"{given['image']} x4"},
    "gallery": lambda given: {"page": given["images"]},
    "busy": lambda _: {"error_detail": {"retry_interval_seconds": 1}},
}


class SampleWorker:
    """Serves every function as ``/NAME.json``."""

    def __init__(self) -> None:
        self._callbacks = TaskSet[None]()

    async def handle(self, request: web.Request) -> web.Response:
        """Call a function with the query, the form and the JSON body of a request."""
        answer = ANSWERS[request.match_info["name"]]
        given = {**request.query, **await _body(request)}
        if request.headers.get("X-Mode") != "async":
            return web.json_response(answer(given))
        result = {"result_type": "SUCCESS", **answer(given)}
        self._callbacks.start(_call_back(request.headers["X-Callback-Url"], result))
        return web.json_response({"accepted": True})


async def _body(request: web.Request) -> Json:
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(await request.post())
    text = await request.text()
    return json.loads(text) if text else {}


async def _call_back(url: str, result: Json) -> None:
    address = yarl.URL(url, encoded=True)
    async with aiohttp.ClientSession() as session, session.post(address, json=result) as response:
        await response.read()


async def main() -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_route("*", "/{name}.json", SampleWorker().handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
