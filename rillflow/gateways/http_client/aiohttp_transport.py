"""The transport over aiohttp, an alternative to the dispatcher's own client.

Used by `gateways/http_client/transport.py`.
"""

import asyncio
import socket
from typing import Any, Final

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpVersion11

from rillflow.errors import BrokenExchangeError, GatewayError, NotConnectedError
from rillflow.gateways.http_client.connection import (
    HEAD_BYTES,
    SMALL_BYTES,
    Room,
    room_after,
)
from rillflow.gateways.http_client.request_head import (
    basic_credentials,
    origin_of,
    request_head,
)
from rillflow.gateways.http_client.resolver import ASKING_WORKSPACE, GuardedResolver
from rillflow.gateways.http_client.tls import TlsContexts
from rillflow.gateways.outbound.exchange import FAILS, HttpCall, Reply
from rillflow.gateways.outbound.settings import HttpSettings

_USED: Final = (
    *("content-encoding", "content-length", "content-type", "location", "retry-after"),
    "transfer-encoding",
)
MOST_INTERIM: Final = 1_000
"""Interim answers (1xx) of one exchange."""
_NOT_ADDED: Final = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
"""Headers that aiohttp would add by itself."""


class AiohttpTransport:
    """Exchanges over one ``aiohttp.ClientSession``; see ``HttpTransport``."""

    def __init__(self, settings: HttpSettings) -> None:
        """Open connections in the event loop that runs now."""
        self._settings = settings
        self._tls = TlsContexts(settings.tls_by_host)
        self._names = GuardedResolver(settings.egress, timeout_s=settings.connect_timeout_s)
        connector = aiohttp.TCPConnector(
            resolver=_ResolverAdapter(self._names),
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=settings.keep_alive_s,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
            skip_auto_headers=_NOT_ADDED,
            version=HttpVersion11,
            request_class=_Request,
            response_class=_Response,
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
            trust_env=False,
        )
        # A request that was sent is never sent again, whatever its method (spec 9.2).
        self._session._retry_connection = False  # noqa: SLF001 - there is no public way

    async def exchange(self, call: HttpCall, *, most_bytes: int, room: Room | None = None) -> Reply:
        """Make an exchange; see ``HttpTransport``."""
        origin = origin_of(call.origin)
        request_head(call, call.origin)  # refuses line breaks in the head
        where = f"cannot connect to {origin.host}:{origin.port}"
        try:
            await self._names.addresses(origin.host)  # aiohttp does not resolve literal addresses
        except OSError as error:
            raise NotConnectedError(f"{where}: {error}") from error
        try:
            async with self._session.request(
                call.method,
                yarl.URL(call.url, encoded=True),
                headers=_headers(call, origin.authority),
                data=call.body,
                allow_redirects=False,
                ssl=self._tls.of(origin) if origin.is_tls else True,
            ) as response:
                body = await _read(response, most_bytes, room)
                headers = {
                    name: ", ".join(response.headers.getall(name))
                    for name in _USED
                    if name in response.headers
                }
                peer = response.peer if isinstance(response, _Response) else ""
                return Reply(response.status, response.reason or "", headers, body, peer)
        except aiohttp.ConnectionTimeoutError as error:
            raise NotConnectedError("no connection within the time-out") from error
        except aiohttp.ClientConnectorError as error:
            raise NotConnectedError(f"{where}: {error.os_error}") from error
        except aiohttp.ClientError as error:
            raise BrokenExchangeError(str(error) or type(error).__name__) from error
        except (OSError, ValueError) as error:
            raise BrokenExchangeError(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._session.close()
        await self._names.close()


class _Request(aiohttp.ClientRequest):
    """A request that uses connections of its workspace."""

    @property
    def connection_key(self) -> ConnectionKey:
        """What a kept connection is found by; its place for the headers of a proxy is free."""
        key = super().connection_key
        return key._replace(proxy_headers_hash=hash(ASKING_WORKSPACE.get()))


class _Response(aiohttp.ClientResponse):
    """A response after few interim ones; it knows its peer after its connection is given back."""

    peer: str = ""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        transport = connection.transport
        name = None if transport is None else transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        protocol = connection.protocol
        if protocol is None:
            return await super().start(connection)
        read, left = protocol.read, MOST_INTERIM

        async def read_few() -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise aiohttp.ClientPayloadError(f"more than {MOST_INTERIM} interim answers")
            return await read()

        protocol.read = read_few  # type: ignore[method-assign] # aiohttp passes over any number
        try:
            return await super().start(connection)
        finally:
            del protocol.read  # that of its class is there again


class _ResolverAdapter(AbstractResolver):
    """Gives aiohttp only the addresses that the egress policy has allowed."""

    def __init__(self, names: GuardedResolver) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._names.addresses(host)
        ]

    async def close(self) -> None:
        """Does nothing: the transport closes the resolver."""


def _headers(call: HttpCall, authority: str) -> list[tuple[str, str]]:
    given = {name.lower() for name, _ in call.headers}
    headers = list(call.headers)
    if "host" not in given:
        headers.append(("Host", authority))
    if call.user_info and "authorization" not in given:
        headers.append(("Authorization", basic_credentials(call.user_info)))
    if call.body is not None:
        headers.append(("Content-Length", str(len(call.body))))
    return headers


async def _read(response: aiohttp.ClientResponse, most_bytes: int, room: Room | None) -> bytes:
    body = bytearray()
    most_room = min(response.content_length or most_bytes, most_bytes)
    has_bytes = SMALL_BYTES
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            raise GatewayError(f"{FAILS}the answer is larger than {most_bytes} bytes")
        if room is not None and has_bytes < len(body):
            has_bytes = room_after(len(body), most_room)
            waits: asyncio.Future[None] | None = room(has_bytes)
            if waits is not None:
                await waits
    return bytes(body)
