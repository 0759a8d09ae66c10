"""A reference to one owner: calls in batches, and one query for all who wait for ends."""

from rillflow.ids import ExecutionId
from rillflow.ports.executions import (
    Call,
    End,
    Reply,
    Submission,
    ViewPart,
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
