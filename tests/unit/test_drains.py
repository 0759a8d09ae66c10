"""Whoever does not finish is asked again soon, says what it waits for, and has its time."""

from typing import Final

from rillflow.runtime.supervision.unfinished_drains import Drains

MOST_S: Final = 60.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_it_is_asked_again_after_pauses_that_grow_until_its_time_is_over() -> None:
    clock = Clock()
    drains = Drains(2.0, 1800.0, now_s=clock)
    asked_at_s = [clock.now_s]
    while not drains.unfinished("d0", ["a call"], MOST_S):
        next_s = drains.next_s()
        assert next_s is not None
        clock.now_s += next_s - 0.1
        assert drains.left_alone() == {"d0"}
        clock.now_s += 0.1
        assert drains.left_alone() == set()
        asked_at_s.append(round(clock.now_s, 1))
    assert asked_at_s == [100.0, 102.0, 106.0, 114.0, 130.0, 160.0]


def test_whoever_has_no_time_is_asked_once() -> None:
    drains = Drains(2.0, 1800.0, now_s=Clock())
    assert drains.unfinished("d0", ["a call"], 0.0)
    assert drains.next_s() is None


def test_whoever_may_take_for_ever_is_never_over() -> None:
    clock = Clock()
    drains = Drains(2.0, 8.0, now_s=clock)
    pauses_s = []
    for _ in range(5):
        assert not drains.unfinished("d0", ["a call"], None)
        pauses_s.append(drains.next_s())
        clock.now_s += pauses_s[-1] or 0.0
    assert pauses_s == [2.0, 4.0, 8.0, 8.0, 8.0]


def test_it_tells_what_each_waits_for_as_long_as_that_is_so() -> None:
    drains = Drains(2.0, 8.0, now_s=Clock())
    drains.unfinished("d0", ["2 calls of e0", "1 answers that e1 has not taken"], MOST_S)
    drains.unfinished("d1", ["a call"], MOST_S)
    told = "d0 waits for 2 calls of e0, 1 answers that e1 has not taken"
    assert drains.causes({"d0", "e0"}) == [told]
    drains.forget("d0")
    assert drains.causes({"d0", "e0"}) == []
    assert drains.left_alone() == {"d1"}


def test_whoever_has_finished_begins_anew() -> None:
    clock = Clock()
    drains = Drains(2.0, 8.0, now_s=clock)
    assert not drains.unfinished("d0", ["a call"], MOST_S)
    drains.forget("d0")
    clock.now_s += MOST_S
    assert not drains.unfinished("d0", ["a call"], MOST_S)
    assert drains.next_s() == 2.0
