"""A reverse proxy that serves another server below a path of its own: ``/tools/rillflow/``.

Used by `tests/cluster/test_console_list.py`.
"""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

PATH: Final = "/tools/rillflow"
_HEAD_END: Final = b"\r\n\r\n"
_NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def below_a_path(base_url: str) -> Iterator[str]:
    """Serve the server of an address below a path; yield the address of that."""
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def run() -> None:
        stop, opened = asyncio.Event(), set[asyncio.StreamWriter]()
        server = await _serve(base_url, opened)
        port: int = server.sockets[0].getsockname()[1]
        begun.set_result((asyncio.get_running_loop(), stop, port))
        await stop.wait()
        server.close()
        for writer in opened:
            writer.close()
        await asyncio.gather(*(each.wait_closed() for each in opened), return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    loop, stop, port = begun.result(60)
    try:
        yield f"http://127.0.0.1:{port}{PATH}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _serve(base_url: str, opened: set[asyncio.StreamWriter]) -> asyncio.Server:
    address = urlsplit(base_url)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(_HEAD_END)
            method, path, rest = head.split(b" ", 2)
            if not path.startswith(PATH.encode()):
                writer.write(_NOT_FOUND)
                writer.close()
                return
            upstream, forward = await asyncio.open_connection(address.hostname, address.port)
            opened.add(forward)
            lines = rest.split(b"\r\n")
            kept = [line for line in lines if not line.lower().startswith(b"connection:")]
            first = b" ".join((method, path.removeprefix(PATH.encode()), kept[0]))
            forward.write(b"\r\n".join((first, b"Connection: close", *kept[1:])))
            await asyncio.gather(_pass_on(reader, forward), _pass_on(upstream, writer))

    return await asyncio.start_server(handle, "127.0.0.1", 0)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    writer.close()
