"""What a dispatcher remembers of those it works for."""

import asyncio

import pytest

from rillflow.errors import GoneError, UnavailableError
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.messages import (
    Answers,
    CancelDispatches,
    DispatcherMessage,
    Dispatches,
    GetInheritedCalls,
    decode_calls,
    decode_owner_message,
)
from rillflow.runtime.dispatch.client import Connection
from rillflow.runtime.dispatch.outbox import MOST_IN_BATCH
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.endpoints.drain import Drain
from tests.loopback import answers_in

LIFE = b"life"
LONG_S = 20


class Gateway:
    """Answers every call at once, and counts them."""

    def __init__(self) -> None:
        self.calls = 0

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.calls += 1
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def close(self) -> None:
        """Hold nothing open."""


class SlowGateway(Gateway):
    """Answers no call before it may."""

    def __init__(self, goes_on: asyncio.Event) -> None:
        super().__init__()
        self._goes_on = goes_on

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        answer = await super().call(request)
        await self._goes_on.wait()
        return answer


def order_of(sender: str, epoch: int = 1, number: int = 1, task: str = "A") -> Dispatches:
    request = DispatchRequest(
        execution_id="demo:flow_c_1",
        task=task,
        attempt=1,
        pattern="task_sync",
        resource_name="http://functions.test/a",
    )
    return Dispatches(sender, epoch, number, LIFE, [request])


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_answers_of_a_sender_that_has_left_are_dropped() -> None:
    def connect(_sender: str) -> Connection:
        async def call(_message: bytes) -> bytes:
            raise GoneError("it has left")

        return call

    gateway = Gateway()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=connect)
    await endpoint.take(order_of("one"))
    await settle()
    assert len(endpoint) == 0

    await endpoint.take(order_of("one", number=2))
    await settle()
    assert gateway.calls == 1, "what it ordered before it left comes too late"

    await endpoint.take(order_of("one", epoch=2))
    await settle()
    assert gateway.calls == 2, "one that comes back is served anew"


async def test_a_call_that_outlasts_its_sender_is_not_made_again_for_the_next_one() -> None:
    goes_on = asyncio.Event()
    is_gone = True
    taken: list[str] = []

    class Slow(Gateway):
        async def call(self, request: DispatchRequest) -> DispatchAnswer:
            answer = await super().call(request)
            if request.task == "slow":
                await goes_on.wait()
            return answer

    def connect(_sender: str) -> Connection:
        async def call(message: bytes) -> bytes:
            if is_gone:
                raise GoneError("it has left")
            taken.extend(answer.task for answer in answers_in(message))
            return b""

        return call

    gateway = Slow()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=connect)
    await endpoint.take(order_of("one", task="slow"))
    await endpoint.take(order_of("one", task="quick", number=2))
    await settle()
    is_gone = False
    await endpoint.take(order_of("one", task="slow", epoch=2))
    await endpoint.take(order_of("one", task="quick", epoch=2, number=2))
    await settle()
    assert (gateway.calls, taken) == (3, ["quick"]), "of the quick one the answer was dropped"
    goes_on.set()
    await settle()
    assert (gateway.calls, taken, len(endpoint)) == (3, ["quick", "slow"], 0)


async def test_a_sender_that_comes_back_while_it_is_found_gone_gets_its_answers() -> None:
    found_gone, told, reached = asyncio.Event(), asyncio.Event(), asyncio.Event()
    taken: list[str] = []

    def connect(_sender: str) -> Connection:
        async def call(message: bytes) -> bytes:
            if not found_gone.is_set():
                found_gone.set()
                await told.wait()
                raise GoneError("it had left")
            taken.extend(answer.task for answer in answers_in(message))
            reached.set()
            return b""

        return call

    gateway = Gateway()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=connect)
    await endpoint.take(order_of("one"))
    await found_gone.wait()
    await endpoint.take(order_of("one", epoch=2))
    told.set()
    await asyncio.wait_for(reached.wait(), LONG_S)
    assert (gateway.calls, taken) == (1, ["A"])

    await endpoint.take(order_of("one", epoch=2, number=2, task="B"))
    await settle()
    assert taken == ["A", "B"], "nor are its later orders taken for those of the old one"


