"""Large executions are archived alone, by what is made while it is written; removals rest."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rillflow.runtime.archived import LARGE_BYTES
from rillflow.runtime.retention import PAUSE_S
from rillflow.stores.archive import Archive
from tests.unit.kept_executions import DAY_S, FullArchive, HoledStore, House, lines_in, open_house


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened


async def test_a_large_execution_is_archived_alone_by_what_is_made_while_it_is_written(
    house: House,
) -> None:
    ids = await house.work(2)
    long = await house.submit("work")
    house.clock.forward(1)
    await house.finish(long, b'{"said": "%b"}' % (b"x" * LARGE_BYTES))
    ids += [long, *await house.work(1)]
    house.clock.forward(DAY_S)
    archive = FullArchive(9)
    assert await house.retention(keep_s=60, archive=archive).sweep() == 4
    assert archive.appends == [1, 3], "the large one, and all others together"
    by_id = {json.loads(line)["execution_id"]: line for line in archive.lines}
    assert set(by_id) == set(ids)
    assert [each for each in ids if len(by_id[each]) > LARGE_BYTES] == [long]
    assert await house.stored() == set()


async def test_a_large_execution_that_cannot_be_read_to_its_end_does_not_stop_the_others(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await house.work(3)
    assert isinstance(house.store, HoledStore)
    house.store.torn = {ids[1]}
    house.clock.forward(DAY_S)
    retention = house.retention(keep_s=60, archive=Archive(tmp_path))
    assert await retention.sweep() == 2
    assert retention.archive_error == ""
    assert [line["execution_id"] for line in lines_in(tmp_path)] == [ids[0], ids[2]]
    assert await house.stored() == {ids[1]}
    [told] = [record for record in caplog.records if record.message == "not_archived"]
    assert getattr(told, "execution_id", None) == ids[1]


async def test_what_remains_of_a_removal_goes_first_with_rests_as_long_as_it_took(
    house: House,
) -> None:
    assert isinstance(house.store, HoledStore)
    house.store.remains = [(house.clock, took_s) for took_s in (0.3, 0.0, 2.0)]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    assert await house.retention(keep_s=60, sleep=sleep).sweep() == 0
    assert slept == pytest.approx([0.3, PAUSE_S, 2.0])
    assert house.store.remains == []
