"""The functions of the benchmarks, as a process of its own: a lean HTTP server.

    python function_server.py PORT    (0 takes a free one; the first line printed tells)

========================  =================================================================
``/step/<name>``          answers ``{"n": <n + 1>}`` at once
``/async/<name>``         answers 202 and posts the same to ``X-Callback-Url``
``/never/<name>``         answers 202, and that is all
``/mark/first``           as ``/async``, with the same ``n``, and notes when it calls back
``/mark/second``          as ``/step``; notes how long after that callback it was called
``/fail/<seconds>``       fails the first time for an ``n``; the second time, notes how late it
                          came, if it was due so many seconds after the first
``/slow/<seconds>``       as ``/step``, so many seconds later; notes when it was called
``GET /notes``            everything noted so far; ``DELETE /notes`` forgets it
========================  =================================================================

Times are seconds of the machine's monotonic clock, which all processes share.
"""

import asyncio
import json
import sys
import time
from typing import cast

import uvloop
from aiohttp import ClientSession, TCPConnector

from rillflow.task_set import TaskSet

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"


class Notes:
    """What the functions remember."""

    def __init__(self) -> None:
        self.called_back_s: dict[int, float] = {}
        self.due_s: dict[int, float] = {}
        self.next_after_s: list[float] = []
        self.late_s: list[float] = []
        self.calls: list[tuple[int, float]] = []

    def second_called(self, n: int) -> None:
        """Note how long after its callback the next call of an execution came."""
        begun_s = self.called_back_s.pop(n, None)
        if begun_s is not None:
            self.next_after_s.append(time.monotonic() - begun_s)

    def is_retry(self, n: int, after_s: float) -> bool:
        """Tell whether a call is the second one, and note how late it is."""
        due_s = self.due_s.pop(n, None)
        if due_s is None:
            self.due_s[n] = time.monotonic() + after_s
            return False
        self.late_s.append(time.monotonic() - due_s)
        return True

    def shown(self) -> bytes:
        """Return the lists as JSON."""
        lists = {"next_after_s": self.next_after_s, "late_s": self.late_s, "calls": self.calls}
        return json.dumps(lists).encode()


class Functions(asyncio.Protocol):
    """Reads pipelined requests and answers them in order."""

    session: ClientSession
    notes = Notes()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._work = TaskSet[None]()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end]
            size = int(_header(head, b"content-length") or b"0")
            if len(self._buffer) < end + 4 + size:
                return
            body = self._buffer[end + 4 : end + 4 + size]
            self._buffer = self._buffer[end + 4 + size :]
            method, path, _ = head.split(b" ", 2)
            self._answer(method, path.partition(b"?")[0], head, body)

    def _answer(self, method: bytes, path: bytes, head: bytes, body: bytes) -> None:
        _, kind, name = path.decode().split("/", 2) if path.count(b"/") > 1 else ("", "notes", "")
        n = json.loads(body or b"{}").get("n", 0)
        if kind == "notes":
            self._show_notes(forget=method == b"DELETE")
        elif kind in ("async", "never") or name == "first":
            self._transport.write(ACCEPTED)
            if kind == "mark":
                self._work.start(self._call_back(head, n, noted=True))
            elif kind == "async":
                self._work.start(self._call_back(head, n + 1))
        else:
            self._answer_itself(kind, name, n)

    def _answer_itself(self, kind: str, name: str, n: int) -> None:
        if kind == "slow":
            self.notes.calls.append((n, time.monotonic()))
            self._work.start(self._answer_later(n + 1, float(name)))
        elif kind == "fail" and not self.notes.is_retry(n, float(name)):
            self._transport.write(FAILED)
        else:
            if kind == "mark":
                self.notes.second_called(n)
            self._write(_output(n + 1))

    def _show_notes(self, *, forget: bool) -> None:
        self._write(self.notes.shown())
        if forget:
            Functions.notes = Notes()

    def _write(self, body: bytes) -> None:
        self._transport.write(OK % (len(body), body))

    async def _answer_later(self, n: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if not self._transport.is_closing():  # whoever asked may have been killed
            self._write(_output(n))

    async def _call_back(self, head: bytes, n: int, *, noted: bool = False) -> None:
        url = _header(head, b"x-callback-url").decode()
        kind = {"Content-Type": "application/json"}
        if noted:
            self.notes.called_back_s[n] = time.monotonic()
        async with self.session.post(url, data=_output(n), headers=kind) as response:
            await response.read()


def _header(head: bytes, name: bytes) -> bytes:
    """Return a header's value, empty when it is not there; its name is in lower case."""
    begin = head.lower().find(b"\r\n" + name + b":")
    return head[begin + 3 + len(name) :].partition(b"\r\n")[0].strip() if begin >= 0 else b""


def _output(n: int) -> bytes:
    return b'{"n":%d}' % n


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
