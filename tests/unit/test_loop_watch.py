"""What holds an event loop is measured, counted, and logged with where it was."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from rillflow.ports.loops import LoopState, decode_loop, encode_loop
from rillflow.runtime.process.loop_watch import MINUTE_S, QUIET_S, SLOW_S, TICK_S, LoopWatch

EVENT = "event_loop_held"


class Times:
    """Clocks that are moved by hand: of time, and of the thread's processor time."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.cpu_s = 0.0
        self.others_s = 0.0

    def clock_s(self) -> float:
        return self.now_s

    def thread_s(self) -> float:
        return self.cpu_s

    def process_s(self) -> float:
        return self.cpu_s + self.others_s


class Watched:
    """A watch whose timer comes when a test says so."""

    def __init__(self) -> None:
        self.times = Times()
        self.watch = LoopWatch(
            "test",
            clock_s=self.times.clock_s,
            cpu_s=self.times.thread_s,
            process_cpu_s=self.times.process_s,
        )

    def turn(self, held_s: float, *, cpu_s: float | None = None, others_s: float = 0.0) -> None:
        """Let the timer come so much too late, after so much was computed, and by others."""
        self.times.others_s += others_s
        self.times.now_s += TICK_S + held_s
        self.times.cpu_s += held_s if cpu_s is None else cpu_s
        self.watch.tick()

    @property
    def state(self) -> LoopState:
        return self.watch.state()


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    made.watch.start()
    try:
        yield made
    finally:
        made.watch.stop()


async def test_the_longest_turn_is_kept_for_ever_and_that_of_a_minute_for_a_minute() -> None:
    async with watched() as made:
        assert made.state == LoopState(process="test", pid=os.getpid())
        for held_s in (0.001, 0.03, 0.002):
            made.turn(held_s)
        assert (made.state.longest_ms, made.state.longest_of_minute_ms) == (30.0, 30.0)
        made.times.now_s += MINUTE_S
        assert (made.state.longest_ms, made.state.longest_of_minute_ms) == (30.0, 0.0)
        assert made.state.slow_turns == 0


async def test_a_timer_that_comes_too_early_held_nothing() -> None:
    async with watched() as made:
        made.turn(-0.01)
        assert made.state.longest_ms == 0


async def test_slow_turns_are_counted_all_and_logged_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watched() as made:
        for _ in range(3):
            made.turn(SLOW_S * 2)
        assert made.state.slow_turns == 3
        [line] = caplog.records
        assert (line.message, line.levelno) == (EVENT, logging.WARNING)
        assert vars(line)["held_ms"] == vars(line)["cpu_ms"] == 100.0
        assert (vars(line)["loop"], vars(line)["slow_turns"]) == ("test", 1)
        made.times.now_s += QUIET_S
        made.turn(SLOW_S * 2)
        # The clock stood still for the timer too: this turn was long.
        assert vars(caplog.records[-1])["slow_turns"] == 3


async def test_a_machine_that_is_busy_with_others_is_counted_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watched() as made:
        made.turn(1.0, cpu_s=0.01)
        assert made.state.slow_turns == 1
        assert not caplog.records


async def test_a_hold_that_other_threads_computed_through_is_logged_with_their_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watched() as made:
        made.turn(0.3, cpu_s=0.001, others_s=0.29)
        [line] = caplog.records
        assert (line.message, vars(line)["cpu_ms"]) == (EVENT, 1.0)
        assert vars(line)["other_threads_cpu_ms"] == 290.0


async def test_threads_that_computed_for_a_part_of_a_hold_do_not_explain_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watched() as made:
        made.turn(1.0, cpu_s=0.01, others_s=0.6)
        made.turn(0.06, cpu_s=0.03, others_s=0.04)
        assert made.state.slow_turns == 2
        assert not caplog.records


async def test_a_thread_that_does_not_let_go_of_the_interpreter_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = LoopWatch("real")
    watch.start()
    text = b"[%s[]]" % (b"[]," * 2_000_000)
    told: list[dict[str, object]] = []
    try:
        async with asyncio.timeout(60):
            while not told:  # on a busy machine, others may have held the loop instead
                await asyncio.to_thread(msgspec.json.decode, text)
                for _ in range(3):  # the timer is overdue
                    await asyncio.sleep(0)
                told = [vars(line) for line in caplog.records if line.message == EVENT]
    finally:
        watch.stop()
    assert watch.state().slow_turns >= 1
    assert any(each["other_threads_cpu_ms"] > each["cpu_ms"] for each in told)  # type: ignore[operator]


def hold_the_loop(seconds: float) -> None:
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


async def test_what_holds_a_real_loop_is_measured_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = LoopWatch("real", cpu_s=time.perf_counter, process_cpu_s=time.perf_counter)
    watch.start()
    try:
        hold_the_loop(0.5)
        for _ in range(3):  # the timer is overdue
            await asyncio.sleep(0)
    finally:
        watch.stop()
    assert watch.state().longest_ms >= 500 - TICK_S * 1000
    assert watch.state().slow_turns >= 1
    shown = [vars(line)["at"] for line in caplog.records if "at" in vars(line)]
    assert any("hold_the_loop" in place for place in shown)


def test_a_state_travels_between_processes() -> None:
    state = LoopState(process="rillflow:execution:0", pid=7, longest_ms=12.5, slow_turns=2)
    assert decode_loop(encode_loop(state)) == state