async def test_batches_that_find_a_sender_gone_one_after_the_other_are_all_dropped() -> None:
    both_under_way, told = asyncio.Event(), asyncio.Event()
    sent: list[int] = []

    def connect(_sender: str) -> Connection:
        async def call(message: bytes) -> bytes:
            sent.append(len(answers_in(message)))
            if len(sent) == 2:
                both_under_way.set()
            await told.wait()
            raise GoneError("it has left")

        return call

    endpoint = DispatcherEndpoint(Gateway(), life=LIFE, connect=connect)
    orders = [order_of("one", task=f"T{number}") for number in range(2 * MOST_IN_BATCH)]
    requests = [request for order in orders for request in order.requests]
    await endpoint.take(Dispatches("one", 1, 1, LIFE, requests))
    await asyncio.wait_for(both_under_way.wait(), LONG_S)
    told.set()
    await settle()
    assert len(endpoint) == 0, "what the first has found out is no news of the sender"
    assert sent == [MOST_IN_BATCH, MOST_IN_BATCH]


async def test_senders_that_have_ordered_nothing_for_long_are_forgotten() -> None:
    def connect(_sender: str) -> Connection:
        async def call(_message: bytes) -> bytes:
            return b""

        return call

    endpoint = DispatcherEndpoint(Gateway(), life=LIFE, connect=connect, most_senders=3)
    remembered = []
    for sender in ("a", "b", "c", "d", "e"):
        await endpoint.take(order_of(sender))
        await settle()
        remembered.append("".join(endpoint._pools))

    assert remembered == ["a", "ab", "abc", "bcd", "cde"]
    assert [*endpoint._newest] == ["c", "d", "e"]


