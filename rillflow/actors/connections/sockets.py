"""Where an actor answers the messages of others: a UNIX socket, and TCP between nodes.

The UNIX socket is in a folder that only this user can enter. Nothing listens on the network until
an actor on another node asks where.

Used by `actors`.
"""

import asyncio
import logging
import os
import tempfile
from pathlib import Path
from typing import Final

import ray

from rillflow.actors.connections.frames import Serve, ServerConnection, exchanged
from rillflow.actors.connections.network import NetworkServer
from rillflow.ports.messages import GetNetworkAddress, encode_message, encode_network_address

log = logging.getLogger("rillflow.peers")

ASK_ADDRESS: Final = encode_message(GetNetworkAddress())
RUN_DIR: Final = "RILLFLOW_RUN_DIR"
"""Environment variable with the folder that is removed with the stack, if there is one."""


class SocketServer:
    """Answers the messages of other actors."""

    def __init__(self, serve: Serve, process: str) -> None:
        """Answer by ``serve``; errors call this process ``process``."""
        self._serve = serve
        self._process = process
        # After a kill, whoever removes the place removes this actor's folder.
        run_dir = os.environ.get(RUN_DIR, os.devnull)
        place = run_dir if Path(run_dir).is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="rillflow-", dir=place)
        self._server: asyncio.AbstractServer | None = None
        self._network = NetworkServer(serve, process)

    @property
    def path(self) -> str:
        """Where the socket is."""
        return str(Path(self._folder.name) / "socket")

    def beside(self, name: str) -> str:
        """Return where another socket of this process may be, in the same folder."""
        return str(Path(self._folder.name) / name)

    async def start(self) -> None:
        """Start to answer."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, self.path)

    async def exchange(self, protocol: int, message: bytes) -> tuple[int, int, bytes]:
        """Answer a message over Ray of a process with this protocol.

        Returns:
            The protocol of this process, the kind of the response and its payload.
        """
        return await exchanged(protocol, lambda: self._answer(message), self._process)

    async def _answer(self, message: bytes) -> bytes:
        if message == ASK_ADDRESS:
            return await self._network_address()
        answer = self._serve(message)
        return answer if isinstance(answer, bytes) else await answer

    async def _network_address(self) -> bytes:
        """Return where other nodes reach this actor, encoded; the stack of one machine is not."""
        if RUN_DIR in os.environ:
            return encode_network_address(None)
        try:
            address = await self._network.address(ray.util.get_node_ip_address())
        except OSError as error:
            log.warning("not_listening", extra={"actor": self._process, "reason": str(error)})
            return encode_network_address(None)
        return encode_network_address(address)

    def _accept(self) -> ServerConnection:
        return ServerConnection(self._serve, self._process)

    def close(self) -> None:
        """Accept no new connections, and remove the socket."""
        if self._server is not None:
            self._server.close()
        self._network.close()
        self._folder.cleanup()
