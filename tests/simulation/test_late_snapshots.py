"""A snapshot that is written after later events has the state before them, or is found out."""

from random import Random
from typing import Final

import pytest

from rillflow.core.encoding import codec
from rillflow.gateways.outbound.threads import LARGE_BYTES, SHORT_BYTES, in_turn
from rillflow.ports.storage.store import Append
from rillflow.testing import Scenario
from tests.simulation.faults import FAIR
from tests.simulation.mirror import Mirror
from tests.simulation.promises import Promises
from tests.simulation.surroundings import Surroundings
from tests.simulation.virtual_loop import VirtualLoop, virtual_threads
from tests.spec.notation import fn, scenario

AFTER: Final = 2


@pytest.mark.parametrize("said_seq", [AFTER, AFTER - 1, AFTER + 1, AFTER + 2])
def test_a_late_snapshot_is_compared_with_the_events_that_it_says_it_has(said_seq: int) -> None:
    told = scenario(fn("A"), fn("B", dependencies=["A"]))
    told.submit()
    told.answer("A")
    assert len(told.journal) == AFTER
    snapshot = codec.encode_large_state(told.state)
    told.pause()
    told.resume()
    around = Surroundings(0, FAIR)
    promises = Promises(around)
    promises.mirrors[told.state.execution_id] = _mirror(told)
    promises._check_snapshot(
        Append(
            execution_id=told.state.execution_id,
            fencing_scope=0,
            epoch=1,
            first_seq=said_seq + 1,
            records=(),
            snapshot=snapshot,
            snapshot_seq=said_seq,
        )
    )
    assert bool(around.broken) is (said_seq != AFTER)


@pytest.mark.parametrize("size_bytes", [SHORT_BYTES + 1, LARGE_BYTES + 1])
def test_work_on_a_large_text_is_a_step_of_the_loop_that_others_may_precede(
    size_bytes: int,
) -> None:
    orders = {_order(Random(seed), size_bytes) for seed in range(20)}
    assert orders >= {("event", "work"), ("work", "event")}


def _order(random: Random, size_bytes: int) -> tuple[str, ...]:
    order: list[str] = []
    loop = VirtualLoop(random)

    async def work() -> None:
        loop.call_soon(order.append, "event")
        await in_turn("demo:x", size_bytes, lambda: order.append("work"))

    with virtual_threads(loop):
        loop.run_until_complete(work())
    assert not loop.complaints
    return tuple(order)


def _mirror(told: Scenario) -> Mirror:
    first, *others = map(codec.encode_event, told.journal)
    mirror = Mirror(told.plan, first, None, 0.0)
    for record in others:
        assert mirror.apply(record, None, 0.0) is None
    return mirror
