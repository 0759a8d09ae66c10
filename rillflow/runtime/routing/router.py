"""The router: computes the owner of an execution from its id, and sends calls there in batches.

`actors/directory.py` makes it. The stack and the actors call it by the ``WaitableExecutions`` port.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from rillflow.core.events import RedoRequested
from rillflow.errors import (
    GoneError,
    NotOwnerError,
    NotReadyError,
    OverloadedError,
    RillflowError,
    UnavailableError,
)
from rillflow.ids import ExecutionId, is_dedicated, partition_of, workspace_of
from rillflow.ports.changes import AwaitChanges, Changes, decode_changes
from rillflow.ports.executions import (
    ELSEWHERE,
    Call,
    Delivery,
    End,
    Query,
    Reply,
    ResourceCall,
    Submission,
    TrafficCall,
    ViewPart,
    Watch,
    decode_replies,
    reply_to_error,
    size_of,
)
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.messages import (
    Answers,
    AwaitEnds,
    Calls,
    GetPartitionMap,
    decode_map,
    encode_message,
)
from rillflow.runtime.aio.batching import KeyedBatcher
from rillflow.runtime.backpressure.admission import SubmissionLimit
from rillflow.runtime.completion.client import (
    CompletionClient,
    News,
    decode_news,
)
from rillflow.runtime.dispatch.client import Connection

log = logging.getLogger("rillflow.router")

Answer = TypeVar("Answer")

LONGEST_ASK_S = 2.0
MOVE_S: Final = 30.0
"""How long a call waits for the owner of an execution whose partition moves."""
MOVE_PAUSE_S: Final = 0.1
BUSY_CALLS: Final = 16
"""An owner for which so many calls of one process wait, or are under way, has enough to do."""
_ALONE: Final = (NotOwnerError.code, NotReadyError.code)
"""Kinds of replies to calls that are made again, each alone."""
NOBODY = ""
"""The watcher of a call that only has to find, or start, the owner."""


class OwnerRef:
    """The owner of some executions as callers see it."""

    def __init__(
        self,
        connection: Connection,
        *,
        watcher: str,
        limit: SubmissionLimit | None = None,
        is_near: Callable[[], bool] = lambda: True,
        moves: bool = False,
    ) -> None:
        """Reach the owner by ``connection``; ``watcher`` is this process's name at the owner.

        With a ``limit``, submissions that would wait too long are refused here. ``is_near`` tells
        whether the owner is on this node, as far as is known. An owner that ``moves`` may end for
        good when the partitions move; whoever calls it then is told that it owns nothing.
        """
        self._limit = limit or SubmissionLimit()
        self._connection = _until_moved(connection) if moves else connection
        self.is_near = is_near
        # A call would wait for all events that happened to be sent with it.
        self._calls: KeyedBatcher[Call, Reply] = KeyedBatcher(
            self._send, key_of=_workspace_of, wide=2, size_of=size_of
        )
        self._watch = CompletionClient(watcher, self.ask, self._ask_ended)

    @property
    def is_idle(self) -> bool:
        """Tell whether no call and no waiting caller uses it now."""
        return not len(self._calls) and not len(self._watch)

    @property
    def is_busy(self) -> bool:
        """Tell whether calls of this process pile up for the owner."""
        return len(self._calls) >= BUSY_CALLS

    async def ask(self, call: Call) -> Reply:
        """Make one call.

        Raises:
            OverloadedError: Too many submissions wait for this owner.
            NotOwnerError: The execution has another owner.
            UnavailableError: The owner could not be reached; whether the call took effect is
                unknown, and repeating it is harmless.
        """
        with self._limit.place(call):
            reply = await self._calls.ask(call)
            if reply.kind == NotReadyError.code:
                [reply] = await self._send_alone(call)
        if reply.kind == NotOwnerError.code:
            reply.raise_for_error()
        return reply

    async def ask_many(self, calls: Sequence[Call]) -> list[Reply]:
        """Make calls together; one that could not be made has its error as the reply."""
        try:
            with self._limit.places(calls):
                answers = await self._calls.ask_many(calls)
        except OverloadedError as error:
            return [reply_to_error(error)] * len(calls)
        return [each if isinstance(each, Reply) else reply_to_error(each) for each in answers]

    async def partition_map(self) -> tuple[int, int]:
        """Return the version of the owner's partition map, and the number of owners in it.

        Raises:
            UnavailableError: The owner could not be reached.
        """
        return decode_map(await self._connection(encode_message(GetPartitionMap())))

    async def deliver(self, answers: list[DispatchAnswer]) -> None:
        """Deliver answers of dispatches; return once they are durable.

        Raises:
            RillflowError: They may not have been accepted; deliver them again.
        """
        await self._connection(encode_message(Answers(answers)))

    async def part(self, asked: ViewPart) -> Reply:
        """Return a part of a view; it is not sent in a batch.

        Raises:
            UnavailableError: The owner could not be reached, or the view has expired.
        """
        [reply] = decode_replies(await self._connection(encode_message(asked)))
        return reply

    async def changes(self, asked: AwaitChanges) -> Changes:
        """Return what has changed of its executions.

        Raises:
            UnavailableError: The owner could not be reached.
        """
        return decode_changes(await self._connection(encode_message(asked)))

    async def end(self, execution_id: ExecutionId, timeout_s: float, show: str = "") -> End:
        """Wait until an execution has ended; return the view that ``show`` asks for.

        Raises:
            RillflowError: The owner refused, or could not be reached.
        """
        return await self._watch.wait(execution_id, timeout_s, show)

    async def run(self, submission: Submission, timeout_s: float, show: str) -> tuple[Reply, End]:
        """Submit an execution and wait until it has ended.

        Raises:
            OverloadedError: Too many submissions wait for this owner.
            RillflowError: The owner could not be reached.
        """
        return await self._watch.run(submission, timeout_s, show)

    async def _send(self, calls: list[Call]) -> list[Reply]:
        return decode_replies(await self._connection(encode_message(Calls(calls, waits=False))))

    async def _send_alone(self, call: Call) -> list[Reply]:
        return decode_replies(await self._connection(encode_message(Calls([call]))))

    async def _ask_ended(self, question: AwaitEnds) -> News:
        return decode_news(await self._connection(encode_message(question)))


def _workspace_of(call: Call) -> str:
    return workspace_of(call.execution_id)


def _until_moved(connection: Connection) -> Connection:
    async def call(message: bytes) -> bytes:
        try:
            return await connection(message)
        except GoneError as error:
            raise NotOwnerError(f"it owns nothing now: {error}") from error

    return call


class DedicatedOwners(Protocol):
    """The owners of dedicated executions while they run."""

    def find(self, execution_id: ExecutionId) -> OwnerRef | None:
        """Return the owner of an execution, None if it is known that there is none now."""
        ...

    def spawn(self, execution_id: ExecutionId) -> OwnerRef:
        """Return the owner of an execution, started if there is none."""
        ...

    def forget(self, execution_id: ExecutionId) -> None:
        """Look an owner up again the next time, because it could not be reached."""
        ...


class ExecutionRouter:
    """The executions of the cluster; see the ``WaitableExecutions`` port.

    Calls about a dedicated execution go to its own owner. After that owner has left, they go to the
    owner of its partition, which sends calls that restart the execution back to an owner of its
    own.

    Partitions move when the number of owners changes. An owner refuses a call about an execution of
    another owner, and tells its partition map; the router then repeats the call by that map.
    """

    def __init__(
        self,
        owners: Sequence[OwnerRef],
        dedicated: DedicatedOwners,
        owner_at: Callable[[int], OwnerRef] | None = None,
        admit: Callable[[ExecutionId], Awaitable[None]] | None = None,
    ) -> None:
        """Find executions by partition at ``owners``, and dedicated ones at ``dedicated``.

        ``owner_at`` returns an owner by its number, where that many may be more. ``admit`` refuses
        submissions and redos of dedicated executions beyond a limit.
        """
        self._admit = admit
        self._owners = list(owners)
        self._dedicated = dedicated
        self._owner_at = owner_at
        self._map_version = 0

    def suits(self, execution_id: ExecutionId) -> bool:
        """Tell whether a new execution of this id has an owner on this node, unless all are busy.

        So its messages stay on the node, and where one node has more to do than its owners can, the
        owners of other nodes take what is too much.
        """
        if self._home(execution_id).is_near():
            return True
        return not any(owner.is_near() and not owner.is_busy for owner in self._owners)

    async def call(self, call: Call) -> Reply:
        """Make one call at the owner of its execution.

        Raises:
            OverloadedError: The limit of dedicated executions is reached (429).
            UnavailableError: The owner could not be reached in time.
        """
        if not isinstance(call, TrafficCall) and is_dedicated(call.execution_id):
            return await self._call_dedicated(call)
        return await self._ask_home(call)

    async def call_many(self, calls: Sequence[Call]) -> list[Reply]:
        """Make calls together: one message to each owner, if it is not too long."""
        by_owner: dict[OwnerRef, list[int]] = {}
        replies: dict[int, Reply] = {}
        for number, call in enumerate(calls):
            if not is_dedicated(call.execution_id):
                by_owner.setdefault(self._home(call.execution_id), []).append(number)

        async def ask(owner: OwnerRef, numbers: list[int]) -> None:
            answers = await owner.ask_many([calls[number] for number in numbers])
            replies.update(zip(numbers, answers, strict=True))

        await asyncio.gather(*(ask(owner, numbers) for owner, numbers in by_owner.items()))
        # The others have an actor of their own, or their partition has moved, or take long.
        alone = [n for n in range(len(calls)) if n not in replies or replies[n].kind in _ALONE]
        answers = await asyncio.gather(*(self._call_safely(calls[number]) for number in alone))
        replies.update(zip(alone, answers, strict=True))
        return [replies[number] for number in range(len(calls))]

    async def _call_safely(self, call: Call) -> Reply:
        try:
            return await self.call(call)
        except RillflowError as error:
            return reply_to_error(error)

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        """Make a call at every owner; those that do not answer within 2 s are omitted."""
        asked = (_ask_in_time(owner, call) for owner in self._owners)
        answered = await asyncio.gather(*asked, return_exceptions=True)
        return [reply for reply in answered if isinstance(reply, Reply)]

    async def forward(self, answers: Sequence[DispatchAnswer]) -> None:
        """Deliver answers of dispatches to the owners of their executions, by partition.

        Raises:
            RillflowError: Some may not have been accepted; deliver all of them again.
        """
        by_owner: dict[OwnerRef, list[DispatchAnswer]] = {}
        for answer in answers:
            by_owner.setdefault(self._home(answer.execution_id), []).append(answer)
        await asyncio.gather(*(owner.deliver(theirs) for owner, theirs in by_owner.items()))

    async def part(self, execution_id: ExecutionId, asked: ViewPart) -> Reply:
        """Return a part of a view that a reply has named.

        Raises:
            UnavailableError: The owner could not be reached, or the view has expired.
        """
        dedicated = self._dedicated.find(execution_id) if is_dedicated(execution_id) else None
        if dedicated is not None:
            try:
                return await dedicated.part(asked)
            except UnavailableError:
                self._dedicated.forget(execution_id)
        return await self._home(execution_id).part(asked)

    @property
    def owner_count(self) -> int:
        """The number of owners of partitions."""
        return len(self._owners)

    async def changes(self, owner: int, asked: AwaitChanges) -> Changes:
        """Ask one owner for changes.

        Raises:
            UnavailableError: It could not be reached, or there is none of this number.
        """
        if owner >= len(self._owners):
            raise UnavailableError(f"there is no owner {owner}")
        return await self._owners[owner].changes(asked)

    async def run(self, submission: Submission, timeout_s: float, show: str) -> tuple[Reply, End]:
        """Submit an execution and wait until it has ended; see the port.

        Raises:
            OverloadedError: The limit of dedicated executions is reached (429).
            UnavailableError: The owner could not be reached in time.
        """
        execution_id = submission.execution_id
        if not is_dedicated(execution_id):
            return await self._at_home(
                execution_id, lambda home: home.run(submission, timeout_s, show)
            )
        reply = await self._call_dedicated(submission)
        if reply.error is not None:
            return reply, End(has_ended=False)
        return reply, await self.end(execution_id, timeout_s, show)

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait until an execution has ended; False if the time was not enough.

        Raises:
            UnavailableError: Its owner could not be reached.
        """
        return (await self.end(execution_id, timeout_s, "")).has_ended

    async def end(self, execution_id: ExecutionId, timeout_s: float, show: str) -> End:
        """Wait until an execution has ended; return the view that ``show`` asks for.

        Raises:
            UnavailableError: Its owner could not be reached.
        """
        if is_dedicated(execution_id):
            reply = await self._call_dedicated(Watch(execution_id=execution_id, watcher=NOBODY))
            if not reply.raise_for_error().changed:
                return End(has_ended=True)
            owner = self._dedicated.find(execution_id) or self._home(execution_id)
            end = await owner.end(execution_id, timeout_s, show)
            if end.has_ended:
                self._dedicated.forget(execution_id)
            return end
        give_up = asyncio.get_running_loop().time() + timeout_s

        def wait(home: OwnerRef) -> Awaitable[End]:
            left_s = give_up - asyncio.get_running_loop().time()
            return home.end(execution_id, max(left_s, 0.0), show)

        return await self._at_home(execution_id, wait)

    def _home(self, execution_id: ExecutionId) -> OwnerRef:
        return self._owners[partition_of(execution_id) % len(self._owners)]

    async def _ask_home(self, call: Call) -> Reply:
        try:
            return await self._home(call.execution_id).ask(call)
        except NotOwnerError as error:
            await self._learn(error)
        return await self._at_home(call.execution_id, lambda home: home.ask(call))

    async def _at_home(
        self, execution_id: ExecutionId, ask: Callable[[OwnerRef], Awaitable[Answer]]
    ) -> Answer:
        """Ask the owner of an execution, and the next one where its partition has moved.

        Raises:
            UnavailableError: No owner was found in time.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + MOVE_S
        while True:
            try:
                return await ask(self._home(execution_id))
            except NotOwnerError as error:
                if loop.time() > give_up:
                    raise
                if not await self._learn(error):
                    await asyncio.sleep(MOVE_PAUSE_S)

    async def _learn(self, error: NotOwnerError) -> bool:
        """Use the partition map of an owner if it is newer; return whether it was."""
        found = error.partition_map or await self._ask_map()
        if found[0] <= self._map_version or self._owner_at is None:
            return False
        self._map_version, count = found
        known = len(self._owners)
        log.warning("partitions_moved", extra={"owners": count, "before": known})
        self._owners = [
            self._owners[number] if number < known else self._owner_at(number)
            for number in range(count)
        ]
        return True

    async def _ask_map(self) -> tuple[int, int]:
        """Ask the first owner, which every map has, for its map.

        Raises:
            UnavailableError: It could not be reached in time.
        """
        return await self._owners[0].partition_map()

    async def _call_dedicated(self, call: Call) -> Reply:
        execution_id = call.execution_id
        if isinstance(call, Submission):
            if self._admit is not None:
                await self._admit(execution_id)
            return await self._dedicated.spawn(execution_id).ask(call)
        owner = self._dedicated.find(execution_id)
        if owner is not None:
            try:
                return await owner.ask(call)
            except UnavailableError:
                self._dedicated.forget(execution_id)
        reply = await self._ask_home(call)
        if reply.kind == ELSEWHERE and not isinstance(call, Query):
            if self._admit is not None and _begins_again(call):
                await self._admit(execution_id)
            return await self._dedicated.spawn(execution_id).ask(call)
        return reply


def _begins_again(call: Call) -> bool:
    """Tell whether somebody asks for a redo; that of a parent is part of its own."""
    event = call.event if isinstance(call, Delivery) else None
    return isinstance(event, RedoRequested) and event.parent is None


async def _ask_in_time(home: OwnerRef, call: ResourceCall) -> Reply:
    async with asyncio.timeout(LONGEST_ASK_S):
        return await home.ask(call)
