"""The functions of the benchmarks, as a process of its own: a lean HTTP server.

    python function_server.py PORT    (0 takes a free one; the first line printed tells)

``/step/<name>`` answers ``{"n": <n + 1>}`` at once. ``/async/<name>`` answers 202 and
posts the same to ``X-Callback-Url``.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop
from aiohttp import ClientSession, TCPConnector

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


class Functions(asyncio.Protocol):
    """Reads pipelined requests and answers them in order."""

    session: ClientSession

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._calls_back: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end]
            headers = dict(
                line.split(b": ", 1) if b": " in line else line.split(b":", 1)
                for line in head.split(b"\r\n")[1:]
            )
            headers = {name.lower(): value for name, value in headers.items()}
            size = int(headers.get(b"content-length", b"0"))
            if len(self._buffer) < end + 4 + size:
                return
            body = self._buffer[end + 4 : end + 4 + size]
            self._buffer = self._buffer[end + 4 + size :]
            self._answer(head.split(b" ", 2)[1], headers, body)

    def _answer(self, path: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
        n = json.loads(body or b"{}").get("n", 0)
        answer = json.dumps({"n": n + 1}).encode()
        if path.startswith(b"/async/"):
            self._transport.write(ACCEPTED)
            url = headers[b"x-callback-url"].decode()
            call = asyncio.create_task(self._call_back(url, answer))
            self._calls_back.add(call)
            call.add_done_callback(self._calls_back.discard)
        else:
            self._transport.write(OK % (len(answer), answer))

    async def _call_back(self, url: str, answer: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        async with self.session.post(url, data=answer, headers=headers) as response:
            await response.read()


async def main(port: int) -> None:
    """Serve until killed."""
    async with ClientSession(connector=TCPConnector(limit=256)) as session:
        Functions.session = session
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Functions, "127.0.0.1", port, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        print(f"ready 127.0.0.1:{port}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
