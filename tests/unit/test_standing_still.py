"""A process that lives and does not answer holds up what needs it, and nothing else."""

import asyncio
from typing import Any, Final

from rillflow.ports.executions import (
    Reply,
    ResourceCall,
    encode_replies,
)
from rillflow.ports.gateway import DispatchRequest
from rillflow.ports.messages import (
    Calls,
    Dispatches,
    decode_dispatcher_message,
    decode_owner_message,
)
from rillflow.runtime.aio.background import BackgroundTasks
from rillflow.runtime.backpressure.admission import Admission
from rillflow.runtime.commands.dispatching import Dispatching
from rillflow.runtime.dispatch.client import DispatcherClient, dispatcher_index
from rillflow.runtime.dispatch.order_queue import LONGEST_ORDER_BYTES, MOST_IN_ORDER
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from rillflow.settings import ResourceCheck, Settings

LONG_S: Final = 20
ABSENT: Any = None
"""In the place of what these parts are given and do not use here."""


async def answers(data: bytes) -> bytes:
    message = decode_owner_message(data)
    assert isinstance(message, Calls)
    return encode_replies([Reply(body=b"[]") for _ in message.calls])


async def stands_still(_: bytes) -> bytes:
    await asyncio.Event().wait()
    return b""


def routes_with_one_still() -> ExecutionRouter:
    owners = [OwnerRef(answers, watcher="a"), OwnerRef(stands_still, watcher="b")]
    return ExecutionRouter(owners, ABSENT)


def request(task: str, *, host: str = "f", data: bytes = b"{}") -> DispatchRequest:
    return DispatchRequest(
        execution_id="e",
        task=task,
        attempt=1,
        pattern="task_sync",
        resource_name=f"http://{host}/x",
        input=data,
    )


class Dispatcher:
    """Notes the orders of its present life."""

    def __init__(self) -> None:
        self.life = b"1"
        self.is_still = False
        self.orders: list[list[DispatchRequest]] = []
        self.came = asyncio.Event()

    async def connection(self, data: bytes) -> bytes:
        if self.is_still:
            await asyncio.Event().wait()
        order = decode_dispatcher_message(data)
        if isinstance(order, Dispatches) and order.life == self.life:
            self.orders.append(order.requests)
            self.came.set()
        return self.life


async def test_all_owners_are_asked_and_those_that_do_not_answer_left_out() -> None:
    async with asyncio.timeout(LONG_S):
        replies = await routes_with_one_still().ask_all(ResourceCall(kind="blocks", service=""))
    assert [reply.body for reply in replies] == [b"[]"]


async def test_a_check_that_an_owner_does_not_answer_lets_a_submission_pass() -> None:
    settings = Settings(submit_traffic_limits={"shop": 1000})
    admission = Admission(
        settings, store=ABSENT, executions=routes_with_one_still(), clock=SystemClock()
    )
    async with asyncio.timeout(LONG_S):
        await admission.check("shop", "order", ResourceCheck(), dedicated=True)


async def test_answers_without_a_hint_do_not_wait_until_others_know_of_one() -> None:
    outbound = Dispatching(
        clock=SystemClock(),
        catalogue=ABSENT,
        executions=routes_with_one_still(),
        dispatcher=ABSENT,
        find=lambda _: None,
        still_awaited=ABSENT,
        background=BackgroundTasks(lambda *_: None),
        answered=ABSENT,
        crashed=lambda *_: None,
        host="http://here",
        dedicated=None,
    )
    outbound.hints.heard("service", "task", "http://f/x", hint_s=1)
    with_a_hint = asyncio.create_task(outbound.told())
    await asyncio.sleep(0)
    await outbound.told()
    assert not with_a_hint.done()
    await asyncio.wait_for(with_a_hint, LONG_S)


async def test_the_end_of_one_dispatcher_is_seen_while_another_stands_still() -> None:
    still, killed = Dispatcher(), Dispatcher()
    client = DispatcherClient("me", [still.connection, killed.connection])
    beat = asyncio.create_task(client.watch_dispatchers())
    hosts = [f"h{number}" for number in range(50)]
    places = {dispatcher_index(f"http://{host}/x", 2): host for host in hosts}
    client.send([request("a", host=places[0]), request("b", host=places[1])])
    await asyncio.wait_for(asyncio.gather(still.came.wait(), killed.came.wait()), LONG_S)
    still.is_still = True
    killed.life, killed.orders = b"2", []
    killed.came.clear()
    await asyncio.wait_for(killed.came.wait(), LONG_S)
    assert [[one.task for one in order] for order in killed.orders] == [["b"]]
    beat.cancel()
    await asyncio.gather(beat, return_exceptions=True)
    await client.stop()


async def test_many_calls_or_large_ones_are_ordered_in_parts() -> None:
    dispatcher = Dispatcher()
    client = DispatcherClient("me", [dispatcher.connection])
    large = bytes(LONGEST_ORDER_BYTES // 2)
    wanted = [request(f"t{number}") for number in range(2 * MOST_IN_ORDER + 1)]
    wanted += [request(f"large{number}", data=large) for number in range(3)]
    client.send(wanted)
    async with asyncio.timeout(LONG_S):
        while sum(map(len, dispatcher.orders)) < len(wanted):
            await dispatcher.came.wait()
            dispatcher.came.clear()
    await client.stop()
    assert [one.task for order in dispatcher.orders for one in order] == [
        one.task for one in wanted
    ]
    assert [len(order) for order in dispatcher.orders] == [MOST_IN_ORDER, MOST_IN_ORDER, 2, 2]
