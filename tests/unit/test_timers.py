"""Timers fire when they are due by steady time, whatever the wall clock does meanwhile."""

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest

from rillflow.core.agenda import REMAINING
from rillflow.ids import ExecutionId, TaskName
from rillflow.runtime.commands.timers import Timer, Timers
from tests.simulation.faults import FAIR
from tests.simulation.surroundings import SimulatedClock, Surroundings

MANY: Final = 1000
WAIT_S: Final = 600.0
HOUR_S: Final = 3600.0
LATE_S: Final = 0.2


class Bench:
    """Timers on virtual time, with a wall clock that may be set wrong."""

    def __init__(self) -> None:
        self._around = Surroundings(1, FAIR)
        self.loop = self._around.loop
        self.wrong_by_s = 0.0
        self.clock = SimulatedClock(self.loop, lambda: self.wrong_by_s)
        self.fired: list[tuple[str, float]] = []
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.timers = Timers(self.clock, self._fire, lambda _timer, _error: None)
        self.timers.start()

    async def _fire(self, due: list[Timer]) -> None:
        for gate in {
            self.gates[timer.execution_id] for timer in due if timer.execution_id in self.gates
        }:
            await gate.wait()
        self.fired += [(timer.execution_id, self.loop.time()) for timer in due]

    def pass_s(self, seconds: float) -> None:
        self.loop.run_until_complete(self._around.pause(seconds, seconds))

    def timer(self, name: str, after_s: float, kind: str = "timeout") -> Timer:
        due_ms = self.clock.now_ms() + round(after_s * 1000)
        return Timer(due_ms, ExecutionId(name), kind, TaskName("a"))

    def due(self, *names: str, kind: str = "timeout") -> None:
        """Have a timer come due now for each of these executions."""
        for name in names:
            self.timers.set(self.timer(name, 0, kind), after_s=0)

    def set_many(self) -> None:
        """Set timers of both kinds, one of each kind for every 100 ms."""
        for number in range(MANY):
            after_s = WAIT_S + number / 10
            self.timers.set(self.timer(f"new {number}", after_s), after_s=after_s)
            restored = self.timer(f"restored {number}", after_s)
            self.timers.restore(restored, at_most_s=HOUR_S)

    def check_times(self) -> None:
        """Check that each of them has fired once, when it was due."""
        assert len(self.fired) == len(dict(self.fired)) == 2 * MANY
        for name, at_s in self.fired:
            late_s = at_s - WAIT_S - int(name.split()[1]) / 10
            # Milliseconds are whole.
            assert -0.001 <= late_s <= LATE_S, name


@pytest.fixture(name="bench")
def _bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.loop.run_until_complete(bench.timers.stop())


def test_a_clock_that_jumps_ahead_fires_neither_new_nor_restored_timers(bench: Bench) -> None:
    bench.set_many()
    bench.pass_s(WAIT_S / 2)
    bench.wrong_by_s = HOUR_S
    bench.pass_s(WAIT_S / 2 - 1)
    assert bench.fired == []
    bench.pass_s(MANY / 10 + 2)
    bench.check_times()


def test_a_clock_that_jumps_back_freezes_neither_new_nor_restored_timers(bench: Bench) -> None:
    bench.set_many()
    bench.pass_s(WAIT_S / 2)
    bench.wrong_by_s = -HOUR_S
    bench.pass_s(WAIT_S / 2 + MANY / 10 + 1)
    bench.check_times()


def test_a_timer_that_is_restored_by_a_wrong_clock_waits_no_longer_than_it_was_set_for(
    bench: Bench,
) -> None:
    timer = bench.timer("a", WAIT_S)
    bench.wrong_by_s = -HOUR_S
    bench.timers.restore(timer, at_most_s=WAIT_S)
    bench.pass_s(WAIT_S - 1)
    assert bench.fired == []
    bench.pass_s(2)
    assert bench.fired == [("a", WAIT_S)]


def test_a_timer_that_was_due_while_nobody_lived_fires_at_once(bench: Bench) -> None:
    timer = bench.timer("a", WAIT_S)
    bench.pass_s(2 * WAIT_S)
    bench.timers.restore(timer, at_most_s=WAIT_S)
    bench.pass_s(LATE_S)
    assert bench.fired == [("a", 2 * WAIT_S)]


def test_a_timer_that_is_set_while_a_later_one_waits_fires_first(bench: Bench) -> None:
    bench.timers.set(bench.timer("late", 20), after_s=20)
    bench.pass_s(1)
    bench.timers.set(bench.timer("soon", 2), after_s=2)
    bench.pass_s(30)
    assert bench.fired == [("soon", 3), ("late", 20)]


def test_a_workspace_whose_timers_take_long_to_fire_holds_up_no_other(bench: Bench) -> None:
    bench.gates["slow:a_c_1"] = asyncio.Event()
    bench.due("slow:a_c_1", "other:a_c_1")
    bench.pass_s(1)
    bench.due("slow:a_c_2", "other:a_c_2")
    bench.pass_s(1)
    assert [name for name, _ in bench.fired] == ["other:a_c_1", "other:a_c_2"]
    bench.gates["slow:a_c_1"].set()
    bench.pass_s(1)
    assert [name for name, _ in bench.fired[2:]] == ["slow:a_c_1", "slow:a_c_2"]


def test_an_execution_that_goes_on_waits_for_no_other_of_its_workspace(bench: Bench) -> None:
    bench.gates["wide:a_c_1"] = asyncio.Event()
    bench.due("wide:a_c_1", "wide:a_c_2", kind=REMAINING)
    bench.due("wide:a_c_3")
    bench.pass_s(1)
    assert sorted(name for name, _ in bench.fired) == ["wide:a_c_2", "wide:a_c_3"]
    bench.gates["wide:a_c_1"].set()
    bench.pass_s(1)
    assert bench.fired[2][0] == "wide:a_c_1"


def test_timers_that_are_due_together_are_fired_together(bench: Bench) -> None:
    bench.due(*(f"w:a_c_{number}" for number in range(50)))
    bench.pass_s(1)
    assert len({at_s for _, at_s in bench.fired}) == 1
    assert len(bench.fired) == 50
