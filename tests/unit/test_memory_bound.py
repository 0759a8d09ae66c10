"""What processes of one machine take together beyond their start is bounded, by workspace."""

import asyncio
import os
from pathlib import Path
from typing import Final

import pytest

from rillflow.runtime.process.memory_bound import FRESH_S, LONGEST_WAIT_S, MemoryBound
from tests.loopback import ManualClock

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MOST: Final = 100


class Machine:
    """Processes by their numbers, whose memory a test sets, in pages."""

    def __init__(self, folder: Path) -> None:
        self._proc, self._notes = folder / "proc", folder / "notes"
        self._number = 0
        self.clock = ManualClock()

    def process(self, workspace: str, pages: int = 10) -> "Process":
        """Start a process."""
        self._number += 1
        bound = MemoryBound(
            self._notes,
            workspace,
            MOST * PAGE,
            proc=self._proc,
            clock_s=self.clock.monotonic_s,
        )
        process = Process(self._proc, self._number, bound)
        process.takes(pages)
        bound.begin(self._number)
        return process

    def noted(self) -> set[str]:
        """Return the processes that are noted."""
        return {each.name for each in self._notes.iterdir() if each.name.isdecimal()}

    def reached(self, *processes: "Process") -> list[bool]:
        """Ask processes, which measure anew."""
        self.clock.forward(FRESH_S)
        return [each.bound.is_reached for each in processes]


class Process:
    """One of the processes."""

    def __init__(self, proc: Path, number: int, bound: MemoryBound) -> None:
        self._file = proc / str(number) / "stat"
        self._number = number
        self.bound = bound

    def takes(self, pages: int, start: int = 7) -> None:
        """Set what it has in RAM, and when it started."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fields = ["S", *["0"] * 18, str(start), "0", str(pages), "0"]
        self._file.write_text(f"{self._number} (ray::A (b) c) {' '.join(fields)}\n")

    def ends(self) -> None:
        """End it."""
        self._file.unlink()


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_reached_while_all_have_room(machine: Machine) -> None:
    first, second = machine.process("a", 1_000), machine.process("a", 1_000)
    first.takes(1_050)
    second.takes(1_050)
    assert machine.reached(first, second) == [False, False], "as many as there may be"
    second.takes(1_051)
    assert machine.reached(first, second) == [True, True]


def test_a_workspace_that_has_no_more_than_an_equal_part_keeps_it(machine: Machine) -> None:
    greedy = [machine.process("a") for _ in range(20)]
    modest = machine.process("b")
    for each in greedy:
        each.takes(110)
    modest.takes(60)
    assert machine.reached(*greedy, modest) == [True] * 20 + [False]
    modest.takes(61)
    assert machine.reached(modest) == [True]


def test_processes_that_have_left_are_forgotten(machine: Machine) -> None:
    first, second, third = (machine.process("a") for _ in range(3))
    for each in (second, third):
        each.takes(200)
    assert machine.reached(first) == [True]
    second.ends()
    third.takes(200, start=8)  # another process has its number
    assert machine.reached(first) == [False]
    assert machine.noted() == {"1"}


def test_what_was_measured_is_fresh_for_a_while(machine: Machine) -> None:
    process = machine.process("a")
    assert machine.reached(process) == [False]
    process.takes(1_000)
    assert not process.bound.is_reached
    assert machine.reached(process) == [True]


async def test_who_wants_room_waits_until_there_is_some(machine: Machine) -> None:
    large, waiting = await _waiting_beside_a_large_one(machine)
    large.takes(20)
    machine.clock.forward(FRESH_S)
    await waiting


async def test_who_waits_in_vain_goes_on_after_a_while(machine: Machine) -> None:
    _, waiting = await _waiting_beside_a_large_one(machine)
    machine.clock.forward(LONGEST_WAIT_S)
    await waiting


async def test_those_of_a_workspace_read_one_after_the_other(machine: Machine) -> None:
    first, second, other = (machine.process(each) for each in "aab")
    async with first.bound.room():
        waiting = asyncio.create_task(_reads(second))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        await _reads(other)
        assert not waiting.done()
    await waiting


async def _waiting_beside_a_large_one(machine: Machine) -> tuple[Process, asyncio.Task[None]]:
    """Begin to read in a process that has no room, since another one takes much."""
    large, other = machine.process("a"), machine.process("a")
    large.takes(1_000)
    machine.clock.forward(FRESH_S)
    waiting = asyncio.create_task(_reads(other))
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    return large, waiting


async def _reads(process: Process) -> None:
    async with process.bound.room():
        pass


@pytest.mark.parametrize("most_bytes", [None, 0])
async def test_what_cannot_be_measured_is_not_bounded(
    tmp_path: Path, most_bytes: int | None
) -> None:
    folder = tmp_path / "absent" / "notes" if most_bytes == 0 else tmp_path
    bound = MemoryBound(folder, "a", most_bytes)
    bound.begin()
    assert not bound.is_reached
    async with bound.room():
        assert not bound.is_reached
