"""The client of dispatchers in other processes: sends calls in batches, and lost ones again.

Owners use it as their Dispatcher port. If a dispatcher dies, the client notices a new process at
its address and sends again the calls that were not answered.

Used by `actors`, `runtime/dispatch/delegation.py`, `runtime/endpoints` and
`runtime/routing/router.py`.
"""

import asyncio
import contextlib
import logging
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from itertools import chain, islice
from typing import Final, Protocol, TypeAlias

from msgspec.structs import replace

from rillflow.definition.addresses import MODEL_PROTOCOLS, RAY_PROTOCOLS
from rillflow.errors import DefectError, RillflowError
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.gateways.outbound.targets import effective_protocol
from rillflow.ids import ExecutionId, TaskName
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, DispatchRequest, failed
from rillflow.ports.messages import CancelDispatches, Dispatches, GetProcessToken, encode_message
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.dispatch.inherited_calls import InheritedCalls, Owner
from rillflow.runtime.dispatch.order_queue import MOST_IN_ORDER, OrderQueue
from rillflow.runtime.dispatch.pool import ENDED
from rillflow.runtime.dispatch.request_room import RequestRoom
from rillflow.runtime.process.crash_log import log_crash
from rillflow.settings import Settings
from rillflow.url_parts import split_url

log = logging.getLogger("rillflow.dispatcher")

Connection: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Sends another process an encoded message (``rillflow/ports/messages.py``); returns the answer.

