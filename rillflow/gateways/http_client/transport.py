"""One HTTP exchange, by whichever client makes it: the seam below the HTTP gateway.

The gateway knows requests, responses and limits of Rill Flow; a transport knows connections. It
follows no redirects, unpacks nothing, sends no request twice, and connects only to addresses that
the egress policy lets it reach.
"""

from typing import Protocol

from rillflow.gateways.http_client.connection import Room
from rillflow.gateways.http_client.pool import Pool
from rillflow.gateways.http_client.request_head import request_head
from rillflow.gateways.messages.exchange import HttpCall, Reply
from rillflow.gateways.messages.settings import HttpSettings


class HttpTransport(Protocol):
    """Makes exchanges over connections that it keeps."""

    async def exchange(self, call: HttpCall, *, most_bytes: int, room: Room | None = None) -> Reply:
        """Send a request and return its response.

        Args:
            call: What goes on the wire, but for ``Host``, ``Content-Length`` and credentials.
            most_bytes: How large the body of the response may be.
            room: Where a response that is not small takes room before more of it is read.

        Raises:
            GatewayError: The egress policy refuses an address, or the response is too large.
            NotConnectedError: Nobody could be reached; the request was not sent.
            BrokenExchangeError: There is no whole response.
        """

    async def close(self) -> None:
        """Close what is kept; exchanges under way end with an error."""


class PooledTransport:
    """The dispatcher's own client: one write for each request, llhttp for responses."""

    def __init__(self, settings: HttpSettings) -> None:
        """Open connections in the event loop that runs now."""
        self._pool = Pool(settings)

    def __len__(self) -> int:
        return len(self._pool)

    async def exchange(self, call: HttpCall, *, most_bytes: int, room: Room | None = None) -> Reply:
        """Make an exchange, over a kept connection if there is one; see ``HttpTransport``."""
        pool, origin = self._pool, call.origin
        head = request_head(call, origin)
        connection = pool.take(origin) or await pool.open(origin)
        try:
            return await connection.ask(
                head, call.body, is_head=call.method == "HEAD", most_bytes=most_bytes, room=room
            )
        finally:
            pool.give_back(connection)

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()


def transport_of(settings: HttpSettings) -> HttpTransport:
    """Return the transport that the settings name, open in the event loop that runs now."""
    if settings.transport == "aiohttp":
        from rillflow.gateways.http_client.aiohttp_transport import (  # noqa: PLC0415 - only if wanted
            AiohttpTransport,
        )

        return AiohttpTransport(settings)
    return PooledTransport(settings)
