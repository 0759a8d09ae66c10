"""However many events of a source are refused, they cost few writes and few lines of the log."""

import logging
from collections.abc import Collection, Sequence

import pytest

from rillflow.ports.triggers import TriggerEvent, TriggerProgress
from rillflow.runtime.triggers.log_room import MOST_A_MINUTE, LogRoom
from rillflow.runtime.triggers.progress import decode_progress
from rillflow.stores.memory.store import MemoryStore
from tests.loopback import ManualClock
from tests.record_log import RecordLog, RecordReader
from tests.unit.test_trigger_sources import World, a_world, until


class CountingStore(MemoryStore):
    """A store that counts the writes of progress, and knows how many refusals it has."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.refused = 0

    async def note_trigger_progress(self, progress: Sequence[TriggerProgress]) -> None:
        self.writes += 1
        self.refused = max(decode_progress(each.progress).refused for each in progress)
        await super().note_trigger_progress(progress)


class CheckedReader(RecordReader):
    """A reader of one partition that notes which of its records were not stored in time."""

    def __init__(self, log: "CheckedLog") -> None:
        super().__init__(log)
        self._checked = log

    async def acknowledge(self, event: TriggerEvent) -> None:
        """Note it if the store does not have the refusals before it."""
        if self._checked.store.refused < event.position[1] + 1:
            self._checked.late.append(event.key)
        await super().acknowledge(event)


class CheckedLog(RecordLog):
    """A log that is read by such a reader."""

    def __init__(self) -> None:
        super().__init__()
        self.store = CountingStore()
        self.late: list[str] = []

    def open(self, trigger_id: str, settings: object) -> RecordReader:
        del trigger_id, settings
        return CheckedReader(self)


async def refuse(world: World, partitions: Collection[str], count: int) -> None:
    await world.add()
    for each in partitions:
        world.log.partitions[each] += ["the value is no json"] * count
    async with world.runs(clock=ManualClock()):
        await until(lambda: all(world.log.acknowledged[each] == count for each in partitions))


async def test_what_is_refused_together_is_stored_at_once_before_it_is_acknowledged() -> None:
    log, count = CheckedLog(), 200
    async with a_world(log) as world:
        world.store = log.store
        await world.store.open()
        await refuse(world, ["0"], count)
        assert (await world.progress()).refused == count
    assert log.late == []
    assert log.store.writes < count  # two are read at once, and some writes are those of a second


async def test_so_many_of_them_have_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rillflow.triggers")
    async with a_world() as world:
        await refuse(world, ["0", "1"], MOST_A_MINUTE)
        assert (await world.progress()).refused == 2 * MOST_A_MINUTE
    lines = [each for each in caplog.records if each.msg == "trigger_refused"]
    assert len(lines) == MOST_A_MINUTE


def test_each_workspace_has_its_lines_and_new_ones_in_each_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    room = LogRoom(clock)
    for _ in range(3 * MOST_A_MINUTE):
        room.warn("busy", "trigger_refused", trigger="t")
    assert len(caplog.records) == MOST_A_MINUTE
    room.warn("shop", "trigger_refused", trigger="t")
    clock.forward(61)
    room.warn("busy", "trigger_refused", trigger="t")
    assert len(caplog.records) == MOST_A_MINUTE + 2
