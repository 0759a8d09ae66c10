"""The feed of an owner: which of its executions have changed, for whoever has asked lately.

Used by `runtime/owner/execution_owner.py`.
"""

import asyncio
import uuid
from collections import OrderedDict
from typing import Final, NamedTuple

from rillflow.ids import ExecutionId
from rillflow.ports.changes import AwaitChanges, Change, Changes
from rillflow.ports.clock import Clock

LISTENS_S: Final = 30.0
"""How long after a question changes are still noted."""
MOST_NOTED: Final = 10_000
"""How many executions are noted; if more change, the first ones are lost."""


class _LastChange(NamedTuple):
    """The last change of an execution, and the position at which the execution began, if noted."""

    position: int
    begun: int
    seq: int
    status: str


class ChangeFeed:
    """Notes each changed execution once, with the position of its last change.

    ``is_heard`` is False while nobody listens; then nothing is to be noted.
    """

    def __init__(self, clock: Clock, *, most: int = MOST_NOTED) -> None:
        self.is_heard = False
        self._clock = clock
        self._life = uuid.uuid4().hex
        self._most = most
        self._noted: OrderedDict[ExecutionId, _LastChange] = OrderedDict()
        self._position = 0
        self._complete_after = 0
        self._heard_s = 0.0
        self._asking = 0
        self._news = asyncio.Event()

    def note(self, execution_id: ExecutionId, seq: int, status: str) -> None:
        """Note a change that is durable; only while ``is_heard``."""
        before = self._noted.pop(execution_id, None)
        self._position += 1
        begun = self._position if seq == 1 else 0 if before is None else before.begun
        self._noted[execution_id] = _LastChange(self._position, begun, seq, status)
        if len(self._noted) > self._most:
            _, lost = self._noted.popitem(last=False)
            self._complete_after = lost.position
        self._news.set()
        if not self._asking and self._clock.monotonic_s() - self._heard_s > LISTENS_S:
            self._forget()

    async def take(self, asked: AwaitChanges) -> Changes:
        """Return what has changed after a position; wait for something, up to a limit."""
        self._heard_s = self._clock.monotonic_s()
        is_known = self.is_heard and asked.life == self._life
        self.is_heard = True
        if not is_known:
            return Changes(self._life, self._position, lost=bool(asked.life))
        self._asking += 1
        try:
            if asked.after >= self._position:
                self._news.clear()
                async with asyncio.timeout(asked.timeout_s):
                    await self._news.wait()
        except TimeoutError:
            return Changes(self._life, self._position)
        finally:
            self._asking -= 1
            self._heard_s = self._clock.monotonic_s()
        return self._after(asked.after)

    def _after(self, position: int) -> Changes:
        found: list[Change] = []
        for execution_id, noted in reversed(self._noted.items()):
            if noted.position <= position:
                break
            is_new = noted.begun > position
            found.append(Change(execution_id, noted.seq, noted.status, is_new=is_new))
        found.reverse()
        return Changes(self._life, self._position, found, lost=position < self._complete_after)

    def _forget(self) -> None:
        """Stop noting: whoever asks later begins anew."""
        self.is_heard = False
        self._noted.clear()
        self._complete_after = self._position
