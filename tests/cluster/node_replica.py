"""A replica of the HTTP API that is served by a process of a test, on any node of its cluster."""

import socket
from collections.abc import Awaitable, Callable

import uvicorn

from rillflow.actors.deployment import deploy
from rillflow.actors.stack import ray_stack
from rillflow.runtime.stack import Stack
from rillflow.settings import Settings
from serve.api import create_api


class Replica:
    """Serves the API in an actor, as those of Serve do, on the node where Ray starts it."""

    def __init__(self, settings: Settings) -> None:
        """Serve with the settings of the deployment; the port is another one."""
        self._settings = settings

    async def serve(self) -> str:
        """Serve from now on; return the address."""
        stack = ray_stack(self._settings)

        async def join() -> None:
            await deploy(self._settings, stack.store)

        door = socket.create_server(("127.0.0.1", 0))
        self._server = await served(stack, join, door)
        return f"http://127.0.0.1:{door.getsockname()[1]}"


async def served(
    stack: Stack, start: Callable[[], Awaitable[None]], door: socket.socket
) -> uvicorn.Server:
    """Answer HTTP in the running event loop; the caller keeps what is returned."""
    config = uvicorn.Config(create_api(stack, start), log_config=None, lifespan="on")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[door])
    return server