Raises UnavailableError if it cannot be reached in time, and the error of a refusal.
"""
_ASK_TOKEN: Final = encode_message(GetProcessToken())

BEAT_S = 1.0
BRINGS_NO_CALLBACK: Final = frozenset({"task_sync", "poll", "completion"})
"""Patterns of calls whose answer is all that comes of them."""
MOST_LOOKED_AT = 5_000
"""How many calls under way are checked each time whether their answers are awaited."""
LEAST_ROOM_BYTES: Final = 16 << 20


class Sender(Owner, Protocol):
    """The owner of executions for which requests are sent."""

    async def still_awaited(self, requests: Sequence[DispatchRequest]) -> list[DispatchRequest]:
        """Return those of some requests whose answers would still be accepted."""
        ...

    async def unawaited(self, requests: Iterable[DispatchRequest]) -> list[DispatchRequest]:
        """Return those of executions in memory whose answers would not be accepted, durably."""
        ...

    async def is_replaced(self) -> bool:
        """Ask the store, until it answers, whether a newer owner has taken over."""
        ...

    async def answers_arrived(self, answers: Sequence[DispatchAnswer]) -> None:
        """Handle the answers of requests that could not be sent.

        Raises:
            RillflowError: They could not be written; deliver them again.
        """
        ...


class DispatcherClient:
    """Sends each request to the dispatcher that has the connections to its host."""

    def __init__(
        self,
        sender: str,
        dispatchers: Sequence[Connection],
        opened: asyncio.Event | None = None,
        room_bytes: int = sys.maxsize,
    ) -> None:
        """Send as ``sender``, the name by which dispatchers return answers.

        Calls that bring callbacks leave once ``opened`` is set; without it, at once as others do.
        The inputs of calls under way at a dispatcher have so many bytes; other calls wait here.
        """
        self._links = [
            _DispatcherLink(sender, connection, RequestRoom(room_bytes))
            for connection in dispatchers
        ]
        self._inherited = [InheritedCalls(sender, connection) for connection in dispatchers]
        self._owner: Sender | None = None
        self._opened = opened
        self._held: list[DispatchRequest] = []
        self._held_bytes = 0
        self.unanswered: tuple[Sized, ...] = (
            self._held,
            *(link.unanswered for link in self._links),
        )
        """The calls without an answer, whose number is read for each submission."""
        self._opening: asyncio.Task[None] | None = None

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        """Add requests without waiting."""
        if self._opened is not None:
            requests = self._let_through(requests, self._opened)
        links = self._links
        if len(links) == 1:
            links[0].send(requests)
            return
        for request in requests:
            links[dispatcher_index(request.resource_name, len(links))].send((request,))

    def _let_through(
        self, requests: Sequence[DispatchRequest], opened: asyncio.Event
    ) -> Sequence[DispatchRequest]:
        """Return those that may leave now, and keep the others until callbacks can come."""
        if opened.is_set() and self._opening is None:
            self._opened = None
            return requests
        held = [each for each in requests if each.pattern not in BRINGS_NO_CALLBACK]
        self._held += held
        self._held_bytes += sum(len(each.input) for each in held)
        if self._held and self._opening is None:
            self._opening = asyncio.create_task(self._send_held(opened))
        return [each for each in requests if each.pattern in BRINGS_NO_CALLBACK]

    async def _send_held(self, opened: asyncio.Event) -> None:
        await opened.wait()
        held, self._opened = self._held.copy(), None
        self._held.clear()
        self._held_bytes = 0
        self.send(held)

    def __len__(self) -> int:
        return sum(map(len, self.unanswered))

    def executions(self) -> Iterator[ExecutionId]:
        """Yield the execution of each call without an answer."""
        links = (request for link in self._links for request in link.unanswered.values())
        return (request.execution_id for request in chain(self._held, links))

    @property
    def input_bytes(self) -> int:
        """The bytes of the inputs of the calls without an answer; read for each submission."""
        return self._held_bytes + sum([link.input_bytes for link in self._links])

    def inputs(self) -> Iterator[tuple[ExecutionId, int]]:
        """Yield the execution of each call without an answer, and the bytes of its input."""
        links = (request for link in self._links for request in link.unanswered.values())
        return ((each.execution_id, len(each.input)) for each in chain(self._held, links))

    def waiting(self, execution_id: ExecutionId) -> list[TaskName]:
        """Return the tasks of an execution whose calls wait for room at their dispatcher."""
        return [task for link in self._links for task in link.room.waiting(execution_id)]

    def answered(self, answers: Sequence[DispatchAnswer]) -> None:
        """Note that answers are durable, so that their requests are not sent again."""
        for link in self._links:
            link.answered(answers)

    def serve(self, sender: Sender) -> None:
        """Send for an owner, which is asked before lost requests are sent again."""
        self._owner = sender
        for link in self._links:
            link.owner = sender

    async def watch_dispatchers(self) -> None:
        """Watch for dispatchers that died with calls under way, until cancelled.

        First, calls that earlier processes of the owner have ordered are ended if nobody awaits
        them.
        """
        # Each in a task of its own, so that one that hangs does not hide the end of another.
        owner = self._owner
        ended = [each.end_unawaited(owner) for each in self._inherited] if owner is not None else []
        await asyncio.gather(*(link.watch() for link in self._links), *ended)

    async def stop(self) -> None:
        """Drop what was not sent; the next owner orders it again."""
        if self._opening is not None:
            self._opening.cancel()
        for link in self._links:
            await link.stop()


def room_of(settings: Settings, dedicated: ExecutionId | None) -> int:
    """Return how many bytes the requests of one owner may have at each dispatcher.

    All owners of partitions together have half of what the answers may have there. The owner of a
    ``dedicated`` execution has the least room.
    """
    shared = settings.call_answers_max_bytes // 2 // settings.execution_actors
    return LEAST_ROOM_BYTES if dedicated else max(shared, LEAST_ROOM_BYTES)


def dispatcher_index(resource_name: str, dispatchers: int) -> int:
    """Return the index of the dispatcher that has the connections to a gateway host."""
    if dispatchers == 1:
        return 0
    scheme = resource_name.partition("://")[0]
    try:
        # All addresses of a language model lead to one host.
        host = scheme if scheme in MODEL_PROTOCOLS else split_url(resource_name).netloc
    except ValueError:
        host = resource_name
    return zlib.crc32(host.encode()) % dispatchers


def _outlives_its_dispatcher(request: DispatchRequest) -> bool:
    protocol = effective_protocol(request.resource_name, request.resource_protocol)
    return protocol in RAY_PROTOCOLS


class _DispatcherLink:
    def __init__(self, sender: str, connection: Connection, room: RequestRoom) -> None:
        self.room = room
        self._sender = sender
        self._connection = connection
        self._process_token = b""
        self._has_handshake = False
        self._number = 0
        self._looked_at = 0
        self._queue = OrderQueue()
        self.unanswered: dict[tuple[str, str, int, int], DispatchRequest] = {}
        self._deaths: dict[CallId, int] = {}
        """How many processes have died while they made a call; of those that have not ended since.

        Only after a death, and until the next one, it has calls that were answered."""
        self.input_bytes = 0
        self._sending: asyncio.Task[None] | None = None
        self._granting: asyncio.Task[None] | None = None
        self.owner: Sender | None = None

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        unanswered = self.unanswered
        for request in requests:
            call = request.call
            if call in unanswered:
                self.input_bytes -= len(unanswered[call].input)
            unanswered[call] = request
            self.input_bytes += len(request.input)
        self._queue.add(filter(self.room.enter, requests))
        self._start()

    def answered(self, answers: Sequence[DispatchAnswer]) -> None:
        for answer in answers:
            self._forget(answer.call)

    def _forget(self, call: CallId) -> None:
        """Forget a call, which is answered or not awaited any more."""
        request = self.unanswered.pop(call, None)
        if request is not None:
            self.input_bytes -= len(request.input)
        if not self.room.is_free:
            self.room.leave(call)
            if self.room.is_waited_for and self._granting is None:
                self._granting = asyncio.create_task(self._send_granted())

    async def _send_granted(self) -> None:
        """Send calls that have waited for room and find it now, but those that ended meanwhile."""
        try:
            while granted := self.room.take():
                for request in granted:
                    if not await self._is_awaited(request):
                        self._forget(request.call)
                    elif request.call in self.unanswered:
                        self._queue.add((request,))
                        self._start()
        finally:
            self._granting = None

    async def _is_awaited(self, request: DispatchRequest) -> bool:
        if self.owner is None:
            return True
        try:
            return bool(await self.owner.still_awaited([request]))
        except Exception as error:  # noqa: BLE001 - one call must not stop the others
            log_crash("dispatch_not_checked", request.execution_id, error)
            return True

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._check()
                await self._abandon()
            except Exception:
                log.exception("dispatcher_not_checked")

    async def _check(self) -> None:
        """Check whether the dispatcher is still the process that got the calls."""
        if self.unanswered and self._sending is None:
            try:
                token = await self._connection(_ASK_TOKEN)
            except RillflowError as error:
                log.warning("dispatcher_unreachable", extra={"reason": str(error)})
                return
            if token != self._process_token:
                self._has_handshake = False
                self._start()

    async def _abandon(self) -> None:
        """Abandon calls of cancelled and timed out executions, whose answers nobody accepts.

        They are answered like all others. If there are many, some are checked each time, in order.
        """
        if self.owner is None:
            return
        if self._looked_at >= len(self.unanswered):
            self._looked_at = 0
        first, self._looked_at = self._looked_at, self._looked_at + MOST_LOOKED_AT
        some = list(islice(self.unanswered.values(), first, self._looked_at))
        calls = [request.call for request in await self.owner.unawaited(some)]
        calls = await self._without_waiting(calls)
        if calls:
            told = encode_message(CancelDispatches(self._sender, self._process_token, calls))
            with contextlib.suppress(RillflowError):  # the next check repeats it
                await self._connection(told)

    async def _without_waiting(self, calls: list[CallId]) -> list[CallId]:
        """Answer calls that wait for room, as their dispatcher would; return the others."""
        owner = self.owner
        if owner is None or not self.room.is_waited_for:
            return calls
        waited = [each for call in calls if (each := self.room.give_up(call))]
        if not waited:
            return calls
        answers = [failed(each, f"{HANDLE_FAILS}{ENDED}") for each in waited]
        await retry_while_unavailable(lambda: owner.answers_arrived(answers))
        self.answered(answers)
        return [call for call in calls if call in self.unanswered]

    async def stop(self) -> None:
        tasks = [each for each in (self._sending, self._granting) if each is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self) -> None:
        if self._sending is None:
            self._sending = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._queue or not self._has_handshake:
                try:
                    await (self._send_queue() if self._has_handshake else self._handshake())
                except Exception:
                    log.exception("dispatcher_not_told", extra={"calls": len(self._queue)})
                    await asyncio.sleep(BEAT_S)
        finally:
            self._sending = None

    async def _send_queue(self) -> None:
        batch = self._queue.take()
        try:
            await self._send_batch(batch)
        except Exception:
            self._queue.put_back(batch)
            raise

    async def _handshake(self) -> None:
        """Learn the token of the dispatcher's process; a new process gets all calls again."""
        token = await retry_while_unavailable(lambda: self._connection(_ASK_TOKEN))
        self._has_handshake = True
        if token == self._process_token:
            return
        if self._process_token:
            log.warning("dispatcher_restarted", extra={"calls": len(self.unanswered)})
            self._note_death()
            await self._keep_awaited(token)
        self._process_token = token
        self.room.clear()
        self._queue.clear()
        self._queue.add(filter(self.room.enter, self.unanswered.values()))

    def _note_death(self) -> None:
        """Count the death of a process against the calls that it has been ordered to make."""
        waiting = {request.call for request in chain(self._queue, self.room)}
        self._deaths = {
            call: self._deaths.get(call, 0) + 1 for call in self.unanswered if call not in waiting
        }

    async def _keep_awaited(self, token: bytes) -> None:
        """Keep the calls that are awaited; of the others, some go on without their dispatcher.

        An owner that was stopped for a while may have been replaced. Its calls may have ended since
        then, which the next process of the dispatcher cannot know.
        """
        requests = list(self.unanswered.values())
        if self.owner is None:
            return
        if await self.owner.is_replaced():
            for request in requests:
                self._forget(request.call)
            return
        awaited = {request.call for request in await self.owner.still_awaited(requests)}
        ended = [each for each in requests if each.call not in awaited]
        for request in ended:
            self._forget(request.call)
        lost = [request.call for request in ended if _outlives_its_dispatcher(request)]
        if lost:
            # What is told is durable: what is ended on Ray cannot be had back.
            lost = await self.owner.ended_calls(lost)
        for first in range(0, len(lost), MOST_IN_ORDER):
            some = lost[first : first + MOST_IN_ORDER]
            told = encode_message(CancelDispatches(self._sender, token, [], some))
            await retry_while_unavailable(partial(self._connection, told))

    async def _send_batch(self, batch: list[DispatchRequest]) -> None:
        self._number += 1
        epoch = self.owner.epoch if self.owner is not None else 0
        order = Dispatches(self._sender, epoch, self._number, self._process_token, batch)
        if deaths := self._deaths:
            suspects = [(call, deaths[call]) for each in batch if (call := each.call) in deaths]
            order = replace(order, suspects=suspects)
        try:
            data = encode_message(order)
        except Exception as error:  # noqa: BLE001 - one request must not stop the others
            await self._send_apart(batch, error)
            return
        try:
            token = await retry_while_unavailable(lambda: self._connection(data), defects_too=False)
        except DefectError as error:
            await self._send_apart(batch, error)
        else:
            self._has_handshake = token == self._process_token

    async def _send_apart(self, batch: list[DispatchRequest], error: Exception) -> None:
        """Send requests one by one; one that cannot be sent or is refused has failed."""
        if len(batch) > 1:
            for request in batch:
                await self._send_batch([request])
            return
        [request] = batch
        log_crash("dispatch_not_sent", request.execution_id, error)
        reason = f"{type(error).__name__} while sending the request"
        answer = failed(request, f"{HANDLE_FAILS}{reason}")
        owner = self.owner
        if owner is not None:
            await retry_while_unavailable(lambda: owner.answers_arrived([answer]))
        self.answered([answer])
