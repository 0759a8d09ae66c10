"""The dispatcher's pool: makes calls through a gateway and returns answers in batches.

`runtime/endpoints` hands it the requests of owners. It keeps nothing that a restart needs.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from inspect import CORO_CREATED, getcoroutinestate
from itertools import islice
from types import CoroutineType

from msgspec.structs import replace

from rillflow.backoff import Backoff
from rillflow.errors import DefectError, GoneError, RillflowError
from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.ids import ExecutionId
from rillflow.ports.dispatcher import TakeAnswers
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, DispatchRequest, Gateway, failed
from rillflow.runtime.aio.retrying import LONGEST_CRASH_PAUSE_S

log = logging.getLogger("rillflow.dispatch")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
FIRST_DEFECT_PAUSE_S = 1.0
"""The first pause before an answer that its owner failed on is sent again; grows to 5 min."""
COMPLETION = "completion"
ENDED = "the answer is not awaited any more: its execution or attempt has ended"
MOST_IN_BATCH = 64
"""Limit of the answers in a batch, so that the owner also handles submissions and callbacks."""
LONGEST_BATCH_BYTES = 4 << 20
"""Limit of the bytes in a batch, for the same reason; a larger answer goes alone."""
MOST_BYTES_UNDER_WAY = 32 << 20
"""Limit of the bytes in batches that an owner has not accepted yet; one batch may always leave."""
MOST_UNDER_WAY = 2
PATIENCE_S = 0.1
"""After this time, other batches no longer wait for a batch."""
MOST_LATE = 14
"""How many batches may take longer at once."""
MOST_TOLD = 500
"""How many calls of earlier processes a sender is told at once; it reads their executions."""
LEAST_TAKEN = 5_000
"""How many calls with durable answers are remembered, at least; up to twice as many.

