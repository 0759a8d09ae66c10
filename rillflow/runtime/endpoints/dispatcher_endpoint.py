"""The endpoint of a dispatcher: decode a message, answer it, encode the reply.

The actor passes every message here, from sockets and from Ray calls alike; the endpoint knows
neither.

Used by `actors/dispatcher_actor.py` and `actors/monitoring/dispatchers.py`.
"""

import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final, assert_never

import msgspec
from cachetools import LRUCache

from rillflow.errors import GoneError, UnavailableError
from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.gateways.limits.delegation_call import DelegationGateway
from rillflow.gateways.limits.waiting_call import TurnGateway
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, Gateway, HostState
from rillflow.ports.messages import (
    Answers,
    BeginDelegation,
    CancelDispatches,
    DispatcherMessage,
    Dispatches,
    GetGatewayHosts,
    GetInheritedCalls,
    GetProcessToken,
    encode_calls,
    encode_message,
)
from rillflow.runtime.dispatch.client import Connection
from rillflow.runtime.dispatch.delegation import DELEGATES, dispatcher_of
from rillflow.runtime.dispatch.pool import DispatchPool
from rillflow.runtime.dispatch.suspect_calls import SuspectCalls
from rillflow.runtime.endpoints.drain import Drain

MOST_SENDERS: Final = 1000
_hosts_decoder = msgspec.msgpack.Decoder(list[HostState])
_encoder = msgspec.msgpack.Encoder()


def decode_hosts(data: bytes) -> list[HostState]:
    """Decode what a dispatcher reports about its gateway hosts."""
    return _hosts_decoder.decode(data)


