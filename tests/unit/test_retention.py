"""Ended executions are kept as long, and as many, as the settings say; then they are archived."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rillflow.artifacts.references import ArtifactReference
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.ids import ExecutionId
from rillflow.runtime.retention import LEAST_AGE_S, MOST_AT_ONCE
from rillflow.stores.archive import Archive, Line
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.metrics import ARCHIVE_FAILURES
from tests.loopback import NOW_MS
from tests.unit.kept_executions import DAY_S, FullArchive, HoledStore, House, lines_in, open_house


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened


async def test_what_ended_long_ago_goes_and_what_runs_stays(house: House) -> None:
    await house.work(3)
    running = await house.submit("work")
    house.clock.forward(DAY_S)
    young = await house.work(2)
    assert await house.retention(keep_s=DAY_S).sweep() == 3
    assert await house.stored() == {running, *young}
    assert await house.retention(keep_s=DAY_S).sweep() == 0
    house.clock.forward(2 * DAY_S)
    assert await house.retention(keep_s=DAY_S).sweep() == 2
    await house.finish(running)
    assert await house.stored() == {running}


async def test_more_than_so_many_ended_ones_are_not_kept(house: House) -> None:
    ids = await house.work(130)
    house.clock.forward(LEAST_AGE_S)
    assert await house.retention(keep_count=5).sweep() == 125
    assert await house.stored() == set(ids[-5:])


async def test_both_limits_hold_at_once(house: House) -> None:
    await house.work(3)
    house.clock.forward(DAY_S)
    ids = await house.work(4)
    house.clock.forward(LEAST_AGE_S)
    assert await house.retention(keep_s=DAY_S, keep_count=2).sweep() == 5
    assert await house.stored() == set(ids[-2:])


async def test_one_list_is_enough_for_many_transactions(house: House) -> None:
    await house.work(MOST_AT_ONCE + 5)
    house.clock.forward(LEAST_AGE_S)
    assert await house.retention(keep_count=2).sweep() == MOST_AT_ONCE + 3
    assert isinstance(house.store, HoledStore)
    # With all of them, and without any.
    assert house.store.lists == 2


async def test_without_limits_everything_is_kept(house: House) -> None:
    await house.work(2)
    house.clock.forward(1_000 * DAY_S)
    retention = house.retention()
    await retention.run()
    assert await retention.sweep() == 0
    assert len(await house.stored()) == 2


async def test_what_has_just_ended_is_kept_whatever_the_limits(house: House) -> None:
    await house.work(2)
    house.clock.forward(LEAST_AGE_S - 0.5)
    assert await house.retention(keep_s=0, keep_count=0).sweep() == 1
    house.clock.forward(2)
    assert await house.retention(keep_s=0, keep_count=0).sweep() == 1


async def test_a_clock_that_jumps_ahead_makes_nothing_older(house: House) -> None:
    retention = house.retention(keep_s=DAY_S)
    await house.work(2)
    house.clock.wrong_by_s = 2 * DAY_S
    assert await retention.sweep() == 0
    house.clock.forward(DAY_S + 1)
    assert await retention.sweep() == 2


async def test_a_sub_flow_is_kept_until_its_parent_has_ended(house: House) -> None:
    parent = await house.submit("above")
    child = await house.gateway.called.get()
    await house.finish(child)
    assert await house.gateway.called.get() == parent
    house.clock.forward(DAY_S)
    assert await house.retention(keep_s=60).sweep() == 0
    assert await house.stored() == {parent, child}
    await house.finish(parent)
    house.clock.forward(DAY_S)
    assert await house.retention(keep_s=60).sweep() == 2
    assert await house.stored() == set()


async def test_a_purged_execution_frees_its_idempotency_key(house: House) -> None:
    first = await house.submit("work", "key")
    assert await house.submit("work", "key") == first
    await house.finish(first)
    house.clock.forward(DAY_S)
    await house.retention(keep_s=60).sweep()
    second = await house.submit("work", "key")
    assert second != first
    assert await house.stored() == {second}


async def test_every_purged_execution_is_a_line_of_the_days_file(
    house: House, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "archive"
    retention = house.retention(keep_s=60, archive=Archive(folder))
    ids = []
    for _ in range(2):
        ids += await house.work(2)
        house.clock.forward(DAY_S)
        await retention.sweep()
    lines = list(lines_in(folder))
    assert [line["execution_id"] for line in lines] == ids
    assert len(list(folder.iterdir())) == 2
    day = datetime.fromtimestamp(house.clock.now_ms() / 1000, UTC).date()
    assert (folder / f"executions-{day}.jsonl").exists()
    first = lines[0]
    assert (first["business"], first["feature"], first["status"]) == ("house", "work", "succeed")
    assert first["finished_at_ms"] == NOW_MS + 1000
    assert first["state"]["tasks"]["do"]["invoke"]["output"] == {"said": "ja"}
    assert first["records"] == []


class ClumsyArchive:
    """An archive that meets an accident nobody has foreseen, once."""

    def __init__(self) -> None:
        self.accidents = 0
        self.has_lines = asyncio.Event()

    async def append(self, lines: Iterable[Line], *, at_ms: int) -> None:
        if not self.accidents:
            self.accidents += 1
            raise RuntimeError(f"{len(list(lines))} lines at {at_ms}")
        self.has_lines.set()


async def test_an_accident_in_one_sweep_is_not_the_last_sweep(house: House) -> None:
    await house.work()
    house.clock.forward(DAY_S)
    archive = ClumsyArchive()
    sweeping = asyncio.create_task(house.retention(keep_s=60, archive=archive).run(every_s=0))
    async with asyncio.timeout(60):
        await archive.has_lines.wait()
    assert archive.accidents == 1
    sweeping.cancel()


async def test_what_cannot_be_archived_is_not_purged(house: House, tmp_path: Path) -> None:
    [execution_id] = await house.work()
    house.clock.forward(DAY_S)
    (tmp_path / "taken").touch()
    retention = house.retention(keep_s=60, archive=Archive(tmp_path / "taken"))
    assert await retention.sweep() == 0
    assert "taken" in retention.archive_error
    assert await house.stored() == {execution_id}
    (tmp_path / "taken").unlink()
    assert await retention.sweep() == 1
    assert retention.archive_error == ""


async def test_a_full_archive_keeps_the_rest_in_the_store_and_goes_on_when_it_has_room(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await house.work(5)
    house.clock.forward(DAY_S)
    archive, meters = FullArchive(2), Meters("owner")
    # Each line is an append of its own.
    retention = house.retention(
        keep_s=60, keep_count=0, archive=archive, meters=meters, most_bytes=0
    )
    for removed in (2, 0):
        assert await retention.sweep() == removed
        assert "no room" in retention.archive_error
        assert await house.stored() == set(ids[2:])
    assert [record.message for record in caplog.records].count("archive_not_written") == 1
    assert failures_in(meters) == 2
    archive.room = 5
    assert await retention.sweep() == 3
    assert retention.archive_error == ""
    assert [json.loads(line)["execution_id"] for line in archive.lines] == ids
    assert [record.message for record in caplog.records].count("archive_written_again") == 1


def failures_in(meters: Meters) -> float:
    """Return how often retention has told that the archive was not written."""
    [[[_, [number]]]] = [
        each.values for each in meters.state().metrics if each.name == ARCHIVE_FAILURES.name
    ]
    return number


async def test_a_full_archive_keeps_no_artifact_and_no_audit_from_being_removed(
    house: House,
) -> None:
    await house.work()
    house.clock.forward(DAY_S)
    store, trimmed = ArtifactStore("memory://x", max_bytes=1, execution_max_bytes=1), Trimmed()
    retention = house.retention(
        keep_s=60, archive=FullArchive(0), artifacts=store, audit=trimmed, keep_audit_s=60
    )
    sweeping = asyncio.create_task(retention.run())
    async with asyncio.timeout(60):
        await trimmed.asked.wait()
    assert retention.archive_error
    sweeping.cancel()


class Trimmed:
    """An audit without entries, that tells whether it was trimmed."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def trim_audit(self, *, before_ms: int, limit: int) -> int:
        assert min(before_ms, limit) > 0
        self.asked.set()
        return 0


