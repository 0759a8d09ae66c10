"""Of who sends many requests a few begin in an iteration of the loop, and no others wait for them.

Each iteration of the loop of these tests is one ``asyncio.sleep(0)``; a portion takes as long as
its clock says.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from rillflow.errors import OverloadedError
from serve.limits.request_turns import (
    FALLS_TO,
    LEAST,
    LEAST_OF_PORTION,
    LONG_S,
    LONGEST_REST_S,
    MOST,
    MOST_WAITING,
    OTHERS_S,
    RequestTurns,
    functions_of,
)

PORTION: Final = 3
"""Iterations from one portion to the next: it goes on, it works, and what it took is looked at."""
tasks: set[asyncio.Task[None]] = set()


class Clock:
    """Goes on by so much whenever it is looked at."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self._now_s = 1_000.0

    def __call__(self) -> float:
        self._now_s += self.step_s
        return self._now_s


class Rests:
    """The rests of a loop, which end when a test says so."""

    def __init__(self) -> None:
        self.lasting_s: list[float] = []
        self._after: list[Callable[[], object]] = []

    def call_later(self, delay_s: float, call: Callable[[], object]) -> None:
        self.lasting_s.append(delay_s)
        self._after.append(call)

    async def end(self) -> None:
        after, self._after = self._after, []
        for call in after:
            call()
        await iterations(PORTION)


