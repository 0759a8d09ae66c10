"""A connection that is reset leaves nothing behind in the server."""

import asyncio
import gc
import socket
import struct
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rillflow.private_apis.uvicorn_server.timers import let_go_of_reset_connections

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
KEEP_ALIVE_S: Final = 3600
MOST_TURNS: Final = 100_000


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with nothing."""
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def kept() -> int:
    gc.collect()
    return sum(isinstance(each, HttpToolsProtocol) for each in gc.get_objects())


async def test_a_reset_connection_is_forgotten_before_its_keep_alive_is_over() -> None:
    let_go_of_reset_connections()
    let_go_of_reset_connections()
    config = uvicorn.Config(
        answer, lifespan="off", log_config=None, timeout_keep_alive=KEEP_ALIVE_S
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(REQUEST)
    assert b"204" in await reader.readuntil(b"\r\n\r\n")
    assert kept() == 1
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
    for _ in range(MOST_TURNS):
        await asyncio.sleep(0)
        if not state.connections:
            break
    assert kept() == 0
    server.close()
