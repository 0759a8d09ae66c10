"""What servers of these tests say, and what is left open after it."""

from asyncio import StreamReader, StreamWriter

from rillflow.gateways.http.gateway import HttpGateway
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
    return 0 if opened._pool is None else len(opened._pool)
