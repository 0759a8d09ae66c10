"""A server that answers calls without reading them, in a process that measures the caller.

Used by `tests/bench/counting.py` and `tests/bench/micro.py`.
"""

import asyncio
from typing import Final, cast

from rillflow.ports.gateway import DispatchRequest

INPUT: Final = b'{"query":{"user":"Bob"},"text":"the quick brown fox","number":42,"flag":true}'
ANSWER: Final = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"ok":true}'


def request_to(url: str, number: int) -> DispatchRequest:
    return DispatchRequest(
        execution_id="bench:gateway_c_0190f3a2-0000-7000-8000-000000000000",
        task="A",
        attempt=number,
        pattern="task_sync",
        resource_name=url,
        input=INPUT,
    )


class BareServer(asyncio.Protocol):
    """Answers each request, found by its length, without reading it."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        if len(rest) >= length:
            self._buffer = rest[length:]
            self._transport.write(ANSWER)
