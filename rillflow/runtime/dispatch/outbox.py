"""AnswerOutbox: what a dispatcher's pool has for an owner, sent in batches until it is taken.

Used by `runtime/dispatch/pool.py`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from rillflow.backoff import Backoff
from rillflow.errors import DefectError, RillflowError
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.gateways.outbound.threads import LARGE_BYTES
from rillflow.ids import workspace_of
from rillflow.ports.dispatcher import TakeAnswers
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, failed
from rillflow.runtime.aio.retrying import LONGEST_CRASH_PAUSE_S

log = logging.getLogger("rillflow.dispatch")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
FIRST_DEFECT_PAUSE_S = 1.0
"""The first pause before an answer that its owner failed on is sent again; grows to 5 min."""
MOST_IN_BATCH = 64
"""Limit of the answers in a batch, so that the owner also handles submissions and callbacks."""
LONGEST_BATCH_BYTES = 4 << 20
"""Limit of the bytes in a batch, for the same reason; a larger answer goes alone."""
MOST_BYTES_UNDER_WAY = 32 << 20
"""Limit of the bytes in batches that an owner has not accepted yet; one batch may always leave."""
MOST_UNDER_WAY = 2
WIDE_BYTES: Final = 64 << 10
"""Where answers are longer on average, those of an execution leave one after the other."""
PATIENCE_S = 0.1
"""After this time, other batches no longer wait for a batch."""
MOST_LATE = 14
"""How many batches may take longer at once."""
MOST_IDLE: Final = 64
"""Where so many workspaces have an outbox, idle ones are closed before the next is opened."""
LARGE_BYTES_UNDER_WAY: Final = 16 << 20
"""Limit of the bytes of large answers of one workspace that an owner has not accepted yet."""


class AnswerOutbox:
    """For each workspace, an outbox of its small answers, and one of its large answers.

    An owner takes the time of several hundred small answers for a large one, and those of a
    workspace one after the other. So they are sent alone, and nothing else waits for them. Answers
    that take long to handle keep back others of their workspace only.
    """

    def __init__(self, take: TakeAnswers) -> None:
        self._take = take
        self._small: dict[str, Outbox] = {}
        self._large: dict[str, Outbox] = {}

    def put(self, answer: DispatchAnswer) -> None:
        """Add an answer to the next batch of its outbox."""
        workspace, size_bytes = workspace_of(answer.execution_id), answer.size_bytes
        is_small = size_bytes <= LARGE_BYTES
        outbox = (self._small if is_small else self._large).get(workspace)
        (outbox or self._opened(workspace, is_small=is_small)).add(answer, size_bytes)

    def _opened(self, workspace: str, *, is_small: bool) -> "Outbox":
        """Open an outbox; those that are idle are closed where there are many."""
        outboxes = self._small if is_small else self._large
        if len(outboxes) >= MOST_IDLE:
            for name in [each for each, outbox in outboxes.items() if outbox.is_idle]:
                del outboxes[name]
        limits = {} if is_small else {"most_in_batch": 1, "most_under_way": LARGE_BYTES_UNDER_WAY}
        outboxes[workspace] = outbox = Outbox(self._take, **limits)
        return outbox

    def drop(self) -> None:
        """Stop sending, and forget what was not accepted."""
        for outbox in (*self._small.values(), *self._large.values()):
            outbox.drop()

    async def close(self) -> None:
        """Stop sending."""
        for outbox in (*self._small.values(), *self._large.values()):
            await outbox.close()


class Outbox:
    """Sends answers in batches: at once when idle, else with the next batch.

    While a batch is not accepted, only a full batch may follow, or any batch if the first takes
    long. A batch that is not accepted is sent again until it is. An answer for which its owner
    meets a defect is sent again alone, after pauses that grow to minutes. An answer that cannot be
    encoded is replaced by a failure. Neither delays other answers.
    """

    def __init__(
        self,
        take: TakeAnswers,
        *,
        most_in_batch: int = MOST_IN_BATCH,
        most_under_way: int = MOST_BYTES_UNDER_WAY,
    ) -> None:
        """Send to ``take`` so many answers together, and so many bytes at once."""
        self._take = take
        self._most_in_batch = most_in_batch
        self._most_bytes = most_under_way
        self._answers: list[DispatchAnswer] = []
        self._waiting_bytes = 0
        self._in_order = 0
        """So many of the first are in order by execution; what comes meanwhile is after them."""
        self._bytes_under_way = 0
        self._senders: set[asyncio.Task[None]] = set()
        self._late = 0
        self._number = 0
        self._patience_until_s: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._postponed = _Postponed(self.put)

    def put(self, answer: DispatchAnswer) -> None:
        """Add an answer to the next batch."""
        self.add(answer, answer.size_bytes)

    def add(self, answer: DispatchAnswer, size_bytes: int) -> None:
        """Add an answer of so many bytes to the next batch."""
        self._answers.append(answer)
        self._waiting_bytes += size_bytes
        # While enough senders are active, as under load, no more are needed.
        if len(self._senders) <= self._late or self._is_full:
            self._send_more()

    def _send_more(self) -> None:
        most = MOST_UNDER_WAY if self._is_full else 1
        if self._answers and self._on_time < most and self._has_room:
            self._senders.add(asyncio.create_task(self._run()))

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to be sent, now or later."""
        return not self._answers and not self._senders and self._postponed.is_empty

    @property
    def _is_full(self) -> bool:
        """Tell whether waiting cannot make the next batch larger."""
        return (
            len(self._answers) >= self._most_in_batch or self._waiting_bytes >= LONGEST_BATCH_BYTES
        )

    @property
    def _has_room(self) -> bool:
        """Tell whether another batch may leave; if not, a sender that is active sends it next."""
        return self._bytes_under_way < self._most_bytes

    @property
    def _on_time(self) -> int:
        """Return how many senders are not late; other batches wait for these."""
        return len(self._senders) - min(self._late, MOST_LATE)

    def drop(self) -> None:
        """Stop sending, and forget what was not accepted."""
        if self._timer is not None:
            self._timer.cancel()
        self._postponed.close()
        self._answers, self._waiting_bytes = [], 0
        for sender in self._senders:
            sender.cancel()

    async def close(self) -> None:
        """Stop sending."""
        senders = list(self._senders)
        self.drop()
        await asyncio.gather(*senders, return_exceptions=True)

    async def _run(self) -> None:
        try:
            await self._empty()
        finally:
            # Not when the task is done, which is later: answers added meanwhile would be left.
            self._senders = {one for one in self._senders if one is not asyncio.current_task()}

    async def _empty(self) -> None:
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while self._answers and self._has_room and (self._on_time <= 1 or self._is_full):
            left = await self._offer_patiently(*self._next_batch())
            if not left:
                backoff.reset()
                continue
            log.warning("answers_not_taken", extra={"answers": len(left)})
            # At the end, because the cause may be one execution only.
            self._answers += left
            self._waiting_bytes += sum(answer.size_bytes for answer in left)
            await asyncio.sleep(backoff.next_s())

    def _next_batch(self) -> tuple[list[DispatchAnswer], int]:
        """Take the first answers that fit together, and return their bytes."""
        answers = self._answers
        most = self._most_in_batch
        if len(answers) <= most and self._waiting_bytes <= LONGEST_BATCH_BYTES:
            together = answers, self._waiting_bytes
            self._answers, self._waiting_bytes, self._in_order = [], 0, 0
            return together
        if self._in_order <= 0 and self._waiting_bytes > WIDE_BYTES * len(answers):
            # Of such answers an execution becomes so large that few fit into its owner's memory.
            places: dict[str, int] = {}
            answers.sort(key=lambda each: places.setdefault(each.execution_id, len(places)))
            self._in_order = len(answers)
        size_bytes = count = 0
        for answer in answers[:most]:
            size_bytes += answer.size_bytes
            if count and size_bytes > LONGEST_BATCH_BYTES:
                size_bytes -= answer.size_bytes
                break
            count += 1
        self._answers = answers[count:]
        self._in_order -= count
        self._waiting_bytes -= size_bytes
        return answers[:count], size_bytes

    async def _offer_patiently(
        self, batch: list[DispatchAnswer], size_bytes: int
    ) -> list[DispatchAnswer]:
        """Send answers; if that takes long, other batches no longer wait for it."""
        loop = asyncio.get_running_loop()
        number = self._number = self._number + 1
        self._patience_until_s[number] = until_s = loop.time() + PATIENCE_S
        if self._timer is None:
            self._timer = loop.call_at(until_s, self._look_for_late)
        self._bytes_under_way += size_bytes
        try:
            return await self._offer(batch)
        finally:
            if self._patience_until_s.pop(number, None) is None:
                self._late -= 1
            self._bytes_under_way -= size_bytes

    def _look_for_late(self) -> None:
        """Mark batches that take long; one timer serves all, the oldest of which is first."""
        loop = asyncio.get_running_loop()
        for number, until_s in list(self._patience_until_s.items()):
            if loop.time() < until_s:
                self._timer = loop.call_at(until_s, self._look_for_late)
                return
            del self._patience_until_s[number]
            self._late += 1
            self._send_more()
        self._timer = None

    async def _offer(self, batch: list[DispatchAnswer]) -> list[DispatchAnswer]:
        """Send answers, one by one if they fail together; return those not accepted."""
        try:
            await self._take(batch)
        except DefectError:
            if len(batch) == 1:
                self._postponed.add(batch[0])
                return []
            return [left for answer in batch for left in await self._offer([answer])]
        except RillflowError:
            return batch
        except Exception as error:
            if len(batch) == 1:
                log.exception("answer_failed", extra={"execution_id": batch[0].execution_id})
                reason = f"{type(error).__name__} while handing the answer over"
                return [failed(batch[0], f"{HANDLE_FAILS}{reason}")]
            return [left for answer in batch for left in await self._offer([answer])]
        self._postponed.taken(batch)
        return []


