"""The dispatcher's pool: makes calls through a gateway and returns answers in batches.

`runtime/endpoints` hands it the requests of owners. It keeps nothing that a restart needs.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from inspect import CORO_CREATED, getcoroutinestate
from itertools import islice
from types import CoroutineType, MappingProxyType
from typing import Final

from msgspec.structs import replace

from rillflow.errors import GoneError
from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.gateways.limits.delegation_call import (
    Delegate,
    DelegationCall,
    DelegationGateway,
    Outcome,
)
from rillflow.gateways.limits.waiting_call import CallUnderWay, TurnGateway, WaitingCall
from rillflow.ids import ExecutionId
from rillflow.ports.dispatcher import TakeAnswers
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, DispatchRequest, Gateway, failed
from rillflow.runtime.dispatch.load_sharing import RUN
from rillflow.runtime.dispatch.outbox import AnswerOutbox
from rillflow.runtime.dispatch.suspect_calls import SuspectCalls

log = logging.getLogger("rillflow.dispatch")

NO_DEATHS: Final[Mapping[CallId, int]] = MappingProxyType({})
COMPLETION = "completion"
ENDED = "the answer is not awaited any more: its execution or attempt has ended"
MANY = 128
"""With more calls than these, those that have to wait for their turn do so without a task."""
MOST_TOLD = 500
"""How many calls of earlier processes a sender is told at once; it reads their executions."""
LEAST_TAKEN = 5_000
"""How many calls with durable answers are remembered, at least; up to twice as many.

