"""A server of uvicorn in the main thread that says where it listens.

Used by `functions/serving.py`.
"""

from collections.abc import Callable, Iterator
from socket import socket
from typing import Any, Final, TypeAlias

import uvicorn

from rillflow.private_apis.assumption import Assumption, missing, not_in_source, other_parameters
from rillflow.private_apis.uvicorn_deadlines import bound_connections

Listening: TypeAlias = Callable[[str, int], None]

_CONNECTIONS: Final = 1_000


def run(application: Any, *, host: str, port: int, drain_s: int, listening: Listening) -> None:
    """Serve an ASGI application until SIGINT or SIGTERM.

    Args:
        application: It is told of the end by its lifespan.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        drain_s: Seconds that requests under way have after a signal.
        listening: Is told of each address that is listened on.
    """
    bound_connections()
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=drain_s,
    )
    _Server(config, listening).run()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listening: Listening) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        for server in self.servers if self.started else ():
            for door in server.sockets:
                self._listening(*door.getsockname()[:2])


def _differences() -> Iterator[str]:
    yield from missing(uvicorn.Server, "startup", "run")
    yield from other_parameters(uvicorn.Server.startup, "sockets")
    yield from not_in_source(uvicorn.Server.startup, "self.servers", "self.started = True")


RELIES_ON: Final = (
    Assumption(
        library="uvicorn",
        relies_on="Server.startup(sockets), which sets servers and started",
        seen_with="0.54",
        if_it_changes="loud: `rillflow functions serve` does not start, or does not say where",
        differences=_differences,
    ),
)