class DispatcherEndpoint:
    """Answers the messages to a dispatcher, which keeps nothing that a restart needs.

    A call whose dispatcher dies is ordered again by its owner: ``take`` returns the token of this
    process, and a new token tells the owner that earlier calls are lost. These orders are ignored:
    one for another process of the dispatcher, a repeated one, and one of a sender whose process has
    been replaced. A sender that has left for good gets no answers for calls that it did not wait
    for, unless it returns while they are made. A sender that has ordered nothing for long is
    forgotten.
    """

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        gateway: Gateway,
        *,
        life: bytes,
        connect: Callable[[str], Connection],
        most_senders: int = MOST_SENDERS,
        hosts: Callable[[], list[HostState]] = list,
        budget: AnswerBudget | None = None,
        settled: Callable[[CallId], None] | None = None,
        lost: Callable[[CallId], None] = lambda _: None,
        shares: Callable[[str], bool] = lambda _: True,
        delegated: Gateway | None = None,
        passes_on: DelegationGateway | None = None,
        queues: TurnGateway | None = None,
        suspects: SuspectCalls | None = None,
    ) -> None:
        """Call through ``gateway``; ``connect`` returns the connection to a sender.

        Of senders without calls under way, the last ``most_senders`` are remembered. ``hosts``
        reports the state of the gateway's hosts; the answers of all senders share the ``budget``.
        ``settled`` is told of each call whose answer is durable, ``lost`` of each that an earlier
        process has made and nobody awaits. ``shares`` tells whether the
        executions of a sender may move to another sender. What other dispatchers delegate is called
        through ``delegated``: its turn has come where it is from. ``passes_on`` passes calls of
        others on to them, once their turn has come here. ``queues`` has calls wait for that.
        ``suspects`` makes calls that were under way when earlier processes died.
        """
        self._queues = queues
        self._suspects = suspects
        self._passes_on = passes_on
        self._shares = shares
        self._delegated = delegated or gateway
        self._budget = budget
        self._settled = settled
        self._lost = lost
        self._hosts = hosts
        self._gateway = gateway
        self._most_senders = most_senders
        self._life = life
        self._connect = connect
        self._pools: OrderedDict[str, DispatchPool] = OrderedDict()
        # Few: the senders that own partitions. Their calls may move from one to another.
        self._sharing: dict[str, DispatchPool] = {}
        self._newest = LRUCache[str, tuple[int, int]](most_senders)

    def __len__(self) -> int:
        return sum(map(len, self._pools.values()))

    def unfinished(self) -> list[str]:
        """Tell operators which calls of which senders are under way, in words."""
        return [
            each
            for sender, pool in self._pools.items()
            for each in pool.unfinished(dispatcher_of(sender))
        ]

    async def take(self, message: DispatcherMessage) -> bytes:
        """Handle a message as ``answer`` does, for callers that await answers."""
        return self.answer(message)

    def answer_through(self, drain: Drain, message: DispatcherMessage) -> bytes | Awaitable[bytes]:
        """Handle a message as ``answer`` does; an order waits until the drain is open.

        An owner may order what the owner before it has ordered, and the drain waits for the end of
        that: it is given to the new owner at once, since the one before it may be gone.
        """
        if drain.is_open or not isinstance(message, Dispatches):
            return self.answer(message)
        if message.life == self._life and self._is_later(message):
            self._take_over(message)
        return self._answer_later(drain, message)

    async def _answer_later(self, drain: Drain, message: Dispatches) -> bytes:
        await drain.opened()
        return self.answer(message)

    def answer(self, message: DispatcherMessage) -> bytes:
        """Handle a message; the answer is the token of this process, or what was queried."""
        match message:
            case Dispatches():
                if message.life == self._life and self._is_news(message):
                    self._carry_out(message)
            case CancelDispatches():
                self._abandon(message)
            case GetInheritedCalls():
                return encode_calls(self._inherited_calls(message))
            case BeginDelegation(sender=sender):
                self._drop_earlier(sender)
            case GetProcessToken():
                pass
            case GetGatewayHosts():
                return _encoder.encode(self._hosts())
            case _:
                assert_never(message)
        return self._life

    def connection_of(self, call: CallId) -> Connection | None:
        """Return the connection to whoever has ordered a call that is under way."""
        for sender, pool in self._pools.items():
            if pool.makes(call):
                return self._connect(dispatcher_of(sender))
        return None

    def _abandon(self, cancelled: CancelDispatches) -> None:
        if cancelled.life != self._life:
            return
        pool = self._pools.get(cancelled.sender)
        if pool is not None:
            pool.abandon(cancelled.calls)
        for call in cancelled.lost:
            if pool is None or not pool.makes(call):
                self._lost(call)

    def _drop_earlier(self, sender: str) -> None:
        """End what earlier processes of a dispatcher have delegated."""
        whose = f"{dispatcher_of(sender)}{DELEGATES}"
        for other in [each for each in self._pools if each.startswith(whose) and each != sender]:
            self._has_left(other)
            self._pools.pop(other).drop()

    def _carry_out(self, order: Dispatches) -> None:
        pool, requests = self._pool_of(order.sender), self._take_over(order)
        if order.suspects:
            pool.send(requests, dict(order.suspects))
        else:
            pool.send(requests)

    def _take_over(self, order: Dispatches) -> Sequence[DispatchRequest]:
        """Give a sender the calls under way of others, whose executions are its own now.

        Returns:
            What it may have ordered. An order may be late: an owner with a later epoch has the
            executions then, and has ordered their calls since.
        """
        pool, requests = self._pool_of(order.sender), order.requests
        pool.epoch = max(pool.epoch, order.epoch)
        if len(self._sharing) <= 1 or order.sender not in self._sharing:
            return requests
        for other in self._sharing.values():
            if other is pool:
                continue
            if other.epoch > order.epoch:
                requests = [each for each in requests if not other.has_begun(each.call)]
            for request in requests:
                other.give(request.call, pool)
        return requests

    def _inherited_calls(self, asked: GetInheritedCalls) -> list[CallId]:
        """Return calls that a sender's earlier processes have ordered; it says which may end."""
        pool = self._pools.get(asked.sender)
        if pool is None or asked.life != self._life:
            return []
        newest, _ = self._newest.get(asked.sender, (0, 0))
        if asked.epoch < newest:
            return []
        if asked.epoch > newest:
            self._newest[asked.sender] = (asked.epoch, 0)
            pool.begin_epoch()
        return pool.inherited_calls(asked.judged)

    def _is_later(self, order: Dispatches) -> bool:
        return (order.epoch, order.number) > self._newest.get(order.sender, (0, 0))

    def _is_news(self, order: Dispatches) -> bool:
        if not self._is_later(order):
            return False
        newest, _ = self._newest.get(order.sender, (0, 0))
        self._newest[order.sender] = order.epoch, order.number
        if order.epoch > newest and order.sender in self._pools:
            self._pools[order.sender].begin_epoch()
        return True

    def _pool_of(self, sender: str) -> DispatchPool:
        pool = self._pools.get(sender)
        if pool is None:
            pool = self._pools[sender] = self._new_pool(sender)
            self._forget_idle()
        self._pools.move_to_end(sender)
        return pool

    def _new_pool(self, sender: str) -> DispatchPool:
        take = self._deliver_to(sender)
        if DELEGATES in sender:
            # Whoever delegates a call knows whether it was made; it may delegate it again.
            return DispatchPool(self._delegated, take, 0, budget=self._budget)
        pool = DispatchPool(
            self._gateway,
            take,
            budget=self._budget,
            settled=self._settled,
            passes_on=self._passes_on,
            queues=self._queues,
            suspects=self._suspects,
        )
        if self._shares(sender):
            self._sharing[sender] = pool
        return pool

    def _has_left(self, sender: str) -> None:
        """Note that a sender has left; its orders are ignored until it returns."""
        self._newest[sender] = self._left(sender)

    def _left(self, sender: str) -> tuple[int, int]:
        """Return what is noted of a sender that has left, and has not come back since."""
        epoch, _ = self._newest.get(sender, (0, 0))
        return epoch, sys.maxsize

    def _forget_idle(self) -> None:
        excess = max(len(self._pools) - self._most_senders, 0)
        for sender, pool in list(islice(self._pools.items(), excess)):
            if not len(pool):
                del self._pools[sender]
                self._sharing.pop(sender, None)

    def _deliver_to(self, sender: str) -> Callable[[list[DispatchAnswer]], Awaitable[None]]:
        connection = self._connect(dispatcher_of(sender))

        async def deliver(answers: list[DispatchAnswer]) -> None:
            newest = self._newest.get(sender)
            try:
                await connection(encode_message(Answers(answers)))
            except GoneError as error:
                if self._newest.get(sender) not in {newest, self._left(sender)}:
                    raise UnavailableError(f"{sender} has come back meanwhile") from error
                self._has_left(sender)
                raise

        return deliver