class Owners:
    """Takes what is handed over to owners by their names; some of them have ended."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.taken: list[tuple[str, str]] = []

    def connect(self, sender: str) -> Connection:
        async def call(message: bytes) -> bytes:
            if sender in self.ended:
                raise UnavailableError(f"{sender} cannot be reached")
            answers = decode_owner_message(message)
            assert isinstance(answers, Answers)
            self.taken += [(sender, answer.task) for answer in answers.answers]
            return b""

        return call


async def test_a_call_under_way_goes_over_to_the_next_owner_of_its_execution() -> None:
    goes_on = asyncio.Event()
    gateway, owners = SlowGateway(goes_on), Owners()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    await endpoint.take(order_of("one"))
    await settle()
    owners.ended.add("one")
    await endpoint.take(order_of("two", epoch=2))
    goes_on.set()
    await settle()
    assert gateway.calls == 1
    assert owners.taken == [("two", "A")]
    assert len(endpoint) == 0


@pytest.mark.parametrize("is_answered", [False, True])
async def test_a_late_order_takes_no_call_from_the_next_owner_and_makes_none(
    *, is_answered: bool
) -> None:
    goes_on = asyncio.Event()
    gateway, owners = SlowGateway(goes_on), Owners()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    await endpoint.take(order_of("one", task="B"))
    await endpoint.take(order_of("two", epoch=2))
    await settle()
    if is_answered:
        goes_on.set()
        await settle()
    await endpoint.take(order_of("one", number=2))
    goes_on.set()
    await settle()
    assert gateway.calls == 2
    assert sorted(owners.taken) == [("one", "B"), ("two", "A")]
    assert len(endpoint) == 0


async def test_an_owner_has_what_an_earlier_process_of_one_with_a_later_epoch_has_ordered() -> None:
    """The other one has restarted since its executions moved, and orders others."""
    goes_on = asyncio.Event()
    gateway, owners = SlowGateway(goes_on), Owners()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    await endpoint.take(order_of("one"))
    await endpoint.take(order_of("one", epoch=3, task="B"))
    [call] = decode_calls(await endpoint.take(GetInheritedCalls("one", 3, LIFE, [])))
    await endpoint.take(GetInheritedCalls("one", 3, LIFE, [call]))
    await endpoint.take(order_of("two", epoch=2))
    goes_on.set()
    await settle()
    assert gateway.calls == 2
    assert sorted(owners.taken) == [("one", "B"), ("two", "A")]


async def test_a_drain_ends_though_its_calls_go_over_to_an_owner_that_orders_them_meanwhile() -> (
    None
):
    goes_on = asyncio.Event()
    goes_on.set()
    gateway, owners = SlowGateway(goes_on), Owners()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    owners.ended.add("one")
    await endpoint.take(order_of("one"))
    await settle()
    assert endpoint.unfinished() == ["1 answers that one has not taken"]
    drain = Drain(patience_s=LONG_S)
    shutting = asyncio.create_task(drain.shut(endpoint))
    await settle()
    assert not drain.is_open
    known = asyncio.ensure_future(_answer(endpoint, drain, order_of("two", epoch=2)))
    new = asyncio.ensure_future(_answer(endpoint, drain, order_of("two", 2, 2, task="B")))
    assert await asyncio.wait_for(shutting, LONG_S)
    assert owners.taken == [("two", "A")]
    assert not known.done()
    assert not new.done()
    assert gateway.calls == 1, "what is new waits for whoever comes after the drain"
    known.cancel()
    new.cancel()


async def test_while_a_drain_is_shut_calls_may_be_abandoned() -> None:
    gateway, owners = SlowGateway(asyncio.Event()), Owners()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    order = order_of("one")
    await endpoint.take(order)
    await settle()
    assert endpoint.unfinished() == ["1 calls of one (task A, attempt 1, for the longest)"]
    drain = Drain(patience_s=LONG_S)
    shutting = asyncio.create_task(drain.shut(endpoint))
    await settle()
    abandoned = CancelDispatches("one", LIFE, [order.requests[0].call])
    await _answer(endpoint, drain, abandoned)
    assert await asyncio.wait_for(shutting, LONG_S)


async def _answer(endpoint: DispatcherEndpoint, drain: Drain, message: DispatcherMessage) -> bytes:
    answer = endpoint.answer_through(drain, message)
    return answer if isinstance(answer, bytes) else await answer


async def test_an_answer_that_its_owner_did_not_take_goes_over_to_the_next_one() -> None:
    gateway, owners = Gateway(), Owners()
    owners.ended.add("one")
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    await endpoint.take(order_of("one"))
    await settle()
    assert len(endpoint) == 1, "it is offered again and again"
    await endpoint.take(order_of("two", epoch=2))
    await settle()
    assert gateway.calls == 1
    assert owners.taken == [("two", "A")]
    assert len(endpoint) == 0


async def test_a_call_that_went_over_and_back_is_answered_once() -> None:
    goes_on = asyncio.Event()
    gateway, owners = SlowGateway(goes_on), Owners()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    await endpoint.take(order_of("one"))
    await settle()
    await endpoint.take(order_of("two", epoch=2))
    await endpoint.take(order_of("one", epoch=3))
    goes_on.set()
    await settle()
    assert gateway.calls == 1
    assert owners.taken == [("one", "A")]
    assert len(endpoint) == 0


async def test_the_next_owner_may_abandon_a_call_that_went_over() -> None:
    gateway, owners = SlowGateway(asyncio.Event()), Owners()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    await endpoint.take(order_of("one"))
    await settle()
    await endpoint.take(order_of("two", epoch=2))
    await endpoint.take(CancelDispatches("two", LIFE, [("demo:flow_c_1", "A", 1, 0)]))
    await settle()
    assert owners.taken == [("two", "A")]
    assert len(endpoint) == 0


async def test_a_call_whose_answer_another_owner_took_is_not_made_for_the_next_one() -> None:
    gateway, owners = Gateway(), Owners()
    endpoint = DispatcherEndpoint(gateway, life=LIFE, connect=owners.connect)
    await endpoint.take(order_of("one"))
    await settle()
    assert owners.taken == [("one", "A")]
    for number in (1, 2):
        await endpoint.take(order_of("two", epoch=2, number=number))
        await settle()
    assert gateway.calls == 1
    assert len(endpoint) == 0


async def test_a_sender_learns_what_its_earlier_processes_have_ordered_and_it_has_not() -> None:
    endpoint = DispatcherEndpoint(SlowGateway(asyncio.Event()), life=LIFE, connect=Owners().connect)
    for number, task in enumerate(("again", "gone", "left"), start=1):
        await endpoint.take(order_of("one", task=task, number=number))

    async def asked(epoch: int, *judged: str, life: bytes = LIFE) -> list[str]:
        calls = [("demo:flow_c_1", task, 1, 0) for task in judged]
        answer = await endpoint.take(GetInheritedCalls("one", epoch, life, calls))
        return sorted(task for _, task, _, _ in decode_calls(answer))

    assert await asked(1) == [], "it has ordered all of them itself"
    assert await asked(2, life=b"another") == []
    assert await asked(2) == ["again", "gone", "left"]
    await endpoint.take(order_of("one", task="again", epoch=2))
    await endpoint.take(order_of("one", task="new", epoch=2, number=2))
    assert await asked(2) == ["gone", "left"]
    assert await asked(1) == [], "a process that was replaced ends nothing"
    assert await asked(2, "left") == ["gone"]
    await endpoint.take(CancelDispatches("one", LIFE, [("demo:flow_c_1", "gone", 1, 0)]))
    await settle()
    assert await asked(2) == []
    assert len(endpoint) == 3


async def test_what_a_process_was_not_told_of_is_told_to_one_that_has_ordered_first() -> None:
    endpoint = DispatcherEndpoint(SlowGateway(asyncio.Event()), life=LIFE, connect=Owners().connect)
    await endpoint.take(order_of("one"))
    await endpoint.take(order_of("one", task="new", epoch=2))
    answer = await endpoint.take(GetInheritedCalls("one", 2, LIFE, []))
    assert decode_calls(answer) == [("demo:flow_c_1", "A", 1, 0)]
