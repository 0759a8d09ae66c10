"""Of very many processes that compute, as many do at a time as the machine has processors."""

import asyncio
from pathlib import Path

from rillflow.ports.executions import Query
from rillflow.runtime.aio.fair_turns import LIGHT_TURNS, TURN_S
from rillflow.runtime.owner.dedicated_turns import DedicatedTurns
from rillflow.runtime.process.processor_slot import (
    HOLD_S,
    NEXT_POLL_S,
    POLL_S,
    ProcessorSlot,
)
from tests.loopback import ManualClock


class Machine:
    """Processes of one machine, which has two slots."""

    def __init__(self, folder: Path, slots: int = 2) -> None:
        self._folder, self._slots = folder, slots
        self.clock = ManualClock()

    def process(self, workspace: str = "a") -> ProcessorSlot:
        return ProcessorSlot(
            self._folder, workspace, slots=self._slots, clock_s=self.clock.monotonic_s
        )


def test_as_many_compute_as_there_are_slots(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "computing")
    processes = [machine.process() for _ in range(8)]
    assert [each.take() for each in processes].count(True) == 2
    assert [each.take() for each in processes].count(True) == 2
    processes[0].give_back()
    assert [each.take() for each in processes[1:]].count(True) == 2


def test_each_comes_to_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    processes = [machine.process() for _ in range(8)]
    had = set[int]()
    for _ in range(20):
        had |= {number for number, each in enumerate(processes) if each.take()}
        machine.clock.forward(HOLD_S)
    assert len(had) == len(processes)


def test_a_process_that_nobody_waits_for_keeps_its_slot(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    process = machine.process()
    for _ in range(5):
        assert process.take()
        machine.clock.forward(HOLD_S)


def test_a_workspace_waits_for_one_process_of_each_other(tmp_path: Path) -> None:
    machine = Machine(tmp_path, slots=1)
    many = [machine.process("a") for _ in range(8)]
    assert many[0].take()
    assert not any(each.take() for each in many[1:])
    other = machine.process("b")
    assert not other.take()
    machine.clock.forward(HOLD_S)
    assert not many[0].take()  # one of its workspace is next
    assert many[1].take()
    assert not other.take()  # and it is next now
    assert not any(each.take() for each in (many[0], *many[2:]))
    machine.clock.forward(HOLD_S)
    assert not many[1].take()
    assert other.take()


def test_the_next_one_asks_more_often(tmp_path: Path) -> None:
    machine = Machine(tmp_path, slots=1)
    first, second, third = (machine.process() for _ in range(3))
    assert first.take()
    assert not second.take()
    assert not third.take()
    assert (second.pause_s, third.pause_s) == (NEXT_POLL_S, POLL_S)


def test_without_a_folder_nothing_waits(tmp_path: Path) -> None:
    assert all(ProcessorSlot(None, "a", slots=1).take() for _ in range(3))
    file = tmp_path / "file"
    file.touch()
    assert all(ProcessorSlot(file, "a", slots=1).take() for _ in range(3))


async def test_what_fills_more_than_a_turn_waits_for_a_slot(tmp_path: Path) -> None:
    machine = Machine(tmp_path, slots=1)
    other = machine.process()
    assert other.take()
    now_s = machine.clock.monotonic_s
    turns = DedicatedTurns(machine.process(), now_s, now_s)
    call = Query(execution_id="a:flow_c_1", kind="brief")

    def compute(seconds: float) -> None:
        turns.take([call], lambda _: machine.clock.forward(seconds), whole=True)

    compute(TURN_S / 5)
    assert not turns.is_full
    await turns.wait(call.execution_id)  # it needs none
    compute(TURN_S * 2)
    waiting = asyncio.create_task(turns.wait(call.execution_id))
    await asyncio.wait([waiting], timeout=4 * POLL_S)
    assert not waiting.done()
    other.give_back()
    await waiting
    for _ in range(2 * LIGHT_TURNS):
        await asyncio.sleep(0)
    assert other.take()  # it has given it back
