"""A busy dispatcher has others make some of its calls, and takes them back when all is quiet."""

from itertools import groupby
from typing import Final

import pytest

from rillflow.runtime.dispatch.load_sharing import BUSY, CALM, MOST, RUN, LoadSharing

LOOKS: Final = 100
HERE_S: Final = 70e-6
"""Processor time of a call that is made here."""
PASSED_ON_S: Final = 33e-6
THERE_S: Final = 60e-6
"""Of a call that is passed on: of the dispatcher that does so, and of the other one."""


class Load:
    """Two dispatchers, the first of which is asked for so many calls in each second."""

    def __init__(self, calls_per_s: float, others_own: float = 0.0) -> None:
        self.calls_per_s = calls_per_s
        self.others_own = others_own
        self.sharing = LoadSharing(1)

    def look(self) -> tuple[float, float]:
        """Look once; return how busy both were."""
        part = self.sharing.part
        own = self.calls_per_s * ((1 - part) * HERE_S + part * PASSED_ON_S)
        other = self.others_own + self.calls_per_s * part * THERE_S
        self.sharing.look(min(own, 1.0), [min(other, 1.0)])
        return own, other

    def settle(self) -> list[float]:
        """Look many times; return the parts of the last looks."""
        for _ in range(LOOKS):
            self.look()
        parts = []
        for _ in range(10):
            self.look()
            parts.append(self.sharing.part)
        return parts


@pytest.mark.parametrize("calls_per_s", [0, 100, 4_000, 8_000])
def test_who_is_not_busy_makes_all_calls(calls_per_s: float) -> None:
    load = Load(calls_per_s)
    assert load.settle() == [0] * 10
    assert load.sharing.is_alone


@pytest.mark.parametrize("calls_per_s", [9_000, 12_000, 14_000, 18_000, 22_000])
def test_two_share_so_that_neither_has_too_much_and_the_part_stays(calls_per_s: float) -> None:
    load = Load(calls_per_s)
    parts = load.settle()
    own, other = load.look()
    assert 0 < max(parts) <= MOST
    assert max(parts) - min(parts) <= 0.11, "the part does not swing"
    alone = calls_per_s * HERE_S
    assert max(own, other) < alone
    assert own <= BUSY or abs(own - other) < 0.3


def test_another_one_that_is_as_busy_gets_nothing() -> None:
    load = Load(14_000, others_own=0.9)
    assert max(load.settle()) == 0


def test_calls_come_back_when_the_load_is_over() -> None:
    load = Load(20_000)
    load.settle()
    assert not load.sharing.is_alone
    load.calls_per_s = 1_000
    for _ in range(int(MOST / 0.1) + 1):
        load.look()
    assert load.sharing.is_alone


def test_between_busy_and_calm_nothing_changes() -> None:
    sharing = LoadSharing(1)
    sharing.look(1.0, [0.0])
    before = sharing.part
    sharing.look((BUSY + CALM) / 2, [0.1])
    assert sharing.part == before > 0


def test_one_that_cannot_be_asked_gets_no_more_calls() -> None:
    sharing = LoadSharing(2)
    for _ in range(3):
        sharing.look(1.0, [0.0, 0.0])
    sharing.look(1.0, [None, 0.0])
    assert {sharing.choose() for _ in range(1000)} == {None, 1}
    sharing.look(1.0, [None, None])
    assert sharing.is_alone


def test_some_calls_are_always_made_here() -> None:
    sharing = LoadSharing(5)
    for _ in range(LOOKS):
        sharing.look(1.0, [0.0] * 5)
    assert sharing.part == pytest.approx(MOST)
    chosen = [sharing.choose() for _ in range(1000 * RUN)]
    assert 99 * RUN <= chosen.count(None) <= 105 * RUN
    assert all(175 * RUN <= chosen.count(index) <= 185 * RUN for index in range(5))


def test_the_same_one_makes_many_calls_one_after_another() -> None:
    sharing = LoadSharing(1)
    for _ in range(5):
        sharing.look(1.0, [0.0])
    runs = [len(list(run)) for _, run in groupby(sharing.choose() for _ in range(100 * RUN))]
    assert set(runs) == {RUN}


@pytest.mark.parametrize("calls", [1, 7, 20, RUN, 10 * RUN])
def test_the_part_of_the_calls_holds_for_orders_of_every_size(calls: int) -> None:
    sharing = LoadSharing(2)
    for busy in (0.0, 0.0, 0.9):
        sharing.look(1.0, [0.0, busy])
    orders = [sharing.choose(calls) for _ in range(10_000)]
    assert sharing.part == pytest.approx(0.5)
    assert orders.count(0) == pytest.approx(3_000, abs=RUN)
    assert orders.count(1) == pytest.approx(2_000, abs=RUN)
