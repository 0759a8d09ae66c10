"""Records of a source keep their promises although owners are killed, and source and store fail.

* A record starts one execution, however often it is read, and by whom.
* Within a partition executions are started in order.
* No record is passed over; while there is one owner, what starts no execution is listed.
"""

import asyncio

import pytest

from rillflow.runtime.triggers.progress import decode_progress
from tests.simulation.source_world import SourceWorld

QUICK = range(12)
MORE = range(100, 300)


def check(seed: int) -> SourceWorld:
    world = SourceWorld(seed)
    world.run()
    assert not world.loop.complaints
    started = list(world.rows.by_key)
    assert all(len(each) == 1 for each in world.rows.by_key.values())
    wanted, refused = [], set()
    for partition, records in world.log.partitions.items():
        keys = [f"trigger/t/log/{partition}/{offset}" for offset in range(len(records))]
        good = [key for key, record in zip(keys, records, strict=True) if record != "bad"]
        refused |= {key.removeprefix("trigger/t/") for key in set(keys) - set(good)}
        assert [key for key in started if key in set(keys)] == good, partition
        assert world.log.acknowledged[partition] == len(records), partition
        wanted += good
    assert sorted(started) == sorted(wanted)
    stored = asyncio.run(world.store.trigger("t"))
    assert stored is not None
    progress = decode_progress(stored[0].progress)
    if world.owners == 1:  # two write over each other's lists, while there are two
        assert {each.key for each in progress.refusals} == refused
    assert {each.reason for each in progress.refusals} <= {"bad"}
    return world


@pytest.mark.parametrize("seed", QUICK)
def test_a_record_starts_one_execution_in_its_order(seed: int) -> None:
    check(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", MORE)
def test_more_seeds_of_records(seed: int) -> None:
    check(seed)


def test_owners_die_in_these_worlds() -> None:
    assert sum(check(seed).deaths for seed in QUICK) > 5