A late order for one of them is ignored.
"""


class DispatchPool:
    """Makes calls through a gateway, one task each; limits per host are the gateway's.

    A request that is under way, or whose answer was accepted not long ago, is ignored when it is
    sent again. A completion callback that fails is made a second time. An abandoned call is
    answered as well: if its sender awaits it after all, the attempt has failed.

    A call is given to another pool when its execution has a new owner, which orders the call too:
    the call continues, and the other pool delivers its answer.
    """

    def __init__(
        self,
        gateway: Gateway,
        take: TakeAnswers,
        least_taken: int = LEAST_TAKEN,
        budget: AnswerBudget | None = None,
        settled: Callable[[CallId], None] | None = None,
    ) -> None:
        """Call through ``gateway`` and pass answers to ``take``; ``budget`` limits their bytes.

        With a ``least_taken`` of 0, a call whose answer was accepted may be ordered anew.
        ``settled`` is told of each call whose answer is durable.
        """
        self._settled = settled
        self._budget = budget or AnswerBudget(sys.maxsize)
        self._gateway = gateway
        self._take = take
        self._outbox = Outbox(self._hand_over)
        self._under_way: dict[CallId, asyncio.Task[DispatchAnswer]] = {}
        self._taken = _Taken(least_taken)
        self._abandoned: set[CallId] = set()
        self._heirs: dict[CallId, DispatchPool] = {}
        # In the order in which the calls began: a set's would differ from process to process.
        self._inherited: dict[CallId, None] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def executions(self) -> Iterator[ExecutionId]:
        """Yield the execution of each call that is under way."""
        return (call[0] for call in self._under_way)

    def unfinished(self, sender: str) -> list[str]:
        """Tell operators what is under way for a sender, in words that name no execution."""
        made = [call for call, task in self._under_way.items() if not task.done()]
        answered = len(self._under_way) - len(made)
        told = []
        if made:
            _, task_name, attempt, _ = made[0]
            first = f"task {task_name}, attempt {attempt}" if task_name else "a notice"
            told.append(f"{len(made)} calls of {sender} ({first}, for the longest)")
        if answered:
            told.append(f"{answered} answers that {sender} has not taken")
        return told

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        """Add requests without waiting."""
        for request in requests:
            call = request.call
            if call not in self._under_way and call not in self._taken:
                self._under_way[call] = asyncio.create_task(self._call(request))
        if self._inherited:
            for request in requests:
                self._inherited.pop(request.call, None)

    def makes(self, call: CallId) -> bool:
        """Tell whether a call is under way."""
        return call in self._under_way

    def begin_epoch(self) -> None:
        """Note that the sender is a new process, which knows of no call under way."""
        self._inherited = dict.fromkeys(self._under_way)

    def inherited_calls(self, judged: Sequence[CallId]) -> list[CallId]:
        """Return calls of earlier processes of the sender that are under way, some at a time.

        Those that the sender has ordered again, or has ``judged``, are left out.
        """
        left_out = {*judged}
        self._inherited = {
            call: None
            for call in self._inherited
            if call in self._under_way and call not in left_out
        }
        return list(islice(self._inherited, MOST_TOLD))

    def give(self, call: CallId, heir: "DispatchPool") -> bool:
        """Let another pool have a call, and its answer; False when it was never made here."""
        if call in self._taken:
            heir.note_taken(call)
            return True
        task = self._under_way.pop(call, None)
        if task is None:
            return False
        self._heirs[call] = heir
        if call in self._abandoned:
            # It is being cancelled, and still has to be answered.
            self._abandoned.discard(call)
            heir.note_abandoned(call)
        heir.inherit(call, task)
        return True

    def inherit(self, call: CallId, task: "asyncio.Task[DispatchAnswer]") -> None:
        """Take a call of another pool over, which may have its answer already."""
        self._heirs.pop(call, None)
        self._under_way[call] = task
        if task.done() and not task.cancelled() and task.exception() is None:
            self._outbox.put(task.result())

    def note_abandoned(self, call: CallId) -> None:
        """Know of a call that was abandoned before it was taken over."""
        self._abandoned.add(call)

    def note_taken(self, call: CallId) -> None:
        """Know of a call whose answer another pool has delivered; an order for it is late."""
        self._taken.add(call)

    def abandon(self, calls: Sequence[CallId]) -> None:
        """End calls whose answers would not be accepted, so that they do not delay other calls."""
        for call in calls:
            task = self._under_way.get(call)
            if task is not None and not task.done() and call not in self._abandoned:
                self._abandoned.add(call)
                if not _is_new(task):
                    task.cancel()

    def drop(self) -> None:
        """End the calls under way, and answer none: whoever has ordered them is gone."""
        self._outbox.drop()
        self._abandoned.clear()
        for call, task in self._under_way.items():
            task.cancel()
            self._budget.taken(call)
        self._under_way.clear()

    async def close(self) -> None:
        """Cancel the calls under way and close connections."""
        self._abandoned.clear()
        for call in list(self._under_way.values()):
            call.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._outbox.close()
        await self._gateway.close()

    async def _call(self, request: DispatchRequest) -> DispatchAnswer:
        call, budget = request.call, self._budget
        try:
            if budget.is_full:
                await budget.until_free()
            answer = await self._made(request)
        except BaseException as error:
            budget.release(call)
            if not isinstance(error, asyncio.CancelledError) or not self.has_abandoned(call):
                raise
            answer = failed(request, f"{HANDLE_FAILS}{ENDED}")
        budget.keep(call, answer.size_bytes)
        self.answered(answer)
        return answer

    async def _made(self, request: DispatchRequest) -> DispatchAnswer:
        if (self._abandoned or self._heirs) and self.has_abandoned(request.call):
            return failed(request, f"{HANDLE_FAILS}{ENDED}")
        answer = await self._attempt(request)
        if answer.error is not None and request.pattern == COMPLETION:
            answer = await self._attempt(request)
        return answer

    def has_abandoned(self, call: CallId) -> bool:
        """Tell whether whoever has a call has abandoned it."""
        heir = self._heirs.get(call)
        return call in self._abandoned if heir is None else heir.has_abandoned(call)

    def answered(self, answer: DispatchAnswer) -> None:
        """Hand over the answer of a call that was begun here, or leave it to whoever has it."""
        heir = self._heirs.pop(answer.call, None) if self._heirs else None
        if heir is not None:
            heir.answered(answer)
            return
        if self._abandoned:
            self._abandoned.discard(answer.call)
        self._outbox.put(answer)

    async def _attempt(self, request: DispatchRequest) -> DispatchAnswer:
        try:
            answer = await self._gateway.call(request)
            return replace(answer, poll=request.poll) if request.poll else answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # What the call waited for was cancelled, not the call.
            log.exception("gateway_raised", extra={"execution_id": request.execution_id})
            return failed(request, f"{HANDLE_FAILS}what the call waited for was cancelled")
        except Exception as error:
            log.exception("gateway_raised", extra={"execution_id": request.execution_id})
            return failed(request, f"{HANDLE_FAILS}{error}")

    async def _hand_over(self, answers: list[DispatchAnswer]) -> None:
        if self._heirs:
            # Those hand over what was given to them.
            answers = [each for each in answers if self._heirs.pop(each.call, None) is None]
        if not answers:
            return
        try:
            await self._take(answers)
        except GoneError:
            # Answers are lost here: an owner that comes back orders the calls again.
            for answer in answers:
                self._under_way.pop(answer.call, None)
                self._budget.taken(answer.call)
            return
        for answer in answers:
            call = answer.call
            self._under_way.pop(call, None)
            self._taken.add(call)
            self._budget.taken(call)
            if self._heirs:
                self._heirs.pop(call, None)
            if self._settled is not None:
                self._settled(call)


def _is_new(task: "asyncio.Task[DispatchAnswer]") -> bool:
    """Tell whether a task has not begun; one that is cancelled before it begins never answers."""
    coro = task.get_coro()
    return isinstance(coro, CoroutineType) and getcoroutinestate(coro) == CORO_CREATED


class _Taken:
    """The calls whose answers were accepted last, each as one short text."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._latest: set[str] = set()
        self._earlier: set[str] = set()

    def __contains__(self, call: CallId) -> bool:
        text = _text_of(call)
        return text in self._latest or text in self._earlier

    def add(self, call: CallId) -> None:
        """Add a call, and drop the oldest ones in time."""
        if not self._least:
            return
        self._latest.add(_text_of(call))
        if len(self._latest) >= self._least:
            self._latest, self._earlier = set(), self._latest


