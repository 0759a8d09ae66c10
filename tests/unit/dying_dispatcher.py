"""A dispatcher in a process of its own, whose gateway ends the process for some tasks.

    python -m tests.unit.dying_dispatcher RECORD LIFE

It reads messages from its standard input, each after its length, and writes answers to its standard
output: after a byte that says whether it is the answer to a message, or answers of calls.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.messages import Answers, GetLoopState, GetMeters, decode_dispatcher_message
from rillflow.runtime.crashes.crash_history import HandlingRecord
from rillflow.runtime.dispatch.suspect_calls import SuspectCalls
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.process.clock import SystemClock

LENGTH: Final = 8
REPLY: Final = b"r"
ANSWERS: Final = b"a"


class Fatal:
    """A gateway: tasks are named after what they do."""

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        if request.task == "step":
            await asyncio.sleep(0)
            os._exit(1)
        if request.task == "beside":
            asyncio.get_running_loop().call_soon(os._exit, 1)
        if request.task != "short":
            await asyncio.Event().wait()
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def close(self) -> None:
        """Nothing is open."""


def is_plugin(request: DispatchRequest) -> bool:
    """Tell whether a plugin makes a call."""
    return request.resource_name.startswith("plugin:")


def say(kind: bytes, data: bytes) -> None:
    """Write an answer."""
    sys.stdout.buffer.write(kind + len(data).to_bytes(LENGTH) + data)
    sys.stdout.buffer.flush()


async def answers(data: bytes) -> bytes:
    """Hand answers of calls over."""
    say(ANSWERS, data)
    return b""


async def main(record: str, life: str) -> None:
    """Answer messages until the input ends."""
    suspects = SuspectCalls(HandlingRecord(Path(record)), SystemClock(), is_plugin)
    endpoint = DispatcherEndpoint(
        Fatal(), life=life.encode(), connect=lambda _: answers, suspects=suspects
    )
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        length = int.from_bytes(await reader.readexactly(LENGTH))
        message = decode_dispatcher_message(await reader.readexactly(length))
        assert not isinstance(message, Answers | GetLoopState | GetMeters)
        say(REPLY, endpoint.answer(message))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
