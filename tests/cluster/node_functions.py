"""The functions of the executions on a Ray of several nodes, in a process that outlives it.

    python tests/cluster/node_functions.py

Prints its address, then serves ``POST /{task}``, which takes its time and answers, and

``GET /called?count=N``   waits until the functions were called N times
``GET /calls``            the calls of each execution in their order: task and idempotency key
"""

import asyncio
import sys
from collections import defaultdict
from typing import Final

from aiohttp import web

CALL_S: Final = 0.7


class Functions:
    """Functions that remember who called which."""

    def __init__(self) -> None:
        self._calls: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._called = asyncio.Condition()

    async def start(self) -> str:
        """Listen on a free port and return the address."""
        application = web.Application()
        application.router.add_get("/called", self._wait)
        application.router.add_get("/calls", self._tell)
        application.router.add_post("/{name}", self._call)
        # This also stands for the API: callbacks could come, so calls need not wait.
        application.router.add_get("/flow/trigger.json", self._refuse)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _wait(self, request: web.Request) -> web.Response:
        count = int(request.query["count"])
        async with self._called:
            await self._called.wait_for(lambda: sum(map(len, self._calls.values())) >= count)
        return web.json_response(count)

    async def _tell(self, _: web.Request) -> web.Response:
        return web.json_response(self._calls)

    async def _call(self, request: web.Request) -> web.Response:
        execution_id = (await request.json())["execution"]
        async with self._called:
            key = request.headers["Idempotency-Key"]
            self._calls[execution_id].append((request.match_info["name"], key))
            self._called.notify_all()
        await asyncio.sleep(CALL_S)
        return web.json_response({"done": True})

    async def _refuse(self, _: web.Request) -> web.Response:
        return web.Response(status=400)


async def main() -> None:
    """Serve until killed."""
    sys.stdout.write(f"{await Functions().start()}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
