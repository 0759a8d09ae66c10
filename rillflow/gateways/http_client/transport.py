"""The transport protocol below the HTTP gateway: one HTTP exchange, by either client.

The gateway knows Rill Flow's requests, responses and limits; a transport knows connections. A
transport follows no redirects, decodes no content, sends no request twice, and connects only to
addresses that the egress policy allows. A connection that it keeps is used by one workspace
(``ASKING_WORKSPACE``): an answer that comes late, on purpose, may be taken for that of a later
call.

Used by `gateways/http/callback_probe.py` and `gateways/http/gateway.py`.
"""

from typing import Protocol

from rillflow.gateways.http_client.connection import Room
from rillflow.gateways.http_client.pool import Pool
from rillflow.gateways.http_client.request_head import request_head
from rillflow.gateways.http_client.resolver import ASKING_WORKSPACE
from rillflow.gateways.outbound.exchange import HttpCall, Reply
from rillflow.gateways.outbound.settings import HttpSettings


class HttpTransport(Protocol):
    """Makes exchanges over connections that it keeps."""

    async def exchange(self, call: HttpCall, *, most_bytes: int, room: Room | None = None) -> Reply:
        """Send a request and return its response.

        Args:
            call: The request, without ``Host``, ``Content-Length`` and credentials.
            most_bytes: Limit of the response's body.
            room: Takes room for a response that is not small, before more of it is read.

        Raises:
            GatewayError: The egress policy refuses an address, or the response is too large.
            NotConnectedError: No address could be reached; the request was not sent.
            BrokenExchangeError: The response is incomplete.
        """

    async def close(self) -> None:
        """Close what is kept; exchanges under way end with an error."""


class PooledTransport:
    """The dispatcher's own client: one write for each request, llhttp for responses."""

    def __init__(self, settings: HttpSettings) -> None:
        """Open connections in the event loop that runs now."""
        self._pool = Pool(settings)

    async def exchange(self, call: HttpCall, *, most_bytes: int, room: Room | None = None) -> Reply:
        """Make an exchange, over a kept connection if there is one; see ``HttpTransport``."""
        pool, origin = self._pool, call.origin
        head = request_head(call, origin)
        kept_for = (origin, ASKING_WORKSPACE.get())
        connection = pool.take(kept_for) or await pool.open(kept_for)
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
    """Return the transport that the settings name, in the running event loop."""
    if settings.transport == "aiohttp":
        from rillflow.gateways.http_client.aiohttp_transport import (  # noqa: PLC0415 - only if wanted
            AiohttpTransport,
        )

        return AiohttpTransport(settings)
    return PooledTransport(settings)
