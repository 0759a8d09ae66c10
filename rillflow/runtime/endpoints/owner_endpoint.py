"""The endpoint of an owner: decode a message, answer it, encode the replies.

``OwnerGates`` are what a message passes before it is handled, and its answer before it is sent.
``OwnPartitions`` tell which executions the owner has. The actor hands ``OwnerGates.answer`` to its
connections, and passes on what comes by Ray calls; this module knows neither.

Used by `actors/execution_actor.py`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Final, NoReturn, Protocol, TypeVar, assert_never

from rillflow.errors import CrashedError, NotOwnerError, UnavailableError
from rillflow.ids import PARTITIONS, ExecutionId, partition_of
from rillflow.ports.changes import AwaitChanges, encode_changes
from rillflow.ports.executions import (
    Call,
    Reply,
    ResourceCall,
    Submission,
    TrafficCall,
    Until,
    ViewPart,
    encode_replies,
    reply_to_error,
    size_of,
)
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.messages import (
    Answers,
    AwaitEnds,
    Calls,
    GetHealth,
    GetLoopState,
    GetMeters,
    GetPartitionMap,
    OwnerMessage,
    decode_owner_message,
    encode_map,
)
from rillflow.ports.readiness import Reason, encode_reasons
from rillflow.runtime.backpressure.admission import SubmissionLimit
from rillflow.runtime.completion.client import News, encode_news
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.endpoints.drain import Drain
from rillflow.runtime.owner.execution_owner import ExecutionOwner

PORTION_BYTES: Final = 256 * 1024
"""A larger batch is handled in portions of so many bytes."""
Answer = TypeVar("Answer")
Item = TypeVar("Item")
log = logging.getLogger("rillflow.endpoints")
_UNSPEAKABLE = reply_to_error(CrashedError("internal server error"))


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


class OwnerEndpoint:
    """Answers the messages to an owner of executions; each message may be repeated."""

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        host: ExecutionOwner,
        dispatcher: DispatcherClient,
        *,
        life: str,
        limit: SubmissionLimit | None = None,
        reasons: Callable[[], list[Reason]] = list,
        own: OwnPartitions | None = None,
        forward: Callable[[list[DispatchAnswer]], Awaitable[None]] | None = None,
    ) -> None:
        """Answer for ``host``; ``life`` is the token of this process.

        A ``limit`` restricts the submissions of all callers together. ``reasons`` returns what
        keeps the owner from being ready. Calls for executions of partitions that are not ``own``
        are refused; None accepts all. ``forward`` delivers answers of dispatches to other owners.
        """
        self._own = own or OwnPartitions()
        self._forward = forward or _refuse_to_forward
        self._reasons = reasons
        self._limit = limit or SubmissionLimit()
        dispatcher.serve(host)
        self._host = host
        self._dispatcher = dispatcher
        self._life = life

    async def take(  # noqa: PLR0911 - one return for each kind
        self, message: OwnerMessage, size_bytes: int
    ) -> bytes:
        """Handle a message of so many bytes; the answer comes once everything is durable.

        Raises:
            RillflowError: Answers could not be made durable; deliver them again.
        """
        match message:
            case Calls(calls=calls, waits=waits):
                return await self._take_calls(calls, size_bytes, waits=waits)
            case Answers(answers=answers):
                return await self._take_answers(answers, size_bytes)
            case ViewPart():
                return encoded([await self._host.views.part(message)])
            case AwaitEnds():
                return await self._news_for(message)
            case AwaitChanges():
                return encode_changes(await self._host.changes.take(message))
            case GetHealth():
                return encode_reasons(self._reasons())
            case GetPartitionMap():
                return encode_map(*self._own.partition_map)
            case _:
                assert_never(message)

    async def submit_ahead(self, submissions: Sequence[Submission], until: Until) -> list[Reply]:
        """Handle submissions of this process ahead of their time; they are written ``until`` then.

        Each has its reply once it is durable. Those for other owners are refused.
        """
        if not (self._own.are_all or all(map(self._own.has, submissions))):
            return [reply_to_error(self._own.refusal())] * len(submissions)
        take = partial(self._host.call_many, until=until)
        return await self._limit.call_many(submissions, take, self._host.is_known)

    async def _take_calls(self, calls: list[Call], size_bytes: int, *, waits: bool) -> bytes:
        if self._own.are_all or all(map(self._own.has, calls)):
            return encoded(await self._replies_to(calls, size_bytes, waits=waits))
        own = [call for call in calls if self._own.has(call)]
        replies = iter(await self._replies_to(own, size_bytes, waits=waits) if own else ())
        refusal = reply_to_error(self._own.refusal())
        return encoded([next(replies) if self._own.has(call) else refusal for call in calls])

    async def _replies_to(self, calls: list[Call], size_bytes: int, *, waits: bool) -> list[Reply]:
        limit, is_known = self._limit, self._host.is_known
        take = self._host.call_many if waits else self._host.call_ready
        if size_bytes <= PORTION_BYTES:
            return await limit.call_many(calls, take, is_known)
        replies: list[Reply] = []
        for portion in _portions(calls, size_bytes, size_of):
            replies += await limit.call_many(portion, take, is_known)
        return replies

    async def _take_answers(self, answers: list[DispatchAnswer], size_bytes: int) -> bytes:
        for portion in _portions(answers, size_bytes, _size_of_answer):
            if self._own.are_all:
                await self._host.answers_arrived(portion)
            else:
                await self._take_or_forward(portion)
            self._dispatcher.answered(portion)
        return b""

    async def _take_or_forward(self, answers: list[DispatchAnswer]) -> None:
        """Take the answers for own executions, and forward those whose partition has moved."""
        own = [answer for answer in answers if self._own.has(answer)]
        if own:
            await self._host.answers_arrived(own)
        others = [answer for answer in answers if not self._own.has(answer)]
        if others:
            await self._forward(others)

    async def _news_for(self, asked: AwaitEnds) -> bytes:
        is_known = asked.life is None or asked.life == self._life
        timeout_s = asked.timeout_s if is_known else 0.0
        ended = await self._host.watchers.take(asked.watcher, timeout_s, asked.heard)
        return encode_news(News(self._life, ended))


class OwnerGates:
    """Lets messages through to an owner's endpoint, and answers back to their senders.

    Messages wait until the owner has started, and while its drain is shut. One that leaves refuses
    them, and one that was replaced answers nobody.

    Attributes:
        drain: Lets messages wait while the actor is moved.
    """

    def __init__(
        self,
        endpoint: OwnerEndpoint,
        process: str,
        tell: Callable[[GetLoopState | GetMeters], bytes],
        *,
        drain: Drain | None = None,
    ) -> None:
        """Pass messages to ``endpoint``; errors call this process ``process``.

        ``tell`` answers questions about the process, which pass no gate.
        """
        self.drain = drain or Drain()
        self._take = endpoint.take
        self._process = process
        self._tell = tell
        self._answers = AnswerGate()
        self._started = asyncio.Event()
        self._is_leaving = False
        self._under_way = Counter[str]()

    def __len__(self) -> int:
        return self._under_way.total()

    def unfinished(self) -> list[str]:
        """Tell operators which messages are being handled, in words."""
        return [f"{count} messages ({kind})" for kind, count in self._under_way.items() if count]

    def open(self) -> None:
        """Handle messages from now on: the owner has started."""
        self._started.set()

    def leave(self) -> None:
        """Refuse messages from now on: the owner has nothing left to do."""
        self._is_leaving = True

    def close(self) -> None:
        """Answer nobody from now on: another owner has taken over."""
        self._answers.close()

    async def shut(self) -> bool:
        """Finish the messages under way, and let others wait for some seconds.

        Returns:
            Whether they finished in time; if not, ``drain.unfinished`` tells what has not.
        """
        return await self.drain.shut(self)

    async def answer(self, data: bytes) -> bytes:
        """Handle a message; the answer comes once everything is durable.

        Raises:
            RillflowError: It is refused, or could not be made durable.
            msgspec.ValidationError: It is no message to an owner.
        """
        message = decode_owner_message(data)
        if isinstance(message, GetLoopState | GetMeters):
            return self._tell(message)
        return await self._answers.through(lambda: self._handle(message, len(data)))

    async def _handle(self, message: OwnerMessage, size_bytes: int) -> bytes:
        if not self._started.is_set():
            await self._started.wait()
        if self._is_leaving:
            raise UnavailableError(f"{self._process} has ended, and its actor leaves")
        if isinstance(message, AwaitEnds | AwaitChanges | GetHealth):
            # Long questions would delay the drain, and readiness must not wait.
            return await self._take(message, size_bytes)
        if not self.drain.is_open:
            await self.drain.opened()
        kind = type(message).__name__
        self._under_way[kind] += 1
        try:
            return await self._take(message, size_bytes)
        finally:
            self._under_way[kind] -= 1


async def _refuse_to_forward(answers: list[DispatchAnswer]) -> None:
    raise UnavailableError(f"{len(answers)} answers are for another owner")


_size_of_answer: Final = attrgetter("size_bytes")


def _portions(
    batch: list[Item], size_bytes: int, size_of_item: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Split a batch whose parts together would hold the event loop for too long."""
    if size_bytes <= PORTION_BYTES or len(batch) < 2:
        yield batch
        return
    portion: list[Item] = []
    size = 0
    for item in batch:
        item_bytes = size_of_item(item)
        if portion and size + item_bytes > PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += item_bytes
    yield portion


def encoded(replies: list[Reply]) -> bytes:
    """Encode replies; one that cannot be encoded is replaced, and affects no other."""
    try:
        return encode_replies(replies)
    except Exception:
        log.exception("reply_not_encoded", extra={"replies": len(replies)})
        return encode_replies([reply if _is_sound(reply) else _UNSPEAKABLE for reply in replies])


def _is_sound(reply: Reply) -> bool:
    try:
        encode_replies([reply])
    except Exception:  # noqa: BLE001 - any error: this reply cannot be sent
        return False
    return True
