"""What a dispatcher remembers of those it works for."""

import asyncio

import msgspec

from rillflow.errors import GoneError
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.dispatch.client import Line, Order
from rillflow.runtime.endpoints import DispatcherEndpoint

LIFE = b"life"
LONG_S = 20
answers_in = msgspec.msgpack.Decoder(list[DispatchAnswer]).decode


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


def order_of(sender: str, epoch: int = 1, number: int = 1, task: str = "A") -> bytes:
    request = DispatchRequest(
        execution_id="demo:flow_c_1",
        task=task,
        attempt=1,
        pattern="task_sync",
        resource_name="http://functions.test/a",
    )
    return msgspec.msgpack.encode(Order(sender, epoch, number, LIFE, [request]))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_answers_of_a_sender_that_has_left_are_dropped() -> None:
    def line_to(_sender: str) -> Line:
        async def call(_method: str, _argument: bytes) -> bytes:
            raise GoneError("it has left")

        return call

    gateway = Gateway()
    desk = DispatcherEndpoint(gateway, life=LIFE, line_to=line_to)
    await desk.take("send", order_of("one"))
    await settle()
    assert len(desk) == 0

    await desk.take("send", order_of("one", number=2))
    await settle()
    assert gateway.calls == 1, "what it ordered before it left comes too late"

    await desk.take("send", order_of("one", epoch=2))
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

    def line_to(_sender: str) -> Line:
        async def call(_method: str, argument: bytes) -> bytes:
            if is_gone:
                raise GoneError("it has left")
            taken.extend(answer.task for answer in answers_in(argument))
            return b""

        return call

    gateway = Slow()
    desk = DispatcherEndpoint(gateway, life=LIFE, line_to=line_to)
    await desk.take("send", order_of("one", task="slow"))
    await desk.take("send", order_of("one", task="quick", number=2))
    await settle()
    is_gone = False
    await desk.take("send", order_of("one", task="slow", epoch=2))
    await desk.take("send", order_of("one", task="quick", epoch=2, number=2))
    await settle()
    assert (gateway.calls, taken) == (3, ["quick"]), "of the quick one the answer was dropped"
    goes_on.set()
    await settle()
    assert (gateway.calls, taken, len(desk)) == (3, ["quick", "slow"], 0)


async def test_a_sender_that_comes_back_while_it_is_found_gone_gets_its_answers() -> None:
    found_gone, told, reached = asyncio.Event(), asyncio.Event(), asyncio.Event()
    taken: list[str] = []

    def line_to(_sender: str) -> Line:
        async def call(_method: str, argument: bytes) -> bytes:
            if not found_gone.is_set():
                found_gone.set()
                await told.wait()
                raise GoneError("it had left")
            taken.extend(answer.task for answer in answers_in(argument))
            reached.set()
            return b""

        return call

    gateway = Gateway()
    desk = DispatcherEndpoint(gateway, life=LIFE, line_to=line_to)
    await desk.take("send", order_of("one"))
    await found_gone.wait()
    await desk.take("send", order_of("one", epoch=2))
    told.set()
    await asyncio.wait_for(reached.wait(), LONG_S)
    assert (gateway.calls, taken) == (1, ["A"])

    await desk.take("send", order_of("one", epoch=2, number=2, task="B"))
    await settle()
    assert taken == ["A", "B"], "nor are its later orders taken for those of the old one"


async def test_senders_that_have_ordered_nothing_for_long_are_forgotten() -> None:
    def line_to(_sender: str) -> Line:
        async def call(_method: str, _argument: bytes) -> bytes:
            return b""

        return call

    desk = DispatcherEndpoint(Gateway(), life=LIFE, line_to=line_to, most_senders=3)
    remembered = []
    for sender in ("a", "b", "c", "d", "e"):
        await desk.take("send", order_of(sender))
        await settle()
        remembered.append("".join(desk._pools))

    assert remembered == ["a", "ab", "abc", "bcd", "cde"]
    assert [*desk._newest] == ["c", "d", "e"]
