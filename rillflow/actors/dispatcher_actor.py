"""The Ray actor that pools outbound calls; it remembers nothing that matters."""

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable

import msgspec
import ray

from rillflow.actors.peers import Peer
from rillflow.actors.sockets import SocketServer
from rillflow.gateways.registry import GatewayRegistry
from rillflow.gateways.settings import HttpSettings
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.clock import SystemClock
from rillflow.runtime.dispatch import DispatchPool
from rillflow.settings import Settings

_orders = msgspec.msgpack.Decoder(tuple[str, list[DispatchRequest]])
_encoder = msgspec.msgpack.Encoder()


class DispatcherActor:
    """Makes the calls of the execution actors of the cluster.

    A call whose actor dies is made again by whoever ordered it: ``take`` returns this
    life's token, and a new token says that the calls of the old one are lost.
    """

    def __init__(self, settings: Settings) -> None:
        self._life = uuid.uuid4().bytes
        self._namespace = settings.namespace
        self._registry = GatewayRegistry.with_http(
            http_settings(settings), SystemClock(), plugin_modules=settings.plugins
        )
        self._pools: dict[str, DispatchPool] = {}
        self._socket = SocketServer(self.take)
        self._started = asyncio.create_task(self._socket.start(), name="socket")

    async def socket(self) -> tuple[str, str]:
        """Return where actors of the same node reach this one: node id and path."""
        await asyncio.shield(self._started)
        return ray.get_runtime_context().get_node_id(), self._socket.path

    async def take(self, method: str, argument: bytes) -> bytes:
        """Take requests to ``send``, or a ``ping``; return this life's token."""
        if method == "send":
            sender, requests = _orders.decode(argument)
            pool = self._pools.get(sender)
            if pool is None:
                pool = DispatchPool(self._registry, self._deliver_to(sender))
                self._pools[sender] = pool
            pool.send(requests)
        return self._life

    async def facts(self) -> dict[str, int]:
        """Return what an operator may want to see."""
        return {"pid": os.getpid(), "calls": sum(map(len, self._pools.values()))}

    def _deliver_to(self, sender: str) -> Callable[[list[DispatchAnswer]], Awaitable[None]]:
        peer = Peer(sender, self._namespace)

        async def deliver(answers: list[DispatchAnswer]) -> None:
            await peer.call("answers", _encoder.encode(answers))

        return deliver


def http_settings(settings: Settings) -> HttpSettings:
    """Return the part of the settings that the HTTP gateway needs."""
    return HttpSettings(
        server_host=settings.base_url,
        callback_host=settings.callback_host,
        auth_secret=settings.auth_secret,
        auth_businesses=frozenset(settings.auth_businesses),
        connect_timeout_s=settings.connect_timeout_s,
        call_timeout_s=settings.call_timeout_s,
        transport_attempts=settings.transport_attempts,
        limit_per_host=settings.limit_per_host,
    )
