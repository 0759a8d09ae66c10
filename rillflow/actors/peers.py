"""A peer: another actor, by name. Reached over a socket on this machine, else over Ray.

Used by `actors`.
"""

import asyncio
import logging
import time
from typing import Any

import ray

from rillflow.actors.responses import Response, answer_of
from rillflow.actors.sockets import SocketConnection
from rillflow.errors import DefectError, GoneError, UnavailableError

log = logging.getLogger("rillflow.peers")

REACH_S = 30.0
PAUSE_S = 0.1


class _MissingActorError(Exception):
    """No actor has the name; one that was restarted, or moved, will have it again."""


class Peer:
    """Calls one actor; a call that was lost with the actor's process is repeated.

    The actor has the methods ``socket() -> (node id, path)`` and ``take(message) -> Response``, and
    every ``take`` may be repeated. A ``mortal`` actor leaves for good when its work is done; any
    other comes back. One that ``may_end`` counts as gone if it does not exist until the time limit.
    """

    def __init__(
        self, name: str, namespace: str, *, mortal: bool = False, may_end: bool = False
    ) -> None:
        self.name = name
        self._namespace = namespace
        self._mortal = mortal
        self._may_end = may_end
        self._handle: Any = None
        self._connection: SocketConnection | None = None
        self._connecting = asyncio.Lock()
        self._over_ray = False

    def close(self) -> None:
        """Close the connection; a call that is under way is repeated."""
        if self._connection is not None:
            self._connection.close()

    async def _find(self) -> Any:
        """Return the actor's handle, looked up in a thread because Ray blocks.

        Raises:
            _MissingActorError: There is none.
        """
        if self._handle is None:
            try:
                self._handle = await asyncio.to_thread(
                    ray.get_actor, self.name, namespace=self._namespace
                )
            except ValueError as error:
                raise _MissingActorError(f"no actor is called {self.name}") from error
        return self._handle

    def _forget(self) -> None:
        """Look the actor up again at the next call."""
        self._handle = None
        self._over_ray = False

    async def call(self, message: bytes) -> bytes:
        """Send a message until it is answered.

        Raises:
            GoneError: The actor has left for good.
            UnavailableError: The actor cannot be reached in time.
            DefectError: An unexpected exception was raised in the actor.
            RillflowError: The actor refused.
        """
        give_up = time.monotonic() + REACH_S
        while True:
            try:
                return await self._call_once(message)
            except ray.exceptions.RayTaskError as error:
                log.exception("actor_failed", extra={"actor": self.name})
                raise DefectError.of(error.cause or error, self.name) from error
            except (ray.exceptions.RayError, _MissingActorError, OSError) as error:
                self._forget()
                # The known process has died, but another one may have the name by now.
                if self._mortal and isinstance(error, _MissingActorError):
                    raise GoneError(f"{self.name} has left") from error
                if time.monotonic() > give_up:
                    log.warning("not_reached", extra={"actor": self.name, "reason": str(error)})
                    if self._may_end and isinstance(error, _MissingActorError):
                        raise GoneError(f"{self.name} has ended") from error
                    raise UnavailableError(f"{self.name} cannot be reached") from error
            await asyncio.sleep(PAUSE_S)

    async def _call_once(self, message: bytes) -> bytes:
        if self._connection is None or self._connection.lost:
            await self._connect()
        if self._connection is not None:
            return await self._connection.call(message)
        actor = await self._find()
        return answer_of(Response(*await actor.take.remote(message)))

    async def _connect(self) -> None:
        async with self._connecting:
            if self._over_ray or (self._connection is not None and not self._connection.lost):
                return
            self._connection = None
            actor = await self._find()
            node, path = await actor.socket.remote()
            if node == ray.get_runtime_context().get_node_id():
                self._connection = await SocketConnection.connect(path)
            else:
                self._over_ray = True
