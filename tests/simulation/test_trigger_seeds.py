"""Triggers keep their promises although their owners are killed, and the store fails.

* A firing starts one execution, however often it is repeated, and by whom.
* No scheduled time is lost, none is made up.
* Executions of a trigger that must not overlap do not, while it has one owner at a time.
* A trigger that was removed fires no time after its removal.
"""

import asyncio
from itertools import pairwise

import pytest

from rillflow.runtime.triggers.registry import TriggerRegistry
from rillflow.triggers.overlap import Overlap
from rillflow.triggers.schedule import LATE_MS
from rillflow.triggers.spec import read_cron
from rillflow.triggers.trigger_types import ReadTrigger
from tests.simulation.trigger_world import TriggerWorld
from tests.simulation.virtual_loop import Life

QUICK = (*range(12), 318, 2748, 2787)
MORE = range(100, 500)


def check(seed: int) -> TriggerWorld:
    world = TriggerWorld(seed)
    world.run()
    assert not world.loop.complaints
    now_ms = world.clock.now_ms()
    for trigger_id, (spec, added_ms) in world.added.items():
        prefix = f"trigger/{trigger_id}/"
        keys = [key for key in world.rows.by_key if key.startswith(prefix)]
        fired = sorted(int(key.removeprefix(prefix)) for key in keys)
        assert all(len(world.rows.by_key[key]) == 1 for key in keys), trigger_id
        until_ms = world.removed_ms.get(trigger_id, now_ms)
        scheduled = list(spec.schedule().times(added_ms, until_ms))
        assert not set(fired) - set(scheduled), trigger_id
        if spec.overlap is Overlap.ALLOW and trigger_id not in world.removed_ms:
            # What became due in the last seconds may be under way.
            settled = [each for each in scheduled if each < now_ms - 5_000]
            assert not set(settled) - set(fired), trigger_id
        if spec.overlap is not Overlap.ALLOW and world.owners == 1:
            spans = sorted(world.rows.spans[world.rows.by_key[key][0]] for key in keys)
            assert spans or trigger_id in world.removed_ms, trigger_id
            for (_, ended_s), (began_s, _) in pairwise(spans):
                assert ended_s <= began_s, trigger_id
    return world


@pytest.mark.parametrize("seed", QUICK)
def test_a_firing_is_started_once_and_none_is_lost(seed: int) -> None:
    check(seed)


def test_a_successor_knows_of_an_execution_whose_start_was_the_last_thing_before_a_death() -> None:
    """It must not overlap, also if its time counts as missed by now."""
    world = TriggerWorld(0)
    world.loop.run_until_complete(_die_after_the_first_start(world))
    assert len(world.rows.by_key) == 1


async def _die_after_the_first_start(world: TriggerWorld) -> None:
    await world.begin()
    world.wire.failing = 0.0
    registry = TriggerRegistry(world.store, world.submissions(), world.clock)
    spec = read_cron({"cron": "* * * * * *", "overlap": "skip", "catch_up": "none"})
    await registry.add("shop:order", ReadTrigger("cron", spec), {}, trigger_id="t")
    life = Life("owner", 0)
    world.loop.spawn(life, world.run_owner())
    while True:
        if world.rows.spans:
            break
        await asyncio.sleep(0.001)
    life.kill()
    for span in world.rows.spans.values():
        span[1] += 1_000
    await asyncio.sleep(LATE_MS / 1000 + 5)
    world.loop.spawn(Life("successor", 1), world.run_owner())
    await asyncio.sleep(20)


@pytest.mark.long
def test_more_seeds() -> None:
    deaths = sum(check(seed).deaths for seed in MORE)
    assert deaths > len(MORE)