async def iterations(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def begin_some(turns: RequestTurns, sender: str, most: int = 1_000) -> int:
    """Begin requests until one has to wait, or enough have begun."""
    return next((begun for begun in range(most) if not turns.has_turn(sender)), most)


def have_wait(
    turns: RequestTurns,
    sender: str,
    numbers: Sequence[int],
    went_on: list[int],
    scope: dict[str, Any] | None = None,
) -> None:
    """Have requests of a sender come and wait, and write down which go on."""

    async def take(number: int) -> None:
        turns.came += 1
        await turns.wait(sender, {} if scope is None else scope)
        went_on.append(number)

    for number in numbers:
        tasks.add(asyncio.create_task(take(number)))


async def test_a_sender_begins_so_many_requests_in_an_iteration_and_others_as_many() -> None:
    turns = RequestTurns()
    for _ in range(3):
        assert begin_some(turns, "one") == MOST
        assert begin_some(turns, "other") == MOST
        await iterations(2)


async def test_who_begins_many_in_a_long_iteration_begins_fewer_in_the_next() -> None:
    clock = Clock()
    turns = RequestTurns(clock)
    for expected in (MOST, int(MOST * FALLS_TO), int(MOST * FALLS_TO**2)):
        assert begin_some(turns, "one", expected) == expected
        assert not turns.has_turn("one")
        clock.step_s = 2 * LONG_S
        await iterations(2)
    clock.step_s = 0
    for _ in range(20):
        begin_some(turns, "one")
        await iterations(2)
    assert begin_some(turns, "one") == MOST


async def test_who_begins_few_in_long_iterations_of_others_may_begin_as_many_as_before() -> None:
    turns = RequestTurns(Clock(2 * LONG_S))
    for _ in range(9):
        begin_some(turns, "one", LEAST - 1)
        await iterations(2)
    assert begin_some(turns, "one") == MOST


async def test_those_of_who_is_alone_go_on_without_a_rest_in_their_order() -> None:
    rests = Rests()
    turns, went_on = RequestTurns(Clock(), rests.call_later), list[int]()
    have_wait(turns, "one", range(3 * MOST + 5), went_on)
    await iterations(1)
    assert not turns.has_turn("one")
    for ends in (MOST, 2 * MOST, 3 * MOST, 3 * MOST + 5):
        await iterations(PORTION)
        assert went_on == list(range(ends))
    await iterations(2 * PORTION)
    assert turns.has_turn("one")
    assert not rests.lasting_s


async def test_the_loop_rests_for_as_long_as_a_portion_took_while_others_come() -> None:
    rests = Rests()
    turns, went_on = RequestTurns(Clock(LONG_S / 2), rests.call_later), list[int]()
    have_wait(turns, "one", range(3 * MOST), went_on)
    await iterations(1)
    turns.came += 1
    await iterations(2 * PORTION)
    assert len(went_on) == MOST
    assert rests.lasting_s == pytest.approx([LONG_S / 2])
    await rests.end()
    assert (len(went_on), len(rests.lasting_s)) == (2 * MOST, 2)


async def test_a_rest_is_no_longer_than_others_need() -> None:
    rests = Rests()
    turns, went_on = RequestTurns(Clock(OTHERS_S / 2), rests.call_later), list[int]()
    have_wait(turns, "one", range(3 * MOST), went_on)
    await iterations(1)
    turns.came += 1
    await iterations(PORTION)
    assert rests.lasting_s == [LONGEST_REST_S]


async def test_a_second_after_the_last_request_of_others_it_rests_no_more() -> None:
    rests = Rests()
    clock = Clock(LONG_S / 2)
    turns, went_on = RequestTurns(clock, rests.call_later), list[int]()
    have_wait(turns, "one", range(4 * MOST), went_on)
    await iterations(1)
    turns.came += 1
    await iterations(PORTION)
    clock.step_s = OTHERS_S
    await rests.end()
    await iterations(8 * PORTION)
    assert (len(went_on), len(rests.lasting_s)) == (4 * MOST, 1)


async def test_one_that_waits_for_its_address_and_for_its_workspace_is_no_other() -> None:
    rests = Rests()
    turns, went_on, scope = RequestTurns(Clock(), rests.call_later), list[int](), dict[str, Any]()
    have_wait(turns, "one", range(3 * MOST), went_on)
    await iterations(1)

    async def wait_twice() -> None:
        turns.came += 1
        await turns.wait("one", scope)
        await turns.wait("functions of shop", scope)

    tasks.add(asyncio.create_task(wait_twice()))
    await iterations(8 * PORTION)
    assert len(went_on) == 3 * MOST
    assert not rests.lasting_s


async def test_portions_that_take_long_fall_and_others_grow() -> None:
    rests = Rests()
    clock = Clock(2 * LONG_S)
    turns, went_on = RequestTurns(clock, rests.call_later), list[int]()
    have_wait(turns, "one", range(30 * MOST), went_on)
    await iterations(1)
    sizes = []
    for _ in range(16):
        before = len(went_on)
        await iterations(PORTION)
        sizes.append(len(went_on) - before)
    assert sizes[:3] == [MOST, int(MOST * FALLS_TO), int(MOST * FALLS_TO**2)]
    assert sizes[-1] == LEAST_OF_PORTION
    clock.step_s = 0
    await iterations(35 * PORTION)
    before = len(went_on)
    await iterations(PORTION)
    assert len(went_on) - before == MOST
    assert not rests.lasting_s


async def test_who_sends_little_never_waits_however_much_others_send() -> None:
    turns = RequestTurns(Clock(2 * LONG_S))
    have_wait(turns, "one", range(10 * MOST), [])
    for _ in range(30):
        assert begin_some(turns, "other", LEAST) == LEAST
        await iterations(2)


async def test_each_sender_that_waits_has_its_portion() -> None:
    rests = Rests()
    turns, of_one, of_other = RequestTurns(Clock(), rests.call_later), list[int](), list[int]()
    have_wait(turns, "one", range(3 * MOST), of_one)
    have_wait(turns, "other", range(MOST), of_other)
    await iterations(1 + PORTION)
    assert (len(of_one), len(of_other)) == (MOST, MOST)
    assert not rests.lasting_s


async def test_while_too_many_wait_whoever_has_most_is_refused() -> None:
    turns, went_on = RequestTurns(), list[int]()
    have_wait(turns, "one", range(MOST_WAITING), [])
    await iterations(1)
    with pytest.raises(OverloadedError) as refused:
        await turns.wait("one", {})
    assert refused.value.http_status == 503
    have_wait(turns, "other", [1], went_on)
    await iterations(2 * PORTION)
    assert went_on == [1]


async def test_one_that_waits_no_more_takes_no_turn() -> None:
    rests = Rests()
    turns, went_on = RequestTurns(Clock(), rests.call_later), list[int]()
    gone = asyncio.create_task(turns.wait("one", {}))
    await iterations(1)
    gone.cancel()
    have_wait(turns, "one", range(MOST), went_on)
    await iterations(2 * PORTION)
    assert went_on == list(range(MOST))


def test_functions_are_known_by_their_seal_and_others_by_the_execution_that_they_name() -> None:
    one, other = "shop:order_c_1", "shop:order_c_2"
    assert functions_of(one, is_sealed=True) == functions_of(other, is_sealed=True)
    assert functions_of(one, is_sealed=False) != functions_of(other, is_sealed=False)
    assert functions_of("shop:x_c_1", is_sealed=False) != functions_of("shop:y", is_sealed=True)
