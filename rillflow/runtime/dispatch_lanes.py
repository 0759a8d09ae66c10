"""The Dispatcher port over dispatchers in other processes: batches out, lost calls sent again."""

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from rillflow.errors import StoreError
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest

log = logging.getLogger("rillflow.dispatcher")

Line: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
"""Calls a method of another process; raises StoreError when it cannot be reached in time."""

BEAT_S = 1.0
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[str, list[DispatchRequest]])


def decode_order(data: bytes) -> tuple[str, list[DispatchRequest]]:
    """Decode what a lane sends: its sender, and the requests."""
    return _decoder.decode(data)


class DispatchLanes:
    """Sends each request to the dispatcher that pools the connections to its host."""

    def __init__(
        self, sender: str, dispatchers: Sequence[Line], opened: asyncio.Event | None = None
    ) -> None:
        """Send as ``sender``, by which the dispatchers find the way back.

        Nothing leaves before ``opened`` is set; without it, everything leaves at once.
        """
        self._lanes = [_DispatchLane(sender, line, opened) for line in dispatchers]

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        """Take requests without waiting."""
        lanes = self._lanes
        if len(lanes) == 1:
            lanes[0].send(requests)
            return
        for request in requests:
            lanes[dispatcher_index(request.resource_name, len(lanes))].send((request,))

    def answered(self, answers: Sequence[DispatchAnswer]) -> None:
        """Note that answers have come, so that their requests are not sent again."""
        for lane in self._lanes:
            lane.answered(answers)

    async def beat(self) -> None:
        """Watch for dispatchers that died with calls under way, until cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            for lane in self._lanes:
                await lane.check()


def dispatcher_index(resource_name: str, dispatchers: int) -> int:
    """Return the index of the dispatcher that pools the connections to a gateway host."""
    if dispatchers == 1:
        return 0
    try:
        host = urlsplit(resource_name).netloc
    except ValueError:
        host = resource_name
    return zlib.crc32(host.encode()) % dispatchers


class _DispatchLane:
    def __init__(self, sender: str, line: Line, opened: asyncio.Event | None) -> None:
        self._sender = sender
        self._line = line
        self._opened = opened
        self._life: bytes | None = None
        self._queue: list[DispatchRequest] = []
        self._unanswered: dict[tuple[str, str, int], DispatchRequest] = {}
        self._sending: asyncio.Task[None] | None = None

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        for request in requests:
            self._unanswered[request.key] = request
        self._queue.extend(requests)
        if self._sending is None:
            self._sending = asyncio.create_task(self._run())

    def answered(self, answers: Sequence[DispatchAnswer]) -> None:
        for answer in answers:
            self._unanswered.pop((answer.execution_id, answer.task, answer.attempt), None)

    async def check(self) -> None:
        if self._unanswered and self._sending is None:
            try:
                self._note_life(await self._line("ping", b""))
            except StoreError as error:
                log.warning("dispatcher_unreachable", extra={"reason": str(error)})

    async def _run(self) -> None:
        try:
            if self._opened is not None:
                await self._opened.wait()
            while self._queue:
                batch, self._queue = self._queue, []
                await self._send_batch(batch)
        finally:
            self._sending = None

    async def _send_batch(self, batch: list[DispatchRequest]) -> None:
        data = _encoder.encode((self._sender, batch))
        while True:
            try:
                self._note_life(await self._line("send", data))
            except StoreError as error:
                log.warning("dispatcher_unreachable", extra={"reason": str(error)})
                await asyncio.sleep(BEAT_S)
            else:
                return

    def _note_life(self, life: bytes) -> None:
        """Send everything unanswered again when the dispatcher has begun a new life."""
        if self._life is not None and life != self._life:
            lost = list(self._unanswered.values())
            log.warning("dispatcher_restarted", extra={"calls": len(lost)})
            self._life = life
            self.send(lost)
        self._life = life
