"""The Ray actor that pools outbound calls; it remembers nothing that matters."""

import os
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import ray

from rillflow.errors import StoreError
from rillflow.gateways.registry import GatewayRegistry
from rillflow.gateways.settings import HttpSettings
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.clock import SystemClock
from rillflow.runtime.dispatch import DispatchPool
from rillflow.settings import Settings

_requests = msgspec.msgpack.Decoder(list[DispatchRequest])
_encoder = msgspec.msgpack.Encoder()


class DispatcherActor:
    """Makes the calls of the execution actors of the cluster.

    A call whose actor dies is made again by whoever ordered it: ``send`` and ``ping``
    return this life's token, and a new token says that the calls of the old one are
    lost.
    """

    def __init__(self, settings: Settings) -> None:
        self._life = uuid.uuid4().hex
        self._namespace = settings.namespace
        self._registry = GatewayRegistry.with_http(
            http_settings(settings), SystemClock(), plugin_modules=settings.plugins
        )
        self._pools: dict[str, DispatchPool] = {}

    async def send(self, sender: str, batch: bytes) -> str:
        """Take requests of the actor named ``sender``; the answers go to its ``answers``."""
        pool = self._pools.get(sender)
        if pool is None:
            pool = DispatchPool(self._registry, self._deliver_to(sender))
            self._pools[sender] = pool
        pool.send(_requests.decode(batch))
        return self._life

    async def ping(self) -> str:
        """Return this life's token."""
        return self._life

    async def facts(self) -> dict[str, int]:
        """Return what an operator may want to see."""
        return {"pid": os.getpid(), "calls": sum(map(len, self._pools.values()))}

    def _deliver_to(self, sender: str) -> Callable[[list[DispatchAnswer]], Awaitable[None]]:
        handle: Any = None

        async def deliver(answers: list[DispatchAnswer]) -> None:
            nonlocal handle
            try:
                if handle is None:
                    handle = ray.get_actor(sender, namespace=self._namespace)
                await handle.answers.remote(_encoder.encode(answers))
            except (ray.exceptions.RayError, ValueError) as error:
                handle = None
                raise StoreError(f"{sender} could not be reached: {error}") from error

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
