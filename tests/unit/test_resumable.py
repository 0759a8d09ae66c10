"""A computation that takes long is interrupted at a checkpoint, and goes on where it was."""

import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Final

import pytest

from rillflow.runtime.aio.resumable import Interrupted, ResumableWork

MARK: Final[ContextVar[str]] = ContextVar("mark", default="none")


class Clock:
    """A clock that only computations move."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.work = ResumableWork(lambda: self.now_s, longest_s=1.0)

    def counting(self, count: int, seen: list[str], name: str = "") -> Callable[[], int]:
        def compute() -> int:
            for number in range(count):
                seen.append(f"{name}{number}")
                self.now_s += 0.5
                self.work.checkpoint(f"at {number}")
            return count

        return compute

    def begun(self, count: int, seen: list[str], name: str = "") -> Interrupted[int]:
        begun = self.work.run(self.counting(count, seen, name))
        assert isinstance(begun, Interrupted)
        return begun


def test_a_short_computation_returns_at_once() -> None:
    clock, seen = Clock(), list[str]()
    assert clock.work.run(clock.counting(1, seen)) == 1
    assert seen == ["0"]


class _Much:
    """What a computation was given, or has made."""


@pytest.mark.parametrize("is_long", [False, True])
def test_nothing_of_what_was_computed_is_kept(*, is_long: bool) -> None:
    clock, given, made = Clock(), _Much(), _Much()
    refs = [weakref.ref(given), weakref.ref(made)]

    def compute(_: _Much, made: _Much) -> _Much:
        clock.now_s += 2 * is_long
        clock.work.checkpoint("")
        return made

    outcome = clock.work.run(partial(compute, given, made))
    if isinstance(outcome, Interrupted):
        assert list(outcome.rest()) == []
        assert outcome.outcome() is made
    else:
        assert outcome is made
    del outcome, given, made
    assert [each() for each in refs] == [None, None]


def test_a_long_one_is_interrupted_and_goes_on_where_it_was() -> None:
    clock, seen = Clock(), list[str]()
    begun = clock.begun(5, seen)
    assert (begun.about, seen, begun.is_over) == ("at 1", ["0", "1"], False)
    rest = begun.rest()
    next(rest)
    assert (begun.about, seen) == ("at 3", ["0", "1", "2", "3"])
    assert list(rest) == []
    assert (begun.outcome(), begun.is_over) == (5, True)
    assert seen == ["0", "1", "2", "3", "4"]


def test_others_compute_while_one_is_interrupted() -> None:
    clock, seen = Clock(), list[str]()
    first, second = clock.begun(3, seen, "a"), clock.begun(3, seen, "b")
    assert clock.work.run(clock.counting(1, seen, "c")) == 1
    assert list(second.rest()) == list(first.rest()) == []
    assert seen == ["a0", "a1", "b0", "b1", "c0", "b2", "a2"]
    assert first.outcome() == second.outcome() == 3


def test_it_is_left_where_there_is_no_more_room() -> None:
    clock, seen = Clock(), list[str]()
    begun = clock.begun(9, seen)
    rooms = iter([True, False])
    assert len(list(begun.rest(lambda: next(rooms)))) == 1
    assert (begun.is_over, len(seen)) == (False, 4)
    assert len(list(begun.rest())) == 2
    assert begun.outcome() == 9


def test_an_error_is_raised_to_whoever_goes_on_and_concerns_no_other() -> None:
    clock, seen = Clock(), list[str]()

    def fail() -> int:
        clock.counting(3, seen)()
        raise ValueError("no")

    begun = clock.work.run(fail)
    assert isinstance(begun, Interrupted)
    with pytest.raises(ValueError, match="no"):
        list(begun.rest())
    with pytest.raises(ValueError, match="now"):
        clock.work.run(_fail_now)
    assert clock.work.run(clock.counting(1, seen)) == 1


def _fail_now() -> None:
    raise ValueError("now")


def test_outside_of_a_computation_a_checkpoint_does_nothing() -> None:
    clock, seen = Clock(), list[str]()
    begun = clock.begun(3, seen)
    assert clock.counting(5, [])() == 5
    assert seen == ["0", "1"]
    list(begun.rest())
    assert begun.outcome() == 3


def test_one_that_nobody_goes_on_with_is_unwound() -> None:
    clock, ended = Clock(), list[str]()

    def compute() -> None:
        try:
            clock.counting(5, [])()
        finally:
            ended.append("unwound")

    begun = clock.work.run(compute)
    assert isinstance(begun, Interrupted)
    del begun
    assert ended == ["unwound"]


def test_a_computation_has_the_context_of_whoever_begins_it() -> None:
    clock = Clock()
    token = MARK.set("mine")
    try:
        assert clock.work.run(MARK.get) == "mine"
    finally:
        MARK.reset(token)
    assert clock.work.run(MARK.get) == "none"


def test_a_generator_may_be_left_in_the_middle() -> None:
    clock = Clock()

    def numbers() -> Iterator[int]:
        for number in range(4):
            clock.now_s += 0.5
            clock.work.checkpoint(number)
            yield number

    begun = clock.work.run(lambda: list(numbers()))
    assert isinstance(begun, Interrupted)
    list(begun.rest())
    assert begun.outcome() == [0, 1, 2, 3]
