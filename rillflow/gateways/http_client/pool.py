"""The connection pool of the HTTP client: connects to allowed addresses, and keeps connections.

Used by `gateways/http_client/transport.py`.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import chain

from rillflow.errors import NotConnectedError
from rillflow.gateways.http_client.connection import HttpConnection, KeptFor
from rillflow.gateways.http_client.parse_queue import ParseQueue
from rillflow.gateways.http_client.request_head import Origin, origin_of
from rillflow.gateways.http_client.resolver import GuardedResolver
from rillflow.gateways.http_client.spare_files import SpareFiles
from rillflow.gateways.http_client.tls import TlsContexts
from rillflow.gateways.outbound.settings import HttpSettings


class Pool:
    """Open connections by origin and workspace; ``HostSlots`` limits how many calls use them.

    There are no more of an origin than calls may be made of it at once: where another one is
    needed, the workspace that keeps most gives one up.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._names = GuardedResolver(settings.egress, timeout_s=settings.connect_timeout_s)
        self._parsing = ParseQueue()
        self._idle: dict[KeptFor, list[HttpConnection]] = {}
        self._wires: set[HttpConnection] = set()
        self._of_origin: dict[str, int] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._tls = TlsContexts(settings.tls_by_host)
        self._spare = SpareFiles()
        self._empty: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._wires)

    def take(self, kept_for: KeptFor) -> HttpConnection | None:
        """Return the kept connection that was used last; None if there is none."""
        idle = self._idle.get(kept_for)
        while idle:
            wire = idle.pop()
            if self._loop.time() < wire.idle_until_s and wire.is_quiet():
                return wire
            wire.close()
        return None

    def give_back(self, wire: HttpConnection) -> None:
        """Keep a connection for the next call, or close it if it cannot be used again."""
        is_full = len(self._wires) > self._settings.pool_size
        if is_full or not wire.is_free or self._empty is not None:
            wire.close()
            return
        keep_s = self._settings.keep_alive_s
        wire.idle_until_s = self._loop.time() + keep_s
        self._idle.setdefault(wire.kept_for, []).append(wire)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(keep_s, self._sweep)

    async def open(self, kept_for: KeptFor) -> HttpConnection:
        """Connect to an origin for a workspace, trying its addresses in turn.

        Raises:
            GatewayError: The egress policy refuses an address.
            NotConnectedError: No address could be reached; the message says why.
        """
        origin, _ = kept_for
        place = origin_of(origin)
        if self._of_origin.get(origin, 0) >= self._settings.limit_per_host:
            self._give_up_one(origin)
        self._of_origin[origin] = self._of_origin.get(origin, 0) + 1
        wire: HttpConnection | None = None
        try:
            wire = await self._opened(kept_for, place)
        finally:
            if wire is not None and wire.is_open:
                self._wires.add(wire)
            else:
                self._one_less(origin)
        return wire

    async def _opened(self, kept_for: KeptFor, place: Origin) -> HttpConnection:
        where = f"cannot connect to {place.host}:{place.port}"
        try:
            addresses = await self._spare.make(partial(self._names.addresses, place.host))
        except OSError as error:
            raise NotConnectedError(f"{where}: {error}") from error
        failure = NotConnectedError(f"{where}: it has no address")
        for address in addresses:
            wire = partial(HttpConnection, kept_for, address, self._parsing, self._forget)
            try:
                connect = partial(self._connected, wire, place, address)
                return await self._spare.make(connect)
            except TimeoutError:
                failure = NotConnectedError("no connection within the time-out")
            except OSError as error:
                failure = NotConnectedError(f"{where}: {error}")
        self._names.forget(place.host)
        try:
            raise failure
        finally:
            del failure  # its traceback would keep this call's data in a reference cycle

    async def close(self) -> None:
        """Close what is kept, and wait until calls under way have closed the rest."""
        if self._empty is None:
            self._empty = self._loop.create_future()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for wire in chain.from_iterable(self._idle.values()):
            wire.close()
        self._idle.clear()
        await self._names.close()
        self._spare.close()
        if self._wires:
            await self._empty

    async def _connected(
        self, wire: Callable[[], HttpConnection], place: Origin, address: str
    ) -> HttpConnection:
        async with asyncio.timeout(self._settings.connect_timeout_s):
            _, connected = await self._loop.create_connection(
                wire,
                address,
                place.port,
                ssl=self._tls.of(place) if place.is_tls else None,
                server_hostname=place.host if place.is_tls else None,
            )
        return connected

    def _give_up_one(self, origin: str) -> None:
        """Close the connection that was kept longest by the workspace that keeps most."""
        of_origin = [idle for (kept, _), idle in self._idle.items() if kept == origin]
        while of_origin and (idle := max(of_origin, key=len)):
            wire = idle.pop(0)
            was_open = wire.is_open
            wire.close()
            if was_open:
                return

    def _one_less(self, origin: str) -> None:
        left = self._of_origin[origin] - 1
        if left:
            self._of_origin[origin] = left
        else:
            del self._of_origin[origin]

    def _forget(self, wire: HttpConnection) -> None:
        """Remove a closed connection."""
        if wire in self._wires:
            self._wires.remove(wire)
            self._one_less(wire.kept_for[0])
            if self._empty is None:
                self._loop.call_soon(self._spare.fill)  # the file is closed after this
        if self._empty is not None and not self._wires and not self._empty.done():
            self._empty.set_result(None)

    def _sweep(self) -> None:
        """Close connections that were idle too long."""
        self._sweeping = None
        now_s = self._loop.time()
        kept: dict[KeptFor, list[HttpConnection]] = {}
        for kept_for, idle in self._idle.items():
            for wire in idle:
                if wire.is_open and now_s < wire.idle_until_s:
                    kept.setdefault(kept_for, []).append(wire)
                else:
                    wire.close()
        self._idle = kept
        if kept:
            due_s = min(idle[0].idle_until_s for idle in kept.values())
            self._sweeping = self._loop.call_at(due_s, self._sweep)