def _text_of(call: CallId) -> str:
    """Return a text that identifies a call; the id of an execution contains no blank."""
    execution_id, task, attempt, poll = call
    return f"{execution_id} {attempt} {poll} {task}"


class Outbox:
    """Sends answers in batches: at once when idle, else with the next batch.

    While a batch is not accepted, only a full batch may follow, or any batch if the first takes
    long. A batch that is not accepted is sent again until it is. An answer for which its owner
    meets a defect is sent again alone, after pauses that grow to minutes. An answer that cannot be
    encoded is replaced by a failure. Neither delays other answers.
    """

    def __init__(self, take: TakeAnswers) -> None:
        self._take = take
        self._answers: list[DispatchAnswer] = []
        self._waiting_bytes = 0
        self._bytes_under_way = 0
        self._senders: set[asyncio.Task[None]] = set()
        self._late = 0
        self._number = 0
        self._patience_until_s: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._postponed = _Postponed(self.put)

    def put(self, answer: DispatchAnswer) -> None:
        """Add an answer to the next batch."""
        self._answers.append(answer)
        self._waiting_bytes += answer.size_bytes
        # While enough senders are active, as under load, no more are needed.
        if len(self._senders) <= self._late or self._is_full:
            self._send_more()

    def _send_more(self) -> None:
        most = MOST_UNDER_WAY if self._is_full else 1
        if self._answers and self._on_time < most and self._has_room:
            self._senders.add(asyncio.create_task(self._run()))

    @property
    def _is_full(self) -> bool:
        """Tell whether waiting cannot make the next batch larger."""
        return len(self._answers) >= MOST_IN_BATCH or self._waiting_bytes >= LONGEST_BATCH_BYTES

    @property
    def _has_room(self) -> bool:
        """Tell whether another batch may leave; if not, a sender that is active sends it next."""
        return self._bytes_under_way < MOST_BYTES_UNDER_WAY

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
        if len(answers) <= MOST_IN_BATCH and self._waiting_bytes <= LONGEST_BATCH_BYTES:
            together = answers, self._waiting_bytes
            self._answers, self._waiting_bytes = [], 0
            return together
        size_bytes = count = 0
        for answer in answers[:MOST_IN_BATCH]:
            size_bytes += answer.size_bytes
            if count and size_bytes > LONGEST_BATCH_BYTES:
                size_bytes -= answer.size_bytes
                break
            count += 1
        self._answers = answers[count:]
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