class _Postponed:
    """Answers that join the next batch after a pause, which grows each time."""

    def __init__(self, put: Callable[[DispatchAnswer], None]) -> None:
        self._put = put
        self._backoffs: dict[CallId, Backoff] = {}
        self._timers: dict[CallId, asyncio.TimerHandle] = {}

    def add(self, answer: DispatchAnswer) -> None:
        """Add an answer later."""
        call = answer.call
        backoff = self._backoffs.get(call)
        if backoff is None:
            backoff = self._backoffs[call] = Backoff(FIRST_DEFECT_PAUSE_S, LONGEST_CRASH_PAUSE_S)
        pause_s = backoff.next_s()
        log.warning(
            "answer_postponed", extra={"execution_id": answer.execution_id, "pause_s": pause_s}
        )
        loop = asyncio.get_running_loop()
        self._timers[call] = loop.call_later(pause_s, self._put_again, answer)

    @property
    def is_empty(self) -> bool:
        """Whether no answer waits for its pause."""
        return not self._timers

    def taken(self, answers: Sequence[DispatchAnswer]) -> None:
        """Reset the pauses of answers that were accepted."""
        if self._backoffs:
            for answer in answers:
                self._backoffs.pop(answer.call, None)

    def close(self) -> None:
        """Cancel all pauses."""
        for timer in self._timers.values():
            timer.cancel()

    def _put_again(self, answer: DispatchAnswer) -> None:
        self._timers.pop(answer.call, None)
        self._put(answer)
