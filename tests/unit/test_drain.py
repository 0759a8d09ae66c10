"""The drain of an actor: shut before it moves, and open again when it does not."""

import asyncio
from typing import Any, Final

import pytest

from rillflow.errors import UnavailableError
from rillflow.ports.messages import (
    Answers,
    Calls,
    GetHealth,
    GetLoopState,
    GetMeters,
    OwnerMessage,
    encode_message,
)
from rillflow.runtime.endpoints.drain import Drain
from rillflow.runtime.endpoints.owner_endpoint import OwnerGates

CALLS: Final = encode_message(Calls([]))
ANSWERS: Final = encode_message(Answers([]))
LONG_S: Final = 60


class Endless:
    """Calls that do not end."""

    def __len__(self) -> int:
        return 1

    def unfinished(self) -> list[str]:
        return ["1 calls of e0"]


class Nothing:
    """No calls."""

    def __len__(self) -> int:
        return 0

    def unfinished(self) -> list[str]:
        return []


class Handling:
    """An endpoint that handles each message until it may end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.taken: list[OwnerMessage] = []

    async def take(self, message: OwnerMessage, size_bytes: int) -> bytes:
        assert size_bytes == len(encode_message(message))
        self.taken.append(message)
        await self.may_end.wait()
        return b"answer"


def gates_of(endpoint: Any, drain: Drain | None = None) -> OwnerGates:
    gates = OwnerGates(endpoint, "e0", lambda asked: type(asked).__name__.encode(), drain=drain)
    gates.open()
    return gates


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_whoever_is_inside_finishes_and_whoever_comes_waits() -> None:
    endpoint = Handling()
    gates = gates_of(endpoint)
    inside = asyncio.create_task(gates.answer(CALLS))
    await turns()
    shutting = asyncio.create_task(gates.shut())
    await turns()
    outside = asyncio.create_task(gates.answer(ANSWERS))
    await turns()
    endpoint.may_end.set()
    assert await shutting
    assert await inside == b"answer"
    assert not outside.done()
    assert endpoint.taken == [Calls([])]
    outside.cancel()


async def test_a_drain_that_cannot_be_shut_in_time_is_open_again() -> None:
    drain = Drain(patience_s=0.0)
    assert not await drain.shut(Endless())
    assert drain.is_open
    async with asyncio.timeout(LONG_S):
        await drain.opened()


async def test_a_drain_that_cannot_be_shut_tells_who_is_inside() -> None:
    endpoint = Handling()
    gates = gates_of(endpoint, Drain(patience_s=0.0))
    inside = [asyncio.create_task(gates.answer(each)) for each in (CALLS, ANSWERS, ANSWERS)]
    await turns()
    assert len(gates) == 3
    assert not await gates.shut()
    assert gates.drain.unfinished == ["1 messages (Calls)", "2 messages (Answers)"]
    endpoint.may_end.set()
    await asyncio.gather(*inside)
    assert await gates.shut()
    assert gates.drain.unfinished == []


async def test_what_an_actor_calls_for_others_is_told_as_well() -> None:
    drain = Drain(patience_s=0.0)
    assert not await drain.shut(Endless())
    assert drain.unfinished == ["1 calls of e0"]


async def test_a_shut_drain_opens_again_when_nobody_ends_the_actor() -> None:
    drain = Drain(shut_s=0.0)
    assert await drain.shut(Nothing())
    async with asyncio.timeout(LONG_S):
        await drain.opened()
    assert drain.is_open


async def test_a_drain_that_is_shut_twice_stays_shut_for_the_second_one() -> None:
    drain = Drain(shut_s=60.0)
    assert await drain.shut(Nothing())
    assert await drain.shut(Nothing())
    outside = asyncio.create_task(drain.opened())
    await turns()
    assert not outside.done()
    outside.cancel()


async def test_who_waited_outside_is_not_let_in_when_the_drain_is_shut_again_at_once() -> None:
    drain = Drain(patience_s=0.0)
    assert await drain.shut(Nothing())
    outside = asyncio.create_task(drain.opened())
    await turns()
    assert not await drain.shut(Endless())  # Now it is open, for less than a turn.
    assert await drain.shut(Nothing())
    await turns()
    assert not outside.done()
    outside.cancel()


async def test_a_drain_is_open_when_whoever_was_shutting_it_has_given_up() -> None:
    drain = Drain()
    shutting = asyncio.create_task(drain.shut(Endless()))
    await turns()
    assert not drain.is_open
    shutting.cancel()
    await asyncio.wait({shutting})
    async with asyncio.timeout(LONG_S):
        await drain.opened()


async def test_long_questions_neither_wait_for_a_drain_nor_delay_it() -> None:
    endpoint = Handling()
    gates = gates_of(endpoint)
    asked = asyncio.create_task(gates.answer(encode_message(GetHealth())))
    await turns()
    assert await gates.shut()
    asked_later = asyncio.create_task(gates.answer(encode_message(GetHealth())))
    await turns()
    assert endpoint.taken == [GetHealth(), GetHealth()]
    endpoint.may_end.set()
    assert await asked == await asked_later == b"answer"


async def test_messages_wait_until_the_owner_has_started_and_questions_of_its_process_do_not() -> (
    None
):
    endpoint: Any = Handling()
    endpoint.may_end.set()
    gates = OwnerGates(endpoint, "e0", lambda asked: type(asked).__name__.encode())
    asked = asyncio.create_task(gates.answer(CALLS))
    assert await gates.answer(encode_message(GetLoopState())) == b"GetLoopState"
    assert await gates.answer(encode_message(GetMeters())) == b"GetMeters"
    await turns()
    assert not asked.done()
    gates.open()
    async with asyncio.timeout(LONG_S):
        assert await asked == b"answer"


async def test_an_owner_that_leaves_refuses_and_one_that_was_replaced_answers_nobody() -> None:
    endpoint = Handling()
    gates = gates_of(endpoint)
    asked = asyncio.create_task(gates.answer(CALLS))
    await turns()
    gates.leave()
    with pytest.raises(UnavailableError, match="e0 has ended"):
        await gates.answer(CALLS)
    gates.close()
    endpoint.may_end.set()
    later = asyncio.create_task(gates.answer(CALLS))
    await turns()
    assert not asked.done()
    assert not later.done()
    asked.cancel()
    later.cancel()
