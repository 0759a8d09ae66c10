"""A peer: another actor, by name. Reached over a socket on this machine, over TCP on another one.

Where the port on the other machine cannot be reached, each message is a call over Ray, which costs
much more; ``docs/decisions/processes`` has the figures.

Used by `actors`.
"""

import asyncio
import logging
import time
from typing import Any, Final, Literal, TypeAlias

import ray

from rillflow.actors.connections import network
from rillflow.actors.connections.frames import Response, SocketConnection, answer_of
from rillflow.actors.connections.sockets import ASK_ADDRESS
from rillflow.errors import DefectError, GoneError, RillflowError, UnavailableError
from rillflow.ports.cluster import protocol_of_report
from rillflow.ports.deployment import PROTOCOL, UNSAID, refuse_distant
from rillflow.ports.messages import decode_network_address

log = logging.getLogger("rillflow.peers")

Way: TypeAlias = Literal["none", "socket", "network", "ray"]
MOST_FAILURES: Final = 3
"""A port that was refused so many times in turn cannot be reached."""
LOOK_AGAIN_S: Final = 60.0
"""Between attempts to reach a port that could not be reached; messages go over Ray meanwhile."""
REACH_S = 30.0
PAUSE_S = 0.1


class _MissingActorError(Exception):
    """No actor has the name; one that was restarted, or moved, will have it again."""


class Peer:
    """Calls one actor; a call that was lost with the actor's process is repeated.

    The actor has the methods ``socket() -> (node id, path)`` and ``exchange(protocol, message) ->
    (protocol, kind, payload)``, and every ``exchange`` may be repeated. One of a release that does
    not say its protocol has ``take(message) -> Response``. A ``mortal`` actor leaves for good when
    its work is done; any other comes back. One that ``may_end`` counts as gone if it does not exist
    until the time limit.
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
        self._look_again_s = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._failures = 0
        self._protocol = UNSAID

    @property
    def way(self) -> Way:
        """How messages go now, or went last; ``none`` before the first one."""
        if self._over_ray:
            return "ray"
        if self._connection is None:
            return "none"
        return "network" if isinstance(self._connection, network.NetworkConnection) else "socket"

    def is_near(self) -> bool:
        """Tell whether the actor is on this node, as far as is known."""
        return self.way in {"none", "socket"}

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
            await self._reach()
        if self._connection is not None:
            return await self._connection.call(message)
        return await self._call_over_ray(await self._find(), message)

    async def _call_over_ray(self, actor: Any, message: bytes) -> bytes:
        if self._protocol <= UNSAID:
            return answer_of(Response(*await actor.take.remote(message)))
        theirs, kind, payload = await actor.exchange.remote(PROTOCOL, message)
        refuse_distant(theirs, self.name)
        return answer_of(Response(kind, payload))

    async def _reach(self) -> None:
        """Connect; while messages go over Ray, look again at times, and wait for nothing."""
        if not self._over_ray:
            await self._connect()
        elif self._looking is None and time.monotonic() > self._look_again_s:
            self._looking = asyncio.create_task(self._look_again())

    async def _look_again(self) -> None:
        try:
            await self._connect()
        except (ray.exceptions.RayError, _MissingActorError, RillflowError, OSError) as error:
            log.debug("not_reached", extra={"actor": self.name, "reason": str(error)})
        finally:
            self._looking = None

    async def _connect(self) -> None:
        async with self._connecting:
            is_connected = self._connection is not None and not self._connection.lost
            if is_connected or (self._over_ray and time.monotonic() < self._look_again_s):
                return
            self._connection = None
            self._look_again_s = time.monotonic() + LOOK_AGAIN_S
            actor = await self._find()
            node, path = await actor.socket.remote()
            if node == ray.get_runtime_context().get_node_id():
                self._connection = await SocketConnection.connect(path)
            else:
                self._protocol = await _protocol_of(actor)
                refuse_distant(self._protocol, self.name)
                self._connection = await self._over_network(actor)
            self._over_ray = self._connection is None

    async def _over_network(self, actor: Any) -> SocketConnection | None:
        """Connect to an actor on another node; None if that cannot be.

        Raises:
            OSError: It failed, and may succeed soon: the actor may just have ended.
        """
        if self._protocol <= UNSAID:
            return None
        try:
            address = decode_network_address(await self._call_over_ray(actor, ASK_ADDRESS))
        except DefectError:
            return None  # It does not know the question.
        if address is None:
            return None
        try:
            connection = await network.connect(address)
        except OSError as error:
            self._failures += 1
            if self._failures < MOST_FAILURES and not isinstance(error, TimeoutError):
                raise
            told = {"actor": self.name, "address": repr(address), "reason": repr(error)}
            log.warning("messages_go_over_ray", extra=told)
            return None
        self._failures = 0
        return connection


async def _protocol_of(actor: Any) -> int:
    """Ask an actor for its protocol by a method that every release has.

    The methods of a handle are those of the class that this process knows.
    """
    if not hasattr(actor, "report"):
        return UNSAID
    return protocol_of_report(await actor.report.remote())
