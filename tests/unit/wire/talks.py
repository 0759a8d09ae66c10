"""What servers of these tests say, and what is left open after it."""

from asyncio import StreamReader, StreamWriter

from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.http_client.transport import PooledTransport
from tests.loopback import Talk

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PATIENT = {"call_timeout_s": 20.0}


def saying(*payloads: bytes) -> Talk:
    """Answer requests with these, one after the other, and stay connected."""
    left = list(payloads)

    async def talk(_: StreamReader, writer: StreamWriter) -> None:
        writer.write(left.pop(0))

    return talk


def open_wires(opened: HttpGateway) -> int:
    """Count the connections that a gateway has."""
    transport = opened._transport
    assert transport is None or isinstance(transport, PooledTransport)
    return 0 if transport is None else len(transport._pool)
