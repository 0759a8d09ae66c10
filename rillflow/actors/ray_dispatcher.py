"""The Dispatcher port over dispatcher actors: batches out, lost calls sent again."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from rillflow.actors.names import dispatcher_actor_name, dispatcher_index
from rillflow.actors.peers import Peer
from rillflow.errors import StoreError
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest

log = logging.getLogger("rillflow.dispatcher")

BEAT_S = 1.0
_encoder = msgspec.msgpack.Encoder()


class RayDispatcher:
    """Sends requests to the dispatcher that pools the connections to their host."""

    def __init__(self, sender: str, *, dispatchers: int, namespace: str) -> None:
        self._lanes = [
            _DispatchLane(sender, dispatcher_actor_name(index), namespace)
            for index in range(dispatchers)
        ]

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


class _DispatchLane:
    def __init__(self, sender: str, actor_name: str, namespace: str) -> None:
        self._sender = sender
        self._peer = Peer(actor_name, namespace)
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
                self._note_life(await self._peer.call("ping", b""))
            except StoreError as error:
                log.warning("dispatcher_unreachable", extra={"reason": str(error)})

    async def _run(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                await self._send_batch(batch)
        finally:
            self._sending = None

    async def _send_batch(self, batch: list[DispatchRequest]) -> None:
        data = _encoder.encode((self._sender, batch))
        while True:
            try:
                self._note_life(await self._peer.call("send", data))
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
