"""What a message to an actor passes before it is handled, and its answer before it is sent.

``Drain`` lets messages wait while an actor is moved to another node, ``OwnPartitions`` refuses
calls about executions of other owners, and ``AnswerGate`` keeps back the answers of an owner that
another one has replaced. They must not know what a message means.

Used by `actors/dispatcher_actor.py`, `actors/drain.py`, `actors/execution_actor.py` and
`runtime/endpoints.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn, Protocol, TypeVar

from rillflow.errors import NotOwnerError
from rillflow.ids import PARTITIONS, ExecutionId, partition_of
from rillflow.ports.executions import ResourceCall, TrafficCall

Answer = TypeVar("Answer")

PATIENCE_S: Final = 2.0
"""How long messages under way may take to finish; other messages wait meanwhile."""
SHUT_S: Final = 10.0
"""After this, messages are accepted again, because the controller has not ended the process."""
_LOOK_S: Final = 0.02


class Calls(Protocol):
    """The calls that an actor makes for others, which are to end before it does."""

    def __len__(self) -> int:
        """Return how many are under way."""
        ...

    def unfinished(self) -> list[str]:
        """Tell operators which ones are, in words."""
        ...


class Drain:
    """Lets messages pass until it is shut; then they wait.

    A waiting message is handled when the drain opens again. If the actor ends first, its sender
    notices, and sends the message to the successor.
    """

    def __init__(self, *, patience_s: float = PATIENCE_S, shut_s: float = SHUT_S) -> None:
        """Start open; ``patience_s`` and ``shut_s`` are in seconds."""
        self._patience_s = patience_s
        self._shut_s = shut_s
        self._open = asyncio.Event()
        self._open.set()
        self._under_way = Counter[str]()
        self._opening: asyncio.TimerHandle | None = None
        self.unfinished: list[str] = []
        """What did not finish in time when this was to be shut last, in words."""

    @property
    def is_open(self) -> bool:
        """Tell whether messages pass; one that is answered at once need not be counted."""
        return self._open.is_set()

    @property
    def under_way(self) -> int:
        """How many messages are being handled."""
        return self._under_way.total()

    async def through(self, ask: Callable[[], Awaitable[bytes]], kind: str) -> bytes:
        """Handle a message of some kind once the drain is open."""
        while not self._open.is_set():  # It may be shut again before this task continues.
            await self._open.wait()
        self._under_way[kind] += 1
        try:
            return await ask()
        finally:
            self._under_way[kind] -= 1
            if not self._under_way[kind]:
                del self._under_way[kind]

    async def shut(self, calls: Calls | None = None) -> bool:
        """Let no message pass, and wait until those under way, and the calls, have finished.

        Returns:
            Whether they finished in time. If not, the drain is open again, and ``unfinished`` tells
            what has not.
        """
        loop = asyncio.get_running_loop()
        if self._opening is not None:
            self._opening.cancel()
        self._open.clear()
        self.unfinished = []
        give_up = loop.time() + self._patience_s
        try:
            while self._under_way or (calls is not None and len(calls)):
                if loop.time() >= give_up:
                    self._open.set()
                    self.unfinished = self._told(calls)
                    return False
                await asyncio.sleep(_LOOK_S)
        except BaseException:
            self._open.set()  # Otherwise waiting messages would never pass.
            raise
        self._opening = loop.call_later(self._shut_s, self._open.set)
        return True

    def _told(self, calls: Calls | None) -> list[str]:
        messages = [f"{count} messages ({kind})" for kind, count in self._under_way.items()]
        return [*messages, *(calls.unfinished() if calls is not None else ())]


class Addressed(Protocol):
    """Whatever is for one execution."""

    @property
    def execution_id(self) -> ExecutionId:
        """The execution."""
        ...


class OwnPartitions:
    """The partitions of one owner; those of an owner that is alone are all."""

    def __init__(
        self, partitions: Sequence[int] | None = None, *, version: int = 0, owners: int = 1
    ) -> None:
        """Own ``partitions`` in a map of that version with so many owners; None owns all."""
        self.partition_map = version, owners
        self._partitions = frozenset(range(PARTITIONS) if partitions is None else partitions)
        self.are_all = len(self._partitions) == PARTITIONS

    def has(self, message: Addressed) -> bool:
        """Tell whether an owner of these partitions takes this message.

        What is for no execution in particular is for every owner.
        """
        if self.are_all or isinstance(message, ResourceCall | TrafficCall):
            return True
        return partition_of(message.execution_id) in self._partitions

    def refusal(self) -> NotOwnerError:
        """Return what a caller is told who has another map."""
        version, owners = self.partition_map
        return NotOwnerError(
            f"the execution has another owner: there are {owners} by partition map {version}",
            self.partition_map,
        )


class AnswerGate:
    """Lets answers, and refusals, pass until it is closed; from then on nobody is answered.

    What a replaced owner answers is out of date. A caller without an answer repeats its call when
    the process of this owner has ended, and reaches the new owner.
    """

    def __init__(self) -> None:
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Tell whether nobody is answered any more."""
        return self._is_closed

    def close(self) -> None:
        """Answer nobody from now on; the process is about to end."""
        self._is_closed = True

    async def through(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Handle a call, and return its answer or raise its error, unless the gate is closed."""
        if self._is_closed:
            await _forever()
        try:
            answer = await ask()
        except Exception:
            if self._is_closed:
                await _forever()
            raise
        if self._is_closed:
            await _forever()
        return answer


async def _forever() -> NoReturn:
    while True:
        await asyncio.Event().wait()