A late order for one of them is ignored.
"""


class DispatchPool:
    """Makes calls through a gateway, one task each; limits per host are the gateway's.

    Where there are many, a call gets its task when its turn has come (``WaitingCall``).

    A request that is under way, or whose answer was accepted not long ago, is ignored when it is
    sent again. A completion callback that fails is made a second time. An abandoned call is
    answered as well: if its sender awaits it after all, the attempt has failed.

    A call is given to another pool when its execution has a new owner, which orders the call too:
    the call continues, and the other pool delivers its answer.
    """

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        gateway: Gateway,
        take: TakeAnswers,
        least_taken: int = LEAST_TAKEN,
        budget: AnswerBudget | None = None,
        settled: Callable[[CallId], None] | None = None,
        *,
        passes_on: DelegationGateway | None = None,
        queues: TurnGateway | None = None,
        suspects: SuspectCalls | None = None,
    ) -> None:
        """Call through ``gateway`` and pass answers to ``take``; ``budget`` limits their bytes.

        With a ``least_taken`` of 0, a call whose answer was accepted may be ordered anew.
        ``settled`` is told of each call whose answer is durable. ``passes_on`` has others make
        calls whose turn has come here. ``queues`` has calls wait for their turns without a task.
        ``suspects`` makes those that were under way at deaths.
        """
        self._queues = queues
        self._suspects = suspects
        self._settled = settled
        self._passes_on = passes_on
        self._budget = budget or AnswerBudget(sys.maxsize)
        self._gateway = gateway
        self._take = take
        self._outbox = AnswerOutbox(self._hand_over)
        self._under_way: dict[CallId, CallUnderWay] = {}
        self._taken = _Taken(least_taken)
        self._abandoned: set[CallId] = set()
        self._heirs: dict[CallId, DispatchPool] = {}
        # In the order in which the calls began: a set's would differ from process to process.
        self._inherited: dict[CallId, bool] = {}
        self.epoch = 0
        """That of the sender's process which has ordered last."""

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

    def send(
        self, requests: Sequence[DispatchRequest], deaths: Mapping[CallId, int] = NO_DEATHS
    ) -> None:
        """Add requests without waiting; ``deaths`` count against some of them."""
        suspects = self._suspects
        if suspects is not None and (deaths or suspects.knows_fatal):
            requests = self._send_suspects(requests, deaths, suspects)
        queues = self._queues
        if len(self._under_way) + len(requests) <= MANY:
            queues = None
        for first in range(0, len(requests), RUN):
            self._send_run(requests[first : first + RUN], queues)
        if self._inherited:
            for request in requests:
                self._inherited.pop(request.call, None)

    def _send_run(self, requests: Sequence[DispatchRequest], queues: TurnGateway | None) -> None:
        """Make calls, or have one other dispatcher make those of them that may be passed on."""
        passes_on, delegate = self._passes_on, None
        if passes_on is not None and not self._budget.is_full:
            delegate = passes_on.chosen(len(requests))
        under_way, taken = self._under_way, self._taken
        for request in requests:
            call = request.call
            if call not in under_way and call not in taken:
                self._add(call, request, delegate, queues)

    def _send_suspects(
        self,
        requests: Sequence[DispatchRequest],
        deaths: Mapping[CallId, int],
        suspects: SuspectCalls,
    ) -> list[DispatchRequest]:
        """Make calls that may be fatal, each by itself; return the others."""
        others: list[DispatchRequest] = []
        for request in requests:
            call = request.call
            if call in self._under_way or call in self._taken:
                self._inherited.pop(call, None)
            elif call in deaths or suspects.is_fatal(request):
                making = suspects.made(request, deaths.get(call, 0), self._attempt)
                self._under_way[call] = asyncio.create_task(self._call(request, making))
            else:
                others.append(request)
        return others

    def _add(
        self,
        call: CallId,
        request: DispatchRequest,
        delegate: Delegate | None,
        queues: TurnGateway | None,
    ) -> None:
        """Pass a call on, have it wait for its turn without a task, or make it in one."""
        under_way = self._under_way
        if delegate is not None and (passed_on := self._passed_on(request, delegate)):
            under_way[call] = passed_on
            return
        if queues is not None:
            under_way[call] = queued = WaitingCall(request, self)
            if queues.queue(queued):
                return
        under_way[call] = asyncio.create_task(self._call(request))

    def begin(self, call: WaitingCall) -> None:
        """Make a call whose turn has come."""
        request = call.request
        self.replace(request.call, asyncio.create_task(self._call(request, queued=call)))

    def makes(self, call: CallId) -> bool:
        """Tell whether a call is under way."""
        return call in self._under_way

    def begin_epoch(self) -> None:
        """Note that the sender is a new process, which knows of no call under way."""
        self._inherited = dict.fromkeys(self._under_way, False)

    def has_begun(self, call: CallId) -> bool:
        """Tell whether the present process of the sender has ordered a call."""
        return call in self._taken or (call in self._under_way and call not in self._inherited)

    def inherited_calls(self, judged: Sequence[CallId]) -> list[CallId]:
        """Return calls of earlier processes of the sender that are under way, some at a time.

        Those that the sender has ordered again, or has ``judged``, are left out.
        """
        known = self._inherited
        known.update((call, True) for call in judged if call in known)
        self._inherited = known = {
            call: is_judged for call, is_judged in known.items() if call in self._under_way
        }
        return list(islice((call for call, is_judged in known.items() if not is_judged), MOST_TOLD))

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

    def inherit(self, call: CallId, task: CallUnderWay) -> None:
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
        tasks = [each for each in self._under_way.values() if isinstance(each, asyncio.Future)]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._outbox.close()
        await self._gateway.close()

    async def _call(
        self,
        request: DispatchRequest,
        coming: Awaitable[DispatchAnswer] | None = None,
        queued: WaitingCall | None = None,
    ) -> DispatchAnswer:
        """Make a call, and hand over its answer; that is ``coming`` already if it is given.

        One that was ``queued`` has had its turn.
        """
        call, budget = request.call, self._budget
        try:
            if budget.is_full:
                await budget.until_free()
            if coming is not None:
                answer = await coming
            elif (self._abandoned or self._heirs) and self.has_abandoned(call):
                answer = failed(request, f"{HANDLE_FAILS}{ENDED}")
            else:
                answer = await self._attempt(request, queued)
                if answer.error is not None and request.pattern == COMPLETION:
                    answer = await self._attempt(request)
        except BaseException as error:
            budget.release(call)
            if not isinstance(error, asyncio.CancelledError) or not self.has_abandoned(call):
                raise
            answer = failed(request, f"{HANDLE_FAILS}{ENDED}")
        finally:
            if queued is not None:
                queued.leave()
        budget.keep(call, answer.size_bytes)
        self.answered(answer)
        return answer

    def _passed_on(self, request: DispatchRequest, delegate: Delegate) -> DelegationCall | None:
        """Pass a call on; None if it is to be made here."""
        call, passes_on = DelegationCall(request, self._came_back, self.ended), self._passes_on
        is_passed_on = passes_on is not None and passes_on.pass_on(call, delegate)
        return call if is_passed_on else None

    def _came_back(self, call: DelegationCall, outcome: Outcome) -> None:
        """Answer a call that was passed on, or make it here."""
        request, passes_on, answer = call.request, self._passes_on, None
        if outcome is not None and passes_on is not None:
            answer = passes_on.finished(call, outcome)
        if isinstance(answer, DispatchAnswer):
            self._finish(answer)
            call.set_result(answer)
        else:
            self.replace(request.call, asyncio.create_task(self._call(request, answer)))

    def ended(self, call: DelegationCall | WaitingCall) -> DispatchAnswer | None:
        """Answer a call that was abandoned."""
        if not self.has_abandoned(call.request.call):
            return None
        answer = failed(call.request, f"{HANDLE_FAILS}{ENDED}")
        self._finish(answer)
        return answer

    def _finish(self, answer: DispatchAnswer) -> None:
        self._budget.keep(answer.call, answer.size_bytes)
        self.answered(answer)

    def replace(self, call: CallId, task: "asyncio.Future[DispatchAnswer]") -> None:
        """Have a call made by another task, in whichever pool has it."""
        heir = self._heirs.get(call)
        if heir is not None:
            heir.replace(call, task)
        else:
            self._under_way[call] = task

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

    async def _attempt(
        self, request: DispatchRequest, queued: WaitingCall | None = None
    ) -> DispatchAnswer:
        try:
            if queued is not None and self._queues is not None:
                answer = await self._queues.make(queued)
            else:
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


def _is_new(task: CallUnderWay) -> bool:
    """Tell whether a task has not begun; one that is cancelled before it begins never answers."""
    coro = task.get_coro() if isinstance(task, asyncio.Task) else None
    return isinstance(coro, CoroutineType) and getcoroutinestate(coro) == CORO_CREATED


class _Taken:
    """The calls whose answers were accepted last."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._latest: set[CallId] = set()
        self._earlier: set[CallId] = set()

    def __contains__(self, call: CallId) -> bool:
        return call in self._latest or call in self._earlier

    def add(self, call: CallId) -> None:
        """Add a call, and drop the oldest ones in time."""
        if not self._least:
            return
        self._latest.add(call)
        if len(self._latest) >= self._least:
            self._latest, self._earlier = set(), self._latest
