"""Connections of httpx that keep the limits of the exchanges that are made over them.

Used by `client/ended_executions.py`, `client/http_transport/transport.py`,
`functions` and `serve/stack/standalone.py`.
"""

from typing import Any, Final, TypeVar

import httpcore
import httpx

from rillflow.exchange_limits.limit import LIMIT, left_s

T = TypeVar("T", httpx.Client, httpx.AsyncClient)

_WRITTEN_BYTES: Final = 64 * 1024
"""Written in a step; a longer one would be many, each with the whole time."""


def with_limits(client: T) -> T:
    """Have the connections of a client of httpx keep the limits of exchanges; return the client.

    Neither httpx nor its mounts for proxies have a public way to their network backend.
    """
    found: Any = client
    for transport in (found._transport, *found._mounts.values()):  # noqa: SLF001 - see above
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            pool._network_backend = _BoundedNetwork(pool._network_backend)  # noqa: SLF001 - see above
        elif isinstance(pool, httpcore.AsyncConnectionPool):
            pool._network_backend = _AsyncBoundedNetwork(pool._network_backend)  # noqa: SLF001 - see above
    return client


class _BoundedNetwork(httpcore.NetworkBackend):
    """Makes connections that keep the limit of the exchange that uses them."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        made = self._inner.connect_tcp(host, port, left_s(timeout), *args, **options)
        return _BoundedStream(made)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _BoundedStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        limit = LIMIT.get()
        if limit is None:
            return self._inner.read(max_bytes, timeout)
        try:
            return limit.noted(self._inner.read(max_bytes, limit.left_s(timeout)))
        except httpcore.ReadTimeout as error:
            raise limit.too_late() from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for first in range(0, len(buffer), _WRITTEN_BYTES):
            self._inner.write(buffer[first : first + _WRITTEN_BYTES], left_s(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _BoundedStream(self._inner.start_tls(ssl_context, server_hostname, left_s(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _AsyncBoundedNetwork(httpcore.AsyncNetworkBackend):
    """The same for asyncio."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore has it
        *args: Any,
        **options: Any,
    ) -> httpcore.AsyncNetworkStream:
        made = await self._inner.connect_tcp(host, port, left_s(timeout), *args, **options)
        return _AsyncBoundedStream(made)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _AsyncBoundedStream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as httpcore has it
        limit = LIMIT.get()
        if limit is None:
            return await self._inner.read(max_bytes, timeout)
        try:
            return limit.noted(await self._inner.read(max_bytes, limit.left_s(timeout)))
        except httpcore.ReadTimeout as error:
            raise limit.too_late() from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as httpcore has it
        await self._inner.write(buffer, left_s(timeout))

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore has it
    ) -> httpcore.AsyncNetworkStream:
        return _AsyncBoundedStream(
            await self._inner.start_tls(ssl_context, server_hostname, left_s(timeout))
        )

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
