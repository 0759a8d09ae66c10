"""The router: computes the owner of an execution from its id, and sends calls there in batches.

`runtime/stack.py` and the actors call it through the ``WaitableExecutions`` port.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from rillflow.errors import UnavailableError
from rillflow.ids import ExecutionId, is_dedicated, partition_of
from rillflow.ports.executions import (
    ELSEWHERE,
    Call,
    End,
    Query,
    Reply,
    ResourceCall,
    Submission,
    TrafficCall,
    ViewPart,
    Watch,
    decode_replies,
    size_of,
)
from rillflow.ports.messages import Calls, EndsQuestion, encode_message
from rillflow.runtime.aio.batching import Batcher
from rillflow.runtime.completion.client import (
    CompletionClient,
    News,
    decode_news,
)
from rillflow.runtime.dispatch.client import Connection
from rillflow.runtime.routing.submission_limit import SubmissionLimit

LONGEST_ASK_S = 2.0
NOBODY = ""
"""The watcher of a call that only has to find, or start, the owner."""


class OwnerRef:
    """The owner of some executions as callers see it."""

    def __init__(
        self, connection: Connection, *, watcher: str, limit: SubmissionLimit | None = None
    ) -> None:
        """Reach the owner by ``connection``; ``watcher`` is this process's name at the owner.

        With a ``limit``, submissions that would wait too long are refused here.
        """
        self._limit = limit or SubmissionLimit()
        self._connection = connection
        self._calls: Batcher[Call, Reply] = Batcher(self._send, wide=2, size_of=size_of)
        self._watch = CompletionClient(watcher, self.ask, self._ask_ended)

    @property
    def is_idle(self) -> bool:
        """Tell whether no call and no waiting caller uses it now."""
        return not len(self._calls) and not len(self._watch)

    async def ask(self, call: Call) -> Reply:
        """Make one call.

        Raises:
            OverloadedError: Too many submissions wait for this owner.
            UnavailableError: The owner could not be reached; whether the call took effect is
                unknown, and repeating it is harmless.
        """
        with self._limit.place(call):
            return await self._calls.ask(call)

    async def part(self, asked: ViewPart) -> Reply:
        """Return a part of a view; it is not sent in a batch.

        Raises:
            UnavailableError: The owner could not be reached, or the view has expired.
        """
        [reply] = decode_replies(await self._connection(encode_message(asked)))
        return reply

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
        return decode_replies(await self._connection(encode_message(Calls(calls))))

    async def _ask_ended(self, question: EndsQuestion) -> News:
        return decode_news(await self._connection(encode_message(question)))


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


class Routes:
    """The executions of the cluster; see the ``WaitableExecutions`` port.

    Calls about a dedicated execution go to its own owner. After that owner has left, they go to the
    owner of its partition, which sends calls that restart the execution back to an owner of its
    own.
    """

    def __init__(self, owners: Sequence[OwnerRef], dedicated: DedicatedOwners) -> None:
        """Find executions by partition at ``owners``, and dedicated ones at ``dedicated``."""
        self._owners = owners
        self._dedicated = dedicated

    async def call(self, call: Call) -> Reply:
        """Make one call at the owner of its execution.

        Raises:
            UnavailableError: The owner could not be reached in time.
        """
        if not isinstance(call, TrafficCall) and is_dedicated(call.execution_id):
            return await self._call_dedicated(call)
        return await self._home(call.execution_id).ask(call)

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        """Make a call at every owner; those that do not answer within 2 s are omitted."""
        asked = (_ask_in_time(owner, call) for owner in self._owners)
        answered = await asyncio.gather(*asked, return_exceptions=True)
        return [reply for reply in answered if isinstance(reply, Reply)]

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

    async def run(self, submission: Submission, timeout_s: float, show: str) -> tuple[Reply, End]:
        """Submit an execution and wait until it has ended; see the port.

        Raises:
            UnavailableError: The owner could not be reached in time.
        """
        execution_id = submission.execution_id
        if not is_dedicated(execution_id):
            return await self._home(execution_id).run(submission, timeout_s, show)
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
        return await self._home(execution_id).end(execution_id, timeout_s, show)

    def _home(self, execution_id: ExecutionId) -> OwnerRef:
        return self._owners[partition_of(execution_id) % len(self._owners)]

    async def _call_dedicated(self, call: Call) -> Reply:
        execution_id = call.execution_id
        if isinstance(call, Submission):
            return await self._dedicated.spawn(execution_id).ask(call)
        owner = self._dedicated.find(execution_id)
        if owner is not None:
            try:
                return await owner.ask(call)
            except UnavailableError:
                self._dedicated.forget(execution_id)
        reply = await self._home(execution_id).ask(call)
        if reply.kind == ELSEWHERE and not isinstance(call, Query):
            return await self._dedicated.spawn(execution_id).ask(call)
        return reply


async def _ask_in_time(home: OwnerRef, call: ResourceCall) -> Reply:
    async with asyncio.timeout(LONGEST_ASK_S):
        return await home.ask(call)