async def test_what_cannot_be_archived_is_told_once_and_does_not_stop_the_others(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await house.work(MOST_AT_ONCE + 5)
    assert isinstance(house.store, HoledStore)
    # All of the first step, and the first of the second.
    house.store.damaged = set(ids[: MOST_AT_ONCE + 1])
    house.clock.forward(DAY_S)
    retention = house.retention(keep_s=60, keep_count=0, archive=Archive(tmp_path))
    assert await retention.sweep() == 4
    assert [line["execution_id"] for line in lines_in(tmp_path)] == ids[-4:]
    assert await retention.sweep() == 0
    told = [record for record in caplog.records if record.message == "not_archived"]
    assert len(told) == MOST_AT_ONCE + 1
    assert {getattr(each, "execution_id", None) for each in told} == house.store.damaged
    house.store.damaged = set()
    assert await house.stored() == set(ids[: MOST_AT_ONCE + 1])
    assert await retention.sweep() == MOST_AT_ONCE + 1


def _films(*executions: ExecutionId) -> tuple[ArtifactStore, list[ArtifactReference]]:
    """A store with an artifact of each execution."""
    store = ArtifactStore(
        f"memory://{uuid.uuid4().hex}", max_bytes=1_000, execution_max_bytes=1_000
    )
    references = [
        store.put(
            execution_key(each), io.BytesIO(each.encode()), media_type="text/plain", name="film"
        )
        for each in executions
    ]
    return store, references


async def test_the_artifacts_of_an_execution_go_with_it(house: House) -> None:
    old = await house.work(2)
    house.clock.forward(DAY_S)
    [young] = await house.work(1)
    artifacts, [of_old, _, of_young] = _films(*old, young)
    assert await house.retention(keep_s=DAY_S, artifacts=artifacts).sweep() == 2
    assert artifacts.executions() == {execution_key(young)}
    artifacts.sweep(0)
    assert artifacts.find(of_old.sha256) is None
    assert artifacts.find(of_young.sha256) == of_young


async def test_a_sub_flow_leaves_its_artifacts_to_its_parent(house: House) -> None:
    parent = await house.submit("above")
    child = await house.gateway.called.get()
    await house.finish(child)
    artifacts, [film] = _films(child)
    assert await house.gateway.called.get() == parent
    house.clock.forward(100)
    await house.finish(parent)
    house.clock.forward(10)
    assert await house.retention(keep_s=90, artifacts=artifacts).sweep() == 1
    assert await house.stored() == {parent}
    artifacts.sweep(0)
    assert artifacts.find(film.sha256) == film
    assert artifacts.total_of(execution_key(parent)) == (1, len(child))
    house.clock.forward(100)
    assert await house.retention(keep_s=90, artifacts=artifacts).sweep() == 1
    artifacts.sweep(0)
    assert artifacts.find(film.sha256) is None


async def test_no_execution_is_read_to_find_who_gets_its_artifacts(house: House) -> None:
    [execution_id] = await house.work()
    house.clock.forward(DAY_S)
    artifacts, [film] = _films(execution_id)
    assert isinstance(house.store, HoledStore)
    house.store.damaged = {execution_id}
    assert await house.retention(keep_s=60, artifacts=artifacts).sweep() == 1
    artifacts.sweep(0)
    assert artifacts.find(film.sha256) is None
